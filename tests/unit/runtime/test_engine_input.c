/* SPDX-License-Identifier: Apache-2.0 */
/* Nothing that a peer can send crashes the engine or is believed unchecked. */
#include "tests/unit/runtime/engine_mock.h"

/* Rank 1 of 4, a pass begun, nothing received yet. */
static void setup(struct mock *m)
{
	mock_ring(m, 4, 1, KVR_LANE_IMMUTABLE);
	mock_begin(m, 7, 100);
	mock_run(m);
}

static void engine_correct_descriptor_is_accepted(void **state)
{
	struct kvr_descriptor d;
	struct mock m;
	(void)state;

	setup(&m);
	d = mock_descriptor(&m, 0, 0, 7, 1, 950);
	mock_describe(&m, 0, &d);
	assert_int_equal(mock_failure(&m)->status, KVR_OK);
	mock_close(&m);
}

struct bad_descriptor {
	const char *field;
	void (*spoil)(struct kvr_descriptor *d);
};

static void spoil_sequence(struct kvr_descriptor *d)
{
	d->sequence += 4096; /* the immediate's twelve bits agree */
}

static void spoil_hops_zero(struct kvr_descriptor *d)
{
	d->hops = 0;
}

static void spoil_hops_beyond(struct kvr_descriptor *d)
{
	d->hops = d->hops_total + 1;
}

static void spoil_hops_total(struct kvr_descriptor *d)
{
	d->hops_total = 4;
}

static void spoil_hops_order(struct kvr_descriptor *d)
{
	d->hops = 2;
	d->origin = 3;
}

static void spoil_origin(struct kvr_descriptor *d)
{
	d->origin = 2;
}

static void spoil_origin_range(struct kvr_descriptor *d)
{
	d->origin = UINT32_MAX;
}

static void spoil_bytes(struct kvr_descriptor *d)
{
	d->bytes = 1001;
	d->chunks = 11;
}

static void spoil_bytes_huge(struct kvr_descriptor *d)
{
	d->bytes = UINT64_MAX;
	d->chunks = 0;
}

static void spoil_chunks_less(struct kvr_descriptor *d)
{
	d->chunks--;
}

static void spoil_chunks_more(struct kvr_descriptor *d)
{
	d->chunks++;
}

static void spoil_metadata(struct kvr_descriptor *d)
{
	d->metadata_bytes = KVR_METADATA_MAX + 1;
}

static void spoil_flags(struct kvr_descriptor *d)
{
	d->flags = 2;
}

static void spoil_cancelled_payload(struct kvr_descriptor *d)
{
	d->flags = KVR_DESCRIPTOR_CANCELLED;
}

static void spoil_cancelled_metadata(struct kvr_descriptor *d)
{
	d->flags = KVR_DESCRIPTOR_CANCELLED;
	d->bytes = d->chunks = 0;
	d->metadata_bytes = 1;
}

static void spoil_reserved_first(struct kvr_descriptor *d)
{
	d->reserved[0] = 1;
}

static void spoil_reserved_last(struct kvr_descriptor *d)
{
	d->reserved[2] = 1;
}

static const struct bad_descriptor bad_descriptors[] = {
	{"sequence of a descriptor", spoil_sequence},
	{"hops", spoil_hops_zero},
	{"hops", spoil_hops_beyond},
	{"hops", spoil_hops_total},
	{"hops", spoil_hops_order},
	{"origin", spoil_origin},
	{"origin", spoil_origin_range},
	{"bytes", spoil_bytes},
	{"bytes", spoil_bytes_huge},
	{"chunks", spoil_chunks_less},
	{"chunks", spoil_chunks_more},
	{"metadata_bytes", spoil_metadata},
	{"flags", spoil_flags},
	{"flags", spoil_cancelled_payload},
	{"flags", spoil_cancelled_metadata},
	{"reserved", spoil_reserved_first},
	{"reserved", spoil_reserved_last},
};

