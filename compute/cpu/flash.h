/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tile: scores, online softmax, weighted sum of values. Included once by
 * each kernel_*.c, which names the kernel and says how many rows fit into its
 * registers:
 *
 *	KVR_KERNEL	the name of its struct kvr_cpu_kernel
 *	KVR_ROWS	rows of a micro-kernel: 2 * KVR_ROWS accumulators,
 *			2 operands, one broadcast
 *
 * Online softmax: Milakov, Gimelshein, 2018, arXiv 1805.02867; tiles: Dao et
 * al., 2022, arXiv 2205.14135.
 *
 * A tile's values are summed from 0 and then added to the partial, so that
 * the error grows with the number of tiles, not of keys.
 */
#include <math.h>

#include "compute/cpu/convert.h"
#include "compute/cpu/kernel.h"
#include "compute/cpu/simd.h"

#define KVR_PANEL_VECTORS (KVR_CPU_PANEL / KVR_LANES)

/* Steps of the long loops in a round: enough to hide what that costs. */
#define STEPS 4

/* Inlined, their loops would share registers with what is around them. */
#define KVR_APART static __attribute__((noinline))

/* Two vectors of every row; of an odd last one only x is in use. */
struct accumulators {
	kvr_vf x[KVR_ROWS], y[KVR_ROWS];
};

/*
 * x[r] += a[r] * *b, y[r] += a[r] * *c: the outer product at the heart of
 * both sums. `pair` is a constant where this is inlined.
 */
KVR_INLINE void outer(struct accumulators *acc, const float *a, size_t a_stride,
		      const float *b, const float *c, const int pair)
{
	kvr_vf x = kvr_load(b), y = x;

	if (pair)
		y = kvr_load(c);
	KVR_UNROLL
	for (size_t r = 0; r < KVR_ROWS; r++)
		kvr_add_scaled(&a[r * a_stride], x, y, pair, &acc->x[r],
			       &acc->y[r]);
}

KVR_INLINE void clear(struct accumulators *acc)
{
	KVR_UNROLL
	for (size_t r = 0; r < KVR_ROWS; r++) {
		acc->x[r] = (kvr_vf){0};
		acc->y[r] = (kvr_vf){0};
	}
}

/* Where vector v of the keys begins in the tile's panels. */
KVR_INLINE const float *key_vector(const struct kvr_cpu_tile *t, size_t v)
{
	return t->kv + v / KVR_PANEL_VECTORS * t->panel_stride +
	       v % KVR_PANEL_VECTORS * KVR_LANES;
}

/*
 * Scores of vectors v and, if pair, v + 1 of the keys; top: of each row, the
 * largest so far, lane by lane. What is wanted next is asked for meanwhile.
 */
KVR_INLINE void score_block(const struct kvr_cpu_tile *t, size_t v,
			    const int pair, kvr_vf top[KVR_ROWS])
{
	const float *b = key_vector(t, v), *c = key_vector(t, v + 1);
	const float *q = t->q;
	const char *ahead = t->ahead + v / 2 * (t->dim / STEPS) * 64;
	float *to = t->scores + v * KVR_LANES;
	struct accumulators acc;

	clear(&acc);
	for (size_t i = 0; i < t->dim / STEPS; i++) {
		__builtin_prefetch(ahead, 0, 2);
		ahead += 64;
		KVR_UNROLL
		for (size_t j = 0; j < STEPS; j++)
			outer(&acc, q + j * KVR_ROWS, 1, b + j * KVR_CPU_PANEL,
			      c + j * KVR_CPU_PANEL, pair);
		q += STEPS * KVR_ROWS;
		b += STEPS * KVR_CPU_PANEL;
		c += STEPS * KVR_CPU_PANEL;
	}
	for (size_t i = 0; i < t->dim % STEPS; i++)
		outer(&acc, q + i * KVR_ROWS, 1, b + i * KVR_CPU_PANEL,
		      c + i * KVR_CPU_PANEL, pair);
	KVR_UNROLL
	for (size_t r = 0; r < KVR_ROWS; r++) {
		kvr_store(to + r * KVR_CPU_SCORE_STRIDE, acc.x[r]);
		if (pair) {
			kvr_store(to + r * KVR_CPU_SCORE_STRIDE + KVR_LANES,
				  acc.y[r]);
			acc.x[r] = kvr_max(acc.x[r], acc.y[r]);
		}
		top[r] = kvr_max(top[r], acc.x[r]);
	}
}

