/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/emulated_cuda/stream/kernels.h"

#include "compute/cuda/launch.h"

#define THREADS 32

static __device__ uint8_t stamp(uint32_t rank, uint32_t pass, uint32_t offset)
{
	return (uint8_t)(rank * 31 + pass * 17 + offset * 7 + (offset >> 8));
}

static __global__ void __launch_bounds__(THREADS)
	fill(uint8_t *local, uint32_t rank, struct stamped_counts *counts)
{
	const uint32_t pass = counts->pass + 1;

	for (uint32_t i = threadIdx.x; i < STAMPED_BYTES; i += THREADS)
		local[i] = stamp(rank, pass, i);
	__syncthreads();
	if (threadIdx.x == 0)
		counts->pass = pass;
}

static __global__ void __launch_bounds__(THREADS)
	compare(const uint8_t *block, uint32_t origin,
		struct stamped_counts *counts)
{
	int wrong = 0;

	for (uint32_t i = threadIdx.x; i < STAMPED_BYTES; i += THREADS)
		wrong |= block[i] != stamp(origin, counts->pass, i);
	wrong = __syncthreads_or(wrong);
	if (threadIdx.x == 0)
		++*(wrong ? &counts->wrong : &counts->right);
}

extern "C" cudaError_t stamped_fill(uint8_t *local, uint32_t rank,
				    struct stamped_counts *counts,
				    cudaStream_t stream)
{
	return kvr_launch(fill, 1, THREADS, 0, stream, local, rank, counts);
}

extern "C" cudaError_t stamped_compare(const uint8_t *block, uint32_t origin,
				       struct stamped_counts *counts,
				       cudaStream_t stream)
{
	return kvr_launch(compare, 1, THREADS, 0, stream, block, origin,
			  counts);
}
