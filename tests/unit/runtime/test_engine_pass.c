/* SPDX-License-Identifier: Apache-2.0 */
/* The caller's side of the engine: configuration, passes, cancelling. */
#include "tests/unit/runtime/engine_mock.h"

/* ---------------------------------------------------------- configuration */

static void engine_invalid_config_is_refused(void **state)
{
	struct kvr_engine_config good, c;
	struct kvr_engine *engine = NULL;
	(void)state;

	mock_config(3, 0, &good);
	assert_true(kvr_engine_bytes(&good) > 0);
	for (int i = 0; i < 10; i++) {
		c = good;
		switch (i) {
		case 0:
			c.n = 0;
			break;
		case 1:
			c.rank = 3;
			break;
		case 2:
			c.lanes = 0;
			break;
		case 3:
			c.lanes = KVR_LANES_MAX + 1;
			break;
		case 4:
			c.slots = 0;
			break;
		case 5:
			c.slots = 4096; /* twelve bits cannot tell them */
			break;
		case 6:
			c.chunk_bytes = 0;
			break;
		case 7:
			c.heartbeat_ns = 0;
			break;
		case 8:
			c.silence_ns = c.heartbeat_ns;
			break;
		default:
			c.lane[0].kind = (enum kvr_lane_kind)2;
		}
		assert_int_equal(kvr_engine_bytes(&c), 0);
		assert_int_equal(
			kvr_engine_init(NULL, &c, NULL, NULL, 0, &engine),
			KVR_ERR_INVALID);
		assert_null(engine);
	}
}

static void engine_too_many_chunks_are_refused(void **state)
{
	struct kvr_engine_config c;
	struct kvr_engine *engine;
	(void)state;

	mock_config(3, 0, &c);
	c.chunk_bytes = 1;
	c.lane[0].slot_bytes = KVR_CHUNKS_MAX;
	assert_true(kvr_engine_bytes(&c) > 0);
	c.lane[0].slot_bytes++;
	assert_int_equal(kvr_engine_bytes(&c), 0);
	assert_int_equal(kvr_engine_init(NULL, &c, NULL, NULL, 0, &engine),
			 KVR_ERR_LIMIT);
	c.lane[0].slot_bytes = SIZE_MAX;
	assert_int_equal(kvr_engine_bytes(&c), 0);
}

static void engine_one_slot_where_it_deadlocks_is_refused(void **state)
{
	static const struct {
		uint32_t n;
		enum kvr_lane_kind kind;
		enum kvr_status expected;
	} cases[] = {
		{2, KVR_LANE_IMMUTABLE, KVR_OK},
		{1, KVR_LANE_ACCUMULATING, KVR_OK},
		{2, KVR_LANE_ACCUMULATING, KVR_ERR_STATE},
		{3, KVR_LANE_IMMUTABLE, KVR_ERR_STATE},
	};
	(void)state;

	for (size_t i = 0; i < 4; i++) {
		struct kvr_engine_config c;
		struct kvr_engine *engine;
		struct mock m;

		mock_config(cases[i].n, 0, &c);
		c.slots = 1;
		c.lane[0].kind = cases[i].kind;
		if (cases[i].expected == KVR_OK) {
			mock_open(&m, &c);
			mock_close(&m);
			continue;
		}
		assert_int_equal(
			kvr_engine_init(NULL, &c, NULL, NULL, 0, &engine),
			cases[i].expected);
	}
}

/* ------------------------------------------------------------------ begin */

