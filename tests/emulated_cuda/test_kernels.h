/* SPDX-License-Identifier: Apache-2.0 */
/* Launches of the kernels of test_kernels.cu; each returns a cudaError_t. */
#ifndef KVR_TESTS_EMULATED_CUDA_TEST_KERNELS_H
#define KVR_TESTS_EMULATED_CUDA_TEST_KERNELS_H

#include <cuda_runtime_api.h>
#include <stddef.h>

#define LANES_WORDS 10

#ifdef __cplusplus
extern "C" {
#endif

/* The threads' numbers, in the order in which they ran. */
int run_note_order(unsigned *list, unsigned *count, unsigned blocks,
		   unsigned threads, cudaStream_t stream);
/* What each operation of a warp gave each thread. */
int run_lanes(unsigned *out, unsigned threads, cudaStream_t stream);
/* out = transposed in + 1.5, of 16 y rows of 16 x */
int run_transpose(const float *in, float *out, unsigned x, unsigned y,
		  cudaStream_t stream);
/* What is in dynamic shared memory when a block begins. */
int run_first_of_shared(float *out, unsigned blocks, size_t bytes,
			cudaStream_t stream);
int allow_first_of_shared(int bytes);
int run_add_one(float *list, unsigned threads, cudaStream_t stream);
int run_halves(float *out, cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
