/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The error does not grow with the ring: fp32 partials. The same measure,
 * applied to partials rounded to bf16 as some rings keep them, must object.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/bf16.h"
#include "tests/support/whole.h"

#define TOKENS 512
#define HEADS 2
#define DIM 32

/* Fewer by argument, where the numbers are not what is looked for. */
static uint64_t seeds = 20;

static const uint32_t sizes[] = {1, 2, 4, 8, 16};
#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

/*
 * Means over the seeds. A ring of n merges n partials; fp32 rounding of those
 * is far below that of the sums inside a block, so anything above a quarter
 * more than the error of one process is growth.
 */
static bool grows(const double errors[SIZES])
{
	for (size_t i = 1; i < SIZES; i++) {
		if (errors[i] > 1.25 * errors[0])
			return true;
	}
	return false;
}

static void print_errors(const char *name, const double errors[SIZES])
{
	printf("%s:", name);
	for (size_t i = 0; i < SIZES; i++)
		printf("  n=%u %.3g", sizes[i], errors[i]);
	printf("\n");
}

static void draw(struct whole *w, uint64_t seed)
{
	struct kvr_plan_desc desc;

	kvr_plan_desc_init(&desc);
	desc.q_heads = desc.kv_heads = HEADS;
	desc.head_dim = DIM;
	whole_init(w, &desc, TOKENS, seed, 1);
}

static void error_ring_of_sixteen_does_not_grow(void **state)
{
	static float out[TOKENS * HEADS * DIM], lse[TOKENS * HEADS];
	double errors[SIZES] = {0};

	(void)state;
	for (uint64_t seed = 1; seed <= seeds; seed++) {
		struct whole w;

		draw(&w, seed);
		whole_oracle(&w, out, lse);
		for (size_t i = 0; i < SIZES; i++) {
			w.n = sizes[i];
			whole_run(&w);
			errors[i] += whole_error(&w, out) / (double)seeds;
		}
		whole_fini(&w);
	}
	print_errors("fp32 partials", errors);
	assert_true(errors[0] > 0 && errors[0] < 1e-6);
	assert_false(grows(errors));
}

/* ------------------------------------------------------------ planted */

static float rounded(float value)
{
	return kvr_bf16_to_f32(kvr_bf16_from_f32(value));
}

/* Merges one more block's (out, lse) into the partial, kept in bf16. */
static void merge_bf16(float *out, float *lse, const float *block,
		       float block_lse)
{
	float top = fmaxf(*lse, block_lse);
	float a = expf(*lse - top), b = expf(block_lse - top);

	for (size_t i = 0; i < DIM; i++)
		out[i] = rounded((a * out[i] + b * block[i]) / (a + b));
	*lse = top + logf(a + b);
}

/* What the oracle gives for one block of keys. */
static void attend_block(const struct whole *w, uint32_t block, uint32_t n,
			 float *out, float *lse)
{
	struct kvr_range all = {.length = TOKENS}, keys;
	struct kvr_plan_desc desc = w->desc;
	struct kvr_tensor q, k, v, o;
	size_t count;

	CHECK_STATUS(kvr_ranges_contiguous(TOKENS, block, n, &keys, &count),
		     KVR_OK);
	desc.q_ranges = &all;
	desc.kv_ranges = &keys;
	desc.q_range_count = desc.kv_range_count = 1;
	q = kvr_tensor_dense(w->q, KVR_F32, TOKENS, HEADS, DIM);
	k = kvr_tensor_dense((float *)w->k + keys.start * HEADS * DIM, KVR_F32,
			     keys.length, HEADS, DIM);
	v = kvr_tensor_dense((float *)w->v + keys.start * HEADS * DIM, KVR_F32,
			     keys.length, HEADS, DIM);
	o = kvr_tensor_dense(out, KVR_F32, TOKENS, HEADS, DIM);
	CHECK_STATUS(kvr_attention_oracle(&desc, &q, &k, &v, NULL, TOKENS, &o,
					  lse, TOKENS),
		     KVR_OK);
}

static void run_bf16(struct whole *w, uint32_t n)
{
	static float out[TOKENS * HEADS * DIM], lse[TOKENS * HEADS];
	float *sum = w->out;

	for (size_t i = 0; i < TOKENS * HEADS; i++)
		w->lse[i] = -INFINITY;
	memset(sum, 0, sizeof(out));
	for (uint32_t block = 0; block < n; block++) {
		attend_block(w, block, n, out, lse);
		for (size_t t = 0; t < TOKENS; t++) {
			for (size_t h = 0; h < HEADS; h++) {
				size_t at = (t * HEADS + h) * DIM;

				merge_bf16(sum + at, &w->lse[h * TOKENS + t],
					   out + at, lse[h * TOKENS + t]);
			}
		}
	}
}

static void error_planted_bf16_partials_are_found(void **state)
{
	static float out[TOKENS * HEADS * DIM], lse[TOKENS * HEADS];
	double errors[SIZES] = {0};
	struct whole w;

	(void)state;
	draw(&w, 1);
	whole_oracle(&w, out, lse);
	for (size_t i = 0; i < SIZES; i++) {
		run_bf16(&w, sizes[i]);
		errors[i] = whole_error(&w, out);
	}
	print_errors("planted bf16 partials", errors);
	assert_true(grows(errors));
	whole_fini(&w);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(error_ring_of_sixteen_does_not_grow),
		cmocka_unit_test(error_planted_bf16_partials_are_found),
	};

	if (argc > 1)
		seeds = strtoull(argv[1], NULL, 10);
	return cmocka_run_group_tests_name("growth", tests, NULL, NULL);
}
