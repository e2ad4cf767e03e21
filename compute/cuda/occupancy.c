/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many blocks of each kernel a multiprocessor holds, worked out without a
 * GPU. A line of input is "target registers shared dynamic threads kernel"
 * (bytes; the kernel's name may have spaces); one of output is for the GPU of
 * that target. Run by tests/cuda/budget.py; no part of the plug-in.
 */
#include <cuda_occupancy.h>
#include <stdio.h>
#include <string.h>

/* What cudaGetDeviceProperties says there, from NVIDIA's data sheets and the
 * table of compute capabilities in the CUDA programming guide. */
static const struct gpu {
	const char *target, *name;
	cudaOccDeviceProp properties;
} gpus[] = {
#define GPU(target, name, major, sms, kib)                                     \
	{                                                                      \
		target, name,                                                  \
		{                                                              \
			.computeMajor = (major), .maxThreadsPerBlock = 1024,   \
			.maxThreadsPerMultiprocessor = 2048,                   \
			.regsPerBlock = 65536, .regsPerMultiprocessor = 65536, \
			.warpSize = 32, .sharedMemPerBlock = 48 << 10,         \
			.sharedMemPerMultiprocessor = (kib) << 10,             \
			.numSms = (sms),                                       \
			.sharedMemPerBlockOptin = ((kib)-1) << 10,             \
			.reservedSharedMemPerBlock = 1024,                     \
		}                                                              \
	}
	GPU("sm_80", "A100", 8, 108, 164),
	GPU("sm_90a", "H100", 9, 132, 228),
	GPU("sm_100", "B200", 10, 148, 228),
};

static const struct gpu *find(const char *target)
{
	for (size_t i = 0; i < sizeof(gpus) / sizeof(gpus[0]); i++)
		if (!strcmp(gpus[i].target, target))
			return &gpus[i];
	return NULL;
}

static const char *limit_name(unsigned limits)
{
	if (limits & OCC_LIMIT_WARPS)
		return "threads";
	if (limits & OCC_LIMIT_REGISTERS)
		return "registers";
	return limits & OCC_LIMIT_SHARED_MEMORY ? "shared memory" : "blocks";
}

/* False when the kernel cannot run there at all. */
static int print(const struct gpu *gpu, int registers, int shared, int dynamic,
		 int threads, const char *kernel)
{
	const cudaOccFuncAttributes attributes = {
		.maxThreadsPerBlock = 1024,
		.numRegs = registers,
		.sharedSizeBytes = (size_t)shared,
		.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN,
		.maxDynamicSharedSizeBytes = (size_t)dynamic,
		.numBlockBarriers = 1,
	};
	const cudaOccDeviceState state = {.carveoutConfig =
						  SHAREDMEM_CARVEOUT_DEFAULT};
	cudaOccResult result;
	int resident;

	if (cudaOccMaxActiveBlocksPerMultiprocessor(
		    &result, &gpu->properties, &attributes, &state, threads,
		    (size_t)dynamic) != CUDA_OCC_SUCCESS ||
	    !result.activeBlocksPerMultiprocessor) {
		printf("%s: %s cannot run there\n", gpu->name, kernel);
		return 0;
	}
	resident = result.activeBlocksPerMultiprocessor * threads;
	printf("%s: %2d blocks of %4d threads, %3d %% of the threads, "
	       "limited by %s: %s\n",
	       gpu->name, result.activeBlocksPerMultiprocessor, threads,
	       resident * 100 / gpu->properties.maxThreadsPerMultiprocessor,
	       limit_name(result.limitingFactors), kernel);
	return 1;
}

int main(void)
{
	int registers, shared, dynamic, threads, ok = 1, rows = 0;
	char target[16], kernel[512];

	while (scanf("%15s %d %d %d %d %511[^\n]", target, &registers, &shared,
		     &dynamic, &threads, kernel) == 6) {
		const struct gpu *gpu = find(target);

		if (!gpu) {
			printf("%s: no GPU known for it\n", target);
			return 1;
		}
		ok &= print(gpu, registers, shared, dynamic, threads, kernel);
		rows++;
	}
	return ok && rows && feof(stdin) ? 0 : 1;
}
