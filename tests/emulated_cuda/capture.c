/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Capture: operations become nodes of a graph, with their arguments as they
 * are then. A graph runs on lanes, streams of its own, one per branch, so
 * that a branch that waits does not hold up another.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/emulated_cuda/internal.h"

struct node {
	struct emu_op *op;
	struct emu_links after;
};

struct CUgraph_st {
	struct node *nodes;
	size_t count;
};

struct emu_capture {
	struct CUgraph_st *graph;
	struct CUstream_st *origin;
	bool broken;
};

struct CUgraphExec_st {
	struct CUgraph_st *graph; /* its own copy */
	size_t *lane_of;	  /* by node */
	struct CUstream_st **lanes;
	size_t lane_count;
	struct emu_op *last; /* of the last launch; a reference */
};

static void *grow(void *at, size_t count, size_t size)
{
	void *more = realloc(at, count * size);

	if (!more)
		emu_abort("no memory for a graph");
	return more;
}

static void links_add(struct emu_links *links, size_t node)
{
	for (size_t i = 0; i < links->count; i++)
		if (links->at[i] == node)
			return;
	links->at = grow(links->at, links->count + 1, sizeof(*links->at));
	links->at[links->count++] = node;
}

void emu_links_copy(struct emu_links *to, const struct emu_links *from)
{
	to->count = 0;
	for (size_t i = 0; i < from->count; i++)
		links_add(to, from->at[i]);
}

static struct node *node_add(struct CUgraph_st *graph, struct emu_op *op)
{
	graph->nodes =
		grow(graph->nodes, graph->count + 1, sizeof(*graph->nodes));
	graph->nodes[graph->count] = (struct node){.op = op};
	return &graph->nodes[graph->count++];
}

cudaError_t emu_capture_add(struct CUstream_st *stream, struct emu_op *op)
{
	struct CUgraph_st *graph = stream->capture->graph;

	emu_links_copy(&node_add(graph, op)->after, &stream->frontier);
	stream->frontier.count = 0;
	links_add(&stream->frontier, graph->count - 1);
	return cudaSuccess;
}

cudaError_t emu_capture_forbidden(struct CUstream_st *stream)
{
	stream->capture->broken = true;
	return cudaErrorStreamCaptureUnsupported;
}

void emu_capture_record(struct CUstream_st *stream, struct CUevent_st *event)
{
	event->capture = stream->capture;
	emu_links_copy(&event->frontier, &stream->frontier);
}

cudaError_t emu_capture_wait(struct CUstream_st *stream,
			     struct CUevent_st *event)
{
	if (!event->capture ||
	    (stream->capture && stream->capture != event->capture)) {
		stream->capture->broken = true;
		return cudaErrorStreamCaptureIsolation;
	}
	stream->capture = event->capture;
	for (size_t i = 0; i < event->frontier.count; i++)
		links_add(&stream->frontier, event->frontier.at[i]);
	return cudaSuccess;
}

static void graph_free(struct CUgraph_st *graph)
{
	for (size_t i = 0; i < graph->count; i++) {
		emu_op_put(graph->nodes[i].op);
		free(graph->nodes[i].after.at);
	}
	free(graph->nodes);
	free(graph);
}

EMU_EXPORT cudaError_t cudaStreamBeginCapture(cudaStream_t handle,
					      enum cudaStreamCaptureMode mode)
{
	cudaError_t error = cudaSuccess;
	struct CUstream_st *stream;

	(void)mode;
	EMU_CALL();
	if (!handle || handle == cudaStreamLegacy)
		return emu_error(cudaErrorStreamCaptureUnsupported);
	pthread_mutex_lock(&emu.lock);
	stream = emu_stream_of(handle);
	if (stream->capture) {
		error = cudaErrorIllegalState;
	} else {
		stream->capture = grow(NULL, 1, sizeof(*stream->capture));
		*stream->capture = (struct emu_capture){
			.graph = grow(NULL, 1, sizeof(struct CUgraph_st)),
			.origin = stream,
		};
		*stream->capture->graph = (struct CUgraph_st){0};
		stream->frontier.count = 0;
	}
	pthread_mutex_unlock(&emu.lock);
	return emu_error(error);
}

