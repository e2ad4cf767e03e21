/* SPDX-License-Identifier: Apache-2.0 */
/* Soft-cap, windows, half-precision types: every kernel against the oracle. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "compute_test.h"
#include "runtime/element.h"

/*
 * Scores of +-12 under caps from a tenth of that to ten times; and what is
 * hidden stays hidden, for the cap would make -cap of -inf.
 */
void kernel_softcap_matches_oracle(void **state)
{
	static const float caps[] = {1, 12, 50, 120};
	struct problem p;

	(void)state;
	for (size_t i = 0; i < 4; i++)
		for (int mask = 0; mask < 2; mask++) {
			struct manner m = plainly();

			problem_square(&p, 50, 300, 24,
				       mask ? KVR_MASK_CAUSAL : KVR_MASK_FULL);
			p.desc.scale = 1;
			p.desc.softcap = caps[i];
			problem_fill(&p, 15);
			m.steps = 3;
			check(&p, &m);
			problem_free(&p);
		}
}

/*
 * Tiles of keys are shorter here, of 96 at 576 + 512: windows with edges
 * around theirs, and tails of each.
 */
void kernel_wide_heads_match_oracle(void **state)
{
	static const uint32_t dims[][2] = {{576, 512}, {192, 128}, {576, 576},
					   {512, 1},   {1, 512},   {575, 511}};
	static const size_t keys[] = {95, 96, 97, 200, 289};
	struct manner m = plainly();

	(void)state;
	for (size_t d = 0; d < 6; d++)
		for (size_t i = 0; i < 5; i++) {
			struct problem p;

			problem_square(&p, 13, keys[i], dims[d][0],
				       KVR_MASK_CAUSAL);
			p.desc.value_dim = dims[d][1];
			p.desc.q_heads = 2;
			p.desc.dtype = (enum kvr_dtype)((d + i) % 3);
			p.q_range[0].start = keys[i] - 10;
			p.window = (struct kvr_window){(int64_t)(90 + i), 0};
			p.desc.window = i % 2 ? &p.window : NULL;
			m.steps = 1 + (uint32_t)d % 2;
			problem_fill(&p, d);
			check(&p, &m);
			problem_free(&p);
		}
}

/* v = k[..., :value_dim], which p has then. */
static void copy_values(struct problem *p)
{
	p->desc.values_in_keys = 0;
	p->v = p->k;
	p->v.dim = p->desc.value_dim;
}

/* Groups of columns that are full, or begun; all of the keys, or some. */
void kernel_values_in_keys_same_bits_as_copied(void **state)
{
	static const uint32_t dims[][2] = {{1, 1},     {16, 16},  {17, 16},
					   {33, 17},   {40, 31},  {80, 3},
					   {128, 128}, {576, 512}};
	struct manner m = plainly();

	(void)state;
	for (size_t i = 0; i < 24; i++) {
		struct answer alias, copy;
		struct problem p;

		problem_square(&p, 21, 290, dims[i / 3][0], KVR_MASK_CAUSAL);
		p.desc.q_heads = 6;
		p.desc.kv_heads = 2;
		p.desc.value_dim = dims[i / 3][1];
		p.desc.values_in_keys = 1;
		p.desc.dtype = (enum kvr_dtype)(i % 3);
		p.q_range[0].start = 270;
		p.strided = i % 2;
		m.steps = 1 + (uint32_t)i % 4;
		problem_fill(&p, 21 + i);
		alias = answer_of_kernel(&p, &m);
		check(&p, &m);
		copy_values(&p);
		copy = answer_of_kernel(&p, &m);
		assert_true(answer_same_bits(&alias, &copy));
		p.v.data = NULL;
		answer_free(&alias);
		answer_free(&copy);
		problem_free(&p);
	}
}

/* One of each size; from 1 to 4 blocks, with rows that see no key. */
void kernel_sinks_match_oracle(void **state)
{
	static const float sinks[] = {0,      -3,	 2.5f,	88,
				      -88,    128,	 -150,	1e30f,
				      -1e30f, -INFINITY, 3e38f, -3e38f};
	struct manner m = plainly();
	struct problem p;

	(void)state;
	problem_square(&p, 40, 300, 16, KVR_MASK_CAUSAL);
	p.desc.q_heads = 12;
	p.desc.kv_heads = 2;
	p.desc.sinks = p.sinks;
	memcpy(p.sinks, sinks, sizeof(sinks));
	p.q_range[0].start = 100;
	p.kv_range[0].start = 110;
	problem_fill(&p, 18);
	for (m.steps = 1; m.steps <= 4; m.steps++)
		check(&p, &m);
	problem_free(&p);
}

