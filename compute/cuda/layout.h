/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The block of the accelerators, layout id 16: rows as cuBLAS reads them,
 * with one distance between neighbours in the whole block.
 *
 *	block   | range 0         | range 1         | ...
 *	range   | token 0 | token 1 | ... | up to 3 rows of 0 |
 *	token   | kv head 0 | kv head 1 | ...
 *	head    | K, head_dim elements, 0 up to 16 B | V, likewise |
 *
 * A range takes a multiple of 4 rows, so that it is one of 64 bytes, and the
 * block of several ranges is theirs, one after the other. Where the values are
 * columns of the keys, there is no V. Dims that are multiples of 16 bytes are
 * not padded: then this is a tensor of [token, head, K V].
 */
#ifndef KVR_COMPUTE_CUDA_LAYOUT_H
#define KVR_COMPUTE_CUDA_LAYOUT_H

#include "compute/cuda/kernels.h"
#include "runtime/compute.h"

#define KVR_CUDA_RANGE_ROWS 4

/* In elements, unless it says bytes. */
struct kvr_cuda_layout {
	uint32_t bytes; /* of an element */
	uint32_t k, v;	/* of a head, padded; v 0: values are in keys */
	uint32_t out;	/* value_dim, padded likewise */
	size_t head, row;
};

struct kvr_cuda_layout
kvr_cuda_layout_of(const struct kvr_compute_shape *shape);

/* See kvr_compute_ops. */
size_t kvr_cuda_block_bytes(const struct kvr_compute_shape *shape,
			    struct kvr_ranges kv);

/* A range, or several that go on where they lie, at rows from `row`. */
struct kvr_cuda_run {
	struct kvr_range range;
	size_t row;
};

/*
 * Ranges as runs, which have room for all of them; each range takes a multiple
 * of `align` rows. Returns how many there are.
 */
size_t kvr_cuda_runs(struct kvr_ranges ranges, size_t align,
		     struct kvr_cuda_run *runs);

/* Rows row .. row + rows - 1, and what is in them, counted from row. */
struct kvr_cuda_cut {
	size_t row;
	uint32_t rows, count;
	struct kvr_cuda_segment segment[KVR_CUDA_KV_SEGMENTS];
};

/* Cuts runs into pieces of at most so many rows and segments. */
struct kvr_cuda_cutter {
	const struct kvr_cuda_run *run;
	size_t count;
	uint32_t rows, segments; /* at most */
	size_t at;		 /* the run */
	uint64_t done;		 /* of it */
};

/* False: no more. */
bool kvr_cuda_cut_next(struct kvr_cuda_cutter *cutter,
		       struct kvr_cuda_cut *out);

/*
 * What of the keys any of the queries sees, into tile's segments, masked,
 * left, right and keys; *first is the row of kv that its keys begin with.
 * False: nothing.
 */
bool kvr_cuda_look(const struct kvr_compute_shape *shape,
		   const struct kvr_cuda_cut *q, const struct kvr_cuda_cut *kv,
		   struct kvr_cuda_tile *tile, uint32_t *first);

/* How large tiles are; rows are those of one kv head. */
struct kvr_cuda_tiling {
	uint32_t keys, rows, tokens, heads;
};

/*
 * Tiles for `tokens` queries such that scores of two of them take half of
 * cache_bytes at most, of which the other half is for what streams past. The
 * smallest is 16 keys of one token and one kv head.
 */
struct kvr_cuda_tiling
kvr_cuda_choose_tiling(const struct kvr_compute_shape *shape, size_t tokens,
		       size_t cache_bytes);

#endif
