/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's neighbours: heartbeats, silence, abort, farewell. */
#include "tests/unit/runtime/engine_mock.h"

static void beat_from(struct mock *m, enum kvr_side side)
{
	mock_signal(m, side, KVR_IMM_HEARTBEAT, 0, 0);
}

/* Runs for so long, every beat; the sides in `heard` beat too. */
static void pass_time(struct mock *m, uint64_t ns, unsigned heard)
{
	for (uint64_t end = m->now + ns; m->now < end;) {
		m->now += MOCK_BEAT;
		for (int side = 0; side < 2; side++)
			if (heard & 1u << side)
				beat_from(m, (enum kvr_side)side);
		mock_run(m);
	}
}

#define BOTH 3u
#define ONLY(side) (1u << (side))

static void assert_lost(const struct mock *m, uint32_t rank,
			enum kvr_cause cause)
{
	const struct kvr_engine_failure *f = mock_failure(m);

	assert_int_equal(f->status, KVR_ERR_PEER_LOST);
	assert_int_equal(f->abort.rank, rank);
	assert_int_equal(f->abort.cause, cause);
}

/* ------------------------------------------------------------ heartbeats */

static void engine_heartbeats_go_to_both_sides(void **state)
{
	struct mock m;
	(void)state;

	mock_ring(&m, 3, 0, KVR_LANE_IMMUTABLE);
	assert_int_equal(kvr_engine_next_deadline(m.engine), m.now + MOCK_BEAT);
	assert_false(mock_run(&m));
	pass_time(&m, 5 * MOCK_BEAT, BOTH);
	assert_int_equal(mock_signals(&m, KVR_PREV, KVR_IMM_HEARTBEAT), 5);
	assert_int_equal(mock_signals(&m, KVR_NEXT, KVR_IMM_HEARTBEAT), 5);
	assert_int_equal(kvr_engine_next_deadline(m.engine), m.now + MOCK_BEAT);
	mock_close(&m);
}

static void engine_refused_heartbeat_is_repeated_once(void **state)
{
	struct mock m;
	(void)state;

	mock_ring(&m, 3, 0, KVR_LANE_IMMUTABLE);
	m.room[MOCK_SIGNAL] = 1;
	pass_time(&m, 3 * MOCK_BEAT, BOTH);
	assert_true(kvr_engine_blocked(m.engine));
	m.room[MOCK_SIGNAL] = MOCK_NO_LIMIT;
	mock_run(&m);
	assert_false(kvr_engine_blocked(m.engine));
	assert_int_equal(m.count, 3);
	mock_close(&m);
}

/* --------------------------------------------------------------- silence */

static void engine_silent_side_is_lost_and_named(void **state)
{
	(void)state;

	for (int side = 0; side < 2; side++) {
		unsigned heard = BOTH & ~ONLY(side);
		struct mock m;

		mock_ring(&m, 4, 1, KVR_LANE_IMMUTABLE);
		pass_time(&m, MOCK_SILENCE - MOCK_BEAT, heard);
		assert_int_equal(mock_failure(&m)->status, KVR_OK);
		pass_time(&m, MOCK_BEAT, heard);
		assert_lost(&m, side == KVR_NEXT ? 2 : 0, KVR_CAUSE_SILENT);
		mock_close(&m);
	}
}

static void engine_any_arrival_is_a_sign_of_life(void **state)
{
	struct mock m;
	(void)state;

	mock_ring(&m, 4, 1, KVR_LANE_IMMUTABLE);
	mock_begin(&m, 1, 0);
	mock_run(&m);
	pass_time(&m, MOCK_SILENCE - MOCK_BEAT, ONLY(KVR_NEXT));
	mock_land(&m, 0, 0, 0);
	pass_time(&m, MOCK_SILENCE - MOCK_BEAT, ONLY(KVR_PREV));
	mock_signal(&m, KVR_NEXT, KVR_IMM_CREDIT, 0, 1);
	pass_time(&m, MOCK_SILENCE - MOCK_BEAT, ONLY(KVR_PREV));
	assert_int_equal(mock_failure(&m)->status, KVR_OK);
	mock_close(&m);
}

