/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/plan.h"

#include <stdlib.h>

#include "runtime/progress.h"
#include "runtime/tensor.h"

#define BLOCK_ALIGN 4096

void kvr_plan_desc_init(struct kvr_plan_desc *desc)
{
	*desc = (struct kvr_plan_desc){.size = sizeof(*desc), .threads = 1};
}

enum kvr_status kvr_attention_block_bytes(const struct kvr_plan_desc *desc,
					  uint64_t tokens, size_t ranges,
					  size_t *out)
{
	const struct kvr_range all = {.length = tokens};
	const struct kvr_range one = {.length = 1};
	const struct kvr_compute_ops *ops;
	struct kvr_compute_shape shape;
	enum kvr_status status;
	size_t bytes, lists, more;

	if (!desc || !out)
		return KVR_ERR_INVALID;
	if (desc->size != sizeof(*desc))
		return KVR_ERR_INVALID;
	status = kvr_shape_from_desc(desc, &shape);
	if (status != KVR_OK)
		return status;
	status = kvr_registry_find_compute(desc->kernel, &ops);
	if (status != KVR_OK)
		return status;
	/*
	 * Each further range costs at most the padding of one token, and where
	 * panels do not fill whole lines of 64 bytes, one line.
	 */
	bytes = tokens ? ops->block_bytes(&shape, (struct kvr_ranges){&all, 1})
		       : 0;
	if (ranges > 1 &&
	    (__builtin_mul_overflow(
		     ranges - 1,
		     ops->block_bytes(&shape, (struct kvr_ranges){&one, 1}) +
			     (shape.kv_wire == KVR_KV_E4M3 ? 64 : 0),
		     &more) ||
	     __builtin_add_overflow(bytes, more, &bytes)))
		return KVR_ERR_LIMIT;
	/* The range list itself travels through the same slots. */
	if (__builtin_mul_overflow(ranges, sizeof(struct kvr_range), &lists) ||
	    bytes == SIZE_MAX)
		return KVR_ERR_LIMIT;
	*out = bytes > lists ? bytes : lists;
	return KVR_OK;
}

/* -------------------------------------------------------------- create */

static enum kvr_status allocate_block(struct kvr_plan *plan)
{
	struct kvr_ranges local = plan->kv[plan->ring->rank];
	size_t limit = plan->ring->options.lane[0].slot_bytes;

	plan->block_bytes = plan->ops->block_bytes(&plan->shape, local);
	if (plan->block_bytes > limit) {
		kvr_log(&plan->ring->context->log, KVR_LOG_ERROR,
			"plan: the local block has %zu bytes, slot_bytes is "
			"%zu; open the ring with kvr_attention_block_bytes",
			plan->block_bytes, limit);
		return KVR_ERR_LIMIT;
	}
	if (!plan->block_bytes)
		return KVR_OK;
	plan->block = aligned_alloc(BLOCK_ALIGN,
				    (plan->block_bytes + BLOCK_ALIGN - 1) /
					    BLOCK_ALIGN * BLOCK_ALIGN);
	if (!plan->block)
		return KVR_ERR_NO_MEMORY;
	return kvr_memory_register(plan->ring->context, plan->block,
				   plan->block_bytes, &plan->memory);
}

static enum kvr_status resolve(struct kvr_plan *plan,
			       const struct kvr_plan_desc *desc,
			       struct kvr_ranges q, struct kvr_ranges kv)
{
	const struct kvr_log *log = &plan->ring->context->log;

	if (desc->size != sizeof(*desc) ||
	    kvr_shape_from_desc(desc, &plan->shape) != KVR_OK) {
		kvr_log(log, KVR_LOG_ERROR,
			"plan: the description is wrong; kv_heads must divide "
			"q_heads, head_dim and value_dim be 1 to %d, softcap "
			"not be negative, a window not reach below -1",
			KVR_DIM_MAX);
		return KVR_ERR_INVALID;
	}
	if (kvr_ranges_tokens(q, &plan->q_tokens) != KVR_OK ||
	    kvr_ranges_tokens(kv, &plan->kv_tokens) != KVR_OK) {
		kvr_log(log, KVR_LOG_ERROR, "plan: a range wraps");
		return KVR_ERR_INVALID;
	}
	return KVR_OK;
}

static void progress(void *arg)
{
	(void)kvr_progress_step(arg);
}

static enum kvr_status fill(struct kvr_plan *plan,
			    const struct kvr_plan_desc *desc)
{
	const struct kvr_log *log = &plan->ring->context->log;
	const struct kvr_ranges q = {desc->q_ranges, desc->q_range_count};
	const struct kvr_ranges kv = {desc->kv_ranges, desc->kv_range_count};
	enum kvr_status status;

	status = resolve(plan, desc, q, kv);
	if (status != KVR_OK)
		return status;
	status = kvr_registry_find_compute(desc->kernel, &plan->ops);
	if (status != KVR_OK) {
		kvr_log(log, KVR_LOG_ERROR,
			"plan: no kernel %s here; `kvring info` lists them",
			desc->kernel ? desc->kernel : "(KVRING_CPU)");
		return status;
	}
	plan->on_step = desc->on_step;
	plan->on_step_arg = desc->on_step_arg;
	status = kvr_plan_exchange(plan, kv);
	if (status == KVR_OK)
		status = kvr_plan_agree_hops(plan, q);
	if (status != KVR_OK)
		return status;
	status = allocate_block(plan);
	if (status != KVR_OK)
		return status;
	status = plan->ops->open(&plan->shape, q,
				 desc->threads ? desc->threads : 1,
				 &plan->compute);
	if (status != KVR_OK)
		kvr_log(log, KVR_LOG_ERROR,
			"plan: kernel %s cannot be opened with %u threads: %s",
			plan->ops->name, desc->threads,
			kvr_status_text(status));
	/* A step may take longer than a peer waits for a heartbeat. */
	if (status == KVR_OK &&
	    plan->ring->context->progress == KVR_PROGRESS_CALLER)
		plan->ops->set_pulse(plan->compute, progress, plan->ring);
	return status;
}

static void free_ranges(struct kvr_plan *plan)
{
	if (!plan->kv)
		return;
	for (uint32_t i = 0; i < plan->n; i++)
		free((void *)(uintptr_t)plan->kv[i].range);
	free(plan->kv);
}

static void release(struct kvr_plan *plan)
{
	if (plan->compute)
		plan->ops->close(plan->compute);
	kvr_memory_deregister(plan->memory);
	free(plan->block);
	free_ranges(plan);
	free(plan);
}

enum kvr_status kvr_plan_create(struct kvr_ring *ring,
				const struct kvr_plan_desc *desc,
				struct kvr_plan **out)
{
	struct kvr_plan *plan;
	enum kvr_status status;

	if (!ring || !desc || !out)
		return KVR_ERR_INVALID;
	if (kvr_context_forked(ring->context))
		return KVR_ERR_FORKED;
	plan = calloc(1, sizeof(*plan));
	if (!plan)
		return KVR_ERR_NO_MEMORY;
	plan->ring = ring;
	plan->context = ring->context;
	plan->n = ring->n;
	status = fill(plan, desc);
	if (status != KVR_OK) {
		release(plan);
		return status;
	}
	*out = plan;
	return KVR_OK;
}

void kvr_plan_destroy(struct kvr_plan *plan)
{
	if (plan && !kvr_context_forked(plan->context))
		release(plan);
}

const char *kvr_plan_kernel(const struct kvr_plan *plan)
{
	return plan->ops->name;
}

struct kvr_pass *kvr_plan_pass(const struct kvr_plan *plan)
{
	return plan->pass;
}
