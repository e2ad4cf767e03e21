/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ring attention on GPUs with a kernel of your own: attend() stands where
 * FlashAttention, FlashInfer or cuDNN would. It knows of no ring: it computes
 * attention over one block, with the log-sum-exp, and kvring merges that with
 * what came before. A pass is captured into a graph and replayed.
 *
 *	nvcc cuda_own_kernel.cu -lkvring -o own
 *	kvring run -n 2 -- ./own [TRANSPORT]
 *
 * Each rank has TOKENS tokens of f32, all of which see all. A block is
 * [K, V][token][head][dim], in host memory that the GPU maps, as the landing
 * slots are.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <cuda_runtime.h>

#include <kvring/attention.h>
#include <kvring/bootstrap.h>
#include <kvring/cuda.h>
#include <kvring/kvring.h>

#define TOKENS 40
#define HEADS 2
#define DIM 16
#define ROW (HEADS * DIM)
#define BYTES (2 * TOKENS * ROW * sizeof(float))
#define REPLAYS 5

static void must(bool well, const char *what, const char *why)
{
	if (well)
		return;
	fprintf(stderr, "%s: %s\n", what, why);
	exit(1);
}

static void cuda(cudaError_t error, const char *what)
{
	must(error == cudaSuccess, what, cudaGetErrorString(error));
}

static void kvr(enum kvr_status status, const char *what)
{
	must(status == KVR_OK, what, kvr_status_text(status));
}

/* ---------------------------------------------------------- your kernel */

/* A thread a query and head; out and lse are of the keys of this block. */
static __global__ void attend(const float *q, const float *block, float *out,
			      float *lse)
{
	const unsigned at = blockIdx.x * blockDim.x + threadIdx.x;
	const unsigned head = at % HEADS;
	const float *row = q + at * DIM, *k = block + head * DIM;
	float sum = 0, max = -INFINITY, o[DIM] = {};

	if (at >= TOKENS * HEADS)
		return;
	for (unsigned t = 0; t < TOKENS; t++, k += ROW) {
		float score = 0, decay, weight;

		for (unsigned d = 0; d < DIM; d++)
			score += row[d] * k[d];
		decay = expf(max - fmaxf(max, score));
		max = fmaxf(max, score);
		weight = expf(score - max);
		sum = sum * decay + weight;
		for (unsigned d = 0; d < DIM; d++)
			o[d] = o[d] * decay + weight * k[TOKENS * ROW + d];
	}
	for (unsigned d = 0; d < DIM; d++)
		out[at * DIM + d] = o[d] / sum;
	lse[head * TOKENS + at / HEADS] = max + logf(sum);
}

static void attend_on(cudaStream_t stream, float *q, void *block,
		      const struct kvr_partial *to)
{
	void *out = to->out.data, *lse = to->lse;
	void *arguments[] = {&q, &block, &out, &lse};

	cuda(cudaLaunchKernel(attend, (TOKENS * HEADS + 31) / 32, 32, arguments,
			      0, stream),
	     "attend");
}

/* ------------------------------------------------------------ the ring */

struct own {
	struct kvr_bootstrap who;
	struct kvr_context *context;
	struct kvr_ring *ring;
	struct kvr_segment block; /* borrowed by the plan, as its memory is */
	struct kvr_stream_plan *plan;
	cudaStream_t stream;
	float *q, *local;	      /* mapped */
	struct kvr_partial sum, part; /* of the device */
};

static struct kvr_partial make_partial(void)
{
	struct kvr_partial p = {};
	void *rows, *lse;

	cuda(cudaMalloc(&rows, TOKENS * ROW * sizeof(float)), "cudaMalloc");
	cuda(cudaMalloc(&lse, TOKENS * HEADS * sizeof(float)), "cudaMalloc");
	p.out = kvr_tensor_dense(rows, KVR_F32, TOKENS, HEADS, DIM);
	p.lse = (float *)lse;
	p.lse_head_stride = TOKENS;
	p.base = KVR_LSE_NATURAL;
	return p;
}

/* What stands on the stream for a pass. */
static void pass(struct own *s)
{
	struct kvr_block block;
	enum kvr_status status;

	kvr_block_init(&block);
	kvr(kvr_pass_start_on_stream(s->plan, 0, s->stream), "start");
	while ((status = kvr_pass_next_on_stream(s->plan, 0, s->stream,
						 &block)) == KVR_OK) {
		attend_on(s->stream, s->q, block.data,
			  block.step ? &s->part : &s->sum);
		kvr(kvr_pass_release_on_stream(s->plan, 0, block.step,
					       s->stream),
		    "release");
		if (block.step)
			kvr(kvr_attention_merge_on_stream(&s->sum, &s->part,
							  &s->sum, s->stream),
			    "merge");
	}
	must(status == KVR_ERR_END, "next", kvr_status_text(status));
	kvr(kvr_pass_end_on_stream(s->plan, s->stream), "end");
}

