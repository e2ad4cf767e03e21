/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's neighbours: signs of life, failure, abort, farewell. */
#include <string.h>

#include "runtime/engine_internal.h"

static uint32_t neighbour(const struct kvr_engine *e, enum kvr_side side)
{
	uint32_t n = e->config.n;

	return (e->config.rank + (side == KVR_NEXT ? 1 : n - 1)) % n;
}

/* -------------------------------------------------------------- failure */

static enum kvr_status status_of(enum kvr_cause cause)
{
	switch (cause) {
	case KVR_CAUSE_CALLER:
		return KVR_ERR_ABORTED;
	case KVR_CAUSE_MISMATCH:
		return KVR_ERR_MISMATCH;
	case KVR_CAUSE_PROTOCOL:
		return KVR_ERR_PROTOCOL;
	case KVR_CAUSE_STALLED:
		return KVR_ERR_TIMEOUT;
	case KVR_CAUSE_CORRUPT:
		return KVR_ERR_CORRUPT;
	case KVR_CAUSE_NONE:
	case KVR_CAUSE_CLOSED:
	case KVR_CAUSE_SILENT:
		break;
	}
	return KVR_ERR_PEER_LOST;
}

static uint32_t steps_taken(struct kvr_engine *e)
{
	const struct engine_record *r = engine_newest(e);
	uint32_t steps = 0;

	if (!e->open)
		return 0;
	for (uint32_t i = 0; i < e->config.lanes; i++)
		if (r->part[i].steps > steps)
			steps = r->part[i].steps;
	return steps;
}

/* The first cause wins. False: there was one. */
static bool enter_failure(struct kvr_engine *e, const struct kvr_abort *abort)
{
	struct kvr_engine_failure *f = &e->failure;

	if (engine_failed(e))
		return false;
	f->status = status_of(abort->cause);
	f->abort = *abort;
	f->pass = e->open ? engine_newest(e)->pass.tag : 0;
	f->step = steps_taken(e);
	for (int side = 0; side < 2; side++)
		f->silent_ns[side] = e->observed_ns - e->edge[side].heard_ns;
	engine_note(e, KVR_NOTE_FAILED, 0, abort->cause, abort->rank);
	kvr_engine_wake(e);
	return true;
}

void kvr_engine_fail(struct kvr_engine *e, uint32_t rank, enum kvr_cause cause)
{
	const struct kvr_abort abort = {
		.rank = rank,
		.step = steps_taken(e),
		.cause = cause,
	};

	enter_failure(e, &abort);
}

static void set_field(struct kvr_engine *e, const char *field)
{
	size_t length = strlen(field);

	if (length >= sizeof(e->failure.field))
		length = sizeof(e->failure.field) - 1;
	memcpy(e->failure.field, field, length);
}

void kvr_engine_fail_protocol(struct kvr_engine *e, enum kvr_side side,
			      const char *field)
{
	if (engine_failed(e))
		return;
	kvr_engine_fail(e, neighbour(e, side), KVR_CAUSE_PROTOCOL);
	set_field(e, field);
}

/* What prev says of a pass is not what we say. */
void kvr_engine_fail_mismatch(struct kvr_engine *e, const char *field,
			      uint64_t ours, uint64_t theirs)
{
	if (engine_failed(e))
		return;
	kvr_engine_fail(e, neighbour(e, KVR_PREV), KVR_CAUSE_MISMATCH);
	set_field(e, field);
	e->failure.ours = ours;
	e->failure.theirs = theirs;
}

void kvr_engine_abort(struct kvr_engine *engine, uint32_t rank,
		      enum kvr_cause cause)
{
	kvr_engine_fail(engine, rank, cause);
}

void kvr_engine_on_abort(struct kvr_engine *e, enum kvr_side side,
			 uint32_t value)
{
	struct kvr_abort abort = {
		.rank = value >> 8,
		.step = e->edge[side].abort_step,
		.cause = (enum kvr_cause)(value & 0xff),
	};

	if (abort.cause == KVR_CAUSE_NONE || abort.cause > KVR_CAUSE_CORRUPT ||
	    (abort.rank >= e->config.n && abort.rank != ENGINE_RANK_NONE)) {
		kvr_engine_fail_protocol(e, side, "abort");
		return;
	}
	if (abort.rank == ENGINE_RANK_NONE)
		abort.rank = KVR_RANK_NONE;
	engine_note(e, KVR_NOTE_ABORT, side, abort.step, abort.rank);
	e->failure.told = true;
	enter_failure(e, &abort);
}

