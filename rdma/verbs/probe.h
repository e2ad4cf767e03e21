/* SPDX-License-Identifier: Apache-2.0 */
/* Asks one device; see kvr_device_get_info and kvr_gpu_get_path. */
#ifndef KVR_RDMA_VERBS_PROBE_H
#define KVR_RDMA_VERBS_PROBE_H

#include "kvring/device.h"
#include "runtime/transport.h"

enum kvr_status kvr_verbs_probe(const char *name, struct kvr_device_info *out,
				char *reason, size_t reason_bytes);

/* For plain device memory of that GPU; see kvr_gpu_get_path. */
enum kvr_status kvr_verbs_gpu_path(const char *name,
				   const struct kvr_gpu_settings *settings,
				   const struct kvr_gpu_info *gpu,
				   struct kvr_gpu_path *out, char *reason,
				   size_t reason_bytes);

#endif
