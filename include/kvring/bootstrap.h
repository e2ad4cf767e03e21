/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ready-made ways for the ranks of a ring to find each other, for callers
 * without an all-gather of their own. Whatever starts the processes exists
 * already; here is only how they learn of each other:
 *
 *	host list	the operator, or any script, starts one process for
 *			each rank; they meet over TCP at the first host
 *	kvring run	N processes of one machine, over a Unix socket
 *	PMIx		mpirun, prterun, srun --mpi=pmix
 *
 * Every function may be called from any thread; one bootstrap is used by one
 * thread at a time. kvr_bootstrap_open is collective, blocks, and is done
 * before kvr_ring_open; close the bootstrap once no ring is to be opened or
 * reopened through it.
 */
#ifndef KVRING_BOOTSTRAP_H
#define KVRING_BOOTSTRAP_H

#include "kvring/kvring.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ----------------------------------------------------------- host list */

#define KVR_HOST_NAME_MAX 253
#define KVR_HOST_PORT 17850 /* where rank 0 listens, unless told */

/*
 * One entry of a host list, such as
 *
 *	node1,node2*4,10.0.0.3:17850,[fd00::4]:17850*2
 *
 * or, as a host file has it, one a line with comments:
 *
 *	node2 slots=4	# four ranks
 *
 * Entries are separated by commas or newlines. A number after a colon is a
 * port. Ranks are numbered through the list in its order.
 */
struct kvr_host {
	size_t size;
	char name[KVR_HOST_NAME_MAX + 1]; /* or address, without brackets */
	uint16_t port;			  /* 0: none given */
	uint32_t ranks;			  /* *4, slots=4; 0: none given */
};

KVR_API void kvr_host_init(struct kvr_host *host);

/*
 * Reads the entry at *at and moves *at behind it. Errors: END after the
 * last; INVALID: no such entry may stand there, *at is where it begins.
 */
KVR_API KVR_MUST_CHECK enum kvr_status kvr_host_next(const char **at,
						     struct kvr_host *out);

/*
 * Is it this machine: its own name, or a name or address of one of its
 * interfaces? A name that does not resolve is another machine's. May wait for
 * name servers. Errors: INVALID, SYSTEM.
 */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_host_is_local(const struct kvr_host *host, int *out);

/* --------------------------------------------------------- open, close */

struct kvr_bootstrap_options {
	size_t size;

	/* A host list, borrowed; NULL: what the environment says. */
	const char *hosts;
	uint32_t rank; /* this process's, on that list */

	/*
	 * Rank 0 listens on its entry's port, or on this one (0: KVRING_PORT,
	 * or KVR_HOST_PORT), the others connect to it: no other port is used.
	 * Where the entry is an address, on that address only; where it is a
	 * name, on all, for a machine may call itself 127.0.1.1.
	 */
	uint16_t port;

	/*
	 * With a secret, both ends of a TCP connection prove that they know
	 * it (HMAC-SHA256 over both hellos, nonces and ranks among them)
	 * before anything is believed. Data is neither encrypted nor
	 * authenticated afterwards. Borrowed while opening. NULL:
	 * KVRING_SECRET, or the contents of the file KVRING_SECRET_FILE less
	 * a newline at its end, or none: then whoever reaches the port may
	 * take a rank's place.
	 */
	const void *secret;
	size_t secret_bytes; /* <= KVR_SECRET_MAX */

	/*
	 * How long to wait until all have come, and within one all-gather
	 * for the last (it may load a model first). 0: a minute, ten minutes.
	 */
	uint32_t join_timeout_ms, gather_timeout_ms;

	kvr_log_fn log; /* NULL: lines are dropped. Also after opening. */
	void *log_arg;
	enum kvr_log_level log_level;
};

#define KVR_SECRET_MAX 4096

KVR_API void kvr_bootstrap_options_init(struct kvr_bootstrap_options *options);

/*
 * Joins the others: by options->hosts, else by what the environment holds,
 * the first of
 *
 *	KVRING_BOOTSTRAP_FD, KVRING_RANK, KVRING_SIZE	left by kvring run
 *	KVRING_HOSTS, KVRING_RANK			a host list
 *	PMIX_NAMESPACE, PMIX_RANK			left by mpirun, srun
 *
 * else alone, rank 0 of 1. options may be NULL. The caller owns *out and ends
 * it with kvr_bootstrap_close. Ranks of a host list may start in any order.
 * Errors: INVALID (a variable or the list is wrong), NO_MEMORY, SYSTEM (the
 * port is in use), TIMEOUT (a rank never came: the log names it), PEER_LOST
 * (one ended meanwhile), MISMATCH (size, secret, version differ, or two
 * processes are the same rank), UNSUPPORTED (this build or machine lacks
 * PMIx, or libcrypto for a secret).
 */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_bootstrap_open(const struct kvr_bootstrap_options *options,
		   struct kvr_bootstrap *out);

/* Ends it, also one that the caller or ..._from_environment filled in. */
KVR_API void kvr_bootstrap_close(struct kvr_bootstrap *bootstrap);

#ifdef __cplusplus
}
#endif

#endif
