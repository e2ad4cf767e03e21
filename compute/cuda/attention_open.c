/* SPDX-License-Identifier: Apache-2.0 */
/* What an attention allocates. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/cuda/attention.h"
#include "compute/cuda/error.h"

#define ALIGN 256

/* What cuBLAS advises, from Hopper on and before. */
#define WORKSPACE_HOPPER ((size_t)32 << 20)
#define WORKSPACE ((size_t)4 << 20)

/* Of a block, without reserve. */
#define RANGES_LEAST 64

/* Why it failed, for the caller. */
struct said {
	char *reason;
	size_t bytes;
};

static enum kvr_status check(const struct said *said, const char *call,
			     cudaError_t error)
{
	if (error == cudaSuccess)
		return KVR_OK;
	return kvr_cuda_failed(call, error, said->reason, said->bytes);
}

static enum kvr_status check_blas(const struct kvr_accelerator_attention *a,
				  const struct said *said, const char *call,
				  cublasStatus_t status)
{
	if (status == CUBLAS_STATUS_SUCCESS)
		return KVR_OK;
	snprintf(said->reason, said->bytes, "%s: %s", call,
		 a->calls->status_string(status));
	return status == CUBLAS_STATUS_ALLOC_FAILED ? KVR_ERR_NO_MEMORY
						    : KVR_ERR_DEVICE;
}

/* -------------------------------------------------------------- memory */

/* Slices of one allocation, or with base NULL how large it must be. */
struct slices {
	char *base;
	size_t used;
	bool overflow;
};

static void *slice(struct slices *s, size_t count, size_t size)
{
	size_t at = s->used, bytes;

	if (__builtin_mul_overflow(count, size, &bytes) ||
	    bytes > SIZE_MAX / 64) {
		s->overflow = true;
		return NULL;
	}
	s->used += (bytes + ALIGN - 1) / ALIGN * ALIGN;
	return s->base ? s->base + at : NULL;
}

static void cut(struct kvr_accelerator_attention *a, size_t workspace,
		struct slices *s)
{
	const struct kvr_cuda_tiling *t = &a->tiling;
	size_t heads = a->shape.kv_heads;
	size_t rows = a->partials.rows * heads;
	size_t tile = (size_t)t->heads * t->rows;

	a->partials.out = slice(s, rows, a->layout.out * sizeof(float));
	a->partials.max = slice(s, rows, sizeof(float));
	a->partials.sum = slice(s, rows, sizeof(float));
	a->sinks = slice(s, a->shape.q_heads, sizeof(float));
	for (int i = 0; i < KVR_CUDA_LANES; i++) {
		struct kvr_cuda_lane *lane = &a->lane[i];

		lane->scores = slice(s, tile, t->keys * sizeof(float));
		lane->q = slice(s, tile, (size_t)a->layout.k * a->layout.bytes);
		lane->workspace = slice(s, workspace, 1);
	}
}

static enum kvr_status make_memory(struct kvr_accelerator_attention *a,
				   size_t workspace, const struct said *said)
{
	struct slices s = {0};
	enum kvr_status status;

	cut(a, workspace, &s);
	if (s.overflow) {
		snprintf(said->reason, said->bytes,
			 "partials larger than any memory");
		return KVR_ERR_NO_MEMORY;
	}
	status = check(said, "cudaMalloc", cudaMalloc(&a->memory, s.used));
	if (status != KVR_OK)
		return status;
	s = (struct slices){.base = a->memory};
	cut(a, workspace, &s);
	if (!a->shape.sinks) {
		a->sinks = NULL;
		return KVR_OK;
	}
	return check(said, "cudaMemcpy",
		     cudaMemcpy(a->sinks, a->shape.sinks,
				a->shape.q_heads * sizeof(float),
				cudaMemcpyHostToDevice));
}

/* --------------------------------------------------------------- lanes */

static enum kvr_status make_lane(struct kvr_accelerator_attention *a,
				 struct kvr_cuda_lane *lane, size_t workspace,
				 const struct said *said)
{
	enum kvr_status status;

	status = check(said, "cudaStreamCreateWithFlags",
		       cudaStreamCreateWithFlags(&lane->stream,
						 cudaStreamNonBlocking));
	if (status != KVR_OK)
		return status;
	status = check(
		said, "cudaEventCreateWithFlags",
		cudaEventCreateWithFlags(&lane->done, cudaEventDisableTiming));
	if (status != KVR_OK)
		return status;
	status = check_blas(a, said, "cublasCreate",
			    a->calls->create(&lane->blas));
	if (status != KVR_OK)
		return status;
	/* In this order: a new stream resets the workspace. */
	status = check_blas(a, said, "cublasSetStream",
			    a->calls->set_stream(lane->blas, lane->stream));
	if (status != KVR_OK)
		return status;
	return check_blas(a, said, "cublasSetWorkspace",
			  a->calls->set_workspace(lane->blas, lane->workspace,
						  workspace));
}

static enum kvr_status make_lanes(struct kvr_accelerator_attention *a,
				  size_t workspace, const struct said *said)
{
	enum kvr_status status;

	status = check(
		said, "cudaEventCreateWithFlags",
		cudaEventCreateWithFlags(&a->fork, cudaEventDisableTiming));
	for (int i = 0; i < KVR_CUDA_LANES && status == KVR_OK; i++)
		status = make_lane(a, &a->lane[i], workspace, said);
	return status;
}

static void free_lane(struct kvr_accelerator_attention *a,
		      struct kvr_cuda_lane *lane)
{
	if (lane->stream)
		(void)cudaStreamSynchronize(lane->stream);
	if (lane->blas)
		(void)a->calls->destroy(lane->blas);
	if (lane->done)
		(void)cudaEventDestroy(lane->done);
	if (lane->stream)
		(void)cudaStreamDestroy(lane->stream);
}