static void engine_bad_pass_is_refused(void **state)
{
	struct kvr_engine_pass pass = {.hops = 2, .bytes = {1000}};
	struct kvr_engine_pass bad;
	struct mock m, accumulating;
	uint32_t record;
	(void)state;

	mock_ring(&m, 3, 0, KVR_LANE_IMMUTABLE);
	mock_ring(&accumulating, 3, 0, KVR_LANE_ACCUMULATING);
	bad = pass;
	bad.hops = 3;
	assert_int_equal(kvr_engine_begin(m.engine, &bad, &record),
			 KVR_ERR_INVALID);
	bad = pass;
	bad.hops = 1;
	assert_int_equal(kvr_engine_begin(accumulating.engine, &bad, &record),
			 KVR_ERR_INVALID);
	bad = pass;
	bad.bytes[0] = 1001;
	assert_int_equal(kvr_engine_begin(m.engine, &bad, &record),
			 KVR_ERR_LIMIT);
	bad = pass;
	bad.metadata_bytes[0] = KVR_METADATA_MAX + 1;
	assert_int_equal(kvr_engine_begin(m.engine, &bad, &record),
			 KVR_ERR_LIMIT);
	/* None of them had an effect. */
	assert_int_equal(kvr_engine_begin(m.engine, &pass, &record), KVR_OK);
	assert_int_equal(record, 0);
	assert_int_equal(kvr_engine_begin(m.engine, &pass, &record),
			 KVR_ERR_STATE);
	mock_close(&m);
	mock_close(&accumulating);
}

static void engine_fifth_pass_waits_for_the_first(void **state)
{
	struct kvr_engine_pass pass = {.hops = 1};
	struct mock m;
	uint32_t record;
	(void)state;

	mock_ring(&m, 2, 0, KVR_LANE_IMMUTABLE);
	for (uint32_t i = 0; i < KVR_ENGINE_PASSES; i++) {
		pass.tag = i;
		assert_int_equal(kvr_engine_begin(m.engine, &pass, &record),
				 KVR_OK);
		assert_int_equal(record, i);
		mock_run(&m);
		/* Ours is sent, theirs never came: it drains. */
		assert_int_equal(kvr_engine_end(m.engine), KVR_OK);
		mock_signal(&m, KVR_NEXT, KVR_IMM_CREDIT, 0, i + 1);
	}
	assert_int_equal(kvr_engine_begin(m.engine, &pass, &record),
			 KVR_ERR_AGAIN);
	mock_block(&m, 0, 0, 0, 1, 100);
	mock_run(&m);
	pass.tag = 4;
	assert_int_equal(kvr_engine_begin(m.engine, &pass, &record), KVR_OK);
	assert_int_equal(record, 0);
	mock_close(&m);
}

/* ---------------------------------------------------------- take, release */

static void engine_take_gives_blocks_in_order_when_complete(void **state)
{
	struct kvr_engine_block block;
	struct kvr_descriptor d;
	struct mock m;
	unsigned wakes;
	(void)state;

	mock_ring(&m, 3, 0, KVR_LANE_IMMUTABLE);
	assert_int_equal(kvr_engine_take(m.engine, 0, &block), KVR_ERR_STATE);
	mock_begin(&m, 1, 40);
	assert_int_equal(kvr_engine_take(m.engine, 1, &block), KVR_ERR_INVALID);
	mock_take(&m, 0, 0);
	assert_int_equal(kvr_engine_take(m.engine, 0, &block), KVR_ERR_AGAIN);
	mock_block(&m, 0, 1, 1, 2, 30);
	assert_int_equal(kvr_engine_take(m.engine, 0, &block), KVR_ERR_AGAIN);
	d = mock_descriptor(&m, 0, 0, 1, 1, 150);
	d.metadata_bytes = 17;
	mock_describe(&m, 0, &d);
	mock_land(&m, 0, 0, 0);
	assert_int_equal(kvr_engine_take(m.engine, 0, &block), KVR_ERR_AGAIN);
	wakes = m.wakes;
	mock_land(&m, 0, 0, 1);
	assert_true(m.wakes > wakes);
	assert_int_equal(kvr_engine_take(m.engine, 0, &block), KVR_OK);
	assert_int_equal(block.step, 1);
	assert_int_equal(block.origin, 2);
	assert_int_equal(block.slot, 0);
	assert_int_equal(block.bytes, 150);
	assert_int_equal(block.metadata_bytes, 17);
	mock_take(&m, 0, 2);
	assert_int_equal(kvr_engine_take(m.engine, 0, &block), KVR_ERR_END);
	mock_close(&m);
}

