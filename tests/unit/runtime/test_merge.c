/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Merging two partial results: that of the oracle over one part of the keys
 * and that over the rest must be that over all of them.
 *
 * Tolerance: outputs and lse are below 4 in size and rounded to f32 before
 * and after, and a lse of base 2 that is off by u changes a weight by u ln 2:
 * 16 u = 2^-20 is allowed, and a rounding of the type of out.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "runtime/element.h"

#define Q_TOKENS 9
#define KEYS 20
#define HEADS 3
#define DIM 5
#define ROWS (Q_TOKENS * HEADS)
#define TOLERANCE 0x1p-20

struct side {
	struct kvr_partial partial;
	float data[ROWS * (DIM + 2)], lse[HEADS * (Q_TOKENS + 3)];
};

struct problem {
	float q[ROWS * DIM], k[KEYS * DIM], v[KEYS * DIM];
	struct kvr_range range[2]; /* of queries, of all keys */
	struct kvr_plan_desc desc;
};

static void problem_init(struct problem *p)
{
	float *const data[] = {p->q, p->k, p->v};
	const size_t count[] = {ROWS * DIM, KEYS * DIM, KEYS * DIM};

	memset(p, 0, sizeof(*p));
	for (size_t t = 0; t < 3; t++)
		for (size_t i = 0; i < count[t]; i++)
			data[t][i] =
				(float)sin(1.7 * (double)(i + 1) + (double)t);
	/* Queries from position 3 on: they see 4 .. 12 keys. */
	p->range[0] = (struct kvr_range){.start = 3, .length = Q_TOKENS};
	p->range[1] = (struct kvr_range){.length = KEYS};
	kvr_plan_desc_init(&p->desc);
	p->desc.q_heads = HEADS;
	p->desc.kv_heads = 1;
	p->desc.head_dim = DIM;
	p->desc.mask = KVR_MASK_CAUSAL;
	p->desc.q_ranges = &p->range[0];
	p->desc.q_range_count = p->desc.kv_range_count = 1;
}

/* dtype, gaps: of out; head strides differ from the tokens where it has. */
static void side_init(struct side *s, enum kvr_dtype dtype,
		      enum kvr_lse_base base, bool gaps)
{
	memset(s, 0, sizeof(*s));
	s->partial = (struct kvr_partial){
		.out = kvr_tensor_dense(s->data, dtype, Q_TOKENS, HEADS, DIM),
		.lse = s->lse,
		.lse_head_stride = gaps ? Q_TOKENS + 3 : Q_TOKENS,
		.base = base,
	};
	if (!gaps)
		return;
	s->partial.out.head_stride = DIM + 2;
	s->partial.out.token_stride = HEADS * (DIM + 2);
}

static float *lse_at(const struct side *s, size_t t, size_t h)
{
	return &s->partial.lse[h * s->partial.lse_head_stride + t];
}

/* Keys first .. last - 1, by the oracle. */
static void attend(struct problem *p, size_t first, size_t last,
		   struct side *to)
{
	struct kvr_range keys = {.start = first, .length = last - first};
	float out[ROWS * DIM], lse[ROWS];
	struct kvr_tensor q =
		kvr_tensor_dense(p->q, KVR_F32, Q_TOKENS, HEADS, DIM);
	struct kvr_tensor k = kvr_tensor_dense(p->k + first * DIM, KVR_F32,
					       last - first, 1, DIM);
	struct kvr_tensor v = kvr_tensor_dense(p->v + first * DIM, KVR_F32,
					       last - first, 1, DIM);
	struct kvr_tensor o =
		kvr_tensor_dense(out, KVR_F32, Q_TOKENS, HEADS, DIM);

	p->desc.kv_ranges = &keys;
	assert_int_equal(kvr_attention_oracle(&p->desc, &q, &k, &v, NULL, 0, &o,
					      lse, Q_TOKENS),
			 KVR_OK);
	for (size_t t = 0; t < Q_TOKENS; t++)
		for (size_t h = 0; h < HEADS; h++) {
			double value = (double)lse[h * Q_TOKENS + t];

			if (to->partial.base == KVR_LSE_LOG2)
				value *= M_LOG2E;
			*lse_at(to, t, h) = (float)value;
			for (size_t i = 0; i < DIM; i++)
				kvr_element_set(
					&to->partial.out,
					kvr_element_at(&to->partial.out, t, h) +
						i,
					out[(t * HEADS + h) * DIM + i]);
		}
}

static float out_at(const struct side *s, size_t t, size_t h, size_t i)
{
	const struct kvr_tensor *out = &s->partial.out;

	return kvr_element_get(out, kvr_element_at(out, t, h) + i);
}

