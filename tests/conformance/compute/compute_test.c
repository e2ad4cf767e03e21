/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every kernel against the oracle: compute_main.c and emulated_main.c run it.
 * KVRING_SEED in the environment replaces the first random seed.
 *
 * Tolerances. u = 2^-24 is fp32's rounding. A score is a sum of head_dim
 * products, each rounded relative to at most S, the largest |score|: its
 * error is about u S sqrt(head_dim) / 2, typically, and shows as a relative
 * error of the key's weight. Sums of weights and values add some u, in all
 * less than 16 u, about 1e-6; the bound is 16 u + 4 u S. A soft-cap makes
 * scores and their errors smaller, and adds 3 ulp of what it gives: 6 u S.
 * A kernel that rounds weights says what comes of that.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compute_test.h"

#define UNIT_ROUNDOFF 0x1p-24
/* The sanitizers look for other mistakes, and are slow. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define RANDOM_PROBLEMS 60
#else
#define RANDOM_PROBLEMS 200
#endif

static const struct kvr_compute_ops *ops;
static uint64_t first_seed = 20250101;
static size_t random_problems = RANDOM_PROBLEMS;
static double (*weight_error)(enum kvr_dtype dtype);

void compute_test_use(const struct compute_under_test *test)
{
	const char *seed = getenv("KVRING_SEED");

	ops = test->ops;
	weight_error = test->weight_error;
	if (test->random_problems)
		random_problems = test->random_problems;
	if (seed)
		first_seed = strtoull(seed, NULL, 0);
}

static double tolerance(const struct problem *p)
{
	double largest = problem_largest_score(p);

	return UNIT_ROUNDOFF * (16 + (p->desc.softcap > 0 ? 10 : 4) * largest);
}

/*
 * Weights off by w of themselves each move a row by at most w times the mean of
 * |v - out|, and that is at most twice the largest |v|: as part of want.
 */
static double weights_tolerance(const struct problem *p,
				const struct answer *want, double w)
{
	double rows = (double)(want->tokens * want->heads);
	double size = answer_size(want);

	return size > 0 ? 2 * w * sqrt(rows) * problem_largest_value(p) / size
			: 0;
}

struct manner plainly(void)
{
	return (struct manner){
		.ops = ops, .threads = 1, .steps = 1, .out = KVR_F32};
}

void problem_square(struct problem *p, size_t q_tokens, size_t kv_tokens,
		    uint32_t dim, enum kvr_mask mask)
{
	memset(p, 0, sizeof(*p));
	p->desc.q_heads = p->desc.kv_heads = 1;
	p->desc.head_dim = dim;
	p->desc.mask = mask;
	p->q_range[0].length = q_tokens;
	p->kv_range[0].length = kv_tokens;
	p->desc.q_range_count = p->desc.kv_range_count = 1;
}

void assert_close(const struct problem *p, const struct answer *got,
		  const struct answer *want)
{
	double error = answer_error(got, want);
	double lse_error = answer_lse_error(got, want);
	double weights = weight_error ? weight_error(p->desc.dtype) : 0;
	double most = tolerance(p) + weights_tolerance(p, want, weights);
	double lse_most = tolerance(p) + weights;

	if (error <= most && lse_error <= lse_most)
		return;
	fail_msg("error %g, allowed %g; of lse %g, allowed %g", error, most,
		 lse_error, lse_most);
}

void check(const struct problem *p, const struct manner *m)
{
	struct answer want = answer_of_oracle(p);
	struct answer got = answer_of_kernel(p, m);

	assert_close(p, &got, &want);
	answer_free(&got);
	answer_free(&want);
}

void kernel_random_problem_matches_oracle(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < random_problems; i++) {
		uint64_t seed = first_seed + i, choice = seed;
		struct manner m = plainly();
		struct problem p;

		m.threads = (uint32_t)(1 + random_below(&choice, 3));
		m.steps = (uint32_t)(1 + random_below(&choice, 5));
		print_message("seed %llu\n", (unsigned long long)seed);
		problem_random(&p, seed);
		check(&p, &m);
		problem_free(&p);
	}
}