static void engine_take_beyond_the_slots_is_refused(void **state)
{
	struct kvr_engine_block block;
	struct mock m;
	(void)state;

	mock_ring(&m, 4, 0, KVR_LANE_IMMUTABLE);
	mock_begin(&m, 1, 0);
	mock_block(&m, 0, 0, 1, 1, 10);
	mock_block(&m, 0, 1, 1, 2, 10);
	mock_take(&m, 0, 0);
	mock_take(&m, 0, 1);
	mock_take(&m, 0, 2);
	assert_int_equal(kvr_engine_take(m.engine, 0, &block), KVR_ERR_STATE);
	mock_release(&m, 0, 1);
	assert_int_equal(kvr_engine_take(m.engine, 0, &block), KVR_ERR_AGAIN);
	mock_close(&m);
}

/* Credits go out in slot order: block 3 comes where block 1 is. */
static void engine_take_behind_an_older_block_held_is_refused(void **state)
{
	struct kvr_engine_block block;
	struct mock m;
	(void)state;

	mock_ring(&m, 4, 0, KVR_LANE_IMMUTABLE);
	mock_begin(&m, 1, 0);
	mock_block(&m, 0, 0, 1, 1, 10);
	mock_block(&m, 0, 1, 1, 2, 10);
	mock_take(&m, 0, 0);
	mock_take(&m, 0, 1);
	mock_take(&m, 0, 2);
	mock_release(&m, 0, 2);
	assert_int_equal(kvr_engine_take(m.engine, 0, &block), KVR_ERR_STATE);
	mock_run(&m);
	assert_int_equal(kvr_engine_take(m.engine, 0, &block), KVR_ERR_STATE);
	mock_release(&m, 0, 1);
	assert_int_equal(kvr_engine_take(m.engine, 0, &block), KVR_ERR_AGAIN);
	mock_close(&m);
}

/* What a pass ended with in the caller's hands is not held in the next. */
static void engine_blocks_held_at_the_end_are_given_back(void **state)
{
	struct kvr_engine_pass pass = {.tag = 2, .hops = 2};
	struct kvr_engine_block block;
	struct mock m;
	uint32_t record;
	(void)state;

	mock_ring(&m, 3, 0, KVR_LANE_IMMUTABLE);
	mock_begin(&m, 1, 0);
	mock_block(&m, 0, 0, 1, 1, 0);
	mock_block(&m, 0, 1, 1, 2, 0);
	mock_run(&m);
	mock_take(&m, 0, 0);
	mock_take(&m, 0, 1);
	mock_take(&m, 0, 2);
	assert_int_equal(kvr_engine_end(m.engine), KVR_OK);
	assert_int_equal(kvr_engine_begin(m.engine, &pass, &record), KVR_OK);
	mock_take(&m, 0, 0);
	assert_int_equal(kvr_engine_take(m.engine, 0, &block), KVR_ERR_AGAIN);
	mock_run(&m);
	mock_block(&m, 0, 2, 2, 1, 0);
	mock_take(&m, 0, 1);
	mock_close(&m);
}

