/* SPDX-License-Identifier: Apache-2.0 */
/* Passes on a played stream, whose blocks say whose they are and of when. */
#ifndef KVR_TESTS_STREAMED_H
#define KVR_TESTS_STREAMED_H

#include <stdatomic.h>
#include <stdbool.h>

#include "runtime/stream_plan.h"
#include "tests/support/played.h"
#include "tests/support/ranks.h"

#define STREAMED_BYTES 9000
#define STREAMED_PASSES 2 /* of a plan: each has a local block */

/* One rank's: a plan, a stream on a queue, and what was computed there. */
struct streamed {
	struct rank *rank;
	struct played_queue *queue;
	struct played_stream *stream;
	uint8_t *local; /* STREAMED_PASSES blocks */
	struct kvr_memory *memory;
	struct kvr_segment segment[STREAMED_PASSES];
	struct kvr_pass_desc passes[STREAMED_PASSES];
	struct kvr_stream_plan *plan;
	/*
	 * No more blocks are compared: those of a pass that fails or is
	 * cancelled may be written while a stream that was let through reads.
	 */
	bool blind;
	atomic_uint pass;  /* whose local block was written last, from 1 */
	atomic_uint right; /* blocks that were as they must be */
	atomic_uint wrong;
};

void streamed_open(struct streamed *s, struct rank *rank);
/* When all is done; the plan must be well where `well`. */
void streamed_close(struct streamed *s, bool well);

/* What rank writes and expects, of the pass-th pass. */
void streamed_stamp(uint8_t *block, uint32_t rank, uint32_t pass);
bool streamed_stamped(const void *block, uint32_t rank, uint32_t pass);

/* Puts work on the stream: a new local block; a block compared. */
void streamed_fill(struct streamed *s, size_t index);
void streamed_check(struct streamed *s, const struct kvr_block *block);

/* A block of the next step: waited for, compared, released. */
void streamed_step(struct streamed *s);
/* A whole pass of `steps` blocks. */
void streamed_pass(struct streamed *s, size_t index, uint32_t steps);

/* On the stream: waits for the gate to be open. */
struct gate {
	atomic_bool reached, open;
};
void streamed_gate(struct streamed *s, struct gate *gate);
void gate_await(struct gate *gate);

void streamed_sync(struct streamed *s);

#define STREAMED_RANKS 4
#define STREAMED_PLACES 2

/* What the ranks of a test have in common: rank->arg. */
struct streamed_common {
	struct gate gate[STREAMED_RANKS];
	atomic_uint there[STREAMED_PLACES];
};

void streamed_run(const char *transport, void (*body)(struct rank *),
		  uint32_t n, uint32_t slots,
		  void (*adjust)(uint32_t rank, struct kvr_ring_options *));
/* Over fake and shm. */
void streamed_run_all(void (*body)(struct rank *), uint32_t n, uint32_t slots);

/* Until all ranks got there, once; the ring may have failed meanwhile. */
void streamed_meet(struct rank *rank, unsigned place);

/* A little, for what another thread does. */
void streamed_pause(void);

#endif
