/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ring: two endpoints, one engine, one pass.
 *
 * Who may touch what:
 *  - engine, pass and everything marked so: under `lock`;
 *  - the endpoints: the thread that progresses the ring, without lock, so
 *    that moving bytes never keeps the caller waiting;
 *  - the rest: constant between open and close.
 */
#ifndef KVR_RUNTIME_RING_H
#define KVR_RUNTIME_RING_H

#include "runtime/bootstrap.h"
#include "runtime/compute.h"
#include "runtime/context.h"
#include "runtime/engine.h"
#include "runtime/settings.h"

struct kvr_words;

struct kvr_edge {
	struct kvr_endpoint *endpoint; /* NULL: n = 1, or shut down */
	const char *transport;	       /* name; "none" for n = 1 */
	size_t transport_index;
	uint64_t unready; /* what the transport counted when it was chosen */
	bool lost;	  /* poll reported the end; by the progressing thread */
};

/* What poll gave. */
#define KVR_HARVEST 32

struct kvr_harvest {
	struct kvr_event events[KVR_HARVEST];
	size_t count;
	enum kvr_status status;
};

struct kvr_step_times {
	uint64_t asked_ns, ready_ns, released_ns;
};

/* The ring's only pass object; begin opens it again. All under ring->lock. */
struct kvr_pass {
	struct kvr_ring *ring;
	bool open;
	uint64_t tag;
	uint32_t record; /* of the engine */
	uint64_t begin_ns, end_ns;
	uint32_t steps;
	uint64_t exposed_ns, held_ns;
	uint32_t taken[KVR_LANES_MAX]; /* blocks of each lane */

	/* The local block of each lane, as the transport wants it. */
	struct kvr_piece *pieces[KVR_LANES_MAX]; /* max_segments + 2 each */
	size_t piece_count[KVR_LANES_MAX];	 /* a seal's included */
	size_t segment_count[KVR_LANES_MAX];
	struct kvr_step_times *times[KVR_LANES_MAX]; /* n + 1 each */
};

/* What the caller does: for the recorder. */
struct kvr_caller {
	enum kvr_recording_wait wait;
	uint32_t lane;
	uint64_t since_ns; /* of the wait, or since the last call */
};

/* A block that the caller has taken, with integrity: see guard.h. */
struct kvr_held {
	bool held;
	uint32_t step, origin;
	size_t bytes;		/* of its payload */
	struct kvr_piece piece; /* it, unless local */
	const void *metadata;
	size_t metadata_bytes;
};

/* What integrity found first, for the failure's text. */
struct kvr_damage {
	bool known;
	bool arriving; /* else it was overwritten here */
	uint32_t part; /* enum kvr_seal_part */
	size_t chunk;
	uint32_t origin, hops;
};

struct kvr_ring {
	struct kvr_context *context;
	struct kvr_ring_options options;
	struct kvr_ring *next, **link; /* context->rings; context->lock */
	uint32_t rank, n;
	uint32_t generation;
	struct kvr_draw draw;
	struct kvr_secret secret; /* until the ring is open */
	struct kvr_edge edge[2];  /* by kvr_side: PREV is IN, NEXT is OUT */
	struct kvr_piece *slots;  /* [lane * slots + slot], ours */
	struct kvr_slots_info slots_info;
	struct kvr_harvest arrived; /* from prev; the progressing thread's */
	int epoll_fd;		    /* both event descriptors, and kick_fd */
	int kick_fd;	      /* wakes a caller who is the progress; or -1 */
	bool armed;	      /* by the progressing thread */
	bool shut;	      /* the endpoints are closed for ever */
	bool event_fd_wanted; /* the caller sleeps on epoll_fd */
	uint64_t sleeps;      /* under lock */