/* It was we who were stopped: the others may be well. */
static void engine_late_clock_blames_nobody(void **state)
{
	struct mock m;
	(void)state;

	mock_ring(&m, 3, 0, KVR_LANE_IMMUTABLE);
	pass_time(&m, 3 * MOCK_SILENCE, BOTH);
	m.now += 1000 * MOCK_SILENCE;
	mock_run(&m);
	assert_int_equal(mock_failure(&m)->status, KVR_OK);
	pass_time(&m, MOCK_BEAT, BOTH);
	pass_time(&m, 3 * MOCK_SILENCE, BOTH);
	assert_int_equal(mock_failure(&m)->status, KVR_OK);
	/* But who stays silent now is found all the same. */
	m.now += 1000 * MOCK_SILENCE;
	pass_time(&m, MOCK_SILENCE, ONLY(KVR_NEXT));
	assert_lost(&m, 2, KVR_CAUSE_SILENT);
	mock_close(&m);
}

static void engine_clock_that_steps_back_is_harmless(void **state)
{
	struct mock m;
	(void)state;

	mock_ring(&m, 3, 0, KVR_LANE_IMMUTABLE);
	m.now -= 500;
	pass_time(&m, 400, BOTH);
	assert_int_equal(mock_failure(&m)->status, KVR_OK);
	mock_close(&m);
}

static void engine_deadline_comes_before_silence_does(void **state)
{
	struct kvr_engine_config config;
	struct mock m;
	(void)state;

	mock_config(3, 0, &config);
	config.heartbeat_ns = 90;
	mock_open(&m, &config);
	m.now += 90;
	mock_run(&m); /* a jump of more than half: 50 were observed */
	assert_int_equal(kvr_engine_next_deadline(m.engine), m.now + 50);
	beat_from(&m, KVR_PREV);
	beat_from(&m, KVR_NEXT);
	mock_run(&m);
	assert_int_equal(kvr_engine_next_deadline(m.engine), m.now + 90);
	mock_close(&m);
}

/* ----------------------------------------------------------------- abort */

static void assert_abort_to(const struct mock *m, enum kvr_side side,
			    uint32_t step, uint32_t value)
{
	size_t step_at = 0, abort_at = 0;

	for (size_t i = 0; i < m->count; i++) {
		const struct mock_action *a = &m->action[i];

		if (a->kind != MOCK_SIGNAL || a->side != side)
			continue;
		if (a->imm.type == KVR_IMM_ABORT_STEP)
			step_at = i + 1;
		if (a->imm.type == KVR_IMM_ABORT)
			abort_at = i + 1;
	}
	assert_true(step_at && abort_at > step_at);
	assert_int_equal(mock_signals(m, side, KVR_IMM_ABORT), 1);
	assert_int_equal(mock_last_signal(m, side, KVR_IMM_ABORT).value, value);
	assert_int_equal(mock_last_signal(m, side, KVR_IMM_ABORT_STEP).value,
			 step);
}

static void engine_abort_goes_to_both_sides_once(void **state)
{
	struct kvr_engine_block block;
	struct mock m;
	uint32_t record;
	(void)state;

	mock_ring(&m, 4, 1, KVR_LANE_IMMUTABLE);
	mock_begin(&m, 55, 10);
	mock_take(&m, 0, 0);
	kvr_engine_abort(m.engine, 1, KVR_CAUSE_CALLER);
	assert_true(m.wakes > 0);
	assert_false(kvr_engine_abort_sent(m.engine));
	assert_true(mock_run(&m));
	assert_true(kvr_engine_abort_sent(m.engine));
	assert_false(mock_run(&m));
	assert_abort_to(&m, KVR_PREV, 1, 1 << 8 | KVR_CAUSE_CALLER);
	assert_abort_to(&m, KVR_NEXT, 1, 1 << 8 | KVR_CAUSE_CALLER);
	assert_int_equal(m.count, 4); /* and no block any more */
	assert_int_equal(mock_failure(&m)->pass, 55);
	assert_int_equal(mock_failure(&m)->step, 1);
	assert_int_equal(kvr_engine_take(m.engine, 0, &block), KVR_ERR_ABORTED);
	assert_int_equal(kvr_engine_release(m.engine, 0, 0), KVR_ERR_ABORTED);
	assert_int_equal(kvr_engine_end(m.engine), KVR_ERR_ABORTED);
	assert_int_equal(kvr_engine_cancel(m.engine), KVR_ERR_ABORTED);
	assert_int_equal(kvr_engine_bye(m.engine), KVR_ERR_ABORTED);
	assert_int_equal(kvr_engine_begin(m.engine,
					  &(struct kvr_engine_pass){0},
					  &record),
			 KVR_ERR_ABORTED);
	assert_int_equal(kvr_engine_next_deadline(m.engine), UINT64_MAX);
	mock_close(&m);
}

