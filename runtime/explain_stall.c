/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a rank that waits to the one that lets all wait: along what each needs
 * of its neighbours, by the same rules by which the engines move blocks
 * (engine.h). tx k of a rank is rx k of its next, and forwards its own rx k-1.
 */
#include <inttypes.h>
#include <stdio.h>

#include "runtime/explain.h"

enum look { LOOK_DONE, LOOK_AT_CALLER, LOOK_AT_BLOCK };

struct search {
	const struct kvr_recordings *all;
	struct kvr_verdict *out;

	/* Where to look next: a loop, for a ring may be long. */
	enum look look;
	uint32_t rank, lane;
	uint64_t block;
};

/* The block has not come to that rank: why? */
static void missing(struct search *s, uint32_t rank, uint32_t lane,
		    uint64_t block)
{
	s->look = LOOK_AT_BLOCK;
	s->rank = rank;
	s->lane = lane;
	s->block = block;
}

/* The caller of that rank waits: what for? */
static void waiting(struct search *s, uint32_t rank)
{
	s->look = LOOK_AT_CALLER;
	s->rank = rank;
}

static uint32_t prev_of(const struct search *s, uint32_t rank)
{
	return (rank + s->all->n - 1) % s->all->n;
}

static uint32_t next_of(const struct search *s, uint32_t rank)
{
	return (rank + 1) % s->all->n;
}

static const struct kvr_recorded *at(const struct search *s, uint32_t rank)
{
	return kvr_recordings_of(s->all, rank);
}

/* Until when the ring failed, or the recording was made. */
static double seconds_since(const struct kvr_recorded *r, uint64_t ns)
{
	return r->head->now_ns > ns ? kvr_seconds(r->head->now_ns - ns) : 0;
}

/* ------------------------------------------------------------- the caller */

static void never_began(struct search *s, const struct kvr_recorded *r,
			uint64_t tag)
{
	const struct kvr_recording_pass *last = kvr_recorded_newest(r);
	const double seconds = seconds_since(r, r->head->caller.since_ns);
	char after[64] = "its ring was opened";

	if (last)
		snprintf(after, sizeof(after), "pass %" PRIu64, last->tag);
	kvr_verdict_say(s->out, KVR_FAULT_NEVER_BEGAN, r->head->rank, tag,
			"rank %u never began pass %" PRIu64
			": it called nothing for %.1f s after %s",
			r->head->rank, tag, seconds, after);
}

/* The newest step, of which a caller who is in no call has the block. */
static bool in_hand(const struct kvr_recorded *r, uint32_t lane,
		    const struct kvr_recording_pass *pass, uint32_t *step)
{
	const struct kvr_recording_part *part = &pass->part[lane];
	const struct kvr_recording_slot *slot;

	if (part->steps == 0)
		return false;
	*step = part->steps - 1;
	if (*step == 0)
		return !part->released;
	slot = kvr_recorded_slot(r, lane, part->base + *step - 1);
	return slot && !(slot->flags & KVR_SLOT_RELEASED);
}

static void say_computes(struct search *s, const struct kvr_recorded *r,
			 uint32_t lane, const struct kvr_recording_pass *pass,
			 uint32_t step)
{
	const double seconds = seconds_since(r, r->head->caller.since_ns);
	uint64_t block = pass->part[lane].base + step - 1;
	char holds[32] = "its own block";

	if (step)
		snprintf(holds, sizeof(holds), "slot %u",
			 (unsigned)(block % r->head->slots));
	kvr_verdict_say(s->out, KVR_FAULT_COMPUTES, r->head->rank, pass->tag,
			"rank %u computes since %.1f s in step %u of pass "
			"%" PRIu64 " and holds %s",
			r->head->rank, seconds, step, pass->tag, holds);
}

