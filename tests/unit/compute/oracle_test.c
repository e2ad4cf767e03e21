/* SPDX-License-Identifier: Apache-2.0 */
/* Cases small enough for pencil and paper. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kvring/attention.h"
#include "runtime/bf16.h"

#define ASSERT_NEAR(got, want) assert_true(fabs((got) - (want)) < 1e-6)

/* One sequence of two tokens, one head. */
struct pair {
	struct kvr_range range;
	struct kvr_plan_desc desc;
	float q[4], k[4], v[4], out[4], lse[2];
	struct kvr_tensor tq, tk, tv, tout;
};

/*
 * Scores: q0 has (1, 0) with the keys, q1 has (2, 2).
 *	p0 = (e, 1) / (e + 1) = (0.73105858, 0.26894142)
 *	p1 = (1/2, 1/2)
 */
static void pair_init(struct pair *p)
{
	*p = (struct pair){
		.range = {0, 0, 2},
		.desc = {.size = sizeof(p->desc),
			 .q_heads = 1,
			 .kv_heads = 1,
			 .head_dim = 2,
			 .scale = 1,
			 .q_range_count = 1,
			 .kv_range_count = 1},
		.q = {1, 0, 0, 2},
		.k = {1, 1, 0, 1},
		.v = {1, 2, 3, 5},
	};
	p->desc.q_ranges = p->desc.kv_ranges = &p->range;
	p->tq = kvr_tensor_dense(p->q, KVR_F32, 2, 1, 2);
	p->tk = kvr_tensor_dense(p->k, KVR_F32, 2, 1, 2);
	p->tv = kvr_tensor_dense(p->v, KVR_F32, 2, 1, 2);
	p->tout = kvr_tensor_dense(p->out, KVR_F32, 2, 1, 2);
}

static enum kvr_status pair_run(struct pair *p)
{
	return kvr_attention_oracle(&p->desc, &p->tq, &p->tk, &p->tv, NULL, 2,
				    &p->tout, p->lse, 2);
}

static void oracle_two_tokens_full(void **state)
{
	struct pair p;

	(void)state;
	pair_init(&p);
	assert_int_equal(pair_run(&p), KVR_OK);
	ASSERT_NEAR(p.out[0], 1.53788284);
	ASSERT_NEAR(p.out[1], 2.80682426);
	ASSERT_NEAR(p.out[2], 2.0);
	ASSERT_NEAR(p.out[3], 3.5);
	ASSERT_NEAR(p.lse[0], 1.31326169);
	ASSERT_NEAR(p.lse[1], 2.69314718);
}

static void oracle_two_tokens_causal(void **state)
{
	struct pair p;

	(void)state;
	pair_init(&p);
	p.desc.mask = KVR_MASK_CAUSAL;
	assert_int_equal(pair_run(&p), KVR_OK);
	ASSERT_NEAR(p.out[0], 1.0);
	ASSERT_NEAR(p.out[1], 2.0);
	ASSERT_NEAR(p.lse[0], 1.0);
	ASSERT_NEAR(p.out[2], 2.0);
	ASSERT_NEAR(p.out[3], 3.5);
	ASSERT_NEAR(p.lse[1], 2.69314718);
}

/* Keys one position on, under a causal mask: token 0 sees none. */
static void oracle_row_without_key_gives_zero(void **state)
{
	const struct kvr_range later = {0, 1, 2};
	struct pair p;

	(void)state;
	pair_init(&p);
	p.desc.mask = KVR_MASK_CAUSAL;
	p.desc.kv_ranges = &later;
	assert_int_equal(pair_run(&p), KVR_OK);
	assert_true(p.out[0] == 0 && p.out[1] == 0);
	assert_true(p.lse[0] == -INFINITY);
	ASSERT_NEAR(p.out[2], 1.0);
	ASSERT_NEAR(p.lse[1], 2.0);
}

static void oracle_other_sequence_is_not_seen(void **state)
{
	const struct kvr_range two[] = {{0, 0, 1}, {1, 0, 1}};
	struct pair p;

	(void)state;
	pair_init(&p);
	p.desc.kv_ranges = two;
	p.desc.kv_range_count = 2;
	assert_int_equal(pair_run(&p), KVR_OK);
	ASSERT_NEAR(p.out[0], 1.0);
	ASSERT_NEAR(p.out[3], 2.0);
	ASSERT_NEAR(p.lse[1], 2.0);
}

/* Each range of queries begins where the one before has ended. */
static void oracle_queries_of_two_sequences_told_apart(void **state)
{
	const struct kvr_range two[] = {{0, 0, 1}, {1, 0, 1}};
	struct pair p;

	(void)state;
	pair_init(&p);
	p.desc.q_ranges = p.desc.kv_ranges = two;
	p.desc.q_range_count = p.desc.kv_range_count = 2;
	assert_int_equal(pair_run(&p), KVR_OK);
	ASSERT_NEAR(p.out[0], 1.0);
	ASSERT_NEAR(p.out[1], 2.0);
	ASSERT_NEAR(p.out[2], 3.0);
	ASSERT_NEAR(p.out[3], 5.0);
}

