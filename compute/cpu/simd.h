/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vectors that the kernel is written with: as wide as the instruction set
 * that the including file is compiled for. GCC and clang vector extensions;
 * intrinsics only where they do not find the instruction.
 */
#ifndef KVR_COMPUTE_SIMD_H
#define KVR_COMPUTE_SIMD_H

#include <stdint.h>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define KVR_LANES 16
#elif defined(__AVX2__)
#define KVR_LANES 8
#else
#define KVR_LANES 4
#endif

#define KVR_INLINE static inline __attribute__((always_inline))

typedef float kvr_vf __attribute__((vector_size(KVR_LANES * 4)));
typedef int32_t kvr_vi __attribute__((vector_size(KVR_LANES * 4)));
typedef uint32_t kvr_vu __attribute__((vector_size(KVR_LANES * 4)));
typedef uint16_t kvr_vh __attribute__((vector_size(KVR_LANES * 2)));
typedef uint8_t kvr_vb __attribute__((vector_size(KVR_LANES)));

/* The same in memory: a block is aligned to its elements only. */
typedef kvr_vf kvr_vf_memory __attribute__((aligned(4), may_alias));
typedef kvr_vh kvr_vh_memory __attribute__((aligned(2), may_alias));
typedef kvr_vb kvr_vb_memory __attribute__((aligned(1), may_alias));

KVR_INLINE kvr_vf kvr_load(const float *from)
{
	return *(const kvr_vf_memory *)from;
}

KVR_INLINE void kvr_store(float *to, kvr_vf value)
{
	*(kvr_vf_memory *)to = value;
}

/* x - 0 is x for every x; x + 0 is not: -0. */
KVR_INLINE kvr_vf kvr_broadcast(float value)
{
	return value - (kvr_vf){0};
}

/*
 * *to_x += *by * x and, if pair, *to_y += *by * y. Written out, because gcc
 * takes another register for the sum here and there, in loops that have none
 * to spare, and clears space for it by sending others to the stack.
 */
KVR_INLINE void kvr_add_scaled(const float *by, kvr_vf x, kvr_vf y,
			       const int pair, kvr_vf *to_x, kvr_vf *to_y)
{
#if defined(__AVX512F__)
	__asm__("vfmadd231ps %2%{1to16%}, %1, %0"
		: "+v"(*to_x)
		: "v"(x), "m"(*by));
	if (pair)
		__asm__("vfmadd231ps %2%{1to16%}, %1, %0"
			: "+v"(*to_y)
			: "v"(y), "m"(*by));
#elif defined(__AVX2__)
	kvr_vf scalar = kvr_broadcast(*by);

	__asm__("vfmadd231ps %2, %1, %0" : "+x"(*to_x) : "x"(x), "x"(scalar));
	if (pair)
		__asm__("vfmadd231ps %2, %1, %0"
			: "+x"(*to_y)
			: "x"(y), "x"(scalar));
#else
	kvr_vf scalar = kvr_broadcast(*by);

	*to_x += scalar * x;
	if (pair)
		*to_y += scalar * y;
#endif
}

/* The bits of bf16 are the upper half of those of f32. */
KVR_INLINE kvr_vf kvr_load_bf16(const uint16_t *from)
{
	kvr_vh half = *(const kvr_vh_memory *)from;

	return (kvr_vf)(__builtin_convertvector(half, kvr_vu) << 16);
}

/* See kvr_f16_to_f32; exact, and no F16C is asked for. */
KVR_INLINE kvr_vf kvr_load_f16(const uint16_t *from)
{
	const uint32_t bias = (uint32_t)112 << 23;
	kvr_vu bits =
		__builtin_convertvector(*(const kvr_vh_memory *)from, kvr_vu);
	kvr_vu size = (bits & 0x7fffu) << 13;
	kvr_vu tiny = (kvr_vu)(size < 0x00800000u);
	kvr_vu special = (kvr_vu)(size >= 0x0f800000u);
	kvr_vu normal = size + bias + (special & bias);
	kvr_vf small = (kvr_vf)(size + bias + 0x00800000u) - 0x1p-14f;

	return (kvr_vf)((tiny & (kvr_vu)small) | (~tiny & normal) |
			(bits & 0x8000u) << 16);
}

