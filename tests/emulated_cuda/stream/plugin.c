/* SPDX-License-Identifier: Apache-2.0 */
/* The plug-in as far as streams go, on emulated CUDA. */
#include <stdio.h>

#include "compute/cuda/device.h"
#include "compute/cuda/driver.h"
#include "compute/cuda/stream.h"
#include "runtime/accelerator.h"

static enum kvr_status probe(char *reason, size_t reason_bytes)
{
	const char *missing = "";

	if (kvr_cuda_driver_load(&missing) == cudaSuccess)
		return KVR_OK;
	snprintf(reason, reason_bytes, "%s", missing);
	return KVR_ERR_NO_DRIVER;
}

extern const struct kvr_accelerator_ops kvr_accelerator_plugin;

KVR_API const struct kvr_accelerator_ops kvr_accelerator_plugin = {
	.abi = KVR_ACCELERATOR_ABI,
	.size = sizeof(struct kvr_accelerator_ops),
	.name = "emulated",
	.probe = probe,
	.device_info = kvr_cuda_device_info,
	.pointer_query = kvr_cuda_pointer_query,
	.stream = &kvr_cuda_stream_ops,
};