void kvr_engine_lost(struct kvr_engine *engine, enum kvr_side side,
		     enum kvr_cause cause)
{
	struct engine_edge *edge = &engine->edge[side];

	edge->lost = true;
	engine_note(engine, KVR_NOTE_LOST, side, 0, cause);
	if (!edge->bye_received || cause != KVR_CAUSE_CLOSED)
		kvr_engine_fail(engine, neighbour(engine, side), cause);
	/* With a BYE it was free to go, unless we want more: see judge. */
	kvr_engine_wake(engine);
}

/* -------------------------------------------------------- signs of life */

/*
 * Silence is measured in the time that we were there to hear: when we were
 * stopped ourselves, one jump of the clock proves nothing about the others.
 */
void kvr_engine_observe(struct kvr_engine *e, uint64_t now_ns)
{
	uint64_t most = e->config.silence_ns / 2, elapsed;

	if (now_ns <= e->last_ns)
		return;
	elapsed = now_ns - e->last_ns;
	e->observed_ns += elapsed < most ? elapsed : most;
	e->last_ns = now_ns;
	/* Alone it has nothing to do. */
	if (elapsed >= most && e->config.n > 1)
		engine_note(e, KVR_NOTE_AWAY, 0, elapsed, 0);
}

void kvr_engine_heard(struct kvr_engine *e, enum kvr_side side)
{
	struct engine_edge *edge = &e->edge[side];

	if (edge->quiet)
		engine_note(e, KVR_NOTE_HEARD, side, 0, 0);
	edge->quiet = false;
	edge->heard_ns = e->observed_ns;
}

/* Once, when half of the patience is gone. */
static void note_quiet(struct kvr_engine *e, int side, uint64_t silent_ns)
{
	if (e->edge[side].quiet || silent_ns < e->config.silence_ns / 2)
		return;
	e->edge[side].quiet = true;
	engine_note(e, KVR_NOTE_QUIET, (uint32_t)side, silent_ns, 0);
}

static bool watched(const struct engine_edge *edge)
{
	return !edge->lost && !edge->bye_received;
}

void kvr_engine_judge(struct kvr_engine *e)
{
	for (int side = 0; side < 2; side++) {
		uint64_t silent_ns = e->observed_ns - e->edge[side].heard_ns;

		if (!watched(&e->edge[side]))
			continue;
		note_quiet(e, side, silent_ns);
		if (silent_ns >= e->config.silence_ns)
			kvr_engine_fail(e, neighbour(e, (enum kvr_side)side),
					KVR_CAUSE_SILENT);
	}
	if (e->config.n == 1)
		return;
	/* It left in peace, but before it had served all our passes. */
	if (e->edge[KVR_PREV].lost && kvr_engine_needs_prev(e))
		kvr_engine_fail(e, neighbour(e, KVR_PREV), KVR_CAUSE_CLOSED);
	if (e->edge[KVR_NEXT].lost && kvr_engine_needs_next(e))
		kvr_engine_fail(e, neighbour(e, KVR_NEXT), KVR_CAUSE_CLOSED);
}

uint64_t kvr_engine_next_deadline(const struct kvr_engine *engine)
{
	uint64_t deadline = engine->beat_ns;

	if (engine_failed(engine) || engine->config.n == 1)
		return UINT64_MAX;
	for (int side = 0; side < 2; side++) {
		const struct engine_edge *edge = &engine->edge[side];
		uint64_t silent = engine->observed_ns - edge->heard_ns;
		uint64_t left = engine->config.silence_ns > silent
					? engine->config.silence_ns - silent
					: 0;

		if (watched(edge) && engine->last_ns + left < deadline)
			deadline = engine->last_ns + left;
	}
	return deadline;
}

/* -------------------------------------------------------------- signals */

static bool send(struct kvr_engine *e, enum kvr_side side,
		 enum kvr_imm_type type, uint32_t lane, uint64_t value)
{
	return kvr_engine_refused(e, e->actions.signal(e->arg, side,
						       kvr_imm_value(type, lane,
								     value))) ==
	       KVR_OK;
}

