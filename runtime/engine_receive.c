/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's landing slots: what prev may write, and when again. */
#include <string.h>

#include "runtime/engine_internal.h"

/* -------------------------------------------------------------- arrival */

/*
 * The block that a 12-bit sequence means: of the slots not granted, or
 * granted and told to prev, the one whose low bits agree.
 */
static bool block_of(const struct kvr_engine *e, uint32_t lane,
		     uint32_t sequence, uint64_t *block)
{
	const struct engine_lane *l = &e->lane[lane];
	uint64_t ahead = (sequence - l->granted) & KVR_IMM_SEQUENCE_MASK;

	if (l->granted + ahead >= l->signalled + e->config.slots)
		return false;
	*block = l->granted + ahead;
	return true;
}

bool kvr_engine_slot_of(const struct kvr_engine *engine, uint32_t lane,
			uint32_t sequence, uint32_t *slot)
{
	uint64_t block;

	if (lane >= engine->config.lanes ||
	    !block_of(engine, lane, sequence, &block))
		return false;
	*slot = (uint32_t)(block % engine->config.slots);
	return true;
}

bool kvr_engine_complete(const struct engine_slot *slot)
{
	return slot->described && slot->landed_count == slot->descriptor.chunks;
}

void kvr_engine_count_received(struct engine_record *r,
			       const struct engine_slot *slot)
{
	r->received += slot->descriptor.bytes;
}

static void after_arrival(struct kvr_engine *e, uint32_t lane, uint64_t block)
{
	struct engine_slot *slot = engine_slot_at(e, lane, block);
	struct engine_record *r;

	if (!kvr_engine_complete(slot))
		return;
	engine_note(e, KVR_NOTE_LANDED, lane, block, slot->landed_count);
	e->counters.bytes_received += slot->descriptor.bytes;
	r = kvr_engine_record_of(e, lane, block);
	if (r)
		kvr_engine_count_received(r, slot);
	kvr_engine_wake(e);
}

void kvr_engine_on_chunk(struct kvr_engine *e, const struct kvr_imm *imm)
{
	uint32_t chunks = e->lane[imm->lane].chunks_max;
	uint64_t bit = UINT64_C(1) << imm->chunk % 64;
	struct engine_slot *slot;
	uint64_t block, *word;

	if (!block_of(e, imm->lane, imm->sequence, &block)) {
		kvr_engine_fail_protocol(e, KVR_PREV, "sequence of a chunk");
		return;
	}
	slot = engine_slot_at(e, imm->lane, block);
	if (slot->described)
		chunks = slot->descriptor.chunks;
	word = &slot->landed[imm->chunk / 64];
	if (imm->chunk >= chunks || (*word & bit)) {
		kvr_engine_fail_protocol(e, KVR_PREV, "chunk");
		return;
	}
	*word |= bit;
	if (slot->landed_count++ == 0 && !kvr_engine_complete(slot))
		engine_note(e, KVR_NOTE_CHUNK, imm->lane, block, imm->chunk);
	after_arrival(e, imm->lane, block);
}

/* ----------------------------------------------------------- descriptor */

/* What the sender alone can be wrong about; NULL: nothing. */
static const char *fault_of(const struct kvr_engine *e, uint32_t lane,
			    const struct kvr_descriptor *d)
{
	uint32_t n = e->config.n;
	uint32_t hops_max = engine_accumulating(e, lane) ? n : n - 1;

	if (d->hops == 0 || d->hops > d->hops_total || d->hops_total > hops_max)
		return "hops";
	if (d->origin != (e->config.rank + n - d->hops) % n)
		return "origin";
	if (d->bytes > e->config.lane[lane].slot_bytes)
		return "bytes";
	if (d->chunks != engine_ceil(d->bytes, e->config.chunk_bytes))
		return "chunks";
	if (d->metadata_bytes > KVR_METADATA_MAX)
		return "metadata_bytes";
	if ((d->flags & ~KVR_DESCRIPTOR_CANCELLED) ||
	    (d->flags && (d->bytes || d->metadata_bytes)))
		return "flags";
	if (d->reserved[0] || d->reserved[1] || d->reserved[2])
		return "reserved";
	return NULL;
}

/* Chunks that overtook the descriptor must be of it. */
static bool landed_within(const struct engine_lane *l,
			  const struct engine_slot *slot, uint32_t chunks)
{
	if (chunks < l->chunks_max && chunks % 64 &&
	    slot->landed[chunks / 64] >> chunks % 64)
		return false;
	for (uint64_t w = engine_ceil(chunks, 64); w < l->words; w++)
		if (slot->landed[w])
			return false;
	return true;
}

