/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels of the emulation's own tests, for tests in C. */
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "compute/cuda/launch.h"
#include "tests/emulated_cuda/test_kernels.h"

#define TILE 16

struct pair { /* larger than a register, by value */
	double a;
	char b;
};

__global__ void note_order(unsigned *list, unsigned *count)
{
	unsigned at = atomicAdd(count, 1u);

	list[at] = blockIdx.x * blockDim.x + threadIdx.x;
}

__global__ void lanes(unsigned *out)
{
	unsigned lane = threadIdx.x % 32, all = 0xffffffffu;
	unsigned *mine = out + threadIdx.x * LANES_WORDS;

	mine[0] = __shfl_sync(all, lane, 3, 8);
	mine[1] = __shfl_xor_sync(all, lane, 16);
	mine[2] = __shfl_down_sync(all, lane, 4, 16);
	mine[3] = __shfl_up_sync(all, lane, 4);
	mine[4] = __ballot_sync(all, lane % 3 == 0);
	mine[5] = (unsigned)__any_sync(all, lane == 31);
	mine[6] = (unsigned)__all_sync(all, lane < 31);
	mine[7] = __reduce_max_sync(all, lane ^ 5u);
	mine[8] = (unsigned)__syncthreads_count(lane < 10);
	mine[9] = 0;
	if (lane < 16) /* half a warp by itself, then the other */
		mine[9] = __reduce_add_sync(0x0000ffffu, lane);
	else
		mine[9] = __reduce_add_sync(0xffff0000u, lane);
}

__global__ void transpose(const float *in, float *out, pair add)
{
	__shared__ float tile[TILE][TILE + 1];
	float *copy = kvr_shared<float>();
	int x = blockIdx.x * TILE + threadIdx.x;
	int y = blockIdx.y * TILE + threadIdx.y;
	int width = gridDim.x * TILE, height = gridDim.y * TILE;

	tile[threadIdx.y][threadIdx.x] = in[y * width + x];
	__syncthreads();
	copy[threadIdx.x * TILE + threadIdx.y] = tile[threadIdx.y][threadIdx.x];
	__syncthreads();
	x = blockIdx.y * TILE + threadIdx.x;
	y = blockIdx.x * TILE + threadIdx.y;
	out[y * height + x] = copy[threadIdx.y * TILE + threadIdx.x] +
			      (float)add.a + (float)add.b;
}

__global__ void first_of_shared(float *out)
{
	out[blockIdx.x] = kvr_shared<float>()[threadIdx.x];
	kvr_shared<float>()[threadIdx.x] = 1;
}

__global__ void add_one(float *list)
{
	list[threadIdx.x] += 1;
}

__global__ void halves(float *out)
{
	out[0] = __bfloat162float(__float2bfloat16(1.00390625f));
	out[1] = __half2float(__float2half(1.0f / 3));
	out[2] = __expf(1.0f);
}

int run_note_order(unsigned *list, unsigned *count, unsigned blocks,
		   unsigned threads, cudaStream_t stream)
{
	return kvr_launch(note_order, blocks, threads, 0, stream, list, count);
}

int run_lanes(unsigned *out, unsigned threads, cudaStream_t stream)
{
	return kvr_launch(lanes, 1, threads, 0, stream, out);
}

int run_transpose(const float *in, float *out, unsigned x, unsigned y,
		  cudaStream_t stream)
{
	return kvr_launch(transpose, dim3(x, y), dim3(TILE, TILE),
			  TILE * TILE * sizeof(float), stream, in, out,
			  pair{0.5, 1});
}

int run_first_of_shared(float *out, unsigned blocks, size_t bytes,
			cudaStream_t stream)
{
	return kvr_launch(first_of_shared, blocks, 1, bytes, stream, out);
}

int allow_first_of_shared(int bytes)
{
	return cudaFuncSetAttribute(kvr_kernel(first_of_shared),
				    cudaFuncAttributeMaxDynamicSharedMemorySize,
				    bytes);
}

int run_add_one(float *list, unsigned threads, cudaStream_t stream)
{
	return kvr_launch(add_one, 1, threads, 0, stream, list);
}

int run_halves(float *out, cudaStream_t stream)
{
	return kvr_launch(halves, 1, 1, 0, stream, out);
}
