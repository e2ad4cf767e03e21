/* SPDX-License-Identifier: Apache-2.0 */
/* The ranges of all ranks, by a pass whose blocks are range lists. */
#include <stdlib.h>
#include <string.h>

#include "runtime/plan.h"
#include "runtime/tensor.h"

/* What the ranks must agree on besides; travels as the block's metadata. */
enum {
	TERM_Q_HEADS,
	TERM_KV_HEADS,
	TERM_HEAD_DIM,
	TERM_VALUE_DIM,
	TERM_VALUES_IN_KEYS,
	TERM_DTYPE,
	TERM_MASK,
	TERM_WINDOW_LEFT,
	TERM_WINDOW_RIGHT,
	TERM_SCALE,
	TERM_SOFTCAP,
	TERM_SINKS,
	TERM_KV_WIRE,
	TERM_LAYOUT,
	TERM_COUNT
};

static const char *const term_names[TERM_COUNT] = {
	[TERM_Q_HEADS] = "q_heads",
	[TERM_KV_HEADS] = "kv_heads",
	[TERM_HEAD_DIM] = "head_dim",
	[TERM_VALUE_DIM] = "value_dim",
	[TERM_VALUES_IN_KEYS] = "values_in_keys",
	[TERM_DTYPE] = "dtype",
	[TERM_MASK] = "mask",
	[TERM_WINDOW_LEFT] = "window's left",
	[TERM_WINDOW_RIGHT] = "window's right",
	[TERM_SCALE] = "scale (bits)",
	[TERM_SOFTCAP] = "softcap (bits)",
	[TERM_SINKS] = "sinks (digest; 0: none)",
	[TERM_KV_WIRE] = "kv_wire",
	[TERM_LAYOUT] = "kernel layout",
};

struct terms {
	uint64_t term[TERM_COUNT];
};