static void oracle_listed_rows_only(void **state)
{
	const uint64_t rows[] = {1};
	struct pair p;

	(void)state;
	pair_init(&p);
	p.tout = kvr_tensor_dense(p.out, KVR_F32, 1, 1, 2);
	p.out[2] = 77;
	assert_int_equal(kvr_attention_oracle(&p.desc, &p.tq, &p.tk, &p.tv,
					      rows, 1, &p.tout, NULL, 0),
			 KVR_OK);
	ASSERT_NEAR(p.out[0], 2.0);
	ASSERT_NEAR(p.out[1], 3.5);
	assert_true(p.out[2] == 77);
}

/*
 * bf16, two query heads on each of two kv heads, default scale 1 / sqrt(4),
 * one value column, v [heads, tokens]. Head h has score h for key 0 and 0
 * for key 1; kv head 0 has values (1, 0), kv head 1 (0, 1).
 */
static void oracle_grouped_bf16_default_scale(void **state)
{
	const struct kvr_range q_range = {3, 9, 1}, kv_range = {3, 0, 2};
	const struct kvr_plan_desc desc = {.size = sizeof(desc),
					   .q_heads = 4,
					   .kv_heads = 2,
					   .head_dim = 4,
					   .value_dim = 1,
					   .dtype = KVR_BF16,
					   .mask = KVR_MASK_CAUSAL,
					   .q_ranges = &q_range,
					   .q_range_count = 1,
					   .kv_ranges = &kv_range,
					   .kv_range_count = 1};
	const double want[] = {0.5, 0.73105858, 0.11920292, 0.04742587};
	const double want_lse[] = {0.69314718, 1.31326169, 2.12692801,
				   3.04858735};
	uint16_t q[16] = {0}, k[16] = {0}, v[4] = {0};
	struct kvr_tensor tq = kvr_tensor_dense(q, KVR_BF16, 1, 4, 4);
	struct kvr_tensor tk = kvr_tensor_dense(k, KVR_BF16, 2, 2, 4);
	struct kvr_tensor tv = {v, KVR_BF16, 2, 2, 1, 1, 2};
	float out[4], lse[4 * 3];
	struct kvr_tensor tout = kvr_tensor_dense(out, KVR_F32, 1, 4, 1);

	(void)state;
	for (size_t h = 0; h < 4; h++)
		q[h * 4] = kvr_bf16_from_f32((float)h);
	k[0] = k[4] = kvr_bf16_from_f32(2);
	v[0] = v[3] = kvr_bf16_from_f32(1);
	assert_int_equal(kvr_attention_oracle(&desc, &tq, &tk, &tv, NULL, 1,
					      &tout, lse, 3),
			 KVR_OK);
	for (size_t h = 0; h < 4; h++) {
		ASSERT_NEAR(out[h], want[h]);
		ASSERT_NEAR(lse[h * 3], want_lse[h]);
	}
}

/* Cap 1: scores tanh(1) = 0.76159416 and 0; tanh(2) = 0.96402758, twice. */
static void oracle_softcap_bends_scores(void **state)
{
	struct pair p;

	(void)state;
	pair_init(&p);
	p.desc.softcap = 1;
	assert_int_equal(pair_run(&p), KVR_OK);
	ASSERT_NEAR(p.out[0], 1.63660052);
	ASSERT_NEAR(p.lse[0], 1.14476013);
	ASSERT_NEAR(p.out[2], 2.0);
	ASSERT_NEAR(p.lse[1], 1.65717476);
}

/* Sink 1: exp(1) once more; token 0 of scores 1 and 0, token 1 of 2 and 2. */
static void oracle_sink_joins_the_sum_alone(void **state)
{
	const float sink = 1, none = -INFINITY, huge = 1e30f;
	struct pair p;

	(void)state;
	pair_init(&p);
	p.desc.sinks = &sink;
	assert_int_equal(pair_run(&p), KVR_OK);
	ASSERT_NEAR(p.lse[0], 1.86199480);
	ASSERT_NEAR(p.out[0], 0.88840601);
	ASSERT_NEAR(p.lse[1], 2.86199480);
	p.desc.sinks = &none;
	assert_int_equal(pair_run(&p), KVR_OK);
	ASSERT_NEAR(p.lse[0], 1.31326169);
	p.desc.sinks = &huge;
	assert_int_equal(pair_run(&p), KVR_OK);
	assert_true(p.out[0] == 0 && p.lse[0] == huge);
}

