/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/bootstrap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

void kvr_bootstrap_init(struct kvr_bootstrap *bootstrap)
{
	*bootstrap = (struct kvr_bootstrap){.size = sizeof(*bootstrap), .n = 1};
}

enum kvr_status kvr_bootstrap_gather(const struct kvr_bootstrap *bootstrap,
				     const struct kvr_log *log,
				     const void *local, size_t bytes,
				     void **all)
{
	void *buffer = calloc(bootstrap->n, bytes);

	if (!buffer)
		return KVR_ERR_NO_MEMORY;
	if (bootstrap->n == 1) {
		memcpy(buffer, local, bytes);
	} else if (bootstrap->allgather(bootstrap->arg, local, bytes, buffer)) {
		kvr_log(log, KVR_LOG_ERROR,
			"rank %u: the all-gather of the bootstrap failed: a "
			"rank ended, or did not come",
			bootstrap->rank);
		free(buffer);
		return KVR_ERR_PEER_LOST;
	}
	*all = buffer;
	return KVR_OK;
}

/* What must agree, as numbers with names. */
enum {
	WISH_VERSION,
	WISH_N,
	WISH_GENERATION,
	WISH_SLOTS,
	WISH_CHUNK,
	WISH_LANES,
	WISH_LAYOUT,
	WISH_INTEGRITY,
	WISH_LANE0_KIND,
	WISH_LANE0_BYTES,
	WISH_LANE1_KIND,
	WISH_LANE1_BYTES,
	WISH_COUNT
};

static const char *const wish_names[WISH_COUNT] = {
	[WISH_VERSION] = "protocol version",
	[WISH_N] = "ring size n",
	[WISH_GENERATION] = "generation",
	[WISH_SLOTS] = "slots",
	[WISH_CHUNK] = "chunk_bytes",
	[WISH_LANES] = "lanes",
	[WISH_LAYOUT] = "layout_id",
	[WISH_INTEGRITY] = "integrity",
	[WISH_LANE0_KIND] = "lane[0].kind",
	[WISH_LANE0_BYTES] = "lane[0].slot_bytes",
	[WISH_LANE1_KIND] = "lane[1].kind",
	[WISH_LANE1_BYTES] = "lane[1].slot_bytes",
};

#define PROTOCOL_VERSION 1

struct wishes {
	int64_t status; /* KVR_OK, or why this rank cannot open */
	uint64_t rank;
	struct kvr_draw draw; /* rank 0's is the ring's */
	uint64_t wish[WISH_COUNT];
};

static void write_wishes(const struct kvr_bootstrap *bootstrap,
			 const struct kvr_ring_options *options,
			 uint32_t generation, struct wishes *out)
{
	*out = (struct wishes){
		.status = KVR_OK,
		.rank = bootstrap->rank,
		.wish =
			{
				[WISH_VERSION] = PROTOCOL_VERSION,
				[WISH_N] = bootstrap->n,
				[WISH_GENERATION] = generation,
				[WISH_SLOTS] = options->slots,
				[WISH_CHUNK] = options->chunk_bytes,
				[WISH_LANES] = options->lanes,
				[WISH_LAYOUT] = options->layout_id,
				[WISH_INTEGRITY] = options->integrity > 0,
				[WISH_LANE0_KIND] = options->lane[0].kind,
				[WISH_LANE0_BYTES] =
					options->lane[0].slot_bytes,
				[WISH_LANE1_KIND] = options->lane[1].kind,
				[WISH_LANE1_BYTES] =
					options->lane[1].slot_bytes,
			},
	};
}

/* Fresh ranks (0) follow those that reopen. */
static void settle_generation(struct wishes *all, uint32_t n,
			      uint32_t *generation)
{
	uint64_t wanted = 1;

	for (uint32_t i = 0; i < n; i++) {
		if (all[i].wish[WISH_GENERATION] > wanted)
			wanted = all[i].wish[WISH_GENERATION];
	}
	for (uint32_t i = 0; i < n; i++) {
		if (!all[i].wish[WISH_GENERATION])
			all[i].wish[WISH_GENERATION] = wanted;
	}
	*generation = (uint32_t)wanted;
}

