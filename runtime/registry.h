/* SPDX-License-Identifier: Apache-2.0 */
/* The one place where the runtime names back ends. */
#ifndef KVR_RUNTIME_REGISTRY_H
#define KVR_RUNTIME_REGISTRY_H

#include "runtime/compute.h"
#include "runtime/transport.h"

#define KVR_TRANSPORTS_MAX 4

/* NULL past the last. Best first. */
const struct kvr_transport_ops *kvr_registry_transport(size_t index);
const struct kvr_compute_ops *kvr_registry_compute(size_t index);

/*
 * The kernel of that name, or for NULL the best that this processor runs
 * (KVRING_CPU in the environment overrides). Errors: UNSUPPORTED.
 */
enum kvr_status kvr_registry_find_compute(const char *name,
					  const struct kvr_compute_ops **out);

#endif