static void open_ring(struct own *s, const char *transport)
{
	struct kvr_ring_options options;
	struct kvr_pass_desc desc;

	kvr_ring_options_init(&options);
	options.lane[0].slot_bytes = BYTES;
	options.transport = transport;
	/* A replay must find its blocks in the slots of the capture. */
	options.slots = s->who.n > 1 ? s->who.n - 1 : 1;
	kvr(kvr_context_open(NULL, &s->context), "context");
	kvr(kvr_memory_register(s->context, s->local, BYTES, &s->block.memory),
	    "memory");
	kvr(kvr_ring_open(s->context, &s->who, &options, &s->ring), "ring");
	s->block.bytes = BYTES;
	kvr_pass_desc_init(&desc);
	desc.lane[0].segments = &s->block;
	desc.lane[0].segment_count = 1;
	kvr(kvr_stream_plan_create(s->ring, &desc, 1, &s->plan), "plan");
}

static void close_ring(struct own *s)
{
	kvr_stream_plan_destroy(s->plan);
	kvr_ring_close(s->ring);
	kvr_memory_deregister(s->block.memory);
	kvr_context_close(s->context);
	kvr_bootstrap_close(&s->who);
}

/* -------------------------------------------------- numbers, and a check */

/* In [-1, 1), of any rank, so that each can check itself. */
static float number(unsigned what, unsigned round, unsigned rank, unsigned at)
{
	unsigned x = ((what * 64 + round) * 1024 + rank) * TOKENS * ROW + at;

	x = (x ^ x >> 16) * 0x45d9f3bu;
	x = (x ^ x >> 16) * 0x45d9f3bu;
	return (float)(int)(x ^ x >> 16) * 0x1p-31f;
}

static void fill(struct own *s, unsigned round)
{
	for (unsigned i = 0; i < TOKENS * ROW; i++) {
		s->q[i] = number(0, round, s->who.rank, i);
		s->local[i] = number(1, round, s->who.rank, i);
		s->local[TOKENS * ROW + i] = number(2, round, s->who.rank, i);
	}
}

/* The right value of out[t][head][dim] `at`, of all ranks' keys at once. */
static double right(const struct own *s, unsigned round, unsigned at)
{
	const unsigned row = at / DIM * DIM, head = at % ROW / DIM;
	double sum = 0, out = 0;

	for (unsigned key = 0; key < s->who.n * TOKENS; key++) {
		unsigned rank = key / TOKENS, k = key % TOKENS * ROW;
		double score = 0;

		for (unsigned d = 0; d < DIM; d++)
			score += (double)s->q[row + d] *
				 number(1, round, rank, k + head * DIM + d);
		sum += exp(score);
		out += exp(score) *
		       number(2, round, rank, k + head * DIM + at % DIM);
	}
	return out / sum;
}

static double largest_error(const struct own *s, unsigned round)
{
	static float out[TOKENS * ROW];
	double worst = 0;

	cuda(cudaMemcpy(out, s->sum.out.data, sizeof(out),
			cudaMemcpyDeviceToHost),
	     "cudaMemcpy");
	for (unsigned i = 0; i < TOKENS * ROW; i++) {
		double error = fabs(out[i] - right(s, round, i));

		if (!(error <= worst)) /* also of NaN */
			worst = isnan(error) ? INFINITY : error;
	}
	return worst;
}

int main(int argc, char **argv)
{
	struct own s = {};
	cudaGraphExec_t exec;
	cudaGraph_t graph;
	double worst = 0;

	kvr_bootstrap_init(&s.who);
	kvr(kvr_bootstrap_from_environment(&s.who), "bootstrap");
	cuda(cudaStreamCreateWithFlags(&s.stream, cudaStreamNonBlocking),
	     "stream");
	cuda(cudaHostAlloc((void **)&s.q, BYTES / 2, cudaHostAllocMapped), "q");
	cuda(cudaHostAlloc((void **)&s.local, BYTES, cudaHostAllocMapped),
	     "local");
	s.sum = make_partial();
	s.part = make_partial();
	open_ring(&s, argc > 1 ? argv[1] : NULL);

	cuda(cudaStreamBeginCapture(s.stream, cudaStreamCaptureModeThreadLocal),
	     "capture");
	pass(&s);
	cuda(cudaStreamEndCapture(s.stream, &graph), "capture");
	cuda(cudaGraphInstantiate(&exec, graph, 0), "graph");
	for (unsigned round = 0; round < REPLAYS; round++) {
		fill(&s, round);
		kvr(kvr_stream_plan_expect(s.plan, 1), "expect");
		cuda(cudaGraphLaunch(exec, s.stream), "launch");
		cuda(cudaStreamSynchronize(s.stream), "stream");
		kvr(kvr_stream_plan_check(s.plan), "check");
		worst = fmax(worst, largest_error(&s, round));
	}
	printf("rank %u of %u: %d replays, largest error %.1e\n", s.who.rank,
	       s.who.n, REPLAYS, worst);

	close_ring(&s);
	cuda(cudaGraphExecDestroy(exec), "graph");
	cuda(cudaGraphDestroy(graph), "graph");
	cuda(cudaStreamDestroy(s.stream), "stream");
	cuda(cudaFree(s.sum.out.data), "free");
	cuda(cudaFree(s.sum.lse), "free");
	cuda(cudaFree(s.part.out.data), "free");
	cuda(cudaFree(s.part.lse), "free");
	cuda(cudaFreeHost(s.q), "free");
	cuda(cudaFreeHost(s.local), "free");
	return worst < 1e-5 ? 0 : 1;
}
