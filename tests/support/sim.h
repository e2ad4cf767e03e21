/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One random schedule of a ring of engines over the fake transport, under a
 * virtual clock, in one thread. Everything follows from the seed: the ring's
 * shape, the blocks' sizes, what the callers do and when, who is late or slow,
 * whom the scheduler favours, how writes are delayed and overtake each other,
 * and who is killed, stopped, aborts, cancels or disagrees.
 */
#ifndef KVR_TESTS_SIM_H
#define KVR_TESTS_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/support/trace.h"

enum kvr_sim_fault {
	KVR_SIM_NONE,
	KVR_SIM_CANCEL,
	KVR_SIM_KILL,
	KVR_SIM_FREEZE,
	KVR_SIM_ABORT,
	KVR_SIM_MISMATCH,
	KVR_SIM_FAULTS
};

struct kvr_sim_result {
	bool ok;
	char why[256]; /* what went wrong; "" when ok */
	enum kvr_sim_fault fault;
	uint64_t virtual_ns, blocks_taken, events;
	uint32_t cancelled; /* passes that a caller was told were cancelled */
	uint32_t failed;    /* ranks that ended in failure, as they should */
	struct kvr_trace trace; /* valid until the next run */
};

void kvr_sim_run(uint64_t seed, struct kvr_sim_result *out);

/* Gives back the memory of the last trace. */
void kvr_sim_fini(void);

#endif