/* It is in no call of ours, and a block waits for it. */
static void outside(struct search *s, const struct kvr_recorded *r,
		    uint32_t lane, const struct kvr_recording_pass *pass)
{
	const double seconds = seconds_since(r, r->head->caller.since_ns);
	uint32_t step;

	if (in_hand(r, lane, pass, &step)) {
		say_computes(s, r, lane, pass, step);
		return;
	}
	for (uint32_t other = 0; other < r->head->lanes; other++) {
		if (in_hand(r, other, pass, &step)) {
			say_computes(s, r, other, pass, step);
			return;
		}
	}
	if (pass->part[lane].steps > pass->part[lane].hops)
		kvr_verdict_say(s->out, KVR_FAULT_ABSENT, r->head->rank,
				pass->tag,
				"rank %u has not ended pass %" PRIu64
				": it called nothing for %.1f s after its "
				"last step",
				r->head->rank, pass->tag, seconds);
	else
		kvr_verdict_say(
			s->out, KVR_FAULT_ABSENT, r->head->rank, pass->tag,
			"rank %u asks for no further block since %.1f s, "
			"after %u of %u of pass %" PRIu64,
			r->head->rank, seconds, pass->part[lane].steps,
			pass->part[lane].hops + 1, pass->tag);
}

static void holds(struct search *s, const struct kvr_recorded *r, uint32_t lane,
		  const struct kvr_recording_pass *pass, uint32_t step)
{
	uint64_t block = pass->part[lane].base + step - 1;
	const struct kvr_recording_slot *slot =
		kvr_recorded_slot(r, lane, block);

	if (step == 0 || !slot)
		kvr_verdict_say(s->out, KVR_FAULT_HOLDS, r->head->rank,
				pass->tag,
				"rank %u holds its own block of pass %" PRIu64
				", never released",
				r->head->rank, pass->tag);
	else
		kvr_verdict_say(
			s->out, KVR_FAULT_HOLDS, r->head->rank, pass->tag,
			"rank %u holds slot %u of pass %" PRIu64
			" (step %u, the block of rank %u), never "
			"released",
			r->head->rank, (unsigned)(block % r->head->slots),
			pass->tag, step, slot->origin);
}

/* The block of that step is there, and nobody released it. */
static void unreleased(struct search *s, const struct kvr_recorded *r,
		       uint32_t lane, const struct kvr_recording_pass *pass,
		       uint32_t step)
{
	const struct kvr_recording_part *part = &pass->part[lane];
	const bool calls = r->head->caller.wait != KVR_WAIT_NONE;

	if (step >= part->steps && calls)
		waiting(s, r->head->rank);
	else if (step < part->steps && (calls || step + 1 < part->steps))
		holds(s, r, lane, pass, step);
	else
		outside(s, r, lane, pass);
}

/* A block of a pass that this rank has not begun; tag: what others call it. */
static void unbegun(struct search *s, const struct kvr_recorded *r,
		    uint64_t tag)
{
	const struct kvr_recording_pass *last = kvr_recorded_newest(r);

	if (r->head->caller.wait != KVR_WAIT_NONE)
		waiting(s, r->head->rank);
	else if (r->head->open && last)
		outside(s, r, 0, last);
	else
		never_began(s, r, tag);
}

/* ------------------------------------------------------------------ edges */

static void stuck(struct search *s, uint32_t from, uint32_t to,
		  const char *what)
{
	kvr_verdict_say(s->out, KVR_FAULT_STUCK, from, s->out->pass,
			"%s of rank %u for rank %u do not leave it: the "
			"connection takes nothing",
			what, from, to);
}

/* Everything of it was posted, and not all arrived. */
static void lost(struct search *s, const struct kvr_recorded *q, uint32_t lane,
		 uint64_t block)
{
	const struct kvr_recording_slot *slot =
		kvr_recorded_slot(q, lane, block);
	const struct kvr_recording_pass *pass =
		kvr_recorded_pass(q, lane, block);
	uint32_t from = prev_of(s, q->head->rank);
	uint64_t tag = pass ? pass->tag : 0;
	char part[64] = "the descriptor";

	if (slot && slot->flags & KVR_SLOT_DESCRIBED)
		snprintf(part, sizeof(part), "%u of %u chunks",
			 slot->chunks - slot->landed, slot->chunks);
	kvr_verdict_say(s->out, KVR_FAULT_BLOCK_LOST, from, tag,
			"%s of the block for step %" PRIu64 " of pass %" PRIu64
			" never reached rank %u: rank %u sent it",
			part, pass ? block - pass->part[lane].base + 1 : 0, tag,
			q->head->rank, from);
}

