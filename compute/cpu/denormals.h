/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers below 2^-126, which processors take a hundred times as long for: a
 * thread's choice to count them as 0, in operands and results. Weights of keys
 * that matter no more come out as such where scores are far apart.
 */
#ifndef KVR_COMPUTE_DENORMALS_H
#define KVR_COMPUTE_DENORMALS_H

#include <stdint.h>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

/* Of the calling thread, from now on; returns what to restore. */
static inline uint64_t kvr_denormals_drop(void)
{
#if defined(__SSE2__)
	const unsigned int flush_to_zero = 1u << 15, are_zero = 1u << 6;
	unsigned int before = _mm_getcsr();

	_mm_setcsr(before | flush_to_zero | are_zero);
	return before;
#elif defined(__aarch64__)
	const uint64_t flush_to_zero = (uint64_t)1 << 24;
	uint64_t before;

	__asm__ volatile("mrs %0, fpcr" : "=r"(before));
	__asm__ volatile("msr fpcr, %0" : : "r"(before | flush_to_zero));
	return before;
#else
	return 0;
#endif
}

static inline void kvr_denormals_restore(uint64_t before)
{
#if defined(__SSE2__)
	_mm_setcsr((unsigned int)before);
#elif defined(__aarch64__)
	__asm__ volatile("msr fpcr, %0" : : "r"(before));
#else
	(void)before;
#endif
}

#endif
