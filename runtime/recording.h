/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A recording: what one rank knew of its ring, as bytes that another process
 * merges with those of the other ranks. Little endian, fixed sizes, no padding;
 * several may follow each other in one file.
 *
 *	struct kvr_recording
 *	lanes times struct kvr_recording_lane
 *	lanes * slots times struct kvr_recording_slot, from the oldest block on
 *	events times struct kvr_recorder_event, the oldest first
 *
 * State and events both: a log that forgets could not say who holds a slot
 * since an hour, and a state alone not since when.
 */
#ifndef KVR_RUNTIME_RECORDING_H
#define KVR_RUNTIME_RECORDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kvring/kvring.h"
#include "runtime/recorder.h"

#define KVR_RECORDING_MAGIC UINT64_C(0x0131474f4c52564b) /* "KVRLOG1", 1 */
#define KVR_RECORDING_PASSES 4

/* In which call the caller waits; none: it computes. */
enum kvr_recording_wait {
	KVR_WAIT_NONE = 0,
	KVR_WAIT_BEGIN = 1,
	KVR_WAIT_NEXT = 2,
	KVR_WAIT_END = 3,
	KVR_WAIT_CLOSE = 4,
	KVR_WAITS = 5
};

/* A block's way to next, as struct engine_out. */
#define KVR_OUT_DESCRIBED 1u
#define KVR_OUT_CLOSED 2u /* nothing more to post */
struct kvr_recording_out {
	uint32_t posted, sent; /* chunks */
	uint32_t flags, zero;
};

#define KVR_SLOT_DESCRIBED 1u
#define KVR_SLOT_RELEASED 2u
struct kvr_recording_slot {
	uint64_t block; /* hop counter */
	uint64_t pass;	/* tag; DESCRIBED */
	uint32_t origin, chunks;
	uint32_t landed, flags;
	struct kvr_recording_out out;
};

struct kvr_recording_lane {
	uint64_t granted, signalled, next, credits, end;
	uint32_t accumulating, zero;
};

struct kvr_recording_part {
	uint64_t base;
	uint32_t hops, steps;
	uint32_t released, zero; /* the local block */
	struct kvr_recording_out local;
};

#define KVR_PASS_ENDED 1u
#define KVR_PASS_CANCELLED 2u
struct kvr_recording_pass {
	uint64_t tag;
	uint32_t hops, flags;
	struct kvr_recording_part part[KVR_LANES_MAX];
};

/* By kvr_side. */
struct kvr_recording_side {
	uint64_t silent_ns; /* when it was taken, or the ring failed */
	uint32_t lost, bye_received, bye_sent, zero;
};

struct kvr_recording_failure {
	int32_t status;	       /* kvr_status; 0: none */
	uint32_t told;	       /* by a neighbour's ABORT, not seen here */
	uint32_t cause;	       /* kvr_cause */
	uint32_t rank;	       /* blamed, or KVR_RANK_NONE */
	uint32_t step;	       /* taken here */
	uint32_t open;	       /* is a pass open here? */
	uint64_t pass;	       /* its tag */
	uint64_t ours, theirs; /* MISMATCH */
	char field[32];
};

/* What the caller does. */
struct kvr_recording_caller {
	uint32_t wait, lane; /* kvr_recording_wait; of NEXT */
	uint64_t since_ns;   /* WAIT_NONE: since it left the last call */
};

struct kvr_recording {
	uint64_t magic;
	uint32_t bytes; /* to the end of the events */
	uint32_t rank, n, generation;
	uint64_t ring_id;
	uint64_t now_ns;  /* when the ring failed, else when it was taken */
	uint64_t wall_ns; /* the same moment by CLOCK_REALTIME */
	uint32_t pid, lanes, slots, events;
	uint64_t begun, retired; /* passes; number p is pass[p mod PASSES] */
	uint32_t open, zero;	 /* the newest, to the caller */
	char host[64];
	struct kvr_recording_caller caller;
	struct kvr_recording_failure failure;
	struct kvr_recording_side side[2];
	struct kvr_recording_pass pass[KVR_RECORDING_PASSES];
};

_Static_assert(sizeof(struct kvr_recording_slot) == 48, "no padding");
_Static_assert(sizeof(struct kvr_recording_lane) == 48, "no padding");
_Static_assert(sizeof(struct kvr_recording_pass) == 96, "no padding");
_Static_assert(sizeof(struct kvr_recording) == 680, "no padding");

/* --------------------------------------------------------------- reading */

/* One rank's, checked; points into the bytes that it was read from. */
struct kvr_recorded {
	const struct kvr_recording *head; /* NULL: there is none */
	const struct kvr_recording_lane *lane;
	const struct kvr_recording_slot *slot; /* [lane * slots + i] */
	const struct kvr_recorder_event *event;
};

/*
 * Those of one ring: the one that failed or was recorded last. data is 8-byte
 * aligned, borrowed. Errors: INVALID (not a recording, or a damaged one, or
 * none), NO_MEMORY.
 */
struct kvr_recordings {
	uint32_t n;		   /* ranks of the ring */
	uint32_t present;	   /* of which there is a recording */
	uint32_t others;	   /* recordings of other rings, left out */
	struct kvr_recorded *rank; /* [n] */
};

enum kvr_status kvr_recordings_read(const void *data, size_t bytes,
				    struct kvr_recordings *out);
void kvr_recordings_free(struct kvr_recordings *recordings);

/* The slot that holds a block, or NULL. */
static inline const struct kvr_recording_slot *
kvr_recorded_slot(const struct kvr_recorded *r, uint32_t lane, uint64_t block)
{
	uint64_t ahead = block - r->lane[lane].granted;

	if (block < r->lane[lane].granted || ahead >= r->head->slots)
		return NULL;
	return &r->slot[(uint64_t)lane * r->head->slots + ahead];
}

/* The begun, not retired pass of a block, or NULL. */
static inline const struct kvr_recording_pass *
kvr_recorded_pass(const struct kvr_recorded *r, uint32_t lane, uint64_t block)
{
	for (uint64_t p = r->head->retired; p < r->head->begun; p++) {
		const struct kvr_recording_pass *pass =
			&r->head->pass[p % KVR_RECORDING_PASSES];
		const struct kvr_recording_part *part = &pass->part[lane];

		if (block >= part->base && block < part->base + part->hops)
			return pass;
	}
	return NULL;
}

/* The newest pass begun, or NULL. */
static inline const struct kvr_recording_pass *
kvr_recorded_newest(const struct kvr_recorded *r)
{
	return r->head->begun ? &r->head->pass[(r->head->begun - 1) %
					       KVR_RECORDING_PASSES]
			      : NULL;
}

#endif