KVR_APART void score(const struct kvr_cpu_tile *t, kvr_vf top[KVR_ROWS])
{
	size_t vectors = t->panels * KVR_PANEL_VECTORS;
	size_t v = 0;

	for (size_t r = 0; r < KVR_ROWS; r++)
		top[r] = (kvr_vf){0} - INFINITY;
	for (; v + 2 <= vectors; v += 2)
		score_block(t, v, 1, top);
	if (v < vectors)
		score_block(t, v, 0, top);
}

/* Before hide: tanh would make -1 of -inf. */
static void cap(const struct kvr_cpu_tile *t)
{
	for (size_t r = 0; r < KVR_ROWS; r++) {
		float *row = t->scores + r * KVR_CPU_SCORE_STRIDE;

		for (size_t i = 0; i < t->panels * KVR_CPU_PANEL;
		     i += KVR_LANES)
			kvr_store(row + i,
				  kvr_tanh(kvr_load(row + i)) * t->cap);
	}
}

static void hide(const struct kvr_cpu_tile *t)
{
	for (size_t r = 0; r < KVR_ROWS; r++) {
		float *row = t->scores + r * KVR_CPU_SCORE_STRIDE;

		for (size_t i = t->visible[r]; i < t->panels * KVR_CPU_PANEL;
		     i++)
			row[i] = -INFINITY;
		for (size_t i = 0; t->before && i < t->before[r]; i++)
			row[i] = -INFINITY;
	}
}

/* Of scores that are no longer what score saw. */
static void look_again(const struct kvr_cpu_tile *t, kvr_vf top[KVR_ROWS])
{
	for (size_t r = 0; r < KVR_ROWS; r++) {
		const float *row = t->scores + r * KVR_CPU_SCORE_STRIDE;

		top[r] = kvr_load(row);
		for (size_t i = KVR_LANES; i < t->panels * KVR_CPU_PANEL;
		     i += KVR_LANES)
			top[r] = kvr_max(top[r], kvr_load(row + i));
	}
}

/* A vector of rows: rows[i], and nothing past the last. */
KVR_INLINE void take_rows(const kvr_vf from[KVR_ROWS], size_t first,
			  kvr_vf rows[KVR_LANES])
{
	KVR_UNROLL
	for (size_t i = 0; i < KVR_LANES; i++)
		rows[i] = first + i < KVR_ROWS ? from[first + i] : (kvr_vf){0};
}

/*
 * New maxima, rounded up to integers: 2^(x - max) splits exactly then, and so
 * does the decay. base: what to subtract, 0 for a row that has seen no key,
 * lest -inf - -inf is NaN; decay: the factor for what was summed before.
 */
KVR_INLINE void raise_max(const struct kvr_cpu_tile *t,
			  const kvr_vf top[KVR_ROWS],
			  float base[KVR_CPU_ROWS_MAX],
			  float decay[KVR_CPU_ROWS_MAX])
{
	KVR_UNROLL
	for (size_t r = 0; r < KVR_ROWS; r += KVR_LANES) {
		kvr_vf rows[KVR_LANES], old = kvr_load(t->max + r), max;

		take_rows(top, r, rows);
		max = kvr_max(old, kvr_ceil(kvr_largest_of_each(rows)));
		kvr_store(t->max + r, max);
		max = (kvr_vf)((kvr_vu)max & (kvr_vu)(max != -INFINITY));
		kvr_store(base + r, max);
		kvr_store(decay + r, kvr_exp2(old - max));
	}
}

/* row = 2^(row - base); returns their sum, lane by lane. */
KVR_INLINE kvr_vf row_exp(float *row, size_t keys, float base)
{
	const kvr_vf round = kvr_broadcast(KVR_ROUND - base);
	const kvr_vf least = kvr_broadcast(KVR_EXP2_LEAST + base);
	kvr_vf sum = {0};

	for (size_t i = 0; i < keys; i += KVR_LANES) {
		kvr_vf p = kvr_exp2_based(kvr_load(row + i), round, least);

		kvr_store(row + i, p);
		sum += p;
	}
	return sum;
}

/* The same where base is too large, or no number. */
static kvr_vf row_exp_far(float *row, size_t keys, float base)
{
	kvr_vf sum = {0};

	for (size_t i = 0; i < keys; i += KVR_LANES) {
		kvr_vf p = kvr_exp2(kvr_load(row + i) - base);

		kvr_store(row + i, p);
		sum += p;
	}
	return sum;
}