static void engine_refused_abort_is_repeated(void **state)
{
	struct mock m;
	(void)state;

	mock_ring(&m, 4, 1, KVR_LANE_IMMUTABLE);
	kvr_engine_abort(m.engine, KVR_RANK_NONE, KVR_CAUSE_STALLED);
	m.room[MOCK_SIGNAL] = 0;
	for (int i = 0; i < 4; i++) {
		assert_false(kvr_engine_abort_sent(m.engine));
		m.room[MOCK_SIGNAL] = 1;
		assert_true(mock_run(&m));
	}
	assert_true(kvr_engine_abort_sent(m.engine));
	assert_abort_to(&m, KVR_PREV, 0, 0xfffffu << 8 | KVR_CAUSE_STALLED);
	assert_abort_to(&m, KVR_NEXT, 0, 0xfffffu << 8 | KVR_CAUSE_STALLED);
	mock_close(&m);
}

static void engine_received_abort_is_passed_on_to_both_sides(void **state)
{
	static const struct {
		enum kvr_cause cause;
		enum kvr_status status;
	} cases[] = {
		{KVR_CAUSE_CLOSED, KVR_ERR_PEER_LOST},
		{KVR_CAUSE_SILENT, KVR_ERR_PEER_LOST},
		{KVR_CAUSE_CALLER, KVR_ERR_ABORTED},
		{KVR_CAUSE_MISMATCH, KVR_ERR_MISMATCH},
		{KVR_CAUSE_PROTOCOL, KVR_ERR_PROTOCOL},
		{KVR_CAUSE_STALLED, KVR_ERR_TIMEOUT},
		{KVR_CAUSE_CORRUPT, KVR_ERR_CORRUPT},
	};
	(void)state;

	for (size_t i = 0; i < 14; i++) {
		enum kvr_side from = i % 2 ? KVR_PREV : KVR_NEXT;
		enum kvr_cause cause = cases[i / 2].cause;
		struct mock m;

		mock_ring(&m, 5, 1, KVR_LANE_IMMUTABLE);
		mock_signal(&m, from, KVR_IMM_ABORT_STEP, 0, 12);
		assert_int_equal(mock_failure(&m)->status, KVR_OK);
		mock_signal(&m, from, KVR_IMM_ABORT, 0,
			    3u << 8 | (uint32_t)cause);
		assert_int_equal(mock_failure(&m)->status, cases[i / 2].status);
		assert_int_equal(mock_failure(&m)->abort.rank, 3);
		assert_int_equal(mock_failure(&m)->abort.step, 12);
		assert_int_equal(mock_failure(&m)->abort.cause, cause);
		mock_run(&m);
		assert_abort_to(&m, KVR_PREV, 12, 3u << 8 | (uint32_t)cause);
		assert_abort_to(&m, KVR_NEXT, 12, 3u << 8 | (uint32_t)cause);
		mock_close(&m);
	}
}

static void engine_abort_blaming_nobody_is_understood(void **state)
{
	struct mock m;
	(void)state;

	mock_ring(&m, 3, 0, KVR_LANE_IMMUTABLE);
	mock_signal(&m, KVR_NEXT, KVR_IMM_ABORT, 0,
		    0xfffffu << 8 | KVR_CAUSE_STALLED);
	assert_int_equal(mock_failure(&m)->status, KVR_ERR_TIMEOUT);
	assert_int_equal(mock_failure(&m)->abort.rank, KVR_RANK_NONE);
	mock_close(&m);
}

