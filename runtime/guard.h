/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The integrity option: blocks are sealed (seal.h) when they leave and checked
 * when the caller takes them and when it gives them back. All of it runs in the
 * caller's thread, without ring->lock: progress never waits for a checksum.
 *
 * Every call from begin on is for rings with ring->integrity, in the
 * thread that uses the pass, with ring->lock held, which it gives up meanwhile.
 */
#ifndef KVR_RUNTIME_GUARD_H
#define KVR_RUNTIME_GUARD_H

#include "runtime/ring.h"

/*
 * slot_bytes of a lane, with integrity with room for the seal; saturates. For
 * every ring.
 */
size_t kvr_guard_slot_bytes(const struct kvr_ring *ring, uint32_t lane);

/*
 * The memory of the local seals, known to the transport to next: once that is
 * chosen. Errors: NO_MEMORY, and memory_register's.
 */
enum kvr_status kvr_guard_open(struct kvr_ring *ring);
void kvr_guard_close(struct kvr_ring *ring);

/* Seals the local block: one more piece; *bytes grows by it. */
void kvr_guard_begin(struct kvr_ring *ring, const struct kvr_pass_desc *desc,
		     uint32_t lane, size_t *bytes);

/*
 * A block taken: checked unless it is local; out->bytes becomes the payload.
 * Errors: CORRUPT, or PROTOCOL (no such length), and the ring has failed; or
 * what it failed with meanwhile.
 */
enum kvr_status kvr_guard_take(struct kvr_pass *pass, uint32_t lane,
			       struct kvr_block *out);

/*
 * Before a block is released: checked again, or on an accumulating lane sealed
 * with what the caller added. A step that is not held is the engine's to
 * refuse. Errors: CORRUPT, and the ring has failed.
 */
enum kvr_status kvr_guard_release(struct kvr_pass *pass, uint32_t lane,
				  uint32_t step);

/* The same for all that is held when the pass ends. */
void kvr_guard_end(struct kvr_pass *pass);

#endif
