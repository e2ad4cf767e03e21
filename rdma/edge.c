/* SPDX-License-Identifier: Apache-2.0 */
#include "rdma/edge.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

void kvr_hello_init(const struct kvr_endpoint_config *config,
		    const uint8_t nonce[KVR_NONCE_BYTES], struct kvr_hello *out)
{
	*out = (struct kvr_hello){
		.magic = KVR_HELLO_MAGIC,
		.version = KVR_HELLO_VERSION,
		.role = config->role,
		.ring_id = config->ring_id,
		.generation = config->generation,
		.n = config->n,
		.from = config->rank,
		.to = config->peer,
		.lanes = config->lanes,
		.slots = config->slots,
		.chunk_bytes = config->chunk_bytes,
	};
	memcpy(out->nonce, nonce, KVR_NONCE_BYTES);
	for (uint32_t lane = 0; lane < config->lanes; lane++)
		out->slot_bytes[lane] = config->slot_bytes[lane];
}

struct field {
	const char *name;
	uint64_t here, there;
};

enum kvr_status kvr_hello_check(const struct kvr_endpoint_config *config,
				const struct kvr_hello *theirs)
{
	static const uint8_t no_nonce[KVR_NONCE_BYTES];
	struct kvr_hello ours;

	kvr_hello_init(config, no_nonce, &ours);
	/* What we expect to read there, which is not always what is here. */
	const struct field fields[] = {
		{"hello version", ours.version, theirs->version},
		{"role of the peer", !ours.role, theirs->role},
		{"ring id", ours.ring_id, theirs->ring_id},
		{"generation", ours.generation, theirs->generation},
		{"ring size", ours.n, theirs->n},
		{"rank of the peer", ours.to, theirs->from},
		{"rank here", ours.from, theirs->to},
		{"lanes", ours.lanes, theirs->lanes},
		{"slots", ours.slots, theirs->slots},
		{"slot_bytes of lane 0", ours.slot_bytes[0],
		 theirs->slot_bytes[0]},
		{"slot_bytes of lane 1", ours.slot_bytes[1],
		 theirs->slot_bytes[1]},
		{"chunk_bytes", ours.chunk_bytes, theirs->chunk_bytes},
	};
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		if (fields[i].here == fields[i].there)
			continue;
		kvr_log(config->log, KVR_LOG_ERROR,
			"rank %" PRIu32 ": rank %" PRIu32
			" refused: %s is %" PRIu64 " here, %" PRIu64 " there",
			config->rank, config->peer, fields[i].name,
			fields[i].here, fields[i].there);
		return KVR_ERR_MISMATCH;
	}
	return KVR_OK;
}

/* Nothing larger can be mapped, and sums of a few stay far from overflow. */
#define EDGE_BYTES_MAX ((size_t)1 << 46)

static bool sizes_fit(const struct kvr_endpoint_config *config)
{
	size_t total = 0, bytes;

	if (config->lanes == 0 || config->lanes > KVR_LANES_MAX ||
	    config->slots == 0 || config->chunk_bytes == 0)
		return false;
	for (uint32_t lane = 0; lane < config->lanes; lane++) {
		if (__builtin_mul_overflow(config->slot_bytes[lane],
					   config->slots, &bytes) ||
		    bytes > EDGE_BYTES_MAX)
			return false;
		total += bytes;
	}
	return total <= EDGE_BYTES_MAX && config->slots <= 1u << 20;
}

enum kvr_status kvr_edge_check_config(const struct kvr_endpoint_config *config)
{
	if (sizes_fit(config))
		return KVR_OK;
	kvr_log(config->log, KVR_LOG_ERROR,
		"rank %" PRIu32 ": %" PRIu32 " lanes of %" PRIu32
		" slots of these sizes cannot be allocated",
		config->rank, config->lanes, config->slots);
	return KVR_ERR_INVALID;
}

static size_t round_up(size_t bytes, size_t unit)
{
	return (bytes + unit - 1) / unit * unit;
}

void kvr_landing_init(const struct kvr_endpoint_config *config, size_t before,
		      struct kvr_landing *out)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct kvr_landing landing = {.described = before};

	landing.bytes = round_up(before + sizeof(struct kvr_described) *
						  config->lanes * config->slots,
				 page);
	for (uint32_t lane = 0; lane < config->lanes; lane++) {
		landing.slots[lane] = landing.bytes;
		landing.stride[lane] = round_up(config->slot_bytes[lane], page);
		landing.bytes += landing.stride[lane] * config->slots;
	}
	*out = landing;
}

static bool target_fits(const struct kvr_endpoint_config *config, uint32_t lane,
			uint32_t slot, size_t offset, size_t bytes)
{
	return lane < config->lanes && slot < config->slots &&
	       offset <= config->slot_bytes[lane] &&
	       bytes <= config->slot_bytes[lane] - offset;
}

enum kvr_status kvr_gather_begin(const struct kvr_endpoint_config *config,
				 const struct kvr_write *write,
				 struct kvr_gather *out)
{
	size_t i = 0, skip = write->skip, covered = 0;

	if (write->bytes == 0 || !target_fits(config, write->lane, write->slot,
					      write->offset, write->bytes))
		return KVR_ERR_INVALID;
	while (i < write->piece_count && skip >= write->pieces[i].bytes)
		skip -= write->pieces[i++].bytes;
	const struct kvr_gather begin = {&write->pieces[i], skip};
	for (; i < write->piece_count && covered < write->bytes; i++) {
		covered += write->pieces[i].bytes - skip;
		skip = 0;
	}
	if (covered < write->bytes)
		return KVR_ERR_INVALID;
	*out = begin;
	return KVR_OK;
}

void kvr_gather_copy_by(struct kvr_gather *gather, void *to, size_t bytes,
			kvr_copy_fn copy)
{
	uint8_t *target = to;

	while (bytes > 0) {
		const struct kvr_piece *piece = gather->piece;
		size_t part = piece->bytes - gather->offset;

		if (part > bytes)
			part = bytes;
		if (part > 0)
			copy(target,
			     (const uint8_t *)piece->address + gather->offset,
			     part);
		target += part;
		bytes -= part;
		gather->offset += part;
		if (gather->offset == piece->bytes && bytes > 0) {
			gather->piece++;
			gather->offset = 0;
		}
	}
}

static void copy_bytes(void *to, const void *from, size_t bytes)
{
	memcpy(to, from, bytes);
}

void kvr_gather_copy(struct kvr_gather *gather, void *to, size_t bytes)
{
	kvr_gather_copy_by(gather, to, bytes, copy_bytes);
}

enum kvr_status kvr_describe_check(const struct kvr_endpoint_config *config,
				   const struct kvr_describe *describe)
{
	if (!target_fits(config, describe->lane, describe->slot, 0, 0) ||
	    describe->descriptor->metadata_bytes > KVR_METADATA_MAX)
		return KVR_ERR_INVALID;
	return KVR_OK;
}