static uint32_t bits_of(float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

/* FNV-1a: of 128 heads' sinks, say, one number is compared. */
static uint64_t digest_of(const struct kvr_compute_shape *s)
{
	const unsigned char *byte = (const unsigned char *)s->sinks;
	uint64_t digest = 0xcbf29ce484222325;

	if (!s->sinks)
		return 0;
	for (size_t i = 0; i < s->q_heads * sizeof(*s->sinks); i++)
		digest = (digest ^ byte[i]) * 0x100000001b3;
	return digest;
}

static void write_terms(const struct kvr_plan *plan, struct terms *out)
{
	const struct kvr_compute_shape *s = &plan->shape;

	*out = (struct terms){
		.term =
			{
				[TERM_Q_HEADS] = s->q_heads,
				[TERM_KV_HEADS] = s->kv_heads,
				[TERM_HEAD_DIM] = s->head_dim,
				[TERM_VALUE_DIM] = s->value_dim,
				[TERM_VALUES_IN_KEYS] = s->values_in_keys,
				[TERM_DTYPE] = s->dtype,
				[TERM_MASK] = s->mask,
				[TERM_WINDOW_LEFT] = s->left,
				[TERM_WINDOW_RIGHT] = s->right,
				[TERM_SCALE] = bits_of(s->scale),
				[TERM_SOFTCAP] = bits_of(s->softcap),
				[TERM_SINKS] = digest_of(s),
				[TERM_KV_WIRE] = s->kv_wire,
				[TERM_LAYOUT] = plan->ops->layout_id,
			},
	};
}

static enum kvr_status compare_terms(const struct kvr_plan *plan,
				     const struct kvr_block *block)
{
	struct terms ours, theirs;

	if (block->metadata_bytes != sizeof(theirs))
		return KVR_ERR_PROTOCOL;
	write_terms(plan, &ours);
	memcpy(&theirs, block->metadata, sizeof(theirs));
	for (int i = 0; i < TERM_COUNT; i++) {
		if (ours.term[i] == theirs.term[i])
			continue;
		kvr_log(&plan->ring->context->log, KVR_LOG_ERROR,
			"plan: %s is %llu on rank %u, %llu on rank %u; all "
			"ranks must plan alike",
			term_names[i], (unsigned long long)ours.term[i],
			plan->ring->rank, (unsigned long long)theirs.term[i],
			block->origin);
		return KVR_ERR_MISMATCH;
	}
	return KVR_OK;
}

/* Copies one rank's list; it comes from another process: checked. */
static enum kvr_status keep(struct kvr_plan *plan, uint32_t origin,
			    const void *data, size_t bytes)
{
	struct kvr_range *ranges;
	size_t tokens;

	if (bytes % sizeof(*ranges))
		return KVR_ERR_PROTOCOL;
	if (!bytes)
		return KVR_OK;
	ranges = malloc(bytes);
	if (!ranges)
		return KVR_ERR_NO_MEMORY;
	memcpy(ranges, data, bytes);
	plan->kv[origin] = (struct kvr_ranges){
		.range = ranges,
		.count = bytes / sizeof(*ranges),
	};
	if (kvr_ranges_tokens(plan->kv[origin], &tokens) != KVR_OK)
		return KVR_ERR_PROTOCOL;
	return KVR_OK;
}

static enum kvr_status take(struct kvr_plan *plan,
			    const struct kvr_block *block)
{
	enum kvr_status status = compare_terms(plan, block);

	if (status != KVR_OK || block->step == 0)
		return status;
	return keep(plan, block->origin, block->data, block->bytes);
}

typedef enum kvr_status (*take_fn)(struct kvr_plan *plan,
				   const struct kvr_block *block);

/* Takes every block, also after an error. */
static enum kvr_status collect(struct kvr_plan *plan, struct kvr_pass *pass,
			       take_fn take_one)
{
	enum kvr_status kept = KVR_OK;
	struct kvr_block block;
	enum kvr_status status;

	kvr_block_init(&block);
	while ((status = kvr_pass_next(pass, 0, &block)) == KVR_OK) {
		if (kept == KVR_OK)
			kept = take_one(plan, &block);
		status = kvr_pass_release(pass, 0, block.step);
		if (status != KVR_OK)
			return status;
	}
	return status == KVR_ERR_END ? kept : status;
}

enum kvr_status kvr_plan_rotate(struct kvr_plan *plan,
				const struct kvr_local_block *local,
				take_fn take_one)
{
	struct kvr_pass_desc desc;
	struct kvr_pass *pass;
	enum kvr_status status, ended;

	kvr_pass_desc_init(&desc);
	desc.tag = plan->ring->attention_tag + 1;
	desc.lane[0] = *local;
	status = kvr_pass_begin(plan->ring, &desc, &pass);
	if (status != KVR_OK)
		return status;
	plan->ring->attention_tag++;
	status = collect(plan, pass, take_one);
	ended = kvr_pass_end(pass);
	return status != KVR_OK ? status : ended;
}

enum kvr_status kvr_plan_exchange(struct kvr_plan *plan,
				  struct kvr_ranges local)
{
	size_t bytes = local.count * sizeof(*local.range);
	struct kvr_memory *memory = NULL;
	struct kvr_segment segment = {.bytes = bytes};
	enum kvr_status status;
	struct terms terms;

	plan->kv = calloc(plan->ring->n, sizeof(*plan->kv));
	if (!plan->kv)
		return KVR_ERR_NO_MEMORY;
	status = keep(plan, plan->ring->rank, local.range, bytes);
	if (status != KVR_OK)
		return status;
	if (bytes) {
		void *list =
			(void *)(uintptr_t)plan->kv[plan->ring->rank].range;

		status = kvr_memory_register(plan->ring->context, list, bytes,
					     &memory);
		if (status != KVR_OK)
			return status;
	}
	segment.memory = memory;
	write_terms(plan, &terms);
	status = kvr_plan_rotate(plan,
				 &(struct kvr_local_block){
					 .segments = &segment,
					 .segment_count = bytes ? 1 : 0,
					 .metadata = &terms,
					 .metadata_bytes = sizeof(terms),
				 },
				 take);
	kvr_memory_deregister(memory);
	return status;
}
