/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transport seam: one-sided writes along one edge of the ring.
 *
 * An edge joins two endpoints. The OUT endpoint (on the sender) writes into
 * the landing slots of the IN endpoint (on the receiver); both can signal
 * the other. A write or a signal carries a 32-bit immediate (wire.h) that the
 * peer's poll reports *after* the bytes are in place; any but the type
 * KVR_IMM_TRANSPORT, which is the back ends' own.
 *
 *	sender's OUT   -- write, describe, signal -->   receiver's IN
 *	               <-- signal ------------------
 *
 * Rules for every back end:
 *  - An endpoint is used by one thread at a time (the one that progresses its
 *    ring). No call but connect_poll's first blocks; none allocates after
 *    connect_poll returned KVR_OK.
 *  - KVR_ERR_AGAIN is back-pressure, never failure: same call again later.
 *  - write and describe queue; the bytes may move as late as in poll.
 *  - Immediates of one direction arrive in the order posted (signal, write,
 *    describe alike) unless the back end says otherwise in `unordered`.
 *  - KVR_ERR_PEER_LOST is reported by poll only, and only after everything
 *    the peer had signalled before has been reported.
 *  - Foreign errors are translated here, and logged once, here.
 */
#ifndef KVR_RUNTIME_TRANSPORT_H
#define KVR_RUNTIME_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kvring/kvring.h"
#include "runtime/accelerator.h"
#include "runtime/log.h"
#include "runtime/wire.h"

#define KVR_ADDRESS_BYTES 256

enum kvr_role {
	KVR_ROLE_IN = 0, /* from prev: owns the landing slots */
	KVR_ROLE_OUT = 1 /* to next: writes */
};

/* How memory of GPUs is reached; zero is every default. */
struct kvr_gpu_settings {
	/* The seam where this process has one, else NULL; NULL: never. */
	const struct kvr_accelerator_ops *(*present)(void);
	enum kvr_gpu_way way;
	enum kvr_gpu_flush flush;
	int pcie; /* dma-bufs mapped by PCIe: 1 yes, -1 no, 0 as is best */
};

/* What a context's options say; zero is every default. Borrowed. */
struct kvr_transport_config {
	const struct kvr_log *log; /* NULL: lines are dropped */
	const char *devices;	   /* "name[:port],..."; NULL: the back end's */
	uint32_t queue_pairs;	   /* of an edge, on each device; 0: 1 */
	bool adaptive_routing;	   /* the fabric may reorder plain writes */
	uint32_t gid_index; /* of the device's port plus 1; 0: the best */
	struct kvr_gpu_settings gpu;
};

/* Shared secrets: both ends of an edge must have the same. */
#define KVR_ENTROPY_BYTES 32

struct kvr_endpoint_config {
	enum kvr_role role;
	uint32_t rank, peer, n;
	uint64_t ring_id; /* equal on all ranks, different for each ring */
	uint32_t generation;
	uint32_t lanes, slots;
	size_t slot_bytes[KVR_LANES_MAX];
	size_t chunk_bytes;
	bool on_gpu; /* IN: the slots are memory of GPU number `gpu` */
	uint32_t gpu;
	uint8_t entropy[KVR_ENTROPY_BYTES]; /* drawn for this ring */
	const void *secret;		    /* the caller's; NULL: none */
	size_t secret_bytes;
	struct kvr_log *log; /* borrowed, as secret is */
};

/* One piece of the source of a write. */
struct kvr_piece {
	const void *address;
	size_t bytes;
	void *key; /* from memory_register of this transport; may be NULL */
};

/* One chunk. pieces and source memory stay untouched until SENT. */
struct kvr_write {
	uint32_t lane, slot;		/* target: the peer's landing slot */
	size_t offset;			/* bytes from the slot's start */
	size_t bytes;			/* > 0 */
	const struct kvr_piece *pieces; /* the whole block, in order */
	size_t piece_count;
	size_t skip;	 /* bytes of the pieces before this chunk */
	uint32_t chunks; /* of the block, posted in order; 0: unknown */
	uint32_t imm;	 /* delivered after the bytes are in place */
	uint64_t cookie; /* returned by SENT: the source is free again */
};

/* A descriptor and its metadata; both are copied before the call returns. */
struct kvr_describe {
	uint32_t lane, slot;
	const struct kvr_descriptor *descriptor;
	const void *metadata; /* descriptor->metadata_bytes of it */
	uint32_t imm;
};

enum kvr_event_kind {
	KVR_EVENT_ARRIVED = 0, /* imm from the peer */
	KVR_EVENT_SENT = 1     /* cookie of a finished write */
};

struct kvr_event {
	enum kvr_event_kind kind;
	uint32_t imm;
	uint64_t cookie;
};

/* Where an endpoint's landing slots are; static texts. */
struct kvr_slots_info {
	const char *by;	   /* how they are reached: "host", "dma-buf", ... */
	const char *flush; /* what makes received bytes visible: "none", ... */
};

struct kvr_transport_ops;

/* Base structs; each back end embeds them as its first member. */
struct kvr_transport {
	const struct kvr_transport_ops *ops;
};

struct kvr_endpoint {
	const struct kvr_transport_ops *ops;
};

struct kvr_transport_ops {
	const char *name;

	/* Chunks of one block may arrive in any order, and before it. */
	bool unordered;

