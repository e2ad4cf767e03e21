/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hello of an edge: four messages over queue pair 0, before which
 * neither end may write anything at the other.
 *
 *	OUT  -- HELLO -->  IN	who and what; each names the field that
 *	OUT  <-- HELLO --  IN	differs, also to a peer that it refuses
 *	OUT  -- PROOF -->  IN	IN lets it write
 *	OUT  <-- GRANT --  IN	where: addresses and keys of the landing memory
 *
 * Each ends with an HMAC-SHA256 over all of the talk so far, under a key made
 * of the ring's entropy and the caller's secret. It covers both nonces, ranks,
 * generation, queue-pair numbers, GIDs and, by the type, the direction. Fixed
 * size, little endian, no padding: what arrives has that size or is refused.
 * Pure functions.
 */
#ifndef KVR_RDMA_VERBS_MESSAGE_H
#define KVR_RDMA_VERBS_MESSAGE_H

#include "rdma/edge.h"
#include "rdma/verbs/device.h"
#include "runtime/secret.h"

#define VERBS_MESSAGE_MAGIC UINT64_C(0x6b6c617462765652) /* "RVvbtalk" */
#define VERBS_VERSION 2u

enum verbs_message_type {
	VERBS_HELLO_OUT = 1,
	VERBS_HELLO_IN = 2,
	VERBS_PROOF = 3,
	VERBS_GRANT = 4
};

struct verbs_hello {
	struct kvr_hello base;
	uint8_t nonce[KVR_NONCE_BYTES]; /* drawn for this connection */
	uint64_t secret_mark; /* equal where the keys are; tells nothing else */
	uint32_t rails, qps;
	uint32_t qpn[VERBS_QPS_MAX]; /* the sender's own */
	uint8_t gid[VERBS_RAILS_MAX][16];
};

struct verbs_grant {
	uint64_t address; /* of the descriptors */
	uint32_t slots_key[VERBS_RAILS_MAX];
	uint32_t described_key[VERBS_RAILS_MAX];
	uint64_t slots_address; /* of the first slot: maybe of a GPU */
};

struct verbs_message {
	uint64_t magic;
	uint32_t version;
	uint32_t type;
	union {
		struct verbs_hello hello;
		struct verbs_grant grant;
		uint8_t bytes[320];
	} body;
	uint8_t mac[KVR_MAC_BYTES];
};

_Static_assert(sizeof(struct verbs_hello) <= 320, "the body holds a hello");
_Static_assert(sizeof(struct verbs_message) == 368, "message is 368 bytes");

/* The talk in order; 0 and 2 are OUT's, 1 and 3 IN's. */
#define VERBS_MESSAGES 4

struct verbs_talk {
	struct verbs_message message[VERBS_MESSAGES];
	uint32_t count; /* said and believed so far */
};

/* key and mark of a ring. Errors: those of kvr_secret_mac. */
enum kvr_status verbs_key_make(const struct kvr_endpoint_config *config,
			       uint8_t key[KVR_MAC_BYTES], uint64_t *mark);

/* The MAC of message `index`, all before it included. */
enum kvr_status verbs_talk_mac(const uint8_t key[KVR_MAC_BYTES],
			       const struct verbs_talk *talk, uint32_t index,
			       uint8_t mac[KVR_MAC_BYTES]);

/* Writes magic, version, type and MAC; the body is there. */
enum kvr_status verbs_talk_seal(const uint8_t key[KVR_MAC_BYTES],
				struct verbs_talk *talk, uint32_t index);

enum verbs_verdict {
	VERBS_GENUINE,
	VERBS_GARBAGE, /* no message of ours, or not this one's turn */
	VERBS_VERSION_DIFFERS,
	VERBS_FORGED /* the key is not ours, or somebody changed it */
};

/* What arrived in message[index]; bytes as the device counted them. */
enum verbs_verdict verbs_talk_judge(const uint8_t key[KVR_MAC_BYTES],
				    const struct verbs_talk *talk,
				    uint32_t index, uint32_t bytes);

#endif