/* rounding: relative, of the types on the way. */
static void assert_same(const struct side *got, const struct side *want,
			double rounding)
{
	double to = got->partial.base == KVR_LSE_LOG2 ? M_LOG2E : 1;
	double from = want->partial.base == KVR_LSE_LOG2 ? M_LN2 : 1;

	for (size_t t = 0; t < Q_TOKENS; t++)
		for (size_t h = 0; h < HEADS; h++) {
			double lse = (double)*lse_at(want, t, h) * from * to;

			assert_true(lse == (double)*lse_at(got, t, h) ||
				    fabs((double)*lse_at(got, t, h) - lse) <
					    TOLERANCE);
			for (size_t i = 0; i < DIM; i++)
				assert_true(fabs(out_at(got, t, h, i) -
						 out_at(want, t, h, i)) <=
					    TOLERANCE + rounding);
		}
}

static enum kvr_lse_base base_of(unsigned bit)
{
	return bit & 1 ? KVR_LSE_LOG2 : KVR_LSE_NATURAL;
}

static void merge_any_bases_any_split_is_the_whole(void **state)
{
	struct side a, b, out, whole;
	struct problem p;

	(void)state;
	problem_init(&p);
	side_init(&whole, KVR_F32, KVR_LSE_NATURAL, false);
	attend(&p, 0, KEYS, &whole);
	for (unsigned bases = 0; bases < 8; bases++)
		for (size_t split = 0; split <= KEYS; split++) {
			side_init(&a, KVR_F32, base_of(bases), bases & 1);
			side_init(&b, KVR_F32, base_of(bases >> 1), bases & 2);
			side_init(&out, KVR_F32, base_of(bases >> 2),
				  bases & 4);
			attend(&p, 0, split, &a);
			attend(&p, split, KEYS, &b);
			assert_int_equal(kvr_attention_merge(&a.partial,
							     &b.partial,
							     &out.partial),
					 KVR_OK);
			assert_same(&out, &whole, 0);
		}
}

/* In one of the two, or added to a result without: the sinks count once. */
static void merge_sinks_of_one_side_are_the_whole(void **state)
{
	static const float sinks[HEADS] = {0.5f, -INFINITY, -2};
	struct side a, b, out, whole;
	struct problem p;

	(void)state;
	problem_init(&p);
	side_init(&whole, KVR_F32, KVR_LSE_NATURAL, false);
	side_init(&a, KVR_F32, KVR_LSE_LOG2, false);
	side_init(&b, KVR_F32, KVR_LSE_NATURAL, false);
	side_init(&out, KVR_F32, KVR_LSE_NATURAL, false);
	p.desc.sinks = sinks;
	attend(&p, 0, KEYS, &whole);
	for (size_t split = 0; split <= KEYS; split++) {
		p.desc.sinks = sinks;
		attend(&p, 0, split, &a);
		p.desc.sinks = NULL;
		attend(&p, split, KEYS, &b);
		assert_int_equal(kvr_attention_merge(&a.partial, &b.partial,
						     &out.partial),
				 KVR_OK);
		assert_same(&out, &whole, 0);
	}
	attend(&p, 0, KEYS, &b);
	memset(a.data, 0, sizeof(a.data));
	for (size_t t = 0; t < Q_TOKENS; t++)
		for (size_t h = 0; h < HEADS; h++)
			*lse_at(&a, t, h) = (float)(sinks[h] * M_LOG2E);
	assert_int_equal(
		kvr_attention_merge(&b.partial, &a.partial, &out.partial),
		KVR_OK);
	assert_same(&out, &whole, 0);
}

/* Each side is rounded by 2^-9 of less than 1; so is the result. */
static void merge_mixed_types_is_the_whole(void **state)
{
	struct side a, b, out, whole;
	struct problem p;

	(void)state;
	problem_init(&p);
	side_init(&whole, KVR_F32, KVR_LSE_NATURAL, false);
	attend(&p, 0, KEYS, &whole);
	for (unsigned types = 0; types < 8; types++) {
		side_init(&a, types & 1 ? KVR_BF16 : KVR_F32, KVR_LSE_LOG2,
			  false);
		side_init(&b, types & 2 ? KVR_BF16 : KVR_F32, KVR_LSE_NATURAL,
			  false);
		side_init(&out, types & 4 ? KVR_BF16 : KVR_F32, KVR_LSE_NATURAL,
			  false);
		attend(&p, 0, 5, &a);
		attend(&p, 5, KEYS, &b);
		assert_int_equal(kvr_attention_merge(&a.partial, &b.partial,
						     &out.partial),
				 KVR_OK);
		assert_same(&out, &whole, types ? 0x1p-8 : 0);
	}
}

static void merge_in_place_same_bits(void **state)
{
	struct side a, b, out;
	struct problem p;

	(void)state;
	problem_init(&p);
	side_init(&a, KVR_F32, KVR_LSE_NATURAL, true);
	side_init(&b, KVR_F32, KVR_LSE_NATURAL, true);
	side_init(&out, KVR_F32, KVR_LSE_NATURAL, true);
	attend(&p, 0, 7, &a);
	attend(&p, 7, KEYS, &b);
	assert_int_equal(
		kvr_attention_merge(&a.partial, &b.partial, &out.partial),
		KVR_OK);
	assert_int_equal(
		kvr_attention_merge(&a.partial, &b.partial, &a.partial),
		KVR_OK);
	assert_memory_equal(a.data, out.data, sizeof(a.data));
	assert_memory_equal(a.lse, out.lse, sizeof(a.lse));
}

