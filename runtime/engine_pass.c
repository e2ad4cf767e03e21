/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's passes: what the caller does, and what it is told. */
#include "runtime/engine_internal.h"

struct engine_record *kvr_engine_record_of(struct kvr_engine *e, uint32_t lane,
					   uint64_t block)
{
	for (uint64_t p = e->retired; p < e->begun; p++) {
		struct engine_record *r = &e->record[p % KVR_ENGINE_PASSES];
		const struct engine_part *part = &r->part[lane];

		if (block >= part->base && block < part->base + part->hops)
			return r;
	}
	return NULL;
}

bool kvr_engine_all_taken(const struct kvr_engine *e,
			  const struct engine_record *r)
{
	for (uint32_t i = 0; i < e->config.lanes; i++)
		if (r->part[i].steps <= r->part[i].hops)
			return false;
	return true;
}

bool kvr_engine_local_done(const struct kvr_engine *e,
			   const struct engine_record *r)
{
	for (uint32_t i = 0; i < e->config.lanes; i++)
		if (r->part[i].hops && !engine_out_done(&r->part[i].local))
			return false;
	return true;
}

void kvr_engine_mark_cancelled(struct kvr_engine *e, struct engine_record *r)
{
	if (r->cancelled)
		return;
	r->cancelled = true;
	engine_note(e, KVR_NOTE_CANCELLED, 0, r->pass.tag, 0);
	kvr_engine_wake(e);
}

static bool through(const struct kvr_engine *e, const struct engine_record *r)
{
	if (!r->ended || !kvr_engine_local_done(e, r))
		return false;
	for (uint32_t i = 0; i < e->config.lanes; i++)
		if (e->lane[i].signalled < r->part[i].base + r->part[i].hops)
			return false;
	return true;
}

/* Frees the records of passes that are through. True: there was one. */
bool kvr_engine_retire(struct kvr_engine *e)
{
	uint64_t before = e->retired;

	while (e->retired < e->begun - e->open &&
	       through(e, &e->record[e->retired % KVR_ENGINE_PASSES]))
		e->retired++;
	if (e->retired == before)
		return false;
	kvr_engine_wake(e);
	return true;
}

/* ---------------------------------------------------------------- begin */

static enum kvr_status check_pass(const struct kvr_engine *e,
				  const struct kvr_engine_pass *pass)
{
	if (pass->hops > e->config.n - 1)
		return KVR_ERR_INVALID;
	for (uint32_t i = 0; i < e->config.lanes; i++) {
		if (engine_accumulating(e, i) && pass->hops < e->config.n - 1)
			return KVR_ERR_INVALID;
		if (pass->bytes[i] > e->config.lane[i].slot_bytes ||
		    pass->metadata_bytes[i] > KVR_METADATA_MAX)
			return KVR_ERR_LIMIT;
	}
	return KVR_OK;
}

/* Blocks that came before the pass was begun here. */
static void admit_early(struct kvr_engine *e, uint32_t lane,
			struct engine_record *r)
{
	const struct engine_part *part = &r->part[lane];
	uint64_t end = e->lane[lane].granted + e->config.slots;

	if (end > part->base + part->hops)
		end = part->base + part->hops;
	for (uint64_t k = part->base; k < end && !engine_failed(e); k++) {
		struct engine_slot *slot = engine_slot_at(e, lane, k);

		if (slot->described)
			kvr_engine_admit(e, lane, k, r);
		if (kvr_engine_complete(slot))
			kvr_engine_count_received(r, slot);
	}
}

static void open_lane(struct kvr_engine *e, uint32_t lane,
		      struct engine_record *r)
{
	struct engine_lane *l = &e->lane[lane];
	uint32_t hops = r->pass.hops;

	/* One more brings the block home; alone it never left. */
	if (engine_accumulating(e, lane) && e->config.n > 1)
		hops = e->config.n;
	r->part[lane].base = l->end;
	r->part[lane].hops = hops;
	l->end += hops;
}

enum kvr_status kvr_engine_begin(struct kvr_engine *engine,
				 const struct kvr_engine_pass *pass,
				 uint32_t *record)
{
	uint32_t index = (uint32_t)(engine->begun % KVR_ENGINE_PASSES);
	struct engine_record *r = &engine->record[index];
	enum kvr_status status = check_pass(engine, pass);

	if (engine_failed(engine))
		return engine->failure.status;
	if (engine->open || engine->bye_wanted)
		return KVR_ERR_STATE;
	if (status != KVR_OK)
		return status;
	if (engine->begun - engine->retired == KVR_ENGINE_PASSES)
		return KVR_ERR_AGAIN;
	*r = (struct engine_record){.pass = *pass};
	engine->open = true;
	engine->begun++;
	engine->counters.passes++;
	for (uint32_t i = 0; i < engine->config.lanes; i++) {
		open_lane(engine, i, r);
		admit_early(engine, i, r);
	}
	if (engine_failed(engine))
		return engine->failure.status;
	*record = index;
	return KVR_OK;
}

