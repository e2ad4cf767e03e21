/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver calls that kvring uses, and how it gets at them. Their symbols
 * are hidden: only cudaGetDriverEntryPoint gives them out, so that a direct
 * reference, which would need -lcuda, does not link.
 */
#include <string.h>
#include <unistd.h>

#include "tests/emulated_cuda/internal.h"

#define DRIVER_CALL()                                                          \
	do {                                                                   \
		cudaError_t planned = emu_call(__func__);                      \
		if (planned != cudaSuccess)                                    \
			return (CUresult)planned;                              \
	} while (0)

struct memory_word {
	void *at;
	uint64_t value;
	unsigned flags;
	bool wide;
};

static uint64_t word_load(const struct memory_word *word)
{
	return word->wide
		       ? __atomic_load_n((uint64_t *)word->at, __ATOMIC_ACQUIRE)
		       : __atomic_load_n((uint32_t *)word->at,
					 __ATOMIC_ACQUIRE);
}

static bool geq(const struct memory_word *word, uint64_t now)
{
	return word->wide ? (int64_t)(now - word->value) >= 0
			  : (int32_t)(uint32_t)(now - word->value) >= 0;
}

static bool satisfied(const struct memory_word *word, uint64_t now)
{
	uint64_t all = word->wide ? UINT64_MAX : UINT32_MAX;

	switch (word->flags & 3) {
	case CU_STREAM_WAIT_VALUE_GEQ:
		return geq(word, now);
	case CU_STREAM_WAIT_VALUE_EQ:
		return now == word->value;
	case CU_STREAM_WAIT_VALUE_AND:
		return (now & word->value) != 0;
	default: /* NOR */
		return (~(now | word->value) & all) != 0;
	}
}

/* Called with nothing open; the word may be in device memory. */
static bool word_ready(struct emu_op *op)
{
	const struct memory_word *word = emu_payload(op);
	bool ready;

	kvr_emulated_memory_open();
	ready = satisfied(word, word_load(word));
	kvr_emulated_memory_close();
	return ready;
}

static void run_wait(struct emu_op *op)
{
	const struct memory_word *word = emu_payload(op);

	emu_acquire(word->at);
}

static void run_write(struct emu_op *op)
{
	const struct memory_word *word = emu_payload(op);

	emu_release(word->at);
	if (word->wide)
		__atomic_store_n((uint64_t *)word->at, word->value,
				 __ATOMIC_RELEASE);
	else
		__atomic_store_n((uint32_t *)word->at, (uint32_t)word->value,
				 __ATOMIC_RELEASE);
}

static bool allowed(const struct memory_word *word, int device)
{
	int able = 0;

	if (!emu_area_find(word->at, NULL) ||
	    (uintptr_t)word->at % (word->wide ? 8 : 4))
		return false;
	emu_attribute(device, CU_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS,
		      &able);
	return able || !word->wide;
}

static CUresult submit(CUstream stream, const struct memory_word *word,
		       bool wait)
{
	struct emu_op *op;

	if (!allowed(word, emu_device_current()))
		return word->wide ? CUDA_ERROR_NOT_SUPPORTED
				  : CUDA_ERROR_INVALID_VALUE;
	op = emu_op_new(wait ? run_wait : run_write, word, sizeof(*word));
	if (wait)
		op->ready = word_ready;
	return (CUresult)emu_submit(stream, op);
}

static CUresult wait_value(CUstream stream, CUdeviceptr at, uint64_t value,
			   unsigned flags, bool wide)
{
	struct memory_word word = {(void *)at, value, flags, wide};

	if (flags & ~(unsigned)(3 | CU_STREAM_WAIT_VALUE_FLUSH))
		return CUDA_ERROR_INVALID_VALUE;
	return submit(stream, &word, true);
}

static CUresult write_value(CUstream stream, CUdeviceptr at, uint64_t value,
			    unsigned flags, bool wide)
{
	struct memory_word word = {(void *)at, value, flags, wide};

	if (flags & ~(unsigned)CU_STREAM_WRITE_VALUE_NO_MEMORY_BARRIER)
		return CUDA_ERROR_INVALID_VALUE;
	return submit(stream, &word, false);
}

CUresult cuStreamWaitValue32(CUstream stream, CUdeviceptr at, cuuint32_t value,
			     unsigned flags)
{
	DRIVER_CALL();
	return wait_value(stream, at, value, flags, false);
}

CUresult cuStreamWaitValue64(CUstream stream, CUdeviceptr at, cuuint64_t value,
			     unsigned flags)
{
	DRIVER_CALL();
	return wait_value(stream, at, value, flags, true);
}

CUresult cuStreamWriteValue32(CUstream stream, CUdeviceptr at, cuuint32_t value,
			      unsigned flags)
{
	DRIVER_CALL();
	return write_value(stream, at, value, flags, false);
}

CUresult cuStreamWriteValue64(CUstream stream, CUdeviceptr at, cuuint64_t value,
			      unsigned flags)
{
	DRIVER_CALL();
	return write_value(stream, at, value, flags, true);
}

