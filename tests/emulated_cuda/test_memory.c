/* SPDX-License-Identifier: Apache-2.0 */
/* Memory, devices and driver calls of the emulation. */
#include <cuda.h>
#include <cuda_runtime_api.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/emulated_cuda/emulated.h"

static void ok(int error)
{
	assert_int_equal(error, 0);
}

static void *entry(const char *name)
{
	enum cudaDriverEntryPointQueryResult found;
	void *function;

	ok(cudaGetDriverEntryPointByVersion(name, &function, 12000,
					    cudaEnableDefault, &found));
	assert_int_equal(found, cudaDriverEntryPointSuccess);
	return function;
}

static int reset(void **state)
{
	(void)state;
	kvr_emulated_reset();
	assert_int_equal(kvr_emulated_allocations(), 0);
	return 0;
}

static void memory_copied_there_and_back_is_the_same(void **state)
{
	char in[1000], out[1000] = {0};
	char *a, *b;

	(void)state;
	memset(in, 'x', sizeof(in));
	ok(cudaMalloc((void **)&a, sizeof(in)));
	ok(cudaMalloc((void **)&b, sizeof(in)));
	assert_int_equal((uintptr_t)a % 256, 0);
	ok(cudaMemcpy(a, in, sizeof(in), cudaMemcpyHostToDevice));
	ok(cudaMemset(b, 'y', sizeof(in)));
	ok(cudaMemcpy(b + 10, a, 100, cudaMemcpyDeviceToDevice));
	ok(cudaMemcpy(out, b, sizeof(in), cudaMemcpyDefault));
	assert_int_equal(out[9], 'y');
	assert_int_equal(out[10], 'x');
	assert_int_equal(out[109], 'x');
	assert_int_equal(out[110], 'y');
	assert_int_equal(kvr_emulated_allocations(), 2);
	ok(cudaFree(a));
	ok(cudaFree(b));
	assert_int_equal(cudaFree(b), cudaErrorInvalidValue);
}

static void copy_of_the_wrong_kind_is_refused(void **state)
{
	char host[16] = {0};
	void *device;

	(void)state;
	ok(cudaMalloc(&device, sizeof(host)));
	assert_int_equal(
		cudaMemcpy(device, host, sizeof(host), cudaMemcpyDeviceToHost),
		cudaErrorInvalidValue);
	assert_int_equal(
		cudaMemcpy(host, host, sizeof(host), cudaMemcpyHostToDevice),
		cudaErrorInvalidValue);
	ok(cudaFree(device));
}

static void memory_beyond_the_limit_is_refused(void **state)
{
	size_t available, total;
	void *some, *more = &some;

	(void)state;
	kvr_emulated_set_memory(1 << 20);
	ok(cudaMalloc(&some, 1 << 19));
	ok(cudaMemGetInfo(&available, &total));
	assert_int_equal(available, 1 << 19);
	assert_int_equal(total, 1 << 20);
	assert_int_equal(cudaMalloc(&more, (1 << 19) + 1),
			 cudaErrorMemoryAllocation);
	assert_null(more);
	ok(cudaFree(some));
	ok(cudaMalloc(&some, 1 << 20));
	ok(cudaFree(some));
}

static void pointer_of_each_kind_is_recognised(void **state)
{
	struct cudaPointerAttributes attributes;
	char *device, *pinned, mine[64];

	(void)state;
	ok(cudaMalloc((void **)&device, 100));
	ok(cudaHostAlloc((void **)&pinned, 100, cudaHostAllocMapped));
	ok(cudaPointerGetAttributes(&attributes, device + 99));
	assert_int_equal(attributes.type, cudaMemoryTypeDevice);
	assert_ptr_equal(attributes.devicePointer, device + 99);
	assert_null(attributes.hostPointer);
	ok(cudaPointerGetAttributes(&attributes, device + 100));
	assert_int_equal(attributes.type, cudaMemoryTypeUnregistered);
	ok(cudaPointerGetAttributes(&attributes, pinned));
	assert_int_equal(attributes.type, cudaMemoryTypeHost);
	ok(cudaPointerGetAttributes(&attributes, mine));
	assert_int_equal(attributes.type, cudaMemoryTypeUnregistered);
	ok(cudaHostRegister(mine, sizeof(mine), cudaHostRegisterMapped));
	assert_int_equal(cudaHostRegister(mine, sizeof(mine), 0),
			 cudaErrorHostMemoryAlreadyRegistered);
	ok(cudaPointerGetAttributes(&attributes, mine));
	assert_int_equal(attributes.type, cudaMemoryTypeHost);
	ok(cudaHostUnregister(mine));
	assert_int_equal(cudaHostUnregister(mine),
			 cudaErrorHostMemoryNotRegistered);
	ok(cudaFree(device));
	ok(cudaFreeHost(pinned));
}

