/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ring of processes of which one is killed or stopped. kill.c is the
 * parent: it strikes and judges. kill_rank.c is one rank: it works, checks
 * every byte that it gets, and tells in shared memory how it fared.
 */
#ifndef KVR_TESTS_KILL_H
#define KVR_TESTS_KILL_H

#include <stdatomic.h>
#include <stdbool.h>

#include "tests/support/whole.h"

#define KILL_RANKS_MAX 6
#define KILL_PASSES 160 /* at most */

/* Where a rank is: moments that only grow, to strike at. */
enum kill_point { POINT_BEGIN, POINT_NEXT, POINT_RELEASE, POINT_END, POINTS };

#define AT_BORN 0u
#define AT_OPENING 1u
#define AT_PASS(pass, point) (2u + (unsigned)(pass)*POINTS + (point))
#define AT_CLOSING AT_PASS(KILL_PASSES, 0)
#define AT_CLOSED (AT_CLOSING + 1)

/* What a rank says of itself; the rank alone writes. */
struct kill_report {
	atomic_uint at;

	/* The call that failed, with what, when; "" when none did. */
	char call[32];
	enum kvr_status status;
	uint64_t returned_ns;
	bool opened; /* there was a ring to ask why */
	struct kvr_failure failure;

	/* This rank's own idea of where it was. */
	uint64_t pass; /* tag; 0: none open */
	uint32_t taken;

	uint32_t passes;   /* done, with every byte as it should be */
	uint64_t close_ns; /* what kvr_ring_close took */
	char wrong[160];   /* a promise that was broken; "": none */
	char log[1024];
};

/* Shared between the parent and the ranks of one run. */
struct kill_world {
	uint32_t n;
	bool attention; /* level 2; else passes of stamped blocks */
	bool caller;	/* KVR_PROGRESS_CALLER */
	uint32_t slots;
	unsigned passes;
	const char *transport;
	uint32_t peer_timeout_ms;
	uint64_t seed;
	struct kill_report report[KILL_RANKS_MAX];
};

/* Exit codes of a rank. */
enum { RANK_DONE = 0, RANK_LOST = 1, RANK_WRONG = 2 };

/* Two inputs that take turns, and what must come out. */
struct kill_input {
	struct whole whole[2];
	float *out[2], *lse[2];
};

/*
 * The life of a rank, with the launcher's variables in the environment.
 * input may be NULL unless world->attention.
 */
int kill_rank_main(struct kill_world *world, uint32_t rank,
		   const struct kill_input *input);

#endif
