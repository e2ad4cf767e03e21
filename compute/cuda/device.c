/* SPDX-License-Identifier: Apache-2.0 */
#include "compute/cuda/device.h"

#include <ctype.h>
#include <string.h>

#include "compute/cuda/driver.h"
#include "compute/cuda/error.h"

/* A failed call of several: where it stands and what to say of it. */
struct asked {
	CUdevice device;
	CUresult result; /* of the first that failed */
	const char *call;
};

static int attribute(struct asked *asked, CUdevice_attribute which)
{
	int value = 0;
	CUresult result;

	if (asked->result != CUDA_SUCCESS)
		return 0;
	result = kvr_cuda_driver.device_get_attribute(&value, which,
						      asked->device);
	/* An older driver does not know it: then it cannot do it either. */
	if (result == CUDA_ERROR_INVALID_VALUE)
		return 0;
	asked->result = result;
	asked->call = "cuDeviceGetAttribute";
	return result == CUDA_SUCCESS ? value : 0;
}

static bool flag(struct asked *asked, CUdevice_attribute which)
{
	return attribute(asked, which) != 0;
}

static enum kvr_gpu_ordering ordering(int value)
{
	if (value >= CU_GPU_DIRECT_RDMA_WRITES_ORDERING_ALL_DEVICES)
		return KVR_GPU_ORDERING_DEVICES;
	return value >= CU_GPU_DIRECT_RDMA_WRITES_ORDERING_OWNER
		       ? KVR_GPU_ORDERING_OWNER
		       : KVR_GPU_ORDERING_NONE;
}

static void ask_attributes(struct asked *asked, struct kvr_gpu_info *out)
{
	int flush;

	out->compute_major =
		attribute(asked, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
	out->compute_minor =
		attribute(asked, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
	out->dmabuf = flag(asked, CU_DEVICE_ATTRIBUTE_DMA_BUF_SUPPORTED);
	out->direct_rdma =
		flag(asked, CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_SUPPORTED);
	out->direct_rdma_vmm = flag(
		asked,
		CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WITH_CUDA_VMM_SUPPORTED);
	out->ordering = ordering(attribute(
		asked, CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WRITES_ORDERING));
	flush = attribute(
		asked,
		CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_FLUSH_WRITES_OPTIONS);
	out->flush_by_host =
		(flush & CU_FLUSH_GPU_DIRECT_RDMA_WRITES_OPTION_HOST) != 0;
	out->flush_by_stream =
		(flush & CU_FLUSH_GPU_DIRECT_RDMA_WRITES_OPTION_MEMOPS) != 0;
	out->host_page_tables = flag(
		asked,
		CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS_USES_HOST_PAGE_TABLES);
	out->stream_words_64 =
		flag(asked, CU_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS);
}

/* As sysfs writes it: CUDA's hexadecimal digits are capitals. */
static void to_lower(char *text)
{
	for (; *text; text++)
		*text = (char)tolower((unsigned char)*text);
}

static void ask_identity(struct asked *asked, struct kvr_gpu_info *out)
{
	size_t bytes = 0;

	asked->call = "cuDeviceGetName";
	asked->result = kvr_cuda_driver.device_get_name(
		out->name, sizeof(out->name), asked->device);
	if (asked->result != CUDA_SUCCESS)
		return;
	asked->call = "cuDeviceTotalMem";
	asked->result = kvr_cuda_driver.device_total_mem(&bytes, asked->device);
	if (asked->result != CUDA_SUCCESS)
		return;
	out->memory_bytes = bytes;
	asked->call = "cuDeviceGetPCIBusId";
	asked->result = kvr_cuda_driver.device_get_pci_bus_id(
		out->pci_address, sizeof(out->pci_address), asked->device);
	to_lower(out->pci_address);
}

enum kvr_status kvr_cuda_device_info(uint32_t index, struct kvr_gpu_info *out,
				     char *reason, size_t reason_bytes)
{
	struct kvr_gpu_info info = {.size = sizeof(info)};
	struct asked asked = {.call = "cuDeviceGet"};

	asked.result = kvr_cuda_driver.device_get(&asked.device, (int)index);
	if (asked.result == CUDA_ERROR_INVALID_DEVICE)
		return KVR_ERR_END;
	if (asked.result == CUDA_SUCCESS)
		ask_identity(&asked, &info);
	if (asked.result == CUDA_SUCCESS)
		ask_attributes(&asked, &info);
	if (asked.result != CUDA_SUCCESS)
		return kvr_cuda_failed(asked.call, (cudaError_t)asked.result,
				       reason, reason_bytes);
	(void)cudaDriverGetVersion(&info.driver_version);
	(void)cudaRuntimeGetVersion(&info.runtime_version);
	*out = info;
	return KVR_OK;
}

static enum kvr_pointer_kind kind_of(unsigned type, unsigned managed)
{
	if (managed)
		return KVR_POINTER_MANAGED;
	if (type == CU_MEMORYTYPE_DEVICE)
		return KVR_POINTER_DEVICE;
	return type == CU_MEMORYTYPE_HOST ? KVR_POINTER_PINNED
					  : KVR_POINTER_HOST;
}

/* Memory of the virtual memory management calls, and of no other, has a
 * handle that can be had from its address. */
static bool is_vmm(const void *address)
{
	CUmemGenericAllocationHandle handle;

	if (kvr_cuda_driver.retain_allocation_handle(
		    &handle, (void *)(uintptr_t)address) != CUDA_SUCCESS)
		return false;
	(void)kvr_cuda_driver.mem_release(handle);
	return true;
}

enum kvr_status kvr_cuda_pointer_query(const void *address,
				       struct kvr_pointer_info *out)
{
	struct kvr_pointer_info info = {0};
	unsigned type = 0, managed = 0, direct_rdma = 0;
	unsigned long long identity = 0;
	CUdeviceptr base = 0;
	CUmemoryPool pool = NULL;
	size_t bytes = 0;
	int device = 0;
	CUpointer_attribute which[] = {
		CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
		CU_POINTER_ATTRIBUTE_IS_MANAGED,
		CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL,
		CU_POINTER_ATTRIBUTE_RANGE_START_ADDR,
		CU_POINTER_ATTRIBUTE_RANGE_SIZE,
		CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE,
		CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE,
		CU_POINTER_ATTRIBUTE_BUFFER_ID,
	};
	void *data[] = {&type,	&managed,     &device, &base,
			&bytes, &direct_rdma, &pool,   &identity};

	/* What it does not know it says 0 of, and succeeds. */
	if (kvr_cuda_driver.pointer_get_attributes(
		    sizeof(which) / sizeof(which[0]), which, data,
		    (CUdeviceptr)(uintptr_t)address) != CUDA_SUCCESS)
		return KVR_ERR_DEVICE;
	info.kind = kind_of(type, managed);
	if (info.kind != KVR_POINTER_HOST) {
		info.device = device < 0 ? 0 : (uint32_t)device;
		info.base = base;
		info.bytes = bytes;
		info.direct_rdma = direct_rdma != 0;
		info.pool = pool != NULL;
		info.identity = identity;
		info.vmm = info.kind == KVR_POINTER_DEVICE && is_vmm(address);
	}
	*out = info;
	return KVR_OK;
}