/* Where no key is seen, to the bit; -inf is no sink. */
void kernel_sink_alone_is_the_lse(void **state)
{
	static const float sinks[] = {1.1f, -7.3f, 1e30f, -1e-30f, -INFINITY};
	struct manner m = plainly();
	struct problem p;
	struct answer got;

	(void)state;
	problem_square(&p, 30, 0, 8, KVR_MASK_FULL);
	p.desc.q_heads = 5;
	p.desc.sinks = sinks;
	problem_fill(&p, 19);
	got = answer_of_kernel(&p, &m);
	for (size_t h = 0; h < 5; h++)
		for (size_t t = 0; t < 30; t++) {
			assert_true(got.lse[h * 30 + t] == sinks[h]);
			for (size_t i = 0; i < 8; i++)
				assert_true(problem_get(&got.out, t, h, i) ==
					    0);
		}
	answer_free(&got);
	problem_free(&p);
}

/*
 * Three equal keys of value 4 and a sink of the same weight: 3 in all, and
 * log 4, in however many blocks they come, some of them empty.
 */
void kernel_sink_counts_once(void **state)
{
	const float sink = 0;
	struct manner m = plainly();
	struct problem p;

	(void)state;
	problem_square(&p, 1, 3, 1, KVR_MASK_FULL);
	p.desc.sinks = &sink;
	problem_fill(&p, 20);
	problem_set(&p.q, 0, 0, 0, 0);
	for (size_t t = 0; t < 3; t++)
		problem_set(&p.v, t, 0, 0, 4);
	for (m.steps = 1; m.steps <= 7; m.steps++) {
		struct answer got = answer_of_kernel(&p, &m);

		assert_true(fabs(problem_get(&got.out, 0, 0, 0) - 3) < 1e-6);
		assert_true(fabs(got.lse[0] - log(4)) < 1e-6);
		answer_free(&got);
	}
	problem_free(&p);
}

/*
 * Windows whose edges meet panels, tiles of keys, ranges and blocks in every
 * way: 600 keys in two ranges with a gap, from 1 to 3 blocks.
 */
void kernel_windows_match_oracle(void **state)
{
	static const int64_t reach[] = {-1, 0, 1, 15, 16, 255, 256, 600};
	struct manner m = plainly();

	(void)state;
	for (size_t l = 0; l < 8; l++)
		for (size_t r = 0; r < 8; r++) {
			struct problem p = {
				.desc = {.q_heads = 2,
					 .kv_heads = 1,
					 .head_dim = 8,
					 .q_range_count = 2,
					 .kv_range_count = 3},
				.q_range = {{0, 10, 70}, {0, 300, 45}},
				.kv_range = {{0, 0, 310},
					     {0, 320, 290},
					     {1, 0, 20}},
				.window = {reach[l], reach[r]},
			};

			p.desc.window = &p.window;
			p.desc.mask =
				l * r % 3 ? KVR_MASK_FULL : KVR_MASK_CAUSAL;
			m.steps = 1 + (uint32_t)(l + r) % 3;
			m.threads = 1 + (uint32_t)l % 2;
			problem_fill(&p, 17 + l);
			check(&p, &m);
			problem_free(&p);
		}
}

static void half_out_is_f32_out_rounded(enum kvr_dtype dtype,
					uint16_t (*round)(float value))
{
	struct manner m = plainly();
	struct problem p;
	struct answer wide, narrow;

	problem_square(&p, 90, 90, 33, KVR_MASK_CAUSAL);
	p.desc.dtype = dtype;
	problem_fill(&p, 12);
	wide = answer_of_kernel(&p, &m);
	m.out = dtype;
	narrow = answer_of_kernel(&p, &m);
	for (size_t i = 0; i < wide.tokens * wide.dim; i++)
		assert_int_equal(((uint16_t *)narrow.out.data)[i],
				 round(((float *)wide.out.data)[i]));
	answer_free(&narrow);
	answer_free(&wide);
	problem_free(&p);
}

void kernel_half_out_is_f32_out_rounded(void **state)
{
	(void)state;
	half_out_is_f32_out_rounded(KVR_BF16, kvr_bf16_from_f32);
	half_out_is_f32_out_rounded(KVR_F16, kvr_f16_from_f32);
}

/*
 * One key alone has all the weight: out is its value, to the bit; of every
 * finite f16, of either sign in turn.
 */
void kernel_every_f16_value_comes_out(void **state)
{
	enum { VALUES = 0x7c00 };
	struct manner m = plainly();

	(void)state;
	m.out = KVR_F16;
	for (uint16_t first = 0; first < VALUES; first += 256) {
		struct problem p;
		struct answer got;

		problem_square(&p, 1, 1, 1, KVR_MASK_FULL);
		p.desc.value_dim = 256;
		p.desc.dtype = KVR_F16;
		problem_fill(&p, 16);
		for (uint16_t i = 0; i < 256; i++)
			((uint16_t *)p.v.data)[i] =
				(uint16_t)(first + i) | (i & 1) << 15;
		got = answer_of_kernel(&p, &m);
		assert_memory_equal(got.out.data, p.v.data, 512);
		answer_free(&got);
		problem_free(&p);
	}
}
