/* SPDX-License-Identifier: Apache-2.0 */
/* What code compiled from .cu files calls of the emulation; C and C++. */
#ifndef KVR_TESTS_EMULATED_CUDA_DEVICE_ABI_H
#define KVR_TESTS_EMULATED_CUDA_DEVICE_ABI_H

#include <stddef.h>
#include <stdint.h>
#include <vector_types.h>

#ifdef __cplusplus
extern "C" {
extern __thread uint3 threadIdx, blockIdx, blockDim, gridDim;
#else
extern _Thread_local uint3 threadIdx, blockIdx, blockDim, gridDim;
#endif

/* How a kernel is called with the array of pointers of cudaLaunchKernel. */
void kvr_emulated_kernel(const void *function,
			 void (*invoke)(const void *function, void **args),
			 const size_t *sizes, const size_t *aligns,
			 size_t count);

void kvr_emulated_barrier(const char *file, int line);
int kvr_emulated_barrier_count(int predicate, const char *file, int line);
/*
 * Lanes of a mask exchange values; the result holds until their next meeting.
 * Only ordered ones order memory.
 */
const uint64_t *kvr_emulated_meet(uint32_t mask, uint64_t value, int ordered,
				  const char *file, int line);
void *kvr_emulated_shared(void);    /* dynamic, of the block */
unsigned kvr_emulated_thread(void); /* linear, of the block */

#ifdef __cplusplus
}
#endif

#endif
