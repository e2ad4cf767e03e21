/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Included before every .cu file that g++ compiles for the emulation: what
 * nvcc has built in, and NVIDIA's own headers leave out for another compiler.
 */
#ifndef KVR_TESTS_EMULATED_CUDA_DEVICE_H
#define KVR_TESTS_EMULATED_CUDA_DEVICE_H

#define KVR_EMULATED_CUDA 1

#include <cmath>
#include <cstdint>
#include <cstring>
#include <cuda_runtime.h>
#include <utility>

#include "tests/emulated_cuda/device_abi.h"

/* One block runs at a time: see grid.c. */
#undef __shared__
#define __shared__ static
#undef __launch_bounds__
#define __launch_bounds__(...)
#undef __constant__
#define __constant__
#undef __grid_constant__
#define __grid_constant__

#define KVR_EMU_HERE                                                           \
	const char *file = __builtin_FILE(), int line = __builtin_LINE()

static constexpr int warpSize = 32;

static inline void __syncthreads(KVR_EMU_HERE)
{
	kvr_emulated_barrier(file, line);
}

static inline int __syncthreads_count(int predicate, KVR_EMU_HERE)
{
	return kvr_emulated_barrier_count(predicate, file, line);
}

static inline int __syncthreads_or(int predicate, KVR_EMU_HERE)
{
	return kvr_emulated_barrier_count(predicate, file, line) != 0;
}

static inline int __syncthreads_and(int predicate, KVR_EMU_HERE)
{
	return kvr_emulated_barrier_count(!predicate, file, line) == 0;
}

static inline void __syncwarp(unsigned mask = 0xffffffffu, KVR_EMU_HERE)
{
	kvr_emulated_meet(mask, 0, 1, file, line);
}

/* Emulated threads of a block never run at the same time. */
static inline void __threadfence_block()
{
}

static inline void __threadfence()
{
}

static inline void __threadfence_system()
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* Lanes of a warp */

static inline unsigned kvr_emu_lane()
{
	return kvr_emulated_thread() % 32;
}

template <typename T> static inline uint64_t kvr_emu_bits(T value)
{
	uint64_t bits = 0;

	static_assert(sizeof(T) <= sizeof(bits), "more than 8 bytes");
	memcpy(&bits, &value, sizeof(value));
	return bits;
}

