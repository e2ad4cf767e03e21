/* SPDX-License-Identifier: Apache-2.0 */
/* What the caller left open and the environment answers. */
#ifndef KVR_RUNTIME_SETTINGS_H
#define KVR_RUNTIME_SETTINGS_H

#include "kvring/bootstrap.h"
#include "runtime/transport.h"


/*
 * devices, queue_pairs, gid_index: options first, then KVRING_DEVICE,
 * KVRING_QPS, KVRING_GID_INDEX. out->devices is the caller's to free; log is
 * borrowed. Errors: INVALID after one log line, NO_MEMORY.
 */
enum kvr_status
kvr_settings_transport(const struct kvr_context_options *options,
		       const struct kvr_log *log,
		       struct kvr_transport_config *out);

/*
 * The ring's secret: the options', else KVRING_SECRET, else the contents of
 * KVRING_SECRET_FILE without a last newline; NULL when there is none. The
 * caller frees *out. Errors: INVALID, SYSTEM after one log line, NO_MEMORY.
 */
enum kvr_status kvr_settings_secret(const struct kvr_ring_options *options,
				    const struct kvr_log *log, void **out,
				    size_t *bytes);

#endif