/* Nodes that nothing follows and the origin did not come to wait for. */
static bool joined(const struct emu_capture *capture)
{
	const struct CUgraph_st *graph = capture->graph;
	struct emu_links followed = {0};
	size_t count;

	emu_links_copy(&followed, &capture->origin->frontier);
	for (size_t n = 0; n < graph->count; n++)
		for (size_t i = 0; i < graph->nodes[n].after.count; i++)
			links_add(&followed, graph->nodes[n].after.at[i]);
	count = followed.count;
	free(followed.at);
	return count == graph->count;
}

static void leave_capture(const struct emu_capture *capture)
{
	struct CUstream_st *stream;

	for (stream = emu.streams; stream; stream = stream->next)
		if (stream->capture == capture) {
			stream->capture = NULL;
			stream->frontier.count = 0;
		}
}

static cudaError_t end_capture(struct emu_capture *capture,
			       struct CUstream_st *stream, cudaGraph_t *out)
{
	if (capture->origin != stream)
		return cudaErrorStreamCaptureUnmatched;
	if (capture->broken)
		return cudaErrorStreamCaptureInvalidated;
	if (!joined(capture))
		return cudaErrorStreamCaptureUnjoined;
	*out = capture->graph;
	return cudaSuccess;
}

EMU_EXPORT cudaError_t cudaStreamEndCapture(cudaStream_t handle,
					    cudaGraph_t *out)
{
	struct emu_capture *capture;
	struct CUstream_st *stream;
	cudaError_t error;

	EMU_CALL();
	pthread_mutex_lock(&emu.lock);
	*out = NULL;
	stream = emu_stream_of(handle);
	capture = stream->capture;
	if (!capture) {
		error = cudaErrorIllegalState;
	} else {
		error = end_capture(capture, stream, out);
		if (error != cudaErrorStreamCaptureUnmatched) {
			leave_capture(capture);
			if (error != cudaSuccess)
				graph_free(capture->graph);
			free(capture);
		}
	}
	pthread_mutex_unlock(&emu.lock);
	return emu_error(error);
}

EMU_EXPORT cudaError_t
cudaStreamIsCapturing(cudaStream_t handle, enum cudaStreamCaptureStatus *status)
{
	struct CUstream_st *stream;

	EMU_CALL();
	pthread_mutex_lock(&emu.lock);
	stream = emu_stream_of(handle);
	*status = !stream->capture	    ? cudaStreamCaptureStatusNone
		  : stream->capture->broken ? cudaStreamCaptureStatusInvalidated
					    : cudaStreamCaptureStatusActive;
	pthread_mutex_unlock(&emu.lock);
	return cudaSuccess;
}

EMU_EXPORT cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
	EMU_CALL();
	pthread_mutex_lock(&emu.lock);
	graph_free(graph);
	pthread_mutex_unlock(&emu.lock);
	return cudaSuccess;
}

EMU_EXPORT cudaError_t cudaGraphGetNodes(cudaGraph_t graph,
					 cudaGraphNode_t *nodes, size_t *count)
{
	EMU_CALL();
	if (nodes)
		return emu_error(cudaErrorNotSupported);
	*count = graph->count;
	return cudaSuccess;
}

static struct CUgraph_st *graph_copy(const struct CUgraph_st *graph)
{
	struct CUgraph_st *copy = grow(NULL, 1, sizeof(*copy));

	*copy = (struct CUgraph_st){0};
	for (size_t i = 0; i < graph->count; i++)
		emu_links_copy(&node_add(copy, emu_op_clone(graph->nodes[i].op))
					->after,
			       &graph->nodes[i].after);
	return copy;
}

