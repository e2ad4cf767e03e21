/* SPDX-License-Identifier: Apache-2.0 */
/* One run of ring_kill, and what is to be said of it. */
#ifndef KVR_TESTS_KILL_JUDGE_H
#define KVR_TESTS_KILL_JUDGE_H

#include <stddef.h>
#include <sys/types.h>

#include "tests/ring/kill.h"
#include "tests/ring/kill_tally.h"

struct run {
	uint64_t seed;
	struct kill_world *world;
	const struct kill_input *input;
	struct gather *gather;
	pid_t pid[KILL_RANKS_MAX];
	int status[KILL_RANKS_MAX];
	bool ended[KILL_RANKS_MAX];
	uint64_t slack_ns; /* what the machine may add to the deadline */

	uint32_t victim;
	int signal;	    /* SIGKILL or SIGSTOP */
	bool wake;	    /* continue the stopped one afterwards */
	unsigned at;	    /* strike when it got so far, */
	uint64_t delay_ns;  /* and so much later */
	uint64_t struck_ns; /* when; 0: not yet */
	unsigned reached;   /* where it got to without our help */
	bool closed;	    /* the launcher gave up the gathering */

	/* What was complained of. */
	bool wrong;	/* a promise was broken */
	bool untimely;	/* a deadline was missed, or a live rank missed one */
	bool misblamed; /* wrong, too, unless that follows from untimely */
	char said[4096];
};

/* What is wrong with a run, as far as one complaint tells. */
enum kill_fault { FAULT_WRONG, FAULT_UNTIMELY, FAULT_BLAME };

__attribute__((format(printf, 3, 4))) void
kill_complain(struct run *run, enum kill_fault fault, const char *format, ...);

/* Deadline of a neighbour. */
uint64_t kill_deadline_ns(const struct run *run);

/* Each rank by what it reported and how it ended. */
void kill_judge_ranks(struct run *run, struct tally *tally);

#endif
