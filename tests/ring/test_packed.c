/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packed batches round the ring, in every partition: against the oracle, which
 * is given each sequence whole; and against each sequence alone, to the bit.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/whole.h"

/* As in test_attention.c. */
#define F32_ERROR 2e-6
#define BF16_ERROR 3e-3
#define F16_ERROR 4e-4
#define LSE_ERROR 5e-6

#define SEQUENCES_MAX 60
#define TOKENS_MAX 200

static uint32_t pick(uint64_t *seed, uint32_t from, uint32_t to)
{
	return from + (uint32_t)(whole_random(seed) % (to - from + 1));
}

static int by_size(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* Boundaries anywhere: many sequences of 0 and 1 token among them. */
static void draw_sequences(uint64_t *seed, struct whole *w, uint64_t *at)
{
	w->sequences = pick(seed, 1, SEQUENCES_MAX);
	at[0] = 0;
	for (size_t i = 1; i < w->sequences; i++)
		at[i] = pick(seed, 0, (uint32_t)w->tokens);
	at[w->sequences] = w->tokens;
	qsort(at, w->sequences, sizeof(*at), by_size);
	w->cu_seqlens = at;
}

static void draw_case(uint64_t *seed, struct whole *w, uint64_t *at)
{
	static const uint32_t dims[] = {1, 8, 33, 64};
	static const struct kvr_window windows[] = {
		{0, 0}, {7, 0}, {30, -1}, {-1, 11}, {3, 64}};
	struct kvr_plan_desc desc;

	kvr_plan_desc_init(&desc);
	desc.kv_heads = pick(seed, 1, 2);
	desc.q_heads = desc.kv_heads * pick(seed, 1, 4);
	desc.head_dim = dims[pick(seed, 0, 3)];
	desc.value_dim = dims[pick(seed, 0, 3)];
	desc.dtype = (enum kvr_dtype)pick(seed, 0, 2);
	desc.mask = pick(seed, 0, 1) ? KVR_MASK_CAUSAL : KVR_MASK_FULL;
	desc.softcap = pick(seed, 0, 3) ? 0 : 0.7f;
	if (pick(seed, 0, 1))
		desc.window = &windows[pick(seed, 0, 4)];
	whole_init(w, &desc, pick(seed, 1, TOKENS_MAX), whole_random(seed), 1);
	draw_sequences(seed, w, at);
	w->n = pick(seed, 1, 8);
	w->zigzag = pick(seed, 0, 1);
	w->stripe = pick(seed, 0, 2) ? 0 : pick(seed, 1, 40);
	w->threads = pick(seed, 1, 2);
	w->chunk_bytes = pick(seed, 0, 1) ? 4096 : 129;
	w->transport = pick(seed, 0, 1) ? "shm" : "fake";
	w->out_dtype = pick(seed, 0, 1) ? desc.dtype : KVR_F32;
}

static void check_case(uint64_t number)
{
	static const double bounds[] = {[KVR_F32] = F32_ERROR,
					[KVR_BF16] = BF16_ERROR,
					[KVR_F16] = F16_ERROR};
	uint64_t seed = number, at[SEQUENCES_MAX + 1];
	double error, lse_error;
	struct whole w;
	float *out, *lse;

	draw_case(&seed, &w, at);
	out = malloc(w.tokens * w.desc.q_heads * w.desc.value_dim *
		     sizeof(*out));
	lse = malloc(w.tokens * w.desc.q_heads * sizeof(*lse));
	CHECK(out && lse);
	whole_oracle(&w, out, lse);
	whole_run(&w);
	error = whole_error(&w, out);
	lse_error = whole_lse_error(&w, lse);
	if (!(error <= bounds[w.out_dtype] && lse_error <= LSE_ERROR)) {
		fprintf(stderr,
			"case %llu: n %u, tokens %zu, sequences %zu, %s, "
			"stripe %llu, error %g, lse %g\n",
			(unsigned long long)number, w.n, w.tokens, w.sequences,
			w.zigzag ? "zigzag" : "contiguous",
			(unsigned long long)w.stripe, error, lse_error);
		abort();
	}
	free(out);
	free(lse);
	whole_fini(&w);
}

static uint64_t cases = 150;

static void packed_random_case_is_the_oracles(void **state)
{
	(void)state;
	for (uint64_t i = 1; i <= cases; i++)
		check_case(i);
}

/* ------------------------------------------------------- sequence alone */

static void describe(struct kvr_plan_desc *desc)
{
	kvr_plan_desc_init(desc);
	desc->q_heads = 4;
	desc->kv_heads = 2;
	desc->head_dim = 16;
	desc->mask = KVR_MASK_CAUSAL;
}

/* Sequence `i` of the batch, computed by one rank that has nothing else. */
static void check_alone(const struct whole *batch, size_t i)
{
	const struct kvr_plan_desc *d = &batch->desc;
	uint64_t first = batch->cu_seqlens[i];
	size_t tokens = batch->cu_seqlens[i + 1] - first;
	size_t q = (size_t)d->q_heads * d->head_dim;
	size_t kv = (size_t)d->kv_heads * d->head_dim;
	struct whole w;

	whole_init(&w, d, tokens, 1, 1);
	memcpy(w.q, (float *)batch->q + first * q, tokens * q * sizeof(float));
	memcpy(w.k, (float *)batch->k + first * kv,
	       tokens * kv * sizeof(float));
	memcpy(w.v, (float *)batch->v + first * kv,
	       tokens * kv * sizeof(float));
	whole_run(&w);
	assert_memory_equal((float *)batch->out + first * q, w.out,
			    tokens * q * sizeof(float));
	for (uint32_t h = 0; h < d->q_heads; h++)
		assert_memory_equal(batch->lse + h * batch->tokens + first,
				    w.lse + h * tokens, tokens * sizeof(float));
	whole_fini(&w);
}

static void packed_sequence_has_the_bits_of_it_alone(void **state)
{
	static const uint64_t at[] = {0, 1, 1, 40, 57, 330, 331};
	struct kvr_plan_desc desc;
	struct whole w;

	(void)state;
	describe(&desc);
	whole_init(&w, &desc, 331, 5, 1);
	w.cu_seqlens = at;
	w.sequences = 6;
	whole_run(&w);
	for (size_t i = 0; i < w.sequences; i++)
		if (at[i] < at[i + 1])
			check_alone(&w, i);
	whole_fini(&w);
}

/* ------------------------------------------------------- many sequences */

/* 600 of 0 to 6 tokens: a thousand ranges of one rank are exchanged. */
static void packed_hundreds_of_sequences_are_the_oracles(void **state)
{
	static uint64_t at[601];
	struct kvr_plan_desc desc;
	struct whole w;
	float *out, *lse;

	(void)state;
	for (size_t i = 0; i < 600; i++)
		at[i + 1] = at[i] + i * 5 % 7;
	describe(&desc);
	desc.q_heads = 2;
	whole_init(&w, &desc, at[600], 6, 1);
	w.cu_seqlens = at;
	w.sequences = 600;
	out = malloc(w.tokens * 2 * 16 * sizeof(*out));
	lse = malloc(w.tokens * 2 * sizeof(*lse));
	CHECK(out && lse);
	whole_oracle(&w, out, lse);
	for (int how = 0; how < 3; how++) {
		w.n = 2 + (uint32_t)how;
		w.zigzag = how == 1;
		w.stripe = how == 2;
		whole_run(&w);
		assert_true(whole_error(&w, out) <= F32_ERROR);
		assert_true(whole_lse_error(&w, lse) <= LSE_ERROR);
	}
	free(out);
	free(lse);
	whole_fini(&w);
}

/* ------------------------------------------------------- in any order */

/* Rank 1's queries see the second of rank 0's ranges, and no other. */
static void out_of_order(struct rank *rank)
{
	static const struct kvr_range late = {0, 4, 4};
	static const struct kvr_range keys[] = {{1, 0, 4}, {0, 0, 4}};
	float zeros[32] = {0}, ones[32], out[16], lse[4];
	bool first = rank->rank == 0;
	size_t q_tokens = first ? 0 : 4, kv_tokens = first ? 8 : 0;
	struct kvr_tensor q, k, v, o;
	struct kvr_plan_desc desc;
	struct kvr_plan *plan;

	CHECK_STATUS(rank->opened, KVR_OK);
	for (size_t i = 0; i < 32; i++)
		ones[i] = 1;
	kvr_plan_desc_init(&desc);
	desc.q_heads = desc.kv_heads = 1;
	desc.head_dim = 4;
	desc.mask = KVR_MASK_CAUSAL;
	desc.q_ranges = &late;
	desc.q_range_count = first ? 0 : 1;
	desc.kv_ranges = keys;
	desc.kv_range_count = first ? 2 : 0;
	q = kvr_tensor_dense(zeros, KVR_F32, q_tokens, 1, 4);
	k = kvr_tensor_dense(zeros, KVR_F32, kv_tokens, 1, 4);
	v = kvr_tensor_dense(ones, KVR_F32, kv_tokens, 1, 4);
	o = kvr_tensor_dense(out, KVR_F32, q_tokens, 1, 4);
	CHECK_STATUS(kvr_plan_create(rank->ring, &desc, &plan), KVR_OK);
	CHECK_STATUS(kvr_attention_run(plan, &q, &k, &v, &o, lse, 4), KVR_OK);
	for (size_t i = 0; i < q_tokens * 4; i++)
		CHECK(out[i] == 1);
	kvr_plan_destroy(plan);
}

static void packed_ranges_in_any_order_are_seen(void **state)
{
	struct ranks ranks;

	(void)state;
	ranks_init(&ranks, 2);
	ranks.transport = "shm";
	ranks.options.lane[0].slot_bytes = 1 << 16;
	ranks.body = out_of_order;
	ranks_run(&ranks);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(packed_random_case_is_the_oracles),
		cmocka_unit_test(packed_sequence_has_the_bits_of_it_alone),
		cmocka_unit_test(packed_hundreds_of_sequences_are_the_oracles),
		cmocka_unit_test(packed_ranges_in_any_order_are_seen),
	};

	if (argc > 1)
		cases = strtoull(argv[1], NULL, 10);
	return cmocka_run_group_tests_name("packed", tests, NULL, NULL);
}
