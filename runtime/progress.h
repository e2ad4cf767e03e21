/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who drives the engines: the context's thread, or the caller. Both take the
 * same step and sleep in the same way: spin briefly, arm, look again, sleep.
 */
#ifndef KVR_RUNTIME_PROGRESS_H
#define KVR_RUNTIME_PROGRESS_H

#include "runtime/ring.h"

/* The thread; nothing to start with KVR_PROGRESS_CALLER. */
enum kvr_status kvr_progress_start(struct kvr_context *context);
void kvr_progress_stop(struct kvr_context *context);

/* From then on the ring makes progress, until removed. */
enum kvr_status kvr_progress_add(struct kvr_ring *ring);
void kvr_progress_remove(struct kvr_ring *ring);

/*
 * Moves bytes, feeds the engine, posts. Was anything done? The clock is the
 * caller's, who may have read it for something else: that costs as much as a
 * poll. It may be as old as a caller spins without looking.
 */
bool kvr_progress_step(struct kvr_ring *ring, uint64_t now_ns);

/* The engine was changed, by any thread: whoever progresses it shall step. */
void kvr_progress_kick(struct kvr_ring *ring);

/* The same after a call of the caller's, who steps if nobody else does. */
void kvr_progress_nudge(struct kvr_ring *ring, uint64_t now_ns);

/*
 * Waits until the engine may have changed or deadline_ns. ring->lock is held
 * on entry and on return. With KVR_PROGRESS_CALLER this is the progress.
 */
void kvr_progress_wait(struct kvr_ring *ring, uint64_t deadline_ns);

#endif
