/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ring's pass, as its two users open, note and close it: the caller's
 * calls (pass.c) and the words of streams (words.c). All with ring->lock held.
 */
#ifndef KVR_RUNTIME_PASS_H
#define KVR_RUNTIME_PASS_H

#include "runtime/ring.h"

/*
 * Could a pass of desc begin: sizes, hops, memory? Logs what is wrong. Errors:
 * INVALID, LIMIT, STATE (one is open).
 */
enum kvr_status kvr_pass_check(struct kvr_ring *ring,
			       const struct kvr_pass_desc *desc);

/*
 * Begins the pass. Never waits. Errors: those of kvr_pass_begin; AGAIN (this
 * rank is several passes ahead of its neighbours).
 */
enum kvr_status kvr_pass_open(struct kvr_ring *ring,
			      const struct kvr_pass_desc *desc,
			      uint64_t now_ns);

/* The engine gave a block away, or took it back: times and recorder. */
void kvr_pass_note_taken(struct kvr_pass *pass, uint32_t lane, uint32_t step,
			 uint64_t asked_ns, uint64_t ready_ns);
void kvr_pass_note_released(struct kvr_pass *pass, uint32_t lane, uint32_t step,
			    uint64_t now_ns);

/* The engine has ended it, with status. */
void kvr_pass_note_end(struct kvr_pass *pass, enum kvr_status status,
		       uint64_t now_ns);

#endif
