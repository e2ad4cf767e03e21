/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the body of the CPU's kernels does not ask of a GPU: tiles, graphs,
 * rounded weights; and each feature with each type, of small odd sizes.
 *
 * A weight is rounded by 2^-9 (bf16) or 2^-12 (f16) of itself, and the sum,
 * and with it lse, is of what was rounded.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "compute_test.h"
#include "gpu.h"

double gpu_weight_error(enum kvr_dtype dtype)
{
	if (dtype == KVR_BF16)
		return 0x1p-9;
	return dtype == KVR_F16 ? 0x1p-12 : 0;
}

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

void gpu_problem(struct problem *p, enum gpu_feature feature)
{
	static const float sinks[4] = {0.5f, -2, 1e30f, -1e30f};
	struct kvr_plan_desc *d = &p->desc;

	problem_square(p, 37, 131, 18, KVR_MASK_FULL);
	d->q_heads = d->kv_heads = 2;
	p->q_range[0].start = 90;
	p->window = (struct kvr_window){33, feature == GPU_WINDOW ? 7 : 0};
	if (feature == GPU_CAUSAL || feature == GPU_WINDOW_CAUSAL)
		d->mask = KVR_MASK_CAUSAL;
	if (feature == GPU_WINDOW || feature == GPU_WINDOW_CAUSAL)
		d->window = &p->window;
	if (feature == GPU_SOFTCAP)
		d->softcap = 0.7f;
	if (feature == GPU_SINKS || feature == GPU_GROUPS)
		d->q_heads = 4;
	if (feature == GPU_SINKS) {
		memcpy(p->sinks, sinks, sizeof(sinks));
		d->sinks = p->sinks;
	}
	if (feature == GPU_OTHER_VALUES)
		d->value_dim = 35;
	if (feature == GPU_VALUES_IN_KEYS) {
		d->values_in_keys = 1;
		d->value_dim = 11;
	}
	if (feature == GPU_INTERLEAVED)
		interleave(p);
	if (feature == GPU_PACKED)
		pack_sequences(p);
}

static void check_features(void)
{
	for (int f = 0; f < GPU_FEATURES; f++)
		for (int dtype = 0; dtype < 3; dtype++) {
			struct manner m = plainly();
			struct problem p;

			gpu_problem(&p, (enum gpu_feature)f);
			p.desc.dtype = (enum kvr_dtype)dtype;
			p.strided = (f + dtype) % 2;
			m.steps = 1 + (uint32_t)(f + dtype) % 3;
			problem_fill(&p, (uint64_t)(41 + f));
			check(&p, &m);
			problem_free(&p);
		}
}

void gpu_every_feature_of_every_type(void **state)
{
	(void)state;
	check_features();
}

/* A graph of each step gives what its calls do; one tile has all keys. */
void gpu_captured_steps_match_oracle(void **state)
{
	struct manner m = plainly();
	struct problem p;

	(void)state;
	gpu_set_captured(true);
	gpu_problem(&p, GPU_CAUSAL);
	m.steps = 3;
	problem_fill(&p, 2);
	check(&p, &m);
	problem_free(&p);
	gpu_set_captured(false);
}

/* Every warp of a block has keys: their maxima and sums meet. */
void gpu_large_tiles_match_oracle(void **state)
{
	(void)state;
	gpu_set_cache(GPU_CACHE_LARGE);
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
	gpu_set_cache(GPU_CACHE_SMALL);
}

/*
 * Where every value is 1 the result is 1, whatever the weights were rounded to:
 * above and below the fraction line are the same. f32's sums differ by their
 * order alone.
 */
void gpu_rounded_weights_sum_to_one(void **state)
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

/*
 * Few threads, each of which the thread sanitizer takes a while to switch to:
 * two query tiles, one a lane, each of a tile of keys in each of two steps; and
 * one tile of two warps.
 */
void gpu_tiles_do_not_race(void **state)
{
	struct manner m = plainly();
	struct problem p;

	(void)state;
	gpu_set_cache((size_t)1 << 10);
	problem_square(&p, 6, 20, 8, KVR_MASK_FULL);
	m.steps = 2;
	problem_fill(&p, 6);
	check(&p, &m);
	problem_free(&p);

	gpu_set_cache(GPU_CACHE_LARGE);
	problem_square(&p, 1, 66, 8, KVR_MASK_FULL);
	p.desc.dtype = KVR_BF16;
	problem_fill(&p, 7);
	check(&p, &m);
	problem_free(&p);
	gpu_set_cache(GPU_CACHE_SMALL);
}
