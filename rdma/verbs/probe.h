/* SPDX-License-Identifier: Apache-2.0 */
/* Asks one device; see kvr_device_get_info. */
#ifndef KVR_RDMA_VERBS_PROBE_H
#define KVR_RDMA_VERBS_PROBE_H

#include "kvring/device.h"

enum kvr_status kvr_verbs_probe(const char *name, struct kvr_device_info *out,
				char *reason, size_t reason_bytes);

#endif
