/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ring attention against the oracle, over random shapes, types, masks,
 * partitions, ring sizes, slots and chunks.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/support/whole.h"

/*
 * fp32 accumulation of a few hundred terms: some 1e-7 relative, and some 1e-6
 * where a scale of 0.3 makes scores of tens from 576 products; a mistake
 * costs 1e-3 and more. A bf16 output is rounded to 8 bits: 2^-9 at most per
 * element.
 */
#define F32_ERROR 4e-6
#define BF16_ERROR 3e-3
#define F16_ERROR 4e-4
#define LSE_ERROR 5e-6

static uint32_t pick(uint64_t *seed, uint32_t from, uint32_t to)
{
	return from + (uint32_t)(whole_random(seed) % (to - from + 1));
}

static void draw_case(uint64_t *seed, struct whole *whole)
{
	static const uint32_t dims[] = {1,  3,	 8,   16,  33, 64,
					80, 128, 192, 256, 576};
	static const struct kvr_window windows[] = {
		{0, 0}, {7, 0}, {30, -1}, {-1, 11}, {64, 64}};
	static const float sinks[12] = {0.5f, -1, 3, -INFINITY, 0, -8,
					1,    2,  7, -1e30f,	4, 30};
	static const size_t chunks[] = {1 << 20, 4096, 1023, 129};
	struct kvr_plan_desc desc;

	kvr_plan_desc_init(&desc);
	desc.kv_heads = pick(seed, 1, 3);
	desc.q_heads = desc.kv_heads * pick(seed, 1, 4);
	desc.head_dim = dims[pick(seed, 0, 10)];
	desc.value_dim = pick(seed, 0, 2) ? 0 : dims[pick(seed, 0, 10)];
	desc.dtype = (enum kvr_dtype)pick(seed, 0, 2);
	desc.mask = pick(seed, 0, 1) ? KVR_MASK_CAUSAL : KVR_MASK_FULL;
	desc.scale = pick(seed, 0, 3) ? 0 : 0.3f;
	desc.softcap = pick(seed, 0, 3) ? 0 : 0.7f;
	if (!pick(seed, 0, 3)) {
		desc.values_in_keys = 1;
		desc.value_dim = pick(seed, 1, desc.head_dim);
	}
	if (!pick(seed, 0, 3))
		desc.sinks = sinks;
	if (!pick(seed, 0, 2))
		desc.window = &windows[pick(seed, 0, 4)];
	whole_init(whole, &desc, pick(seed, 1, 150), whole_random(seed), 1);
	whole->n = pick(seed, 1, 8);
	whole->zigzag = pick(seed, 0, 1);
	whole->threads = pick(seed, 1, 2);
	whole->slots = pick(seed, whole->n > 2 ? 2 : 1, 4);
	whole->chunk_bytes = chunks[pick(seed, 0, 3)];
	whole->transport = pick(seed, 0, 1) ? "shm" : "fake";
	whole->repeats = pick(seed, 1, 2);
	whole->out_dtype = pick(seed, 0, 1) ? desc.dtype : KVR_F32;
}

static void check_case(uint64_t number)
{
	static const double bounds[] = {[KVR_F32] = F32_ERROR,
					[KVR_BF16] = BF16_ERROR,
					[KVR_F16] = F16_ERROR};
	uint64_t seed = number;
	double error, lse_error, bound;
	struct whole whole;
	float *out, *lse;

	draw_case(&seed, &whole);
	out = malloc(whole.tokens * whole.desc.q_heads * whole.desc.value_dim *
		     sizeof(float));
	lse = malloc(whole.tokens * whole.desc.q_heads * sizeof(float));
	CHECK(out && lse);
	whole_oracle(&whole, out, lse);
	whole_run(&whole);
	error = whole_error(&whole, out);
	lse_error = whole_lse_error(&whole, lse);
	bound = bounds[whole.out_dtype];
	if (!(error <= bound && lse_error <= LSE_ERROR)) {
		fprintf(stderr,
			"case %llu: n %u, tokens %zu, heads %u/%u, dims "
			"%u/%u, error %g, lse %g\n",
			(unsigned long long)number, whole.n, whole.tokens,
			whole.desc.q_heads, whole.desc.kv_heads,
			whole.desc.head_dim, whole.desc.value_dim, error,
			lse_error);
		abort();
	}
	free(out);
	free(lse);
	whole_fini(&whole);
}

static uint64_t cases = 200;

static void attention_random_case_is_the_oracles(void **state)
{
	(void)state;
	for (uint64_t i = 1; i <= cases; i++)
		check_case(i);
}

/* More ranks than tokens: most shards are empty. */
static void attention_more_ranks_than_tokens_exact(void **state)
{
	(void)state;
	for (uint32_t tokens = 1; tokens <= 5; tokens++) {
		struct kvr_plan_desc desc;
		struct whole whole;
		float out[5 * 2 * 4], lse[5 * 2];

		kvr_plan_desc_init(&desc);
		desc.q_heads = 2;
		desc.kv_heads = 1;
		desc.head_dim = 4;
		desc.mask = KVR_MASK_CAUSAL;
		whole_init(&whole, &desc, tokens, tokens, 1);
		whole.n = 7;
		whole.zigzag = tokens % 2;
		whole_oracle(&whole, out, lse);
		whole_run(&whole);
		assert_true(whole_error(&whole, out) <= F32_ERROR);
		assert_true(whole_lse_error(&whole, lse) <= LSE_ERROR);
		whole_fini(&whole);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(attention_random_case_is_the_oracles),
		cmocka_unit_test(attention_more_ranks_than_tokens_exact),
	};

	if (argc > 1)
		cases = strtoull(argv[1], NULL, 10);
	return cmocka_run_group_tests_name("attention", tests, NULL, NULL);
}
