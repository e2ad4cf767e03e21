/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What libibverbs says about one RDMA device, for `kvring doctor` and for
 * programs that explain their set-up. No context or ring is needed; any
 * thread may call at any time.
 */
#ifndef KVRING_DEVICE_H
#define KVRING_DEVICE_H

#include "kvring/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define KVR_DEVICE_PORTS_MAX 4

struct kvr_device_info {
	size_t size;
	/* 1: registers memory of a GPU through dma-buf; 0: it does not; -1:
	 * the answer was another. By trial. */
	int dmabuf;
	uint32_t max_cq_entries;
	uint32_t port_count; /* as the device has, of which the arrays hold */
	uint32_t path_mtu[KVR_DEVICE_PORTS_MAX]; /* of port i + 1, in bytes */
	uint32_t max_message_bytes[KVR_DEVICE_PORTS_MAX];
};

KVR_API void kvr_device_info_init(struct kvr_device_info *info);

/*
 * Opens the device of that name ("mlx5_0"), asks, and closes it. When this is
 * not KVR_OK, reason (KVR_OK: "") says why in reason_bytes. Errors: INVALID;
 * UNSUPPORTED when this library was built without libibverbs; END when
 * libibverbs lists no such device; DEVICE when it cannot be opened or asked.
 */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_device_get_info(const char *name, struct kvr_device_info *out, char *reason,
		    size_t reason_bytes);

#ifdef __cplusplus
}
#endif

#endif
