/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A plan: the ranges of all ranks, exchanged once, and this rank's kernel
 * with its partials. Running it per layer moves nothing but blocks.
 */
#ifndef KVR_RUNTIME_PLAN_H
#define KVR_RUNTIME_PLAN_H

#include <stdbool.h>

#include "runtime/compute.h"
#include "runtime/ring.h"

struct kvr_plan {
	struct kvr_ring *ring;
	struct kvr_context *context; /* of ring, which may be gone at the end */
	uint32_t n;		     /* likewise */
	const struct kvr_compute_ops *ops;
	struct kvr_compute *compute;
	struct kvr_compute_shape shape;
	float *sinks; /* of shape; NULL: none */
	kvr_step_fn on_step;
	void *on_step_arg;

	size_t q_tokens, kv_tokens; /* local */
	struct kvr_ranges *kv;	    /* of each rank; ranges owned */
	uint32_t hops;		    /* of every block, on every rank */

	/* Where the local block is sent from: one segment, or its pages. */
	struct kvr_segment *segments; /* room for one and each range */
	size_t segment_count;
	size_t block_bytes;
	void *block;		   /* packed; NULL when empty or paged */
	struct kvr_memory *memory; /* block, registered */
	bool packed;
	const void **page;     /* of each range; NULL unless paged */
	struct kvr_pass *pass; /* of the newest run */
};

/* The local block's segments, and the block unless paged. */
enum kvr_status kvr_plan_make_block(struct kvr_plan *plan, bool paged);
void kvr_plan_free_block(struct kvr_plan *plan);

/* Shape and kernel of desc, whose ranges are ignored. */
enum kvr_status kvr_plan_find_kernel(const struct kvr_plan_desc *desc,
				     struct kvr_compute_shape *shape,
				     const struct kvr_compute_ops **ops);

/*
 * What the two ways to run share: the block is in segments. Errors: as
 * kvr_attention_run.
 */
enum kvr_status kvr_plan_check_run(const struct kvr_plan *plan,
				   const struct kvr_tensor *q,
				   const struct kvr_tensor *out,
				   const float *lse, size_t lse_head_stride);
enum kvr_status kvr_plan_run(struct kvr_plan *plan, const struct kvr_tensor *q,
			     const struct kvr_tensor *out, float *lse,
			     size_t lse_head_stride);

/*
 * The pass in which range lists travel: fills plan->kv. Errors: NO_MEMORY,
 * LIMIT, MISMATCH, PROTOCOL, and the pass's.
 */
enum kvr_status kvr_plan_exchange(struct kvr_plan *plan,
				  struct kvr_ranges local);

/*
 * Another pass, in which every rank tells how many hops it needs: the largest
 * number is plan->hops. Errors: PROTOCOL, and the pass's.
 */
enum kvr_status kvr_plan_agree_hops(struct kvr_plan *plan, struct kvr_ranges q);

/*
 * A pass of local blocks that `take` looks at, this rank's own first. Its
 * first error is returned, after the pass: the ring shall stay whole.
 */
enum kvr_status
kvr_plan_rotate(struct kvr_plan *plan, const struct kvr_local_block *local,
		enum kvr_status (*take)(struct kvr_plan *plan,
					const struct kvr_block *block));

#endif
