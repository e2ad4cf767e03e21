/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The compute seam: one rank's side of the attention of a plan.
 *
 *	open -> { pack, begin, step ... step, finish } -> close
 *	          `-- once per run, steps in the order of the ring --'
 *
 * The block that travels is in the layout that the kernel wants: packed once
 * by its owner, used n times. Ranges keep their order in a block; rectangles
 * (q range x kv range) that the mask hides cost nothing, tiles inside a
 * rectangle likewise.
 *
 * Numerics: fp32 accumulation; the fp32 partials (running maximum, running
 * sum, unnormalised output) live in the object from begin to finish and are
 * merged in the order of the step calls. The result of a row depends on the
 * shape, its position, the ranges of keys and the order of steps alone: not on
 * the rows beside it, the number of threads or time. Neighbouring ranges whose
 * positions go on count as one where the first has a multiple of 16 tokens: a
 * page of a cache costs nothing, and changes no bit.
 */
#ifndef KVR_RUNTIME_COMPUTE_H
#define KVR_RUNTIME_COMPUTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kvring/attention.h"

#define KVR_BLOCK_ALIGN 64
#define KVR_BLOCK_BYTES_MOST (SIZE_MAX / KVR_BLOCK_ALIGN * KVR_BLOCK_ALIGN)

struct kvr_compute_shape {
	uint32_t q_heads, kv_heads;
	uint32_t head_dim, value_dim;
	bool values_in_keys; /* the first value_dim columns; v is NULL */
	enum kvr_dtype dtype;
	enum kvr_mask mask;
	/* Seen are only positions p - left .. p + right: mask is in it. */
	bool windowed;
	uint64_t left, right; /* UINT64_MAX: all */
	float scale;	      /* resolved: never 0 by default rule */
	float softcap;	      /* 0: none */
	const float *sinks;   /* of q_heads; NULL: none. Borrowed until close */
	enum kvr_kv_wire kv_wire;
};

struct kvr_ranges {
	const struct kvr_range *range;
	size_t count;
};

struct kvr_compute_ops;

struct kvr_compute {
	const struct kvr_compute_ops *ops;
};

struct kvr_compute_ops {
	const char *name; /* "portable", "avx2", "avx512" */

	/* Ranks can share blocks when their layout ids are equal. */
	uint32_t layout_id;

	/* KVR_OK when this processor can run it; reason as in transport.h. */
	enum kvr_status (*probe)(char *reason, size_t reason_bytes);

	/*
	 * Bytes of a packed block: a multiple of 64; 0 for no tokens;
	 * KVR_BLOCK_BYTES_MOST or nearly where no memory holds it. A block of
	 * several ranges is theirs, one after the other.
	 */
	size_t (*block_bytes)(const struct kvr_compute_shape *shape,
			      struct kvr_ranges kv);

	/*
	 * Starts the threads, allocates partials and scratch; q is copied.
	 * Errors: NO_MEMORY, SYSTEM.
	 */
	enum kvr_status (*open)(const struct kvr_compute_shape *shape,
				struct kvr_ranges q, uint32_t threads,
				struct kvr_compute **out);
	void (*close)(struct kvr_compute *compute);

	/* k, v rows in the order of kv's ranges -> block. */
	void (*pack)(struct kvr_compute *compute, struct kvr_ranges kv,
		     const struct kvr_tensor *k, const struct kvr_tensor *v,
		     void *block);

	/*
	 * k, v rows -> behind the `held` tokens of a page, which is the block
	 * of one range of theirs and is made that of one range of all. It has
	 * room for that.
	 */
	void (*append)(const struct kvr_compute_shape *shape, size_t held,
		       const struct kvr_tensor *k, const struct kvr_tensor *v,
		       void *page);

	/*
	 * Room for blocks of so many ranges and bytes; open makes some for 64
	 * ranges. Not between begin and finish. Errors: NO_MEMORY, DEVICE.
	 */
	enum kvr_status (*reserve)(struct kvr_compute *compute, size_t ranges,
				   size_t bytes);

	/* Partials to "nothing seen". q is borrowed until finish. */
	void (*begin)(struct kvr_compute *compute, const struct kvr_tensor *q);

	/* Adds a block. It is not read after the call returns. */
	void (*step)(struct kvr_compute *compute, struct kvr_ranges kv,
		     const void *block);

	/*
	 * The same for a block whose ranges are where they are: that of
	 * kv.range[i] at page[i], aligned to 64 bytes.
	 */
	void (*step_pages)(struct kvr_compute *compute, struct kvr_ranges kv,
			   const void *const *page);

	/*
	 * From any thread, between open and close: the step under way and
	 * those to come until the next begin return soon, and the partials
	 * are worthless. For a ring that failed: a step may take minutes.
	 */
	void (*stop)(struct kvr_compute *compute);

	/*
	 * From then on step calls pulse(arg) in the caller's thread, outside
	 * every lock, between pieces of its work: milliseconds apart, not
	 * seconds. Before the first begin. For a caller who has no thread
	 * that makes progress meanwhile.
	 */
	void (*set_pulse)(struct kvr_compute *compute, void (*pulse)(void *arg),
			  void *arg);

	/* Normalises. lse may be NULL. out is f32 or of shape's dtype. */
	void (*finish)(struct kvr_compute *compute,
		       const struct kvr_tensor *out, float *lse,
		       size_t lse_head_stride);

	/*
	 * After finish: why what the run gave is worthless, or NULL. Always
	 * NULL where nothing can fail.
	 */
	const char *(*failed)(const struct kvr_compute *compute);

	/* Can tensors be at this address? False: of the host, and not the GPU's
	 */
	bool (*can_read)(const void *address);

	bool paged; /* append and step_pages may be called */
};

#endif
