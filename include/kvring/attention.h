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
 * FlashAttention and Gemma 2 define it, s_j becomes C tanh(s_j / C). Keys and
 * values that a mask hides must be finite, too.
 *
 * A sink z_h of head h joins the sum of exp(s_j) as exp(z_h) and has no value:
 * a row gives less than it sees. z_h is a logit as it is, neither scaled nor
 * capped, and lse counts it, so that a row that sees no key gives out = 0 and
 * lse = z_h. So have it gpt-oss, FlashAttention (flash_attn/cute/softmax.py)
 * and FlashInfer (AttentionSink).
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

/*
 * Striped attention: stripes of `stripe` tokens, dealt out in turn; rank i
 * holds stripes i, i + n, i + 2n and so on, with n = 1 all as one range. Sizes
 * differ by at most one stripe, and under a causal mask the rows of one rank
 * see at most stripe * tokens keys more than those of another. A stripe below
 * 16 tokens, a panel of the kernels, takes as much memory as one of 16. `out`
 * has room for `capacity` ranges; with out = NULL they are only counted.
 * Errors: INVALID (rank >= n, stripe = 0), LIMIT (capacity is too small; the
 * ranges are then undefined).
 */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_ranges_interleave(uint64_t tokens, uint64_t stripe, uint32_t rank,
		      uint32_t n, struct kvr_range *out, size_t capacity,
		      size_t *count);

/*
 * Packed batches: sequence s is the tokens cu_seqlens[s] .. cu_seqlens[s + 1]
 * - 1 of all, so that there is one offset more than `sequences`; the first is
 * 0, none is below the one before, and equal ones are an empty sequence.
 * Ranges say `sequence` s and count positions from its first token: a range
 * begins at token cu_seqlens[sequence] + start of all. They come in the order
 * of sequences, positions ascending, empty ones left out. out, capacity and
 * errors are as above; INVALID also for other offsets.
 *
 * Contiguous: all tokens in n equal parts, whatever sequence they are of.
 * Sizes differ by at most one token; work under a causal mask, and with
 * sequences of different lengths under any, is not balanced. Few ranges: the
 * choice for sequences that are short against a shard, and under a causal mask
 * blocks then travel no further than a sequence reaches.
 */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_ranges_packed_contiguous(const uint64_t *cu_seqlens, size_t sequences,
			     uint32_t rank, uint32_t n, struct kvr_range *out,
			     size_t capacity, size_t *count);

/*
 * Zigzag: each sequence in 2n pieces of its own, as kvr_ranges_zigzag has it;
 * neighbouring pieces are one range, so that there are at most two a sequence.
 * Which rank is the first changes from sequence to sequence so that those of a
 * length that 2n does not divide even out: sizes differ by at most one token
 * in all; work under a causal mask, in each sequence, by at most a row in each
 * of two pieces. One sequence alone is split as by kvr_ranges_zigzag. Pieces
 * below 16 tokens take as much memory and about as much time as of 16.
 */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_ranges_packed_zigzag(const uint64_t *cu_seqlens, size_t sequences,
			 uint32_t rank, uint32_t n, struct kvr_range *out,
			 size_t capacity, size_t *count);

/*
 * Interleave: stripes dealt out over all tokens, cut where a sequence ends,
 * and so every sequence in turn. Sizes differ by at most one stripe in all, as
 * each sequence's do. Sequences much shorter than n stripes are not balanced
 * each, only together.
 */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_ranges_packed_interleave(const uint64_t *cu_seqlens, size_t sequences,
			     uint64_t stripe, uint32_t rank, uint32_t n,
			     struct kvr_range *out, size_t capacity,
			     size_t *count);

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

#define KVR_DIM_MAX 576

struct kvr_plan_desc {
	size_t size;
	uint32_t q_heads, kv_heads; /* kv_heads divides q_heads */
	uint32_t head_dim;	    /* of q and k; 1 .. KVR_DIM_MAX */
	uint32_t value_dim;	    /* of v and out, likewise; 0: head_dim */
	/*
	 * 1: the values are the first value_dim columns of k, as in latent
	 * attention. v is then NULL in every call, and blocks carry k alone;
	 * results are those, to the bit, of a v with a copy.
	 */
	uint32_t values_in_keys;
	enum kvr_dtype dtype; /* of q, k and v */
	enum kvr_mask mask;
	const struct kvr_window *window; /* NULL: none; copied */
	float scale;			 /* 0: 1 / sqrt(head_dim) */
	float softcap;			 /* of scores, positive; 0: none */
	enum kvr_kv_wire kv_wire;	 /* the oracle takes no notice of it */
	/*
	 * q_heads of them, finite, or -inf for none of that head; copied. NULL:
	 * none.
	 */
	const float *sinks;
	const struct kvr_range *q_ranges;
	size_t q_range_count;
	const struct kvr_range *kv_ranges;
	size_t kv_range_count;
	uint32_t threads; /* compute threads of this rank; 0: 1 */
	/*
	 * NULL: the fastest of this processor; or its name. "cuda": that of the
	 * GPU, which is current when the plan is made and when it runs.
	 */
	const char *kernel;
	kvr_step_fn on_step; /* may be NULL */
	void *on_step_arg;
	uint32_t paged; /* 1: k and v of kv_ranges are in pages; see pages.h */
};

