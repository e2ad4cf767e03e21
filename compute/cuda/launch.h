/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernel launches that nvcc and a plain C++ compiler both accept: the second
 * has no <<<>>> and builds the same sources for the emulation of the tests,
 * which includes its own header before them.
 */
#ifndef KVR_COMPUTE_CUDA_LAUNCH_H
#define KVR_COMPUTE_CUDA_LAUNCH_H

#include <cuda_runtime.h>

#ifdef KVR_EMULATED_CUDA

/* A kernel's address, for cudaFuncSetAttribute and its like. */
template <typename... P> static inline const void *kvr_kernel(void (*k)(P...))
{
	return kvr_emu_register(k);
}

template <typename T> static inline T *kvr_shared()
{
	return static_cast<T *>(kvr_emulated_shared());
}

#else

template <typename... P> static inline const void *kvr_kernel(void (*k)(P...))
{
	return (const void *)k;
}

/* The block's dynamic shared memory, aligned to 16 bytes. */
template <typename T> static __device__ __forceinline__ T *kvr_shared()
{
	extern __shared__ __align__(16) unsigned char kvr_dynamic_shared[];

	return reinterpret_cast<T *>(kvr_dynamic_shared);
}

#endif

template <typename... P, typename... A>
static inline cudaError_t kvr_launch_config(void (*kernel)(P...),
					    const cudaLaunchConfig_t &config,
					    A... args)
{
	/* Converted to the parameters' own types, then by address. */
	return [&](P... converted) {
		void *at[] = {(void *)&converted..., nullptr};

		return cudaLaunchKernelExC(&config, kvr_kernel(kernel), at);
	}(static_cast<P>(args)...);
}

/*
 * Enqueues kernel<<<grid, block, shared_bytes, stream>>>(args...). Returns
 * what the launch returns; errors of the run come from later calls.
 */
template <typename... P, typename... A>
static inline cudaError_t kvr_launch(void (*kernel)(P...), dim3 grid,
				     dim3 block, size_t shared_bytes,
				     cudaStream_t stream, A... args)
{
	cudaLaunchConfig_t config = {};

	static_assert(sizeof...(P) == sizeof...(A),
		      "as many arguments as the kernel has parameters");
	config.gridDim = grid;
	config.blockDim = block;
	config.dynamicSmemBytes = shared_bytes;
	config.stream = stream;
	return kvr_launch_config(kernel, config, args...);
}

#endif
