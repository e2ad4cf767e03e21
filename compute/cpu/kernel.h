/* SPDX-License-Identifier: Apache-2.0 */
/* Between the driver (compute.c) and the code of one instruction set. */
#ifndef KVR_COMPUTE_KERNEL_H
#define KVR_COMPUTE_KERNEL_H

#include "compute/cpu/layout.h"

/* Keys that a tile takes at most at once. */
#define KVR_CPU_KEYS 256

/* Between rows of scores; not a power of two, for the cache's sets. */
#define KVR_CPU_SCORE_STRIDE (KVR_CPU_KEYS + KVR_CPU_PANEL)

#define KVR_CPU_ROWS_MAX 16
#define KVR_CPU_Q_SLACK 16

/* Floats of a tile's maxima and sums: whole vectors. */
#define KVR_CPU_ROWS_STRIDE(rows) (((rows) + 7) / 8 * 8)

/*
 * `rows` query rows (a number of the kernel's) against `panels` panels of
 * keys. out, max, sum are the partials, base 2: what was seen so far is
 * out / sum, and its log2-sum-exp2 is max + log2(sum). max is the largest
 * score, rounded up to an integer where it is no larger than 2^22.
 */
struct kvr_cpu_tile {
	const float *q;	 /* [dim][rows], times scale * log2(e), or see cap */
	const float *kv; /* the first panel */
	size_t panel_stride;
	size_t dim;
	size_t groups; /* of 16 value columns */
	size_t panels; /* 1 .. KVR_CPU_KEYS / 16 */
	/* Keys that row r sees: the first visible[r]. NULL: all. */
	const uint32_t *visible;
	/* Of these not the first before[r]; may be NULL. */
	const uint32_t *before;
	/* softcap * log2(e), where q comes times scale / softcap; 0: none. */
	float cap;
	/* What the next tiles want: asked for meanwhile, read by nobody. */
	const char *ahead;
	float *scores;	  /* scratch, [rows][KVR_CPU_SCORE_STRIDE] */
	float *out;	  /* [group][rows][16] */
	float *max, *sum; /* [KVR_CPU_ROWS_STRIDE(rows)] */
};

/* Rows of queries as they are in memory. */
struct kvr_cpu_rows {
	const char *row[KVR_CPU_ROWS_MAX]; /* NULL: zeros */
	enum kvr_dtype dtype;
	size_t dim;
	float scale, rest; /* the factor is their sum, unrounded */
};

struct kvr_cpu_kernel {
	uint32_t rows; /* <= KVR_CPU_ROWS_MAX */
	void (*tile)(const struct kvr_cpu_tile *tile);

	/*
	 * -> q of a tile; `rows` rows. Writes up to KVR_CPU_Q_SLACK floats past
	 * the end.
	 */
	void (*pack_q)(const struct kvr_cpu_rows *rows, float *to);

	/* To f32; count: a multiple of 16. */
	void (*widen_bf16)(const uint16_t *from, float *out, size_t count);
	void (*widen_f16)(const uint16_t *from, float *out, size_t count);
	void (*widen_e4m3)(const uint8_t *from, float scale, float *out,
			   size_t count);

	/* K of a panel, its first `columns` rows -> V, in groups of 16. */
	void (*turn)(const float *keys, float *values, size_t columns);
};

extern const struct kvr_cpu_kernel kvr_cpu_kernel_portable;
extern const struct kvr_cpu_kernel kvr_cpu_kernel_avx2;
extern const struct kvr_cpu_kernel kvr_cpu_kernel_avx512;

#endif