static void engine_bad_descriptor_is_a_protocol_failure(void **state)
{
	size_t count = sizeof(bad_descriptors) / sizeof(bad_descriptors[0]);
	(void)state;

	for (size_t i = 0; i < count; i++) {
		struct kvr_descriptor d;
		struct mock m;

		setup(&m);
		d = mock_descriptor(&m, 0, 0, 7, 1, 250);
		bad_descriptors[i].spoil(&d);
		mock_describe(&m, 0, &d);
		mock_assert_protocol(&m, KVR_PREV, bad_descriptors[i].field);
		mock_close(&m);
	}
}

static void engine_missing_descriptor_is_a_protocol_failure(void **state)
{
	struct mock m;
	(void)state;

	setup(&m);
	kvr_engine_arrived(m.engine, KVR_PREV,
			   kvr_imm_block(KVR_IMM_DESCRIPTOR, 0, 0, 0), NULL,
			   m.now);
	mock_assert_protocol(&m, KVR_PREV, "sequence of a descriptor");
	mock_close(&m);
}

static void engine_second_descriptor_is_a_protocol_failure(void **state)
{
	struct kvr_descriptor d;
	struct mock m;
	(void)state;

	setup(&m);
	d = mock_descriptor(&m, 0, 0, 7, 1, 250);
	mock_describe(&m, 0, &d);
	mock_describe(&m, 0, &d);
	mock_assert_protocol(&m, KVR_PREV, "sequence of a descriptor");
	mock_close(&m);
}

/* ----------------------------------------------------------------- chunks */

static void engine_chunk_twice_is_a_protocol_failure(void **state)
{
	struct mock m;
	(void)state;

	setup(&m);
	mock_land(&m, 0, 1, 3);
	assert_int_equal(mock_failure(&m)->status, KVR_OK);
	mock_land(&m, 0, 1, 3);
	mock_assert_protocol(&m, KVR_PREV, "chunk");
	mock_close(&m);
}

static void engine_chunk_outside_the_slot_is_a_protocol_failure(void **state)
{
	struct mock m;
	(void)state;

	for (uint32_t chunk = 10; chunk < KVR_CHUNKS_MAX; chunk += 65525) {
		setup(&m);
		mock_land(&m, 0, 0, chunk);
		mock_assert_protocol(&m, KVR_PREV, "chunk");
		mock_close(&m);
	}
}

static void engine_chunk_outside_its_block_is_a_protocol_failure(void **state)
{
	(void)state;

	for (int early = 0; early < 2; early++) {
		struct kvr_descriptor d;
		struct mock m;

		setup(&m);
		d = mock_descriptor(&m, 0, 0, 7, 1, 250);
		if (early)
			mock_land(&m, 0, 0, 3);
		mock_describe(&m, 0, &d);
		assert_int_equal(mock_failure(&m)->status != KVR_OK, early);
		if (!early)
			mock_land(&m, 0, 0, 3);
		mock_assert_protocol(&m, KVR_PREV, "chunk");
		mock_close(&m);
	}
}

/* The same across a word of the bitmap. */
static void engine_early_chunk_far_outside_is_a_protocol_failure(void **state)
{
	static const uint32_t chunks[] = {64, 65, 128, 199};
	(void)state;

	for (size_t i = 0; i < 4; i++) {
		struct kvr_engine_config config;
		struct kvr_descriptor d;
		struct mock m;

		mock_config(2, 0, &config);
		config.lane[0].slot_bytes = 200 * MOCK_CHUNK;
		mock_open(&m, &config);
		mock_land(&m, 0, 0, chunks[i]);
		d = mock_descriptor(&m, 0, 0, 7, 1, 64 * MOCK_CHUNK);
		mock_describe(&m, 0, &d);
		mock_assert_protocol(&m, KVR_PREV, "chunk");
		mock_close(&m);
	}
}

