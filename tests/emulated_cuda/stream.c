/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams: a queue of operations and one thread each. An operation waits for
 * those that it follows, then for its turn. The legacy stream follows all
 * blocking streams of its device, and they follow it.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/emulated_cuda/fiber.h"
#include "tests/emulated_cuda/internal.h"

/* A word that a wait polls was written without telling us. */
#define POLL_FIRST_NS 20000L
#define POLL_LAST_NS 500000L

struct emu_state emu = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.changed = PTHREAD_COND_INITIALIZER,
};

static _Thread_local void *own_identity, *stream_identity;

void emu_identity_leave(void)
{
	emu_identity_switch(own_identity);
}

void emu_identity_enter(void)
{
	emu_identity_switch(stream_identity);
}

/*
 * Thread-local memory, threadIdx among it, was written when the thread began:
 * who runs on it later comes after that.
 */
void emu_thread_began(void)
{
	emu_acquire(&own_identity);
}

struct emu_op *emu_op_new(emu_run run, const void *payload, size_t bytes)
{
	struct emu_op *op = emu_new(1, sizeof(*op) + bytes);

	op->run = run;
	op->refs = 1;
	op->bytes = bytes;
	if (bytes)
		memcpy(op->payload, payload, bytes);
	return op;
}

struct emu_op *emu_op_clone(const struct emu_op *op)
{
	struct emu_op *copy = emu_op_new(op->run, op->payload, op->bytes);

	copy->ready = op->ready;
	copy->host = op->host;
	return copy;
}

void *emu_payload(struct emu_op *op)
{
	return op->payload;
}

struct emu_op *emu_op_get(struct emu_op *op)
{
	if (op)
		__atomic_add_fetch(&op->refs, 1, __ATOMIC_RELAXED);
	return op;
}

static void drop_deps(struct emu_op *op)
{
	for (size_t i = 0; i < op->dep_count; i++)
		emu_op_put(op->deps[i]);
	free(op->deps);
	op->deps = NULL;
	op->dep_count = 0;
}