/* The slot of block k at q is free, or it is not: then why? */
static void ungranted(struct search *s, const struct kvr_recorded *q,
		      uint32_t lane, uint64_t tag)
{
	uint64_t block = q->lane[lane].granted;
	const struct kvr_recording_pass *pass =
		kvr_recorded_pass(q, lane, block);
	const struct kvr_recording_slot *slot =
		kvr_recorded_slot(q, lane, block);
	uint32_t step;

	if (!pass || !slot) {
		unbegun(s, q, tag);
		return;
	}
	step = (uint32_t)(block - pass->part[lane].base + 1);
	if (!(slot->flags & KVR_SLOT_DESCRIBED) || slot->landed < slot->chunks)
		missing(s, q->head->rank, lane, block);
	else if (!(slot->flags & KVR_SLOT_RELEASED) &&
		 !(pass->flags & KVR_PASS_ENDED))
		unreleased(s, q, lane, pass, step);
	else if (step < pass->part[lane].hops &&
		 !(slot->out.flags & KVR_OUT_CLOSED))
		missing(s, next_of(s, q->head->rank), lane, block + 1);
	else
		stuck(s, q->head->rank, next_of(s, q->head->rank), "writes");
}

/* p may not send block k: its next has not granted the slot, or has. */
static void no_credit(struct search *s, const struct kvr_recorded *p,
		      const struct kvr_recorded *q, uint32_t lane,
		      uint64_t block, uint64_t tag)
{
	const uint64_t slots = p->head->slots;
	const struct kvr_recording_lane *l = &q->lane[lane];

	if (l->signalled + slots > block)
		kvr_verdict_say(
			s->out, KVR_FAULT_CREDIT_LOST, p->head->rank, tag,
			"the credit for slot %u of rank %u never "
			"reached rank %u: %" PRIu64 " were granted, %" PRIu64
			" came",
			(unsigned)(block % slots), q->head->rank, p->head->rank,
			l->signalled, p->lane[lane].credits);
	else if (l->granted + slots > block)
		stuck(s, q->head->rank, p->head->rank, "credits");
	else
		ungranted(s, q, lane, tag);
}

/* It may, and has begun the pass: has it got what it shall send? */
static void no_source(struct search *s, const struct kvr_recorded *p,
		      uint32_t lane, const struct kvr_recording_pass *pass,
		      uint64_t block)
{
	uint32_t hop = (uint32_t)(block - pass->part[lane].base);
	const bool sums = p->lane[lane].accumulating != 0;
	const struct kvr_recording_slot *slot =
		hop ? kvr_recorded_slot(p, lane, block - 1) : NULL;

	if (hop && (!slot || !(slot->flags & KVR_SLOT_DESCRIBED) ||
		    slot->landed < slot->chunks))
		missing(s, p->head->rank, lane, block - 1);
	else if (sums && !(pass->flags & KVR_PASS_ENDED) &&
		 !(hop ? slot->flags & KVR_SLOT_RELEASED
		       : pass->part[lane].released))
		unreleased(s, p, lane, pass, hop);
	else
		stuck(s, p->head->rank, next_of(s, p->head->rank), "writes");
}

static void no_recording(struct search *s, uint32_t rank, uint32_t waits)
{
	kvr_verdict_say(s->out, KVR_FAULT_UNKNOWN, rank, s->out->pass,
			"rank %u waits for rank %u, of which there is no "
			"recording",
			waits, rank);
}

