/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How far blocks must travel. Each rank knows all keys and its own queries;
 * the furthest block that any of its queries sees is what it needs. The
 * largest need of all ranks is what every block travels, on every rank alike.
 */
#include <string.h>

#include "runtime/plan.h"

/* Saturating; ranges end far below. */
static uint64_t add(uint64_t a, uint64_t b)
{
	uint64_t sum;

	return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

/* Does any token of q see any of kv? */
static bool sees(const struct kvr_compute_shape *shape,
		 const struct kvr_range *q, const struct kvr_range *kv)
{
	uint64_t left = UINT64_MAX, right = UINT64_MAX;

	if (q->sequence != kv->sequence || !q->length || !kv->length)
		return false;
	if (shape->windowed) {
		left = shape->left;
		right = shape->right;
	} else if (shape->mask == KVR_MASK_CAUSAL) {
		right = 0;
	}
	return kv->start <= add(q->start + q->length - 1, right) &&
	       q->start <= add(kv->start + kv->length - 1, left);
}

/* By sequence, as builders list them. */
static bool ascends(struct kvr_ranges ranges)
{
	for (size_t i = 1; i < ranges.count; i++)
		if (ranges.range[i].sequence < ranges.range[i - 1].sequence)
			return false;
	return true;
}

/* Of two lists of thousands, each range meets those of its sequence alone. */
static bool needs(const struct kvr_plan *plan, struct kvr_ranges q,
		  struct kvr_ranges kv)
{
	bool ordered = ascends(q) && ascends(kv);
	size_t first = 0;

	for (size_t i = 0; i < q.count; i++) {
		uint64_t sequence = q.range[i].sequence;

		while (ordered && first < kv.count &&
		       kv.range[first].sequence < sequence)
			first++;
		for (size_t j = first; j < kv.count; j++) {
			if (ordered && kv.range[j].sequence != sequence)
				break;
			if (sees(&plan->shape, &q.range[i], &kv.range[j]))
				return true;
		}
	}
	return false;
}

static uint32_t own_need(const struct kvr_plan *plan, struct kvr_ranges q)
{
	uint32_t n = plan->ring->n, hops = n - 1;

	while (hops > 0 &&
	       !needs(plan, q, plan->kv[(plan->ring->rank + n - hops) % n]))
		hops--;
	return hops;
}

/* It comes from another process: checked. */
static enum kvr_status take(struct kvr_plan *plan,
			    const struct kvr_block *block)
{
	uint32_t hops;

	if (block->bytes || block->metadata_bytes != sizeof(hops))
		return KVR_ERR_PROTOCOL;
	memcpy(&hops, block->metadata, sizeof(hops));
	if (hops >= plan->ring->n)
		return KVR_ERR_PROTOCOL;
	if (hops > plan->hops)
		plan->hops = hops;
	return KVR_OK;
}

enum kvr_status kvr_plan_agree_hops(struct kvr_plan *plan, struct kvr_ranges q)
{
	uint32_t need = own_need(plan, q);

	plan->hops = need;
	return kvr_plan_rotate(plan,
			       &(struct kvr_local_block){
				       .metadata = &need,
				       .metadata_bytes = sizeof(need),
			       },
			       take);
}