	pthread_mutex_t lock;
	pthread_cond_t changed; /* the engine's wake */
	atomic_bool dirty;	/* a caller's event waits for a step */
	atomic_bool asleep;	/* a kick is needed; pairs with dirty */
	void *engine_memory;
	struct kvr_engine *engine;
	bool failure_logged;
	struct kvr_recorder *recorder;
	char *record_path; /* of failures; NULL: none wanted */
	struct kvr_caller caller, caller_failed; /* now; at failed_ns */
	uint64_t failed_ns;			 /* 0: it has not */
	struct kvr_pass pass;
	struct kvr_words *words; /* whose passes they are; NULL: the caller's */
	bool integrity;
	struct kvr_held *held; /* [lane * (slots + 1) + slot, or local] */
	struct kvr_piece local_seal[KVR_LANES_MAX]; /* bytes: if registered */
	struct kvr_damage damage;		    /* under lock */
	struct kvr_compute *computing; /* stopped by a failure; under lock */
	uint64_t attention_tag; /* counts plans and runs alike on all ranks */

	/*
	 * Metadata: what arrived with the block in a slot (borrowed from the
	 * transport), and what the local block of a pass record carries.
	 */
	const void **slot_metadata; /* [lane * slots + slot] */
	uint8_t *local_metadata;    /* [record][lane][KVR_METADATA_MAX] */
};

static inline size_t kvr_ring_slot_index(const struct kvr_ring *ring,
					 uint32_t lane, uint32_t slot)
{
	return (size_t)lane * ring->options.slots + slot;
}

static inline uint8_t *kvr_ring_local_metadata(const struct kvr_ring *ring,
					       uint32_t record, uint32_t lane)
{
	return ring->local_metadata +
	       ((size_t)record * KVR_LANES_MAX + lane) * KVR_METADATA_MAX;
}

/*
 * A block as the caller may write it on an accumulating lane: slots are ours,
 * and local memory was registered through a pointer to writable memory.
 */
static inline void *kvr_ring_writable(const struct kvr_piece *piece)
{
	return (void *)(uintptr_t)piece->address;
}

/* May its local blocks be memory of a GPU? Alone, n = 1, nothing is sent. */
static inline bool kvr_ring_sends_gpu(const struct kvr_ring *ring)
{
	const struct kvr_endpoint *out = ring->edge[KVR_NEXT].endpoint;

	return !ring->integrity && (!out || out->ops->takes_gpu);
}

/* The caller leaves a call, or (kvr_ring_waits) begins to wait in one. */
static inline void kvr_ring_left(struct kvr_ring *ring, uint64_t now_ns)
{
	ring->caller.wait = KVR_WAIT_NONE;
	ring->caller.since_ns = now_ns;
}

void kvr_ring_waits(struct kvr_ring *ring, enum kvr_recording_wait wait,
		    uint32_t lane, uint64_t now_ns);

enum kvr_status kvr_ring_open_recorder(struct kvr_ring *ring);

/* To where KVRING_RECORDER says. Not under ring->lock. */
void kvr_ring_record_failure(struct kvr_ring *ring);

/* Text of the engine's failure for people. ring->lock held. */
void kvr_ring_describe_failure(const struct kvr_ring *ring,
			       struct kvr_failure *out);

/*
 * After a failure: lets the aborts go out, then closes the endpoints, so that
 * no memory of the caller is read any more. Not under ring->lock.
 */
void kvr_ring_shut_down(struct kvr_ring *ring);

/* Frees a ring that is closed, or that never came to be. */
void kvr_ring_destroy(struct kvr_ring *ring);

/* What the engine does to the endpoints; its arg is the ring. */
extern const struct kvr_engine_actions kvr_ring_actions;

/* Can it be? Each after the one before, logged. ring_options.c. */
enum kvr_status kvr_ring_check_bootstrap(const struct kvr_log *log,
					 const struct kvr_bootstrap *bootstrap);
enum kvr_status kvr_ring_check_options(const struct kvr_log *log,
				       const struct kvr_bootstrap *bootstrap,
				       const struct kvr_ring_options *options);
/* Slots on a GPU: is there one? integrity is settled. */
enum kvr_status kvr_ring_check_gpu(const struct kvr_log *log,
				   const struct kvr_ring_options *options);

/* As kvr_ring_open, with the generation wished; 0: none. */
enum kvr_status kvr_ring_open_generation(struct kvr_context *context,
					 const struct kvr_bootstrap *bootstrap,
					 const struct kvr_ring_options *options,
					 uint32_t generation,
					 struct kvr_ring **out);

#endif
