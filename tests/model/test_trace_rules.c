/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The trace rules accept what a ring may do, and each of them can say no:
 * good traces, written out phase by phase, and one edit per rule.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/model/trace_scripts.h"

/* The nth event (from 0) of a kind at a rank. */
struct where {
	uint32_t rank;
	enum kvr_trace_kind kind;
	unsigned int nth;
};

enum verb { NOTHING, DROP, COPY, MOVE, CUT, RANK, LANE, A, B, C, D };

struct edit {
	struct where at;
	enum verb verb;
	struct where to; /* COPY, MOVE: in front of this */
	uint64_t value;	 /* RANK .. D: the new one */
};

struct row {
	const char *name;
	void (*script)(struct script *s);
	const char *why; /* part of the refusal */
	struct edit edit[3];
};

static size_t find(const struct script *s, const struct where *w)
{
	unsigned int nth = 0;

	for (size_t i = 0; i < s->trace.count; i++)
		if (s->event[i].rank == w->rank &&
		    s->event[i].kind == w->kind && nth++ == w->nth)
			return i;
	fail_msg("no such event");
	return 0;
}

static void insert(struct script *s, size_t at, struct kvr_trace_event event)
{
	assert_true(s->trace.count < EVENTS);
	memmove(&s->event[at + 1], &s->event[at],
		(s->trace.count++ - at) * sizeof(event));
	s->event[at] = event;
}

static void drop(struct script *s, size_t at)
{
	memmove(&s->event[at], &s->event[at + 1],
		(--s->trace.count - at) * sizeof(s->event[0]));
}

static void set(struct kvr_trace_event *event, enum verb field, uint64_t value)
{
	uint64_t *const fields[] = {&event->a, &event->b, &event->c, &event->d};

	if (field == RANK)
		event->rank = (uint32_t)value;
	else if (field == LANE)
		event->lane = (uint32_t)value;
	else
		*fields[field - A] = value;
}

static void apply(struct script *s, const struct edit *edit)
{
	size_t at = find(s, &edit->at);
	struct kvr_trace_event event = s->event[at];

	if (edit->verb == DROP || edit->verb == MOVE)
		drop(s, at);
	if (edit->verb == COPY || edit->verb == MOVE)
		insert(s, find(s, &edit->to), event);
	if (edit->verb == CUT)
		s->trace.count = at;
	if (edit->verb >= RANK)
		set(&s->event[at], edit->verb, edit->value);
}

#define AT(rank, kind, nth)                                                    \
	{                                                                      \
		rank, KVR_TRACE_##kind, nth                                    \
	}
#define NOWHERE                                                                \
	{                                                                      \
		0, KVR_TRACE_KINDS, 0                                          \
	}
#define ONE(rank, kind, nth, verb)                                             \
	{                                                                      \
		AT(rank, kind, nth), verb, NOWHERE, 0                          \
	}
#define SET(rank, kind, nth, field, value)                                     \
	{                                                                      \
		AT(rank, kind, nth), field, NOWHERE, value                     \
	}
#define TWO(rank, kind, nth, verb, rank2, kind2, nth2)                         \
	{                                                                      \
		AT(rank, kind, nth), verb, AT(rank2, kind2, nth2), 0           \
	}