/* ---------------------------------------------------------------- open */

static enum kvr_status copy_ranges(struct kvr_accelerator_attention *a,
				   struct kvr_ranges q)
{
	/* + 1: NULL must mean failure. */
	a->q_run = calloc(q.count + 1, sizeof(*a->q_run));
	if (!a->q_run)
		return KVR_ERR_NO_MEMORY;
	a->q_runs = kvr_cuda_runs(q, 1, a->q_run);
	for (size_t i = 0; i < a->q_runs; i++)
		a->q_tokens += (size_t)a->q_run[i].range.length;
	return KVR_OK;
}

static enum kvr_status ask_device(size_t *cache, size_t *workspace,
				  const struct said *said)
{
	int device = 0, l2 = 0, major = 0;
	enum kvr_status status;

	status = check(said, "cudaGetDevice", cudaGetDevice(&device));
	if (status == KVR_OK)
		status = check(said, "cudaDeviceGetAttribute",
			       cudaDeviceGetAttribute(
				       &l2, cudaDevAttrL2CacheSize, device));
	if (status == KVR_OK)
		status =
			check(said, "cudaDeviceGetAttribute",
			      cudaDeviceGetAttribute(
				      &major, cudaDevAttrComputeCapabilityMajor,
				      device));
	*cache = (size_t)l2;
	*workspace = major >= 9 ? WORKSPACE_HOPPER : WORKSPACE;
	return status;
}

static enum kvr_status
fill(struct kvr_accelerator_attention *a, struct kvr_ranges q,
     const struct kvr_accelerator_attention_options *options,
     const struct said *said)
{
	size_t cache, workspace;
	enum kvr_status status;

	status = kvr_cuda_blas_load(&a->calls, said->reason, said->bytes);
	if (status == KVR_OK)
		status = ask_device(&cache, &workspace, said);
	if (status == KVR_OK)
		status = copy_ranges(a, q);
	if (status != KVR_OK)
		return status;
	if (options->cache_bytes)
		cache = options->cache_bytes;
	a->tiling = kvr_cuda_choose_tiling(&a->shape, a->q_tokens, cache);
	a->product = options->tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32
				   : CUBLAS_COMPUTE_32F;
	a->partials.heads = a->shape.kv_heads;
	a->partials.group = a->group;
	a->partials.rows = a->q_tokens * a->group;
	a->partials.out_row = a->layout.out;
	a->partials.out_head = a->partials.rows * a->layout.out;
	a->partials.sums_head = a->partials.rows;
	status = make_memory(a, workspace, said);
	if (status == KVR_OK)
		status = make_lanes(a, workspace, said);
	if (status == KVR_OK)
		status = kvr_cuda_attention_reserve(a, RANGES_LEAST, 0);
	return status;
}

enum kvr_status
kvr_cuda_attention_open(const struct kvr_compute_shape *shape,
			struct kvr_ranges q,
			const struct kvr_accelerator_attention_options *options,
			struct kvr_accelerator_attention **out, char *reason,
			size_t reason_bytes)
{
	const struct said said = {reason, reason_bytes};
	struct kvr_accelerator_attention *a;
	enum kvr_status status;

	snprintf(reason, reason_bytes, "out of memory");
	if (shape->kv_wire != KVR_KV_PLAIN) {
		snprintf(reason, reason_bytes,
			 "the GPU takes K and V of their own type; leave "
			 "kv_wire plain");
		return KVR_ERR_UNSUPPORTED;
	}
	a = calloc(1, sizeof(*a));
	if (!a)
		return KVR_ERR_NO_MEMORY;
	a->shape = *shape;
	a->layout = kvr_cuda_layout_of(shape);
	a->group = shape->q_heads / shape->kv_heads;
	status = fill(a, q, options, &said);
	/* Copied: the caller's may go. */
	a->shape.sinks = NULL;
	if (status != KVR_OK) {
		kvr_cuda_attention_close(a);
		return status;
	}
	*out = a;
	return KVR_OK;
}

void kvr_cuda_attention_close(struct kvr_accelerator_attention *a)
{
	if (!a)
		return;
	for (int i = 0; i < KVR_CUDA_LANES; i++)
		free_lane(a, &a->lane[i]);
	if (a->fork)
		(void)cudaEventDestroy(a->fork);
	/* Both wait for what the device does. */
	(void)cudaFree(a->staging);
	(void)cudaFree(a->memory);
	free(a->kv_run);
	free(a->q_run);
	free(a);
}

enum kvr_status kvr_cuda_attention_reserve(struct kvr_accelerator_attention *a,
					   size_t ranges, size_t host_bytes)
{
	if (ranges > a->kv_room) {
		struct kvr_cuda_run *run = calloc(ranges, sizeof(*run));

		if (!run)
			return KVR_ERR_NO_MEMORY;
		free(a->kv_run);
		a->kv_run = run;
		a->kv_room = ranges;
	}
	if (host_bytes > a->staging_bytes) {
		void *staging;
		enum kvr_status status = kvr_cuda_attention_check(
			a, "cudaMalloc", cudaMalloc(&staging, host_bytes));

		if (status != KVR_OK)
			return status;
		(void)cudaFree(a->staging);
		a->staging = staging;
		a->staging_bytes = host_bytes;
	}
	return KVR_OK;
}

enum kvr_status kvr_cuda_attention_check(struct kvr_accelerator_attention *a,
					 const char *call, cudaError_t error)
{
	if (error == cudaSuccess)
		return KVR_OK;
	return kvr_cuda_failed(call, error, a->failure, sizeof(a->failure));
}