void emu_op_put(struct emu_op *op)
{
	if (!op || __atomic_sub_fetch(&op->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	drop_deps(op);
	free(op);
}

void emu_op_follow(struct emu_op *op, struct emu_op *dep)
{
	struct emu_op **deps;

	if (!dep || dep == op)
		return;
	deps = realloc(op->deps, (op->dep_count + 1) * sizeof(struct emu_op *));
	if (!deps)
		emu_abort("no memory for an operation's order");
	op->deps = deps;
	op->deps[op->dep_count++] = emu_op_get(dep);
}

static void poll_ready(struct emu_op *op)
{
	struct timespec pause = {.tv_nsec = POLL_FIRST_NS};

	while (!op->ready(op)) {
		nanosleep(&pause, NULL);
		if (pause.tv_nsec < POLL_LAST_NS)
			pause.tv_nsec *= 2;
	}
}

/*
 * Device memory stays open from one operation to the next: changing the rights
 * of every page is slow. Before the stream's thread waits it is closed, and
 * before anybody can learn that the stream is idle.
 */
static void set_open(struct CUstream_st *stream, bool open)
{
	if (stream->open == open)
		return;
	stream->open = open;
	if (open)
		kvr_emulated_memory_open();
	else
		kvr_emulated_memory_close();
}

static void execute(struct CUstream_st *stream, struct emu_op *op)
{
	if (op->ready || op->host)
		set_open(stream, false);
	if (op->ready)
		poll_ready(op);
	if (op->run && !op->host)
		set_open(stream, true);
	stream_identity = stream->identity;
	emu_identity_enter();
	emu_acquire(op);
	for (size_t i = 0; i < op->dep_count; i++)
		emu_acquire(op->deps[i]);
	if (op->run)
		op->run(op);
	emu_release(op);
	emu_identity_leave();
	clock_gettime(CLOCK_MONOTONIC, &op->time);
}

static void work(struct CUstream_st *stream, struct emu_op *op)
{
	for (size_t i = 0; i < op->dep_count; i++)
		while (!op->deps[i]->done) {
			set_open(stream, false);
			pthread_cond_wait(&emu.changed, &emu.lock);
		}
	stream->head = op->next;
	if (!stream->head)
		stream->tail = NULL;
	pthread_mutex_unlock(&emu.lock);
	execute(stream, op);
	pthread_mutex_lock(&emu.lock);
	drop_deps(op);
	op->done = true;
	pthread_cond_broadcast(&emu.changed);
	emu_op_put(op);
}

static void *worker(void *argument)
{
	struct CUstream_st *stream = argument;

	own_identity = emu_identity_now();
	emu_release(&own_identity);
	pthread_mutex_lock(&emu.lock);
	for (;;) {
		if (stream->head) {
			work(stream, stream->head);
			continue;
		}
		set_open(stream, false);
		if (stream->stop)
			break;
		pthread_cond_wait(&stream->work, &emu.lock);
	}
	pthread_mutex_unlock(&emu.lock);
	emu_fiber_stacks_free();
	return NULL;
}

struct CUstream_st *emu_stream_new(unsigned flags, int priority, int device)
{
	struct CUstream_st *stream = emu_new(1, sizeof(*stream));

	pthread_cond_init(&stream->work, NULL);
	stream->nonblocking = flags & cudaStreamNonBlocking;
	stream->priority = priority;
	stream->device = device;
	stream->id = ++emu.stream_count;
	stream->identity = emu_identity_new();
	stream->next = emu.streams;
	emu.streams = stream;
	if (pthread_create(&stream->thread, NULL, worker, stream) != 0)
		emu_abort("no thread for a stream");
	return stream;
}

static void unlink_stream(struct CUstream_st *stream)
{
	struct CUstream_st **at = &emu.streams;

	while (*at != stream)
		at = &(*at)->next;
	*at = stream->next;
}

/* Locked; what is queued still runs. */
void emu_stream_free(struct CUstream_st *stream)
{
	stream->stop = true;
	pthread_cond_signal(&stream->work);
	pthread_mutex_unlock(&emu.lock);
	pthread_join(stream->thread, NULL);
	pthread_mutex_lock(&emu.lock);
	unlink_stream(stream);
	emu_op_put(stream->last);
	emu_identity_free(stream->identity);
	pthread_cond_destroy(&stream->work);
	free(stream->frontier.at);
	free(stream);
}

/*
 * Locked. The per-thread default stream is one for all threads, which orders
 * more than CUDA would; kvring does not use it.
 */
struct CUstream_st *emu_stream_of(cudaStream_t handle)
{
	int device = emu_device_current();
	bool per_thread = handle == cudaStreamPerThread;
	struct CUstream_st **at =
		per_thread ? &emu.per_thread : &emu.legacy[device];

	if (handle && handle != cudaStreamLegacy && !per_thread)
		return handle;
	if (!*at)
		*at = emu_stream_new(0, 0, device);
	return *at;
}

static bool is_legacy(const struct CUstream_st *stream)
{
	return stream == emu.legacy[stream->device];
}

static void follow_default(struct CUstream_st *stream, struct emu_op *op)
{
	struct CUstream_st *other;

	if (stream->nonblocking)
		return;
	for (other = emu.streams; other; other = other->next)
		if (other != stream && other->device == stream->device &&
		    !other->nonblocking && other->last && !other->last->done &&
		    (is_legacy(stream) || is_legacy(other)))
			emu_op_follow(op, other->last);
}

void emu_enqueue(struct CUstream_st *stream, struct emu_op *op)
{
	emu_release(op);
	follow_default(stream, op);
	if (stream->tail)
		stream->tail->next = op;
	else
		stream->head = op;
	stream->tail = op;
	emu_op_put(stream->last);
	stream->last = emu_op_get(op);
	pthread_cond_signal(&stream->work);
}

cudaError_t emu_submit(cudaStream_t handle, struct emu_op *op)
{
	cudaError_t error = cudaSuccess;
	struct CUstream_st *stream;

	pthread_mutex_lock(&emu.lock);
	stream = emu_stream_of(handle);
	if (stream->capture)
		error = emu_capture_add(stream, op);
	else
		emu_enqueue(stream, op);
	pthread_mutex_unlock(&emu.lock);
	return error;
}

void emu_wait(struct emu_op *op)
{
	if (!op)
		return;
	emu_op_get(op);
	while (!op->done)
		pthread_cond_wait(&emu.changed, &emu.lock);
	emu_acquire(op);
	emu_op_put(op);
}

/* Every last operation first: a stream may go away meanwhile. */
void emu_device_wait(void)
{
	struct emu_op *all = emu_op_new(NULL, NULL, 0);
	struct CUstream_st *stream;

	pthread_mutex_lock(&emu.lock);
	for (stream = emu.streams; stream; stream = stream->next)
		emu_op_follow(all, stream->last);
	for (size_t i = 0; i < all->dep_count; i++)
		emu_wait(all->deps[i]);
	emu_op_put(all);
	pthread_mutex_unlock(&emu.lock);
}