static void engine_first_cause_wins(void **state)
{
	struct mock m;
	(void)state;

	mock_ring(&m, 4, 0, KVR_LANE_IMMUTABLE);
	mock_signal(&m, KVR_NEXT, KVR_IMM_ABORT, 0, 2u << 8 | KVR_CAUSE_SILENT);
	kvr_engine_lost(m.engine, KVR_NEXT, KVR_CAUSE_CLOSED);
	kvr_engine_abort(m.engine, 0, KVR_CAUSE_CALLER);
	mock_land(&m, 0, 77, 0);
	kvr_engine_sent(m.engine, 12345);
	pass_time(&m, 3 * MOCK_SILENCE, 0);
	assert_lost(&m, 2, KVR_CAUSE_SILENT);
	/* next is gone: told to prev alone, and settled with that. */
	assert_int_equal(mock_signals(&m, KVR_NEXT, KVR_IMM_ABORT), 0);
	assert_int_equal(mock_signals(&m, KVR_PREV, KVR_IMM_ABORT), 1);
	assert_true(kvr_engine_abort_sent(m.engine));
	mock_close(&m);
}

/* ------------------------------------------------------- lost, farewell */

static void engine_edge_closed_without_bye_is_a_lost_peer(void **state)
{
	(void)state;

	for (int side = 0; side < 2; side++) {
		struct mock m;

		mock_ring(&m, 4, 0, KVR_LANE_IMMUTABLE);
		kvr_engine_lost(m.engine, (enum kvr_side)side,
				KVR_CAUSE_CLOSED);
		assert_lost(&m, side == KVR_NEXT ? 1 : 3, KVR_CAUSE_CLOSED);
		mock_run(&m);
		assert_int_equal(
			mock_signals(&m, (enum kvr_side)side, KVR_IMM_ABORT),
			0);
		mock_close(&m);
	}
}

static void engine_edge_broken_by_bad_data_is_a_protocol_failure(void **state)
{
	struct mock m;
	(void)state;

	mock_ring(&m, 4, 0, KVR_LANE_IMMUTABLE);
	mock_signal(&m, KVR_NEXT, KVR_IMM_BYE, 0, 0);
	kvr_engine_lost(m.engine, KVR_NEXT, KVR_CAUSE_PROTOCOL);
	assert_int_equal(mock_failure(&m)->status, KVR_ERR_PROTOCOL);
	assert_int_equal(mock_failure(&m)->abort.rank, 1);
	mock_close(&m);
}

static void engine_edge_closed_after_bye_is_fine(void **state)
{
	struct mock m;
	(void)state;

	mock_ring(&m, 4, 0, KVR_LANE_IMMUTABLE);
	for (int side = 0; side < 2; side++) {
		mock_signal(&m, (enum kvr_side)side, KVR_IMM_BYE, 0, 0);
		kvr_engine_lost(m.engine, (enum kvr_side)side,
				KVR_CAUSE_CLOSED);
	}
	pass_time(&m, 3 * MOCK_SILENCE, 0);
	assert_int_equal(mock_failure(&m)->status, KVR_OK);
	assert_int_equal(m.count, 0);
	assert_int_equal(kvr_engine_bye(m.engine), KVR_OK);
	mock_close(&m);
}

/* It left in peace, but we still need something of it. */
static void engine_edge_closed_too_early_is_a_lost_peer(void **state)
{
	(void)state;

	for (int i = 0; i < 4; i++) {
		enum kvr_side side = (enum kvr_side)(i & 1);
		bool before = i & 2;
		struct mock m;

		mock_ring(&m, 4, 0, KVR_LANE_IMMUTABLE);
		mock_signal(&m, side, KVR_IMM_BYE, 0, 0);
		if (before)
			mock_begin(&m, 1, 0);
		kvr_engine_lost(m.engine, side, KVR_CAUSE_CLOSED);
		mock_run(&m);
		if (!before) {
			assert_int_equal(mock_failure(&m)->status, KVR_OK);
			mock_begin(&m, 1, 0);
			mock_run(&m);
		}
		assert_lost(&m, side == KVR_NEXT ? 1 : 3, KVR_CAUSE_CLOSED);
		mock_close(&m);
	}
}

