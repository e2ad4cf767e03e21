/* SPDX-License-Identifier: Apache-2.0 */
/* Elements of tensors, as kernels read and write them. */
#ifndef KVR_COMPUTE_CUDA_ELEMENT_CUH
#define KVR_COMPUTE_CUDA_ELEMENT_CUH

#include "compute/cuda/kernels.h"
#include "compute/cuda/launch.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

/* Whole warps for so many elements, no more than a block has. */
static inline unsigned kvr_threads(size_t elements)
{
	size_t threads = (elements + 31) / 32 * 32;

	if (threads > KVR_CUDA_THREADS)
		return KVR_CUDA_THREADS;
	return threads ? (unsigned)threads : 32;
}

__device__ inline float kvr_widen(float x)
{
	return x;
}

__device__ inline float kvr_widen(__nv_bfloat16 x)
{
	return __bfloat162float(x);
}

__device__ inline float kvr_widen(__half x)
{
	return __half2float(x);
}

/* All round to nearest, ties to even. */
__device__ inline void kvr_round(float x, float *to)
{
	*to = x;
}

__device__ inline void kvr_round(float x, __nv_bfloat16 *to)
{
	*to = __float2bfloat16_rn(x);
}

__device__ inline void kvr_round(float x, __half *to)
{
	*to = __float2half_rn(x);
}

__device__ inline float kvr_get(enum kvr_cuda_type type, const void *data,
				size_t at)
{
	if (type == KVR_CUDA_BF16)
		return kvr_widen(((const __nv_bfloat16 *)data)[at]);
	if (type == KVR_CUDA_F16)
		return kvr_widen(((const __half *)data)[at]);
	return ((const float *)data)[at];
}

__device__ inline void kvr_set(enum kvr_cuda_type type, void *data, size_t at,
			       float value)
{
	if (type == KVR_CUDA_BF16)
		kvr_round(value, (__nv_bfloat16 *)data + at);
	else if (type == KVR_CUDA_F16)
		kvr_round(value, (__half *)data + at);
	else
		((float *)data)[at] = value;
}

#endif