uint32_t kvr_engine_next_slot(const struct kvr_engine *engine, uint32_t lane)
{
	return (uint32_t)(engine->lane[lane].end % engine->config.slots);
}

/* ------------------------------------------------------- take, release */

static void take_local(struct kvr_engine *e, uint32_t lane,
		       const struct engine_record *r,
		       struct kvr_engine_block *out)
{
	*out = (struct kvr_engine_block){
		.origin = e->config.rank,
		.slot = KVR_SOURCE_LOCAL,
		.bytes = r->pass.bytes[lane],
		.metadata_bytes = r->pass.metadata_bytes[lane],
	};
}

/*
 * Is the credit for this block's slot waiting for a block that the caller
 * still holds? Credits go out in slot order, so one old block can hold back
 * the slots of newer ones that were released.
 */
static bool held_back(const struct kvr_engine *e, uint32_t lane,
		      const struct engine_part *part, uint64_t block)
{
	uint64_t k = e->lane[lane].granted;

	if (k < part->base)
		k = part->base;
	for (; k + e->config.slots <= block; k++)
		if (!engine_slot_at(e, lane, k)->released)
			return true;
	return false;
}

static enum kvr_status take_received(struct kvr_engine *e, uint32_t lane,
				     const struct engine_part *part,
				     struct kvr_engine_block *out)
{
	struct engine_lane *l = &e->lane[lane];
	uint64_t block = part->base + part->steps - 1;
	const struct engine_slot *slot = engine_slot_at(e, lane, block);

	/* Waiting would be for ever: prev has nowhere to put it. */
	if (held_back(e, lane, part, block))
		return KVR_ERR_STATE;
	if (block >= l->granted + e->config.slots || !kvr_engine_complete(slot))
		return KVR_ERR_AGAIN;
	*out = (struct kvr_engine_block){
		.step = part->steps,
		.origin = slot->descriptor.origin,
		.slot = (uint32_t)(block % e->config.slots),
		.bytes = slot->descriptor.bytes,
		.metadata_bytes = slot->descriptor.metadata_bytes,
	};
	return KVR_OK;
}

/* The open pass, still the caller's to take from. */
static enum kvr_status open_part(struct kvr_engine *e, uint32_t lane,
				 struct engine_part **part)
{
	if (engine_failed(e))
		return e->failure.status;
	if (lane >= e->config.lanes)
		return KVR_ERR_INVALID;
	if (!e->open || engine_newest(e)->ended)
		return KVR_ERR_STATE;
	*part = &engine_newest(e)->part[lane];
	return KVR_OK;
}

enum kvr_status kvr_engine_take(struct kvr_engine *engine, uint32_t lane,
				struct kvr_engine_block *out)
{
	struct engine_part *part;
	enum kvr_status status = open_part(engine, lane, &part);

	if (status != KVR_OK)
		return status;
	if (part->steps > part->hops)
		return KVR_ERR_END;
	if (engine_newest(engine)->cancelled)
		return KVR_ERR_CANCELLED;
	if (part->steps == 0)
		take_local(engine, lane, engine_newest(engine), out);
	else
		status = take_received(engine, lane, part, out);
	if (status == KVR_OK)
		part->steps++;
	return status;
}

enum kvr_status kvr_engine_release(struct kvr_engine *engine, uint32_t lane,
				   uint32_t step)
{
	struct engine_part *part;
	enum kvr_status status = open_part(engine, lane, &part);
	struct engine_lane *l;
	uint64_t block;
	bool *released;

	if (status != KVR_OK)
		return status;
	if (step >= part->steps)
		return KVR_ERR_STATE;
	l = &engine->lane[lane];
	block = part->base + step - 1;
	if (step > 0 && block < l->granted)
		return KVR_ERR_STATE;
	released = step ? &engine_slot_at(engine, lane, block)->released
			: &part->released;
	if (*released)
		return KVR_ERR_STATE;
	*released = true;
	return KVR_OK;
}

/* ---------------------------------------------------------- end, cancel */

enum kvr_status kvr_engine_end(struct kvr_engine *engine)
{
	struct engine_record *r;

	if (engine_failed(engine))
		return engine->failure.status;
	if (engine->begun == 0)
		return KVR_ERR_STATE;
	r = engine_newest(engine);
	r->ended = true;
	if (!kvr_engine_local_done(engine, r))
		return KVR_ERR_AGAIN;
	engine->open = false;
	return r->cancelled && !kvr_engine_all_taken(engine, r)
		       ? KVR_ERR_CANCELLED
		       : KVR_OK;
}

enum kvr_status kvr_engine_cancel(struct kvr_engine *engine)
{
	if (engine_failed(engine))
		return engine->failure.status;
	if (!engine->open)
		return KVR_ERR_STATE;
	kvr_engine_mark_cancelled(engine, engine_newest(engine));
	return KVR_OK;
}
