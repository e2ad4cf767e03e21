/* SPDX-License-Identifier: Apache-2.0 */
/* Between a simulated rank's engine and its two fake endpoints. */
#include <stdlib.h>

#include "tests/support/sim_internal.h"

/* --------------------------------------------------------------- actions */

/* Back-pressure beyond what the fake's short queue makes. */
static bool refuse(struct sim *sim)
{
	uint32_t chance = sim->plan.refuse_chance;

	if (!chance || sim_below(&sim->random, chance))
		return false;
	sim->stirred = true;
	return true;
}

static enum kvr_status act_write(void *arg, const struct kvr_engine_write *w)
{
	struct sim_rank *r = arg;
	struct kvr_endpoint *out = r->edge[KVR_NEXT];
	bool local = w->source_slot == KVR_SOURCE_LOCAL;
	const struct kvr_write write = {
		.lane = w->lane,
		.slot = w->target_slot,
		.offset = w->offset,
		.bytes = w->bytes,
		.pieces = local ? r->pieces[w->pass][w->lane]
				: &r->slot_piece[w->lane][w->source_slot],
		.piece_count = local ? SIM_PIECES : 1,
		.skip = w->offset,
		.imm = w->imm,
		.cookie = w->cookie,
	};
	struct kvr_imm imm = kvr_imm_decode(w->imm);
	enum kvr_status status;

	if (refuse(r->sim))
		return KVR_ERR_AGAIN;
	status = out->ops->write(out, &write);
	if (status == KVR_OK)
		sim_trace(r, KVR_TRACE_WRITE, w->lane, imm.sequence, imm.chunk,
			  w->source_slot, 0);
	else if (status != KVR_ERR_AGAIN)
		sim_fail(r->sim, "rank %u: write refused as wrong", r->rank);
	return status;
}

static enum kvr_status act_describe(void *arg,
				    const struct kvr_engine_describe *d)
{
	struct sim_rank *r = arg;
	struct kvr_endpoint *out = r->edge[KVR_NEXT];
	const struct kvr_describe describe = {
		.lane = d->lane,
		.slot = d->target_slot,
		.descriptor = &d->descriptor,
		.metadata = d->source_slot == KVR_SOURCE_LOCAL
				    ? r->local_metadata[d->pass][d->lane]
				    : r->slot_metadata[d->lane][d->source_slot],
		.imm = d->imm,
	};
	bool cancelled = d->descriptor.flags & KVR_DESCRIPTOR_CANCELLED;
	enum kvr_status status;

	if (refuse(r->sim))
		return KVR_ERR_AGAIN;
	status = out->ops->describe(out, &describe);
	if (status == KVR_OK)
		sim_trace(r, KVR_TRACE_DESCRIBE, d->lane,
			  d->descriptor.sequence, d->target_slot,
			  d->descriptor.origin,
			  d->descriptor.chunks |
				  (cancelled ? KVR_TRACE_CANCELLED : 0));
	else if (status != KVR_ERR_AGAIN)
		sim_fail(r->sim, "rank %u: descriptor refused as wrong",
			 r->rank);
	return status;
}

/* A granted slot is prev's: what we still read of it is junk. */
static void note_grant(struct sim_rank *r, const struct kvr_imm *imm)
{
	sim_trace(r, KVR_TRACE_GRANT, imm->lane, imm->value, 0, 0, 0);
	for (uint64_t *k = &r->granted[imm->lane]; *k < imm->value; ++*k)
		sim_scribble_slot(r, imm->lane,
				  (uint32_t)(*k % r->sim->plan.slots));
}

static enum kvr_status act_signal(void *arg, enum kvr_side side, uint32_t imm)
{
	struct sim_rank *r = arg;
	struct kvr_endpoint *edge = r->edge[side];
	struct kvr_imm decoded = kvr_imm_decode(imm);
	enum kvr_status status;

	if (refuse(r->sim))
		return KVR_ERR_AGAIN;
	status = edge->ops->signal(edge, imm);
	if (status == KVR_OK && decoded.type == KVR_IMM_CREDIT)
		note_grant(r, &decoded);
	if (status == KVR_OK && decoded.type == KVR_IMM_BYE)
		sim_trace(r, KVR_TRACE_BYE, 0, side, 0, 0, 0);
	return status;
}

static void act_wake(void *arg)
{
	((struct sim_rank *)arg)->sim->stirred = true;
}

const struct kvr_engine_actions sim_actions = {
	.write = act_write,
	.describe = act_describe,
	.signal = act_signal,
	.wake = act_wake,
};

/* ---------------------------------------------------------------- events */

static void feed_descriptor(struct sim_rank *r, const struct kvr_imm *imm,
			    uint32_t raw)
{
	struct kvr_endpoint *in = r->edge[KVR_PREV];
	struct kvr_descriptor descriptor;
	uint32_t slot;

	if (!kvr_engine_slot_of(r->engine, imm->lane, imm->sequence, &slot)) {
		kvr_engine_arrived(r->engine, KVR_PREV, raw, NULL, r->sim->now);
		return;
	}
	in->ops->descriptor(in, imm->lane, slot, &descriptor,
			    &r->slot_metadata[imm->lane][slot]);
	sim_trace(r, KVR_TRACE_LANDED_DESC, imm->lane, imm->sequence,
		  descriptor.origin, 0, 0);
	kvr_engine_arrived(r->engine, KVR_PREV, raw, &descriptor, r->sim->now);
}

