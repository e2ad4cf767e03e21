/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every back end needs of an edge: the hello by which its two ends
 * agree, the bounds of a write, and the gathering of its pieces. Pure
 * functions.
 */
#ifndef KVR_RDMA_EDGE_H
#define KVR_RDMA_EDGE_H

#include "runtime/transport.h"

#define KVR_HELLO_MAGIC UINT64_C(0x6f6c6c656852564b) /* "KVRhello" */
#define KVR_HELLO_VERSION 1u
#define KVR_NONCE_BYTES 16

/*
 * Fixed size, little endian, no padding. magic, version and nonce keep their
 * places in every version, so that an older build can be told its fault.
 */
struct kvr_hello {
	uint64_t magic;
	uint32_t version;
	uint32_t role;
	uint8_t nonce[KVR_NONCE_BYTES]; /* the receiver's, from its address */
	uint64_t ring_id;
	uint32_t generation;
	uint32_t n;
	uint32_t from, to;
	uint32_t lanes, slots;
	uint64_t slot_bytes[KVR_LANES_MAX]; /* 0 past lanes */
	uint64_t chunk_bytes;
	uint64_t reserved[3];
};

_Static_assert(sizeof(struct kvr_hello) == 112, "hello is 112 bytes");

#define KVR_HELLO_PREFIX_BYTES offsetof(struct kvr_hello, ring_id)

void kvr_hello_init(const struct kvr_endpoint_config *config,
		    const uint8_t nonce[KVR_NONCE_BYTES],
		    struct kvr_hello *out);

/*
 * Does theirs fit an endpoint of config? MISMATCH after one log line that
 * names the first field that differs, and both values. magic and nonce are
 * the back end's affair.
 */
enum kvr_status kvr_hello_check(const struct kvr_endpoint_config *config,
				const struct kvr_hello *theirs);

/* Can these sizes be allocated at all? Errors: INVALID, logged. */
enum kvr_status kvr_edge_check_config(const struct kvr_endpoint_config *config);

/* What a descriptor's place holds. */
struct kvr_described {
	struct kvr_descriptor descriptor;
	uint8_t metadata[KVR_METADATA_MAX];
};

/* Offsets in an IN endpoint's landing memory, the same on both sides. */
struct kvr_landing {
	size_t described; /* [lane * slots + slot] */
	size_t slots[KVR_LANES_MAX], stride[KVR_LANES_MAX]; /* whole pages */
	size_t bytes;
};

/* The first `before` bytes are left to the back end. */
void kvr_landing_init(const struct kvr_endpoint_config *config, size_t before,
		      struct kvr_landing *out);

/* Where the next byte of a write comes from. */
struct kvr_gather {
	const struct kvr_piece *piece;
	size_t offset;
};

/*
 * Seeks the write's first byte. INVALID when its target is out of bounds or
 * its pieces are too short: a mistake of the caller.
 */
enum kvr_status kvr_gather_begin(const struct kvr_endpoint_config *config,
				 const struct kvr_write *write,
				 struct kvr_gather *out);

/* Copies the next bytes; as many as begin found are there. */
void kvr_gather_copy(struct kvr_gather *gather, void *to, size_t bytes);

/* The same, each piece by `copy`. */
typedef void (*kvr_copy_fn)(void *to, const void *from, size_t bytes);
void kvr_gather_copy_by(struct kvr_gather *gather, void *to, size_t bytes,
			kvr_copy_fn copy);

/* INVALID when the descriptor's target or metadata is out of bounds. */
enum kvr_status kvr_describe_check(const struct kvr_endpoint_config *config,
				   const struct kvr_describe *describe);

#endif
