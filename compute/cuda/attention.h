/* SPDX-License-Identifier: Apache-2.0 */
/* The object behind struct kvr_accelerator_attention_ops. */
#ifndef KVR_COMPUTE_CUDA_ATTENTION_H
#define KVR_COMPUTE_CUDA_ATTENTION_H

#include "compute/cuda/blas.h"
#include "compute/cuda/layout.h"
#include "runtime/accelerator_attention.h"

/*
 * Tiles in flight: the softmax of one runs beside the products of the other.
 * Query tiles are dealt to the lanes in turn, always alike, so that the tiles
 * of one query tile follow each other on one stream, and no two lanes meet in
 * a row. Each has its cuBLAS handle and workspace: one handle on two streams
 * may choose its kernels by what else runs.
 */
#define KVR_CUDA_LANES 2

struct kvr_cuda_lane {
	cudaStream_t stream;
	cublasHandle_t blas;
	cudaEvent_t done;
	float *scores;	 /* [head][row][key] of one tile */
	void *q;	 /* [head][row][k] of one query tile */
	void *workspace; /* of cuBLAS */
};

struct kvr_accelerator_attention {
	const struct kvr_cuda_blas *calls;
	struct kvr_compute_shape shape;
	struct kvr_cuda_layout layout;
	struct kvr_cuda_tiling tiling;
	cublasComputeType_t product;
	uint32_t group;

	struct kvr_cuda_run *q_run; /* rows are tokens */
	size_t q_runs, q_tokens;
	struct kvr_cuda_run *kv_run; /* of the block under way */
	size_t kv_room;

	void *memory; /* of the device: all that follows, and the lanes' */
	struct kvr_cuda_partials partials;
	float *sinks;

	void *staging; /* for blocks in host memory */
	size_t staging_bytes;

	struct kvr_cuda_lane lane[KVR_CUDA_LANES];
	cudaEvent_t fork;

	struct kvr_tensor q; /* of the run */
	char failure[256];
};

enum kvr_status
kvr_cuda_attention_open(const struct kvr_compute_shape *shape,
			struct kvr_ranges q,
			const struct kvr_accelerator_attention_options *options,
			struct kvr_accelerator_attention **out, char *reason,
			size_t reason_bytes);
void kvr_cuda_attention_close(struct kvr_accelerator_attention *attention);
enum kvr_status
kvr_cuda_attention_reserve(struct kvr_accelerator_attention *attention,
			   size_t ranges, size_t host_bytes);

/* OK, or DEVICE with the failure's text. */
enum kvr_status
kvr_cuda_attention_check(struct kvr_accelerator_attention *attention,
			 const char *call, cudaError_t error);

extern const struct kvr_accelerator_attention_ops kvr_cuda_attention;

#endif
