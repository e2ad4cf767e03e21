/* SPDX-License-Identifier: Apache-2.0 */
#include "compute/cuda/driver.h"

#include <stddef.h>
#include <string.h>

struct kvr_cuda_driver kvr_cuda_driver;

#define CALL(field, name, version)                                             \
	{                                                                      \
		offsetof(struct kvr_cuda_driver, field), name, version         \
	}

/* The version of CUDA whose form of the call cuda.h declares. */
static const struct call {
	size_t offset;
	const char *name;
	unsigned version;
} calls[] = {
	CALL(device_get, "cuDeviceGet", 2000),
	CALL(device_get_name, "cuDeviceGetName", 2000),
	CALL(device_total_mem, "cuDeviceTotalMem", 3020),
	CALL(device_get_pci_bus_id, "cuDeviceGetPCIBusId", 4010),
	CALL(device_get_attribute, "cuDeviceGetAttribute", 2000),
	CALL(pointer_get_attributes, "cuPointerGetAttributes", 7000),
	CALL(retain_allocation_handle, "cuMemRetainAllocationHandle", 11000),
	CALL(mem_release, "cuMemRelease", 10020),
	CALL(stream_wait_value32, "cuStreamWaitValue32", 11070),
	CALL(stream_wait_value64, "cuStreamWaitValue64", 11070),
	CALL(stream_write_value32, "cuStreamWriteValue32", 11070),
	CALL(stream_write_value64, "cuStreamWriteValue64", 11070),
	CALL(get_range_handle, "cuMemGetHandleForAddressRange", 11070),
	CALL(pointer_set_attribute, "cuPointerSetAttribute", 6000),
};

static cudaError_t look_up(const struct call *call, void **out)
{
	enum cudaDriverEntryPointQueryResult found;
	cudaError_t error;

#if CUDART_VERSION >= 12050
	error = cudaGetDriverEntryPointByVersion(call->name, out, call->version,
						 cudaEnableDefault, &found);
#else
	error = cudaGetDriverEntryPoint(call->name, out, cudaEnableDefault,
					&found);
#endif
	if (error == cudaSuccess && found != cudaDriverEntryPointSuccess)
		error = cudaErrorSymbolNotFound;
	return error;
}

cudaError_t kvr_cuda_driver_load(const char **missing)
{
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		void *entry = NULL;
		cudaError_t error = look_up(&calls[i], &entry);

		if (error != cudaSuccess) {
			*missing = calls[i].name;
			return error;
		}
		memcpy((char *)&kvr_cuda_driver + calls[i].offset, &entry,
		       sizeof(entry));
	}
	return cudaSuccess;
}
