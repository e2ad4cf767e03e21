/* SPDX-License-Identifier: Apache-2.0 */
/* Names of errors. The driver's and the runtime's numbers agree up to 999. */
#include "tests/emulated_cuda/internal.h"

static const struct {
	int error;
	const char *name, *text;
} texts[] = {
	{cudaSuccess, "cudaSuccess", "no error"},
	{cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
	{cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation",
	 "out of memory"},
	{cudaErrorInitializationError, "cudaErrorInitializationError",
	 "initialization error"},
	{cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration",
	 "invalid configuration argument"},
	{cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver",
	 "CUDA driver version is insufficient for CUDA runtime version"},
	{cudaErrorStubLibrary, "cudaErrorStubLibrary",
	 "CUDA driver is a stub library"},
	{cudaErrorNoDevice, "cudaErrorNoDevice",
	 "no CUDA-capable device is detected"},
	{cudaErrorInvalidDevice, "cudaErrorInvalidDevice",
	 "invalid device ordinal"},
	{cudaErrorInvalidDeviceFunction, "cudaErrorInvalidDeviceFunction",
	 "invalid device function"},
	{cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle",
	 "invalid resource handle"},
	{cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
	{cudaErrorIllegalAddress, "cudaErrorIllegalAddress",
	 "an illegal memory access was encountered"},
	{cudaErrorLaunchFailure, "cudaErrorLaunchFailure",
	 "unspecified launch failure"},
	{cudaErrorNotPermitted, "cudaErrorNotPermitted",
	 "operation not permitted"},
	{cudaErrorNotSupported, "cudaErrorNotSupported",
	 "operation not supported"},
	{cudaErrorHostMemoryAlreadyRegistered,
	 "cudaErrorHostMemoryAlreadyRegistered",
	 "part or all of the requested memory range is already mapped"},
	{cudaErrorHostMemoryNotRegistered, "cudaErrorHostMemoryNotRegistered",
	 "pointer does not correspond to a registered memory region"},
	{cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
	 "operation not permitted when stream is capturing"},
	{cudaErrorStreamCaptureInvalidated, "cudaErrorStreamCaptureInvalidated",
	 "operation failed due to a previous error during capture"},
	{cudaErrorStreamCaptureUnjoined, "cudaErrorStreamCaptureUnjoined",
	 "capturing stream has unjoined work"},
	{cudaErrorUnknown, "cudaErrorUnknown", "unknown error"},
};

static size_t find(int error)
{
	size_t i = 0;

	while (i < sizeof(texts) / sizeof(*texts) && texts[i].error != error)
		i++;
	return i;
}

EMU_EXPORT const char *cudaGetErrorName(cudaError_t error)
{
	size_t i = find((int)error);

	return i < sizeof(texts) / sizeof(*texts) ? texts[i].name
						  : "unrecognized error code";
}

EMU_EXPORT const char *cudaGetErrorString(cudaError_t error)
{
	size_t i = find((int)error);

	return i < sizeof(texts) / sizeof(*texts) ? texts[i].text
						  : "unrecognized error code";
}

CUresult cuGetErrorName(CUresult error, const char **out)
{
	*out = cudaGetErrorName((cudaError_t)error);
	return CUDA_SUCCESS;
}

CUresult cuGetErrorString(CUresult error, const char **out)
{
	*out = cudaGetErrorString((cudaError_t)error);
	return CUDA_SUCCESS;
}
