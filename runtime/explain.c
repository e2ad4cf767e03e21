/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One sentence of cause from the recordings of a ring. First whose failure
 * was the first: one that no neighbour told, and that no failure of the rank
 * which it blames accounts for. Then what that failure means, seen from all.
 */
#include "runtime/explain.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "runtime/wire.h"

void kvr_verdict_init(struct kvr_verdict *verdict)
{
	*verdict = (struct kvr_verdict){
		.size = sizeof(*verdict),
		.rank = KVR_RANK_NONE,
	};
}

void kvr_verdict_say(struct kvr_verdict *verdict, enum kvr_fault fault,
		     uint32_t rank, uint64_t pass, const char *format, ...)
{
	va_list args;

	verdict->fault = fault;
	verdict->rank = rank;
	verdict->pass = pass;
	va_start(args, format);
	vsnprintf(verdict->text, sizeof(verdict->text), format, args);
	va_end(args);
}

/* ------------------------------------------------------ the first failure */

/* It saw the failure itself. */
static bool saw(const struct kvr_recorded *r)
{
	return r && kvr_recorded_failed(r) && !r->head->failure.told;
}

static bool blames_each_other(const struct kvr_recorded *a,
			      const struct kvr_recorded *b)
{
	return a->head->failure.rank == b->head->rank &&
	       b->head->failure.rank == a->head->rank;
}

/*
 * Did the rank that it blames fail before, for a reason of its own? Then its
 * silence, or its closed connection, is the effect.
 */
static bool accounted_for(const struct kvr_recordings *all,
			  const struct kvr_recorded *r)
{
	const struct kvr_recorded *blamed =
		kvr_recordings_of(all, r->head->failure.rank);

	return r->head->failure.status == KVR_ERR_PEER_LOST && saw(blamed) &&
	       blamed != r && !blames_each_other(r, blamed);
}

static const struct kvr_recorded *
first_failure(const struct kvr_recordings *all)
{
	const struct kvr_recorded *first = NULL;

	for (uint32_t i = 0; i < all->n; i++) {
		const struct kvr_recorded *r = kvr_recordings_of(all, i);

		if (!saw(r) || accounted_for(all, r))
			continue;
		if (!first || r->head->wall_ns < first->head->wall_ns)
			first = r;
	}
	if (first)
		return first;
	/* Nobody saw it who left a recording: then who was told of it. */
	for (uint32_t i = 0; i < all->n; i++)
		if (kvr_recordings_of(all, i) &&
		    kvr_recorded_failed(&all->rank[i]))
			return &all->rank[i];
	return NULL;
}

/* --------------------------------------------------------------- the lost */

/* "in step 2 of pass 7", of a rank when it failed. */
static const char *where(const struct kvr_recorded *r, char *to, size_t bytes)
{
	const struct kvr_recording_failure *f = &r->head->failure;

	if (f->open)
		snprintf(to, bytes, "in step %u of pass %" PRIu64, f->step,
			 f->pass);
	else
		snprintf(to, bytes, "between passes");
	return to;
}

static const struct kvr_recording_side *
side_of(const struct kvr_recordings *all, const struct kvr_recorded *r,
	uint32_t peer)
{
	bool next = (r->head->rank + 1) % all->n == peer;
	/* Of two the other is both: the side that did more is meant. */
	const struct kvr_recording_side *a = &r->head->side[next];
	const struct kvr_recording_side *b = &r->head->side[!next];

	if (all->n > 2)
		return a;
	if (a->bye_received != b->bye_received)
		return a->bye_received ? a : b;
	return a->silent_ns > b->silent_ns ? a : b;
}

/* The longest time in which that rank did nothing; 0: it always did. */
static uint64_t longest_away(const struct kvr_recorded *r)
{
	uint64_t longest = 0;

	for (uint32_t i = 0; i < r->head->events; i++)
		if (r->event[i].kind == KVR_NOTE_AWAY &&
		    r->event[i].value > longest)
			longest = r->event[i].value;
	return longest;
}

