/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Long rows against the oracle, in numbers that users can compare: relative
 * error of the output (Frobenius), absolute error of the log-sum-exp. Scores
 * are in f32: one of 80 is off by 4e-6 at most once it is rounded, and so is
 * the log-sum-exp; a weight is by as much of itself, and these errors mostly
 * average out over the keys. And numbers so small that nobody sees them.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "compute_test.h"

#define OUT_MOST 3e-6
#define LSE_MOST 1e-5

enum scores { LIKE, RANDOM, PEAKED, RISING, ALTERNATING };

/* Of key `key` of `keys`, in units of the score. */
static float score_of(enum scores scores, size_t key, size_t keys)
{
	float at = (float)key / (float)(keys - 1);

	if (scores == PEAKED)
		return key == keys / 3 ? 40 : 0;
	if (scores == RISING)
		return 160 * at - 80;
	if (scores == ALTERNATING)
		return key % 2 ? 80 * at : -80 * at;
	return 1.5f;
}

/* One column makes the scores, unless they are random. */
static void shape_scores(struct problem *p, enum scores scores)
{
	size_t keys = p->kv_tokens, dim = p->desc.head_dim;

	p->desc.scale = scores == RANDOM ? 1 / sqrtf((float)dim) : 1;
	for (size_t t = 0; scores != RANDOM && t < p->q_tokens; t++)
		for (size_t i = 0; i < dim; i++)
			problem_set(&p->q, t, 0, i, i == 1);
	for (size_t t = 0; scores != RANDOM && t < keys; t++)
		problem_set(&p->k, t, 0, 1, score_of(scores, t, keys));
}

static void assert_accurate(const struct answer *got, const struct answer *want)
{
	double off = 0, all = 0, lse = 0;

	for (size_t t = 0; t < got->tokens; t++) {
		for (size_t i = 0; i < got->dim; i++) {
			double w = (double)problem_get(&want->out, t, 0, i);
			double g = (double)problem_get(&got->out, t, 0, i);

			off += (g - w) * (g - w);
			all += w * w;
		}
		lse = fmax(lse,
			   fabs((double)got->lse[t] - (double)want->lse[t]));
	}
	print_message("%zu rows: out %.2e, lse %.2e\n", got->tokens,
		      sqrt(off / all), lse);
	assert_true(sqrt(off) <= OUT_MOST * sqrt(all));
	assert_true(lse <= LSE_MOST);
}

static void check_long(size_t rows, size_t keys, uint32_t dim)
{
	for (int scores = LIKE; scores <= ALTERNATING; scores++) {
		struct manner m = plainly();
		struct answer got, want;
		struct problem p;

		problem_square(&p, rows, keys, dim, KVR_MASK_FULL);
		problem_fill(&p, 21 + (uint64_t)scores);
		shape_scores(&p, (enum scores)scores);
		want = answer_of_oracle(&p);
		got = answer_of_kernel(&p, &m);
		assert_accurate(&got, &want);
		answer_free(&got);
		answer_free(&want);
		problem_free(&p);
	}
}

void kernel_4096_keys_are_accurate(void **state)
{
	(void)state;
	check_long(13, 4096, 64);
}

void kernel_131072_keys_are_accurate(void **state)
{
	(void)state;
	check_long(3, 131072, 16);
}

static void multiply(void *arg)
{
	volatile float tiny = 0x1p-140f, one = 1;

	*(float *)arg = tiny * one;
}

/*
 * Nobody sees values so small, and processors take their time over them. The
 * caller's arithmetic stays as it was, also where he is called back.
 */
void kernel_denormals_count_as_nothing_in_it_alone(void **state)
{
	const struct kvr_compute_shape shape = {.q_heads = 1,
						.kv_heads = 1,
						.head_dim = 3,
						.value_dim = 3,
						.scale = 1};
	_Alignas(64) float block[16 * 19], out[4 * 3], called = 0, back = 0;
	struct kvr_tensor to = kvr_tensor_dense(out, KVR_F32, 4, 1, 3);
	const struct kvr_compute_ops *ops = plainly().ops;
	struct kvr_ranges kv;
	struct kvr_compute *c;
	struct problem p;

	(void)state;
	problem_square(&p, 4, 16, 3, KVR_MASK_FULL);
	problem_fill(&p, 14);
	for (size_t t = 0; t < 16; t++)
		for (size_t i = 0; i < 3; i++)
			problem_set(&p.v, t, 0, i, 0x1p-140f);
	kv = (struct kvr_ranges){p.kv_range, 1};
	assert_true(ops->block_bytes(&shape, kv) == sizeof(block));
	assert_int_equal(
		ops->open(&shape, (struct kvr_ranges){p.q_range, 1}, 1, &c),
		KVR_OK);
	ops->set_pulse(c, multiply, &called);
	ops->pack(c, kv, &p.k, &p.v, block);
	ops->begin(c, &p.q);
	ops->step(c, kv, block);
	multiply(&back);
	ops->finish(c, &to, NULL, 0);
	ops->close(c);
	for (size_t i = 0; i < 12; i++)
		assert_true(out[i] == 0);
	assert_true(called > 0 && back > 0);
	problem_free(&p);
}
