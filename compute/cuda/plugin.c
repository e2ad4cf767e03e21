/* SPDX-License-Identifier: Apache-2.0 */
/* libkvring_cuda.so: the table behind the accelerator seam. */
#include <stdio.h>

#include "compute/cuda/attention.h"
#include "compute/cuda/device.h"
#include "compute/cuda/driver.h"
#include "compute/cuda/error.h"
#include "compute/cuda/memory.h"
#include "compute/cuda/stream.h"

static enum kvr_status probe(char *reason, size_t bytes)
{
	int driver = 0, count = 0;
	const char *missing;
	cudaError_t error;

	(void)cudaDriverGetVersion(&driver);
	error = cudaGetDeviceCount(&count);
	if (error == cudaSuccess && count == 0)
		error = cudaErrorNoDevice;
	if (error != cudaSuccess)
		return kvr_cuda_not_started(error, driver, reason, bytes);
	error = kvr_cuda_driver_load(&missing);
	if (error != cudaSuccess)
		return kvr_cuda_failed(missing, error, reason, bytes);
	snprintf(reason, bytes,
		 "%d GPU%s, driver for CUDA %d.%d, runtime %d.%d", count,
		 count == 1 ? "" : "s", driver / 1000, driver % 1000 / 10,
		 CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
	return KVR_OK;
}

extern const struct kvr_accelerator_ops kvr_accelerator_plugin;

KVR_API const struct kvr_accelerator_ops kvr_accelerator_plugin = {
	.abi = KVR_ACCELERATOR_ABI,
	.size = sizeof(struct kvr_accelerator_ops),
	.name = "cuda",
	.probe = probe,
	.device_info = kvr_cuda_device_info,
	.pointer_query = kvr_cuda_pointer_query,
	.stream = &kvr_cuda_stream_ops,
	.attention = &kvr_cuda_attention,
	.memory = &kvr_cuda_memory,
};
