/* SPDX-License-Identifier: Apache-2.0 */
/* Rows into the layouts that the products want, and results out of them. */
#include "compute/cuda/element.cuh"

#include <math.h>

/* Blocks along x have 2^31 - 1 places; all others 65535. */

template <class T>
__global__ void __launch_bounds__(KVR_CUDA_THREADS)
	kvr_cuda_pack_q_kernel(const struct kvr_cuda_rows r)
{
	uint32_t row = blockIdx.x, head = blockIdx.y;
	const T *from = (const T *)r.from + row / r.group * r.token_stride +
			(head * r.group + row % r.group) * r.head_stride;
	T *to = (T *)r.to + head * r.to_head + (size_t)row * r.padded;

	for (uint32_t i = threadIdx.x; i < r.padded; i += blockDim.x)
		to[i] = i < r.dim ? from[i] : T(0);
}

cudaError_t kvr_cuda_pack_q(const struct kvr_cuda_rows *rows,
			    cudaStream_t stream)
{
	dim3 grid(rows->rows, rows->heads), block(kvr_threads(rows->padded));

	/* Bits alone are moved. */
	return rows->bytes == 2 ? kvr_launch(kvr_cuda_pack_q_kernel<uint16_t>,
					     grid, block, 0, stream, *rows)
				: kvr_launch(kvr_cuda_pack_q_kernel<uint32_t>,
					     grid, block, 0, stream, *rows);
}

template <class T>
__device__ static void copy(const void *tensor, size_t at, bool there,
			    uint32_t dim, uint32_t padded, T *to)
{
	const T *from = (const T *)tensor + at;

	for (uint32_t i = threadIdx.x; i < padded; i += blockDim.x)
		to[i] = there && i < dim ? from[i] : T(0);
}

template <class T>
__global__ void __launch_bounds__(KVR_CUDA_THREADS)
	kvr_cuda_pack_kv_kernel(const struct kvr_cuda_pack p)
{
	size_t row = p.piece[0].first + blockIdx.x;
	uint32_t head = blockIdx.y, width = p.k_padded + p.v_padded;
	T *to = (T *)p.block + (row * p.heads + head) * width;
	uint32_t i = 0;
	size_t skip, token;
	bool there;

	while (row >= p.piece[i].end)
		i++;
	skip = row - p.piece[i].first;
	token = p.piece[i].token + skip;
	there = skip < p.piece[i].tokens;
	copy(p.k, token * p.k_token + head * p.k_head, there, p.k_dim,
	     p.k_padded, to);
	if (p.v)
		copy(p.v, token * p.v_token + head * p.v_head, there, p.v_dim,
		     p.v_padded, to + p.k_padded);
}

cudaError_t kvr_cuda_pack_kv(const struct kvr_cuda_pack *pack,
			     cudaStream_t stream)
{
	size_t rows = pack->piece[pack->count - 1].end - pack->piece[0].first;
	dim3 grid((unsigned)rows, pack->heads),
		block(kvr_threads(pack->k_padded));

	return pack->bytes == 2 ? kvr_launch(kvr_cuda_pack_kv_kernel<uint16_t>,
					     grid, block, 0, stream, *pack)
				: kvr_launch(kvr_cuda_pack_kv_kernel<uint32_t>,
					     grid, block, 0, stream, *pack);
}

__global__ void __launch_bounds__(KVR_CUDA_THREADS)
	kvr_cuda_clear_kernel(const struct kvr_cuda_partials p)
{
	size_t row = blockIdx.x, head = blockIdx.y;
	float *out = p.out + head * p.out_head + row * p.out_row;

	for (uint32_t i = threadIdx.x; i < p.out_row; i += blockDim.x)
		out[i] = 0;
	if (threadIdx.x == 0) {
		p.max[head * p.sums_head + row] = -INFINITY;
		p.sum[head * p.sums_head + row] = 0;
	}
}

cudaError_t kvr_cuda_clear(const struct kvr_cuda_partials *partials,
			   cudaStream_t stream)
{
	return kvr_launch(kvr_cuda_clear_kernel,
			  dim3((unsigned)partials->rows, partials->heads),
			  dim3(kvr_threads(partials->out_row)), 0, stream,
			  *partials);
}

/*
 * What divides a row. The sink is counted here, once a run whatever the ring,
 * and in double: a float may not hold exp(sink - max).
 */
__device__ static float divisor(double max, float sum, double sink)
{
	if (sum == 0 || sink == -INFINITY)
		return sum;
	return (float)((double)sum + exp(sink - max));
}

__device__ static double log_sum_exp(double max, double sum, double sink)
{
	if (sum == 0)
		return sink;
	if (sink > max)
		return sink + log1p(sum * exp(max - sink));
	return max + log(sink == -INFINITY ? sum : sum + exp(sink - max));
}

__global__ void __launch_bounds__(KVR_CUDA_THREADS)
	kvr_cuda_normalise_kernel(const struct kvr_cuda_finish f)
{
	const struct kvr_cuda_partials *p = &f.partials;
	size_t row = blockIdx.x, kv_head = blockIdx.y;
	size_t token = row / p->group;
	size_t head = kv_head * p->group + row % p->group;
	size_t sums = kv_head * p->sums_head + row;
	const float *from = p->out + kv_head * p->out_head + row * p->out_row;
	size_t at = token * f.token_stride + head * f.head_stride;
	double sink = f.sinks ? (double)f.sinks[head] : -INFINITY;
	double max = (double)p->max[sums] * M_LN2;
	float sum = divisor(max, p->sum[sums], sink);

	/* A row that saw no key: 0, not 0 / 0. */
	for (uint32_t i = threadIdx.x; i < f.dim; i += blockDim.x)
		kvr_set(f.type, f.out, at + i, sum == 0 ? 0 : from[i] / sum);
	if (threadIdx.x == 0 && f.lse)
		f.lse[head * f.lse_head + token] =
			(float)log_sum_exp(max, (double)p->sum[sums], sink);
}

cudaError_t kvr_cuda_normalise(const struct kvr_cuda_finish *finish,
			       cudaStream_t stream)
{
	return kvr_launch(
		kvr_cuda_normalise_kernel,
		dim3((unsigned)finish->partials.rows, finish->partials.heads),
		dim3(kvr_threads(finish->dim)), 0, stream, *finish);
}
