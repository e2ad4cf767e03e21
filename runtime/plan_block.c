/* SPDX-License-Identifier: Apache-2.0 */
/* The local block of a plan, and how large blocks are. */
#include <stdlib.h>

#include "kvring/pages.h"
#include "runtime/plan.h"
#include "runtime/tensor.h"

#define BLOCK_ALIGN 4096

enum kvr_status kvr_plan_find_kernel(const struct kvr_plan_desc *desc,
				     struct kvr_compute_shape *shape,
				     const struct kvr_compute_ops **ops)
{
	enum kvr_status status;

	if (!desc || desc->size != sizeof(*desc))
		return KVR_ERR_INVALID;
	status = kvr_shape_from_desc(desc, shape);
	if (status != KVR_OK)
		return status;
	return kvr_registry_find_compute(desc->kernel, ops);
}

/* Of one range. */
static enum kvr_status range_bytes(const struct kvr_compute_ops *ops,
				   const struct kvr_compute_shape *shape,
				   uint64_t tokens, size_t *out)
{
	const struct kvr_range range = {.length = tokens};
	size_t bytes = ops->block_bytes(shape, (struct kvr_ranges){&range, 1});

	if (bytes >= KVR_BLOCK_BYTES_MOST)
		return KVR_ERR_LIMIT;
	*out = bytes;
	return KVR_OK;
}

enum kvr_status kvr_attention_page_bytes(const struct kvr_plan_desc *desc,
					 uint64_t tokens, size_t *out)
{
	const struct kvr_compute_ops *ops;
	struct kvr_compute_shape shape;
	enum kvr_status status;

	if (!out)
		return KVR_ERR_INVALID;
	status = kvr_plan_find_kernel(desc, &shape, &ops);
	if (status != KVR_OK)
		return status;
	return range_bytes(ops, &shape, tokens, out);
}

/* The range list itself travels through the same slots. */
static enum kvr_status with_list(size_t bytes, size_t ranges, size_t *out)
{
	size_t list;

	if (bytes >= KVR_BLOCK_BYTES_MOST ||
	    __builtin_mul_overflow(ranges, sizeof(struct kvr_range), &list))
		return KVR_ERR_LIMIT;
	*out = bytes > list ? bytes : list;
	return KVR_OK;
}

enum kvr_status kvr_attention_block_bytes(const struct kvr_plan_desc *desc,
					  uint64_t tokens, size_t ranges,
					  size_t *out)
{
	size_t bytes, one, more;
	enum kvr_status status;

	if (!out)
		return KVR_ERR_INVALID;
	status = kvr_attention_page_bytes(desc, tokens, &bytes);
	if (status == KVR_OK)
		status = kvr_attention_page_bytes(desc, 1, &one);
	if (status != KVR_OK)
		return status;
	/*
	 * Each further range costs at most the padding of one token, and where
	 * panels do not fill whole lines of 64 bytes, one line.
	 */
	one += desc->kv_wire == KVR_KV_E4M3 ? KVR_BLOCK_ALIGN : 0;
	if (__builtin_mul_overflow(ranges > 1 ? ranges - 1 : 0, one, &more) ||
	    __builtin_add_overflow(bytes, more, &bytes))
		return KVR_ERR_LIMIT;
	return with_list(bytes, ranges, out);
}

enum kvr_status kvr_plan_desc_block_bytes(const struct kvr_plan_desc *desc,
					  size_t *out)
{
	const struct kvr_compute_ops *ops;
	struct kvr_compute_shape shape;
	enum kvr_status status;
	struct kvr_ranges kv;
	size_t tokens;

	if (!out)
		return KVR_ERR_INVALID;
	status = kvr_plan_find_kernel(desc, &shape, &ops);
	if (status != KVR_OK)
		return status;
	kv = (struct kvr_ranges){desc->kv_ranges, desc->kv_range_count};
	status = kvr_ranges_tokens(kv, &tokens);
	if (status != KVR_OK)
		return status;
	return with_list(ops->block_bytes(&shape, kv), kv.count, out);
}

/* -------------------------------------------------------------- memory */

static enum kvr_status check_limit(const struct kvr_plan *plan)
{
	size_t limit = plan->ring->options.lane[0].slot_bytes;

	if (plan->block_bytes <= limit)
		return KVR_OK;
	kvr_log(&plan->ring->context->log, KVR_LOG_ERROR,
		"plan: the local block has %zu bytes, slot_bytes is %zu; open "
		"the ring with kvr_attention_block_bytes",
		plan->block_bytes, limit);
	return KVR_ERR_LIMIT;
}

/* The segment is filled in when its memory is registered. */
static enum kvr_status make_packed(struct kvr_plan *plan)
{
	enum kvr_status status;

	if (!plan->block_bytes)
		return KVR_OK;
	plan->block = aligned_alloc(BLOCK_ALIGN,
				    (plan->block_bytes + BLOCK_ALIGN - 1) /
					    BLOCK_ALIGN * BLOCK_ALIGN);
	if (!plan->block)
		return KVR_ERR_NO_MEMORY;
	status = kvr_memory_register(plan->ring->context, plan->block,
				     plan->block_bytes, &plan->memory);
	if (status != KVR_OK)
		return status;
	plan->segments[0] = (struct kvr_segment){
		.memory = plan->memory,
		.bytes = plan->block_bytes,
	};
	plan->segment_count = 1;
	return KVR_OK;
}

enum kvr_status kvr_plan_make_block(struct kvr_plan *plan, bool paged)
{
	struct kvr_ranges local = plan->kv[plan->ring->rank];
	enum kvr_status status;

	plan->block_bytes = plan->ops->block_bytes(&plan->shape, local);
	status = check_limit(plan);
	if (status != KVR_OK)
		return status;
	/* + 1: also that NULL must mean failure. */
	plan->segments =
		calloc((paged ? local.count : 0) + 1, sizeof(*plan->segments));
	if (!plan->segments)
		return KVR_ERR_NO_MEMORY;
	if (!paged)
		return make_packed(plan);
	plan->page = calloc(local.count + 1, sizeof(*plan->page));
	return plan->page ? KVR_OK : KVR_ERR_NO_MEMORY;
}

void kvr_plan_free_block(struct kvr_plan *plan)
{
	kvr_memory_deregister(plan->memory);
	free(plan->block);
	free(plan->page);
	free(plan->segments);
}
