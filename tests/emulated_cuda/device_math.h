/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arithmetic and atomics of device code. The fast functions are exact here:
 * their rounding on a GPU is not what the emulation shows.
 */
#ifndef KVR_TESTS_EMULATED_CUDA_DEVICE_MATH_H
#define KVR_TESTS_EMULATED_CUDA_DEVICE_MATH_H

/* glibc declares functions of some of these names. */
#define __expf(x) expf(x)
#define __exp10f(x) powf(10.0f, (x))
#define __logf(x) logf(x)
#define __log2f(x) log2f(x)
#define __log10f(x) log10f(x)
#define __powf(x, y) powf((x), (y))
#define __sinf(x) sinf(x)
#define __cosf(x) cosf(x)

static inline float __fdividef(float a, float b)
{
	return a / b;
}

static inline float __frcp_rn(float a)
{
	return 1.0f / a;
}

static inline float __fmaf_rn(float a, float b, float c)
{
	return fmaf(a, b, c);
}

static inline float __fmul_rn(float a, float b)
{
	return a * b;
}

static inline float __fadd_rn(float a, float b)
{
	return a + b;
}

static inline float __fsub_rn(float a, float b)
{
	return a - b;
}

static inline float __fdiv_rn(float a, float b)
{
	return a / b;
}

static inline float __fsqrt_rn(float a)
{
	return sqrtf(a);
}

static inline float __saturatef(float a)
{
	return a > 0.0f ? (a < 1.0f ? a : 1.0f) : 0.0f; /* NaN: 0 */
}

#ifndef KVR_EMULATED_CUDA_NO_RSQRT
static inline float rsqrtf(float a)
{
	return 1.0f / sqrtf(a);
}
#endif

static inline unsigned __float_as_uint(float a)
{
	unsigned bits;

	memcpy(&bits, &a, sizeof(bits));
	return bits;
}

static inline int __float_as_int(float a)
{
	return (int)__float_as_uint(a);
}

static inline float __uint_as_float(unsigned bits)
{
	float a;

	memcpy(&a, &bits, sizeof(a));
	return a;
}

static inline float __int_as_float(int bits)
{
	return __uint_as_float((unsigned)bits);
}

static inline int __popc(unsigned a)
{
	return __builtin_popcount(a);
}

static inline int __popcll(unsigned long long a)
{
	return __builtin_popcountll(a);
}

static inline int __clz(int a)
{
	return a ? __builtin_clz((unsigned)a) : 32;
}

static inline int __ffs(int a)
{
	return __builtin_ffs(a);
}

static inline int __float2int_rn(float a)
{
	return (int)rintf(a);
}

static inline float __int2float_rn(int a)
{
	return (float)a;
}

#define KVR_EMU_MIN_MAX(type)                                                  \
	static inline type min(type a, type b)                                 \
	{                                                                      \
		return a < b ? a : b;                                          \
	}                                                                      \
	static inline type max(type a, type b)                                 \
	{                                                                      \
		return a > b ? a : b;                                          \
	}
KVR_EMU_MIN_MAX(int)
KVR_EMU_MIN_MAX(unsigned)
KVR_EMU_MIN_MAX(long)
KVR_EMU_MIN_MAX(unsigned long)
KVR_EMU_MIN_MAX(long long)
KVR_EMU_MIN_MAX(unsigned long long)
#undef KVR_EMU_MIN_MAX

static inline float min(float a, float b)
{
	return fminf(a, b);
}

static inline float max(float a, float b)
{
	return fmaxf(a, b);
}

/* Loads and stores with a hint */

template <typename T> static inline T __ldg(const T *at)
{
	return *at;
}

template <typename T> static inline T __ldcs(const T *at)
{
	return *at;
}

template <typename T> static inline T __ldcg(const T *at)
{
	return *at;
}

template <typename T> static inline void __stcs(T *at, T value)
{
	*at = value;
}

template <typename T> static inline void __stcg(T *at, T value)
{
	*at = value;
}

/*
 * Atomics: relaxed, as on the device, so that they order nothing for the
 * thread sanitizer.
 */
template <typename T, typename Next>
static inline T kvr_emu_atomic(T *at, Next next)
{
	T old, wanted;

	__atomic_load(at, &old, __ATOMIC_RELAXED);
	do
		wanted = next(old);
	while (!__atomic_compare_exchange(at, &old, &wanted, false,
					  __ATOMIC_RELAXED, __ATOMIC_RELAXED));
	return old;
}

#define KVR_EMU_ATOMIC(name, expression)                                       \
	template <typename T, typename V> static inline T name(T *at, V given) \
	{                                                                      \
		T value = (T)given;                                            \
		return kvr_emu_atomic(                                         \
			at, [value](T old) -> T { return expression; });       \
	}
KVR_EMU_ATOMIC(atomicAdd, old + value)
KVR_EMU_ATOMIC(atomicSub, old - value)
KVR_EMU_ATOMIC(atomicMin, old < value ? old : value)
KVR_EMU_ATOMIC(atomicMax, old > value ? old : value)
KVR_EMU_ATOMIC(atomicAnd, old &value)
KVR_EMU_ATOMIC(atomicOr, old | value)
KVR_EMU_ATOMIC(atomicXor, old ^ value)
KVR_EMU_ATOMIC(atomicExch, ((void)old, value))
KVR_EMU_ATOMIC(atomicInc, old >= value ? 0 : old + 1)
#undef KVR_EMU_ATOMIC

template <typename T> static inline T atomicCAS(T *at, T expected, T wanted)
{
	return kvr_emu_atomic(at, [expected, wanted](T old) -> T {
		return old == expected ? wanted : old;
	});
}

#endif