/* A rank that was given up, and left a recording all the same. */
static void explain_alive(const struct kvr_recordings *all,
			  const struct kvr_recorded *r,
			  const struct kvr_recorded *blamed,
			  struct kvr_verdict *out)
{
	const uint32_t rank = blamed->head->rank;
	uint64_t silent_ns = side_of(all, r, rank)->silent_ns;
	uint64_t away_ns = longest_away(blamed);
	char at[64];

	if (away_ns >= silent_ns / 2 && away_ns > 0)
		kvr_verdict_say(out, KVR_FAULT_AWAY, rank,
				r->head->failure.pass,
				"rank %u did nothing for %.1f s: stopped, "
				"without a processor, or its caller made no "
				"progress; rank %u gave it up %s",
				rank, kvr_seconds(away_ns), r->head->rank,
				where(r, at, sizeof(at)));
	else
		kvr_verdict_say(out, KVR_FAULT_CUT, rank, r->head->failure.pass,
				"ranks %u and %u do not hear each other, and "
				"both live: the connection between them is "
				"cut; silent for %.1f s %s",
				r->head->rank, rank, kvr_seconds(silent_ns),
				where(r, at, sizeof(at)));
}

/* The pass that it still owed the rank that misses it. */
static uint64_t owed_pass(const struct kvr_recorded *r)
{
	const struct kvr_recording *h = r->head;

	return h->retired < h->begun
		       ? h->pass[(h->begun - 1) % KVR_RECORDING_PASSES].tag
		       : h->failure.pass;
}

static void explain_lost(const struct kvr_recordings *all,
			 const struct kvr_recorded *r, struct kvr_verdict *out)
{
	const struct kvr_recording_failure *f = &r->head->failure;
	const struct kvr_recorded *blamed = kvr_recordings_of(all, f->rank);
	const struct kvr_recording_side *side = side_of(all, r, f->rank);
	char at[64];

	where(r, at, sizeof(at));
	if (blamed && blamed != r && f->cause == KVR_CAUSE_SILENT)
		explain_alive(all, r, blamed, out);
	else if (!f->told && side->bye_received)
		kvr_verdict_say(out, KVR_FAULT_LEFT, f->rank, owed_pass(r),
				"rank %u closed its ring before pass %" PRIu64
				", which rank %u had begun",
				f->rank, owed_pass(r), r->head->rank);
	else if (f->cause != KVR_CAUSE_SILENT)
		kvr_verdict_say(out, KVR_FAULT_DIED, f->rank, f->pass,
				"rank %u died: its connection closed without "
				"a farewell while rank %u was %s",
				f->rank, r->head->rank, at);
	else if (f->told)
		kvr_verdict_say(out, KVR_FAULT_SILENT, f->rank, f->pass,
				"rank %u is stopped or cut off: its neighbour "
				"found it silent while rank %u was %s",
				f->rank, r->head->rank, at);
	else
		kvr_verdict_say(out, KVR_FAULT_SILENT, f->rank, f->pass,
				"rank %u is stopped or cut off: silent for "
				"%.1f s while rank %u was %s",
				f->rank, kvr_seconds(side->silent_ns),
				r->head->rank, at);
}

/* --------------------------------------------------------- the odd one out */

/* What a rank says of a pass: its tag, or its hops. */
struct opinion {
	bool hops;
	uint64_t number; /* of the pass, since the ring was opened */
	uint64_t tag;
};

static bool ask(const struct kvr_recorded *r, const struct opinion *o,
		uint64_t *value)
{
	const struct kvr_recording *h = r->head;
	const struct kvr_recording_pass *pass =
		&h->pass[o->number % KVR_RECORDING_PASSES];

	if (o->number >= h->begun ||
	    o->number + KVR_RECORDING_PASSES < h->begun)
		return false;
	*value = o->hops ? pass->hops : pass->tag;
	return true;
}