static bool accept(struct kvr_engine *e, uint32_t lane, uint64_t block,
		   const struct kvr_descriptor *d)
{
	struct engine_slot *slot = engine_slot_at(e, lane, block);
	const char *fault = fault_of(e, lane, d);

	if (slot->described || d->sequence != block)
		fault = "sequence of a descriptor";
	if (!fault && !landed_within(&e->lane[lane], slot, d->chunks))
		fault = "chunk";
	if (fault)
		kvr_engine_fail_protocol(e, KVR_PREV, fault);
	else if (d->layout_id != e->config.layout_id)
		kvr_engine_fail_mismatch(e, "layout_id", e->config.layout_id,
					 d->layout_id);
	return !engine_failed(e);
}

void kvr_engine_on_descriptor(struct kvr_engine *e, const struct kvr_imm *imm,
			      const struct kvr_descriptor *desc)
{
	struct engine_record *r;
	struct engine_slot *slot;
	uint64_t block;

	if (!desc || !block_of(e, imm->lane, imm->sequence, &block)) {
		kvr_engine_fail_protocol(e, KVR_PREV,
					 "sequence of a descriptor");
		return;
	}
	if (!accept(e, imm->lane, block, desc))
		return;
	slot = engine_slot_at(e, imm->lane, block);
	slot->descriptor = *desc;
	slot->described = true;
	engine_note(e, KVR_NOTE_DESCRIBED, imm->lane, block, desc->chunks);
	e->counters.blocks_received++;
	r = kvr_engine_record_of(e, imm->lane, block);
	if (r)
		kvr_engine_admit(e, imm->lane, block, r);
	if (!engine_failed(e))
		after_arrival(e, imm->lane, block);
}

/* Compares a described block with the pass that it belongs to here. */
void kvr_engine_admit(struct kvr_engine *e, uint32_t lane, uint64_t block,
		      struct engine_record *r)
{
	const struct kvr_descriptor *d =
		&engine_slot_at(e, lane, block)->descriptor;
	const struct engine_part *part = &r->part[lane];

	if (d->pass != r->pass.tag)
		kvr_engine_fail_mismatch(e, "pass", r->pass.tag, d->pass);
	else if (d->hops_total != part->hops)
		kvr_engine_fail_mismatch(e, "hops", part->hops, d->hops_total);
	else if (d->hops != block - part->base + 1)
		kvr_engine_fail_protocol(e, KVR_PREV, "hops");
	else if (d->flags & KVR_DESCRIPTOR_CANCELLED)
		kvr_engine_mark_cancelled(e, r);
	else if (d->origin == e->config.rank && d->bytes != r->pass.bytes[lane])
		kvr_engine_fail_mismatch(e, "bytes", r->pass.bytes[lane],
					 d->bytes);
}

/* -------------------------------------------------------------- granting */

/* Has the caller finished with it, or no claim to it? */
bool kvr_engine_released(const struct kvr_engine *e,
			 const struct engine_record *r, uint32_t lane,
			 uint64_t block)
{
	const struct engine_part *part = &r->part[lane];
	uint64_t step = block - part->base + 1;

	if (engine_slot_at(e, lane, block)->released || r->ended)
		return true;
	return r->cancelled && step >= part->steps;
}

static void empty_slot(const struct engine_lane *l, struct engine_slot *slot)
{
	uint64_t *landed = slot->landed, *posted = slot->posted;

	memset(landed, 0, l->words * sizeof(*landed));
	memset(posted, 0, l->words * sizeof(*posted));
	*slot = (struct engine_slot){.landed = landed, .posted = posted};
}

/* In order of the hop counter, however the caller releases. */
bool kvr_engine_grant(struct kvr_engine *e, uint32_t lane)
{
	struct engine_lane *l = &e->lane[lane];
	uint64_t before = l->granted;

	for (; l->granted < l->end; l->granted++) {
		struct engine_slot *slot = engine_slot_at(e, lane, l->granted);
		struct engine_record *r =
			kvr_engine_record_of(e, lane, l->granted);

		if (!kvr_engine_complete(slot) ||
		    !kvr_engine_released(e, r, lane, l->granted) ||
		    !kvr_engine_forwarded(e, r, lane, l->granted))
			break;
		empty_slot(l, slot);
	}
	e->counters.credits_granted += l->granted - before;
	return l->granted != before;
}

/* Is a block of a begun pass still to come? */
bool kvr_engine_needs_prev(struct kvr_engine *e)
{
	for (uint32_t i = 0; i < e->config.lanes; i++) {
		const struct engine_lane *l = &e->lane[i];

		if (l->granted + e->config.slots < l->end)
			return true;
		for (uint64_t k = l->granted; k < l->end; k++)
			if (!kvr_engine_complete(engine_slot_at(e, i, k)))
				return true;
	}
	return false;
}