static CUresult batch_one(CUstream stream, const CUstreamBatchMemOpParams *one)
{
	switch (one->operation) {
	case CU_STREAM_MEM_OP_WAIT_VALUE_32:
		return wait_value(stream, one->waitValue.address,
				  one->waitValue.value, one->waitValue.flags,
				  false);
	case CU_STREAM_MEM_OP_WAIT_VALUE_64:
		return wait_value(stream, one->waitValue.address,
				  one->waitValue.value64, one->waitValue.flags,
				  true);
	case CU_STREAM_MEM_OP_WRITE_VALUE_32:
		return write_value(stream, one->writeValue.address,
				   one->writeValue.value, one->writeValue.flags,
				   false);
	case CU_STREAM_MEM_OP_WRITE_VALUE_64:
		return write_value(stream, one->writeValue.address,
				   one->writeValue.value64,
				   one->writeValue.flags, true);
	default:
		return CUDA_ERROR_NOT_SUPPORTED;
	}
}

CUresult cuStreamBatchMemOp(CUstream stream, unsigned count,
			    CUstreamBatchMemOpParams *list, unsigned flags)
{
	CUresult result = CUDA_SUCCESS;

	DRIVER_CALL();
	if (flags)
		return CUDA_ERROR_INVALID_VALUE;
	for (unsigned i = 0; i < count && result == CUDA_SUCCESS; i++)
		result = batch_one(stream, &list[i]);
	return result;
}

CUresult cuInit(unsigned flags)
{
	DRIVER_CALL();
	return flags ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

CUresult cuDriverGetVersion(int *version)
{
	return (CUresult)cudaDriverGetVersion(version);
}

CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
	DRIVER_CALL();
	if (ordinal < 0 || ordinal >= emu_device_count())
		return CUDA_ERROR_INVALID_DEVICE;
	*device = ordinal;
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute,
			      CUdevice device)
{
	DRIVER_CALL();
	return (CUresult)emu_attribute(device, (int)attribute, value);
}

CUresult cuDeviceGetName(char *name, int bytes, CUdevice device)
{
	(void)device;
	DRIVER_CALL();
	memset(name, 0, (size_t)bytes);
	strncpy(name, "emulated", (size_t)bytes - 1);
	return CUDA_SUCCESS;
}

