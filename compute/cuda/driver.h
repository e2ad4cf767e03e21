/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CUDA driver's calls. They come from the runtime, which has loaded
 * libcuda.so.1 itself: a library linked with -lcuda does not load on a machine
 * without a driver, and this one must, to say so.
 */
#ifndef KVR_COMPUTE_CUDA_DRIVER_H
#define KVR_COMPUTE_CUDA_DRIVER_H

#include <cuda.h>
#include <cuda_runtime_api.h>

/* By their names in cuda.h, which defines some to versions: typeof follows. */
struct kvr_cuda_driver {
	__typeof__(cuDeviceGet) *device_get;
	__typeof__(cuDeviceGetName) *device_get_name;
	__typeof__(cuDeviceTotalMem) *device_total_mem;
	__typeof__(cuDeviceGetPCIBusId) *device_get_pci_bus_id;
	__typeof__(cuDeviceGetAttribute) *device_get_attribute;
	__typeof__(cuPointerGetAttributes) *pointer_get_attributes;
	__typeof__(cuMemRetainAllocationHandle) *retain_allocation_handle;
	__typeof__(cuMemRelease) *mem_release;
	__typeof__(cuStreamWaitValue32) *stream_wait_value32;
	__typeof__(cuStreamWaitValue64) *stream_wait_value64;
	__typeof__(cuStreamWriteValue32) *stream_write_value32;
	__typeof__(cuStreamWriteValue64) *stream_write_value64;
	__typeof__(cuMemGetHandleForAddressRange) *get_range_handle;
	__typeof__(cuPointerSetAttribute) *pointer_set_attribute;
};

/* Filled by kvr_cuda_driver_load, read-only from then on. */
extern struct kvr_cuda_driver kvr_cuda_driver;

/*
 * Once, when the runtime has started the driver. On an error *missing is the
 * call that it does not have.
 */
cudaError_t kvr_cuda_driver_load(const char **missing);

#endif
