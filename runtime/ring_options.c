/* SPDX-License-Identifier: Apache-2.0 */
/* What cannot be a ring, before anything is opened for it. */
#include "runtime/ring.h"

static enum kvr_status refuse(const struct kvr_log *log, const char *what)
{
	kvr_log(log, KVR_LOG_ERROR, "kvr_ring_open: %s", what);
	return KVR_ERR_INVALID;
}

/* Does any block go on to a second rank? */
static bool forwards(const struct kvr_ring_options *options, uint32_t n)
{
	for (uint32_t i = 0; i < options->lanes; i++)
		if (n == 2 && options->lane[i].kind == KVR_LANE_ACCUMULATING)
			return true;
	return n > 2;
}

/* Who has no place in the ring cannot even tell the others. */
enum kvr_status kvr_ring_check_bootstrap(const struct kvr_log *log,
					 const struct kvr_bootstrap *bootstrap)
{
	if (bootstrap->size != sizeof(*bootstrap))
		return refuse(log, "bootstrap was not made by its init");
	if (bootstrap->n == 0 || bootstrap->n > KVR_RANKS_MAX)
		return refuse(log, "n must be 1 to 65535");
	if (bootstrap->rank >= bootstrap->n)
		return refuse(log, "rank must be below n");
	if (bootstrap->n > 1 && !bootstrap->allgather)
		return refuse(log, "n > 1 needs an all-gather");
	return KVR_OK;
}

enum kvr_status kvr_ring_check_options(const struct kvr_log *log,
				       const struct kvr_bootstrap *bootstrap,
				       const struct kvr_ring_options *options)
{
	if (options->size != sizeof(*options))
		return refuse(log, "options were not made by their init");
	if (options->lanes == 0 || options->lanes > KVR_LANES_MAX)
		return refuse(log, "lanes must be 1 or 2");
	if (options->slots == 0 || options->slots > KVR_SLOTS_MAX)
		return refuse(log, "slots must be 1 to 64");
	if (options->slots < 2 && forwards(options, bootstrap->n))
		return refuse(log, "slots must be 2 or more when n > 2, or "
				   "when n = 2 and a lane accumulates: with "
				   "one, every rank waits for the next");
	for (uint32_t lane = 0; lane < options->lanes; lane++)
		if (options->lane[lane].kind != KVR_LANE_IMMUTABLE &&
		    options->lane[lane].kind != KVR_LANE_ACCUMULATING)
			return refuse(log, "unknown kind of lane");
	if (options->chunk_bytes == 0)
		return refuse(log, "chunk_bytes must not be 0");
	if (options->peer_timeout_ms < 2 || options->wait_timeout_ms == 0)
		return refuse(log, "wait_timeout_ms must not be 0, and "
				   "peer_timeout_ms be 2 or more");
	if (options->heartbeat_ms >= options->peer_timeout_ms)
		return refuse(log, "heartbeat_ms must be below "
				   "peer_timeout_ms");
	if (options->gpu < -1)
		return refuse(log, "gpu must be -1 or more");
	return KVR_OK;
}

/* Slots on a GPU: is there one, and can this ring be so? */
enum kvr_status kvr_ring_check_gpu(const struct kvr_log *log,
				   const struct kvr_ring_options *options)
{
	const struct kvr_accelerator_ops *gpu;
	char reason[256];
	enum kvr_status status;

	if (options->gpu < 0)
		return KVR_OK;
	if (options->integrity > 0) {
		kvr_log(log, KVR_LOG_ERROR,
			"kvr_ring_open: checksums are made by the processor, "
			"which cannot read slots on a GPU; do without "
			"integrity (KVRING_INTEGRITY) or without gpu");
		return KVR_ERR_UNSUPPORTED;
	}
	status = kvr_accelerator_open(&gpu, reason, sizeof(reason));
	if (status != KVR_OK)
		kvr_log(log, KVR_LOG_ERROR,
			"kvr_ring_open: slots on GPU %d: %s", options->gpu,
			reason);
	return status;
}
