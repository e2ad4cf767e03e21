/* SPDX-License-Identifier: Apache-2.0 */
/* Signals and completions that a peer or an edge invents; then anything. */
#include <string.h>

#include "tests/unit/runtime/engine_mock.h"

/* Rank 1 of 4, a pass begun, nothing received yet. */
static void setup(struct mock *m)
{
	mock_ring(m, 4, 1, KVR_LANE_IMMUTABLE);
	mock_begin(m, 7, 100);
	mock_run(m);
}

static void engine_wrong_immediate_is_a_protocol_failure(void **state)
{
	static const struct {
		enum kvr_side side;
		uint32_t imm;
	} bad[] = {
		{KVR_NEXT, 0},					/* chunk */
		{KVR_NEXT, (uint32_t)KVR_IMM_DESCRIPTOR << 29}, /* from next */
		{KVR_PREV, (uint32_t)KVR_IMM_CREDIT << 29 | 1}, /* from prev */
		{KVR_PREV, 7u << 29},
		{KVR_NEXT, 7u << 29},
		{KVR_PREV, 1u << 28}, /* lane 1 of 1 */
		{KVR_NEXT, (uint32_t)KVR_IMM_CREDIT << 29 | 1u << 28 | 1},
	};
	(void)state;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct mock m;

		setup(&m);
		kvr_engine_arrived(m.engine, bad[i].side, bad[i].imm, NULL,
				   m.now);
		mock_assert_protocol(&m, bad[i].side, "immediate");
		mock_close(&m);
	}
}

static void engine_credit_for_what_was_not_sent_is_a_failure(void **state)
{
	/* One block sent whole. */
	static const uint32_t bad[] = {0, 2, KVR_IMM_VALUE_MASK, 1u << 27};
	struct mock m;
	(void)state;

	for (size_t i = 0; i < 4; i++) {
		setup(&m);
		mock_signal(&m, KVR_NEXT, KVR_IMM_CREDIT, 0, bad[i]);
		mock_assert_protocol(&m, KVR_NEXT, "credit");
		mock_close(&m);
	}
	setup(&m);
	mock_signal(&m, KVR_NEXT, KVR_IMM_CREDIT, 0, 1);
	assert_int_equal(mock_failure(&m)->status, KVR_OK);
	mock_signal(&m, KVR_NEXT, KVR_IMM_CREDIT, 0, 1);
	mock_assert_protocol(&m, KVR_NEXT, "credit");
	mock_close(&m);
}

static void engine_credit_for_a_half_sent_block_is_a_failure(void **state)
{
	struct mock m;
	(void)state;

	mock_ring(&m, 3, 0, KVR_LANE_IMMUTABLE);
	mock_begin(&m, 1, 300);
	m.room[MOCK_WRITE] = 2;
	mock_run(&m);
	mock_signal(&m, KVR_NEXT, KVR_IMM_CREDIT, 0, 1);
	mock_assert_protocol(&m, KVR_NEXT, "credit");
	mock_close(&m);
}

static void engine_sent_of_nothing_is_a_failure(void **state)
{
	struct mock m;
	(void)state;

	for (int i = 0; i < 4; i++) {
		uint64_t cookie;

		setup(&m);
		cookie = mock_nth(&m, MOCK_WRITE, 0)->write.cookie;
		if (i == 0)
			kvr_engine_sent(m.engine, cookie);
		if (i == 1)
			cookie = UINT64_MAX;
		if (i == 2)
			cookie = cookie | 1; /* of no lane */
		if (i == 3)
			cookie += UINT64_C(1) << 17; /* the next block's */
		assert_int_equal(mock_failure(&m)->status, KVR_OK);
		kvr_engine_sent(m.engine, cookie);
		mock_assert_protocol(&m, KVR_NEXT, "sent");
		mock_close(&m);
	}
}