static void soften(const struct kvr_cpu_tile *t, const kvr_vf top[KVR_ROWS],
		   float decay[KVR_CPU_ROWS_MAX])
{
	const size_t keys = t->panels * KVR_CPU_PANEL;
	float base[KVR_CPU_ROWS_MAX];
	kvr_vf sum[KVR_ROWS], rows[KVR_LANES];

	raise_max(t, top, base, decay);
	for (size_t r = 0; r < KVR_ROWS; r++) {
		float *row = t->scores + r * KVR_CPU_SCORE_STRIDE;

		if (fabsf(base[r]) <= KVR_BASE_MOST)
			sum[r] = row_exp(row, keys, base[r]);
		else
			sum[r] = row_exp_far(row, keys, base[r]);
	}
	KVR_UNROLL
	for (size_t r = 0; r < KVR_ROWS; r += KVR_LANES) {
		take_rows(sum, r, rows);
		kvr_store(t->sum + r,
			  kvr_load(t->sum + r) * kvr_load(decay + r) +
				  kvr_sum_of_each(rows));
	}
}

/* Where vector v of the value columns begins, in groups of so many floats. */
KVR_INLINE size_t column_vector(size_t v, size_t group_floats)
{
	return v / KVR_PANEL_VECTORS * group_floats +
	       v % KVR_PANEL_VECTORS * KVR_LANES;
}

KVR_INLINE void add_to(float *to, float decay, kvr_vf value)
{
	kvr_store(to, kvr_load(to) * decay + value);
}

/* The partial output in vectors v and, if pair, v + 1 of the columns. */
KVR_INLINE void value_block(const struct kvr_cpu_tile *t, const float *decay,
			    size_t v, const int pair)
{
	const size_t panel_group = KVR_CPU_PANEL * KVR_CPU_PANEL;
	const size_t out_group = KVR_ROWS * KVR_CPU_PANEL;
	const float *values = t->kv + t->dim * KVR_CPU_PANEL;
	const float *b = values + column_vector(v, panel_group);
	const float *c = values + column_vector(v + 1, panel_group);
	float *x = t->out + column_vector(v, out_group);
	float *y = t->out + column_vector(v + 1, out_group);
	struct accumulators acc;

	clear(&acc);
	for (size_t panel = 0; panel < t->panels; panel++) {
		const float *p = t->scores + panel * KVR_CPU_PANEL;
		size_t at = panel * t->panel_stride;

		for (size_t i = 0; i < KVR_CPU_PANEL; i += STEPS) {
			KVR_UNROLL
			for (size_t j = i; j < i + STEPS; j++)
				outer(&acc, p + j, KVR_CPU_SCORE_STRIDE,
				      b + at + j * KVR_CPU_PANEL,
				      c + at + j * KVR_CPU_PANEL, pair);
		}
	}
	KVR_UNROLL
	for (size_t r = 0; r < KVR_ROWS; r++) {
		add_to(x + r * KVR_CPU_PANEL, decay[r], acc.x[r]);
		if (pair)
			add_to(y + r * KVR_CPU_PANEL, decay[r], acc.y[r]);
	}
}

KVR_APART void add_values(const struct kvr_cpu_tile *t, const float *decay)
{
	size_t vectors = t->groups * KVR_PANEL_VECTORS;
	size_t v = 0;

	for (; v + 2 <= vectors; v += 2)
		value_block(t, decay, v, 1);
	if (v < vectors)
		value_block(t, decay, v, 0);
}

static void tile(const struct kvr_cpu_tile *t)
{
	float decay[KVR_CPU_ROWS_MAX];
	kvr_vf top[KVR_ROWS];

	score(t, top);
	if (t->cap > 0)
		cap(t);
	if (t->visible)
		hide(t);
	if (t->cap > 0 || t->visible)
		look_again(t, top);
	soften(t, top, decay);
	add_values(t, decay);
}

const struct kvr_cpu_kernel KVR_KERNEL = {
	.rows = KVR_ROWS,
	.tile = tile,
	.pack_q = pack_q,
	.widen_bf16 = widen_bf16,
	.widen_f16 = widen_f16,
	.widen_e4m3 = widen_e4m3,
	.turn = turn,
};