static void look_at_block(struct search *s, uint32_t rank, uint32_t lane,
			  uint64_t block)
{
	const uint32_t from = prev_of(s, rank);
	const struct kvr_recorded *q = at(s, rank), *p = at(s, from);
	const struct kvr_recording_pass *pass, *theirs;
	uint64_t tag = 0;

	if (!q || !p) {
		no_recording(s, p ? rank : from, p ? from : rank);
		return;
	}
	if (p->lane[lane].next > block) {
		lost(s, q, lane, block);
		return;
	}
	block = p->lane[lane].next;
	theirs = kvr_recorded_pass(q, lane, block);
	pass = kvr_recorded_pass(p, lane, block);
	if (theirs || pass)
		tag = theirs ? theirs->tag : pass->tag;
	s->out->pass = tag;
	if (!pass)
		unbegun(s, p, tag);
	else if (block >= p->lane[lane].credits + p->head->slots)
		no_credit(s, p, q, lane, block, tag);
	else
		no_source(s, p, lane, pass, block);
}

/* ------------------------------------------------------------------ waits */

/* A pass of which our own blocks are not sent, or slots not granted. */
static void undrained(struct search *s, const struct kvr_recorded *r,
		      const struct kvr_recording_pass *pass)
{
	const uint32_t rank = r->head->rank, next = next_of(s, rank);

	for (uint32_t lane = 0; lane < r->head->lanes; lane++) {
		const struct kvr_recording_part *part = &pass->part[lane];
		const struct kvr_recording_out *local = &part->local;

		if (part->hops && !(local->flags & KVR_OUT_CLOSED)) {
			missing(s, next, lane, part->base);
			return;
		}
		if (part->hops && local->sent < local->posted) {
			stuck(s, rank, next, "writes");
			return;
		}
	}
	for (uint32_t lane = 0; lane < r->head->lanes; lane++) {
		if (r->lane[lane].signalled < r->lane[lane].granted) {
			stuck(s, rank, prev_of(s, rank), "credits");
			return;
		}
		if (r->lane[lane].granted <
		    pass->part[lane].base + pass->part[lane].hops) {
			ungranted(s, r, lane, pass->tag);
			return;
		}
	}
	kvr_verdict_say(s->out, KVR_FAULT_UNKNOWN, rank, pass->tag,
			"rank %u waits for nothing that is missing", rank);
}

static void look_at_caller(struct search *s, uint32_t rank)
{
	const struct kvr_recorded *r = at(s, rank);
	const struct kvr_recording_pass *pass = kvr_recorded_newest(r);
	const struct kvr_recording *h = r->head;

	if (h->caller.wait == KVR_WAIT_BEGIN ||
	    h->caller.wait == KVR_WAIT_CLOSE)
		pass = h->retired < h->begun
			       ? &h->pass[h->retired % KVR_RECORDING_PASSES]
			       : NULL;
	if (!pass || h->caller.wait == KVR_WAIT_NONE) {
		kvr_verdict_say(s->out, KVR_FAULT_UNKNOWN, rank, 0,
				"rank %u waits for nothing that is missing",
				rank);
		return;
	}
	s->out->pass = pass->tag;
	if (h->caller.wait == KVR_WAIT_NEXT)
		missing(s, rank, h->caller.lane,
			pass->part[h->caller.lane].base +
				pass->part[h->caller.lane].steps - 1);
	else
		undrained(s, r, pass);
}

void kvr_explain_wait(const struct kvr_recordings *all, uint32_t rank,
		      struct kvr_verdict *out)
{
	struct search s = {.all = all, .out = out};
	/* Each rank's caller and blocks once, and some to spare. */
	uint64_t patience = UINT64_C(8) * all->n + 8;

	waiting(&s, rank);
	while (s.look != LOOK_DONE && patience-- > 0) {
		enum look look = s.look;

		s.look = LOOK_DONE;
		if (look == LOOK_AT_CALLER)
			look_at_caller(&s, s.rank);
		else
			look_at_block(&s, s.rank, s.lane, s.block);
	}
	if (s.look != LOOK_DONE)
		kvr_verdict_say(out, KVR_FAULT_UNKNOWN, KVR_RANK_NONE, 0,
				"the ranks wait for each other in a circle");
}
