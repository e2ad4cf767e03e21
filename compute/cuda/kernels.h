/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernels, as the C beside them calls them: arguments go by value, so that
 * a graph keeps them. Counts are host decisions; nothing here waits.
 */
#ifndef KVR_COMPUTE_CUDA_KERNELS_H
#define KVR_COMPUTE_CUDA_KERNELS_H

#include <cuda_runtime_api.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Threads of a block, and score columns that each holds in registers. */
#define KVR_CUDA_THREADS 128
#define KVR_CUDA_HELD 8
#define KVR_CUDA_KEYS (KVR_CUDA_THREADS * KVR_CUDA_HELD)

/* Ranges that a tile may touch: they are arguments, of which there are 4 KB. */
#define KVR_CUDA_Q_SEGMENTS 32
#define KVR_CUDA_KV_SEGMENTS 64

/* Element types; the numbers are those of enum kvr_dtype. */
enum kvr_cuda_type { KVR_CUDA_F32, KVR_CUDA_BF16, KVR_CUDA_F16 };

/* Tokens first .. end - 1 of a tile: of one sequence, positions from start. */
struct kvr_cuda_segment {
	uint64_t sequence, start;
	uint32_t first, end;
};

/* A tile of scores, and the partials of its rows. Strides in elements. */
struct kvr_cuda_tile {
	float *scores; /* [head][row][key]; the weights come in their place */
	float *out;    /* [head][row][column] */
	float *max, *sum; /* [head][row], base 2 */
	size_t scores_head, out_head, sums_head;
	uint32_t scores_row, out_row;
	uint32_t heads, rows, keys;
	uint32_t group; /* row r is of token r / group */
	float scale;	/* times log2(e), or 1 / softcap where there is one */
	float cap;	/* softcap * log2(e); 0: none */
	uint64_t left, right; /* a query sees position - left .. + right */
	uint32_t masked;      /* 0: every row sees every key */
	uint32_t q_count, kv_count;
	struct kvr_cuda_segment q[KVR_CUDA_Q_SEGMENTS];
	struct kvr_cuda_segment kv[KVR_CUDA_KV_SEGMENTS];
};

/*
 * Scores -> weights, rounded to type: scale, soft-cap, mask, online softmax;
 * out times what the new maximum makes of the old one.
 */
cudaError_t kvr_cuda_softmax(const struct kvr_cuda_tile *tile,
			     enum kvr_cuda_type type, cudaStream_t stream);

/* rows of `dim` elements of `bytes` bytes each, out of tokens and heads. */
struct kvr_cuda_rows {
	const void *from;
	size_t token_stride, head_stride; /* elements */
	void *to;			  /* [head][row][padded] */
	size_t to_head;			  /* elements */
	uint32_t heads, rows, group;
	uint32_t dim, padded; /* 0 from dim on */
	uint32_t bytes;
};

/* Row r of kv head h is query head h * group + r % group of r / group. */
cudaError_t kvr_cuda_pack_q(const struct kvr_cuda_rows *rows,
			    cudaStream_t stream);

/* Rows first .. end - 1 of a block: `tokens` of k and v from `token`, then 0 */
struct kvr_cuda_piece {
	size_t first, end, token, tokens;
};

struct kvr_cuda_pack {
	const void *k, *v; /* v NULL: values are in keys */
	size_t k_token, k_head, v_token, v_head;
	void *block;
	uint32_t heads, k_dim, v_dim, k_padded, v_padded;
	uint32_t bytes;
	uint32_t count;
	struct kvr_cuda_piece piece[KVR_CUDA_KV_SEGMENTS];
};

cudaError_t kvr_cuda_pack_kv(const struct kvr_cuda_pack *pack,
			     cudaStream_t stream);

/* Partials of all rows. */
struct kvr_cuda_partials {
	float *out, *max, *sum; /* as in a tile */
	size_t out_head, sums_head;
	uint32_t out_row;
	uint32_t heads, group;
	size_t rows;
};

cudaError_t kvr_cuda_clear(const struct kvr_cuda_partials *partials,
			   cudaStream_t stream);

struct kvr_cuda_finish {
	struct kvr_cuda_partials partials;
	const float *sinks; /* by query head; NULL: none */
	void *out;
	size_t token_stride, head_stride;
	uint32_t dim;
	enum kvr_cuda_type type; /* of out */
	float *lse;		 /* NULL: not wanted */
	size_t lse_head;
};

cudaError_t kvr_cuda_normalise(const struct kvr_cuda_finish *finish,
			       cudaStream_t stream);

/* See struct kvr_partial. */
struct kvr_cuda_side {
	void *out;
	size_t token_stride, head_stride;
	enum kvr_cuda_type type;
	float *lse;
	size_t lse_head;
	uint32_t log2; /* 0: natural logarithm */
};

struct kvr_cuda_merge {
	struct kvr_cuda_side a, b, to;
	size_t tokens;
	uint32_t heads, dim;
};

cudaError_t kvr_cuda_merge_rows(const struct kvr_cuda_merge *merge,
				cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
