/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine's way to next: per lane one block after the other, for each pass
 * the local one first and then those received, in order.
 */
#include "runtime/engine_internal.h"

/* What a write's SENT brings back: sequence, chunk (16 bits), lane (1). */
static uint64_t cookie_of(uint64_t sequence, uint32_t chunk, uint32_t lane)
{
	return sequence << 17 | (uint64_t)chunk << 1 | lane;
}

/* The block that a lane posts now. */
struct source {
	uint32_t lane;
	struct engine_record *record;
	uint32_t hop;		  /* 0: the local block */
	struct engine_slot *slot; /* it landed in; NULL: local */
	struct engine_out *out;
};

static bool locate(struct kvr_engine *e, uint32_t lane, uint64_t sequence,
		   struct source *s)
{
	s->lane = lane;
	s->record = kvr_engine_record_of(e, lane, sequence);
	if (!s->record)
		return false;
	s->hop = (uint32_t)(sequence - s->record->part[lane].base);
	s->slot = s->hop ? engine_slot_at(e, lane, sequence - 1) : NULL;
	s->out = s->slot ? &s->slot->out : &s->record->part[lane].local;
	return true;
}

/* Is there anything to begin with? */
static bool ready(const struct kvr_engine *e, const struct source *s)
{
	const struct engine_lane *l = &e->lane[s->lane];
	const struct engine_part *part = &s->record->part[s->lane];
	uint64_t received = l->next - 1;

	if (s->hop == 0)
		return s->record->cancelled || s->record->ended ||
		       part->released || !engine_accumulating(e, s->lane);
	if (s->record->cancelled)
		return true;
	if (engine_accumulating(e, s->lane))
		return kvr_engine_complete(s->slot) &&
		       kvr_engine_released(e, s->record, s->lane, received);
	return s->slot->described;
}

static uint64_t bytes_of(const struct source *s)
{
	return s->slot ? s->slot->descriptor.bytes
		       : s->record->pass.bytes[s->lane];
}

/* ------------------------------------------------------------ descriptor */

static void fill_descriptor(const struct kvr_engine *e, const struct source *s,
			    struct kvr_descriptor *d)
{
	uint32_t n = e->config.n;

	*d = (struct kvr_descriptor){
		.sequence = e->lane[s->lane].next,
		.pass = s->record->pass.tag,
		.origin = (e->config.rank + n - s->hop) % n,
		.hops = s->hop + 1,
		.hops_total = s->record->part[s->lane].hops,
		.layout_id = e->config.layout_id,
	};
	if (s->record->cancelled) {
		d->flags = KVR_DESCRIPTOR_CANCELLED;
		return;
	}
	d->bytes = bytes_of(s);
	d->chunks = (uint32_t)engine_ceil(d->bytes, e->config.chunk_bytes);
	d->metadata_bytes = s->slot ? s->slot->descriptor.metadata_bytes
				    : s->record->pass.metadata_bytes[s->lane];
}

static void close_if_posted(struct kvr_engine *e, const struct source *s,
			    uint64_t chunks)
{
	if (s->out->posted < chunks)
		return;
	s->out->closed = true;
	engine_note(e, KVR_NOTE_POSTED, s->lane, e->lane[s->lane].next++,
		    s->out->posted);
	if (engine_out_done(s->out))
		kvr_engine_wake(e);
}

static uint32_t record_index(const struct kvr_engine *e, const struct source *s)
{
	return (uint32_t)(s->record - e->record);
}

static uint32_t slot_index(const struct kvr_engine *e, const struct source *s)
{
	return s->slot ? (uint32_t)(s->slot - e->lane[s->lane].slot)
		       : KVR_SOURCE_LOCAL;
}

static enum kvr_status post_descriptor(struct kvr_engine *e,
				       const struct source *s)
{
	uint64_t sequence = e->lane[s->lane].next;
	struct kvr_engine_describe describe = {
		.lane = s->lane,
		.source_slot = slot_index(e, s),
		.pass = record_index(e, s),
		.target_slot = (uint32_t)(sequence % e->config.slots),
		.imm = kvr_imm_block(KVR_IMM_DESCRIPTOR, s->lane, sequence, 0),
	};
	enum kvr_status status;

	fill_descriptor(e, s, &describe.descriptor);
	status = kvr_engine_refused(e, e->actions.describe(e->arg, &describe));
	if (status != KVR_OK)
		return status;
	s->out->described = true;
	engine_note(e, KVR_NOTE_POST, s->lane, sequence, s->hop);
	close_if_posted(e, s, describe.descriptor.chunks);
	return KVR_OK;
}

/* ---------------------------------------------------------------- chunks */

/* A chunk that has landed and is not posted. */
static bool choose_chunk(const struct engine_lane *l, const struct source *s,
			 uint32_t *chunk)
{
	struct engine_slot *slot = s->slot;

	if (!slot) {
		*chunk = s->out->posted;
		return true;
	}
	while (slot->scan < l->words && slot->posted[slot->scan] == UINT64_MAX)
		slot->scan++;
	for (uint32_t w = slot->scan; w < l->words; w++) {
		uint64_t left = slot->landed[w] & ~slot->posted[w];

		if (left) {
			*chunk = w * 64 + (uint32_t)__builtin_ctzll(left);
			return true;
		}
	}
	return false;
}