void kernel_tails_match_oracle(void **state)
{
	static const uint32_t dims[] = {1, 3, 80, 256};
	static const size_t tokens[][2] = {{1, 1},   {1, 17},  {13, 16},
					   {25, 15}, {7, 272}, {12, 273}};
	struct problem p;

	(void)state;
	for (size_t d = 0; d < 4; d++)
		for (size_t t = 0; t < 6; t++)
			for (int dtype = 0; dtype < 3; dtype++) {
				struct manner m = plainly();

				problem_square(&p, tokens[t][0], tokens[t][1],
					       dims[d], KVR_MASK_FULL);
				p.desc.dtype = (enum kvr_dtype)dtype;
				problem_fill(&p, t);
				check(&p, &m);
				problem_free(&p);
			}
}

/* What rank 1 of 3 holds in a zigzag over 6 pieces, and what it receives. */
void kernel_zigzag_matches_oracle(void **state)
{
	struct manner m = plainly();
	struct problem p = {
		.desc = {.q_heads = 4,
			 .kv_heads = 2,
			 .head_dim = 32,
			 .mask = KVR_MASK_CAUSAL,
			 .q_range_count = 2,
			 .kv_range_count = 6},
		.q_range = {{0, 50, 50}, {0, 200, 50}},
		.kv_range = {{0, 50, 50},
			     {0, 200, 50},
			     {0, 0, 50},
			     {0, 250, 50},
			     {0, 100, 50},
			     {0, 150, 50}},
	};

	(void)state;
	m.steps = 3;
	problem_fill(&p, 1);
	check(&p, &m);
	problem_free(&p);
}

void kernel_sequences_do_not_see_each_other(void **state)
{
	struct problem p = {
		.desc = {.q_heads = 2,
			 .kv_heads = 1,
			 .head_dim = 16,
			 .q_range_count = 3,
			 .kv_range_count = 3},
		.q_range = {{7, 0, 20}, {8, 5, 9}, {1ull << 63, 0, 3}},
		.kv_range = {{8, 0, 40}, {1ull << 63, 9, 11}, {7, 100, 33}},
	};
	struct manner m = plainly();

	(void)state;
	problem_fill(&p, 2);
	check(&p, &m);
	problem_free(&p);
}

/* Positions whose differences do not fit into 32 bits. */
void kernel_far_positions_match_oracle(void **state)
{
	struct problem p = {
		.desc = {.q_heads = 1,
			 .kv_heads = 1,
			 .head_dim = 8,
			 .mask = KVR_MASK_CAUSAL,
			 .q_range_count = 2,
			 .kv_range_count = 3},
		.q_range = {{0, 1ull << 40, 30}, {0, 5, 4}},
		.kv_range = {{0, (1ull << 40) + 10, 300},
			     {0, 0, 20},
			     {0, 1ull << 33, 20}},
	};
	struct manner m = plainly();

	(void)state;
	problem_fill(&p, 3);
	check(&p, &m);
	problem_free(&p);
}

static void assert_unseen(const struct answer *a, size_t token)
{
	for (size_t h = 0; h < a->heads; h++) {
		assert_true(a->lse[h * a->tokens + token] == -INFINITY);
		for (size_t i = 0; i < a->dim; i++) {
			float zero = problem_get(&a->out, token, h, i);

			assert_true(zero == 0 && !signbit(zero));
		}
	}
}

/* Before the first key; in tiles with rows that see, and in none. */
void kernel_rows_without_keys_give_zero(void **state)
{
	struct manner m = plainly();
	struct problem p;

	(void)state;
	problem_square(&p, 40, 30, 24, KVR_MASK_CAUSAL);
	p.kv_range[0].start = 33;
	problem_fill(&p, 4);
	for (m.steps = 1; m.steps < 4; m.steps++) {
		struct answer got = answer_of_kernel(&p, &m);

		for (size_t t = 0; t < 33; t++)
			assert_unseen(&got, t);
		assert_true(isfinite(got.lse[33]));
		answer_free(&got);
		check(&p, &m);
	}
	/* Nor do values that other rows of the tile see: 0 x inf is no 0. */
	problem_set(&p.v, 0, 0, 0, INFINITY);
	struct answer got = answer_of_kernel(&p, &m);

	for (size_t t = 0; t < 33; t++)
		assert_unseen(&got, t);
	answer_free(&got);
	problem_free(&p);
}

void kernel_no_keys_give_zero(void **state)
{
	struct manner m = plainly();
	struct problem p;
	struct answer got;

	(void)state;
	problem_square(&p, 19, 0, 24, KVR_MASK_FULL);
	problem_fill(&p, 5);
	got = answer_of_kernel(&p, &m);
	for (size_t t = 0; t < 19; t++)
		assert_unseen(&got, t);
	answer_free(&got);
	problem_free(&p);
}