KVR_API void kvr_plan_desc_init(struct kvr_plan_desc *desc);

/*
 * Agrees on a batch: collective. The ranges travel round the ring once, here;
 * kvr_attention_run then moves nothing but blocks, and these only as far as
 * any rank has queries that see them: a window that looks back no further than
 * the shard before costs one hop, not n - 1. Copies desc and its lists, not
 * what on_step_arg points to. Allocates the
 * packed local block, unless that is paged, the fp32 partials and the threads;
 * running allocates nothing. Where desc->threads are as many as the CPUs that
 * the caller may use, all but the caller's are bound to one CPU each; otherwise
 * none is. The plan borrows the ring: after close or reopen of the ring it can
 * only be destroyed. A plan is used by one thread at a time.
 * INVALID, NO_MEMORY, LIMIT and UNSUPPORTED may be one rank's alone, while the
 * others have a plan or wait for it: that rank calls kvr_ring_abort, unless all
 * learn of it otherwise. After MISMATCH, which all get, the ring is whole.
 * Errors: INVALID, NO_MEMORY, LIMIT (the
 * local block exceeds slot_bytes, see kvr_attention_block_bytes), UNSUPPORTED
 * (no such kernel; pages, and kv_wire is not plain), MISMATCH, FORKED, and what
 * the ring failed with.
 */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_plan_create(struct kvr_ring *ring, const struct kvr_plan_desc *desc,
		struct kvr_plan **out);

/* Destroys a plan, also after its ring was closed. NULL is ignored. */
KVR_API void kvr_plan_destroy(struct kvr_plan *plan);

/*
 * The largest block that desc makes of `tokens` tokens in `ranges` ranges:
 * what slot_bytes must be at least, on every rank, before the ring opens.
 * Errors: INVALID, UNSUPPORTED (no such kernel), LIMIT (beyond all memory).
 */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_attention_block_bytes(const struct kvr_plan_desc *desc, uint64_t tokens,
			  size_t ranges, size_t *out);

/*
 * The same of desc's own kv_ranges, exactly. slot_bytes is equal on all ranks:
 * take the largest over the lists of all, which every rank can make for each
 * other by kvr_ranges_*. Of many short ranges it may be half of what
 * kvr_attention_block_bytes must allow for. Errors: as there; INVALID also
 * where a range wraps.
 */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_plan_desc_block_bytes(const struct kvr_plan_desc *desc, size_t *out);

/* The name of the kernel that the plan computes with; static. */
KVR_API const char *kvr_plan_kernel(const struct kvr_plan *plan);

/*
 * Attention of the local queries over the keys of all ranks; collective: one
 * pass. q, k, v are this rank's rows in the order of its ranges, borrowed for
 * the call; one without rows passes tensors of 0 tokens, whose data may be
 * NULL. out has q's tokens and heads, value_dim, and the type f32 or q's. lse
 * (may be NULL) is f32, head h of row t at lse[h * lse_head_stride + t];
 * natural logarithm.
 * k and v are read before the first wait: with k = v = NULL the block packed
 * by kvr_attention_pack is sent. With values_in_keys v is always NULL.
 * With KVR_PROGRESS_CALLER it makes progress between pieces of its work.
 * With the kernel "cuda" tensors and lse are memory that the GPU reads, as
 * they are in the order of its legacy default stream, and the call returns when
 * they are done. It takes no pages and no kv_wire but plain.
 * Errors: INVALID (a shape differs from the plan), STATE, CANCELLED, FORKED,
 * DEVICE (the GPU's; the ring is whole), and what the ring failed with; out and
 * lse are then undefined.
 */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_attention_run(struct kvr_plan *plan, const struct kvr_tensor *q,
		  const struct kvr_tensor *k, const struct kvr_tensor *v,
		  const struct kvr_tensor *out, float *lse,
		  size_t lse_head_stride);

/*
 * Packs k and v into the plan's local block, so that the caller can give up
 * their memory before kvr_attention_run. Local. Errors: INVALID, STATE (the
 * plan is paged), FORKED.
 */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_attention_pack(struct kvr_plan *plan, const struct kvr_tensor *k,
		   const struct kvr_tensor *v);

/*
 * The pass of the newest run, or NULL; its statistics stay until
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
 * where both are, out = 0 and lse = -inf. Sinks must be in one of the two
 * alone, or they count twice; {out = 0, lse = sink} adds them to a result
 * without. Errors: INVALID.
 */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_attention_merge(const struct kvr_partial *a, const struct kvr_partial *b,
		    const struct kvr_partial *out);

/*
 * The same on a CUDA stream (cudaStream_t; NULL: the legacy default stream) of
 * the calling thread's current device, for kernels that leave partial results
 * in its memory: it is enqueued, may be captured, and needs no ring. The
 * tensors are read and written in the stream's order, the structs before the
 * call returns. Errors: INVALID, DEVICE, those of kvr_gpu_get_info.
 */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_attention_merge_on_stream(const struct kvr_partial *a,
			      const struct kvr_partial *b,
			      const struct kvr_partial *out, void *stream);

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
