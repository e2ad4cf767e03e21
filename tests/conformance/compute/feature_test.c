/* SPDX-License-Identifier: Apache-2.0 */
/* Soft-cap, windows, half-precision types: every kernel against the oracle. */
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
