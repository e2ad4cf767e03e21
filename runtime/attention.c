/* SPDX-License-Identifier: Apache-2.0 */
/* Ring attention forward: one pass, one compute step per block. */
#include <time.h>

#include "runtime/clock.h"
#include "runtime/pass.h"
#include "runtime/plan.h"
#include "runtime/progress.h"
#include "runtime/tensor.h"

static enum kvr_status refuse(const struct kvr_plan *plan, const char *what)
{
	kvr_log(&plan->ring->context->log, KVR_LOG_ERROR, "attention: %s",
		what);
	return KVR_ERR_INVALID;
}

/* Of one without rows data may be NULL. */
static bool can_read(const struct kvr_plan *plan, const struct kvr_tensor *t)
{
	return !t->tokens || plan->ops->can_read(t->data);
}

static enum kvr_status refuse_memory(const struct kvr_plan *plan)
{
	return refuse(plan, "the plan's kernel computes on the GPU, and a "
			    "tensor is in memory that only the host reads");
}

static enum kvr_status check_kv(const struct kvr_plan *plan,
				const struct kvr_tensor *k,
				const struct kvr_tensor *v)
{
	const struct kvr_compute_shape *s = &plan->shape;

	if (!kvr_tensor_is(k, s->dtype, plan->kv_tokens, s->kv_heads,
			   s->head_dim))
		return refuse(plan, "k is not [kv tokens, kv_heads, head_dim] "
				    "of the plan's dtype");
	if (!can_read(plan, k) || (v && !can_read(plan, v)))
		return refuse_memory(plan);
	if (s->values_in_keys)
		return v ? refuse(plan, "v is given, and the plan's values are "
					"in its keys; pass NULL")
			 : KVR_OK;
	if (!kvr_tensor_is(v, s->dtype, plan->kv_tokens, s->kv_heads,
			   s->value_dim))
		return refuse(plan, "v is not [kv tokens, kv_heads, value_dim] "
				    "of the plan's dtype");
	return KVR_OK;
}

static enum kvr_status check_q(const struct kvr_plan *plan,
			       const struct kvr_tensor *q,
			       const struct kvr_tensor *out)
{
	const struct kvr_compute_shape *s = &plan->shape;

	if (!kvr_tensor_is(q, s->dtype, plan->q_tokens, s->q_heads,
			   s->head_dim))
		return refuse(plan, "q is not [q tokens, q_heads, head_dim] of "
				    "the plan's dtype");
	if (!kvr_tensor_is(out, out->dtype, plan->q_tokens, s->q_heads,
			   s->value_dim))
		return refuse(plan, "out is not [q tokens, q_heads, "
				    "value_dim]");
	if (out->dtype != KVR_F32 && out->dtype != s->dtype)
		return refuse(plan, "out is neither f32 nor of q's dtype");
	if (!can_read(plan, q) || !can_read(plan, out))
		return refuse_memory(plan);
	return KVR_OK;
}

/* The ring is whole: blocks went on whatever became of the results. */
static enum kvr_status check_computed(const struct kvr_plan *plan)
{
	const char *why = plan->ops->failed(plan->compute);

	if (!why)
		return KVR_OK;
	kvr_log(&plan->ring->context->log, KVR_LOG_ERROR,
		"attention: kernel %s failed: %s", plan->ops->name, why);
	return KVR_ERR_DEVICE;
}

enum kvr_status kvr_attention_pack(struct kvr_plan *plan,
				   const struct kvr_tensor *k,
				   const struct kvr_tensor *v)
{
	enum kvr_status status;

	if (!plan || !k)
		return KVR_ERR_INVALID;
	if (kvr_context_forked(plan->ring->context))
		return KVR_ERR_FORKED;
	if (plan->page)
		return KVR_ERR_STATE;
	status = check_kv(plan, k, v);
	if (status != KVR_OK)
		return status;
	plan->packed = false;
	if (plan->block) {
		plan->ops->pack(plan->compute, plan->kv[plan->ring->rank], k, v,
				plan->block);
		status = check_computed(plan);
	}
	plan->packed = status == KVR_OK;
	return status;
}

static void describe(const struct kvr_plan *plan, struct kvr_pass_desc *desc)
{
	kvr_pass_desc_init(desc);
	desc->tag = plan->ring->attention_tag + 1;
	desc->hops = plan->hops;
	desc->lane[0].segments = plan->segments;
	desc->lane[0].segment_count = plan->segment_count;
}

static enum kvr_status begin(struct kvr_plan *plan)
{
	struct kvr_pass_desc desc;
	enum kvr_status status;

	describe(plan, &desc);
	status = kvr_pass_begin(plan->ring, &desc, &plan->pass);
	/* A refused call has no effect, or the ranks would count apart. */
	if (status == KVR_OK)
		plan->ring->attention_tag++;
	return status;
}

/* A block is as long as its owner's ranges say, or it is not believed. */
static bool right_size(const struct kvr_plan *plan,
		       const struct kvr_block *block)
{
	return block->bytes ==
	       plan->ops->block_bytes(&plan->shape, plan->kv[block->origin]);
}

static void step(struct kvr_plan *plan, const struct kvr_block *block)
{
	const struct kvr_ranges kv = plan->kv[block->origin];

	if (block->step == 0 && plan->page)
		plan->ops->step_pages(plan->compute, kv, plan->page);
	else
		plan->ops->step(plan->compute, kv, block->data);
}