void kernel_no_queries_computes_nothing(void **state)
{
	struct manner m = plainly();
	struct problem p;

	(void)state;
	problem_square(&p, 0, 40, 24, KVR_MASK_FULL);
	problem_fill(&p, 5);
	m.threads = 3;
	check(&p, &m);
	problem_free(&p);
}

static void problem_for_threads(struct problem *p, enum kvr_dtype dtype,
				int window)
{
	problem_square(p, 700, 650, 40, KVR_MASK_CAUSAL);
	p->desc.q_heads = 4;
	p->desc.kv_heads = 2;
	p->desc.dtype = dtype;
	p->window = (struct kvr_window){170, 0};
	p->desc.window = window ? &p->window : NULL;
	problem_fill(p, 6);
}

void kernel_any_threads_same_bits(void **state)
{
	static const uint32_t threads[] = {1, 2, 3, 5};
	struct manner m = plainly();
	struct problem p;

	(void)state;
	m.steps = 3;
	for (int i = 0; i < 6; i++) {
		struct answer want;

		problem_for_threads(&p, (enum kvr_dtype)(i / 2), i % 2);
		m.threads = 1;
		want = answer_of_kernel(&p, &m);
		for (size_t t = 0; t < 4; t++) {
			struct answer got;

			m.threads = threads[t];
			got = answer_of_kernel(&p, &m);
			assert_true(answer_same_bits(&got, &want));
			answer_free(&got);
		}
		answer_free(&want);
		problem_free(&p);
	}
}

/* Begin must forget, and an object must serve pass after pass. */
void kernel_second_pass_same_bits(void **state)
{
	struct kvr_compute_shape shape = {.q_heads = 2,
					  .kv_heads = 2,
					  .head_dim = 16,
					  .value_dim = 16,
					  .scale = 0.25f};
	struct problem p;
	struct kvr_compute *c;
	struct kvr_ranges q, kv;
	float out[2][60 * 2 * 16], lse[2][2 * 60];
	void *block;

	(void)state;
	problem_square(&p, 60, 70, 16, KVR_MASK_FULL);
	p.desc.q_heads = p.desc.kv_heads = 2;
	problem_fill(&p, 7);
	q = (struct kvr_ranges){p.q_range, 1};
	kv = (struct kvr_ranges){p.kv_range, 1};
	assert_int_equal(ops->open(&shape, q, 2, &c), KVR_OK);
	block = aligned_alloc(64, ops->block_bytes(&shape, kv));
	assert_non_null(block);
	ops->pack(c, kv, &p.k, &p.v, block);
	for (int i = 0; i < 2; i++) {
		struct kvr_tensor to =
			kvr_tensor_dense(out[i], KVR_F32, 60, 2, 16);

		ops->begin(c, &p.q);
		ops->step(c, kv, block);
		ops->finish(c, &to, lse[i], 60);
	}
	ops->close(c);
	assert_memory_equal(out[0], out[1], sizeof(out[0]));
	assert_memory_equal(lse[0], lse[1], sizeof(lse[0]));
	free(block);
	problem_free(&p);
}

/* Scores of +-1e4: softmax is nearly a choice. */
void kernel_large_scores_match_oracle(void **state)
{
	struct manner m = plainly();
	struct problem p;

	(void)state;
	problem_square(&p, 50, 600, 16, KVR_MASK_FULL);
	p.desc.scale = 1e4f / 16;
	problem_fill(&p, 8);
	m.steps = 4;
	check(&p, &m);
	problem_free(&p);
}

/* Every score near -300: e to that is 0 in a float, less their maximum not. */
void kernel_very_negative_scores_match_oracle(void **state)
{
	struct manner m = plainly();
	struct problem p;

	(void)state;
	problem_square(&p, 30, 300, 16, KVR_MASK_FULL);
	p.desc.scale = 1;
	problem_fill(&p, 10);
	for (size_t t = 0; t < p.q_tokens; t++)
		problem_set(&p.q, t, 0, 0, 30);
	for (size_t t = 0; t < p.kv_tokens; t++)
		problem_set(&p.k, t, 0, 0, -10);
	m.steps = 3;
	check(&p, &m);
	problem_free(&p);
}