/* --------------------------------------------------------------- sequence */

static void engine_sequence_outside_the_window_is_a_failure(void **state)
{
	static const uint64_t bad[] = {2, 3, 4095, 2048};
	struct mock m;
	(void)state;

	for (size_t i = 0; i < 4; i++) {
		uint32_t slot = 99;

		setup(&m);
		assert_false(kvr_engine_slot_of(m.engine, 0, (uint32_t)bad[i],
						&slot));
		assert_int_equal(slot, 99);
		mock_land(&m, 0, bad[i], 0);
		mock_assert_protocol(&m, KVR_PREV, "sequence of a chunk");
		mock_close(&m);
	}
	setup(&m);
	assert_true(kvr_engine_slot_of(m.engine, 0, 0, &(uint32_t){0}));
	assert_true(kvr_engine_slot_of(m.engine, 0, 1, &(uint32_t){0}));
	assert_false(kvr_engine_slot_of(m.engine, 1, 0, &(uint32_t){0}));
	mock_close(&m);
}

/* A slot that is granted, but prev cannot know it yet. */
static void engine_slot_not_told_to_prev_is_no_target(void **state)
{
	struct mock m;
	(void)state;

	mock_ring(&m, 2, 0, KVR_LANE_IMMUTABLE);
	mock_begin(&m, 1, 0);
	mock_block(&m, 0, 0, 1, 1, 0);
	assert_int_equal(kvr_engine_end(m.engine), KVR_ERR_AGAIN);
	m.room[MOCK_SIGNAL] = 0;
	mock_run(&m);
	assert_int_equal(kvr_engine_counters(m.engine)->credits_granted, 1);
	assert_false(kvr_engine_slot_of(m.engine, 0, 2, &(uint32_t){0}));
	m.room[MOCK_SIGNAL] = MOCK_NO_LIMIT;
	mock_run(&m);
	assert_true(kvr_engine_slot_of(m.engine, 0, 2, &(uint32_t){0}));
	mock_close(&m);
}

/* Passes of one hop at n = 2 across the wrap, from `start`. */
static void run_across(uint64_t start, uint64_t passes)
{
	struct mock m;

	mock_ring(&m, 2, 0, KVR_LANE_IMMUTABLE);
	mock_warp(&m, start);
	for (uint64_t k = start; k < start + passes; k++) {
		m.count = m.acked = 0;
		mock_begin(&m, k, 150);
		mock_run(&m);
		mock_block(&m, 0, k, k, 1, 250);
		mock_take(&m, 0, 0);
		mock_take(&m, 0, 1);
		mock_ack(&m);
		assert_int_equal(kvr_engine_end(m.engine), KVR_OK);
		mock_run(&m);
		assert_int_equal(
			mock_last_signal(&m, KVR_PREV, KVR_IMM_CREDIT).value,
			(k + 1) & KVR_IMM_VALUE_MASK);
		assert_int_equal(mock_nth(&m, MOCK_DESCRIBE, 0)->imm.sequence,
				 k & KVR_IMM_SEQUENCE_MASK);
		mock_signal(&m, KVR_NEXT, KVR_IMM_CREDIT, 0, k + 1);
		assert_int_equal(mock_failure(&m)->status, KVR_OK);
	}
	mock_close(&m);
}

static void engine_sequence_wraps_at_12_bits(void **state)
{
	(void)state;
	run_across(0, 3 * 4096 + 5);
}

static void engine_credits_wrap_at_28_bits(void **state)
{
	(void)state;
	run_across((UINT64_C(1) << 28) - 5, 20);
	run_across((UINT64_C(1) << 40) - 5, 20);
}

/* --------------------------------------------------------------- mismatch */

