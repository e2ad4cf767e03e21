/* SPDX-License-Identifier: Apache-2.0 */
/* Devices and what they say of themselves, as tests set it. */
#include <stdio.h>
#include <string.h>

#include "tests/emulated_cuda/internal.h"

#define SET_MAX 64
#define PCI_ID_BYTES 32

struct set {
	int attribute, value;
};

struct device {
	struct set set[SET_MAX];
	size_t count;
	char pci_bus_id[PCI_ID_BYTES];
};

/* An H100 SXM's, where it matters to kvring. */
static const struct set usual[] = {
	{cudaDevAttrMaxThreadsPerBlock, 1024},
	{cudaDevAttrMaxBlockDimX, 1024},
	{cudaDevAttrMaxBlockDimY, 1024},
	{cudaDevAttrMaxBlockDimZ, 64},
	{cudaDevAttrMaxGridDimX, 2147483647},
	{cudaDevAttrMaxGridDimY, 65535},
	{cudaDevAttrMaxGridDimZ, 65535},
	{cudaDevAttrMaxSharedMemoryPerBlock, 49152},
	{cudaDevAttrMaxSharedMemoryPerBlockOptin, 232448},
	{cudaDevAttrMaxSharedMemoryPerMultiprocessor, 233472},
	{cudaDevAttrReservedSharedMemoryPerBlock, 1024},
	{cudaDevAttrWarpSize, 32},
	{cudaDevAttrMaxRegistersPerBlock, 65536},
	{cudaDevAttrMaxRegistersPerMultiprocessor, 65536},
	{cudaDevAttrMaxThreadsPerMultiProcessor, 2048},
	{cudaDevAttrMaxBlocksPerMultiprocessor, 32},
	{cudaDevAttrMultiProcessorCount, 132},
	{cudaDevAttrClockRate, 1980000},
	{cudaDevAttrL2CacheSize, 52428800},
	{cudaDevAttrComputeCapabilityMajor, 9},
	{cudaDevAttrComputeCapabilityMinor, 0},
	{cudaDevAttrAsyncEngineCount, 3},
	{cudaDevAttrConcurrentKernels, 1},
	{cudaDevAttrUnifiedAddressing, 1},
	{cudaDevAttrCanMapHostMemory, 1},
	{cudaDevAttrCanUseHostPointerForRegisteredMem, 1},
	{cudaDevAttrHostRegisterSupported, 1},
	{cudaDevAttrMemoryPoolsSupported, 1},
	{cudaDevAttrGPUDirectRDMASupported, 1},
	{cudaDevAttrGPUDirectRDMAFlushWritesOptions, 1},
	{cudaDevAttrGPUDirectRDMAWritesOrdering, 0},
	{CU_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS, 1},
	{CU_DEVICE_ATTRIBUTE_CAN_USE_STREAM_WAIT_VALUE_NOR, 1},
	{CU_DEVICE_ATTRIBUTE_CAN_FLUSH_REMOTE_WRITES, 0},
	{CU_DEVICE_ATTRIBUTE_DMA_BUF_SUPPORTED, 1},
	{CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, 1},
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct device devices[EMU_DEVICES_MAX];
static int device_count = 1;
static int driver_version = CUDART_VERSION;
static _Thread_local int current_device;

int emu_device_current(void)
{
	return current_device;
}

int emu_device_count(void)
{
	int count;

	pthread_mutex_lock(&lock);
	count = driver_version ? device_count : 0;
	pthread_mutex_unlock(&lock);
	return count;
}

void emu_devices_reset(void)
{
	pthread_mutex_lock(&lock);
	memset(devices, 0, sizeof(devices));
	device_count = 1;
	driver_version = CUDART_VERSION;
	pthread_mutex_unlock(&lock);
	current_device = 0;
}

EMU_EXPORT void kvr_emulated_set_device_count(int count)
{
	if (count < 0 || count > EMU_DEVICES_MAX)
		emu_abort("at most %d devices", EMU_DEVICES_MAX);
	pthread_mutex_lock(&lock);
	device_count = count;
	pthread_mutex_unlock(&lock);
}

EMU_EXPORT void kvr_emulated_set_driver_version(int version)
{
	pthread_mutex_lock(&lock);
	driver_version = version;
	pthread_mutex_unlock(&lock);
}

static struct device *device_at(int device)
{
	if (device >= 0 && device < EMU_DEVICES_MAX)
		return &devices[device];
	emu_abort("no device %d", device);
}

EMU_EXPORT void kvr_emulated_set_pci_bus_id(int device, const char *id)
{
	pthread_mutex_lock(&lock);
	snprintf(device_at(device)->pci_bus_id, PCI_ID_BYTES, "%s", id);
	pthread_mutex_unlock(&lock);
}

EMU_EXPORT void kvr_emulated_set_attribute(int number, int attribute, int value)
{
	struct device *device = device_at(number);
	size_t i = 0;

	pthread_mutex_lock(&lock);
	while (i < device->count && device->set[i].attribute != attribute)
		i++;
	if (i == SET_MAX)
		emu_abort("at most %d attributes are set", SET_MAX);
	if (i == device->count)
		device->count++;
	device->set[i] = (struct set){attribute, value};
	pthread_mutex_unlock(&lock);
}

static int value_of(const struct device *device, int attribute)
{
	for (size_t i = 0; i < device->count; i++)
		if (device->set[i].attribute == attribute)
			return device->set[i].value;
	for (size_t i = 0; i < sizeof(usual) / sizeof(*usual); i++)
		if (usual[i].attribute == attribute)
			return usual[i].value;
	return 0;
}

static void pci_bus_id(int device, char *out, size_t size)
{
	if (*devices[device].pci_bus_id)
		snprintf(out, size, "%s", devices[device].pci_bus_id);
	else
		snprintf(out, size, "0000:%02X:00.0",
			 0x1bU + 0x10U * (unsigned)device);
}

cudaError_t emu_attribute(int device, int attribute, int *value)
{
	unsigned domain = 0, bus = 0, slot = 0;
	char id[PCI_ID_BYTES];

	if (device < 0 || device >= emu_device_count())
		return cudaErrorInvalidDevice;
	pthread_mutex_lock(&lock);
	pci_bus_id(device, id, sizeof(id));
	sscanf(id, "%x:%x:%x", &domain, &bus, &slot);
	*value = value_of(&devices[device], attribute);
	pthread_mutex_unlock(&lock);
	if (attribute == cudaDevAttrPciBusId)
		*value = (int)bus;
	else if (attribute == cudaDevAttrPciDeviceId)
		*value = (int)slot;
	else if (attribute == cudaDevAttrPciDomainId)
		*value = (int)domain;
	return cudaSuccess;
}

/* No driver, or one older than this runtime, is told by the first call. */
static cudaError_t driver_problem(void)
{
	int version, count;

	pthread_mutex_lock(&lock);
	version = driver_version;
	count = device_count;
	pthread_mutex_unlock(&lock);
	if (version / 1000 < CUDART_VERSION / 1000)
		return cudaErrorInsufficientDriver;
	return count ? cudaSuccess : cudaErrorNoDevice;
}

EMU_EXPORT cudaError_t cudaGetDeviceCount(int *count)
{
	cudaError_t error;

	EMU_CALL();
	error = driver_problem();
	*count = error == cudaSuccess ? emu_device_count() : 0;
	return emu_error(error);
}

EMU_EXPORT cudaError_t cudaSetDevice(int device)
{
	EMU_CALL();
	if (driver_problem() != cudaSuccess)
		return emu_error(driver_problem());
	if (device < 0 || device >= emu_device_count())
		return emu_error(cudaErrorInvalidDevice);
	current_device = device;
	return cudaSuccess;
}

EMU_EXPORT cudaError_t cudaGetDevice(int *device)
{
	EMU_CALL();
	if (driver_problem() != cudaSuccess)
		return emu_error(driver_problem());
	*device = current_device;
	return cudaSuccess;
}

EMU_EXPORT cudaError_t cudaDeviceGetAttribute(int *value,
					      enum cudaDeviceAttr attribute,
					      int device)
{
	EMU_CALL();
	return emu_error(emu_attribute(device, (int)attribute, value));
}

EMU_EXPORT cudaError_t cudaDriverGetVersion(int *version)
{
	EMU_CALL();
	pthread_mutex_lock(&lock);
	*version = driver_version;
	pthread_mutex_unlock(&lock);
	return cudaSuccess;
}

EMU_EXPORT cudaError_t cudaRuntimeGetVersion(int *version)
{
	EMU_CALL();
	*version = CUDART_VERSION;
	return cudaSuccess;
}

EMU_EXPORT cudaError_t cudaDeviceGetPCIBusId(char *out, int size, int device)
{
	EMU_CALL();
	if (device < 0 || device >= emu_device_count())
		return emu_error(cudaErrorInvalidDevice);
	if (!out || size < 13)
		return emu_error(cudaErrorInvalidValue);
	pthread_mutex_lock(&lock);
	pci_bus_id(device, out, (size_t)size);
	pthread_mutex_unlock(&lock);
	return cudaSuccess;
}

EMU_EXPORT cudaError_t cudaDeviceGetByPCIBusId(int *device, const char *id)
{
	char mine[PCI_ID_BYTES];

	EMU_CALL();
	for (int i = 0; i < emu_device_count(); i++) {
		pthread_mutex_lock(&lock);
		pci_bus_id(i, mine, sizeof(mine));
		pthread_mutex_unlock(&lock);
		if (strcasecmp(mine, id) == 0) {
			*device = i;
			return cudaSuccess;
		}
	}
	return emu_error(cudaErrorInvalidDevice);
}

static void fill_properties(struct cudaDeviceProp *out, int device)
{
	const struct device *set = &devices[device];

	memset(out, 0, sizeof(*out));
	snprintf(out->name, sizeof(out->name), "Emulated CUDA device %d",
		 device);
	out->totalGlobalMem = (size_t)64 << 30;
	out->major = value_of(set, cudaDevAttrComputeCapabilityMajor);
	out->minor = value_of(set, cudaDevAttrComputeCapabilityMinor);
	out->multiProcessorCount =
		value_of(set, cudaDevAttrMultiProcessorCount);
	out->l2CacheSize = value_of(set, cudaDevAttrL2CacheSize);
	out->warpSize = 32;
	out->maxThreadsPerBlock = 1024;
	out->unifiedAddressing = 1;
	out->sharedMemPerBlock =
		(size_t)value_of(set, cudaDevAttrMaxSharedMemoryPerBlock);
	out->sharedMemPerBlockOptin =
		(size_t)value_of(set, cudaDevAttrMaxSharedMemoryPerBlockOptin);
	out->sharedMemPerMultiprocessor = (size_t)value_of(
		set, cudaDevAttrMaxSharedMemoryPerMultiprocessor);
	out->maxThreadsPerMultiProcessor =
		value_of(set, cudaDevAttrMaxThreadsPerMultiProcessor);
}

EMU_EXPORT cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *out,
					       int device)
{
	EMU_CALL();
	if (device < 0 || device >= emu_device_count())
		return emu_error(cudaErrorInvalidDevice);
	pthread_mutex_lock(&lock);
	fill_properties(out, device);
	pthread_mutex_unlock(&lock);
	return cudaSuccess;
}

EMU_EXPORT cudaError_t cudaDeviceCanAccessPeer(int *can, int device, int peer)
{
	EMU_CALL();
	if (device < 0 || device >= emu_device_count() || peer < 0 ||
	    peer >= emu_device_count())
		return emu_error(cudaErrorInvalidDevice);
	*can = device != peer;
	return cudaSuccess;
}

EMU_EXPORT cudaError_t cudaDeviceEnablePeerAccess(int peer, unsigned flags)
{
	EMU_CALL();
	if (flags)
		return emu_error(cudaErrorInvalidValue);
	if (peer < 0 || peer >= emu_device_count())
		return emu_error(cudaErrorInvalidDevice);
	return cudaSuccess;
}

EMU_EXPORT cudaError_t cudaFuncSetCacheConfig(const void *function,
					      enum cudaFuncCache config)
{
	(void)function;
	(void)config;
	EMU_CALL();
	return cudaSuccess;
}
