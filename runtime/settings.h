/* SPDX-License-Identifier: Apache-2.0 */
/* What the caller left open and the environment answers. */
#ifndef KVR_RUNTIME_SETTINGS_H
#define KVR_RUNTIME_SETTINGS_H

#include <stdbool.h>

#include "kvring/bootstrap.h"
#include "runtime/transport.h"

/*
 * devices, queue_pairs, gid_index, adaptive_routing: options first, then
 * KVRING_DEVICE, KVRING_QPS, KVRING_GID_INDEX, KVRING_ADAPTIVE_ROUTING;
 * gpu as in kvr_settings_gpu.
 * out->devices is the caller's to free; log is borrowed. Errors: INVALID
 * after one log line, NO_MEMORY.
 */
enum kvr_status
kvr_settings_transport(const struct kvr_context_options *options,
		       const struct kvr_log *log,
		       struct kvr_transport_config *out);

/* options (NULL: its init's) first, then KVRING_GPU_*. Errors: INVALID. */
enum kvr_status kvr_settings_gpu(const struct kvr_gpu_options *options,
				 const struct kvr_log *log,
				 struct kvr_gpu_settings *out);

/* option if not negative, else KVRING_INTEGRITY, else 0. Errors: INVALID. */
enum kvr_status kvr_settings_integrity(int32_t option,
				       const struct kvr_log *log, int32_t *out);

/* The environment's is there, and not empty? */
bool kvr_environment_has(const char *name);

/*
 * A whole decimal number up to limit of the environment; absent is not a
 * number. Errors: INVALID, logged.
 */
enum kvr_status kvr_environment_number(const struct kvr_log *log,
				       const char *name, unsigned long limit,
				       uint32_t *out);

/* data is NULL: there is none. Else it points into room, or is the caller's. */
struct kvr_secret {
	const void *data;
	size_t bytes;
	char room[KVR_SECRET_MAX + 1];
};

/*
 * The one that is given; if it is NULL KVRING_SECRET, or the contents of the
 * file KVRING_SECRET_FILE less a newline at its end, or none. out must not
 * move. Errors: INVALID, logged: empty, too long, unreadable, or both
 * variables set.
 */
enum kvr_status kvr_settings_secret(const void *given, size_t bytes,
				    const struct kvr_log *log,
				    struct kvr_secret *out);
void kvr_secret_forget(struct kvr_secret *secret);

#endif