static void pointer_asked_by_driver_tells_its_range(void **state)
{
	CUresult (*range)(CUdeviceptr *, size_t *, CUdeviceptr) =
		(CUresult(*)(CUdeviceptr *, size_t *, CUdeviceptr))entry(
			"cuMemGetAddressRange");
	CUresult (*set)(const void *, CUpointer_attribute, CUdeviceptr) =
		(CUresult(*)(const void *, CUpointer_attribute,
			     CUdeviceptr))entry("cuPointerSetAttribute");
	CUresult (*get)(void *, CUpointer_attribute, CUdeviceptr) =
		(CUresult(*)(void *, CUpointer_attribute, CUdeviceptr))entry(
			"cuPointerGetAttribute");
	unsigned on = 1, is = 0;
	CUdeviceptr base;
	size_t size;
	char *device;

	(void)state;
	ok(cudaMalloc((void **)&device, 5000));
	ok((int)range(&base, &size, (CUdeviceptr)device + 4999));
	assert_int_equal(base, (CUdeviceptr)device);
	assert_int_equal(size, 5000);
	ok((int)set(&on, CU_POINTER_ATTRIBUTE_SYNC_MEMOPS, base));
	ok((int)get(&is, CU_POINTER_ATTRIBUTE_SYNC_MEMOPS, base));
	assert_int_equal(is, 1);
	ok((int)get(&is, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, base));
	assert_int_equal(is, CU_MEMORYTYPE_DEVICE);
	ok(cudaFree(device));
	assert_int_equal(get(&is, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, base),
			 CUDA_ERROR_INVALID_VALUE);
}

typedef CUresult (*handle_call)(void *, CUdeviceptr, size_t,
				CUmemRangeHandleType, unsigned long long);