/* Ranks of that opinion; *last is one. */
static uint32_t count(const struct kvr_recordings *all, const struct opinion *o,
		      uint64_t value, uint32_t *last)
{
	uint32_t found = 0;
	uint64_t said;

	for (uint32_t i = 0; i < all->n; i++) {
		const struct kvr_recorded *r = kvr_recordings_of(all, i);

		if (r && ask(r, o, &said) && said == value) {
			*last = i;
			found++;
		}
	}
	return found;
}

static void say_odd(const struct opinion *o, uint32_t odd, uint64_t its,
		    uint64_t usual, const char *others, struct kvr_verdict *out)
{
	if (o->hops)
		kvr_verdict_say(out, KVR_FAULT_DISAGREES, odd, o->tag,
				"rank %u began pass %" PRIu64 " with %" PRIu64
				" hops, %s with %" PRIu64,
				odd, o->tag, its, others, usual);
	else
		kvr_verdict_say(out, KVR_FAULT_DISAGREES, odd, its,
				"rank %u began pass %" PRIu64 " where %s began "
				"pass %" PRIu64,
				odd, its, others, usual);
}

/*
 * The smaller party is wrong, if it is one rank; of two, both are named. False:
 * the two ranks agree on this pass, or there is nobody to say who is right.
 */
static bool explain_odd(const struct kvr_recordings *all,
			const struct kvr_recorded *r, uint64_t number,
			bool hops, struct kvr_verdict *out)
{
	const struct kvr_recorded *blamed =
		kvr_recordings_of(all, r->head->failure.rank);
	struct opinion o = {.number = number, .hops = hops};
	uint32_t one = 0, other = 0, ours, theirs;
	uint64_t our_value, their_value;
	char name[32] = "the others";

	if (!blamed || !ask(r, &o, &our_value) ||
	    !ask(blamed, &o, &their_value) || our_value == their_value)
		return false;
	o.tag = r->head->pass[number % KVR_RECORDING_PASSES].tag;
	ours = count(all, &o, our_value, &one);
	theirs = count(all, &o, their_value, &other);
	if (ours > 1 && theirs > 1)
		return false;
	if (ours == theirs)
		snprintf(name, sizeof(name), "rank %u", one);
	if (theirs <= ours)
		say_odd(&o, other, their_value, our_value, name, out);
	else
		say_odd(&o, one, our_value, their_value, name, out);
	return true;
}

static void explain_mismatch(const struct kvr_recordings *all,
			     const struct kvr_recorded *r,
			     struct kvr_verdict *out)
{
	const struct kvr_recording_failure *f = &r->head->failure;
	const struct kvr_recording *h = r->head;
	uint64_t first = h->begun > KVR_RECORDING_PASSES
				 ? h->begun - KVR_RECORDING_PASSES
				 : 0;

	/* Fewer hops bring the next pass too early: look for them first. */
	for (uint64_t number = first; number < h->begun; number++)
		if (explain_odd(all, r, number, true, out))
			return;
	for (uint64_t number = first; number < h->begun; number++)
		if (explain_odd(all, r, number, false, out))
			return;
	if (f->field[0])
		kvr_verdict_say(out, KVR_FAULT_DISAGREES, f->rank, f->pass,
				"ranks %u and %u disagree: %s of rank %u is "
				"%" PRIu64 ", of rank %u %" PRIu64,
				f->rank, h->rank, f->field, f->rank, f->theirs,
				h->rank, f->ours);
	else
		kvr_verdict_say(out, KVR_FAULT_DISAGREES, f->rank, f->pass,
				"rank %u disagrees with its next, of which "
				"there is no recording",
				f->rank);
}

/* --------------------------------------------------------------- the rest */

static void explain_protocol(const struct kvr_recorded *r,
			     struct kvr_verdict *out)
{
	const struct kvr_recording_failure *f = &r->head->failure;

	kvr_verdict_say(out, KVR_FAULT_PROTOCOL, f->rank, f->pass,
			"rank %u broke the protocol%s%s", f->rank,
			f->field[0] ? ": " : "", f->field);
}