/* All ranks see the same table and refuse alike. */
static enum kvr_status compare(const struct kvr_bootstrap *bootstrap,
			       const struct kvr_log *log,
			       const struct wishes *all)
{
	for (uint32_t i = 0; i < bootstrap->n; i++) {
		enum kvr_status status = (enum kvr_status)all[i].status;

		if (status == KVR_OK)
			continue;
		if (i != bootstrap->rank)
			kvr_log(log, KVR_LOG_ERROR,
				"rank %u: rank %u cannot open the ring: %s",
				bootstrap->rank, i, kvr_status_text(status));
		return status;
	}
	for (uint32_t i = 0; i < bootstrap->n; i++) {
		if (all[i].rank != i) {
			kvr_log(log, KVR_LOG_ERROR,
				"bootstrap: place %u of the all-gather holds "
				"rank %llu; give each rank its own number",
				i, (unsigned long long)all[i].rank);
			return KVR_ERR_MISMATCH;
		}
		for (int w = 0; w < WISH_COUNT; w++) {
			if (all[i].wish[w] == all[0].wish[w])
				continue;
			kvr_log(log, KVR_LOG_ERROR,
				"rank %u: %s differs: %llu on rank 0, %llu on "
				"rank %u; open the ring alike on all ranks",
				bootstrap->rank, wish_names[w],
				(unsigned long long)all[0].wish[w],
				(unsigned long long)all[i].wish[w], i);
			return KVR_ERR_MISMATCH;
		}
	}
	return KVR_OK;
}

static enum kvr_status draw_own(const struct kvr_log *log, struct kvr_draw *out)
{
	if (getrandom(out, sizeof(*out), 0) == sizeof(*out))
		return KVR_OK;
	kvr_log(log, KVR_LOG_ERROR, "bootstrap: getrandom: %s",
		strerror(errno));
	return KVR_ERR_SYSTEM;
}

enum kvr_status kvr_bootstrap_agree(const struct kvr_bootstrap *bootstrap,
				    const struct kvr_ring_options *options,
				    const struct kvr_log *log,
				    enum kvr_status local, uint32_t *generation,
				    struct kvr_draw *draw)
{
	struct wishes mine = {.rank = bootstrap->rank};
	enum kvr_status status;
	void *gathered;

	if (local == KVR_OK)
		write_wishes(bootstrap, options, *generation, &mine);
	status = draw_own(log, &mine.draw);
	if (local == KVR_OK)
		local = status;
	mine.status = local;
	status = kvr_bootstrap_gather(bootstrap, log, &mine, sizeof(mine),
				      &gathered);
	if (status != KVR_OK)
		return local != KVR_OK ? local : status;
	settle_generation(gathered, bootstrap->n, generation);
	status = compare(bootstrap, log, gathered);
	if (status == KVR_OK)
		*draw = ((struct wishes *)gathered)->draw;
	free(gathered);
	return local != KVR_OK ? local : status;
}

enum kvr_status kvr_bootstrap_join(const struct kvr_bootstrap *bootstrap,
				   const struct kvr_log *log,
				   enum kvr_status local)
{
	int32_t mine = local;
	enum kvr_status status;
	void *gathered;

	status = kvr_bootstrap_gather(bootstrap, log, &mine, sizeof(mine),
				      &gathered);
	if (status != KVR_OK)
		return local != KVR_OK ? local : status;
	for (uint32_t i = 0; i < bootstrap->n && status == KVR_OK; i++) {
		status = (enum kvr_status)((int32_t *)gathered)[i];
		if (status != KVR_OK && i != bootstrap->rank)
			kvr_log(log, KVR_LOG_ERROR,
				"rank %u: rank %u could not join the ring: %s",
				bootstrap->rank, i, kvr_status_text(status));
	}
	free(gathered);
	return local != KVR_OK ? local : status;
}
