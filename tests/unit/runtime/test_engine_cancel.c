/* SPDX-License-Identifier: Apache-2.0 */
/* A cancelled pass: what still travels, and that the ring stays whole. */
#include "tests/unit/runtime/engine_mock.h"

static bool cancelled(const struct mock *m, size_t index)
{
	const struct kvr_descriptor *d =
		&mock_nth(m, MOCK_DESCRIBE, index)->describe.descriptor;

	if (!(d->flags & KVR_DESCRIPTOR_CANCELLED))
		return false;
	assert_int_equal(d->bytes, 0);
	assert_int_equal(d->chunks, 0);
	assert_int_equal(d->metadata_bytes, 0);
	return true;
}

static void engine_cancel_sends_the_rest_as_empty_blocks(void **state)
{
	struct kvr_engine_block block;
	struct mock m;
	(void)state;

	mock_ring(&m, 4, 0, KVR_LANE_IMMUTABLE);
	assert_int_equal(kvr_engine_cancel(m.engine), KVR_ERR_STATE);
	mock_begin(&m, 1, 200);
	m.room[MOCK_WRITE] = 1;
	mock_run(&m);
	mock_take(&m, 0, 0);
	assert_int_equal(kvr_engine_cancel(m.engine), KVR_OK);
	assert_int_equal(kvr_engine_cancel(m.engine), KVR_OK);
	assert_int_equal(kvr_engine_take(m.engine, 0, &block),
			 KVR_ERR_CANCELLED);
	m.room[MOCK_WRITE] = MOCK_NO_LIMIT;
	mock_run(&m);
	/* What was begun is completed; the rest does not wait for prev. */
	assert_int_equal(mock_count(&m, MOCK_WRITE), 2);
	assert_int_equal(mock_count(&m, MOCK_DESCRIBE), 2);
	assert_false(cancelled(&m, 0));
	assert_true(cancelled(&m, 1));
	assert_int_equal(
		mock_nth(&m, MOCK_DESCRIBE, 1)->describe.descriptor.origin, 3);
	mock_ack(&m);
	assert_int_equal(kvr_engine_end(m.engine), KVR_ERR_CANCELLED);
	assert_int_equal(kvr_engine_end(m.engine), KVR_ERR_CANCELLED);
	/* What prev still sends, in full or empty, is taken in and granted. */
	mock_signal(&m, KVR_NEXT, KVR_IMM_CREDIT, 0, 1);
	mock_block(&m, 0, 0, 1, 1, 100);
	mock_block(&m, 0, 1, 1, 2, 1000);
	mock_run(&m);
	assert_int_equal(mock_count(&m, MOCK_DESCRIBE), 3);
	assert_true(cancelled(&m, 2));
	mock_block(&m, 0, 2, 1, 3, 0);
	mock_run(&m);
	assert_int_equal(mock_count(&m, MOCK_WRITE), 2);
	assert_int_equal(mock_last_signal(&m, KVR_PREV, KVR_IMM_CREDIT).value,
			 3);
	/* The ring is whole. */
	mock_signal(&m, KVR_NEXT, KVR_IMM_CREDIT, 0, 3);
	mock_begin(&m, 2, 100);
	mock_block(&m, 0, 3, 2, 1, 100);
	mock_run(&m);
	mock_take(&m, 0, 0);
	mock_take(&m, 0, 1);
	assert_false(cancelled(&m, 3));
	assert_int_equal(mock_failure(&m)->status, KVR_OK);
	mock_close(&m);
}

static void engine_cancel_completes_a_block_half_forwarded(void **state)
{
	struct kvr_descriptor d;
	struct mock m;
	(void)state;

	mock_ring(&m, 4, 0, KVR_LANE_IMMUTABLE);
	mock_begin(&m, 1, 0);
	d = mock_descriptor(&m, 0, 0, 1, 1, 200);
	mock_describe(&m, 0, &d);
	mock_land(&m, 0, 0, 1);
	mock_run(&m);
	assert_int_equal(mock_count(&m, MOCK_WRITE), 1);
	assert_int_equal(kvr_engine_cancel(m.engine), KVR_OK);
	mock_signal(&m, KVR_NEXT, KVR_IMM_CREDIT, 0, 1);
	mock_run(&m);
	assert_int_equal(mock_count(&m, MOCK_DESCRIBE), 2);
	mock_land(&m, 0, 0, 0);
	mock_run(&m);
	assert_int_equal(mock_count(&m, MOCK_WRITE), 2);
	assert_int_equal(mock_count(&m, MOCK_DESCRIBE), 3);
	assert_true(cancelled(&m, 2));
	mock_close(&m);
}

static void engine_cancelled_slot_is_not_granted_while_held(void **state)
{
	struct mock m;
	(void)state;

	mock_ring(&m, 3, 0, KVR_LANE_IMMUTABLE);
	mock_begin(&m, 1, 0);
	mock_block(&m, 0, 0, 1, 1, 100);
	mock_run(&m);
	mock_ack(&m);
	mock_take(&m, 0, 0);
	mock_take(&m, 0, 1);
	assert_int_equal(kvr_engine_cancel(m.engine), KVR_OK);
	mock_run(&m);
	assert_int_equal(mock_signals(&m, KVR_PREV, KVR_IMM_CREDIT), 0);
	mock_release(&m, 0, 1);
	mock_run(&m);
	assert_int_equal(mock_signals(&m, KVR_PREV, KVR_IMM_CREDIT), 1);
	mock_close(&m);
}

