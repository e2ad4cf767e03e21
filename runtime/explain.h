/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the explanation share. */
#ifndef KVR_RUNTIME_EXPLAIN_H
#define KVR_RUNTIME_EXPLAIN_H

#include "kvring/recorder.h"
#include "runtime/recording.h"

/* A rank's recording, or NULL. */
static inline const struct kvr_recorded *
kvr_recordings_of(const struct kvr_recordings *all, uint32_t rank)
{
	return rank < all->n && all->rank[rank].head ? &all->rank[rank] : NULL;
}

static inline bool kvr_recorded_failed(const struct kvr_recorded *r)
{
	return r->head->failure.status != KVR_OK;
}

/* Why the caller of that rank waits: *out but for what explain fills in. */
void kvr_explain_wait(const struct kvr_recordings *all, uint32_t rank,
		      struct kvr_verdict *out);

/* Sets fault, rank, pass and the sentence. */
__attribute__((format(printf, 5, 6))) void
kvr_verdict_say(struct kvr_verdict *verdict, enum kvr_fault fault,
		uint32_t rank, uint64_t pass, const char *format, ...);

static inline double kvr_seconds(uint64_t ns)
{
	return (double)ns * 1e-9;
}

#endif