static void feed(struct sim_rank *r, enum kvr_side side,
		 const struct kvr_event *event)
{
	struct kvr_imm imm = kvr_imm_decode(event->imm);

	if (event->kind == KVR_EVENT_SENT) {
		sim_trace(r, KVR_TRACE_SENT, (uint32_t)(event->cookie & 1),
			  event->cookie >> 17, event->cookie >> 1 & 0xffff, 0,
			  0);
		kvr_engine_sent(r->engine, event->cookie);
		return;
	}
	if (imm.type == KVR_IMM_DESCRIPTOR) {
		feed_descriptor(r, &imm, event->imm);
		return;
	}
	if (imm.type == KVR_IMM_CHUNK)
		sim_trace(r, KVR_TRACE_LANDED, imm.lane, imm.sequence,
			  imm.chunk, 0, 0);
	if (imm.type == KVR_IMM_CREDIT)
		sim_trace(r, KVR_TRACE_CREDIT, imm.lane, imm.value, 0, 0, 0);
	kvr_engine_arrived(r->engine, side, event->imm, NULL, r->sim->now);
}

bool sim_poll(struct sim_rank *r, enum kvr_side side)
{
	struct kvr_endpoint *edge = r->edge[side];
	struct kvr_event events[8];
	enum kvr_status status;
	size_t count;

	if (!edge || r->edge_lost[side])
		return false;
	status = edge->ops->poll(edge, events,
				 1 + sim_below(&r->sim->random, 8), &count);
	for (size_t i = 0; i < count; i++) {
		feed(r, side, &events[i]);
		sim_watch(r);
	}
	if (status == KVR_ERR_PEER_LOST) {
		r->edge_lost[side] = true;
		sim_trace(r, KVR_TRACE_LOST, 0, side, 0, 0, 0);
		kvr_engine_lost(r->engine, side, KVR_CAUSE_CLOSED);
		sim_watch(r);
	}
	return count > 0 || status != KVR_OK;
}

/* ------------------------------------------------------------ connecting */

static bool open_edge(struct sim_rank *r, enum kvr_side side, uint64_t ring_id)
{
	const struct sim_plan *plan = &r->sim->plan;
	uint32_t n = plan->n;
	struct kvr_endpoint_config config = {
		.role = side == KVR_PREV ? KVR_ROLE_IN : KVR_ROLE_OUT,
		.rank = r->rank,
		.peer = (r->rank + (side == KVR_NEXT ? 1 : n - 1)) % n,
		.n = n,
		.ring_id = ring_id,
		.generation = 1,
		.lanes = plan->lanes,
		.slots = plan->slots,
		.chunk_bytes = plan->chunk_bytes,
	};

	for (uint32_t l = 0; l < plan->lanes; l++)
		config.slot_bytes[l] = plan->lane[l].slot_bytes;
	return kvr_fake_transport.endpoint_open(r->sim->transport, &config,
						&r->edge[side]) == KVR_OK;
}

static void connect_edge(struct kvr_endpoint *from, struct kvr_endpoint *to)
{
	uint8_t address[KVR_ADDRESS_BYTES];

	to->ops->address(to, address);
	if (from->ops->connect(from, address) != KVR_OK)
		abort();
}

static void note_slots(struct sim_rank *r)
{
	struct kvr_endpoint *in = r->edge[KVR_PREV];

	for (uint32_t l = 0; l < r->sim->plan.lanes; l++)
		for (uint32_t s = 0; s < r->sim->plan.slots; s++)
			r->slot_piece[l][s] = (struct kvr_piece){
				.address = in->ops->slot(in, l, s),
				.bytes = r->sim->plan.lane[l].slot_bytes,
			};
}

bool sim_open(struct sim *sim)
{
	uint32_t n = sim->plan.n;
	bool ok = true;

	for (uint32_t i = 0; ok && i < n; i++)
		ok = open_edge(&sim->rank[i], KVR_PREV,
			       sim->plan.script.seed) &&
		     open_edge(&sim->rank[i], KVR_NEXT, sim->plan.script.seed);
	for (uint32_t i = 0; ok && i < n; i++) {
		struct kvr_endpoint *out = sim->rank[i].edge[KVR_NEXT];
		struct kvr_endpoint *in = sim->rank[(i + 1) % n].edge[KVR_PREV];

		connect_edge(out, in);
		connect_edge(in, out);
		ok = out->ops->connect_poll(out) == KVR_OK &&
		     in->ops->connect_poll(in) == KVR_OK;
		note_slots(&sim->rank[i]);
	}
	return ok;
}

/* OUT first: what it still delivers lies in the slots of IN. */
void sim_close_edges(struct sim_rank *r)
{
	for (int side = 1; side >= 0; side--) {
		if (r->edge[side])
			r->edge[side]->ops->endpoint_close(r->edge[side]);
		r->edge[side] = NULL;
	}
}
