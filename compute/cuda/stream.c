/* SPDX-License-Identifier: Apache-2.0 */
#include "compute/cuda/stream.h"

#include <string.h>

#include "compute/cuda/driver.h"
#include "compute/cuda/error.h"

/* A driver that does not know the attribute has 32 bits, as all have. */
static bool has_64_bits(int index)
{
	CUdevice device;
	int value = 0;

	return kvr_cuda_driver.device_get(&device, index) == CUDA_SUCCESS &&
	       kvr_cuda_driver.device_get_attribute(
		       &value,
		       CU_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS,
		       device) == CUDA_SUCCESS &&
	       value != 0;
}

static enum kvr_status words_open(size_t bytes,
				  struct kvr_accelerator_words *out,
				  char *reason, size_t reason_bytes)
{
	const char *call = "cudaGetDevice";
	int device = 0;
	void *host, *mapped;
	cudaError_t error;

	error = cudaGetDevice(&device);
	if (error != cudaSuccess)
		goto err_say;
	call = "cudaHostAlloc";
	error = cudaHostAlloc(&host, bytes,
			      cudaHostAllocMapped | cudaHostAllocPortable);
	if (error != cudaSuccess)
		goto err_say;
	call = "cudaHostGetDevicePointer";
	error = cudaHostGetDevicePointer(&mapped, host, 0);
	if (error != cudaSuccess)
		goto err_free;
	memset(host, 0, bytes);
	*out = (struct kvr_accelerator_words){
		.host = host,
		.device = (uint64_t)(uintptr_t)mapped,
		.wide = has_64_bits(device),
	};
	return KVR_OK;

err_free:
	(void)cudaFreeHost(host);
err_say:
	return kvr_cuda_failed(call, error, reason, reason_bytes);
}

static void words_close(struct kvr_accelerator_words *words)
{
	(void)cudaFreeHost(words->host);
}

static enum kvr_status map(void *host, size_t bytes,
			   struct kvr_accelerator_mapping *out, char *reason,
			   size_t reason_bytes)
{
	const char *call = "cudaPointerGetAttributes";
	struct cudaPointerAttributes known;
	cudaError_t error = cudaPointerGetAttributes(&known, host);
	void *device = known.devicePointer;
	bool ours;

	if (error != cudaSuccess)
		goto err_say;
	ours = known.type == cudaMemoryTypeUnregistered;
	if (ours) {
		call = "cudaHostRegister";
		error = cudaHostRegister(host, bytes,
					 cudaHostRegisterMapped |
						 cudaHostRegisterPortable);
		if (error != cudaSuccess)
			goto err_say;
		call = "cudaHostGetDevicePointer";
		error = cudaHostGetDevicePointer(&device, host, 0);
		if (error != cudaSuccess)
			goto err_unregister;
	}
	*out = (struct kvr_accelerator_mapping){host, device, ours};
	return KVR_OK;

err_unregister:
	(void)cudaHostUnregister(host);
err_say:
	return kvr_cuda_failed(call, error, reason, reason_bytes);
}

static void unmap(struct kvr_accelerator_mapping *mapping)
{
	if (mapping->ours)
		(void)cudaHostUnregister(mapping->host);
}

static enum kvr_status say(CUresult result, const char *call, char *reason,
			   size_t reason_bytes)
{
	if (result == CUDA_SUCCESS)
		return KVR_OK;
	return kvr_cuda_failed(call, (cudaError_t)result, reason, reason_bytes);
}

/*
 * EQ, and not GEQ on a growing number: a captured wait keeps its constant, and
 * what the last replay left would satisfy the next.
 */
static enum kvr_status word_wait(const struct kvr_accelerator_words *words,
				 size_t offset, uint32_t value, void *stream,
				 char *reason, size_t reason_bytes)
{
	CUdeviceptr at = (CUdeviceptr)(words->device + offset);

	if (words->wide)
		return say(kvr_cuda_driver.stream_wait_value64(
				   stream, at, value, CU_STREAM_WAIT_VALUE_EQ),
			   "cuStreamWaitValue64", reason, reason_bytes);
	return say(kvr_cuda_driver.stream_wait_value32(stream, at, value,
						       CU_STREAM_WAIT_VALUE_EQ),
		   "cuStreamWaitValue32", reason, reason_bytes);
}

/*
 * DEFAULT: behind a fence that makes what the stream did before visible to all
 * of the machine. Pairs with the acquire of who takes the word (words.c).
 */
static enum kvr_status word_write(const struct kvr_accelerator_words *words,
				  size_t offset, uint32_t value, void *stream,
				  char *reason, size_t reason_bytes)
{
	CUdeviceptr at = (CUdeviceptr)(words->device + offset);

	if (words->wide)
		return say(kvr_cuda_driver.stream_write_value64(
				   stream, at, value,
				   CU_STREAM_WRITE_VALUE_DEFAULT),
			   "cuStreamWriteValue64", reason, reason_bytes);
	return say(kvr_cuda_driver.stream_write_value32(
			   stream, at, value, CU_STREAM_WRITE_VALUE_DEFAULT),
		   "cuStreamWriteValue32", reason, reason_bytes);
}

static enum kvr_status capturing(void *stream, bool *out, char *reason,
				 size_t reason_bytes)
{
	enum cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
	cudaError_t error = cudaStreamIsCapturing(stream, &status);

	if (error != cudaSuccess)
		return kvr_cuda_failed("cudaStreamIsCapturing", error, reason,
				       reason_bytes);
	*out = status != cudaStreamCaptureStatusNone;
	return KVR_OK;
}

const struct kvr_accelerator_stream_ops kvr_cuda_stream_ops = {
	.words_open = words_open,
	.words_close = words_close,
	.map = map,
	.unmap = unmap,
	.wait = word_wait,
	.write = word_write,
	.capturing = capturing,
};
