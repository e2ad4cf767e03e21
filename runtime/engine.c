/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "runtime/engine_internal.h"

#define ENGINE_ALIGN ((size_t)64)

/* ---------------------------------------------------------- memory, init */

static uint64_t chunks_of(const struct kvr_engine_config *config, uint32_t lane)
{
	return engine_ceil(config->lane[lane].slot_bytes, config->chunk_bytes);
}

static enum kvr_status check_lanes(const struct kvr_engine_config *config)
{
	bool forwards = config->n > 2;

	for (uint32_t i = 0; i < config->lanes; i++) {
		if (config->lane[i].kind != KVR_LANE_IMMUTABLE &&
		    config->lane[i].kind != KVR_LANE_ACCUMULATING)
			return KVR_ERR_INVALID;
		if (chunks_of(config, i) > KVR_CHUNKS_MAX)
			return KVR_ERR_LIMIT;
		forwards |= config->n == 2 &&
			    config->lane[i].kind == KVR_LANE_ACCUMULATING;
	}
	/* Everyone full, everyone must forward first. */
	return forwards && config->slots < 2 ? KVR_ERR_STATE : KVR_OK;
}

static enum kvr_status check(const struct kvr_engine_config *config)
{
	if (config->n == 0 || config->n >= ENGINE_RANK_NONE ||
	    config->rank >= config->n)
		return KVR_ERR_INVALID;
	if (config->lanes == 0 || config->lanes > KVR_LANES_MAX ||
	    config->slots == 0 || config->slots > ENGINE_SLOTS_MAX)
		return KVR_ERR_INVALID;
	if (config->chunk_bytes == 0 || config->heartbeat_ns == 0 ||
	    config->silence_ns <= config->heartbeat_ns)
		return KVR_ERR_INVALID;
	return check_lanes(config);
}

static size_t align(size_t bytes)
{
	return (bytes + ENGINE_ALIGN - 1) & ~(ENGINE_ALIGN - 1);
}

static size_t slots_bytes(const struct kvr_engine_config *config)
{
	return align(config->slots * sizeof(struct engine_slot));
}

static size_t bitmaps_bytes(const struct kvr_engine_config *config,
			    uint32_t lane)
{
	return align(2 * config->slots * sizeof(uint64_t) *
		     (size_t)engine_ceil(chunks_of(config, lane), 64));
}

size_t kvr_engine_bytes(const struct kvr_engine_config *config)
{
	size_t bytes = align(sizeof(struct kvr_engine));

	if (check(config) != KVR_OK)
		return 0;
	for (uint32_t i = 0; i < config->lanes; i++)
		bytes += slots_bytes(config) + bitmaps_bytes(config, i);
	return bytes;
}

static char *lay_out_lane(struct kvr_engine *e, uint32_t index, char *memory)
{
	struct engine_lane *lane = &e->lane[index];
	uint64_t *words;

	lane->chunks_max = (uint32_t)chunks_of(&e->config, index);
	lane->words = (uint32_t)engine_ceil(lane->chunks_max, 64);
	lane->slot = (struct engine_slot *)(void *)memory;
	memory += slots_bytes(&e->config);
	words = (uint64_t *)(void *)memory;
	for (uint32_t i = 0; i < e->config.slots; i++) {
		lane->slot[i].landed = words;
		words += lane->words;
		lane->slot[i].posted = words;
		words += lane->words;
	}
	return memory + bitmaps_bytes(&e->config, index);
}

enum kvr_status kvr_engine_init(void *memory,
				const struct kvr_engine_config *config,
				const struct kvr_engine_actions *actions,
				void *arg, uint64_t now_ns,
				struct kvr_engine **out)
{
	enum kvr_status status = check(config);
	struct kvr_engine *e = memory;
	char *rest = (char *)memory + align(sizeof(*e));

	if (status != KVR_OK)
		return status;
	memset(memory, 0, kvr_engine_bytes(config));
	e->config = *config;
	e->actions = *actions;
	e->arg = arg;
	e->last_ns = now_ns;
	e->beat_ns = now_ns + config->heartbeat_ns;
	for (uint32_t i = 0; i < config->lanes; i++)
		rest = lay_out_lane(e, i, rest);
	for (int side = 0; side < 2; side++) {
		e->edge[side].lost = config->n == 1;
		e->edge[side].bye_received = config->n == 1;
	}
	*out = e;
	return KVR_OK;
}