/* clang-format off */
static const struct row rows[] = {
	{"begin_whileOpen_rejected", script_immutable,
	 "begin: a pass is open",
	 {ONE(1, ENDING, 0, DROP),
	  ONE(1, END, 0, DROP)}},
	{"begin_tooManyHops_rejected", script_immutable,
	 "begin: too many hops",
	 {SET(0, BEGIN, 0, B, 3)}},
	{"begin_accumulatingWithoutAllHops_rejected", script_accumulating,
	 "begin: too few hops",
	 {SET(0, BEGIN, 0, B, 0)}},
	{"begin_afterBye_rejected", script_immutable,
	 "begin: after bye",
	 {TWO(0, BEGIN, 0, COPY, 0, BYE, 1)}},
	{"take_noPassOpen_rejected", script_immutable,
	 "take: no pass open",
	 {ONE(0, BEGIN, 0, DROP)}},
	{"take_stepSkipped_rejected", script_immutable,
	 "take: steps out of order",
	 {ONE(0, TAKE, 0, DROP),
	  ONE(0, RELEASE, 0, DROP)}},
	{"take_twice_rejected", script_immutable,
	 "take: steps out of order",
	 {TWO(0, TAKE, 1, COPY, 0, RELEASE, 1)}},
	{"take_afterLast_rejected", script_immutable,
	 "take: after the last step",
	 {SET(0, TAKE, 2, A, 3)}},
	{"take_stepZeroFromASlot_rejected", script_immutable,
	 "step 0 is the local",
	 {SET(0, TAKE, 0, B, 0)}},
	{"take_chunkMissing_rejected", script_immutable,
	 "take: not complete",
	 {ONE(1, LANDED, 0, DROP)}},
	{"take_descriptorMissing_rejected", script_immutable,
	 "take: not complete",
	 {ONE(1, LANDED_DESC, 0, DROP)}},
	{"take_wrongSlot_rejected", script_immutable,
	 "take: wrong slot",
	 {SET(1, TAKE, 1, B, 1)}},
	{"take_wrongOrigin_rejected", script_immutable,
	 "take: wrong origin",
	 {SET(1, TAKE, 1, C, 1)}},
	{"take_cancelledBlock_rejected", script_cancelled,
	 "take: cancelled",
	 {TWO(2, TAKE, 1, COPY, 2, GRANT, 0),
	  SET(2, TAKE, 2, A, 2)}},
	{"take_grantedBlock_rejected", script_cancelled,
	 "take: granted already",
	 {TWO(2, RELEASE, 0, MOVE, 2, CREDIT, 0),
	  TWO(2, TAKE, 1, MOVE, 2, RELEASE, 0)}},
	{"take_tagsDiffer_rejected", script_immutable,
	 "disagrees with prev's",
	 {SET(1, BEGIN, 0, A, 9)}},
	{"release_notTaken_rejected", script_immutable,
	 "release: not taken",
	 {TWO(2, RELEASE, 1, MOVE, 2, TAKE, 1)}},
	{"release_twice_rejected", script_immutable,
	 "release: twice",
	 {TWO(2, RELEASE, 1, COPY, 2, DESCRIBE, 1)}},
	{"release_localTwice_rejected", script_immutable,
	 "release: twice",
	 {TWO(2, RELEASE, 0, COPY, 2, DESCRIBE, 0)}},
	{"cancel_noPassOpen_rejected", script_cancelled,
	 "cancel: no pass open",
	 {TWO(0, CANCEL, 0, MOVE, 0, BEGIN, 0)}},
	{"ending_twice_rejected", script_immutable,
	 "ending: no pass open",
	 {TWO(0, ENDING, 0, COPY, 0, END, 0)}},
	{"end_beforeEnding_rejected", script_immutable,
	 "end: no pass ends",
	 {ONE(0, ENDING, 1, DROP)}},
	{"end_localBlockLeaving_rejected", script_early,
	 "local block is still to be sent",
	 {ONE(0, SENT, 0, DROP)}},
	{"describe_outOfOrder_rejected", script_immutable,
	 "describe: out of order",
	 {SET(0, DESCRIBE, 0, A, 1)}},
	{"describe_twice_rejected", script_immutable,
	 "describe: out of order",
	 {TWO(0, DESCRIBE, 1, COPY, 0, WRITE, 1)}},
	{"describe_slotIndexReset_rejected", script_immutable,
	 "describe: wrong slot",
	 {SET(0, DESCRIBE, 3, B, 0)}},
	{"describe_passNotBegun_rejected", script_early,
	 "describe: pass not begun",
	 {ONE(0, BEGIN, 1, DROP)}},
	{"describe_beforeItCame_rejected", script_early,
	 "not described by prev",
	 {TWO(1, DESCRIBE, 1, MOVE, 1, LANDED_DESC, 0)}},
	{"describe_wrongOrigin_rejected", script_immutable,
	 "describe: wrong origin",
	 {SET(1, DESCRIBE, 1, C, 1)}},
	{"describe_otherChunks_rejected", script_immutable,
	 "other chunks than prev's",
	 {SET(1, DESCRIBE, 1, D, 2)}},
	{"describe_cancelledWithChunks_rejected", script_cancelled,
	 "cancelled, with chunks",
	 {SET(1, DESCRIBE, 1, D, CANCELLED | 1)}},
	{"describe_cancelledByNobody_rejected", script_immutable,
	 "the pass is not cancelled",
	 {SET(1, DESCRIBE, 1, D, CANCELLED)}},
	{"describe_cancelForgotten_rejected", script_cancelled,
	 "the cancel is forgotten",
	 {SET(1, DESCRIBE, 1, D, 0)}},
	{"describe_accumulatingHeld_rejected", script_accumulating,
	 "describe: not released",
	 {ONE(0, RELEASE, 1, DROP)}},
	{"describe_accumulatingLocalHeld_rejected", script_accumulating,
	 "describe: not released",
	 {ONE(0, RELEASE, 0, DROP)}},
	{"describe_slotFilling_rejected", script_early,
	 "DESCRIBE: slot still filling",
	 {TWO(0, DESCRIBE, 1, MOVE, 1, LANDED, 0),
	  TWO(0, DESCRIBE, 2, MOVE, 1, LANDED, 0)}},
	{"describe_slotRead_rejected", script_early,
	 "DESCRIBE: slot still read",
	 {TWO(0, DESCRIBE, 1, MOVE, 1, RELEASE, 0),
	  TWO(0, DESCRIBE, 2, MOVE, 1, RELEASE, 0)}},
	{"describe_slotForwarding_rejected", script_early,
	 "DESCRIBE: slot still to be forwarded",
	 {TWO(0, DESCRIBE, 2, MOVE, 1, SENT, 1)}},
	{"describe_slotNotGranted_rejected", script_early,
	 "DESCRIBE: slot not granted",
	 {TWO(0, DESCRIBE, 2, MOVE, 1, GRANT, 0)}},
	{"describe_creditNotSeen_rejected", script_early,
	 "DESCRIBE: credit not seen",
	 {TWO(0, DESCRIBE, 2, MOVE, 0, CREDIT, 0)}},
	{"write_notDescribed_rejected", script_immutable,
	 "write: not described",
	 {TWO(0, WRITE, 1, MOVE, 0, DESCRIBE, 1)}},
	{"write_chunkBeyond_rejected", script_immutable,
	 "write: no such chunk",
	 {SET(0, WRITE, 1, B, 1)}},
	{"write_twice_rejected", script_immutable,
	 "write: twice",
	 {TWO(0, WRITE, 1, COPY, 0, SENT, 1)}},
	{"write_wrongSource_rejected", script_immutable,
	 "write: wrong source",
	 {SET(0, WRITE, 1, C, 1)}},
	{"write_beforeItLanded_rejected", script_early,
	 "forwarded before it landed",
	 {TWO(1, DESCRIBE, 1, MOVE, 1, LANDED, 0),
	  TWO(1, WRITE, 1, MOVE, 1, LANDED, 0)}},
	{"write_localAfterEnd_rejected", script_local_after_end,
	 "local block after end",
	 {{NOWHERE, NOTHING, NOWHERE, 0}}},
	{"sent_notWritten_rejected", script_immutable,
	 "sent: not written",
	 {TWO(0, SENT, 0, MOVE, 0, WRITE, 0)}},
	{"sent_twice_rejected", script_immutable,
	 "sent: twice",
	 {TWO(0, SENT, 0, COPY, 0, TAKE, 1)}},
	{"landed_notWritten_rejected", script_immutable,
	 "landed: not written",
	 {TWO(1, LANDED, 0, MOVE, 0, WRITE, 0)}},
	{"landed_twice_rejected", script_immutable,
	 "landed: twice",
	 {TWO(0, LANDED, 0, COPY, 0, SENT, 0)}},
	{"landedDesc_otherOrigin_rejected", script_immutable,
	 "not described so",
	 {SET(0, LANDED_DESC, 0, B, 1)}},
	{"landedDesc_twice_rejected", script_immutable,
	 "descriptor landed: twice",
	 {TWO(0, LANDED_DESC, 0, COPY, 0, SENT, 0)}},
	{"grant_beforeLanding_rejected", script_early,
	 "GRANT: slot still filling",
	 {TWO(0, GRANT, 0, MOVE, 0, LANDED, 0)}},
	{"grant_beforeRelease_rejected", script_early,
	 "GRANT: slot still read",
	 {TWO(1, GRANT, 0, MOVE, 1, RELEASE, 0)}},
	{"grant_beforeForward_rejected", script_early,
	 "GRANT: slot still to be forwarded",
	 {TWO(1, GRANT, 0, MOVE, 1, SENT, 1)}},
	{"grant_beforeBegin_rejected", script_early,
	 "GRANT: slot of a pass not begun",
	 {SET(1, GRANT, 1, A, 3)}},
	{"grant_again_rejected", script_immutable,
	 "grant: not new",
	 {TWO(0, GRANT, 0, COPY, 0, CREDIT, 0)}},
	{"credit_neverGranted_rejected", script_immutable,
	 "credit: never granted",
	 {SET(0, CREDIT, 0, A, 2)}},
	{"credit_again_rejected", script_immutable,
	 "credit: not new",
	 {TWO(0, CREDIT, 0, COPY, 1, CREDIT, 0)}},
	{"credit_lost_rejected", script_immutable,
	 "end of trace: a credit was lost",
	 {ONE(0, CREDIT, 3, DROP)}},
	{"bye_twice_rejected", script_immutable,
	 "bye: said already",
	 {TWO(0, BYE, 0, COPY, 0, BYE, 1)}},
	{"bye_passOpen_rejected", script_immutable,
	 "bye: a pass is open",
	 {TWO(0, BYE, 0, MOVE, 0, ENDING, 1)}},
	{"bye_notDrained_rejected", script_immutable,
	 "bye: not drained",
	 {ONE(0, GRANT, 3, DROP),
	  ONE(2, CREDIT, 3, DROP)}},
	{"abort_twice_rejected", script_lost,
	 "abort: failed already",
	 {TWO(0, ABORT, 0, COPY, 1, ABORT, 0)}},
	{"abort_blamesOutsider_rejected", script_lost,
	 "blames no rank",
	 {SET(0, ABORT, 0, A, 3)}},
	{"abort_worksOn_rejected", script_lost,
	 "works on after its failure",
	 {TWO(1, ABORT, 0, MOVE, 1, DESCRIBE, 0)}},
	{"abort_rankNotTold_rejected", script_lost,
	 "a rank was not told",
	 {ONE(1, ABORT, 0, DROP)}},
	{"lost_noSuchSide_rejected", script_lost,
	 "lost: no such side",
	 {SET(0, LOST, 0, A, 2)}},
	{"lost_worksOn_rejected", script_lost,
	 "works on after a peer was lost",
	 {TWO(0, LOST, 0, MOVE, 0, DESCRIBE, 0)}},
	{"complete_passesDiffer_rejected", script_immutable,
	 "passes differ",
	 {ONE(1, BEGIN, 1, CUT)}},
	{"complete_passNotEnded_rejected", script_immutable,
	 "a pass has not ended",
	 {ONE(0, END, 1, DROP)}},
	{"complete_notDrained_rejected", script_immutable,
	 "end of trace: not drained",
	 {ONE(0, BYE, 0, CUT),
	  ONE(0, GRANT, 3, DROP),
	  ONE(2, CREDIT, 3, DROP)}},
	{"complete_noBye_rejected", script_immutable,
	 "no bye",
	 {ONE(0, BYE, 1, DROP)}},
	{"event_laneBeyond_rejected", script_immutable,
	 "no such lane",
	 {SET(0, TAKE, 0, LANE, 1)}},
	{"event_rankBeyond_rejected", script_immutable,
	 "no such kind or rank",
	 {SET(0, TAKE, 0, RANK, 3)}},
};
/* clang-format on */