static void engine_release_of_what_is_not_held_is_refused(void **state)
{
	struct mock m;
	(void)state;

	mock_ring(&m, 3, 0, KVR_LANE_IMMUTABLE);
	assert_int_equal(kvr_engine_release(m.engine, 0, 0), KVR_ERR_STATE);
	mock_begin(&m, 1, 0);
	assert_int_equal(kvr_engine_release(m.engine, 0, 0), KVR_ERR_STATE);
	mock_take(&m, 0, 0);
	assert_int_equal(kvr_engine_release(m.engine, 9, 0), KVR_ERR_INVALID);
	mock_release(&m, 0, 0);
	assert_int_equal(kvr_engine_release(m.engine, 0, 0), KVR_ERR_STATE);
	assert_int_equal(kvr_engine_release(m.engine, 0, 1), KVR_ERR_STATE);
	mock_block(&m, 0, 0, 1, 1, 10);
	assert_int_equal(kvr_engine_release(m.engine, 0, 1), KVR_ERR_STATE);
	mock_take(&m, 0, 1);
	mock_release(&m, 0, 1);
	assert_int_equal(kvr_engine_release(m.engine, 0, 1), KVR_ERR_STATE);
	mock_run(&m);
	mock_ack(&m);
	mock_run(&m);
	/* Granted: the slot may hold another block by now. */
	assert_int_equal(kvr_engine_counters(m.engine)->credits_granted, 1);
	assert_int_equal(kvr_engine_release(m.engine, 0, 1), KVR_ERR_STATE);
	mock_close(&m);
}

/* -------------------------------------------------------------------- end */

static void engine_end_waits_for_the_local_block_only(void **state)
{
	struct mock m;
	unsigned wakes;
	(void)state;

	mock_ring(&m, 3, 0, KVR_LANE_IMMUTABLE);
	assert_int_equal(kvr_engine_end(m.engine), KVR_ERR_STATE);
	mock_begin(&m, 1, 150);
	assert_int_equal(kvr_engine_end(m.engine), KVR_ERR_AGAIN);
	mock_run(&m);
	assert_int_equal(kvr_engine_end(m.engine), KVR_ERR_AGAIN);
	kvr_engine_sent(m.engine, mock_nth(&m, MOCK_WRITE, 0)->write.cookie);
	assert_int_equal(kvr_engine_end(m.engine), KVR_ERR_AGAIN);
	wakes = m.wakes;
	kvr_engine_sent(m.engine, mock_nth(&m, MOCK_WRITE, 1)->write.cookie);
	assert_true(m.wakes > wakes);
	assert_int_equal(kvr_engine_end(m.engine), KVR_OK);
	assert_int_equal(kvr_engine_end(m.engine), KVR_OK);
	assert_int_equal(
		kvr_engine_take(m.engine, 0, &(struct kvr_engine_block){0}),
		KVR_ERR_STATE);
	assert_int_equal(kvr_engine_cancel(m.engine), KVR_ERR_STATE);
	mock_close(&m);
}

static void engine_ended_pass_goes_on_forwarding_and_granting(void **state)
{
	struct mock m;
	(void)state;

	mock_ring(&m, 3, 0, KVR_LANE_ACCUMULATING);
	mock_begin(&m, 1, 0);
	mock_block(&m, 0, 0, 1, 1, 100);
	mock_take(&m, 0, 0);
	mock_take(&m, 0, 1);
	assert_int_equal(kvr_engine_end(m.engine), KVR_ERR_AGAIN);
	mock_run(&m);
	assert_int_equal(kvr_engine_end(m.engine), KVR_OK);
	mock_ack(&m);
	mock_run(&m);
	mock_signal(&m, KVR_NEXT, KVR_IMM_CREDIT, 0, 2);
	mock_block(&m, 0, 1, 1, 2, 50);
	mock_block(&m, 0, 2, 1, 3, 0);
	mock_run(&m);
	mock_ack(&m);
	mock_run(&m);
	assert_int_equal(mock_count(&m, MOCK_DESCRIBE), 3);
	assert_int_equal(mock_last_signal(&m, KVR_PREV, KVR_IMM_CREDIT).value,
			 3);
	mock_close(&m);
}

static void engine_pass_of_no_hops_moves_nothing(void **state)
{
	struct kvr_engine_pass pass = {.hops = 0, .bytes = {100}};
	struct kvr_engine_block block;
	uint32_t record;
	struct mock m;
	(void)state;

	mock_ring(&m, 3, 0, KVR_LANE_IMMUTABLE);
	assert_int_equal(kvr_engine_begin(m.engine, &pass, &record), KVR_OK);
	mock_take(&m, 0, 0);
	assert_int_equal(kvr_engine_take(m.engine, 0, &block), KVR_ERR_END);
	mock_run(&m);
	assert_int_equal(kvr_engine_end(m.engine), KVR_OK);
	mock_run(&m);
	assert_int_equal(m.count, 0);
	/* The next pass starts at the same counter. */
	mock_begin(&m, 2, 10);
	mock_run(&m);
	assert_int_equal(
		mock_nth(&m, MOCK_DESCRIBE, 0)->describe.descriptor.sequence,
		0);
	mock_close(&m);
}