static void assert_mismatch(const struct mock *m, const char *field,
			    uint64_t ours, uint64_t theirs)
{
	const struct kvr_engine_failure *f = mock_failure(m);

	assert_int_equal(f->status, KVR_ERR_MISMATCH);
	assert_int_equal(f->abort.cause, KVR_CAUSE_MISMATCH);
	assert_string_equal(f->field, field);
	assert_int_equal(f->ours, ours);
	assert_int_equal(f->theirs, theirs);
}

static void engine_other_pass_or_hops_is_a_mismatch(void **state)
{
	(void)state;

	for (int i = 0; i < 4; i++) {
		struct kvr_descriptor d;
		struct mock m;
		bool early = i & 1, tag = i & 2;

		mock_ring(&m, 4, 1, KVR_LANE_IMMUTABLE);
		d = mock_descriptor(&m, 0, 0, tag ? 8 : 7, 1, 100);
		d.hops_total = tag ? 3 : 2;
		if (early) {
			struct kvr_engine_pass pass = {.tag = 7, .hops = 3};
			uint32_t record = 99;

			mock_describe(&m, 0, &d);
			assert_int_equal(mock_failure(&m)->status, KVR_OK);
			assert_int_equal(
				kvr_engine_begin(m.engine, &pass, &record),
				KVR_ERR_MISMATCH);
			assert_int_equal(record, 99);
		} else {
			mock_begin(&m, 7, 0);
			mock_describe(&m, 0, &d);
		}
		assert_mismatch(&m, tag ? "pass" : "hops", tag ? 7 : 3,
				tag ? 8 : 2);
		assert_int_equal(mock_failure(&m)->pass, 7);
		mock_close(&m);
	}
}

static void engine_other_layout_is_a_mismatch(void **state)
{
	struct kvr_descriptor d;
	struct mock m;
	(void)state;

	setup(&m);
	d = mock_descriptor(&m, 0, 0, 7, 1, 100);
	d.layout_id = 43;
	mock_describe(&m, 0, &d);
	assert_mismatch(&m, "layout_id", MOCK_LAYOUT, 43);
	mock_close(&m);
}

static void engine_own_block_of_other_size_is_a_mismatch(void **state)
{
	struct kvr_descriptor d;
	struct mock m;
	(void)state;

	mock_ring(&m, 2, 0, KVR_LANE_ACCUMULATING);
	mock_begin(&m, 1, 100);
	mock_block(&m, 0, 0, 1, 1, 50);
	assert_int_equal(mock_failure(&m)->status, KVR_OK);
	d = mock_descriptor(&m, 0, 1, 1, 2, 200);
	mock_describe(&m, 0, &d);
	assert_mismatch(&m, "bytes", 100, 200);
	mock_close(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(engine_correct_descriptor_is_accepted),
		cmocka_unit_test(engine_bad_descriptor_is_a_protocol_failure),
		cmocka_unit_test(
			engine_missing_descriptor_is_a_protocol_failure),
		cmocka_unit_test(
			engine_second_descriptor_is_a_protocol_failure),
		cmocka_unit_test(engine_chunk_twice_is_a_protocol_failure),
		cmocka_unit_test(
			engine_chunk_outside_the_slot_is_a_protocol_failure),
		cmocka_unit_test(
			engine_chunk_outside_its_block_is_a_protocol_failure),
		cmocka_unit_test(
			engine_early_chunk_far_outside_is_a_protocol_failure),
		cmocka_unit_test(
			engine_sequence_outside_the_window_is_a_failure),
		cmocka_unit_test(engine_slot_not_told_to_prev_is_no_target),
		cmocka_unit_test(engine_sequence_wraps_at_12_bits),
		cmocka_unit_test(engine_credits_wrap_at_28_bits),
		cmocka_unit_test(engine_other_pass_or_hops_is_a_mismatch),
		cmocka_unit_test(engine_other_layout_is_a_mismatch),
		cmocka_unit_test(engine_own_block_of_other_size_is_a_mismatch),
	};

	return cmocka_run_group_tests_name("engine_input", tests, NULL, NULL);
}