static enum kvr_status post_chunk(struct kvr_engine *e, const struct source *s)
{
	uint64_t sequence = e->lane[s->lane].next, bytes = bytes_of(s);
	size_t size = e->config.chunk_bytes;
	struct kvr_engine_write write = {
		.lane = s->lane,
		.source_slot = slot_index(e, s),
		.pass = record_index(e, s),
		.target_slot = (uint32_t)(sequence % e->config.slots),
	};
	enum kvr_status status;
	uint32_t chunk;

	if (!choose_chunk(&e->lane[s->lane], s, &chunk))
		return KVR_ERR_END;
	write.offset = chunk * size;
	write.bytes = bytes - write.offset < size ? bytes - write.offset : size;
	write.chunks = (uint32_t)engine_ceil(bytes, size);
	write.cookie = cookie_of(sequence, chunk, s->lane);
	write.imm = kvr_imm_block(KVR_IMM_CHUNK, s->lane, sequence, chunk);
	status = kvr_engine_refused(e, e->actions.write(e->arg, &write));
	if (status != KVR_OK)
		return status;
	if (s->slot)
		s->slot->posted[chunk / 64] |= UINT64_C(1) << chunk % 64;
	s->out->posted++;
	s->record->sent += write.bytes;
	e->counters.bytes_sent += write.bytes;
	close_if_posted(e, s, write.chunks);
	return KVR_OK;
}

/*
 * Is the slot still that of an earlier block? A cancelled pass runs ahead of
 * its blocks, and what that slot says of posting is not about this one.
 */
static bool slot_occupied(const struct kvr_engine *e, const struct source *s)
{
	const struct engine_lane *l = &e->lane[s->lane];

	return s->slot && l->next - 1 >= l->granted + e->config.slots;
}

/* KVR_OK: one thing posted. AGAIN: refused. END: nothing to post. */
static enum kvr_status post_one(struct kvr_engine *e, uint32_t lane)
{
	const struct engine_lane *l = &e->lane[lane];
	struct source s;

	if (l->next >= l->credits + e->config.slots ||
	    !locate(e, lane, l->next, &s) || slot_occupied(e, &s))
		return KVR_ERR_END;
	if (s.out->described)
		return post_chunk(e, &s);
	return ready(e, &s) ? post_descriptor(e, &s) : KVR_ERR_END;
}

/* In turns, so that a full queue starves no lane. */
bool kvr_engine_post(struct kvr_engine *e)
{
	uint32_t lanes = e->config.lanes, idle = 0;
	uint32_t lane = e->first_lane;
	bool acted = false;

	e->first_lane = (e->first_lane + 1) % lanes;
	while (idle < lanes) {
		if (post_one(e, lane) == KVR_OK) {
			acted = true;
			idle = 0;
		} else {
			idle++;
		}
		lane = (lane + 1) % lanes;
	}
	return acted;
}

/* ---------------------------------------------------------------- events */

/* Is a received block's slot read no more for next? */
bool kvr_engine_forwarded(const struct kvr_engine *e,
			  const struct engine_record *r, uint32_t lane,
			  uint64_t block)
{
	const struct engine_part *part = &r->part[lane];

	return block - part->base + 1 == part->hops ||
	       engine_out_done(&engine_slot_at(e, lane, block)->out);
}

void kvr_engine_sent(struct kvr_engine *engine, uint64_t cookie)
{
	uint32_t lane = (uint32_t)(cookie & 1);
	struct source s;

	if (engine_failed(engine))
		return;
	if (lane >= engine->config.lanes ||
	    !locate(engine, lane, cookie >> 17, &s) ||
	    s.out->sent == s.out->posted) {
		kvr_engine_fail_protocol(engine, KVR_NEXT, "sent");
		return;
	}
	s.out->sent++;
	if (!engine_out_done(s.out))
		return;
	engine_note(engine, KVR_NOTE_SENT, lane, cookie >> 17, s.out->sent);
	kvr_engine_wake(engine);
}

/* Cumulative; never for more than we have sent. */
void kvr_engine_on_credit(struct kvr_engine *e, const struct kvr_imm *imm)
{
	struct engine_lane *l = &e->lane[imm->lane];
	uint64_t more = (imm->value - l->credits) & KVR_IMM_VALUE_MASK;

	if (more == 0 || l->credits + more > l->next) {
		kvr_engine_fail_protocol(e, KVR_NEXT, "credit");
		return;
	}
	l->credits += more;
	engine_note(e, KVR_NOTE_CREDIT, imm->lane, l->credits, 0);
}

/* Is a block of a begun pass still to be sent? */
bool kvr_engine_needs_next(struct kvr_engine *e)
{
	for (uint32_t i = 0; i < e->config.lanes; i++)
		if (e->lane[i].next < e->lane[i].end)
			return true;
	for (uint64_t p = e->retired; p < e->begun; p++)
		if (!kvr_engine_local_done(e,
					   &e->record[p % KVR_ENGINE_PASSES]))
			return true;
	return false;
}
