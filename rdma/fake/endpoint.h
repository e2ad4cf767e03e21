/* SPDX-License-Identifier: Apache-2.0 */
/* The fake's endpoints, its process-global table of them, and its wire. */
#ifndef KVR_RDMA_FAKE_ENDPOINT_H
#define KVR_RDMA_FAKE_ENDPOINT_H

#include <pthread.h>

#include "rdma/edge.h"
#include "rdma/fake/fake.h"

#define FAKE_SIGNALS 64
#define FAKE_INBOX 512
/* Of these for all that a peer has still queued when it closes. */
#define FAKE_FAREWELL 256

enum fake_kind { FAKE_SIGNAL, FAKE_DESCRIBE, FAKE_WRITE };

/* One write, descriptor or signal on its way. */
struct fake_item {
	struct fake_item *next;
	enum fake_kind kind;
	uint32_t imm;
	uint32_t lane, slot;
	uint64_t due_ns;
	size_t offset, bytes;
	struct kvr_gather gather;
	uint64_t cookie;
	struct kvr_descriptor descriptor;
	uint8_t metadata[KVR_METADATA_MAX];
};

struct fake_bridge;

struct fake_described {
	struct kvr_descriptor descriptor;
	uint8_t metadata[KVR_METADATA_MAX];
};

/* Everything but config and memory is guarded by fake_lock. */
struct fake_endpoint {
	struct kvr_endpoint base;
	struct fake_endpoint *next; /* in the table */
	struct kvr_endpoint_config config;
	struct kvr_fake_script script;
	uint64_t serial; /* of this process; never reused */
	uint64_t random;
	uint32_t losable; /* sent of the type that the script loses */
	uint64_t remote;  /* the peer's serial; 0: not connecting */
	struct fake_endpoint *peer;
	enum kvr_status refused;
	bool linked;  /* had a peer */
	bool stopped; /* killed or frozen */
	bool lost;    /* the peer is gone */
	bool armed;
	int event_fd;

	uint8_t *slots;		    /* IN */
	struct fake_bridge *bridge; /* IN; NULL: none */
	size_t lane_offset[KVR_LANES_MAX], lane_stride[KVR_LANES_MAX];
	struct fake_described *described; /* IN: [lane * slots + slot] */

	struct fake_item *items; /* storage of the two lists */
	struct fake_item *free_writes, *free_signals;
	struct fake_item *queue, **queue_end; /* in the order posted */

	uint32_t
		outstanding; /* writes until reported, descriptors until gone */
	uint64_t *sent;
	uint32_t sent_head, sent_count;
	uint32_t inbox[FAKE_INBOX];
	uint32_t inbox_head, inbox_count;
};

extern pthread_mutex_t fake_lock;

uint8_t *fake_slot_address(struct fake_endpoint *endpoint, uint32_t lane,
			   uint32_t slot);

/* A bridge for slots of so many bytes, where the script wants one. */
enum kvr_status fake_bridge_open(struct fake_endpoint *in, size_t bytes);

/* All of these with fake_lock held. */

/* Where bytes for a slot are to be put that are not through the bridge. */
uint8_t *fake_bridge_enter(struct fake_endpoint *in, uint8_t *to, size_t bytes);
/* What was inside when the flush began comes out. Errors: AGAIN. */
enum kvr_status fake_bridge_flush(struct fake_endpoint *in);
uint64_t fake_now(const struct fake_endpoint *endpoint);
uint32_t fake_queue_depth(const struct fake_endpoint *endpoint);

/* A free item for the end of the queue, or NULL: AGAIN. */
struct fake_item *fake_take(struct fake_endpoint *from, enum fake_kind kind);
void fake_post(struct fake_endpoint *from, struct fake_item *item);

/* Carries out what is due; hurry: all that is queued, due or not. */
void fake_deliver(struct fake_endpoint *from, bool hurry);

/* Would fake_deliver move something, now or when its time has come? */
bool fake_can_deliver(const struct fake_endpoint *from);
void fake_drop_queue(struct fake_endpoint *from);
void fake_wake(struct fake_endpoint *endpoint);

#endif
