/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What travels on an edge besides payload: 32-bit immediates and 64-byte
 * descriptors. Pure functions; no state.
 *
 *	 31  29  28  27        16 15         0
 *	+------+----+------------+------------+
 *	| type |lane| sequence   | chunk      |	CHUNK, DESCRIPTOR (chunk 0)
 *	+------+----+------------+------------+
 *	| type |lane| value (28 bits)         |	everything else
 *	+------+----+-------------------------+
 */
#ifndef KVR_RUNTIME_WIRE_H
#define KVR_RUNTIME_WIRE_H

#include <stdint.h>

#include "kvring/kvring.h"

enum kvr_imm_type {
	KVR_IMM_CHUNK = 0,	/* payload bytes of one chunk are in the slot */
	KVR_IMM_DESCRIPTOR = 1, /* the slot's descriptor is written */
	KVR_IMM_CREDIT = 2,	/* value: slots granted since the start */
	KVR_IMM_HEARTBEAT = 3,
	KVR_IMM_BYE = 4,	/* nothing more from this side, all is well */
	KVR_IMM_ABORT_STEP = 5, /* value: step; precedes ABORT */
	KVR_IMM_ABORT = 6,	/* value: rank << 8 | cause */
	KVR_IMM_TRANSPORT = 7	/* a transport's own; never reported */
};

#define KVR_IMM_SEQUENCE_MASK 0xfffu
#define KVR_IMM_VALUE_MASK 0xfffffffu

struct kvr_imm {
	enum kvr_imm_type type;
	uint32_t lane;
	uint32_t sequence; /* CHUNK, DESCRIPTOR: low 12 bits */
	uint32_t chunk;	   /* CHUNK */
	uint32_t value;	   /* all others: 28 bits */
};

static inline uint32_t kvr_imm_block(enum kvr_imm_type type, uint32_t lane,
				     uint64_t sequence, uint32_t chunk)
{
	return (uint32_t)type << 29 | (lane & 1) << 28 |
	       (uint32_t)(sequence & KVR_IMM_SEQUENCE_MASK) << 16 |
	       (chunk & 0xffff);
}

static inline uint32_t kvr_imm_value(enum kvr_imm_type type, uint32_t lane,
				     uint64_t value)
{
	return (uint32_t)type << 29 | (lane & 1) << 28 |
	       (uint32_t)(value & KVR_IMM_VALUE_MASK);
}

static inline struct kvr_imm kvr_imm_decode(uint32_t imm)
{
	return (struct kvr_imm){
		.type = (enum kvr_imm_type)(imm >> 29),
		.lane = imm >> 28 & 1,
		.sequence = imm >> 16 & KVR_IMM_SEQUENCE_MASK,
		.chunk = imm & 0xffff,
		.value = imm & KVR_IMM_VALUE_MASK,
	};
}

/* Why a ring is given up; travels in ABORT. */
enum kvr_cause {
	KVR_CAUSE_NONE = 0,
	KVR_CAUSE_CLOSED = 1,	/* its connection closed without a BYE */
	KVR_CAUSE_SILENT = 2,	/* no heartbeat within the deadline */
	KVR_CAUSE_CALLER = 3,	/* kvr_ring_abort */
	KVR_CAUSE_MISMATCH = 4, /* pass tag, hops or sizes disagree */
	KVR_CAUSE_PROTOCOL = 5, /* it sent what the protocol forbids */
	KVR_CAUSE_STALLED = 6,	/* alive, but a block never came */
	KVR_CAUSE_CORRUPT = 7	/* a block that it sent or held is wrong */
};

struct kvr_abort {
	uint32_t rank; /* to blame; KVR_RANK_NONE travels as 0xfffff */
	uint32_t step; /* of the pass, where it was noticed */
	enum kvr_cause cause;
};

#define KVR_DESCRIPTOR_CANCELLED 1u /* the pass is cancelled; no payload */

/*
 * Precedes each block, into the target's host memory. 64 bytes, little
 * endian (the library refuses to build elsewhere), no padding.
 */
struct kvr_descriptor {
	uint64_t sequence;   /* running hop counter on this edge and lane */
	uint64_t pass;	     /* tag */
	uint64_t bytes;	     /* payload */
	uint32_t origin;     /* owner of the block */
	uint32_t hops;	     /* made on arrival: 1 at the owner's next */
	uint32_t hops_total; /* of this lane in this pass; must agree */
	uint32_t chunks;     /* ceil(bytes / chunk_bytes) */
	uint32_t layout_id;
	uint32_t metadata_bytes;
	uint32_t flags;
	uint32_t reserved[3];
};

_Static_assert(sizeof(struct kvr_descriptor) == 64, "descriptor is 64 bytes");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "little endian");

#endif