/* See kvr_e4m3_to_f32; exact. */
KVR_INLINE kvr_vf kvr_load_e4m3(const uint8_t *from)
{
	const uint32_t bias = (uint32_t)120 << 23;
	kvr_vu bits =
		__builtin_convertvector(*(const kvr_vb_memory *)from, kvr_vu);
	kvr_vu size = (bits & 0x7fu) << 20;
	kvr_vu tiny = (kvr_vu)(size < 0x00800000u);
	kvr_vu nan = (kvr_vu)(size == 0x07f00000u);
	kvr_vf small = (kvr_vf)(size + bias + 0x00800000u) - 0x1p-6f;

	return (kvr_vf)((tiny & (kvr_vu)small) | (~tiny & (size + bias)) |
			(nan & 0x7fc00000u) | (bits & 0x80u) << 24);
}

/* a > b ? a : b; a loop would go through memory. */
KVR_INLINE kvr_vf kvr_max(kvr_vf a, kvr_vf b)
{
#if defined(__AVX512F__)
	return (kvr_vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
	return (kvr_vf)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined(__SSE2__)
	return (kvr_vf)_mm_max_ps((__m128)a, (__m128)b);
#else
	kvr_vu more = (kvr_vu)(a > b);

	return (kvr_vf)((more & (kvr_vu)a) | (~more & (kvr_vu)b));
#endif
}

/* bits, and 0 where x < least; NaN is not, and keeps its own. */
KVR_INLINE kvr_vf kvr_unless_below(kvr_vu bits, kvr_vf x, kvr_vf least)
{
#if defined(__AVX512F__)
	/* One instruction with a mask, which neither compiler sees. */
	return (kvr_vf)_mm512_maskz_mov_epi32(
		_mm512_cmp_ps_mask((__m512)x, (__m512)least, _CMP_NLT_UQ),
		(__m512i)bits);
#else
	return (kvr_vf)(bits & ~(kvr_vu)(x < least));
#endif
}

/* 1.5 * 2^23: adding it rounds to an integer in the low bits. */
#define KVR_ROUND 12582912.0f

/* Below that much, 2^x is 0: the last powers before they get denormal. */
#define KVR_EXP2_LEAST (-125.0f)

/*
 * 2^(x - base) for x <= base, base an integer, round = KVR_ROUND - base and
 * least = KVR_EXP2_LEAST + base, all exact: |base| <= KVR_BASE_MOST. NaN for
 * NaN, 1 for base, 0 below least and for -inf. Error within 1.02 ulp, or 1.3
 * without fused multiply-add.
 *
 * x = n + f, |f| <= 1/2; 2^f by a polynomial of degree 6 whose error against
 * 2^f is 2.6e-9 at most (Remez, constant term fixed at 1 so that 2^0 is
 * exact); 2^(n - base) by adding that to the exponent: it is what the sum
 * with `round` has in its low bits, so that base costs nothing.
 */
#define KVR_BASE_MOST 0x1p21f

KVR_INLINE kvr_vf kvr_exp2_based(kvr_vf x, kvr_vf round, kvr_vf least)
{
	kvr_vf shifted = x + round;
	kvr_vf f = x - (shifted - round);
	kvr_vf p = f * 0x1.470b48p-13f + 0x1.5f7276p-10f;

	p = p * f + 0x1.3b270ep-7f;
	p = p * f + 0x1.c6ae72p-5f;
	p = p * f + 0x1.ebfbe2p-3f;
	p = p * f + 0x1.62e432p-1f;
	p = p * f + 1.0f;
	return kvr_unless_below((kvr_vu)p + ((kvr_vu)shifted << 23), x, least);
}

/* 2^x for x <= 0; the same otherwise. */
KVR_INLINE kvr_vf kvr_exp2(kvr_vf x)
{
	const kvr_vf zero = {0};

	return kvr_exp2_based(x, zero + KVR_ROUND, zero + KVR_EXP2_LEAST);
}

/* The next integer; x itself where that is none, or far beyond any. */
KVR_INLINE kvr_vf kvr_ceil(kvr_vf x)
{
	kvr_vf size = (kvr_vf)((kvr_vu)x & 0x7fffffffu);
	kvr_vf near = (x + KVR_ROUND) - KVR_ROUND;
	kvr_vu up = (kvr_vu)(near < x) & (kvr_vu)((kvr_vf){0} + 1.0f);
	kvr_vu small = (kvr_vu)(size < 0x1p22f);

	near += (kvr_vf)up;
	return (kvr_vf)((small & (kvr_vu)near) | (~small & (kvr_vu)x));
}

/*
 * NaN for NaN; -0 for -0. Error within 3 ulp.
 *
 * Below 9/16: x + x^3 p(x^2), p of degree 4 through Chebyshev's nodes, whose
 * error relative to tanh is 5.2e-9 at most. From there on (1 - e) / (1 + e)
 * with e = exp(-2 |x|) below 1/3: nothing cancels.
 */
KVR_INLINE kvr_vf kvr_tanh(kvr_vf x)
{
	kvr_vu sign = (kvr_vu)x & 0x80000000u;
	kvr_vf size = (kvr_vf)((kvr_vu)x & 0x7fffffffu);
	kvr_vf e = kvr_exp2(size * -0x1.715476p+1f);
	kvr_vf far = (1.0f - e) / (1.0f + e);
	kvr_vf z = size * size;
	kvr_vf p = z * -0x1.aba8fp-8f + 0x1.5c60f8p-6f;
	kvr_vu is_near = (kvr_vu)(size < 0.5625f);
	kvr_vf near;

	p = p * z + -0x1.b9902cp-5f;
	p = p * z + 0x1.110fb4p-3f;
	p = p * z + -0x1.555554p-2f;
	near = size * z * p + size;
	return (kvr_vf)((is_near & (kvr_vu)near) | (~is_near & (kvr_vu)far) |
			sign);
}

/*
 * Lanes of a and b in turn: the lower halves' in *low, the upper ones' in
 * *high. Each is one instruction; clang sees it in a loop, gcc does not.
 */
KVR_INLINE void kvr_zip(kvr_vf a, kvr_vf b, kvr_vf *low, kvr_vf *high)
{
#if defined(__clang__)
	kvr_vf x, y;

	for (int i = 0; i < KVR_LANES / 2; i++) {
		x[2 * i] = a[i];
		x[2 * i + 1] = b[i];
		y[2 * i] = a[i + KVR_LANES / 2];
		y[2 * i + 1] = b[i + KVR_LANES / 2];
	}
	*low = x;
	*high = y;
#else
	kvr_vi x = {0}, y = {0};

	for (int i = 0; i < KVR_LANES; i++) {
		x[i] = i / 2 + i % 2 * KVR_LANES;
		y[i] = x[i] + KVR_LANES / 2;
	}
	*low = __builtin_shuffle(a, b, x);
	*high = __builtin_shuffle(a, b, y);
#endif
}

/* The accumulators must live in registers: every loop over them unrolls. */
#if defined(__clang__)
#define KVR_UNROLL _Pragma("unroll")
#else
#define KVR_UNROLL _Pragma("GCC unroll 16")
#endif

/* Transposes as often as a deck is dealt into halves to be as it was. */
KVR_INLINE void kvr_transpose(kvr_vf row[KVR_LANES])
{
	kvr_vf old[KVR_LANES];

	KVR_UNROLL
	for (size_t n = 1; n < KVR_LANES; n *= 2) {
		KVR_UNROLL
		for (size_t i = 0; i < KVR_LANES; i++)
			old[i] = row[i];
		KVR_UNROLL
		for (size_t i = 0; i < KVR_LANES / 2; i++)
			kvr_zip(old[i], old[i + KVR_LANES / 2], &row[2 * i],
				&row[2 * i + 1]);
	}
}

/* Lanes in halves: a fixed order. */
KVR_INLINE float kvr_sum(kvr_vf v)
{
	for (int half = KVR_LANES / 2; half > 0; half /= 2)
		for (int i = 0; i < half; i++)
			v[i] += v[i + half];
	return v[0];
}

/*
 * Lane i: the largest lane of v[i], which are lost. Each round of zips halves
 * the vectors, as in a transposition, and keeps what is in a lane of one.
 */
KVR_INLINE kvr_vf kvr_largest_of_each(kvr_vf v[KVR_LANES])
{
	KVR_UNROLL
	for (int half = KVR_LANES / 2; half > 0; half /= 2) {
		KVR_UNROLL
		for (int i = 0; i < half; i++) {
			kvr_vf low, high;

			kvr_zip(v[i], v[i + half], &low, &high);
			v[i] = kvr_max(low, high);
		}
	}
	return v[0];
}

/* Lane i: the sum of the lanes of v[i], in a fixed order; likewise. */
KVR_INLINE kvr_vf kvr_sum_of_each(kvr_vf v[KVR_LANES])
{
	KVR_UNROLL
	for (int half = KVR_LANES / 2; half > 0; half /= 2) {
		KVR_UNROLL
		for (int i = 0; i < half; i++) {
			kvr_vf low, high;

			kvr_zip(v[i], v[i + half], &low, &high);
			v[i] = low + high;
		}
	}
	return v[0];
}

#endif
