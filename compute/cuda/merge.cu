/* SPDX-License-Identifier: Apache-2.0 */
/* Two partial results of disjoint keys made one: runtime/merge.c on a stream.
 */
#include "compute/cuda/element.cuh"

#include <math.h>

__device__ static double natural(const struct kvr_cuda_side &s, size_t token,
				 uint32_t head)
{
	double lse = (double)s.lse[head * s.lse_head + token];

	return s.log2 ? lse * M_LN2 : lse;
}

/* A side without weight counts for nothing, even where it holds NaN. */
__device__ static double weighted(const struct kvr_cuda_side &s, size_t at,
				  double weight)
{
	return weight == 0 ? 0 : weight * (double)kvr_get(s.type, s.out, at);
}

__device__ static size_t place(const struct kvr_cuda_side &s, size_t token,
			       uint32_t head)
{
	return token * s.token_stride + head * s.head_stride;
}

/* out may be one of the two: each lse is read by all before one writes it. */
__global__ void __launch_bounds__(KVR_CUDA_THREADS)
	kvr_cuda_merge_kernel(const struct kvr_cuda_merge m)
{
	size_t token = blockIdx.x;
	uint32_t head = blockIdx.y;
	double x = natural(m.a, token, head), y = natural(m.b, token, head);
	double max = x > y ? x : y;
	/* Neither saw a key: -inf - -inf would be NaN. */
	double base = max == -INFINITY ? 0 : max;
	double weight_a = exp(x - base), weight_b = exp(y - base);
	double sum = weight_a + weight_b;
	size_t a = place(m.a, token, head), b = place(m.b, token, head);
	size_t to = place(m.to, token, head);

	__syncthreads();
	for (uint32_t i = threadIdx.x; i < m.dim; i += blockDim.x) {
		double value = weighted(m.a, a + i, weight_a) +
			       weighted(m.b, b + i, weight_b);

		kvr_set(m.to.type, m.to.out, to + i,
			sum == 0 ? 0 : (float)(value / sum));
	}
	if (threadIdx.x == 0) {
		double lse = base + log(sum);

		m.to.lse[head * m.to.lse_head + token] =
			(float)(m.to.log2 ? lse / M_LN2 : lse);
	}
}

cudaError_t kvr_cuda_merge_rows(const struct kvr_cuda_merge *merge,
				cudaStream_t stream)
{
	return kvr_launch(kvr_cuda_merge_kernel,
			  dim3((unsigned)merge->tokens, merge->heads),
			  dim3(kvr_threads(merge->dim)), 0, stream, *merge);
}