/* ABORT_STEP, then ABORT; what a refusal left comes in the next run. */
static bool send_abort(struct kvr_engine *e, enum kvr_side side)
{
	const struct kvr_abort *abort = &e->failure.abort;
	struct engine_edge *edge = &e->edge[side];
	uint64_t rank =
		abort->rank == KVR_RANK_NONE ? ENGINE_RANK_NONE : abort->rank;
	bool acted = false;

	if (edge->abort_signals == 0 &&
	    send(e, side, KVR_IMM_ABORT_STEP, 0, abort->step)) {
		edge->abort_signals = 1;
		acted = true;
	}
	if (edge->abort_signals == 1 &&
	    send(e, side, KVR_IMM_ABORT, 0,
		 rank << 8 | (uint64_t)abort->cause)) {
		edge->abort_signals = 2;
		acted = true;
	}
	return acted;
}

static bool send_credits(struct kvr_engine *e)
{
	bool acted = false;

	for (uint32_t i = 0; i < e->config.lanes; i++) {
		struct engine_lane *lane = &e->lane[i];

		if (lane->granted == lane->signalled)
			continue;
		/* A prev that left in peace needs no more credits. */
		if (e->edge[KVR_PREV].lost ||
		    send(e, KVR_PREV, KVR_IMM_CREDIT, i, lane->granted)) {
			lane->signalled = lane->granted;
			engine_note(e, KVR_NOTE_GRANT, i, lane->granted, 0);
			acted = true;
		}
	}
	return acted;
}

/* Until our BYE it watches us. */
static bool send_beat(struct kvr_engine *e, enum kvr_side side)
{
	struct engine_edge *edge = &e->edge[side];

	if (!edge->beat_due || edge->bye_sent ||
	    !send(e, side, KVR_IMM_HEARTBEAT, 0, 0))
		return false;
	edge->beat_due = false;
	return true;
}

static bool send_bye(struct kvr_engine *e, enum kvr_side side)
{
	struct engine_edge *edge = &e->edge[side];

	if (!e->bye_wanted || edge->bye_sent || e->retired != e->begun ||
	    !send(e, side, KVR_IMM_BYE, 0, 0))
		return false;
	edge->bye_sent = true;
	engine_note(e, KVR_NOTE_BYE_SENT, side, 0, 0);
	kvr_engine_wake(e);
	return true;
}

static void schedule_beats(struct kvr_engine *e)
{
	if (e->last_ns < e->beat_ns)
		return;
	e->edge[KVR_PREV].beat_due = true;
	e->edge[KVR_NEXT].beat_due = true;
	e->beat_ns = e->last_ns + e->config.heartbeat_ns;
}

bool kvr_engine_signal_all(struct kvr_engine *e)
{
	bool acted = false, failed = engine_failed(e);

	schedule_beats(e);
	if (!failed)
		acted = send_credits(e);
	for (int i = 0; i < 2; i++) {
		enum kvr_side side = (enum kvr_side)i;

		if (e->edge[i].lost)
			continue;
		if (failed) {
			acted |= send_abort(e, side);
			continue;
		}
		acted |= send_beat(e, side);
		acted |= send_bye(e, side);
	}
	return acted;
}

bool kvr_engine_abort_sent(const struct kvr_engine *engine)
{
	for (int i = 0; i < 2; i++)
		if (!engine->edge[i].lost && engine->edge[i].abort_signals < 2)
			return false;
	return true;
}

bool kvr_engine_bye_sent(const struct kvr_engine *engine)
{
	for (int i = 0; i < 2; i++)
		if (!engine->edge[i].bye_sent && !engine->edge[i].lost)
			return false;
	return true;
}

enum kvr_status kvr_engine_bye(struct kvr_engine *engine)
{
	if (engine_failed(engine))
		return engine->failure.status;
	if (engine->open)
		return KVR_ERR_STATE;
	engine->bye_wanted = true;
	if (engine->retired != engine->begun)
		return KVR_ERR_AGAIN;
	return kvr_engine_bye_sent(engine) &&
			       engine->edge[KVR_PREV].bye_received &&
			       engine->edge[KVR_NEXT].bye_received
		       ? KVR_OK
		       : KVR_ERR_AGAIN;
}