static void engine_write_never_confirmed_by_a_closed_edge_is_lost(void **state)
{
	struct mock m;
	(void)state;

	mock_ring(&m, 2, 0, KVR_LANE_IMMUTABLE);
	mock_begin(&m, 1, 50);
	mock_block(&m, 0, 0, 1, 1, 0);
	mock_run(&m);
	mock_signal(&m, KVR_NEXT, KVR_IMM_BYE, 0, 0);
	kvr_engine_lost(m.engine, KVR_NEXT, KVR_CAUSE_CLOSED);
	mock_run(&m);
	assert_lost(&m, 1, KVR_CAUSE_CLOSED);
	mock_close(&m);
}

/* Ours it has; prev's, which has not even come, it will not have. */
static void engine_next_gone_before_a_forward_is_lost(void **state)
{
	struct mock m;
	(void)state;

	mock_ring(&m, 3, 0, KVR_LANE_IMMUTABLE);
	mock_begin(&m, 1, 50);
	mock_run(&m);
	mock_ack(&m);
	mock_signal(&m, KVR_NEXT, KVR_IMM_BYE, 0, 0);
	kvr_engine_lost(m.engine, KVR_NEXT, KVR_CAUSE_CLOSED);
	mock_run(&m);
	assert_lost(&m, 1, KVR_CAUSE_CLOSED);
	mock_close(&m);
}

/* There is a slot for each block, and one is still empty. */
static void engine_prev_gone_before_its_last_block_is_lost(void **state)
{
	struct mock m;
	(void)state;

	mock_ring(&m, 3, 0, KVR_LANE_IMMUTABLE);
	mock_begin(&m, 1, 0);
	mock_block(&m, 0, 0, 1, 1, 60);
	mock_run(&m);
	mock_ack(&m);
	mock_signal(&m, KVR_PREV, KVR_IMM_BYE, 0, 0);
	kvr_engine_lost(m.engine, KVR_PREV, KVR_CAUSE_CLOSED);
	mock_run(&m);
	assert_lost(&m, 2, KVR_CAUSE_CLOSED);
	mock_close(&m);
}

static void engine_prev_gone_in_peace_gets_no_credit(void **state)
{
	struct mock m;
	(void)state;

	mock_ring(&m, 2, 0, KVR_LANE_IMMUTABLE);
	mock_begin(&m, 1, 50);
	mock_block(&m, 0, 0, 1, 1, 60);
	mock_run(&m);
	mock_ack(&m);
	assert_int_equal(kvr_engine_end(m.engine), KVR_OK);
	mock_signal(&m, KVR_PREV, KVR_IMM_BYE, 0, 0);
	kvr_engine_lost(m.engine, KVR_PREV, KVR_CAUSE_CLOSED);
	mock_run(&m);
	assert_int_equal(mock_signals(&m, KVR_PREV, KVR_IMM_CREDIT), 0);
	/* The pass is through all the same. */
	assert_int_equal(kvr_engine_bye(m.engine), KVR_ERR_AGAIN);
	mock_run(&m);
	assert_int_equal(mock_signals(&m, KVR_NEXT, KVR_IMM_BYE), 1);
	mock_close(&m);
}

