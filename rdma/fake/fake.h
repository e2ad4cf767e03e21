/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scripted transport: ranks of one process, faults on demand, a virtual
 * clock. Same contract as every back end (runtime/transport.h).
 *
 * A script applies to the endpoints opened after it was set, in the whole
 * process; tests set it, nothing else does. Without a script writes arrive
 * at the next poll.
 */
#ifndef KVR_RDMA_FAKE_H
#define KVR_RDMA_FAKE_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/transport.h"

/* What is between the wire and the memory that lands in. */
enum kvr_fake_bridge {
	KVR_FAKE_BRIDGE_NONE,
	KVR_FAKE_BRIDGE_FLUSHED, /* bytes come out at the receiver's flush */
	KVR_FAKE_BRIDGE_STUCK	 /* nor then: as if nobody flushed */
};

struct kvr_fake_script {
	uint64_t seed;

	enum kvr_fake_bridge bridge;
	uint32_t flush_calls; /* until a flush is through; 0: 1 */

	/*
	 * Nanoseconds; NULL: CLOCK_MONOTONIC. Nothing sleeps on it: whoever
	 * advances a virtual clock polls afterwards.
	 */
	uint64_t (*now)(void *arg);
	void *now_arg;

	/* Each write or signal arrives so much later, uniformly drawn. */
	uint64_t delay_min_ns, delay_max_ns;

	/*
	 * Chunks and descriptors may overtake each other (not the signals,
	 * and no write overtakes one of `slots` blocks earlier). With a
	 * virtual clock and one thread the order follows from the seed.
	 */
	bool reorder;

	/* Outstanding writes before AGAIN, <= 192; 0: 64. Not the signals. */
	uint32_t queue_depth;

	uint32_t pieces_max; /* of one write; 0: any number */

	/*
	 * Sees the bytes of each chunk as it lands at rank `to`, and may
	 * change them: a memory or a wire that forgets. NULL: nothing does.
	 */
	void (*land)(void *arg, uint32_t to, uint32_t imm, void *bytes,
		     size_t count);
	void *land_arg;

	/* Everything into and out of this rank takes `slow_factor` longer. */
	uint32_t slow_rank; /* KVR_RANK_NONE: nobody */
	uint32_t slow_factor;

	/*
	 * Of what lose_rank sends, the lose_from-th of this type (from 1) and
	 * all that follow are lost on the way; to their sender they are SENT.
	 */
	uint32_t lose_rank; /* heeded where lose_from > 0 */
	enum kvr_imm_type lose_type;
	uint32_t lose_from;
};

/* NULL: back to no script. Copied. */
void kvr_fake_set_script(const struct kvr_fake_script *script);

/*
 * What SIGKILL (or SIGSTOP) does to a rank of a ring: its endpoints stop;
 * after kill the peers' polls report PEER_LOST, after freeze nothing more
 * arrives from it. Any thread.
 */
void kvr_fake_kill(uint64_t ring_id, uint32_t rank);
void kvr_fake_freeze(uint64_t ring_id, uint32_t rank);

/*
 * When the next write or signal on its way, of any ring, is due; UINT64_MAX:
 * nothing is. For whoever advances a virtual clock. Any thread.
 */
uint64_t kvr_fake_next_due(void);

extern const struct kvr_transport_ops kvr_fake_transport;

#endif
