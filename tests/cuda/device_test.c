/* SPDX-License-Identifier: Apache-2.0 */
/* What the plug-in makes of a driver's answers, which are played here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "compute/cuda/device.h"
#include "compute/cuda/driver.h"
#include "compute/cuda/error.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define REASON_BYTES 256

/* --------------------------------------------------- the driver's answers */

static const char *failing; /* the call that does */

static CUresult answer(const char *call)
{
	return failing && !strcmp(call, failing) ? CUDA_ERROR_UNKNOWN
						 : CUDA_SUCCESS;
}

static CUresult device_get(CUdevice *out, int index)
{
	if (index > 1)
		return CUDA_ERROR_INVALID_DEVICE;
	*out = index;
	return answer("cuDeviceGet");
}

static CUresult device_get_name(char *out, int bytes, CUdevice device)
{
	snprintf(out, (size_t)bytes, "GPU %d", device);
	return answer("cuDeviceGetName");
}

static CUresult device_total_mem(size_t *out, CUdevice device)
{
	*out = (size_t)(device + 1) << 30;
	return answer("cuDeviceTotalMem");
}

static CUresult device_get_pci_bus_id(char *out, int bytes, CUdevice device)
{
	snprintf(out, (size_t)bytes, "0000:%02X:00.0", 0xab + device);
	return answer("cuDeviceGetPCIBusId");
}

/* By the numbers that driver and library share: 0 an H100 in a slot, 1 a GH200
 * whose driver is too old to know of dma-buf. */
static CUresult device_get_attribute(int *out, CUdevice_attribute which,
				     CUdevice device)
{
	static const int known[][3] = {
		{75, 9, 9},	 {76, 0, 0},  {100, 0, 1},
		{110, 1, 0},	 {116, 1, 0}, {117, 1, 2},
		{118, 100, 200}, {122, 1, 0}, {124, 1, -1},
	};

	for (size_t i = 0; i < COUNT(known); i++) {
		if (known[i][0] != (int)which || known[i][device + 1] < 0)
			continue;
		*out = known[i][device + 1];
		return answer("cuDeviceGetAttribute");
	}
	return CUDA_ERROR_INVALID_VALUE;
}

enum place { NOWHERE, PLAIN, PIECES, POOL, MANAGED, PINNED, PLACES };

static enum place place_of(CUdeviceptr address)
{
	return address >> 20 < PLACES ? (enum place)(address >> 20) : NOWHERE;
}

static void pointer_attribute(enum place place, CUpointer_attribute which,
			      void *data)
{
	static int a_pool;

	switch ((int)which) {
	case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
		*(unsigned *)data = place == PINNED ? CU_MEMORYTYPE_HOST
						    : CU_MEMORYTYPE_DEVICE;
		return;
	case CU_POINTER_ATTRIBUTE_BUFFER_ID:
		*(unsigned long long *)data = 7000 + place;
		return;
	case CU_POINTER_ATTRIBUTE_IS_MANAGED:
		*(unsigned *)data = place == MANAGED;
		return;
	case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
		*(int *)data = 1;
		return;
	case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
		*(CUdeviceptr *)data = (CUdeviceptr)place << 20;
		return;
	case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
		*(size_t *)data = 0x10000;
		return;
	case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE:
		*(unsigned *)data = place == PLAIN;
		return;
	case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE:
		*(void **)data = place == POOL ? &a_pool : NULL;
		return;
	default:
		fail_msg("asked for attribute %d", (int)which);
	}
}

static CUresult pointer_get_attributes(unsigned count,
				       CUpointer_attribute *which, void **data,
				       CUdeviceptr address)
{
	enum place place = place_of(address);

	for (unsigned i = 0; i < count; i++)
		if (place != NOWHERE)
			pointer_attribute(place, which[i], data[i]);
		else if (which[i] == CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL)
			*(int *)data[i] = CU_DEVICE_INVALID;
	return answer("cuPointerGetAttributes");
}

static int retained;

static CUresult retain_allocation_handle(CUmemGenericAllocationHandle *out,
					 void *address)
{
	if (place_of((CUdeviceptr)(uintptr_t)address) != PIECES)
		return CUDA_ERROR_INVALID_VALUE;
	*out = 42;
	retained++;
	return CUDA_SUCCESS;
}

static CUresult mem_release(CUmemGenericAllocationHandle handle)
{
	assert_int_equal(handle, 42);
	retained--;
	return CUDA_SUCCESS;
}

