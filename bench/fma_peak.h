/* SPDX-License-Identifier: Apache-2.0 */
/* What a processor can do at most: multiply-adds between registers alone. */
#ifndef KVR_BENCH_FMA_PEAK_H
#define KVR_BENCH_FMA_PEAK_H

#include <stddef.h>

/*
 * Runs `rounds` rounds on the calling thread, with operands from `seed`, in
 * the vectors of that instruction set. Returns the floating point operations
 * done, two for each multiply-add; *sink gets a value that depends on all.
 */
typedef double (*fma_peak_fn)(size_t rounds, unsigned seed, float *sink);

double fma_peak_portable(size_t rounds, unsigned seed, float *sink);
double fma_peak_avx2(size_t rounds, unsigned seed, float *sink);
double fma_peak_avx512(size_t rounds, unsigned seed, float *sink);

#endif