static void engine_bye_waits_until_all_is_through(void **state)
{
	struct mock m;
	uint32_t record;
	(void)state;

	mock_ring(&m, 2, 0, KVR_LANE_IMMUTABLE);
	mock_begin(&m, 1, 50);
	assert_int_equal(kvr_engine_bye(m.engine), KVR_ERR_STATE);
	mock_run(&m);
	mock_ack(&m);
	assert_int_equal(kvr_engine_end(m.engine), KVR_OK);
	assert_int_equal(kvr_engine_bye(m.engine), KVR_ERR_AGAIN);
	mock_run(&m);
	assert_int_equal(mock_signals(&m, KVR_NEXT, KVR_IMM_BYE), 0);
	assert_int_equal(kvr_engine_begin(m.engine,
					  &(struct kvr_engine_pass){0},
					  &record),
			 KVR_ERR_STATE);
	/* The block comes, but the credit for it cannot go out yet. */
	mock_block(&m, 0, 0, 1, 1, 60);
	m.room[MOCK_SIGNAL] = 0;
	mock_run(&m);
	m.room[MOCK_SIGNAL] = MOCK_NO_LIMIT;
	mock_run(&m);
	assert_int_equal(mock_signals(&m, KVR_PREV, KVR_IMM_CREDIT), 1);
	assert_int_equal(mock_signals(&m, KVR_PREV, KVR_IMM_BYE), 1);
	assert_int_equal(mock_signals(&m, KVR_NEXT, KVR_IMM_BYE), 1);
	assert_int_equal(m.action[m.count - 1].imm.type, KVR_IMM_BYE);
	assert_int_equal(kvr_engine_bye(m.engine), KVR_ERR_AGAIN);
	mock_signal(&m, KVR_PREV, KVR_IMM_BYE, 0, 0);
	assert_int_equal(kvr_engine_bye(m.engine), KVR_ERR_AGAIN);
	mock_signal(&m, KVR_NEXT, KVR_IMM_BYE, 0, 0);
	assert_int_equal(kvr_engine_bye(m.engine), KVR_OK);
	mock_close(&m);
}

static void
engine_beats_until_its_own_bye_and_watches_until_theirs(void **state)
{
	struct mock m;
	size_t beats;
	(void)state;

	mock_ring(&m, 3, 0, KVR_LANE_IMMUTABLE);
	mock_signal(&m, KVR_PREV, KVR_IMM_BYE, 0, 0);
	/* prev may be silent from here, but it still watches us. */
	pass_time(&m, 3 * MOCK_SILENCE, ONLY(KVR_NEXT));
	assert_int_equal(mock_failure(&m)->status, KVR_OK);
	beats = mock_signals(&m, KVR_PREV, KVR_IMM_HEARTBEAT);
	assert_int_equal(beats, 3 * MOCK_SILENCE / MOCK_BEAT);
	assert_int_equal(kvr_engine_bye(m.engine), KVR_ERR_AGAIN);
	mock_run(&m);
	pass_time(&m, 3 * MOCK_BEAT, ONLY(KVR_NEXT));
	assert_int_equal(mock_signals(&m, KVR_PREV, KVR_IMM_HEARTBEAT), beats);
	pass_time(&m, MOCK_SILENCE, 0);
	assert_lost(&m, 1, KVR_CAUSE_SILENT);
	mock_close(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(engine_heartbeats_go_to_both_sides),
		cmocka_unit_test(engine_refused_heartbeat_is_repeated_once),
		cmocka_unit_test(engine_silent_side_is_lost_and_named),
		cmocka_unit_test(engine_any_arrival_is_a_sign_of_life),
		cmocka_unit_test(engine_late_clock_blames_nobody),
		cmocka_unit_test(engine_clock_that_steps_back_is_harmless),
		cmocka_unit_test(engine_deadline_comes_before_silence_does),
		cmocka_unit_test(engine_abort_goes_to_both_sides_once),
		cmocka_unit_test(engine_refused_abort_is_repeated),
		cmocka_unit_test(
			engine_received_abort_is_passed_on_to_both_sides),
		cmocka_unit_test(engine_abort_blaming_nobody_is_understood),
		cmocka_unit_test(engine_first_cause_wins),
		cmocka_unit_test(engine_edge_closed_without_bye_is_a_lost_peer),
		cmocka_unit_test(
			engine_edge_broken_by_bad_data_is_a_protocol_failure),
		cmocka_unit_test(engine_edge_closed_after_bye_is_fine),
		cmocka_unit_test(engine_edge_closed_too_early_is_a_lost_peer),
		cmocka_unit_test(
			engine_write_never_confirmed_by_a_closed_edge_is_lost),
		cmocka_unit_test(engine_next_gone_before_a_forward_is_lost),
		cmocka_unit_test(
			engine_prev_gone_before_its_last_block_is_lost),
		cmocka_unit_test(engine_prev_gone_in_peace_gets_no_credit),
		cmocka_unit_test(engine_bye_waits_until_all_is_through),
		cmocka_unit_test(
			engine_beats_until_its_own_bye_and_watches_until_theirs),
	};

	return cmocka_run_group_tests_name("engine_side", tests, NULL, NULL);
}
