/* SPDX-License-Identifier: Apache-2.0 */
/* Traces that a correct ring may leave, written out phase by phase. */
#ifndef KVR_TESTS_TRACE_SCRIPTS_H
#define KVR_TESTS_TRACE_SCRIPTS_H

#include "tests/support/trace.h"

#define LOCAL KVR_TRACE_LOCAL
#define CANCELLED KVR_TRACE_CANCELLED
#define EVENTS 256

/* trace.events points into it: not to be copied. */
struct script {
	struct kvr_trace trace;
	struct kvr_trace_event event[EVENTS];
};

/* Three ranks, two passes. */
void script_immutable(struct script *s);

/* Two ranks, two passes: every block comes home. */
void script_accumulating(struct script *s);

/*
 * Rank 0 cancels before it sends; rank 1 learns of it from prev, rank 2 when
 * it has taken one block.
 */
void script_cancelled(struct script *s);

/* Rank 2 of three dies. */
void script_lost(struct script *s);

/*
 * Rank 0 ends its pass as soon as its own block has left and begins the next:
 * its block 2 follows block 0 into slot 0 of rank 1. Not complete.
 */
void script_early(struct script *s);

/* Not good: rank 1 ends a cancelled pass, yet its block leaves afterwards. */
void script_local_after_end(struct script *s);

#endif
