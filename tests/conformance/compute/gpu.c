/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <cuda_runtime_api.h>

#include "compute/cuda/attention.h"
#include "gpu.h"

static size_t cache_bytes;
static bool captured;

struct gpu {
	struct kvr_compute base;
	struct kvr_compute_shape shape;
	struct kvr_accelerator_attention *attention;
	cudaStream_t stream;
	struct kvr_tensor q; /* on the device */
	void **block;	     /* of the run, on the device */
	size_t blocks;
};

void gpu_set_cache(size_t bytes)
{
	cache_bytes = bytes;
}

void gpu_set_captured(bool on)
{
	captured = on;
}

static void ok(cudaError_t error)
{
	if (error != cudaSuccess)
		fail_msg("%s", cudaGetErrorString(error));
}

static struct gpu *of(struct kvr_compute *compute)
{
	return (struct gpu *)compute;
}

static void done(struct gpu *g, enum kvr_status status)
{
	if (status != KVR_OK)
		fail_msg("%s", kvr_cuda_attention.failure(g->attention));
}

static void *device_memory(size_t bytes)
{
	void *at;

	ok(cudaMalloc(&at, bytes + 1));
	return at;
}

/* Elements from the first of a tensor to its last. */
static size_t extent(const struct kvr_tensor *t)
{
	if (!t->tokens || !t->heads)
		return 0;
	return (t->tokens - 1) * t->token_stride +
	       (t->heads - 1) * t->head_stride + t->dim;
}

/* A copy of a tensor, gaps included. */
static struct kvr_tensor to_device(const struct kvr_tensor *t)
{
	size_t bytes = extent(t) * kvr_dtype_bytes(t->dtype);
	struct kvr_tensor copy = *t;

	copy.data = device_memory(bytes);
	ok(cudaMemcpy(copy.data, t->data, bytes, cudaMemcpyHostToDevice));
	return copy;
}

static enum kvr_status probe(char *reason, size_t bytes)
{
	return kvr_cuda_attention.probe(reason, bytes);
}

static size_t block_bytes(const struct kvr_compute_shape *shape,
			  struct kvr_ranges kv)
{
	return kvr_cuda_attention.block_bytes(shape, kv);
}

static enum kvr_status gpu_open(const struct kvr_compute_shape *shape,
				struct kvr_ranges q, uint32_t threads,
				struct kvr_compute **out)
{
	const struct kvr_accelerator_attention_options options = {
		.cache_bytes = cache_bytes,
	};
	struct gpu *g = calloc(1, sizeof(*g));
	enum kvr_status status;
	char reason[256];

	(void)threads;
	assert_non_null(g);
	g->base.ops = &gpu_compute;
	g->shape = *shape;
	/* Nothing but its events orders it: a missing one shows. */
	ok(cudaStreamCreateWithFlags(&g->stream, cudaStreamNonBlocking));
	status = kvr_cuda_attention.open(shape, q, &options, &g->attention,
					 reason, sizeof(reason));
	if (status != KVR_OK)
		fail_msg("%s", reason);
	*out = &g->base;
	return KVR_OK;
}

static void free_blocks(struct gpu *g)
{
	while (g->blocks)
		ok(cudaFree(g->block[--g->blocks]));
}

static void gpu_close(struct kvr_compute *compute)
{
	struct gpu *g = of(compute);

	free_blocks(g);
	free(g->block);
	kvr_cuda_attention.close(g->attention);
	ok(cudaFree(g->q.data));
	ok(cudaStreamDestroy(g->stream));
	free(g);
}

/* The block is in memory of the host, as a ring without device slots has it. */
static void pack(struct kvr_compute *compute, struct kvr_ranges kv,
		 const struct kvr_tensor *k, const struct kvr_tensor *v,
		 void *block)
{
	struct gpu *g = of(compute);
	size_t bytes = block_bytes(&g->shape, kv);
	struct kvr_tensor dk = to_device(k), dv = {0};
	void *packed = device_memory(bytes);

	if (v)
		dv = to_device(v);
	done(g, kvr_cuda_attention.pack(g->attention, kv, &dk, v ? &dv : NULL,
					packed, g->stream));
	ok(cudaStreamSynchronize(g->stream));
	ok(cudaMemcpy(block, packed, bytes, cudaMemcpyDeviceToHost));
	ok(cudaFree(packed));
	ok(cudaFree(dk.data));
	ok(cudaFree(dv.data));
}

static void append(const struct kvr_compute_shape *shape, size_t held,
		   const struct kvr_tensor *k, const struct kvr_tensor *v,
		   void *page)
{
	(void)shape;
	(void)held;
	(void)k;
	(void)v;
	(void)page;
	fail();
}

