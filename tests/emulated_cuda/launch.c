/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels: how they are called, their attributes, launches. */
#include <link.h>
#include <stdlib.h>
#include <string.h>

#include "tests/emulated_cuda/device_abi.h"
#include "tests/emulated_cuda/internal.h"

#define SHARED_DEFAULT (48 << 10)

struct kernel {
	struct kernel *next;
	const void *function;
	void (*invoke)(const void *function, void **args);
	size_t count;
	size_t sizes[EMU_ARGS_MAX], aligns[EMU_ARGS_MAX];
	int shared_max; /* dynamic */
	int carveout;
};

static struct kernel *kernels; /* by emu.lock */

static struct kernel *kernel_of(const void *function)
{
	struct kernel *kernel = kernels;

	while (kernel && kernel->function != function)
		kernel = kernel->next;
	if (kernel)
		return kernel;
	kernel = emu_new(1, sizeof(*kernel));
	kernel->function = function;
	kernel->shared_max = SHARED_DEFAULT;
	kernel->next = kernels;
	kernels = kernel;
	return kernel;
}

EMU_EXPORT void kvr_emulated_kernel(const void *function,
				    void (*invoke)(const void *, void **),
				    const size_t *sizes, const size_t *aligns,
				    size_t count)
{
	struct kernel *kernel;

	if (count > EMU_ARGS_MAX)
		emu_abort("a kernel of %zu parameters", count);
	pthread_mutex_lock(&emu.lock);
	kernel = kernel_of(function);
	if (!kernel->invoke) {
		kernel->invoke = invoke;
		kernel->count = count;
		memcpy(kernel->sizes, sizes, count * sizeof(*sizes));
		memcpy(kernel->aligns, aligns, count * sizeof(*aligns));
	}
	pthread_mutex_unlock(&emu.lock);
}

struct module {
	uintptr_t function;
	const struct dl_phdr_info *found;
};

static int forget_statics(struct dl_phdr_info *info, size_t size, void *data)
{
	uintptr_t function = *(const uintptr_t *)data;
	bool mine = false;

	(void)size;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *part = &info->dlpi_phdr[i];

		mine |= part->p_type == PT_LOAD &&
			function - info->dlpi_addr - part->p_vaddr <
				part->p_memsz;
	}
	for (int i = 0; mine && i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *part = &info->dlpi_phdr[i];

		if (part->p_type == PT_LOAD && part->p_flags & PF_W)
			emu_forget((void *)(info->dlpi_addr + part->p_vaddr),
				   part->p_memsz);
	}
	return mine;
}

/*
 * Static shared variables are the module's static ones, and no two blocks
 * share them: what the last block did there is forgotten. So are accesses to
 * __device__ variables, whose races between blocks go unseen.
 */
void emu_statics_forget(const void *function)
{
	uintptr_t at = (uintptr_t)function;

	if (emu_tsan)
		dl_iterate_phdr(forget_statics, &at);
}

static void run_launch(struct emu_op *op)
{
	emu_grid_run(emu_payload(op));
}

/* Where each argument lies; returns the bytes of all. */
static size_t lay_out(const struct kernel *kernel, size_t *at)
{
	size_t bytes = 0;

	for (size_t i = 0; i < kernel->count; i++) {
		size_t align = kernel->aligns[i];

		bytes = (bytes + align - 1) / align * align;
		at[i] = bytes;
		bytes += kernel->sizes[i];
	}
	return bytes;
}

static struct emu_op *launch_op(const struct kernel *kernel,
				const cudaLaunchConfig_t *config, void **args)
{
	size_t at[EMU_ARGS_MAX], bytes = lay_out(kernel, at);
	struct emu_launch *launch = emu_new(1, sizeof(*launch) + bytes);
	struct emu_op *op;

	launch->function = kernel->function;
	launch->invoke = kernel->invoke;
	launch->grid = (uint3){config->gridDim.x, config->gridDim.y,
			       config->gridDim.z};
	launch->block = (uint3){config->blockDim.x, config->blockDim.y,
				config->blockDim.z};
	launch->shared = config->dynamicSmemBytes;
	launch->count = kernel->count;
	launch->bytes = bytes;
	for (size_t i = 0; i < kernel->count; i++) {
		launch->at[i] = at[i];
		memcpy(launch->data + at[i], args[i], kernel->sizes[i]);
	}
	op = emu_op_new(run_launch, launch, sizeof(*launch) + bytes);
	free(launch);
	return op;
}