/* --------------------------------------------------------------- events */

void kvr_engine_wake(struct kvr_engine *e)
{
	e->actions.wake(e->arg);
}

/* Notes back-pressure. */
enum kvr_status kvr_engine_refused(struct kvr_engine *e, enum kvr_status status)
{
	if (status != KVR_OK) {
		e->blocked = true;
		e->counters.back_pressure++;
	}
	return status;
}

static void on_bye(struct kvr_engine *e, enum kvr_side side)
{
	if (e->edge[side].bye_received) {
		kvr_engine_fail_protocol(e, side, "bye");
		return;
	}
	e->edge[side].bye_received = true;
	engine_note(e, KVR_NOTE_BYE, side, 0, 0);
	kvr_engine_wake(e);
}

/* Blocks come from prev only, credits from next only. */
static bool direction_right(enum kvr_side side, enum kvr_imm_type type)
{
	if (type == KVR_IMM_CHUNK || type == KVR_IMM_DESCRIPTOR)
		return side == KVR_PREV;
	return type != KVR_IMM_CREDIT || side == KVR_NEXT;
}

void kvr_engine_arrived(struct kvr_engine *engine, enum kvr_side side,
			uint32_t imm, const struct kvr_descriptor *desc,
			uint64_t now_ns)
{
	struct kvr_imm decoded = kvr_imm_decode(imm);

	kvr_engine_observe(engine, now_ns);
	kvr_engine_heard(engine, side);
	if (engine_failed(engine))
		return;
	if (!direction_right(side, decoded.type) ||
	    decoded.lane >= engine->config.lanes) {
		kvr_engine_fail_protocol(engine, side, "immediate");
		return;
	}
	switch (decoded.type) {
	case KVR_IMM_CHUNK:
		kvr_engine_on_chunk(engine, &decoded);
		break;
	case KVR_IMM_DESCRIPTOR:
		kvr_engine_on_descriptor(engine, &decoded, desc);
		break;
	case KVR_IMM_CREDIT:
		kvr_engine_on_credit(engine, &decoded);
		break;
	case KVR_IMM_HEARTBEAT:
		break;
	case KVR_IMM_BYE:
		on_bye(engine, side);
		break;
	case KVR_IMM_ABORT_STEP:
		engine->edge[side].abort_step = decoded.value;
		break;
	case KVR_IMM_ABORT:
		kvr_engine_on_abort(engine, side, decoded.value);
		break;
	default:
		kvr_engine_fail_protocol(engine, side, "immediate");
	}
}

bool kvr_engine_run(struct kvr_engine *engine, uint64_t now_ns)
{
	bool acted = false;

	kvr_engine_observe(engine, now_ns);
	engine->blocked = false;
	if (!engine_failed(engine))
		kvr_engine_judge(engine);
	if (!engine_failed(engine)) {
		acted |= kvr_engine_post(engine);
		for (uint32_t i = 0; i < engine->config.lanes; i++)
			acted |= kvr_engine_grant(engine, i);
	}
	acted |= kvr_engine_signal_all(engine);
	if (!engine_failed(engine) && kvr_engine_retire(engine)) {
		kvr_engine_signal_all(engine);
		acted = true;
	}
	return acted;
}

bool kvr_engine_blocked(const struct kvr_engine *engine)
{
	return engine->blocked;
}

/* ---------------------------------------------------------------- state */

const struct kvr_engine_failure *
kvr_engine_failure(const struct kvr_engine *engine)
{
	return &engine->failure;
}

const struct kvr_engine_counters *
kvr_engine_counters(const struct kvr_engine *engine)
{
	return &engine->counters;
}

void kvr_engine_pass_bytes(const struct kvr_engine *engine, uint64_t *sent,
			   uint64_t *received)
{
	const struct engine_record *r =
		&engine->record[(engine->begun - 1) % KVR_ENGINE_PASSES];

	*sent = engine->begun ? r->sent : 0;
	*received = engine->begun ? r->received : 0;
}