void kernel_negative_scale_matches_oracle(void **state)
{
	struct manner m = plainly();
	struct problem p;

	(void)state;
	problem_square(&p, 30, 300, 16, KVR_MASK_CAUSAL);
	p.desc.scale = -3.0f;
	problem_fill(&p, 9);
	check(&p, &m);
	problem_free(&p);
}

void kernel_negative_zeros_give_zero(void **state)
{
	struct manner m = plainly();
	struct problem p;
	struct answer got;

	(void)state;
	problem_square(&p, 20, 20, 4, KVR_MASK_CAUSAL);
	problem_fill(&p, 10);
	for (size_t t = 0; t < 20; t++)
		for (size_t i = 0; i < 4; i++) {
			problem_set(&p.q, t, 0, i, -0.0f);
			problem_set(&p.v, t, 0, i, -0.0f);
		}
	got = answer_of_kernel(&p, &m);
	for (size_t t = 0; t < 20; t++) {
		assert_true(fabs(got.lse[t] - log((double)t + 1)) < 1e-6);
		for (size_t i = 0; i < 4; i++)
			assert_true(problem_get(&got.out, t, 0, i) == 0);
	}
	answer_free(&got);
	problem_free(&p);
}

/* A NaN must show in its own row, and nowhere else. */
void kernel_nan_query_shows_in_its_row(void **state)
{
	struct manner m = plainly();
	struct problem p;
	struct answer got;

	(void)state;
	problem_square(&p, 30, 40, 8, KVR_MASK_FULL);
	problem_fill(&p, 11);
	problem_set(&p.q, 5, 0, 3, NAN);
	got = answer_of_kernel(&p, &m);
	for (size_t t = 0; t < 30; t++) {
		assert_int_equal(isnan(got.lse[t]) != 0, t == 5);
		for (size_t i = 0; i < 8; i++)
			assert_int_equal(
				isnan(problem_get(&got.out, t, 0, i)) != 0,
				t == 5);
	}
	answer_free(&got);
	problem_free(&p);
}

/* out with gaps: they stay as they were; and lse may be left out. */
void kernel_strided_out_leaves_gaps_alone(void **state)
{
	struct kvr_compute_shape shape = {.q_heads = 2,
					  .kv_heads = 1,
					  .head_dim = 3,
					  .value_dim = 3,
					  .scale = 1};
	float out[5 * 11];
	struct kvr_tensor to = {out, KVR_F32, 5, 2, 3, 11, 5};
	struct problem p;
	struct kvr_compute *c;

	(void)state;
	problem_square(&p, 5, 0, 3, KVR_MASK_FULL);
	p.desc.q_heads = 2;
	problem_fill(&p, 13);
	for (size_t i = 0; i < 55; i++)
		out[i] = 7;
	assert_int_equal(
		ops->open(&shape, (struct kvr_ranges){p.q_range, 1}, 1, &c),
		KVR_OK);
	ops->begin(c, &p.q);
	ops->finish(c, &to, NULL, 0);
	ops->close(c);
	for (size_t i = 0; i < 55; i++)
		assert_true(out[i] == (i % 11 < 10 && i % 11 % 5 < 3 ? 0 : 7));
	problem_free(&p);
}

/*
 * 4096 keys in 1 .. 16 blocks. Partials in fp32 lose at most u per step, far
 * below the error of the sums themselves, of which 32 u are allowed: the
 * values average out to a 30th of their size. Partials in bf16 would lose
 * 2^-9.
 */
void kernel_error_does_not_grow_with_steps(void **state)
{
	static const uint32_t steps[] = {1, 2, 3, 5, 7, 8, 11, 16};
	struct manner m = plainly();
	struct problem p;
	struct answer want;
	double one = 0;

	(void)state;
	problem_square(&p, 48, 4096, 64, KVR_MASK_FULL);
	p.desc.scale = 1;
	problem_fill(&p, 14);
	want = answer_of_oracle(&p);
	for (size_t i = 0; i < 8; i++) {
		struct answer got;
		double error;

		m.steps = steps[i];
		got = answer_of_kernel(&p, &m);
		error = answer_error(&got, &want);
		print_message("%u steps: error %.3g\n", m.steps, error);
		one = i == 0 ? error : one;
		assert_true(error <= 32 * UNIT_ROUNDOFF);
		assert_true(error <= one + 2 * UNIT_ROUNDOFF);
		answer_free(&got);
	}
	answer_free(&want);
	problem_free(&p);
}
