/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The accelerator seam's memory: what transports need of a GPU's memory in
 * order to reach it. Every operation may block in the driver: the progress
 * thread calls none of them. A device is counted as kvr_gpu_get_info counts;
 * where an operation fails, reason says why in reason_bytes.
 */
#ifndef KVR_RUNTIME_ACCELERATOR_MEMORY_H
#define KVR_RUNTIME_ACCELERATOR_MEMORY_H

#include "runtime/accelerator.h"

struct kvr_accelerator_memory_ops {
	/*
	 * A dma-buf of a range of device memory, both ends multiples of the
	 * host's page. pcie: mapped by PCIe also where the GPU has another
	 * way to the host. *fd is the caller's to close, which leaves what was
	 * registered by it. Errors: UNSUPPORTED, DEVICE.
	 */
	enum kvr_status (*export_dmabuf)(const void *address, size_t bytes,
					 bool pcie, int *fd, char *reason,
					 size_t reason_bytes);

	/*
	 * Lets CUDA's synchronous copies of this allocation be over when they
	 * return: a card that reads it asks no stream. Errors: UNSUPPORTED
	 * (memory of pools and of cuMemMap), DEVICE.
	 */
	enum kvr_status (*order_copies)(const void *address, char *reason,
					size_t reason_bytes);

	/* Device memory, not cleared. Errors: NO_MEMORY, DEVICE. */
	enum kvr_status (*allocate)(uint32_t device, size_t bytes, void **out,
				    char *reason, size_t reason_bytes);
	void (*release)(uint32_t device, void *address);

	/*
	 * Copies between host and device, or within one device, past all
	 * streams, and returns when it is done. Errors: DEVICE.
	 */
	enum kvr_status (*copy)(uint32_t device, void *to, const void *from,
				size_t bytes, char *reason,
				size_t reason_bytes);

	/*
	 * What cards wrote into the device's memory before is seen by what
	 * the device begins after. Errors: UNSUPPORTED, DEVICE.
	 */
	enum kvr_status (*flush)(uint32_t device, char *reason,
				 size_t reason_bytes);
};

#endif
