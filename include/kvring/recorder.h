/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The flight recorder. Every ring keeps its last events, always, in memory
 * that was there when it opened. What one rank knew of its ring is a recording;
 * those of all ranks, merged, give one sentence of cause: "rank 5 holds slot 1
 * of pass 812, never released". docs/recorder.md lists the sentences.
 *
 * With KVRING_RECORDER=FILE in the environment each rank whose ring fails
 * appends its recording to FILE; "%r" in it stands for the rank. `kvring
 * explain FILE...` merges them; `kvring attention` and `kvring run` merge those
 * of their own ranks.
 */
#ifndef KVRING_RECORDER_H
#define KVRING_RECORDER_H

#include "kvring/kvring.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Appends this rank's recording to a file, by one write where the file takes
 * it: of a ring that works, of one that waits, and of one that failed, which
 * is recorded as it was when it failed. From any thread, at any time until
 * kvr_ring_close; not from a signal handler. Errors: INVALID, NO_MEMORY,
 * FORKED, SYSTEM (the log has why it could not be written).
 */
KVR_API KVR_MUST_CHECK enum kvr_status kvr_ring_record(struct kvr_ring *ring,
						       int fd);

/* What is wrong; numbers stay what they are. */
enum kvr_fault {
	KVR_FAULT_NONE = 0,	/* no ring has failed, and no rank waits */
	KVR_FAULT_UNKNOWN = 1,	/* recordings are missing, or contradict */
	KVR_FAULT_HOLDS = 2,	/* rank took a block, never released it */
	KVR_FAULT_COMPUTES = 3, /* rank has been computing all the time */
	KVR_FAULT_ABSENT = 4,	/* rank asks for no further block */
	KVR_FAULT_NEVER_BEGAN = 5,
	KVR_FAULT_DISAGREES = 6, /* on a pass's tag, hops or sizes */
	KVR_FAULT_SILENT = 7,	 /* rank is stopped, or cut off */
	KVR_FAULT_AWAY = 8,	 /* rank was stopped, and runs again */
	KVR_FAULT_DIED = 9,
	KVR_FAULT_LEFT = 10,	    /* rank closed its ring too early */
	KVR_FAULT_GAVE_UP = 11,	    /* rank called kvr_ring_abort */
	KVR_FAULT_PROTOCOL = 12,    /* rank broke the protocol */
	KVR_FAULT_CREDIT_LOST = 13, /* on the way to rank */
	KVR_FAULT_BLOCK_LOST = 14,  /* all or part of it, from rank */
	KVR_FAULT_STUCK = 15,	    /* what rank posts does not leave it */
	KVR_FAULT_CUT = 16,	    /* rank and its peer do not hear another */
	KVR_FAULT_CORRUPT = 17 /* a block that rank sent or held is wrong */
};

/* The cause, from the recordings of a ring. */
struct kvr_verdict {
	size_t size;
	enum kvr_fault fault;
	uint32_t rank;	   /* at fault, or KVR_RANK_NONE */
	uint32_t n;	   /* ranks of the ring */
	uint32_t recorded; /* of which there are recordings */
	uint32_t others;   /* recordings of other rings, left out */
	uint64_t pass;	   /* its tag; 0: none */
	int failed;	   /* 0: the ring had not failed, but perhaps waits */
	char text[512];	   /* one sentence, without a full stop */
};

KVR_API void kvr_verdict_init(struct kvr_verdict *verdict);

/*
 * Merges recordings, in any order one after the other in memory: those of the
 * ring that failed last. They are checked, and may come from anywhere. Of a
 * rank that is there twice the last counts. Errors: INVALID (none, damaged, or
 * of another version), NO_MEMORY.
 */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_recordings_explain(const void *recordings, size_t bytes,
		       struct kvr_verdict *out);

/* Receives one line without newline. */
typedef void (*kvr_line_fn)(void *arg, const char *line);

/*
 * The same recordings for reading: for each rank its state, then the events of
 * all in order of time, as far as the hosts' clocks agree, at most the last
 * `events` of each rank. Errors as above.
 */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_recordings_print(const void *recordings, size_t bytes, uint32_t events,
		     kvr_line_fn line, void *arg);

#ifdef __cplusplus
}
#endif

#endif