static void dmabuf_of_whole_pages_stands_for_them(void **state)
{
	handle_call open = (handle_call)entry("cuMemGetHandleForAddressRange");
	int fd = -1, type = CU_MEM_RANGE_HANDLE_TYPE_DMA_BUF_FD;
	char *device, *pages;
	void *base;
	size_t size;

	(void)state;
	ok(cudaMalloc((void **)&device, 4 * 4096));
	pages = (char *)(((uintptr_t)device + 4095) & ~(uintptr_t)4095);
	assert_int_equal(open(&fd, (CUdeviceptr)pages + 64, 4096, type, 0),
			 CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(open(&fd, (CUdeviceptr)pages, 100, type, 0),
			 CUDA_ERROR_INVALID_VALUE);
	ok((int)open(&fd, (CUdeviceptr)pages, 8192, type, 0));
	assert_true(kvr_emulated_dmabuf(fd, &base, &size));
	assert_ptr_equal(base, pages);
	assert_int_equal(size, 8192);
	assert_false(kvr_emulated_dmabuf(STDERR_FILENO, &base, &size));
	close(fd);
	kvr_emulated_set_attribute(0, CU_DEVICE_ATTRIBUTE_DMA_BUF_SUPPORTED, 0);
	assert_int_equal(open(&fd, (CUdeviceptr)pages, 4096, type, 0),
			 CUDA_ERROR_NOT_SUPPORTED);
	ok(cudaFree(device));
}

/* Forked before CUDA was used: opens what it is told of, and adds to it. */
static void importer(int from, int to)
{
	cudaIpcMemHandle_t handle;
	unsigned char *at, text[8];
	bool right;

	if (read(from, &handle, sizeof(handle)) != sizeof(handle))
		_exit(2);
	right = cudaIpcOpenMemHandle((void **)&at, handle,
				     cudaIpcMemLazyEnablePeerAccess) == 0 &&
		cudaMemcpy(text, at, sizeof(text), cudaMemcpyDeviceToHost) ==
			0 &&
		memcmp(text, "from one", sizeof(text)) == 0 &&
		cudaMemset(at, '!', 4) == 0 && cudaIpcCloseMemHandle(at) == 0 &&
		cudaFree(at) == cudaErrorInvalidValue;
	if (write(to, &right, sizeof(right)) != sizeof(right))
		_exit(2);
	_exit(0);
}

static int child_in, child_out; /* pipes of the importer */

static void start_importer(void)
{
	int there[2], back[2];

	if (pipe(there) != 0 || pipe(back) != 0)
		exit(2);
	switch (fork()) {
	case -1:
		exit(2);
	case 0:
		close(there[1]);
		importer(there[0], back[1]);
	}
	close(there[0]);
	close(back[1]);
	child_in = there[1];
	child_out = back[0];
}

static void memory_of_another_process_is_shared(void **state)
{
	cudaIpcMemHandle_t handle;
	bool right = false;
	char text[9] = "";
	void *at, *own;

	(void)state;
	ok(cudaMalloc(&at, 700)); /* not on a page's beginning */
	ok(cudaMalloc(&own, 700));
	ok(cudaMemcpy(own, "from one", 8, cudaMemcpyHostToDevice));
	ok(cudaIpcGetMemHandle(&handle, own));
	assert_int_equal(cudaIpcOpenMemHandle(&at, handle,
					      cudaIpcMemLazyEnablePeerAccess),
			 cudaErrorDeviceUninitialized);
	assert_int_equal(write(child_in, &handle, sizeof(handle)),
			 sizeof(handle));
	assert_int_equal(read(child_out, &right, sizeof(right)), sizeof(right));
	assert_true(right);
	ok(cudaMemcpy(text, own, 8, cudaMemcpyDeviceToHost));
	assert_string_equal(text, "!!!! one");
	ok(cudaFree(at));
	ok(cudaFree(own));
}

static void write_of_a_nic_arrives_with_the_flush(void **state)
{
	char text[4] = "";
	void *at;

	(void)state;
	ok(cudaMalloc(&at, 4));
	ok(cudaMemset(at, 'a', 4));
	kvr_emulated_deliver(at, "bb", 2);
	ok(cudaMemcpy(text, at, 3, cudaMemcpyDeviceToHost));
	assert_string_equal(text, "aaa");
	ok(cudaDeviceFlushGPUDirectRDMAWrites(
		cudaFlushGPUDirectRDMAWritesTargetCurrentDevice,
		cudaFlushGPUDirectRDMAWritesToOwner));
	ok(cudaMemcpy(text, at, 3, cudaMemcpyDeviceToHost));
	assert_string_equal(text, "bba");
	ok(cudaFree(at));
}

static void device_settings_are_what_calls_tell(void **state)
{
	struct cudaDeviceProp properties;
	char id[32];
	int value;

	(void)state;
	kvr_emulated_set_device_count(2);
	kvr_emulated_set_attribute(1, cudaDevAttrComputeCapabilityMajor, 10);
	kvr_emulated_set_pci_bus_id(1, "0001:AF:00.0");
	ok(cudaGetDeviceCount(&value));
	assert_int_equal(value, 2);
	ok(cudaDeviceGetAttribute(&value, cudaDevAttrComputeCapabilityMajor,
				  1));
	assert_int_equal(value, 10);
	ok(cudaGetDeviceProperties(&properties, 1));
	assert_int_equal(properties.major, 10);
	ok(cudaDeviceGetAttribute(&value, cudaDevAttrComputeCapabilityMajor,
				  0));
	assert_int_equal(value, 9);
	ok(cudaDeviceGetPCIBusId(id, sizeof(id), 1));
	assert_string_equal(id, "0001:AF:00.0");
	ok(cudaDeviceGetAttribute(&value, cudaDevAttrPciBusId, 1));
	assert_int_equal(value, 0xaf);
	ok(cudaDeviceGetByPCIBusId(&value, "0001:af:00.0"));
	assert_int_equal(value, 1);
	assert_int_equal(cudaSetDevice(2), cudaErrorInvalidDevice);
	ok(cudaSetDevice(1));
	ok(cudaGetDevice(&value));
	assert_int_equal(value, 1);
}

static void driver_missing_or_old_is_told(void **state)
{
	int value = -1;

	(void)state;
	kvr_emulated_set_driver_version(0);
	assert_int_equal(cudaGetDeviceCount(&value),
			 cudaErrorInsufficientDriver);
	assert_int_equal(value, 0);
	kvr_emulated_set_driver_version(11080);
	assert_int_equal(cudaSetDevice(0), cudaErrorInsufficientDriver);
	ok(cudaDriverGetVersion(&value));
	assert_int_equal(value, 11080);
	kvr_emulated_reset();
	kvr_emulated_set_device_count(0);
	assert_int_equal(cudaGetDeviceCount(&value), cudaErrorNoDevice);
}

static void entry_point_unknown_is_not_found(void **state)
{
	enum cudaDriverEntryPointQueryResult found;
	void *function = &found;

	(void)state;
	ok(cudaGetDriverEntryPointByVersion("cuNoSuchCall", &function, 12000,
					    cudaEnableDefault, &found));
	assert_int_equal(found, cudaDriverEntryPointSymbolNotFound);
	assert_null(function);
}

static void allocation_failing_leaves_nothing(void **state)
{
	void *at = NULL;

	(void)state;
	kvr_emulated_fail_named("cudaMalloc", 2, cudaErrorMemoryAllocation);
	ok(cudaMalloc(&at, 10));
	ok(cudaFree(at));
	assert_int_equal(cudaMalloc(&at, 10), cudaErrorMemoryAllocation);
	assert_int_equal(kvr_emulated_allocations(), 0);
	assert_string_equal(cudaGetErrorName(cudaGetLastError()),
			    "cudaErrorMemoryAllocation");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, reset, reset)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(memory_copied_there_and_back_is_the_same),
		TEST(copy_of_the_wrong_kind_is_refused),
		TEST(memory_beyond_the_limit_is_refused),
		TEST(pointer_of_each_kind_is_recognised),
		TEST(pointer_asked_by_driver_tells_its_range),
		TEST(dmabuf_of_whole_pages_stands_for_them),
		TEST(memory_of_another_process_is_shared),
		TEST(write_of_a_nic_arrives_with_the_flush),
		TEST(device_settings_are_what_calls_tell),
		TEST(driver_missing_or_old_is_told),
		TEST(entry_point_unknown_is_not_found),
		TEST(allocation_failing_leaves_nothing),
	};

	start_importer();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
