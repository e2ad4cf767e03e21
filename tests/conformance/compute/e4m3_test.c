/* SPDX-License-Identifier: Apache-2.0 */
/*
 * K and V as e4m3 codes: exactly the attention of what the codes stand for,
 * and near that of what was given. The codes here are found by looking through
 * all of them for the nearest, as the format is defined.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "compute/cpu/layout.h"
#include "compute_test.h"

/* ---------------------------------------------------------- definition */

/* Code 0 .. 0x7e: bias 7, three bits of mantissa. */
static double value_of(int code)
{
	int exponent = code >> 3, mantissa = code & 7;

	return exponent ? ldexp(8 + mantissa, exponent - 10)
			: ldexp(mantissa, -9);
}

/* The nearest value; of two the one whose code is even. */
static double nearest(double x)
{
	double size = fabs(x);
	int best = 0;

	if (!isfinite(x))
		return NAN;
	for (int code = 1; code < 0x7f; code++) {
		double now = fabs(value_of(code) - size);
		double before = fabs(value_of(best) - size);

		if (now < before || (now == before && code % 2 == 0))
			best = code;
	}
	return copysign(value_of(best), x);
}

/* Of rows first .. last - 1 of one head: there and back again. */
static void convert_head(const struct kvr_tensor *from,
			 const struct kvr_tensor *to, size_t head, size_t first,
			 size_t last)
{
	float most = 0, scale;

	for (size_t t = first; t < last; t++)
		for (size_t i = 0; i < from->dim; i++)
			if (isfinite(problem_get(from, t, head, i)))
				most = fmaxf(most, fabsf(problem_get(from, t,
								     head, i)));
	scale = most / 448;
	if (scale == 0)
		scale = 1;
	for (size_t t = first; t < last; t++)
		for (size_t i = 0; i < from->dim; i++) {
			float x = problem_get(from, t, head, i) / scale;

			problem_set(to, t, head, i,
				    (float)nearest((double)x) * scale);
		}
}

/* Ranges are cut where blocks are: each piece has scales of its own. */
static struct kvr_tensor convert(const struct problem *p,
				 const struct kvr_tensor *from, uint32_t steps)
{
	size_t values = from->tokens * from->heads * from->dim;
	struct kvr_tensor to =
		kvr_tensor_dense(malloc(values * sizeof(float) + 1), KVR_F32,
				 from->tokens, from->heads, from->dim);
	size_t base = 0;

	assert_non_null(to.data);
	for (size_t r = 0; r < p->desc.kv_range_count; r++) {
		size_t end = base + (size_t)p->kv_range[r].length;

		for (uint32_t s = 0; s < steps; s++) {
			size_t first = p->kv_tokens * s / steps;
			size_t last = p->kv_tokens * (s + 1) / steps;

			first = first > base ? first : base;
			last = last < end ? last : end;
			for (size_t h = 0; h < from->heads; h++)
				convert_head(from, &to, h, first, last);
		}
		base = end;
	}
	return to;
}

static struct kvr_tensor widened(const struct kvr_tensor *from)
{
	size_t values = from->tokens * from->heads * from->dim;
	struct kvr_tensor to =
		kvr_tensor_dense(malloc(values * sizeof(float) + 1), KVR_F32,
				 from->tokens, from->heads, from->dim);

	assert_non_null(to.data);
	for (size_t t = 0; t < from->tokens; t++)
		for (size_t h = 0; h < from->heads; h++)
			for (size_t i = 0; i < from->dim; i++)
				problem_set(&to, t, h, i,
					    problem_get(from, t, h, i));
	return to;
}

/* The kernel on codes against the oracle on what they stand for. */
static void check_codes(const struct problem *p, const struct manner *m)
{
	struct problem plain = *p, coded = *p;
	struct answer want, got;

	plain.desc.dtype = KVR_F32;
	plain.q = widened(&p->q);
	plain.k = convert(p, &p->k, m->steps);
	plain.v = convert(p, &p->v, m->steps);
	coded.desc.kv_wire = KVR_KV_E4M3;
	want = answer_of_oracle(&plain);
	got = answer_of_kernel(&coded, m);
	assert_close(&plain, &got, &want);
	answer_free(&got);
	answer_free(&want);
	problem_free(&plain);
}

/* ---------------------------------------------------------------- tests */

void kernel_e4m3_is_attention_of_the_codes(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 60; seed++) {
		struct manner m = plainly();
		struct problem p;

		m.steps = 1 + (uint32_t)seed % 4;
		m.threads = 1 + (uint32_t)seed % 3;
		print_message("seed %llu\n", (unsigned long long)seed);
		problem_random(&p, seed * 7919);
		check_codes(&p, &m);
		problem_free(&p);
	}
}