static void engine_cancelled_descriptor_cancels_here_too(void **state)
{
	(void)state;

	for (int early = 0; early < 2; early++) {
		struct kvr_engine_block block;
		struct kvr_descriptor d;
		struct mock m;
		unsigned wakes;

		mock_ring(&m, 3, 0, KVR_LANE_IMMUTABLE);
		if (!early)
			mock_begin(&m, 1, 0);
		d = mock_descriptor(&m, 0, 0, 1, 1, 0);
		d.flags = KVR_DESCRIPTOR_CANCELLED;
		wakes = m.wakes;
		mock_describe(&m, 0, &d);
		assert_true(m.wakes > wakes);
		if (early)
			mock_begin(&m, 1, 0);
		assert_int_equal(kvr_engine_take(m.engine, 0, &block),
				 KVR_ERR_CANCELLED);
		mock_run(&m);
		assert_true(cancelled(&m, 0));
		assert_true(cancelled(&m, 1));
		assert_int_equal(kvr_engine_end(m.engine), KVR_ERR_CANCELLED);
		assert_int_equal(
			mock_last_signal(&m, KVR_PREV, KVR_IMM_CREDIT).value,
			1);
		mock_close(&m);
	}
}

static void engine_pass_taken_whole_is_not_cancelled(void **state)
{
	struct kvr_engine_block block;
	struct mock m;
	(void)state;

	mock_ring(&m, 2, 0, KVR_LANE_IMMUTABLE);
	mock_begin(&m, 1, 0);
	mock_block(&m, 0, 0, 1, 1, 0);
	mock_run(&m);
	mock_take(&m, 0, 0);
	mock_take(&m, 0, 1);
	assert_int_equal(kvr_engine_cancel(m.engine), KVR_OK);
	assert_int_equal(kvr_engine_take(m.engine, 0, &block), KVR_ERR_END);
	assert_int_equal(kvr_engine_end(m.engine), KVR_OK);
	mock_close(&m);
}

/* Only the last block is missing: it is not there all the same. */
static void engine_cancelled_before_the_last_block_says_so(void **state)
{
	struct kvr_engine_block block;
	struct mock m;
	(void)state;

	mock_ring(&m, 3, 0, KVR_LANE_IMMUTABLE);
	mock_begin(&m, 1, 0);
	mock_block(&m, 0, 0, 1, 1, 0);
	mock_run(&m);
	mock_take(&m, 0, 0);
	mock_take(&m, 0, 1);
	assert_int_equal(kvr_engine_cancel(m.engine), KVR_OK);
	assert_int_equal(kvr_engine_take(m.engine, 0, &block),
			 KVR_ERR_CANCELLED);
	mock_run(&m);
	assert_int_equal(kvr_engine_end(m.engine), KVR_ERR_CANCELLED);
	mock_close(&m);
}

/* The very next to be taken: nobody will. */
static void engine_cancelled_block_is_granted_before_the_end(void **state)
{
	struct mock m;
	(void)state;

	mock_ring(&m, 2, 0, KVR_LANE_IMMUTABLE);
	mock_begin(&m, 1, 0);
	mock_take(&m, 0, 0);
	assert_int_equal(kvr_engine_cancel(m.engine), KVR_OK);
	mock_block(&m, 0, 0, 1, 1, 100);
	mock_run(&m);
	assert_int_equal(mock_signals(&m, KVR_PREV, KVR_IMM_CREDIT), 1);
	mock_close(&m);
}

static void engine_cancel_of_an_accumulating_lane_sends_no_block(void **state)
{
	struct mock m;
	(void)state;

	mock_ring(&m, 2, 0, KVR_LANE_ACCUMULATING);
	mock_begin(&m, 1, 100);
	mock_take(&m, 0, 0);
	assert_int_equal(kvr_engine_cancel(m.engine), KVR_OK);
	mock_run(&m);
	assert_int_equal(mock_count(&m, MOCK_DESCRIBE), 2);
	assert_true(cancelled(&m, 0));
	assert_true(cancelled(&m, 1));
	mock_block(&m, 0, 0, 1, 1, 100);
	mock_block(&m, 0, 1, 1, 2, 100); /* prev had sent it already */
	assert_int_equal(kvr_engine_end(m.engine), KVR_ERR_CANCELLED);
	mock_run(&m);
	assert_int_equal(mock_count(&m, MOCK_WRITE), 0);
	assert_int_equal(mock_last_signal(&m, KVR_PREV, KVR_IMM_CREDIT).value,
			 2);
	mock_close(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(engine_cancel_sends_the_rest_as_empty_blocks),
		cmocka_unit_test(
			engine_cancel_completes_a_block_half_forwarded),
		cmocka_unit_test(
			engine_cancelled_slot_is_not_granted_while_held),
		cmocka_unit_test(engine_cancelled_descriptor_cancels_here_too),
		cmocka_unit_test(engine_pass_taken_whole_is_not_cancelled),
		cmocka_unit_test(
			engine_cancelled_before_the_last_block_says_so),
		cmocka_unit_test(
			engine_cancelled_block_is_granted_before_the_end),
		cmocka_unit_test(
			engine_cancel_of_an_accumulating_lane_sends_no_block),
	};

	return cmocka_run_group_tests_name("engine_cancel", tests, NULL, NULL);
}