static int play_driver(void **state)
{
	(void)state;
	failing = NULL;
	retained = 0;
	kvr_cuda_driver = (struct kvr_cuda_driver){
		.device_get = device_get,
		.device_get_name = device_get_name,
		.device_total_mem = device_total_mem,
		.device_get_pci_bus_id = device_get_pci_bus_id,
		.device_get_attribute = device_get_attribute,
		.pointer_get_attributes = pointer_get_attributes,
		.retain_allocation_handle = retain_allocation_handle,
		.mem_release = mem_release,
	};
	return 0;
}

/* ------------------------------------------------------------------ tests */

static void device_info_of_each_gpu_is_as_the_driver_says(void **state)
{
	char reason[REASON_BYTES] = "";
	struct kvr_gpu_info gpu;

	(void)state;
	assert_int_equal(kvr_cuda_device_info(0, &gpu, reason, sizeof(reason)),
			 KVR_OK);
	assert_int_equal(gpu.size, sizeof(gpu));
	assert_string_equal(gpu.name, "GPU 0");
	assert_string_equal(gpu.pci_address, "0000:ab:00.0");
	assert_int_equal(gpu.compute_major * 10 + gpu.compute_minor, 90);
	assert_int_equal(gpu.memory_bytes, 1u << 30);
	assert_int_equal(gpu.runtime_version, CUDART_VERSION);
	assert_true(gpu.dmabuf && gpu.direct_rdma && gpu.direct_rdma_vmm);
	assert_int_equal(gpu.ordering, KVR_GPU_ORDERING_OWNER);
	assert_true(gpu.flush_by_host && !gpu.flush_by_stream);
	assert_true(!gpu.host_page_tables && gpu.stream_words_64);

	assert_int_equal(kvr_cuda_device_info(1, &gpu, reason, sizeof(reason)),
			 KVR_OK);
	assert_string_equal(gpu.name, "GPU 1");
	assert_int_equal(gpu.memory_bytes, 2u << 30);
	assert_true(!gpu.direct_rdma && !gpu.direct_rdma_vmm);
	assert_int_equal(gpu.ordering, KVR_GPU_ORDERING_DEVICES);
	assert_true(!gpu.flush_by_host && gpu.flush_by_stream);
	assert_true(gpu.host_page_tables && !gpu.stream_words_64);
}

static void device_info_attribute_unknown_to_driver_is_no(void **state)
{
	char reason[REASON_BYTES];
	struct kvr_gpu_info gpu;

	(void)state;
	assert_int_equal(kvr_cuda_device_info(1, &gpu, reason, sizeof(reason)),
			 KVR_OK);
	assert_int_equal(gpu.dmabuf, 0);
}

static void device_info_past_the_last_is_end(void **state)
{
	char reason[REASON_BYTES];
	struct kvr_gpu_info gpu;

	(void)state;
	assert_int_equal(kvr_cuda_device_info(2, &gpu, reason, sizeof(reason)),
			 KVR_ERR_END);
}

static void device_info_any_call_failing_names_it_and_sets_nothing(void **state)
{
	static const char *const calls[] = {
		"cuDeviceGet", "cuDeviceGetName", "cuDeviceTotalMem",
		"cuDeviceGetPCIBusId", "cuDeviceGetAttribute"};
	char reason[REASON_BYTES];
	struct kvr_gpu_info gpu;

	(void)state;
	for (size_t i = 0; i < COUNT(calls); i++) {
		failing = calls[i];
		memset(&gpu, 0x5a, sizeof(gpu));
		assert_int_equal(
			kvr_cuda_device_info(0, &gpu, reason, sizeof(reason)),
			KVR_ERR_DEVICE);
		assert_memory_equal(reason, calls[i], strlen(calls[i]));
		assert_int_equal(reason[strlen(calls[i])], ':');
		assert_non_null(strstr(reason, "(999)"));
		assert_int_equal(gpu.memory_bytes, 0x5a5a5a5a5a5a5a5a);
	}
}

static struct kvr_pointer_info query(enum place place)
{
	struct kvr_pointer_info info;
	uintptr_t address = ((uintptr_t)place << 20) + 0x123;

	/* not one that the driver is asked to read */
	assert_int_equal(kvr_cuda_pointer_query((const void *)address, &info),
			 KVR_OK);
	assert_int_equal(retained, 0);
	return info;
}

