/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which ranks this command is to start: all of a ring on this machine, those
 * of one host of a list, or, under mpirun or srun, one.
 */
#ifndef KVR_CLI_PLACE_H
#define KVR_CLI_PLACE_H

#include "cli/launch.h"

enum place_kind {
	PLACE_HERE,  /* all; the ranks meet through this process */
	PLACE_HOSTS, /* they meet over TCP; others start the rest */
	PLACE_ENGINE /* they meet through PMIx */
};

struct place_request {
	uint32_t n;		/* 0: not given */
	const char *hosts;	/* NULL: not given */
	const char *hosts_name; /* what gave it, such as "--hosts" */
	int64_t host_index;	/* which one this is; -1: find out */
};

struct place {
	enum place_kind kind;
	uint32_t n;	/* 0: the engine will say */
	uint32_t count; /* of ranks to start here */
	uint32_t ranks[LAUNCH_RANKS_MAX];
	char *hosts; /* the list with the ranks of each; place_free's */
};

/* --hosts and the like before KVRING_HOSTS, before mpirun or srun, before -n */
bool place_choose(const struct place_request *request, struct place *out,
		  struct complaint *why);
void place_free(struct place *place);

/* Rank 0 is among them: it writes, verifies and reports. */
bool place_has_root(const struct place *place);

/*
 * Started by mpirun or srun, and not as rank 0: n processes say the same
 * things on one terminal, of which one is enough.
 */
bool place_is_follower(void);

#endif
