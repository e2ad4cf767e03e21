/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/plan.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/clock.h"
#include "runtime/progress.h"
#include "runtime/tensor.h"

void kvr_plan_desc_init(struct kvr_plan_desc *desc)
{
	*desc = (struct kvr_plan_desc){.size = sizeof(*desc), .threads = 1};
}

/* The caller's may go when the plan is made. */
static enum kvr_status keep_sinks(struct kvr_plan *plan)
{
	size_t bytes = plan->shape.q_heads * sizeof(*plan->sinks);

	if (!plan->shape.sinks)
		return KVR_OK;
	plan->sinks = malloc(bytes);
	if (!plan->sinks)
		return KVR_ERR_NO_MEMORY;
	memcpy(plan->sinks, plan->shape.sinks, bytes);
	plan->shape.sinks = plan->sinks;
	return KVR_OK;
}

static enum kvr_status resolve(struct kvr_plan *plan,
			       const struct kvr_plan_desc *desc,
			       struct kvr_ranges q, struct kvr_ranges kv)
{
	const struct kvr_log *log = &plan->ring->context->log;

	if (desc->size != sizeof(*desc) || desc->paged > 1 ||
	    kvr_shape_from_desc(desc, &plan->shape) != KVR_OK) {
		kvr_log(log, KVR_LOG_ERROR,
			"plan: the description is wrong; kv_heads must divide "
			"q_heads, head_dim and value_dim be 1 to %d, softcap "
			"not be negative, a window not reach below -1, a sink "
			"be finite or -inf, values in keys no wider than "
			"these, "
			"paged be 0 or 1",
			KVR_DIM_MAX);
		return KVR_ERR_INVALID;
	}
	if (desc->paged && desc->kv_wire != KVR_KV_PLAIN) {
		kvr_log(log, KVR_LOG_ERROR,
			"plan: pages hold K and V of their own type; leave "
			"kv_wire plain");
		return KVR_ERR_UNSUPPORTED;
	}
	if (kvr_ranges_tokens(q, &plan->q_tokens) != KVR_OK ||
	    kvr_ranges_tokens(kv, &plan->kv_tokens) != KVR_OK) {
		kvr_log(log, KVR_LOG_ERROR, "plan: a range wraps");
		return KVR_ERR_INVALID;
	}
	return keep_sinks(plan);
}

/* Of any rank's block. */
static size_t most_ranges(const struct kvr_plan *plan)
{
	size_t most = 0;

	for (uint32_t i = 0; i < plan->n; i++)
		if (plan->kv[i].count > most)
			most = plan->kv[i].count;
	return most;
}

/* Of any rank's. */
static size_t most_bytes(const struct kvr_plan *plan)
{
	size_t most = 0;

	for (uint32_t i = 0; i < plan->n; i++) {
		size_t bytes =
			plan->ops->block_bytes(&plan->shape, plan->kv[i]);

		if (bytes > most)
			most = bytes;
	}
	return most;
}

static enum kvr_status find_kernel(struct kvr_plan *plan,
				   const struct kvr_plan_desc *desc)
{
	const struct kvr_log *log = &plan->ring->context->log;
	enum kvr_status status =
		kvr_registry_find_compute(desc->kernel, &plan->ops);

	if (status != KVR_OK) {
		kvr_log(log, KVR_LOG_ERROR,
			"plan: no kernel %s here; `kvring info` lists them",
			desc->kernel ? desc->kernel : "(KVRING_CPU)");
	} else if (desc->paged && !plan->ops->paged) {
		kvr_log(log, KVR_LOG_ERROR, "plan: kernel %s takes no pages",
			plan->ops->name);
		status = KVR_ERR_UNSUPPORTED;
	}
	return status;
}

static void progress(void *arg)
{
	(void)kvr_progress_step(arg, kvr_clock_ns());
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
	status = find_kernel(plan, desc);
	if (status != KVR_OK)
		return status;
	plan->on_step = desc->on_step;
	plan->on_step_arg = desc->on_step_arg;
	status = kvr_plan_exchange(plan, kv);
	if (status == KVR_OK)
		status = kvr_plan_agree_hops(plan, q);
	if (status != KVR_OK)
		return status;
	status = kvr_plan_make_block(plan, desc->paged);
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
	if (status == KVR_OK)
		status = plan->ops->reserve(plan->compute, most_ranges(plan),
					    most_bytes(plan));
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
	kvr_plan_free_block(plan);
	free_ranges(plan);
	free(plan->sinks);
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
	if (ring->options.gpu >= 0) {
		kvr_log(&ring->context->log, KVR_LOG_ERROR,
			"kvr_plan_create: a plan keeps blocks in host memory, "
			"and this ring's slots are on a GPU");
		free(plan);
		return KVR_ERR_UNSUPPORTED;
	}
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