static enum kvr_status reserve(struct kvr_compute *compute, size_t ranges,
			       size_t bytes)
{
	return kvr_cuda_attention.reserve(of(compute)->attention, ranges,
					  bytes);
}

static void begin(struct kvr_compute *compute, const struct kvr_tensor *q)
{
	struct gpu *g = of(compute);

	ok(cudaFree(g->q.data));
	g->q = to_device(q);
	done(g, kvr_cuda_attention.begin(g->attention, &g->q, g->stream));
}

static void launch_captured(struct gpu *g, struct kvr_ranges kv,
			    const void *block)
{
	cudaGraphExec_t exec;
	cudaGraph_t graph;

	ok(cudaStreamBeginCapture(g->stream, cudaStreamCaptureModeGlobal));
	done(g, kvr_cuda_attention.step(g->attention, kv, block, g->stream));
	ok(cudaStreamEndCapture(g->stream, &graph));
	ok(cudaGraphInstantiate(&exec, graph, 0));
	ok(cudaGraphLaunch(exec, g->stream));
	ok(cudaStreamSynchronize(g->stream));
	ok(cudaGraphExecDestroy(exec));
	ok(cudaGraphDestroy(graph));
}

/*
 * Waits for nothing: the steps of a run follow each other on the device, and
 * each follows what makes its block there.
 */
static void step(struct kvr_compute *compute, struct kvr_ranges kv,
		 const void *block)
{
	struct gpu *g = of(compute);
	size_t bytes = block_bytes(&g->shape, kv);
	char *copy = device_memory(2 * bytes), *made = copy + bytes;

	g->block = realloc(g->block, (g->blocks + 1) * sizeof(*g->block));
	assert_non_null(g->block);
	g->block[g->blocks++] = copy;
	ok(cudaMemcpy(copy, block, bytes, cudaMemcpyHostToDevice));
	ok(cudaMemcpyAsync(made, copy, bytes, cudaMemcpyDeviceToDevice,
			   g->stream));
	if (captured)
		launch_captured(g, kv, made);
	else
		done(g, kvr_cuda_attention.step(g->attention, kv, made,
						g->stream));
}

static void step_pages(struct kvr_compute *compute, struct kvr_ranges kv,
		       const void *const *page)
{
	(void)compute;
	(void)kv;
	(void)page;
	fail();
}

static void stop(struct kvr_compute *compute)
{
	(void)compute;
	fail();
}

static void set_pulse(struct kvr_compute *compute, void (*pulse)(void *arg),
		      void *arg)
{
	(void)compute;
	(void)pulse;
	(void)arg;
	fail();
}

static void finish(struct kvr_compute *compute, const struct kvr_tensor *out,
		   float *lse, size_t lse_head_stride)
{
	struct gpu *g = of(compute);
	size_t rows = out->tokens
			      ? (out->heads - 1) * lse_head_stride + out->tokens
			      : 0;
	struct kvr_tensor to = to_device(out);
	float *sums = lse ? device_memory(rows * sizeof(*lse)) : NULL;

	if (sums)
		ok(cudaMemcpy(sums, lse, rows * sizeof(*lse),
			      cudaMemcpyHostToDevice));
	done(g, kvr_cuda_attention.finish(g->attention, &to, sums,
					  lse_head_stride, g->stream));
	ok(cudaStreamSynchronize(g->stream));
	free_blocks(g);
	ok(cudaMemcpy(out->data, to.data,
		      extent(out) * kvr_dtype_bytes(out->dtype),
		      cudaMemcpyDeviceToHost));
	if (sums)
		ok(cudaMemcpy(lse, sums, rows * sizeof(*lse),
			      cudaMemcpyDeviceToHost));
	ok(cudaFree(sums));
	ok(cudaFree(to.data));
}

static const char *failed(const struct kvr_compute *compute)
{
	(void)compute;
	return NULL;
}

static bool can_read(const void *address)
{
	(void)address;
	return true;
}

const struct kvr_compute_ops gpu_compute = {
	.name = "cuda",
	.layout_id = KVR_ACCELERATOR_LAYOUT_ID,
	.probe = probe,
	.block_bytes = block_bytes,
	.open = gpu_open,
	.close = gpu_close,
	.pack = pack,
	.append = append,
	.reserve = reserve,
	.begin = begin,
	.step = step,
	.step_pages = step_pages,
	.stop = stop,
	.set_pulse = set_pulse,
	.finish = finish,
	.failed = failed,
	.can_read = can_read,
	.paged = false,
};
