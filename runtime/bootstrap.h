/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the ranks tell each other while a ring opens. Three all-gathers: what
 * each wants (compared), where each listens (chosen edge by edge), and
 * whether each is connected (so that one rank's failure is everybody's).
 */
#ifndef KVR_RUNTIME_BOOTSTRAP_H
#define KVR_RUNTIME_BOOTSTRAP_H

#include "kvring/kvring.h"
#include "runtime/transport.h"

/* Random, known to the ranks alone as far as the all-gather is private. */
struct kvr_draw {
	uint64_t ring_id; /* names the ring, also on the wire */
	uint8_t entropy[KVR_ENTROPY_BYTES];
};

/*
 * The caller's all-gather, or a copy when n = 1. *all is malloc'ed and the
 * caller's to free. Errors: NO_MEMORY, PEER_LOST (the all-gather failed).
 */
enum kvr_status kvr_bootstrap_gather(const struct kvr_bootstrap *bootstrap,
				     const struct kvr_log *log,
				     const void *local, size_t bytes,
				     void **all);

/*
 * Do all ranks want the same ring, and can they? local is this rank's status
 * so far; a failed one is everybody's, and its options are not looked at.
 * *draw is rank 0's. *generation is this rank's wish, 0 when it opens
 * afresh, and becomes the ring's: ranks that reopen must agree, those that
 * replace a lost one follow. Errors: MISMATCH (logged: rank, field, both
 * values), and gather's.
 */
enum kvr_status kvr_bootstrap_agree(const struct kvr_bootstrap *bootstrap,
				    const struct kvr_ring_options *options,
				    const struct kvr_log *log,
				    enum kvr_status local, uint32_t *generation,
				    struct kvr_draw *draw);

/*
 * Shares this rank's status: KVR_OK when all are, else the first failed
 * rank's status, which is logged unless it is our own.
 */
enum kvr_status kvr_bootstrap_join(const struct kvr_bootstrap *bootstrap,
				   const struct kvr_log *log,
				   enum kvr_status local);

#endif