static void engine_fewer_hops_end_the_pass_earlier(void **state)
{
	struct kvr_engine_pass pass = {.tag = 3, .hops = 1, .bytes = {0}};
	struct kvr_engine_block block;
	struct kvr_descriptor d;
	uint32_t record;
	struct mock m;
	(void)state;

	mock_ring(&m, 4, 0, KVR_LANE_IMMUTABLE);
	assert_int_equal(kvr_engine_begin(m.engine, &pass, &record), KVR_OK);
	d = mock_descriptor(&m, 0, 0, 3, 1, 0);
	d.hops_total = 1;
	mock_describe(&m, 0, &d);
	mock_take(&m, 0, 0);
	mock_take(&m, 0, 1);
	assert_int_equal(kvr_engine_take(m.engine, 0, &block), KVR_ERR_END);
	mock_run(&m);
	assert_int_equal(mock_count(&m, MOCK_DESCRIBE), 1);
	assert_int_equal(kvr_engine_end(m.engine), KVR_OK);
	mock_close(&m);
}

static void engine_alone_has_its_own_block_and_no_neighbours(void **state)
{
	(void)state;

	for (int kind = 0; kind < 2; kind++) {
		struct kvr_engine_block block;
		struct mock m;

		mock_ring(&m, 1, 0, (enum kvr_lane_kind)kind);
		mock_begin(&m, 1, 100);
		mock_take(&m, 0, 0);
		assert_int_equal(kvr_engine_take(m.engine, 0, &block),
				 KVR_ERR_END);
		m.now += 1000 * MOCK_SILENCE;
		mock_run(&m);
		assert_int_equal(kvr_engine_next_deadline(m.engine),
				 UINT64_MAX);
		assert_int_equal(kvr_engine_bye(m.engine), KVR_ERR_STATE);
		assert_int_equal(kvr_engine_end(m.engine), KVR_OK);
		mock_run(&m);
		assert_int_equal(kvr_engine_bye(m.engine), KVR_OK);
		assert_int_equal(m.count, 0);
		kvr_engine_abort(m.engine, 0, KVR_CAUSE_CALLER);
		assert_true(kvr_engine_abort_sent(m.engine));
		mock_close(&m);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(engine_invalid_config_is_refused),
		cmocka_unit_test(engine_too_many_chunks_are_refused),
		cmocka_unit_test(engine_one_slot_where_it_deadlocks_is_refused),
		cmocka_unit_test(engine_bad_pass_is_refused),
		cmocka_unit_test(engine_fifth_pass_waits_for_the_first),
		cmocka_unit_test(
			engine_take_gives_blocks_in_order_when_complete),
		cmocka_unit_test(engine_take_beyond_the_slots_is_refused),
		cmocka_unit_test(
			engine_take_behind_an_older_block_held_is_refused),
		cmocka_unit_test(engine_blocks_held_at_the_end_are_given_back),
		cmocka_unit_test(engine_release_of_what_is_not_held_is_refused),
		cmocka_unit_test(engine_end_waits_for_the_local_block_only),
		cmocka_unit_test(
			engine_ended_pass_goes_on_forwarding_and_granting),
		cmocka_unit_test(engine_pass_of_no_hops_moves_nothing),
		cmocka_unit_test(engine_fewer_hops_end_the_pass_earlier),
		cmocka_unit_test(
			engine_alone_has_its_own_block_and_no_neighbours),
	};

	return cmocka_run_group_tests_name("engine_pass", tests, NULL, NULL);
}