static void engine_second_bye_is_a_protocol_failure(void **state)
{
	struct mock m;
	(void)state;

	setup(&m);
	mock_signal(&m, KVR_NEXT, KVR_IMM_BYE, 0, 0);
	assert_int_equal(mock_failure(&m)->status, KVR_OK);
	mock_signal(&m, KVR_NEXT, KVR_IMM_BYE, 0, 0);
	mock_assert_protocol(&m, KVR_NEXT, "bye");
	mock_close(&m);
}

static void engine_bad_abort_is_a_protocol_failure(void **state)
{
	static const uint64_t bad[] = {
		0,			   /* no cause */
		8,			   /* unknown */
		4 << 8 | KVR_CAUSE_CLOSED, /* rank 4 of 4 */
		0xffffe << 8 | KVR_CAUSE_CLOSED,
	};
	(void)state;

	for (size_t i = 0; i < 4; i++) {
		struct mock m;

		setup(&m);
		mock_signal(&m, KVR_PREV, KVR_IMM_ABORT, 0, bad[i]);
		mock_assert_protocol(&m, KVR_PREV, "abort");
		mock_close(&m);
	}
}

/* splitmix64: Steele, Lea, Flood, 2014, doi 10.1145/2714064.2660195. */
static uint64_t draw(uint64_t *random)
{
	uint64_t z = *random += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* Half right, half wrong: to get deep before it fails. */
static void feed_something(struct mock *m, uint64_t *random)
{
	uint64_t r = draw(random);
	uint32_t sequence = (uint32_t)(r >> 8 & 3);
	struct kvr_descriptor d = mock_descriptor(
		m, 0, sequence, 7, sequence % 3 + 1, (r >> 16) % 1000);
	enum kvr_side side = r >> 40 & 7 ? KVR_PREV : KVR_NEXT;
	uint8_t bytes[sizeof(d)];

	memcpy(bytes, &d, sizeof(d));
	if ((r >> 32 & 7) == 0)
		bytes[r >> 48 & 63] ^= (uint8_t)(1u << (r >> 56 & 7));
	memcpy(&d, bytes, sizeof(d));
	switch (r & 7) {
	case 0:
		kvr_engine_arrived(m->engine, side, (uint32_t)draw(random), &d,
				   m->now);
		break;
	case 1:
	case 2:
		kvr_engine_arrived(
			m->engine, KVR_PREV,
			kvr_imm_block(KVR_IMM_DESCRIPTOR, 0, sequence, 0), &d,
			m->now);
		break;
	case 3:
		kvr_engine_sent(m->engine, r >> 40 & 7 ? r >> 43 & 0x7fffff
						       : draw(random));
		break;
	case 4:
		(void)kvr_engine_release(m->engine, 0, (uint32_t)(r >> 20 & 3));
		break;
	case 5:
		(void)kvr_engine_take(m->engine, 0,
				      &(struct kvr_engine_block){0});
		break;
	default:
		mock_land(m, 0, sequence, (uint32_t)(r >> 24) % 11);
	}
}

static void engine_random_input_never_crashes(void **state)
{
	uint64_t random = 1;
	(void)state;

	for (int round = 0; round < 3000; round++) {
		struct mock m;

		setup(&m);
		for (int i = 0; i < 60 && m.count < 400; i++) {
			feed_something(&m, &random);
			m.now++;
			mock_run(&m);
		}
		mock_close(&m);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(engine_wrong_immediate_is_a_protocol_failure),
		cmocka_unit_test(
			engine_credit_for_what_was_not_sent_is_a_failure),
		cmocka_unit_test(
			engine_credit_for_a_half_sent_block_is_a_failure),
		cmocka_unit_test(engine_sent_of_nothing_is_a_failure),
		cmocka_unit_test(engine_second_bye_is_a_protocol_failure),
		cmocka_unit_test(engine_bad_abort_is_a_protocol_failure),
		cmocka_unit_test(engine_random_input_never_crashes),
	};

	return cmocka_run_group_tests_name("engine_signal", tests, NULL, NULL);
}