/* Which chunk is known to the rank that found it: it has said so. */
static void explain_corrupt(const struct kvr_recorded *r,
			    struct kvr_verdict *out)
{
	const struct kvr_recording_failure *f = &r->head->failure;

	kvr_verdict_say(out, KVR_FAULT_CORRUPT, f->rank, f->pass,
			"rank %u sent or held a block that does not match its "
			"checksums: memory was overwritten",
			f->rank);
}

static void explain_abort(const struct kvr_recordings *all,
			  const struct kvr_recorded *r, struct kvr_verdict *out)
{
	const uint32_t rank = r->head->failure.rank;
	const struct kvr_recorded *blamed = kvr_recordings_of(all, rank);
	char at[64] = "";

	if (blamed && kvr_recorded_failed(blamed))
		where(blamed, at, sizeof(at));
	kvr_verdict_say(out, KVR_FAULT_GAVE_UP, rank, r->head->failure.pass,
			"rank %u gave up the ring%s%s", rank, at[0] ? " " : "",
			at);
}

/* The one that gave up waiting, else any that still waits. */
static void explain_stall(const struct kvr_recordings *all,
			  const struct kvr_recorded *r, struct kvr_verdict *out)
{
	uint32_t waits = r->head->rank;

	for (uint32_t i = 0; i < all->n && r->head->failure.told; i++)
		if (kvr_recordings_of(all, i) &&
		    all->rank[i].head->caller.wait != KVR_WAIT_NONE) {
			waits = i;
			break;
		}
	kvr_explain_wait(all, waits, out);
}

static void explain_failure(const struct kvr_recordings *all,
			    const struct kvr_recorded *r,
			    struct kvr_verdict *out)
{
	switch (r->head->failure.cause) {
	case KVR_CAUSE_STALLED:
		explain_stall(all, r, out);
		break;
	case KVR_CAUSE_CALLER:
		explain_abort(all, r, out);
		break;
	case KVR_CAUSE_MISMATCH:
		explain_mismatch(all, r, out);
		break;
	case KVR_CAUSE_PROTOCOL:
		explain_protocol(r, out);
		break;
	case KVR_CAUSE_CORRUPT:
		explain_corrupt(r, out);
		break;
	default:
		explain_lost(all, r, out);
	}
}

/* Nothing has failed: whoever has waited longest. */
static void explain_working(const struct kvr_recordings *all,
			    struct kvr_verdict *out)
{
	uint64_t longest = 0;
	uint32_t waits = KVR_RANK_NONE;

	for (uint32_t i = 0; i < all->n; i++) {
		const struct kvr_recorded *r = kvr_recordings_of(all, i);
		const struct kvr_recording *h = r ? r->head : NULL;

		if (!h || h->caller.wait == KVR_WAIT_NONE)
			continue;
		if (waits == KVR_RANK_NONE ||
		    h->now_ns - h->caller.since_ns > longest) {
			longest = h->now_ns - h->caller.since_ns;
			waits = i;
		}
	}
	if (waits == KVR_RANK_NONE)
		kvr_verdict_say(out, KVR_FAULT_NONE, KVR_RANK_NONE, 0,
				"nothing is wrong: no rank has failed, and "
				"none waits");
	else
		kvr_explain_wait(all, waits, out);
}

enum kvr_status kvr_recordings_explain(const void *recordings, size_t bytes,
				       struct kvr_verdict *out)
{
	const struct kvr_recorded *first;
	struct kvr_recordings all;
	enum kvr_status status;

	if (!recordings || !out || out->size != sizeof(*out))
		return KVR_ERR_INVALID;
	status = kvr_recordings_read(recordings, bytes, &all);
	if (status != KVR_OK)
		return status;
	kvr_verdict_init(out);
	out->n = all.n;
	out->recorded = all.present;
	out->others = all.others;
	first = first_failure(&all);
	out->failed = first != NULL;
	if (first)
		explain_failure(&all, first, out);
	else
		explain_working(&all, out);
	kvr_recordings_free(&all);
	return KVR_OK;
}
