/* SPDX-License-Identifier: Apache-2.0 */
#include "compute/cuda/error.h"

#include <stdio.h>

enum kvr_status kvr_cuda_failed(const char *call, cudaError_t error,
				char *reason, size_t bytes)
{
	snprintf(reason, bytes, "%s: %s (%d)", call, cudaGetErrorString(error),
		 (int)error);
	return error == cudaErrorMemoryAllocation ? KVR_ERR_NO_MEMORY
						  : KVR_ERR_DEVICE;
}

static enum kvr_status no_driver(int driver, char *reason, size_t bytes)
{
	if (driver) {
		snprintf(reason, bytes,
			 "the NVIDIA driver is for CUDA %d.%d, this plug-in's "
			 "CUDA is %d.%d; update the driver, or build kvring "
			 "with an older toolkit",
			 driver / 1000, driver % 1000 / 10,
			 CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
		return KVR_ERR_DRIVER_OLD;
	}
	snprintf(reason, bytes,
		 "no NVIDIA driver: libcuda.so.1 does not load; install the "
		 "driver, or start the container with it (--gpus all)");
	return KVR_ERR_NO_DRIVER;
}

/* Known ways of drivers not to start, and their remedies. */
static const char *remedy(cudaError_t error)
{
	switch ((int)error) {
	case cudaErrorSystemDriverMismatch:
		return "its library is not of the kernel module's version; "
		       "reboot, or load the module anew";
	case cudaErrorSystemNotReady:
		return "NVSwitch is not set up; start nvidia-fabricmanager";
	case cudaErrorCompatNotSupportedOnDevice:
		return "this GPU does not take the cuda-compat package; "
		       "update the driver itself";
	case cudaErrorInitializationError:
		return "it does not survive fork(): start processes before "
		       "the first CUDA call, or by exec";
	default:
		return "see nvidia-smi and dmesg";
	}
}

enum kvr_status kvr_cuda_not_started(cudaError_t error, int driver,
				     char *reason, size_t bytes)
{
	switch ((int)error) {
	case cudaErrorInsufficientDriver:
		return no_driver(driver, reason, bytes);
	case cudaErrorStubLibrary:
		snprintf(reason, bytes,
			 "libcuda.so.1 is the CUDA toolkit's stub; take its "
			 "stubs directory out of LD_LIBRARY_PATH and "
			 "/etc/ld.so.conf.d");
		return KVR_ERR_DRIVER_STUB;
	case cudaErrorNoDevice:
		snprintf(reason, bytes,
			 "the NVIDIA driver (CUDA %d.%d) shows no GPU; check "
			 "nvidia-smi -L, CUDA_VISIBLE_DEVICES, and the "
			 "container's devices",
			 driver / 1000, driver % 1000 / 10);
		return KVR_ERR_NO_GPU;
	default:
		snprintf(reason, bytes,
			 "the NVIDIA driver does not start: %s (%d); %s",
			 cudaGetErrorString(error), (int)error, remedy(error));
		return KVR_ERR_DEVICE;
	}
}
