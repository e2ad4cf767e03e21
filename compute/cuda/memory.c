/* SPDX-License-Identifier: Apache-2.0 */
#include "compute/cuda/memory.h"

#include <unistd.h>

#include "compute/cuda/driver.h"
#include "compute/cuda/error.h"

/* By its number: toolkits before 12.8 have no name for it, drivers may. */
#define MAPPED_BY_PCIE 1

static enum kvr_status failed(const char *call, cudaError_t error, char *reason,
			      size_t bytes)
{
	const enum kvr_status status =
		kvr_cuda_failed(call, error, reason, bytes);

	/* Not of the runtime's last error: the caller's code may look at it. */
	(void)cudaGetLastError();
	/* A driver that does not know a flag or a kind of memory says either.
	 */
	return error == cudaErrorNotSupported || error == cudaErrorInvalidValue
		       ? KVR_ERR_UNSUPPORTED
		       : status;
}

/* The device to work on becomes the thread's, until leave. */
static cudaError_t enter(uint32_t device, int *before)
{
	cudaError_t error = cudaGetDevice(before);

	return error == cudaSuccess ? cudaSetDevice((int)device) : error;
}

static void leave(int before)
{
	(void)cudaSetDevice(before);
}

static enum kvr_status export_dmabuf(const void *address, size_t bytes,
				     bool pcie, int *fd, char *reason,
				     size_t reason_bytes)
{
	int handle = -1;
	CUresult result = kvr_cuda_driver.get_range_handle(
		&handle, (CUdeviceptr)(uintptr_t)address, bytes,
		CU_MEM_RANGE_HANDLE_TYPE_DMA_BUF_FD, pcie ? MAPPED_BY_PCIE : 0);

	if (result != CUDA_SUCCESS)
		return failed(pcie ? "cuMemGetHandleForAddressRange by PCIe"
				   : "cuMemGetHandleForAddressRange",
			      (cudaError_t)result, reason, reason_bytes);
	*fd = handle;
	return KVR_OK;
}

static enum kvr_status order_copies(const void *address, char *reason,
				    size_t reason_bytes)
{
	unsigned on = 1;
	CUresult result = kvr_cuda_driver.pointer_set_attribute(
		&on, CU_POINTER_ATTRIBUTE_SYNC_MEMOPS,
		(CUdeviceptr)(uintptr_t)address);

	if (result == CUDA_SUCCESS)
		return KVR_OK;
	return failed("cuPointerSetAttribute(SYNC_MEMOPS)", (cudaError_t)result,
		      reason, reason_bytes);
}

static enum kvr_status allocate(uint32_t device, size_t bytes, void **out,
				char *reason, size_t reason_bytes)
{
	const char *call = "cudaSetDevice";
	void *memory = NULL;
	int before = 0;
	cudaError_t error = enter(device, &before);

	if (error == cudaSuccess) {
		call = "cudaMalloc";
		error = cudaMalloc(&memory, bytes);
	}
	leave(before);
	if (error != cudaSuccess) {
		(void)cudaGetLastError();
		return kvr_cuda_failed(call, error, reason, reason_bytes);
	}
	*out = memory;
	return KVR_OK;
}

static void release(uint32_t device, void *address)
{
	int before = 0;

	if (enter(device, &before) == cudaSuccess)
		(void)cudaFree(address);
	leave(before);
	(void)cudaGetLastError();
}

/*
 * On a stream of its own: the default one waits for others, and those may wait
 * for a block of a ring.
 */
static cudaError_t copy_apart(void *to, const void *from, size_t bytes,
			      const char **call)
{
	cudaStream_t stream;
	cudaError_t error;

	*call = "cudaStreamCreateWithFlags";
	error = cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
	if (error != cudaSuccess)
		return error;
	*call = "cudaMemcpyAsync";
	error = cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream);
	if (error == cudaSuccess) {
		*call = "cudaStreamSynchronize";
		error = cudaStreamSynchronize(stream);
	}
	(void)cudaStreamDestroy(stream);
	return error;
}

static enum kvr_status copy(uint32_t device, void *to, const void *from,
			    size_t bytes, char *reason, size_t reason_bytes)
{
	const char *call = "cudaSetDevice";
	int before = 0;
	cudaError_t error = enter(device, &before);

	if (error == cudaSuccess)
		error = copy_apart(to, from, bytes, &call);
	leave(before);
	return error == cudaSuccess ? KVR_OK
				    : failed(call, error, reason, reason_bytes);
}

static enum kvr_status flush(uint32_t device, char *reason, size_t reason_bytes)
{
	int before = 0;
	cudaError_t error = enter(device, &before);

	if (error == cudaSuccess)
		error = cudaDeviceFlushGPUDirectRDMAWrites(
			cudaFlushGPUDirectRDMAWritesTargetCurrentDevice,
			cudaFlushGPUDirectRDMAWritesToOwner);
	leave(before);
	return error == cudaSuccess
		       ? KVR_OK
		       : failed("cudaDeviceFlushGPUDirectRDMAWrites", error,
				reason, reason_bytes);
}

const struct kvr_accelerator_memory_ops kvr_cuda_memory = {
	.export_dmabuf = export_dmabuf,
	.order_copies = order_copies,
	.allocate = allocate,
	.release = release,
	.copy = copy,
	.flush = flush,
};