/* v is then none, and not looked at; k = ((1, 1), (0, 1)). */
static void oracle_values_in_keys_are_their_columns(void **state)
{
	struct pair p;

	(void)state;
	pair_init(&p);
	p.desc.values_in_keys = 1;
	assert_int_equal(pair_run(&p), KVR_ERR_INVALID);
	assert_int_equal(kvr_attention_oracle(&p.desc, &p.tq, &p.tk, NULL, NULL,
					      2, &p.tout, p.lse, 2),
			 KVR_OK);
	ASSERT_NEAR(p.out[0], 0.73105858);
	ASSERT_NEAR(p.out[1], 1.0);
	ASSERT_NEAR(p.out[2], 0.5);
	p.desc.value_dim = 1;
	p.tout = kvr_tensor_dense(p.out, KVR_F32, 2, 1, 1);
	assert_int_equal(kvr_attention_oracle(&p.desc, &p.tq, &p.tk, NULL, NULL,
					      2, &p.tout, p.lse, 2),
			 KVR_OK);
	ASSERT_NEAR(p.out[0], 0.73105858);
	ASSERT_NEAR(p.out[1], 0.5);
}

/* A key each: itself; and the last under a causal mask that has none left. */
static void oracle_window_of_itself_copies_values(void **state)
{
	const struct kvr_window itself = {0, 0}, behind = {0, 1};
	struct pair p;

	(void)state;
	pair_init(&p);
	p.desc.window = &itself;
	assert_int_equal(pair_run(&p), KVR_OK);
	for (size_t i = 0; i < 4; i++)
		ASSERT_NEAR(p.out[i], p.v[i]);
	ASSERT_NEAR(p.lse[0], 1.0);
	p.desc.window = &behind;
	assert_int_equal(pair_run(&p), KVR_OK);
	ASSERT_NEAR(p.out[0], 1.53788284);
	ASSERT_NEAR(p.out[2], 3.0);
	p.desc.mask = KVR_MASK_CAUSAL;
	assert_int_equal(pair_run(&p), KVR_OK);
	ASSERT_NEAR(p.out[0], 1.0);
}

/* exp(1e4) overflows, exp(1e4 - max) does not. */
static void oracle_large_scores_finite(void **state)
{
	struct pair p;

	(void)state;
	pair_init(&p);
	p.desc.scale = 1e4f;
	assert_int_equal(pair_run(&p), KVR_OK);
	ASSERT_NEAR(p.out[0], 1.0);
	assert_true(p.lse[0] == 1e4f);
}

static void oracle_bad_arguments_invalid(void **state)
{
	const uint64_t rows[] = {2};
	struct pair p;

	(void)state;
	pair_init(&p);
	assert_int_equal(kvr_attention_oracle(NULL, &p.tq, &p.tk, &p.tv, NULL,
					      2, &p.tout, NULL, 0),
			 KVR_ERR_INVALID);
	assert_int_equal(kvr_attention_oracle(&p.desc, NULL, &p.tk, &p.tv, NULL,
					      2, &p.tout, NULL, 0),
			 KVR_ERR_INVALID);
	p.tout.tokens = 1;
	assert_int_equal(kvr_attention_oracle(&p.desc, &p.tq, &p.tk, &p.tv,
					      rows, 1, &p.tout, NULL, 0),
			 KVR_ERR_INVALID);
	assert_int_equal(pair_run(&p), KVR_ERR_INVALID);
	pair_init(&p);
	p.desc.kv_heads = 0;
	assert_int_equal(pair_run(&p), KVR_ERR_INVALID);
	pair_init(&p);
	p.range.length = 3;
	assert_int_equal(pair_run(&p), KVR_ERR_INVALID);
	pair_init(&p);
	p.tv.dim = 1;
	assert_int_equal(pair_run(&p), KVR_ERR_INVALID);
	pair_init(&p);
	p.tk.dtype = KVR_BF16;
	assert_int_equal(pair_run(&p), KVR_ERR_INVALID);
	pair_init(&p);
	p.tout.dtype = KVR_BF16;
	assert_int_equal(pair_run(&p), KVR_ERR_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(oracle_two_tokens_full),
		cmocka_unit_test(oracle_two_tokens_causal),
		cmocka_unit_test(oracle_row_without_key_gives_zero),
		cmocka_unit_test(oracle_other_sequence_is_not_seen),
		cmocka_unit_test(oracle_queries_of_two_sequences_told_apart),
		cmocka_unit_test(oracle_listed_rows_only),
		cmocka_unit_test(oracle_grouped_bf16_default_scale),
		cmocka_unit_test(oracle_softcap_bends_scores),
		cmocka_unit_test(oracle_sink_joins_the_sum_alone),
		cmocka_unit_test(oracle_values_in_keys_are_their_columns),
		cmocka_unit_test(oracle_window_of_itself_copies_values),
		cmocka_unit_test(oracle_large_scores_finite),
		cmocka_unit_test(oracle_bad_arguments_invalid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
