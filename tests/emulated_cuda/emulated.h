/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Emulated CUDA for tests: the part of the runtime API, of the driver API and
 * of cuBLAS that kvring calls, carried out by threads of this process. It
 * proves order, bounds and logic. It says nothing about a GPU's speed, its
 * rounding in special functions, or its memory model beyond barriers, streams
 * and events. docs/gpu.md, "What is proven how".
 *
 * Calls of this file are for tests, from any thread, while no emulated work
 * runs unless it says otherwise.
 */
#ifndef KVR_TESTS_EMULATED_CUDA_EMULATED_H
#define KVR_TESTS_EMULATED_CUDA_EMULATED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Only the emulation has it: a test that links it cannot run on another. */
extern const char kvr_emulated_cuda_marker[];

/* Everything as at the start of the process, allocations excepted. */
void kvr_emulated_reset(void);

void kvr_emulated_set_device_count(int count);
/* enum cudaDeviceAttr, or CUdevice_attribute: their numbers agree. */
void kvr_emulated_set_attribute(int device, int attribute, int value);
/* domain:bus:device, as cudaDeviceGetPCIBusId tells it */
void kvr_emulated_set_pci_bus_id(int device, const char *id);
void kvr_emulated_set_driver_version(int version); /* 13000; 0: no driver */
/* What cudaMalloc can give in all; 0: all of the arena. */
void kvr_emulated_set_memory(size_t bytes);

/*
 * The n-th CUDA call from now (1: the next) fails with this cudaError_t, once;
 * n = 0 plans none. Calls are counted whether they fail or not.
 */
void kvr_emulated_fail_call(unsigned n, int error);
/* The same, of the calls of this name ("cudaMalloc") only. */
void kvr_emulated_fail_named(const char *name, unsigned n, int error);
unsigned kvr_emulated_calls(void); /* so far */

/* In which order blocks, and threads of a block between barriers, run. */
enum kvr_emulated_order {
	KVR_EMULATED_FORWARD,
	KVR_EMULATED_REVERSE,
	KVR_EMULATED_RANDOM,
};
/*
 * Before: KVR_EMULATED_ORDER in the environment, "forward", "reverse" or
 * "random:SEED".
 */
void kvr_emulated_set_order(enum kvr_emulated_order order, uint64_t seed);

/*
 * Device memory faults when touched by the host. Whoever stands for another
 * device (a NIC) opens it meanwhile; calls nest, from any thread at any time.
 */
void kvr_emulated_memory_open(void);
void kvr_emulated_memory_close(void);

/*
 * A NIC's write to device memory: on its way until a flush, be it the
 * runtime's, the driver's, or a read by the NIC, which is for the test to say
 * by kvr_emulated_flush. A kernel that does not wait for one reads what was
 * there before.
 */
void kvr_emulated_deliver(void *to, const void *from, size_t bytes);
void kvr_emulated_flush(void);

/*
 * What the dma-buf descriptor fd, of cuMemGetHandleForAddressRange, stands
 * for. False: not one of them.
 */
bool kvr_emulated_dmabuf(int fd, void **base, size_t *size);

/* Device allocations that were not freed. */
size_t kvr_emulated_allocations(void);

#ifdef __cplusplus
}
#endif

#endif