static cudaError_t launch_problem(const struct kernel *kernel,
				  const cudaLaunchConfig_t *config)
{
	uint64_t threads = (uint64_t)config->blockDim.x * config->blockDim.y *
			   config->blockDim.z;
	uint64_t yz = config->gridDim.y > config->gridDim.z ? config->gridDim.y
							    : config->gridDim.z;

	if (!kernel->invoke)
		return cudaErrorInvalidDeviceFunction;
	if (!threads || threads > 1024 || config->blockDim.z > 64 ||
	    !config->gridDim.x || !config->gridDim.y || !config->gridDim.z ||
	    config->gridDim.x > INT32_MAX || yz > 65535)
		return cudaErrorInvalidConfiguration;
	if (config->dynamicSmemBytes > (size_t)kernel->shared_max)
		return cudaErrorInvalidValue;
	return cudaSuccess;
}

EMU_EXPORT cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t *config,
					   const void *function, void **args)
{
	struct emu_op *op = NULL;
	struct kernel *kernel;
	cudaError_t error;

	EMU_CALL();
	pthread_mutex_lock(&emu.lock);
	kernel = kernel_of(function);
	error = launch_problem(kernel, config);
	if (error == cudaSuccess)
		op = launch_op(kernel, config, args);
	pthread_mutex_unlock(&emu.lock);
	if (error == cudaSuccess)
		error = emu_submit(config->stream, op);
	return emu_error(error);
}

EMU_EXPORT cudaError_t cudaLaunchKernel(const void *function, dim3 grid,
					dim3 block, void **args, size_t shared,
					cudaStream_t stream)
{
	cudaLaunchConfig_t config = {
		.gridDim = grid,
		.blockDim = block,
		.dynamicSmemBytes = shared,
		.stream = stream,
	};

	return cudaLaunchKernelExC(&config, function, args);
}

EMU_EXPORT cudaError_t cudaFuncSetAttribute(const void *function,
					    enum cudaFuncAttribute attribute,
					    int value)
{
	cudaError_t error = cudaSuccess;
	struct kernel *kernel;
	int most = 0;

	EMU_CALL();
	emu_attribute(emu_device_current(),
		      cudaDevAttrMaxSharedMemoryPerBlockOptin, &most);
	pthread_mutex_lock(&emu.lock);
	kernel = kernel_of(function);
	if (attribute == cudaFuncAttributeMaxDynamicSharedMemorySize &&
	    value >= 0 && value <= most)
		kernel->shared_max = value;
	else if (attribute == cudaFuncAttributePreferredSharedMemoryCarveout)
		kernel->carveout = value;
	else
		error = cudaErrorInvalidValue;
	pthread_mutex_unlock(&emu.lock);
	return emu_error(error);
}

EMU_EXPORT cudaError_t cudaFuncGetAttributes(struct cudaFuncAttributes *out,
					     const void *function)
{
	struct kernel *kernel;

	EMU_CALL();
	pthread_mutex_lock(&emu.lock);
	kernel = kernel_of(function);
	memset(out, 0, sizeof(*out));
	out->maxThreadsPerBlock = 1024;
	out->numRegs = 32; /* made up, as nothing here has registers */
	out->maxDynamicSharedSizeBytes = kernel->shared_max;
	pthread_mutex_unlock(&emu.lock);
	return cudaSuccess;
}

/* Threads and shared memory alone; registers are nvcc's business. */
EMU_EXPORT cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
	int *out, const void *function, int threads, size_t shared,
	unsigned flags)
{
	int device = emu_device_current(), all = 0, most = 0, by_shared;

	(void)function;
	(void)flags;
	EMU_CALL();
	if (threads <= 0 || threads > 1024)
		return emu_error(cudaErrorInvalidValue);
	emu_attribute(device, cudaDevAttrMaxThreadsPerMultiProcessor, &all);
	emu_attribute(device, cudaDevAttrMaxSharedMemoryPerMultiprocessor,
		      &most);
	by_shared = (int)((size_t)most / (shared + 1024));
	*out = all / ((threads + 31) / 32 * 32);
	if (*out > by_shared)
		*out = by_shared;
	return cudaSuccess;
}

EMU_EXPORT cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(
	int *out, const void *function, int threads, size_t shared)
{
	return cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
		out, function, threads, shared, 0);
}