/* A node goes on a lane that ends with one that it follows, or a new one. */
static void assign_lanes(struct CUgraphExec_st *exec)
{
	const struct CUgraph_st *graph = exec->graph;
	size_t *tail = grow(NULL, graph->count + 1, sizeof(*tail));

	exec->lane_of = grow(NULL, graph->count + 1, sizeof(size_t));
	for (size_t n = 0; n < graph->count; n++) {
		const struct emu_links *after = &graph->nodes[n].after;
		size_t lane = exec->lane_count;

		for (size_t i = 0; i < after->count; i++)
			if (tail[exec->lane_of[after->at[i]]] == after->at[i])
				lane = exec->lane_of[after->at[i]];
		if (lane == exec->lane_count)
			exec->lane_count++;
		tail[lane] = n;
		exec->lane_of[n] = lane;
	}
	free(tail);
}

EMU_EXPORT cudaError_t cudaGraphInstantiate(cudaGraphExec_t *out,
					    cudaGraph_t graph,
					    unsigned long long flags)
{
	struct CUgraphExec_st *exec;

	(void)flags;
	EMU_CALL();
	pthread_mutex_lock(&emu.lock);
	exec = grow(NULL, 1, sizeof(*exec));
	*exec = (struct CUgraphExec_st){.graph = graph_copy(graph)};
	assign_lanes(exec);
	exec->lanes =
		grow(NULL, exec->lane_count + 1, sizeof(struct CUstream_st *));
	for (size_t i = 1; i < exec->lane_count; i++)
		exec->lanes[i] = emu_stream_new(cudaStreamNonBlocking, 0,
						emu_device_current());
	pthread_mutex_unlock(&emu.lock);
	*out = exec;
	return cudaSuccess;
}

EMU_EXPORT cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
	EMU_CALL();
	pthread_mutex_lock(&emu.lock);
	for (size_t i = 1; i < exec->lane_count; i++)
		emu_stream_free(exec->lanes[i]);
	emu_op_put(exec->last);
	graph_free(exec->graph);
	pthread_mutex_unlock(&emu.lock);
	free(exec->lanes);
	free(exec->lane_of);
	free(exec);
	return cudaSuccess;
}

/*
 * Lane 0 is the launching stream itself. All begin after what was there and
 * after the graph's last launch; the stream goes on when all are done.
 */
static void launch(struct CUgraphExec_st *exec, struct CUstream_st *stream)
{
	struct emu_op *begin = emu_op_new(NULL, NULL, 0);
	struct emu_op *end = emu_op_new(NULL, NULL, 0);
	const struct CUgraph_st *graph = exec->graph;
	struct emu_op **made =
		grow(NULL, graph->count + 1, sizeof(struct emu_op *));

	emu_op_follow(begin, exec->last);
	emu_enqueue(stream, emu_op_get(begin));
	exec->lanes[0] = stream;
	for (size_t n = 0; n < graph->count; n++) {
		const struct emu_links *after = &graph->nodes[n].after;

		made[n] = emu_op_clone(graph->nodes[n].op);
		emu_op_follow(made[n], begin);
		emu_op_follow(end, made[n]);
		for (size_t i = 0; i < after->count; i++)
			emu_op_follow(made[n], made[after->at[i]]);
		emu_enqueue(exec->lanes[exec->lane_of[n]], emu_op_get(made[n]));
	}
	emu_op_put(exec->last);
	exec->last = emu_op_get(end);
	emu_enqueue(stream, end);
	for (size_t n = 0; n < graph->count; n++)
		emu_op_put(made[n]);
	emu_op_put(begin);
	free(made);
}

EMU_EXPORT cudaError_t cudaGraphLaunch(cudaGraphExec_t exec,
				       cudaStream_t handle)
{
	cudaError_t error = cudaSuccess;
	struct CUstream_st *stream;

	EMU_CALL();
	pthread_mutex_lock(&emu.lock);
	stream = emu_stream_of(handle);
	if (stream->capture)
		error = emu_capture_forbidden(stream);
	else
		launch(exec, stream);
	pthread_mutex_unlock(&emu.lock);
	return emu_error(error);
}
