/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The body over compute/cuda, emulated; of it what fibers can carry out in
 * seconds. Left out are windows, wide heads and values in keys as the body has
 * them, hundreds of problems each: emulated_every_feature_of_every_type has
 * each feature with each type instead, of small odd sizes. Tiles are made
 * small, so that such problems have many.
 *
 * A weight is rounded by 2^-9 (bf16) or 2^-12 (f16) of itself, and the sum,
 * and with it lse, is of what was rounded.
 *
 * Arguments: "quick": what planted mistakes are shown to.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "compute_test.h"
#include "emulated.h"
#include "tests/emulated_cuda/emulated.h"

/* Tiles of 64 keys, of up to 128 rows; of 1024, and all rows. */
#define CACHE_SMALL ((size_t)128 << 10)
#define CACHE_LARGE ((size_t)8 << 20)

static double weight_error(enum kvr_dtype dtype)
{
	if (dtype == KVR_BF16)
		return 0x1p-9;
	return dtype == KVR_F16 ? 0x1p-12 : 0;
}

enum feature {
	PLAIN,
	CAUSAL,
	WINDOW,
	WINDOW_CAUSAL,
	SOFTCAP,
	SINKS,
	GROUPS,
	OTHER_VALUES,
	VALUES_IN_KEYS,
	INTERLEAVED,
	PACKED,
	FEATURES
};

/* Two stripes of 21 in three of queries; of keys all, some with gaps. */
static void interleave(struct problem *p)
{
	p->desc.mask = KVR_MASK_CAUSAL;
	p->desc.q_range_count = 3;
	p->desc.kv_range_count = 5;
	for (size_t i = 0; i < 3; i++)
		p->q_range[i] = (struct kvr_range){0, 21 + 63 * i, 21};
	for (size_t i = 0; i < 5; i++)
		p->kv_range[i] = (struct kvr_range){0, 42 * i, 21 + i % 2};
}

static void pack_sequences(struct problem *p)
{
	p->desc.mask = KVR_MASK_CAUSAL;
	p->desc.q_range_count = 4;
	p->desc.kv_range_count = 4;
	for (size_t i = 0; i < 4; i++) {
		p->q_range[i] = (struct kvr_range){i, 3 * i, 9 + i};
		p->kv_range[3 - i] = (struct kvr_range){i, 0, 11 + 13 * i};
	}
}

static void set_feature(struct problem *p, enum feature feature)
{
	static const float sinks[4] = {0.5f, -2, 1e30f, -1e30f};
	struct kvr_plan_desc *d = &p->desc;

	problem_square(p, 37, 131, 18, KVR_MASK_FULL);
	d->q_heads = d->kv_heads = 2;
	p->q_range[0].start = 90;
	p->window = (struct kvr_window){33, feature == WINDOW ? 7 : 0};
	if (feature == CAUSAL || feature == WINDOW_CAUSAL)
		d->mask = KVR_MASK_CAUSAL;
	if (feature == WINDOW || feature == WINDOW_CAUSAL)
		d->window = &p->window;
	if (feature == SOFTCAP)
		d->softcap = 0.7f;
	if (feature == SINKS || feature == GROUPS)
		d->q_heads = 4;
	if (feature == SINKS) {
		memcpy(p->sinks, sinks, sizeof(sinks));
		d->sinks = p->sinks;
	}
	if (feature == OTHER_VALUES)
		d->value_dim = 35;
	if (feature == VALUES_IN_KEYS) {
		d->values_in_keys = 1;
		d->value_dim = 11;
	}
	if (feature == INTERLEAVED)
		interleave(p);
	if (feature == PACKED)
		pack_sequences(p);
}

static void check_features(void)
{
	for (int f = 0; f < FEATURES; f++)
		for (int dtype = 0; dtype < 3; dtype++) {
			struct manner m = plainly();
			struct problem p;

			set_feature(&p, (enum feature)f);
			p.desc.dtype = (enum kvr_dtype)dtype;
			p.strided = (f + dtype) % 2;
			m.steps = 1 + (uint32_t)(f + dtype) % 3;
			problem_fill(&p, (uint64_t)(41 + f));
			check(&p, &m);
			problem_free(&p);
		}
}

static void emulated_every_feature_of_every_type(void **state)
{
	(void)state;
	check_features();
}

/* A graph of each step gives what its calls do; one tile has all keys. */
static void emulated_captured_steps_match_oracle(void **state)
{
	struct manner m = plainly();
	struct problem p;

	(void)state;
	emulated_set_captured(true);
	set_feature(&p, CAUSAL);
	m.steps = 3;
	problem_fill(&p, 2);
	check(&p, &m);
	problem_free(&p);
	emulated_set_captured(false);
}

