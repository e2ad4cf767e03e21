/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The replayed ring of the trace rules: what each rank and edge has done so
 * far. Shared by the three files of the rules only.
 *
 * The whole ring is replayed at once, so a rule may look at both ends of an
 * edge: whether a slot is free is read off what its owner did, not off the
 * counters that the engines exchanged. The counters are then checked too.
 */
#ifndef KVR_TESTS_TRACE_STATE_H
#define KVR_TESTS_TRACE_STATE_H

#include "tests/support/trace.h"

enum trace_chunk { WRITTEN = 1, SENT = 2, LANDED = 4 };

/* One block on one edge, both ends' view of it. */
struct block {
	uint64_t origin;
	uint32_t chunks, sent, landed;
	bool cancelled, described; /* described: the descriptor has landed */
	bool taken, released;	   /* by the receiver's caller */
	uint8_t *chunk;		   /* WRITTEN, SENT, LANDED of each */
};

/* From a rank to its next, one lane. Blocks appear when described. */
struct edge {
	struct block *block;
	size_t count;
	uint64_t granted, seen;
};

struct pass {
	uint64_t tag;
	uint32_t hops[KVR_LANES_MAX], steps[KVR_LANES_MAX]; /* steps: taken */
	uint64_t base[KVR_LANES_MAX]; /* of its sequences, tx and rx alike */
	bool local_released[KVR_LANES_MAX];
	bool ending, end, cancel;
};

struct rank {
	struct pass *pass;
	size_t passes;
	bool failed, blamed, lost, bye[2];
	bool prev_left; /* in peace: needs no more credits */
	struct edge edge[KVR_LANES_MAX];
};

struct ring {
	const struct kvr_trace *trace;
	struct rank *rank;
};

uint32_t trace_prev(const struct ring *ring, uint32_t rank);
uint32_t trace_next(const struct ring *ring, uint32_t rank);

/* The edge that ends at this rank. */
struct edge *trace_edge_in(struct ring *ring, uint32_t rank, uint32_t lane);

/* NULL: not described yet. */
struct block *trace_block(const struct edge *edge, uint64_t sequence);

/* NULL: the rank has not begun that pass. */
struct pass *trace_pass_of(struct ring *ring, uint32_t rank, uint32_t lane,
			   uint64_t sequence);

/* NULL: none, or the caller has ended it. */
struct pass *trace_pass_open(struct ring *ring, uint32_t rank);

/* Does the rank know that this pass is cancelled? */
bool trace_cancelled(struct ring *ring, uint32_t rank, const struct pass *p);

/* Has all of it landed? */
bool trace_block_complete(const struct block *b);

/* Is the owner of its slot done with rx[k]? NULL, or what is missing. */
const char *trace_slot_done(struct ring *ring, uint32_t rank, uint32_t lane,
			    uint64_t k);

/* May this rank write block k into next's slot? NULL, or why not. */
const char *trace_target_free(struct ring *ring, uint32_t rank, uint32_t lane,
			      uint64_t k);

/* All that this rank began has left, and all that came was granted. */
bool trace_drained(struct ring *ring, uint32_t rank);

/*
 * The rules, by kind: NULL, or what was broken. rank and lane of the event
 * are in range.
 */
typedef const char *trace_rule(struct ring *ring,
			       const struct kvr_trace_event *event);

trace_rule trace_begin, trace_take, trace_release, trace_cancel, trace_ending,
	trace_end, trace_describe, trace_write, trace_grant, trace_bye,
	trace_sent, trace_landed_desc, trace_landed, trace_credit, trace_lost,
	trace_abort;

#endif