/* Steps in the order of the ring: what makes two runs agree bit for bit. */
static enum kvr_status steps(struct kvr_plan *plan)
{
	enum kvr_status status;
	struct kvr_block block;

	kvr_block_init(&block);
	while ((status = kvr_pass_next(plan->pass, 0, &block)) == KVR_OK) {
		if (!right_size(plan, &block))
			return KVR_ERR_PROTOCOL;
		step(plan, &block);
		status = kvr_pass_release(plan->pass, 0, block.step);
		if (status != KVR_OK)
			return status;
		if (plan->on_step)
			plan->on_step(plan->on_step_arg, block.step + 1,
				      plan->hops + 1);
	}
	return status == KVR_ERR_END ? KVR_OK : status;
}

/* Whom to stop when the ring fails meanwhile; NULL: nobody. */
static void set_computing(struct kvr_ring *ring, struct kvr_compute *compute)
{
	pthread_mutex_lock(&ring->lock);
	ring->computing = compute;
	pthread_mutex_unlock(&ring->lock);
}

static enum kvr_status pass(struct kvr_plan *plan)
{
	enum kvr_status status, ended;

	status = begin(plan);
	if (status != KVR_OK)
		return status;
	set_computing(plan->ring, plan->compute);
	status = steps(plan);
	set_computing(plan->ring, NULL);
	if (status == KVR_ERR_PROTOCOL)
		kvr_ring_abort(plan->ring);
	ended = kvr_pass_end(plan->pass);
	return status != KVR_OK ? status : ended;
}

enum kvr_status kvr_plan_check_run(const struct kvr_plan *plan,
				   const struct kvr_tensor *q,
				   const struct kvr_tensor *out,
				   const float *lse, size_t lse_head_stride)
{
	enum kvr_status status = check_q(plan, q, out);

	if (status != KVR_OK)
		return status;
	if (lse && lse_head_stride < plan->q_tokens)
		return refuse(plan, "lse_head_stride is below the q tokens");
	if (lse && plan->q_tokens && !plan->ops->can_read(lse))
		return refuse_memory(plan);
	return KVR_OK;
}

enum kvr_status kvr_plan_run(struct kvr_plan *plan, const struct kvr_tensor *q,
			     const struct kvr_tensor *out, float *lse,
			     size_t lse_head_stride)
{
	enum kvr_status status;

	plan->ops->begin(plan->compute, q);
	status = pass(plan);
	if (status != KVR_OK)
		return status;
	plan->ops->finish(plan->compute, out, lse, lse_head_stride);
	return check_computed(plan);
}

/* Begun and cancelled at once: no byte of the local block leaves. */
static enum kvr_status begin_cancelled(struct kvr_plan *plan)
{
	struct kvr_ring *ring = plan->ring;
	uint64_t now_ns = kvr_clock_ns();
	struct kvr_pass_desc desc;
	enum kvr_status status;

	describe(plan, &desc);
	pthread_mutex_lock(&ring->lock);
	status = kvr_pass_open(ring, &desc, now_ns);
	if (status == KVR_OK) {
		plan->pass = &ring->pass;
		ring->attention_tag++;
		status = kvr_engine_cancel(ring->engine);
	}
	pthread_mutex_unlock(&ring->lock);
	kvr_progress_nudge(ring, now_ns);
	return status;
}

/*
 * There is no block to send, and the others must not wait for one: they get
 * CANCELLED. Who is too far ahead of them to begin waits, and at last aborts.
 */
static enum kvr_status give_up(struct kvr_plan *plan, enum kvr_status why)
{
	const struct timespec nap = {.tv_nsec = 100000};
	uint64_t end_ns = kvr_clock_ns() +
			  plan->ring->options.wait_timeout_ms * KVR_NS_PER_MS;
	enum kvr_status status;

	while ((status = begin_cancelled(plan)) == KVR_ERR_AGAIN &&
	       kvr_clock_ns() < end_ns) {
		(void)!kvr_ring_progress(plan->ring);
		nanosleep(&nap, NULL);
	}
	if (status == KVR_ERR_AGAIN)
		kvr_ring_abort(plan->ring);
	else if (status == KVR_OK)
		status = kvr_pass_end(plan->pass);
	return status == KVR_OK || status == KVR_ERR_CANCELLED ||
			       status == KVR_ERR_AGAIN
		       ? why
		       : status;
}

enum kvr_status kvr_attention_run(struct kvr_plan *plan,
				  const struct kvr_tensor *q,
				  const struct kvr_tensor *k,
				  const struct kvr_tensor *v,
				  const struct kvr_tensor *out, float *lse,
				  size_t lse_head_stride)
{
	enum kvr_status status;

	if (!plan || !q || !out || (v && !k))
		return KVR_ERR_INVALID;
	if (kvr_context_forked(plan->ring->context))
		return KVR_ERR_FORKED;
	status = kvr_plan_check_run(plan, q, out, lse, lse_head_stride);
	if (status != KVR_OK)
		return status;
	if (k)
		status = kvr_attention_pack(plan, k, v);
	else if (!plan->packed)
		return KVR_ERR_STATE;
	if (status == KVR_ERR_DEVICE)
		return give_up(plan, status);
	if (status != KVR_OK)
		return status;
	return kvr_plan_run(plan, q, out, lse, lse_head_stride);
}