static void pointer_query_of_device_memory_says_which_allocation(void **state)
{
	struct kvr_pointer_info info = query(PLAIN);

	(void)state;
	assert_int_equal(info.kind, KVR_POINTER_DEVICE);
	assert_int_equal(info.device, 1);
	assert_int_equal(info.base, PLAIN << 20);
	assert_int_equal(info.bytes, 0x10000);
	assert_int_equal(info.identity, 7000 + PLAIN);
	assert_true(info.direct_rdma && !info.vmm && !info.pool);
}

static void pointer_query_tells_how_memory_was_made(void **state)
{
	struct kvr_pointer_info info = query(PIECES);

	(void)state;
	assert_int_equal(info.kind, KVR_POINTER_DEVICE);
	assert_true(info.vmm && !info.pool && !info.direct_rdma);
	info = query(POOL);
	assert_int_equal(info.kind, KVR_POINTER_DEVICE);
	assert_true(info.pool && !info.vmm);
	assert_int_equal(query(MANAGED).kind, KVR_POINTER_MANAGED);
	assert_int_equal(query(PINNED).kind, KVR_POINTER_PINNED);
}

static void pointer_query_of_ordinary_memory_is_host_and_no_more(void **state)
{
	struct kvr_pointer_info info = query(NOWHERE);

	(void)state;
	assert_int_equal(info.kind, KVR_POINTER_HOST);
	assert_int_equal(info.device, 0);
	assert_int_equal(info.base | info.bytes | info.identity, 0);
	assert_true(!info.direct_rdma && !info.vmm && !info.pool);
}

static void pointer_query_driver_fails_is_device_and_sets_nothing(void **state)
{
	struct kvr_pointer_info info = {.bytes = 5};

	(void)state;
	failing = "cuPointerGetAttributes";
	assert_int_equal(kvr_cuda_pointer_query(&info, &info), KVR_ERR_DEVICE);
	assert_int_equal(info.bytes, 5);
}

/* Each way not to start has its status and text, within kvring info's line. */
static void not_started_each_way_has_status_and_remedy(void **state)
{
	static const struct {
		cudaError_t error;
		int driver;
		enum kvr_status status;
		const char *says;
	} ways[] = {
		{cudaErrorInsufficientDriver, 0, KVR_ERR_NO_DRIVER, "install"},
		{cudaErrorInsufficientDriver, 11040, KVR_ERR_DRIVER_OLD,
		 "11.4"},
		{cudaErrorStubLibrary, 0, KVR_ERR_DRIVER_STUB,
		 "LD_LIBRARY_PATH"},
		{cudaErrorNoDevice, 12080, KVR_ERR_NO_GPU,
		 "CUDA_VISIBLE_DEVICES"},
		{cudaErrorSystemDriverMismatch, 12080, KVR_ERR_DEVICE,
		 "reboot"},
		{cudaErrorSystemNotReady, 12080, KVR_ERR_DEVICE,
		 "fabricmanager"},
		{cudaErrorCompatNotSupportedOnDevice, 12080, KVR_ERR_DEVICE,
		 "cuda-compat"},
		{cudaErrorInitializationError, 12080, KVR_ERR_DEVICE, "fork"},
		{cudaErrorUnknown, 12080, KVR_ERR_DEVICE, "nvidia-smi"},
	};
	char reason[REASON_BYTES];

	(void)state;
	for (size_t i = 0; i < COUNT(ways); i++) {
		assert_int_equal(kvr_cuda_not_started(ways[i].error,
						      ways[i].driver, reason,
						      sizeof(reason)),
				 ways[i].status);
		assert_non_null(strstr(reason, ways[i].says));
		assert_true(strlen(reason) + 1 < sizeof(reason));
	}
}

#define TEST(name) cmocka_unit_test_setup(name, play_driver)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(device_info_of_each_gpu_is_as_the_driver_says),
		TEST(device_info_attribute_unknown_to_driver_is_no),
		TEST(device_info_past_the_last_is_end),
		TEST(device_info_any_call_failing_names_it_and_sets_nothing),
		TEST(pointer_query_of_device_memory_says_which_allocation),
		TEST(pointer_query_tells_how_memory_was_made),
		TEST(pointer_query_of_ordinary_memory_is_host_and_no_more),
		TEST(pointer_query_driver_fails_is_device_and_sets_nothing),
		TEST(not_started_each_way_has_status_and_remedy),
	};

	return cmocka_run_group_tests_name("cuda_device", tests, NULL, NULL);
}
