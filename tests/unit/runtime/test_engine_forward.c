/* SPDX-License-Identifier: Apache-2.0 */
/* What a forwarded block takes along, and what it leaves in its slot. */
#include "tests/unit/runtime/engine_mock.h"

static const struct kvr_descriptor *described(const struct mock *m,
					      size_t index)
{
	return &mock_nth(m, MOCK_DESCRIBE, index)->describe.descriptor;
}

/* Ours has 3 bytes of metadata, prev's 17. */
static void engine_forwarded_block_keeps_its_metadata(void **state)
{
	struct kvr_engine_pass pass = {
		.tag = 1,
		.hops = 2,
		.bytes = {100},
		.metadata_bytes = {3},
	};
	struct kvr_descriptor d;
	uint32_t record;
	struct mock m;
	(void)state;

	mock_ring(&m, 3, 0, KVR_LANE_IMMUTABLE);
	assert_int_equal(kvr_engine_begin(m.engine, &pass, &record), KVR_OK);
	d = mock_descriptor(&m, 0, 0, 1, 1, 150);
	d.metadata_bytes = 17;
	mock_describe(&m, 0, &d);
	mock_run(&m);
	assert_int_equal(mock_count(&m, MOCK_DESCRIBE), 2);
	assert_int_equal(described(&m, 0)->metadata_bytes, 3);
	assert_int_equal(described(&m, 1)->metadata_bytes, 17);
	mock_close(&m);
}

/* A pass of n = 3 through both slots; the block of hop 1 is forwarded. */
static void run_pass(struct mock *m, uint64_t tag)
{
	const uint64_t base = 2 * (tag - 1);

	m->count = m->acked = 0;
	mock_begin(m, tag, 100);
	mock_block(m, 0, base, tag, 1, 150);
	mock_block(m, 0, base + 1, tag, 2, 50);
	mock_run(m);
	assert_int_equal(mock_count(m, MOCK_WRITE), 3);
	mock_ack(m);
	for (uint32_t step = 0; step < 3; step++) {
		mock_take(m, 0, step);
		mock_release(m, 0, step);
	}
	assert_int_equal(kvr_engine_end(m->engine), KVR_OK);
	mock_run(m);
	mock_signal(m, KVR_NEXT, KVR_IMM_CREDIT, 0, base + 2);
	mock_run(m);
}

static void engine_granted_slot_forgets_what_was_forwarded(void **state)
{
	struct mock m;
	(void)state;

	mock_ring(&m, 3, 0, KVR_LANE_IMMUTABLE);
	for (uint64_t tag = 1; tag <= 5; tag++)
		run_pass(&m, tag);
	assert_int_equal(mock_failure(&m)->status, KVR_OK);
	mock_close(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(engine_forwarded_block_keeps_its_metadata),
		cmocka_unit_test(
			engine_granted_slot_forgets_what_was_forwarded),
	};

	return cmocka_run_group_tests_name("engine_forward", tests, NULL, NULL);
}