template <typename T> static inline T kvr_emu_value(uint64_t bits)
{
	T value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

/* From a lane of the mask; outside its segment of width a lane keeps its. */
template <typename T>
static inline T kvr_emu_shuffle(unsigned mask, T value, int source,
				const char *file, int line)
{
	const uint64_t *all =
		kvr_emulated_meet(mask, kvr_emu_bits(value), 0, file, line);

	return kvr_emu_value<T>(all[source & 31]);
}

template <typename T>
static inline T __shfl_sync(unsigned mask, T value, int source, int width = 32,
			    KVR_EMU_HERE)
{
	int base = (int)kvr_emu_lane() & ~(width - 1);

	return kvr_emu_shuffle(mask, value, base | (source & (width - 1)), file,
			       line);
}

template <typename T>
static inline T __shfl_xor_sync(unsigned mask, T value, int with,
				int width = 32, KVR_EMU_HERE)
{
	int lane = (int)kvr_emu_lane(), source = lane ^ with;

	if (source > (lane | (width - 1)))
		source = lane;
	return kvr_emu_shuffle(mask, value, source, file, line);
}

template <typename T>
static inline T __shfl_down_sync(unsigned mask, T value, unsigned by,
				 int width = 32, KVR_EMU_HERE)
{
	int lane = (int)kvr_emu_lane(), source = lane + (int)by;

	if (source > (lane | (width - 1)))
		source = lane;
	return kvr_emu_shuffle(mask, value, source, file, line);
}

template <typename T>
static inline T __shfl_up_sync(unsigned mask, T value, unsigned by,
			       int width = 32, KVR_EMU_HERE)
{
	int lane = (int)kvr_emu_lane(), source = lane - (int)by;

	if (source < (lane & ~(width - 1)))
		source = lane;
	return kvr_emu_shuffle(mask, value, source, file, line);
}

static inline unsigned __ballot_sync(unsigned mask, int predicate, KVR_EMU_HERE)
{
	const uint64_t *all =
		kvr_emulated_meet(mask, predicate != 0, 0, file, line);
	unsigned ballot = 0;

	for (int lane = 0; lane < 32; lane++)
		if (mask >> lane & 1 && all[lane])
			ballot |= 1u << lane;
	return ballot;
}

static inline int __any_sync(unsigned mask, int predicate, KVR_EMU_HERE)
{
	return __ballot_sync(mask, predicate, file, line) != 0;
}

static inline int __all_sync(unsigned mask, int predicate, KVR_EMU_HERE)
{
	return __ballot_sync(mask, !predicate, file, line) == 0;
}

template <typename T, typename Join>
static inline T kvr_emu_reduce(unsigned mask, T value, Join join,
			       const char *file, int line)
{
	const uint64_t *all =
		kvr_emulated_meet(mask, kvr_emu_bits(value), 0, file, line);
	bool first = true;

	for (int lane = 0; lane < 32; lane++) {
		if (!(mask >> lane & 1))
			continue;
		T other = kvr_emu_value<T>(all[lane]);

		value = first ? other : join(value, other);
		first = false;
	}
	return value;
}

#define KVR_EMU_REDUCE(name, type, expression)                                 \
	static inline type name(unsigned mask, type value, KVR_EMU_HERE)       \
	{                                                                      \
		return kvr_emu_reduce(                                         \
			mask, value,                                           \
			[](type a, type b) -> type { return expression; },     \
			file, line);                                           \
	}
KVR_EMU_REDUCE(__reduce_add_sync, unsigned, a + b)
KVR_EMU_REDUCE(__reduce_add_sync, int, a + b)
KVR_EMU_REDUCE(__reduce_min_sync, unsigned, a < b ? a : b)
KVR_EMU_REDUCE(__reduce_min_sync, int, a < b ? a : b)
KVR_EMU_REDUCE(__reduce_max_sync, unsigned, a > b ? a : b)
KVR_EMU_REDUCE(__reduce_max_sync, int, a > b ? a : b)
KVR_EMU_REDUCE(__reduce_and_sync, unsigned, a &b)
KVR_EMU_REDUCE(__reduce_or_sync, unsigned, a | b)
KVR_EMU_REDUCE(__reduce_xor_sync, unsigned, a ^ b)
#undef KVR_EMU_REDUCE

#include "tests/emulated_cuda/device_math.h"

/* Launches */

template <typename... P, std::size_t... I>
static inline void kvr_emu_call(void (*kernel)(P...), void **args,
				std::index_sequence<I...>)
{
	(void)args;
	kernel(*static_cast<std::remove_reference_t<P> *>(args[I])...);
}

template <typename... P>
static inline void kvr_emu_invoke(const void *function, void **args)
{
	kvr_emu_call((void (*)(P...))function, args,
		     std::index_sequence_for<P...>{});
}

/* Before anything else is asked of a kernel by its address. */
template <typename... P>
static inline const void *kvr_emu_register(void (*kernel)(P...))
{
	static const std::size_t sizes[] = {sizeof(P)..., 0};
	static const std::size_t aligns[] = {alignof(P)..., 0};

	kvr_emulated_kernel((const void *)kernel, kvr_emu_invoke<P...>, sizes,
			    aligns, sizeof...(P));
	return (const void *)kernel;
}

/* Before NVIDIA's own for any type: what examples call. */
template <typename... P>
static inline cudaError_t cudaLaunchKernel(void (*kernel)(P...), dim3 grid,
					   dim3 block, void **args,
					   size_t shared, cudaStream_t stream)
{
	return ::cudaLaunchKernel(kvr_emu_register(kernel), grid, block, args,
				  shared, stream);
}

#endif