/* Heads, K and V, and ranges that differ by orders of magnitude. */
void kernel_e4m3_scales_are_by_range_and_head(void **state)
{
	struct manner m = plainly();
	struct problem p = {
		.desc = {.q_heads = 4,
			 .kv_heads = 2,
			 .head_dim = 24,
			 .value_dim = 40,
			 .q_range_count = 1,
			 .kv_range_count = 2},
		.q_range = {{0, 0, 30}},
		.kv_range = {{0, 0, 70}, {0, 70, 33}},
	};

	(void)state;
	problem_fill(&p, 5);
	for (size_t t = 0; t < p.kv_tokens; t++)
		for (size_t h = 0; h < 2; h++)
			for (size_t i = 0; i < 40; i++) {
				float by = (t < 70 ? 1.0f : 300.0f) *
					   (h ? 1e-3f : 1.0f);

				problem_set(&p.v, t, h, i,
					    problem_get(&p.v, t, h, i) * by);
				if (i < 24)
					problem_set(&p.k, t, h, i,
						    problem_get(&p.k, t, h, i) *
							    (h ? 4.0f : 0.1f));
			}
	check_codes(&p, &m);
	problem_free(&p);
}

/* One key alone has all the weight: out is what its code stands for. */
void kernel_e4m3_every_code_comes_out(void **state)
{
	struct manner m = plainly();
	struct problem p;
	struct answer got;
	float *v, *out;

	(void)state;
	problem_square(&p, 1, 1, 1, KVR_MASK_FULL);
	p.desc.value_dim = 256;
	p.desc.kv_wire = KVR_KV_E4M3;
	problem_fill(&p, 16);
	v = p.v.data;
	/* 448 is the largest, so that the scale is 1. NaN would take all. */
	for (int i = 0; i < 256; i++)
		v[i] = (float)(value_of(i % 128 == 127 ? 126 : i % 128) *
			       (i < 128 ? 1 : -1));
	got = answer_of_kernel(&p, &m);
	out = got.out.data;
	for (int i = 0; i < 256; i++)
		assert_true(out[i] == v[i]);
	answer_free(&got);

	/* Halfway is to the even one, and what is no number stays none. */
	v[1] = 17;
	v[2] = 19;
	v[3] = 0x1p-10f;
	v[4] = 0x1.8p-9f;
	v[5] = INFINITY;
	v[6] = -NAN;
	v[7] = -0x1p-11f;
	got = answer_of_kernel(&p, &m);
	out = got.out.data;
	assert_true(out[1] == 16 && out[2] == 20);
	assert_true(out[3] == 0 && out[4] == 0x1p-8f && out[7] == 0);
	assert_true(isnan(out[5]) && isnan(out[6]));
	assert_true(out[126] == 448 && out[254] == -448);
	answer_free(&got);
	problem_free(&p);
}

/* No sum of weights is off by the codes: with equal values out is theirs. */
void kernel_e4m3_empty_and_zero_blocks(void **state)
{
	struct manner m = plainly();
	struct problem p;

	(void)state;
	problem_square(&p, 5, 0, 8, KVR_MASK_FULL);
	problem_fill(&p, 1);
	check_codes(&p, &m);
	problem_free(&p);

	/* 0, and too small for any scale. */
	for (int i = 0; i < 2; i++) {
		problem_square(&p, 5, 20, 8, KVR_MASK_FULL);
		problem_fill(&p, 2);
		for (size_t j = 0; j < 160; j++) {
			((float *)p.k.data)[j] = 0;
			((float *)p.v.data)[j] = i ? 0x1p-148f : 0;
		}
		check_codes(&p, &m);
		problem_free(&p);
	}
}

/*
 * Uniform inputs of one range: values are off by 1/16 at most, scores of
 * |q| |k| scale < 1 by as much, weights by e^(1/8) - 1 < 0.14 together with
 * the sum; what is far below is not as good as the largest.
 */
void kernel_e4m3_is_near_the_oracle(void **state)
{
	struct manner m = plainly();

	(void)state;
	for (int dtype = 0; dtype < 3; dtype++) {
		struct answer want, got;
		struct problem p;

		problem_square(&p, 64, 500, 64, KVR_MASK_CAUSAL);
		p.desc.dtype = (enum kvr_dtype)dtype;
		p.q_range[0].start = 400;
		problem_fill(&p, 3);
		want = answer_of_oracle(&p);
		p.desc.kv_wire = KVR_KV_E4M3;
		got = answer_of_kernel(&p, &m);
		/* Codes are used at all, and well. */
		assert_true(answer_error(&got, &want) > 0.005);
		assert_true(answer_error(&got, &want) < 0.05);
		assert_true(answer_lse_error(&got, &want) < 0.01);
		answer_free(&got);
		answer_free(&want);
		problem_free(&p);
	}
}

void kernel_e4m3_block_is_a_quarter_of_f32(void **state)
{
	const struct kvr_range range[2] = {{0, 0, 1000}, {0, 1000, 7}};
	const struct kvr_ranges kv = {range, 2};
	struct kvr_compute_shape shape = {
		.q_heads = 3,
		.kv_heads = 3,
		.head_dim = 64,
		.value_dim = 64,
	};
	size_t wide = kvr_cpu_block_bytes(&shape, kv), narrow;

	(void)state;
	shape.kv_wire = KVR_KV_E4M3;
	narrow = kvr_cpu_block_bytes(&shape, kv);
	/* 24 bytes of scales a range, in a line of 64. */
	assert_int_equal(narrow, wide / 4 + 128);
}