static void row_edited_rejected(void **state)
{
	const struct row *row = *state;
	struct script s;
	char why[128];

	row->script(&s);
	for (size_t i = 0; i < 3; i++)
		if (row->edit[i].verb != NOTHING)
			apply(&s, &row->edit[i]);
	assert_false(kvr_trace_accept(&s.trace, why, sizeof(why)));
	if (!strstr(why, row->why))
		fail_msg("rejected by: %s", why);
}

static void accepted(void (*script)(struct script *s))
{
	struct script s;
	char why[128];

	script(&s);
	if (!kvr_trace_accept(&s.trace, why, sizeof(why)))
		fail_msg("%s", why);
	assert_string_equal(why, "");
}

static void trace_immutable_accepted(void **state)
{
	(void)state;
	accepted(script_immutable);
}

static void trace_accumulating_accepted(void **state)
{
	(void)state;
	accepted(script_accumulating);
}

static void trace_cancelled_accepted(void **state)
{
	(void)state;
	accepted(script_cancelled);
}

static void trace_lost_accepted(void **state)
{
	(void)state;
	accepted(script_lost);
}

static void trace_endedEarly_accepted(void **state)
{
	(void)state;
	accepted(script_early);
}

#define GOOD 5
#define ROWS (sizeof(rows) / sizeof(rows[0]))

int main(void)
{
	static struct CMUnitTest tests[GOOD + ROWS] = {
		cmocka_unit_test(trace_immutable_accepted),
		cmocka_unit_test(trace_accumulating_accepted),
		cmocka_unit_test(trace_cancelled_accepted),
		cmocka_unit_test(trace_lost_accepted),
		cmocka_unit_test(trace_endedEarly_accepted),
	};
	static struct row row[ROWS]; /* cmocka's state is not const */

	memcpy(row, rows, sizeof(rows));
	for (size_t i = 0; i < ROWS; i++)
		tests[GOOD + i] = (struct CMUnitTest){
			.name = row[i].name,
			.test_func = row_edited_rejected,
			.initial_state = &row[i],
		};
	return cmocka_run_group_tests_name("trace rules", tests, NULL, NULL);
}
