/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The checksums that travel behind a block when a ring was opened with
 * `integrity`: one CRC-32C for each chunk of payload, one for the metadata,
 * and one over these and over what the block is. Pure functions; no state.
 *
 *	+---------------------+-------+-----+-------+----------+------+
 *	| payload             | chunk | ... | chunk | metadata | self |
 *	+---------------------+-------+-----+-------+----------+------+
 *	                        32 bits each, little endian
 *
 * They are part of what the engine takes for the block: it forwards them, as
 * it does every byte, before anybody has looked at them.
 */
#ifndef KVR_RUNTIME_SEAL_H
#define KVR_RUNTIME_SEAL_H

#include <stdbool.h>

#include "runtime/transport.h"

/* What is sealed. A copy in the slot of an earlier pass is not this one. */
struct kvr_sealed {
	uint64_t pass;
	uint32_t origin, lane;
	const struct kvr_piece *pieces; /* of the payload, in order */
	size_t bytes;			/* of the payload */
	const void *metadata;
	size_t metadata_bytes;
	size_t chunk_bytes;
};

/* Bytes behind a payload. */
size_t kvr_seal_bytes(size_t payload, size_t chunk_bytes);

/* The payload of a block that has `bytes` with its seal. False: none has. */
bool kvr_seal_payload(size_t bytes, size_t chunk_bytes, size_t *payload);

/* seal: kvr_seal_bytes of room, aligned or not. */
void kvr_seal_make(const struct kvr_sealed *block, void *seal);

enum kvr_seal_part { KVR_SEAL_CHUNK, KVR_SEAL_METADATA, KVR_SEAL_SELF };

struct kvr_seal_fault {
	enum kvr_seal_part part;
	size_t chunk; /* CHUNK: the first that is wrong */
};

/* False: *fault says what differs first; the checksums before the payload. */
bool kvr_seal_check(const struct kvr_sealed *block, const void *seal,
		    struct kvr_seal_fault *fault);

#endif
