/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvring level 2: exact attention over the ring.
 *
 *	out[t, h, :] = sum_j p_j v[j, g, :] / sum_j p_j
 *	lse[h, t]    = log(sum_j p_j)
 *	p_j          = exp(s_j), s_j = scale * <q[t, h, :], k[j, g, :]>
 *
 * over the keys j that the mask lets token t see, on whatever ranks they are;
 * g = h / (q_heads / kv_heads). Accumulation and partial results are fp32 and
 * are merged in the order of steps, so that two runs agree bit for bit.
 * A row that sees no key gives out = 0 and lse = -inf. With a soft-cap C, as
 * FlashAttention and Gemma 2 define it, s_j becomes C tanh(s_j / C).
 *
 * Source of the formula: Milakov, Gimelshein, 2018, arXiv 1805.02867 (online
 * softmax); Liu, Zaharia, Abbeel, 2023, arXiv 2310.01889 (the ring).
 */
#ifndef KVRING_ATTENTION_H
#define KVRING_ATTENTION_H

#include "kvring/kvring.h"

#ifdef __cplusplus
extern "C" {
#endif

enum kvr_dtype { KVR_F32 = 0, KVR_BF16 = 1, KVR_F16 = 2 };

/* What K and V travel as, and are computed on, on every rank alike. */
enum kvr_kv_wire {
	KVR_KV_PLAIN = 0, /* their own type: exact */
	/*
	 * float8 e4m3 with two f32 scales, of K and of V, for each range and
	 * head: the largest |value| / 448. Divided by it and rounded to nearest
	 * even, which is within 2^-4 of each value or 2^-18 of the largest; NaN
	 * and infinities become NaN. Local keys too: all ranks see the same,
	 * but how the sequence is cut into ranges matters.
	 */
	KVR_KV_E4M3 = 1
};

/* Bytes of one element; 0 for an unknown type. */
KVR_API size_t kvr_dtype_bytes(enum kvr_dtype dtype);

/*
 * A view of the caller's memory, never owned: [tokens, heads, dim] for q, k,
 * v and out. Strides are in elements, as DLPack's; the last axis is dense.
 */
struct kvr_tensor {
	void *data;
	enum kvr_dtype dtype;
	size_t tokens, heads, dim;
	size_t token_stride, head_stride;
};

/* A dense [tokens, heads, dim] view. */
KVR_API struct kvr_tensor kvr_tensor_dense(void *data, enum kvr_dtype dtype,
					   size_t tokens, size_t heads,
					   size_t dim);

/* -------------------------------------------------------------- ranges */

/*
 * `length` neighbouring tokens of one sequence, the first at global position
 * `start`. A shard is a list of ranges; its rows are stored in that order.
 */
struct kvr_range {
	uint64_t sequence;
	uint64_t start;
	uint64_t length;
};

#define KVR_ZIGZAG_RANGES 2

/*
 * The part of rank's in a sequence of `tokens`, in neighbouring order: sizes
 * differ by at most one token; empty where tokens < n.
 * Errors: INVALID (rank >= n).
 */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_ranges_contiguous(uint64_t tokens, uint32_t rank, uint32_t n,
		      struct kvr_range out[1], size_t *count);

/*
 * 2n pieces, rank i holds pieces i and 2n - 1 - i: every rank computes the
 * same under a causal mask. Up to two ranges; empty ones are left out.
 * Errors: INVALID (rank >= n).
 */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_ranges_zigzag(uint64_t tokens, uint32_t rank, uint32_t n,
		  struct kvr_range out[KVR_ZIGZAG_RANGES], size_t *count);

/* ---------------------------------------------------------------- plan */

struct kvr_plan;

enum kvr_mask {
	KVR_MASK_FULL = 0,
	KVR_MASK_CAUSAL = 1 /* a key is seen by its own and later positions */
};

/*
 * A token at position p sees keys at p - left .. p + right of its sequence, as
 * with FlashAttention's window_size; -1: all on that side. Under a causal mask
 * none on the right, whatever it says.
 */
struct kvr_window {
	int64_t left, right;
};

/*
 * Called by kvr_attention_run, in its thread, after each of its steps: `done`
 * of `steps`. May call kvr_pass_cancel on kvr_plan_pass, and nothing else of
 * kvring.
 */
typedef void (*kvr_step_fn)(void *arg, uint32_t done, uint32_t steps);

struct kvr_plan_desc {
	size_t size;
	uint32_t q_heads, kv_heads; /* kv_heads divides q_heads */
	uint32_t head_dim;	    /* of q and k; 1 .. 256 */
	uint32_t value_dim;	    /* of v and out; 0: head_dim */
	enum kvr_dtype dtype;	    /* of q, k and v */
	enum kvr_mask mask;
	const struct kvr_window *window; /* NULL: none; copied */
	float scale;			 /* 0: 1 / sqrt(head_dim) */
	float softcap;			 /* of scores, positive; 0: none */
	enum kvr_kv_wire kv_wire;	 /* the oracle takes no notice of it */
	const struct kvr_range *q_ranges;
	size_t q_range_count;
	const struct kvr_range *kv_ranges;
	size_t kv_range_count;
	uint32_t threads;    /* compute threads of this rank; 0: 1 */
	const char *kernel;  /* NULL: the fastest usable; or its name */
	kvr_step_fn on_step; /* may be NULL */
	void *on_step_arg;
};

KVR_API void kvr_plan_desc_init(struct kvr_plan_desc *desc);

/*
 * Agrees on a batch: collective. The ranges travel round the ring once, here;
 * kvr_attention_run then moves nothing but blocks, and these only as far as
 * any rank has queries that see them: a window that looks back no further than
 * the shard before costs one hop, not n - 1. Copies desc. Allocates the
 * packed local block, the fp32 partials and the threads; running allocates
 * nothing. The plan borrows the ring: after close or reopen of the ring it can
 * only be destroyed.
 * Errors: INVALID, NO_MEMORY, LIMIT (the local block exceeds slot_bytes, see
 * kvr_attention_block_bytes), UNSUPPORTED (no such kernel), MISMATCH, FORKED,
 * and what the ring failed with.
 */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_plan_create(struct kvr_ring *ring, const struct kvr_plan_desc *desc,
		struct kvr_plan **out);

KVR_API void kvr_plan_destroy(struct kvr_plan *plan);

/*
 * The largest block that desc makes of `tokens` tokens in `ranges` ranges:
 * what slot_bytes must be at least, on every rank, before the ring opens.
 * Errors: INVALID, UNSUPPORTED (no such kernel), LIMIT (beyond all memory).
 */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_attention_block_bytes(const struct kvr_plan_desc *desc, uint64_t tokens,
			  size_t ranges, size_t *out);

/* The name of the kernel that the plan computes with; static. */
KVR_API const char *kvr_plan_kernel(const struct kvr_plan *plan);

/*
 * Attention of the local queries over the keys of all ranks; collective: one
 * pass. q, k, v are this rank's rows in the order of its ranges, borrowed for
 * the call. out has q's tokens and heads, value_dim, and the type f32 or q's.
 * lse (may be NULL) is f32, head h of row t at lse[h * lse_head_stride + t];
 * natural logarithm.
 * k and v are read before the first wait: with k = v = NULL the block packed
 * by kvr_attention_pack is sent.
 * With KVR_PROGRESS_CALLER it makes progress between pieces of its work.
 * Errors: INVALID (a shape differs from the plan), STATE, CANCELLED, FORKED,
 * and what the ring failed with; out and lse are then undefined.
 */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_attention_run(struct kvr_plan *plan, const struct kvr_tensor *q,
		  const struct kvr_tensor *k, const struct kvr_tensor *v,
		  const struct kvr_tensor *out, float *lse,
		  size_t lse_head_stride);

/*
 * Packs k and v into the plan's local block, so that the caller can give up
 * their memory before kvr_attention_run. Local. Errors: INVALID, FORKED.
 */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_attention_pack(struct kvr_plan *plan, const struct kvr_tensor *k,
		   const struct kvr_tensor *v);

/*
 * The pass of the newest kvr_attention_run, or NULL; its statistics stay until
 * the ring begins another.
 */
KVR_API struct kvr_pass *kvr_plan_pass(const struct kvr_plan *plan);

/* ------------------------------------------------------------- merging */

/* Of which logarithm a log-sum-exp is. */
enum kvr_lse_base { KVR_LSE_NATURAL = 0, KVR_LSE_LOG2 = 1 };

/*
 * Attention over some of the keys, normalised, as kvr_attention_run or another
 * library gave it: lse of head h, row t is lse[h * lse_head_stride + t].
 */
struct kvr_partial {
	struct kvr_tensor out;
	float *lse;
	size_t lse_head_stride;
	enum kvr_lse_base base;
};

/*
 * Attention over the keys of a and those of b, which are others:
 *
 *	lse = log(exp(a.lse) + exp(b.lse))
 *	out = exp(a.lse - lse) a.out + exp(b.lse - lse) b.out
 *
 * All three have the same tokens, heads and dim; types and bases may differ.
 * out may be a or b, or share no memory with them. Computed in double, rounded
 * once. A row whose lse is -inf counts for nothing, whatever its values are;
 * where both are, out = 0 and lse = -inf. Errors: INVALID.
 */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_attention_merge(const struct kvr_partial *a, const struct kvr_partial *b,
		    const struct kvr_partial *out);

/* ---------------------------------------------------------- references */

/*
 * The oracle: attention of one process over all keys, plain loops, double
 * accumulators, slow. Ranges as in kvr_plan_desc; only rows listed in `rows`
 * (indices into q's tokens; NULL: all) are computed. out is f32, row i of it
 * the i-th listed; lse[h * lse_head_stride + i]. Errors: INVALID.
 */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_attention_oracle(const struct kvr_plan_desc *desc,
		     const struct kvr_tensor *q, const struct kvr_tensor *k,
		     const struct kvr_tensor *v, const uint64_t *rows,
		     size_t row_count, const struct kvr_tensor *out, float *lse,
		     size_t lse_head_stride);

#ifdef __cplusplus
}
#endif

#endif
