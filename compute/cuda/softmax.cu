/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One row of scores a block: read once, into registers; written once, as
 * weights of the input type over the first half, or all, of the same bytes.
 *
 * Online softmax: Milakov, Gimelshein, 2018, arXiv 1805.02867.
 */
#include "compute/cuda/element.cuh"

#include <math.h>

#define WARP 32
#define WARPS (KVR_CUDA_THREADS / WARP)

/* Which of the tile's keys a row may see, from what it is. */
struct place {
	uint64_t sequence, position;
};

__device__ static struct place place_of(const struct kvr_cuda_tile &t,
					uint32_t token)
{
	uint32_t i = 0;

	while (i + 1 < t.q_count && token >= t.q[i].end)
		i++;
	return {t.q[i].sequence, t.q[i].start + (token - t.q[i].first)};
}

__device__ static bool sees(const struct kvr_cuda_tile &t,
			    const struct place &q, uint64_t key)
{
	return key <= q.position ? q.position - key <= t.left
				 : key - q.position <= t.right;
}

/* Not a key of the range list is a gap between two ranges of a block. */
__device__ static void hide(const struct kvr_cuda_tile &t,
			    const struct place &q, float x[KVR_CUDA_HELD])
{
	uint32_t i = 0;

	for (uint32_t n = 0; n < KVR_CUDA_HELD; n++) {
		uint32_t key = n * blockDim.x + threadIdx.x;

		while (i < t.kv_count && key >= t.kv[i].end)
			i++;
		if (i == t.kv_count || key < t.kv[i].first ||
		    t.kv[i].sequence != q.sequence ||
		    !sees(t, q, t.kv[i].start + (key - t.kv[i].first)))
			x[n] = -INFINITY;
	}
}

__device__ static float score(const struct kvr_cuda_tile &t, float s)
{
	s *= t.scale;
	return t.cap > 0 ? t.cap * tanhf(s) : s;
}

__device__ static void read(const struct kvr_cuda_tile &t, const float *from,
			    float x[KVR_CUDA_HELD])
{
	for (uint32_t n = 0; n < KVR_CUDA_HELD; n++) {
		uint32_t key = n * blockDim.x + threadIdx.x;

		x[n] = key < t.keys ? score(t, from[key]) : -INFINITY;
	}
}

/* Over the block; shared: WARPS floats that nobody else uses. */
__device__ static float largest(const float x[KVR_CUDA_HELD], float *shared)
{
	float m = x[0];

	for (uint32_t n = 1; n < KVR_CUDA_HELD; n++)
		m = fmaxf(m, x[n]);
	for (int i = WARP / 2; i > 0; i /= 2)
		m = fmaxf(m, __shfl_xor_sync(0xffffffff, m, i));
	if (threadIdx.x % WARP == 0)
		shared[threadIdx.x / WARP] = m;
	__syncthreads();
	for (unsigned i = 0; i < blockDim.x / WARP; i++)
		m = fmaxf(m, shared[i]);
	return m;
}

/* Likewise. In the same order whatever the block's: the bits are the same. */
__device__ static float total(float sum, float *shared)
{
	for (int i = WARP / 2; i > 0; i /= 2)
		sum += __shfl_xor_sync(0xffffffff, sum, i);
	if (threadIdx.x % WARP == 0)
		shared[threadIdx.x / WARP] = sum;
	__syncthreads();
	sum = 0;
	for (unsigned i = 0; i < blockDim.x / WARP; i++)
		sum += shared[i];
	return sum;
}

/* Weights in place; the sum is of what was rounded, as the values see it. */
template <class T>
__device__ static float weigh(const struct kvr_cuda_tile &t,
			      const float x[KVR_CUDA_HELD], float base, T *to)
{
	float sum = 0;

	for (uint32_t n = 0; n < KVR_CUDA_HELD; n++) {
		uint32_t key = n * blockDim.x + threadIdx.x;
		T p;

		kvr_round(exp2f(x[n] - base), &p);
		sum += kvr_widen(p);
		if (key < t.keys)
			to[key] = p;
	}
	return sum;
}

template <class T>
__global__ void __launch_bounds__(KVR_CUDA_THREADS)
	kvr_cuda_softmax_kernel(const struct kvr_cuda_tile t)
{
	float *shared = kvr_shared<float>();
	uint32_t row = blockIdx.x, head = blockIdx.y;
	float *scores =
		t.scores + head * t.scores_head + (size_t)row * t.scores_row;
	float *out = t.out + head * t.out_head + (size_t)row * t.out_row;
	float *max = t.max + head * t.sums_head + row;
	float *sum = t.sum + head * t.sums_head + row;
	float old_max = *max, old_sum = *sum;
	float x[KVR_CUDA_HELD], m, base, decay, added;

	read(t, scores, x);
	if (t.masked)
		hide(t, place_of(t, row / t.group), x);
	/* Its barrier stands also between all reads and the first write. */
	m = fmaxf(largest(x, shared), old_max);
	/* A row that has seen no key: -inf - -inf would be NaN. */
	base = m == -INFINITY ? 0 : m;
	decay = exp2f(old_max - base);
	added = total(weigh(t, x, base, (T *)scores), shared + WARPS);
	if (threadIdx.x == 0) {
		*max = m;
		*sum = old_sum * decay + added;
	}
	if (decay == 1)
		return;
	for (uint32_t i = threadIdx.x; i < t.out_row; i += blockDim.x)
		out[i] *= decay;
}

template <class T>
static cudaError_t launch(const struct kvr_cuda_tile *tile, cudaStream_t stream)
{
	/* Two keys a thread, until a block is full. */
	unsigned threads = kvr_threads((tile->keys + 1) / 2);

	return kvr_launch(kvr_cuda_softmax_kernel<T>,
			  dim3(tile->rows, tile->heads), dim3(threads),
			  2 * WARPS * sizeof(float), stream, *tile);
}

cudaError_t kvr_cuda_softmax(const struct kvr_cuda_tile *tile,
			     enum kvr_cuda_type type, cudaStream_t stream)
{
	switch (type) {
	case KVR_CUDA_BF16:
		return launch<__nv_bfloat16>(tile, stream);
	case KVR_CUDA_F16:
		return launch<__half>(tile, stream);
	default:
		return launch<float>(tile, stream);
	}
}
