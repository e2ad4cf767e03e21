/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starts the ranks of one machine as children, serves their all-gather, and
 * outlives them all: whatever happens, no child is left when launch returns,
 * and none survives the death of this process.
 */
#ifndef KVR_CLI_LAUNCH_H
#define KVR_CLI_LAUNCH_H

#include <stddef.h>
#include <stdint.h>

#include "cli/complaint.h"

#define LAUNCH_RANKS_MAX 1024 /* of a ring, too */

struct launch_job {
	uint32_t n;
	const uint32_t *numbers; /* of the ranks; NULL: 0 to n - 1 */

	/* They are part of a larger ring, and find each other themselves. */
	bool apart;

	/*
	 * What a rank does; its return is the exit code. Runs in the child,
	 * with KVRING_RANK, KVRING_SIZE and KVRING_BOOTSTRAP_FD set, unless
	 * it is apart.
	 */
	int (*rank)(void *arg, uint32_t rank);

	/*
	 * It becomes another program, so that it gets the usual signals and a
	 * request to end before it is killed. A stop (SIGSTOP) of it is no
	 * failure as long as no other rank fails: it may be continued.
	 */
	bool program;

	/* In the parent, about ten times a second; may be NULL. */
	void (*tick)(void *arg);
	void *arg;

	/* How long the others may run on after the first one failed. */
	double grace_seconds;
};

enum launch_end {
	LAUNCH_RUNNING = 0,
	LAUNCH_EXITED,	/* code: exit code; 0 is success */
	LAUNCH_KILLED,	/* code: signal, of somebody else */
	LAUNCH_STOPPED, /* code: signal; killed after the grace */
	LAUNCH_ENDED	/* by us: it outlived the grace */
};

struct launch_fate {
	enum launch_end end;
	int code;
};

struct launch_result {
	int interrupted;       /* INT, TERM or HUP came, which; or 0 */
	uint32_t first_failed; /* before that; UINT32_MAX: none */
};

/*
 * signals_block was called before. fates has n entries. False: the ranks
 * could not be started or broke the all-gather, and *why says why.
 */
bool launch(const struct launch_job *job, struct launch_fate *fates,
	    struct launch_result *out, struct complaint *why);

/* "was killed by SIGKILL (...)": for a fate that is a failure. */
void launch_describe(const struct launch_fate *fate, char *out, size_t bytes);

#endif
