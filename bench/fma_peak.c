/* SPDX-License-Identifier: Apache-2.0 */
/* Compiled once per instruction set, with FMA_PEAK as the function's name. */
#include <stdlib.h>

#include "bench/fma_peak.h"
#include "compute/cpu/simd.h"

/* Enough chains to hide 4 or 5 cycles of latency on two units. */
#define CHAINS 12

static float random_factor(unsigned *seed)
{
	/* 0.5 .. 1.5, never 0: x * a + b neither dies nor overflows. */
	return 0.5f + (float)rand_r(seed) / (float)RAND_MAX * 0.49f;
}

double FMA_PEAK(size_t rounds, unsigned seed, float *sink)
{
	kvr_vf x[CHAINS], a, b, sum = {0};

	for (int i = 0; i < KVR_LANES; i++) {
		a[i] = random_factor(&seed);
		b[i] = random_factor(&seed);
		for (int j = 0; j < CHAINS; j++)
			x[j][i] = random_factor(&seed);
	}
	for (size_t n = 0; n < rounds; n++) {
#pragma GCC unroll 12
		for (int j = 0; j < CHAINS; j++)
			x[j] = x[j] * a + b;
	}
	for (int j = 0; j < CHAINS; j++)
		sum += x[j];
	*sink = kvr_sum(sum);
	return 2.0 * (double)rounds * CHAINS * KVR_LANES;
}