CUresult cuDeviceTotalMem(size_t *bytes, CUdevice device)
{
	(void)device;
	DRIVER_CALL();
	*bytes = 1 << 30;
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetPCIBusId(char *id, int bytes, CUdevice device)
{
	return (CUresult)cudaDeviceGetPCIBusId(id, bytes, device);
}

CUresult cuMemRetainAllocationHandle(CUmemGenericAllocationHandle *handle,
				     void *at)
{
	(void)handle;
	(void)at;
	DRIVER_CALL();
	return CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemRelease(CUmemGenericAllocationHandle handle)
{
	(void)handle;
	return CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemGetAddressRange(CUdeviceptr *base, size_t *size, CUdeviceptr at)
{
	struct emu_area area;

	DRIVER_CALL();
	if (!emu_area_find((void *)at, &area))
		return CUDA_ERROR_NOT_FOUND;
	if (base)
		*base = area.base;
	if (size)
		*size = area.size;
	return CUDA_SUCCESS;
}

static CUresult attribute_of(const struct emu_area *area,
			     CUpointer_attribute attribute, CUdeviceptr at,
			     void *out)
{
	int able = 0;

	switch (attribute) {
	case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
		*(unsigned *)out = area->kind == EMU_DEVICE
					   ? CU_MEMORYTYPE_DEVICE
					   : CU_MEMORYTYPE_HOST;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
		*(CUdeviceptr *)out = at;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
		*(int *)out = area->device;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
		*(CUdeviceptr *)out = area->base;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
		*(size_t *)out = area->size;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE:
		*(CUmemoryPool *)out = NULL; /* cudaMalloc's is of none */
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_BUFFER_ID:
		*(unsigned long long *)out = area->id;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS:
		*(unsigned *)out = area->sync_memops;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_IS_MANAGED:
	case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
		*(unsigned *)out = area->kind == EMU_DEVICE &&
				   attribute != CU_POINTER_ATTRIBUTE_IS_MANAGED;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE:
		emu_attribute(area->device, cudaDevAttrGPUDirectRDMASupported,
			      &able);
		*(unsigned *)out = area->kind == EMU_DEVICE && able;
		return CUDA_SUCCESS;
	default:
		return CUDA_ERROR_NOT_SUPPORTED;
	}
}

CUresult cuPointerGetAttribute(void *out, CUpointer_attribute attribute,
			       CUdeviceptr at)
{
	struct emu_area area;

	DRIVER_CALL();
	if (!out || !emu_area_find((void *)at, &area))
		return CUDA_ERROR_INVALID_VALUE;
	return attribute_of(&area, attribute, at, out);
}

/* Of what CUDA does not know, the driver leaves zeros and succeeds. */
CUresult cuPointerGetAttributes(unsigned count, CUpointer_attribute *list,
				void **out, CUdeviceptr at)
{
	struct emu_area area;
	CUresult result = CUDA_SUCCESS;

	DRIVER_CALL();
	if (!emu_area_find((void *)at, &area)) {
		for (unsigned i = 0; i < count; i++)
			*(unsigned *)out[i] = 0;
		return CUDA_SUCCESS;
	}
	for (unsigned i = 0; i < count && result == CUDA_SUCCESS; i++)
		result = attribute_of(&area, list[i], at, out[i]);
	return result;
}

CUresult cuPointerSetAttribute(const void *value, CUpointer_attribute attribute,
			       CUdeviceptr at)
{
	DRIVER_CALL();
	if (attribute != CU_POINTER_ATTRIBUTE_SYNC_MEMOPS ||
	    !emu_area_sync((void *)at, *(const unsigned *)value != 0))
		return CUDA_ERROR_INVALID_VALUE;
	return CUDA_SUCCESS;
}

CUresult cuMemGetHandleForAddressRange(void *handle, CUdeviceptr at,
				       size_t size, CUmemRangeHandleType type,
				       unsigned long long flags)
{
	int able = 0;

	DRIVER_CALL();
	emu_attribute(emu_device_current(),
		      CU_DEVICE_ATTRIBUTE_DMA_BUF_SUPPORTED, &able);
	if (!able)
		return CUDA_ERROR_NOT_SUPPORTED;
	if (type != CU_MEM_RANGE_HANDLE_TYPE_DMA_BUF_FD ||
	    (flags & ~1ULL)) /* 1: mapped over PCIe */
		return CUDA_ERROR_INVALID_VALUE;
	return (CUresult)emu_dmabuf_open((void *)at, size, handle);
}

CUresult cuFlushGPUDirectRDMAWrites(CUflushGPUDirectRDMAWritesTarget target,
				    CUflushGPUDirectRDMAWritesScope scope)
{
	(void)target;
	(void)scope;
	DRIVER_CALL();
	kvr_emulated_flush();
	return CUDA_SUCCESS;
}

EMU_EXPORT cudaError_t cudaDeviceFlushGPUDirectRDMAWrites(
	enum cudaFlushGPUDirectRDMAWritesTarget target,
	enum cudaFlushGPUDirectRDMAWritesScope scope)
{
	(void)target;
	(void)scope;
	EMU_CALL();
	kvr_emulated_flush();
	return cudaSuccess;
}

#define ENTRY(name)                                                            \
	{                                                                      \
#name, (void *)(name)                                          \
	}
static const struct {
	const char *name;
	void *function;
} entries[] = {
	ENTRY(cuInit),
	ENTRY(cuDriverGetVersion),
	ENTRY(cuDeviceGet),
	ENTRY(cuDeviceGetAttribute),
	ENTRY(cuDeviceGetName),
	{"cuDeviceTotalMem", (void *)cuDeviceTotalMem},
	{"cuDeviceGetPCIBusId", (void *)cuDeviceGetPCIBusId},
	ENTRY(cuMemRetainAllocationHandle),
	ENTRY(cuMemRelease),
	ENTRY(cuGetErrorName),
	ENTRY(cuGetErrorString),
	{"cuMemGetAddressRange", (void *)cuMemGetAddressRange},
	ENTRY(cuMemGetHandleForAddressRange),
	ENTRY(cuPointerGetAttribute),
	ENTRY(cuPointerGetAttributes),
	ENTRY(cuPointerSetAttribute),
	ENTRY(cuFlushGPUDirectRDMAWrites),
	{"cuStreamWaitValue32", (void *)cuStreamWaitValue32},
	{"cuStreamWaitValue64", (void *)cuStreamWaitValue64},
	{"cuStreamWriteValue32", (void *)cuStreamWriteValue32},
	{"cuStreamWriteValue64", (void *)cuStreamWriteValue64},
	{"cuStreamBatchMemOp", (void *)cuStreamBatchMemOp},
};

static cudaError_t entry_point(const char *name, void **out,
			       enum cudaDriverEntryPointQueryResult *result)
{
	size_t i = 0, count = sizeof(entries) / sizeof(*entries);

	while (i < count && strcmp(entries[i].name, name) != 0)
		i++;
	*out = i < count ? entries[i].function : NULL;
	if (result)
		*result = i < count ? cudaDriverEntryPointSuccess
				    : cudaDriverEntryPointSymbolNotFound;
	return cudaSuccess;
}

EMU_EXPORT cudaError_t cudaGetDriverEntryPointByVersion(
	const char *name, void **out, unsigned version,
	unsigned long long flags, enum cudaDriverEntryPointQueryResult *result)
{
	(void)version;
	(void)flags;
	EMU_CALL();
	return emu_error(entry_point(name, out, result));
}

#if CUDART_VERSION < 13000
EMU_EXPORT cudaError_t
cudaGetDriverEntryPoint(const char *name, void **out, unsigned long long flags,
			enum cudaDriverEntryPointQueryResult *result)
{
	(void)flags;
	EMU_CALL();
	return emu_error(entry_point(name, out, result));
}
#endif
