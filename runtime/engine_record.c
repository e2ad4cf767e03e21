/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's state as the flight recorder keeps it. */
#include <string.h>

#include "runtime/engine_internal.h"

static void record_out(const struct engine_out *out,
		       struct kvr_recording_out *to)
{
	to->posted = out->posted;
	to->sent = out->sent;
	to->flags = (out->described ? KVR_OUT_DESCRIBED : 0) |
		    (out->closed ? KVR_OUT_CLOSED : 0);
}

static void record_slot(const struct engine_slot *slot, uint64_t block,
			struct kvr_recording_slot *to)
{
	*to = (struct kvr_recording_slot){
		.block = block,
		.landed = slot->landed_count,
		.flags = slot->released ? KVR_SLOT_RELEASED : 0,
	};
	record_out(&slot->out, &to->out);
	if (!slot->described)
		return;
	to->flags |= KVR_SLOT_DESCRIBED;
	to->pass = slot->descriptor.pass;
	to->origin = slot->descriptor.origin;
	to->chunks = slot->descriptor.chunks;
}

static void record_lane(const struct kvr_engine *e, uint32_t index,
			struct kvr_recording_lane *to,
			struct kvr_recording_slot *slot)
{
	const struct engine_lane *lane = &e->lane[index];

	*to = (struct kvr_recording_lane){
		.granted = lane->granted,
		.signalled = lane->signalled,
		.next = lane->next,
		.credits = lane->credits,
		.end = lane->end,
		.accumulating = engine_accumulating(e, index),
	};
	for (uint32_t i = 0; i < e->config.slots; i++)
		record_slot(engine_slot_at(e, index, lane->granted + i),
			    lane->granted + i, &slot[i]);
}

static void record_pass(const struct kvr_engine *e,
			const struct engine_record *r,
			struct kvr_recording_pass *to)
{
	*to = (struct kvr_recording_pass){
		.tag = r->pass.tag,
		.hops = r->pass.hops,
		.flags = (r->ended ? KVR_PASS_ENDED : 0) |
			 (r->cancelled ? KVR_PASS_CANCELLED : 0),
	};
	for (uint32_t i = 0; i < e->config.lanes; i++) {
		const struct engine_part *part = &r->part[i];

		to->part[i].base = part->base;
		to->part[i].hops = part->hops;
		to->part[i].steps = part->steps;
		to->part[i].released = part->released;
		record_out(&part->local, &to->part[i].local);
	}
}

static void record_failure(const struct kvr_engine *e,
			   struct kvr_recording_failure *to)
{
	const struct kvr_engine_failure *f = &e->failure;

	*to = (struct kvr_recording_failure){
		.status = f->status,
		.told = f->told,
		.cause = f->abort.cause,
		.rank = f->status == KVR_OK ? KVR_RANK_NONE : f->abort.rank,
		.step = f->step,
		.open = e->open,
		.pass = f->pass,
		.ours = f->ours,
		.theirs = f->theirs,
	};
	memcpy(to->field, f->field, sizeof(to->field));
}

static void record_side(const struct kvr_engine *e, int side,
			struct kvr_recording_side *to)
{
	const struct engine_edge *edge = &e->edge[side];

	*to = (struct kvr_recording_side){
		.silent_ns = engine_failed(e) ? e->failure.silent_ns[side]
					      : e->observed_ns - edge->heard_ns,
		.lost = edge->lost,
		.bye_received = edge->bye_received,
		.bye_sent = edge->bye_sent,
	};
}

void kvr_engine_record(const struct kvr_engine *engine,
		       struct kvr_recording *head,
		       struct kvr_recording_lane *lane,
		       struct kvr_recording_slot *slot)
{
	head->begun = engine->begun;
	head->retired = engine->retired;
	head->open = engine->open;
	for (uint32_t i = 0; i < KVR_ENGINE_PASSES; i++)
		record_pass(engine, &engine->record[i], &head->pass[i]);
	for (int side = 0; side < 2; side++)
		record_side(engine, side, &head->side[side]);
	record_failure(engine, &head->failure);
	for (uint32_t i = 0; i < engine->config.lanes; i++)
		record_lane(engine, i, &lane[i],
			    &slot[(size_t)i * engine->config.slots]);
}
