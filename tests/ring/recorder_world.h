/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ring of threads in which one rank misbehaves in the second pass. The others
 * work on until the ring fails, and record it.
 */
#ifndef KVR_TESTS_RECORDER_WORLD_H
#define KVR_TESTS_RECORDER_WORLD_H

#include <stdatomic.h>
#include <stdbool.h>

#include "kvring/recorder.h"
#include "runtime/wire.h"
#include "tests/support/ranks.h"

#define TAG 811 /* of the first pass; the second goes wrong */
#define BLOCK 16384
#define CHUNK 4096

struct world;

struct fault {
	const char *name;
	const char *transport;
	/* What the rank does instead of the second pass; NULL: nothing else. */
	void (*misbehave)(struct world *w, struct rank *rank);
	uint32_t n, rank;   /* who misbehaves */
	uint32_t impatient; /* who gives up first */
	uint32_t slots;
	bool sums;   /* an accumulating lane */
	bool silent; /* noticed by peer_timeout_ms, not wait_timeout_ms */
	bool dead;   /* leaves no recording */
	bool caller; /* KVR_PROGRESS_CALLER */
	enum kvr_imm_type lose; /* from misbehaving rank on; with `from` */
	uint32_t from;
	enum kvr_fault verdict;
	const char *sentence; /* an extended regular expression */
};

struct world {
	const struct fault *fault;
	uint32_t timeout_ms;
	int fd;		    /* of the recordings, appended to */
	atomic_uint here;   /* ranks that are through their first pass */
	atomic_uint failed; /* ranks whose ring has */
	uint8_t block[8][BLOCK];
};

/* Runs it, and returns the bytes of the recordings, the caller's to free. */
size_t world_run(struct world *w, void **recordings);

/* What a rank may do instead of its second pass. */
void never_release(struct world *w, struct rank *rank);
void compute_on(struct world *w, struct rank *rank);
void take_no_more(struct world *w, struct rank *rank);
void do_nothing(struct world *w, struct rank *rank);
void begin_other(struct world *w, struct rank *rank);
void fewer_hops(struct world *w, struct rank *rank);
void freeze(struct world *w, struct rank *rank);
void be_cut_off(struct world *w, struct rank *rank);
void die(struct world *w, struct rank *rank);
void leave(struct world *w, struct rank *rank);
void give_up(struct world *w, struct rank *rank);
void come_back(struct world *w, struct rank *rank);

/* Parts of it, for rings in which nothing is wrong. */
int recorder_file(void); /* to append to */
size_t recorder_read(int fd, void **data);
void recorder_pause(long ms);
void recorder_meet(atomic_uint *here, uint32_t n);
enum kvr_status recorder_pass(struct rank *rank, uint64_t tag);

/* A pass, in whose step 1 it computes until it is done. */
void recorder_compute_until(struct rank *rank, atomic_uint *done);

#endif