/* Every warp of a block has keys: their maxima and sums meet. */
static void emulated_large_tiles_match_oracle(void **state)
{
	(void)state;
	emulated_set_cache(CACHE_LARGE);
	for (int dtype = 0; dtype < 3; dtype++) {
		struct manner m = plainly();
		struct problem p;

		problem_square(&p, 5, 1030, 16, KVR_MASK_CAUSAL);
		p.q_range[0].start = 1000;
		p.desc.scale = 3;
		p.desc.dtype = (enum kvr_dtype)dtype;
		problem_fill(&p, 3);
		check(&p, &m);
		problem_free(&p);
	}
	emulated_set_cache(CACHE_SMALL);
}

/*
 * Where every value is 1 the result is 1, whatever the weights were rounded to:
 * above and below the fraction line are the same. f32's sums differ by their
 * order alone.
 */
static void emulated_rounded_weights_sum_to_one(void **state)
{
	(void)state;
	for (int dtype = 0; dtype < 3; dtype++) {
		struct manner m = plainly();
		struct problem p;
		struct answer got;

		problem_square(&p, 9, 150, 16, KVR_MASK_FULL);
		p.desc.scale = 2;
		p.desc.dtype = (enum kvr_dtype)dtype;
		problem_fill(&p, 4);
		for (size_t t = 0; t < 150; t++)
			for (size_t i = 0; i < 16; i++)
				problem_set(&p.v, t, 0, i, 1);
		got = answer_of_kernel(&p, &m);
		for (size_t t = 0; t < 9; t++)
			for (size_t i = 0; i < 16; i++)
				assert_float_equal(
					problem_get(&got.out, t, 0, i), 1,
					4e-7);
		answer_free(&got);
		problem_free(&p);
	}
}

/* Of blocks, threads and streams: none of it may show. */
static void emulated_any_order_same_bits(void **state)
{
	struct manner m = plainly();
	struct answer want, got;
	struct problem p;

	(void)state;
	set_feature(&p, GROUPS);
	p.desc.dtype = KVR_BF16;
	m.steps = 2;
	problem_fill(&p, 5);
	kvr_emulated_set_order(KVR_EMULATED_FORWARD, 0);
	want = answer_of_kernel(&p, &m);
	for (int i = 0; i < 3; i++) {
		kvr_emulated_set_order(i ? KVR_EMULATED_RANDOM
					 : KVR_EMULATED_REVERSE,
				       (uint64_t)i);
		got = answer_of_kernel(&p, &m);
		assert_true(answer_same_bits(&got, &want));
		answer_free(&got);
	}
	kvr_emulated_set_order(KVR_EMULATED_FORWARD, 0);
	answer_free(&want);
	problem_free(&p);
}

#define OWN                                                                    \
	cmocka_unit_test(emulated_every_feature_of_every_type),                \
		cmocka_unit_test(emulated_large_tiles_match_oracle),           \
		cmocka_unit_test(emulated_rounded_weights_sum_to_one),         \
		cmocka_unit_test(emulated_captured_steps_match_oracle),        \
		cmocka_unit_test(emulated_any_order_same_bits)

int main(int argc, char **argv)
{
	const struct CMUnitTest quick[] = {OWN};
	const struct CMUnitTest all[] = {
		OWN,
		cmocka_unit_test(kernel_random_problem_matches_oracle),
		cmocka_unit_test(kernel_tails_match_oracle),
		cmocka_unit_test(kernel_zigzag_matches_oracle),
		cmocka_unit_test(kernel_sequences_do_not_see_each_other),
		cmocka_unit_test(kernel_far_positions_match_oracle),
		cmocka_unit_test(kernel_rows_without_keys_give_zero),
		cmocka_unit_test(kernel_no_keys_give_zero),
		cmocka_unit_test(kernel_no_queries_computes_nothing),
		cmocka_unit_test(kernel_second_pass_same_bits),
		cmocka_unit_test(kernel_large_scores_match_oracle),
		cmocka_unit_test(kernel_softcap_matches_oracle),
		cmocka_unit_test(kernel_sinks_match_oracle),
		cmocka_unit_test(kernel_sink_alone_is_the_lse),
		cmocka_unit_test(kernel_sink_counts_once),
		cmocka_unit_test(kernel_very_negative_scores_match_oracle),
		cmocka_unit_test(kernel_negative_scale_matches_oracle),
		cmocka_unit_test(kernel_negative_zeros_give_zero),
		cmocka_unit_test(kernel_nan_query_shows_in_its_row),
		cmocka_unit_test(kernel_half_out_is_f32_out_rounded),
		cmocka_unit_test(kernel_strided_out_leaves_gaps_alone),
	};

	if (!kvr_emulated_cuda_marker[0])
		return 1;
	emulated_set_cache(CACHE_SMALL);
	compute_test_use(&(struct compute_under_test){
		.ops = &emulated_compute,
		.random_problems = 15,
		.weight_error = weight_error,
	});
	if (argc > 1 && strcmp(argv[1], "quick") == 0)
		return cmocka_run_group_tests_name("cuda, emulated", quick,
						   NULL, NULL);
	return cmocka_run_group_tests_name("cuda, emulated", all, NULL, NULL);
}