/* What a row holds that saw no key is nobody's result. */
static void merge_unseen_rows_count_for_nothing(void **state)
{
	struct side a, b, out;
	struct problem p;

	(void)state;
	problem_init(&p);
	side_init(&a, KVR_F32, KVR_LSE_NATURAL, false);
	side_init(&b, KVR_F32, KVR_LSE_LOG2, false);
	side_init(&out, KVR_F32, KVR_LSE_NATURAL, false);
	attend(&p, 0, KEYS, &a);
	for (size_t i = 0; i < ROWS * DIM; i++)
		b.data[i] = NAN;
	for (size_t i = 0; i < ROWS; i++)
		b.lse[i] = -INFINITY;
	assert_int_equal(
		kvr_attention_merge(&a.partial, &b.partial, &out.partial),
		KVR_OK);
	assert_memory_equal(out.data, a.data, sizeof(a.data));
	assert_memory_equal(out.lse, a.lse, sizeof(a.lse));
	assert_int_equal(
		kvr_attention_merge(&b.partial, &b.partial, &out.partial),
		KVR_OK);
	for (size_t i = 0; i < ROWS * DIM; i++)
		assert_true(out.data[i] == 0 && !signbit(out.data[i]));
	for (size_t i = 0; i < ROWS; i++)
		assert_true(out.lse[i] == -INFINITY);
}

/* exp of either would overflow; the difference says it all. */
static void merge_large_lse_stays_finite(void **state)
{
	struct side a, b, out;

	(void)state;
	side_init(&a, KVR_F32, KVR_LSE_NATURAL, false);
	side_init(&b, KVR_F32, KVR_LSE_NATURAL, false);
	side_init(&out, KVR_F32, KVR_LSE_NATURAL, false);
	for (size_t i = 0; i < ROWS; i++)
		a.lse[i] = b.lse[i] = i % 2 ? 5000 : -5000;
	for (size_t i = 0; i < ROWS * DIM; i++)
		a.data[i] = 1;
	assert_int_equal(
		kvr_attention_merge(&a.partial, &b.partial, &out.partial),
		KVR_OK);
	for (size_t i = 0; i < ROWS; i++)
		assert_true(out.lse[i] == (float)(a.lse[i] + M_LN2));
	for (size_t i = 0; i < ROWS * DIM; i++)
		assert_true(out.data[i] == 0.5f);
}

static void merge_wrong_arguments_refused(void **state)
{
	struct side s, wrong;

	(void)state;
	side_init(&s, KVR_F32, KVR_LSE_NATURAL, false);
#define REFUSED(change)                                                        \
	do {                                                                   \
		wrong = s;                                                     \
		change;                                                        \
		assert_int_equal(kvr_attention_merge(&wrong.partial,           \
						     &s.partial, &s.partial),  \
				 KVR_ERR_INVALID);                             \
		assert_int_equal(kvr_attention_merge(&s.partial,               \
						     &wrong.partial,           \
						     &s.partial),              \
				 KVR_ERR_INVALID);                             \
		assert_int_equal(kvr_attention_merge(&s.partial, &s.partial,   \
						     &wrong.partial),          \
				 KVR_ERR_INVALID);                             \
	} while (0)
	REFUSED(wrong.partial.out.tokens--);
	REFUSED(wrong.partial.out.heads--);
	REFUSED(wrong.partial.out.dim--);
	REFUSED(wrong.partial.out.data = NULL);
	REFUSED(wrong.partial.out.dtype = (enum kvr_dtype)9);
	REFUSED(wrong.partial.base = (enum kvr_lse_base)2);
	REFUSED(wrong.partial.lse = NULL);
	REFUSED(wrong.partial.lse_head_stride--);
#undef REFUSED
	assert_int_equal(kvr_attention_merge(NULL, &s.partial, &s.partial),
			 KVR_ERR_INVALID);
	assert_int_equal(kvr_attention_merge(&s.partial, NULL, &s.partial),
			 KVR_ERR_INVALID);
	assert_int_equal(kvr_attention_merge(&s.partial, &s.partial, NULL),
			 KVR_ERR_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(merge_any_bases_any_split_is_the_whole),
		cmocka_unit_test(merge_sinks_of_one_side_are_the_whole),
		cmocka_unit_test(merge_mixed_types_is_the_whole),
		cmocka_unit_test(merge_in_place_same_bits),
		cmocka_unit_test(merge_unseen_rows_count_for_nothing),
		cmocka_unit_test(merge_large_lse_stays_finite),
		cmocka_unit_test(merge_wrong_arguments_refused),
	};

	return cmocka_run_group_tests_name("merge", tests, NULL, NULL);
}
