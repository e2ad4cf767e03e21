/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The flight recorder: the last events of one ring, always on. A note is three
 * stores into memory that was there when the ring opened; it takes the time
 * that its caller has at hand. Under ring->lock, as everything that it notes.
 */
#ifndef KVR_RUNTIME_RECORDER_H
#define KVR_RUNTIME_RECORDER_H

#include <stdint.h>
#include <string.h>

/* A power of two. About nine are noted for each block of a pass. */
#define KVR_RECORDER_EVENTS 4096

/* Numbers are the file format's: new ones at the end. */
enum kvr_recorder_kind {
	KVR_NOTE_NONE = 0,
	/* The caller's; value: the pass's tag. */
	KVR_NOTE_BEGIN = 1,    /* detail: hops */
	KVR_NOTE_END = 2,      /* detail: minus its status */
	KVR_NOTE_TAKEN = 3,    /* detail: step */
	KVR_NOTE_RELEASED = 4, /* detail: step */
	KVR_NOTE_CANCEL = 5,
	KVR_NOTE_WAIT = 6, /* detail: kvr_recording_wait */
	/* Blocks from prev and credits to it; value: hop counter. */
	KVR_NOTE_DESCRIBED = 7, /* detail: chunks to come */
	KVR_NOTE_CHUNK = 8,	/* the first of several; detail: which */
	KVR_NOTE_LANDED = 9,	/* detail: chunks */
	KVR_NOTE_GRANT = 10,	/* value: slots granted since the start */
	/* Blocks to next and credits from it; value: hop counter. */
	KVR_NOTE_POST = 11,   /* the descriptor; detail: hop, 0: our own */
	KVR_NOTE_POSTED = 12, /* all of it; detail: chunks */
	KVR_NOTE_SENT = 13,   /* its source is read no more; detail: chunks */
	KVR_NOTE_CREDIT = 14, /* value: credits since the start */
	/* Life and death; lane: kvr_side, where one is meant. */
	KVR_NOTE_AWAY = 15,  /* value: ns in which we did nothing */
	KVR_NOTE_QUIET = 16, /* value: ns without a sign of life */
	KVR_NOTE_HEARD = 17, /* again */
	KVR_NOTE_BYE_SENT = 18,
	KVR_NOTE_BYE = 19,
	KVR_NOTE_LOST = 20,	 /* the edge is gone; detail: kvr_cause */
	KVR_NOTE_ABORT = 21,	 /* came; value: step; detail: rank */
	KVR_NOTE_FAILED = 22,	 /* value: kvr_cause; detail: rank blamed */
	KVR_NOTE_CANCELLED = 23, /* by a rank of the ring; value: tag */
	KVR_NOTE_KINDS = 24
};

struct kvr_recorder_event {
	uint64_t at_ns; /* CLOCK_MONOTONIC, or the simulator's */
	uint64_t value;
	uint32_t detail;
	uint8_t kind, lane;
	uint16_t zero;
};

_Static_assert(sizeof(struct kvr_recorder_event) == 24, "no padding");

struct kvr_recorder {
	uint64_t count; /* events since the ring opened */
	struct kvr_recorder_event event[KVR_RECORDER_EVENTS];
};

/* Touches every page, so that no note has to wait for one. */
static inline void kvr_recorder_init(struct kvr_recorder *recorder)
{
	memset(recorder, 0, sizeof(*recorder));
}

static inline void kvr_recorder_note(struct kvr_recorder *recorder,
				     uint64_t at_ns,
				     enum kvr_recorder_kind kind, uint32_t lane,
				     uint64_t value, uint32_t detail)
{
	recorder->event[recorder->count++ % KVR_RECORDER_EVENTS] =
		(struct kvr_recorder_event){
			.at_ns = at_ns,
			.value = value,
			.detail = detail,
			.kind = (uint8_t)kind,
			.lane = (uint8_t)lane,
		};
}

#endif