	/* Ranks as processes (shm, verbs), or only inside one (fake). */
	bool between_processes;

	/* A peer that is killed is lost at once; else its silence tells. */
	bool sees_death;

	/* Refuses a peer that does not know the ring's secret. */
	bool asks_secret;

	/* Takes memory of a GPU, to send from and as landing slots. */
	bool takes_gpu;

	/* KVR_OK when usable here; reason says why not, or what was found. */
	enum kvr_status (*probe)(char *reason, size_t reason_bytes);

	/* One per context. */
	enum kvr_status (*open)(const struct kvr_transport_config *config,
				struct kvr_transport **out);
	void (*close)(struct kvr_transport *transport);

	/* Source memory. key is opaque, NULL where nothing is needed. */
	enum kvr_status (*memory_register)(struct kvr_transport *transport,
					   void *address, size_t bytes,
					   void **key);
	void (*memory_deregister)(struct kvr_transport *transport, void *key);

	/*
	 * Messages that found no receive posted, as far as devices tell:
	 * since the device is there, and other programs' as well. That it
	 * grows while a ring is open is a bug, never back-pressure. From any
	 * thread, at any time.
	 */
	uint64_t (*unready)(struct kvr_transport *transport);

	/* Allocates slots (IN) and listens. config is copied. */
	enum kvr_status (*endpoint_open)(
		struct kvr_transport *transport,
		const struct kvr_endpoint_config *config,
		struct kvr_endpoint **out);

	/*
	 * Frees everything; the peer's poll reports PEER_LOST unless BYE was
	 * signalled, which is the caller's affair. What was signalled arrives
	 * even if the peer has not polled for long; where a device has to
	 * acknowledge it, waits at most 500 ms.
	 */
	void (*endpoint_close)(struct kvr_endpoint *endpoint);

	/* What the peer needs to connect: fixed size, plain bytes. */
	void (*address)(struct kvr_endpoint *endpoint,
			uint8_t out[KVR_ADDRESS_BYTES]);

	/*
	 * Can these two addresses form an edge? local is an OUT endpoint's
	 * own, remote the IN endpoint's that it would connect to.
	 */
	bool (*reaches)(const uint8_t local[KVR_ADDRESS_BYTES],
			const uint8_t remote[KVR_ADDRESS_BYTES]);

	/* Begins to connect; remote is what the peer's `address` gave. */
	enum kvr_status (*connect)(struct kvr_endpoint *endpoint,
				   const uint8_t remote[KVR_ADDRESS_BYTES]);

	/*
	 * KVR_OK when both directions work, AGAIN until then. The caller
	 * keeps the deadline. Errors: PEER_LOST, MISMATCH, PROTOCOL, SYSTEM,
	 * NO_MEMORY.
	 */
	enum kvr_status (*connect_poll)(struct kvr_endpoint *endpoint);

	/*
	 * IN: a landing slot, slot_bytes[lane] long, page aligned; an address
	 * of a GPU where config has on_gpu.
	 */
	void *(*slot)(struct kvr_endpoint *endpoint, uint32_t lane,
		      uint32_t slot);

	/*
	 * IN: copies the slot's descriptor to *out and points *metadata at
	 * KVR_METADATA_MAX bytes that stay until the slot is granted.
	 */
	void (*descriptor)(struct kvr_endpoint *endpoint, uint32_t lane,
			   uint32_t slot, struct kvr_descriptor *out,
			   const void **metadata);

	/* OUT, connected: the most pieces that a write may meet; 0: any. */
	uint32_t (*pieces_max)(struct kvr_endpoint *endpoint);

	/* OUT. Errors: AGAIN. */
	enum kvr_status (*write)(struct kvr_endpoint *endpoint,
				 const struct kvr_write *write);
	enum kvr_status (*describe)(struct kvr_endpoint *endpoint,
				    const struct kvr_describe *describe);

	/* Both roles: an immediate without bytes. Errors: AGAIN. */
	enum kvr_status (*signal)(struct kvr_endpoint *endpoint, uint32_t imm);

	/*
	 * Both: moves queued bytes and reports up to max events in *count
	 * (0 is no error). Returns after a bounded amount of work.
	 * Errors: PEER_LOST, PROTOCOL; *count events are valid all the same.
	 */
	enum kvr_status (*poll)(struct kvr_endpoint *endpoint,
				struct kvr_event *events, size_t max,
				size_t *count);

	/*
	 * IN: makes the bytes that poll reported visible to the device that
	 * computes on them. AGAIN: under way; the same call again, and until
	 * it is KVR_OK no poll. Errors: AGAIN, DEVICE.
	 */
	enum kvr_status (*flush)(struct kvr_endpoint *endpoint);

	/* IN, connected. */
	void (*slots_info)(struct kvr_endpoint *endpoint,
			   struct kvr_slots_info *out);

	/* A descriptor for epoll; readable after arm when poll has work. */
	int (*event_fd)(struct kvr_endpoint *endpoint);

	/*
	 * Before sleeping on event_fd: KVR_OK when poll has nothing and the
	 * next event will make event_fd readable, AGAIN when poll has work.
	 */
	enum kvr_status (*arm)(struct kvr_endpoint *endpoint);

	/* After waking: no more wake-ups wanted; drains event_fd. */
	void (*disarm)(struct kvr_endpoint *endpoint);
};

#endif
