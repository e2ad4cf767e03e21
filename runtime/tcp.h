/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The all-gather of a host list: a star around rank 0, which alone listens.
 *
 *	rank r	hello ->			<- hello, with a verdict
 *		proof -> (with a secret)	<- verdict and proof
 *						<- go, once all have come
 *	then, for each all-gather:
 *		data ->				<- everybody's data, or a
 *failure
 *
 * Fixed sizes, little-endian as every machine that kvring runs on. Rank 0
 * learns of a death or a delay and tells the others which rank it was; they
 * wait a little longer than it does, so that its word comes first.
 */
#ifndef KVR_RUNTIME_TCP_H
#define KVR_RUNTIME_TCP_H

#include <poll.h>
#include <stdbool.h>

#include "kvring/bootstrap.h"
#include "runtime/clock.h"
#include "runtime/log.h"
#include "runtime/secret.h"

#define KVR_TCP_GATHER_MAX (1u << 20) /* bytes of one rank */
#define KVR_TCP_GRACE_NS (5 * KVR_NS_PER_S)
#define KVR_TCP_CANDIDATES 32
#define KVR_TCP_TEXT 480
#define KVR_TCP_REASON 224

struct kvr_tcp {
	uint32_t rank, n;
	char *hosts;	       /* the list, for messages */
	struct kvr_host first; /* where rank 0 listens, with its port */
	const void *secret;    /* while opening; NULL: none */
	size_t secret_bytes;
	struct kvr_log log;
	uint64_t join_ns, gather_ns;
	int *fds;	      /* rank 0: n, by rank; others: 1, to rank 0 */
	struct pollfd *polls; /* rank 0: n + KVR_TCP_CANDIDATES */
	bool failed;	      /* for good */
	char trouble[KVR_TCP_TEXT]; /* what went wrong last, while joining */
};

/* --------------------------------------------------------------- hello */

#define KVR_TCP_MAGIC "KVRBOOT"
#define KVR_TCP_VERSION 1
#define KVR_TCP_NONCE_BYTES 32

enum kvr_tcp_verdict {
	KVR_TCP_WELCOME,
	KVR_TCP_OTHER_VERSION,
	KVR_TCP_OTHER_SIZE,
	KVR_TCP_NO_SUCH_RANK,
	KVR_TCP_TAKEN,
	KVR_TCP_SECRET_MISSING, /* at the rank that came */
	KVR_TCP_SECRET_UNASKED,
	KVR_TCP_SECRET_WRONG
};

struct kvr_tcp_hello {
	char magic[8];
	uint32_t version;
	uint32_t n, rank;
	uint32_t has_secret;
	uint32_t verdict; /* rank 0's */
	uint32_t reserved;
	uint8_t nonce[KVR_TCP_NONCE_BYTES];
};

struct kvr_tcp_proof {
	uint32_t verdict; /* rank 0's */
	uint32_t reserved;
	uint8_t mac[KVR_MAC_BYTES];
};

/* Errors: SYSTEM. */
enum kvr_status kvr_tcp_hello_init(const struct kvr_tcp *tcp,
				   struct kvr_tcp_hello *out);
bool kvr_tcp_is_hello(const struct kvr_tcp_hello *hello);

/* What rank 0 thinks of it. */
enum kvr_tcp_verdict kvr_tcp_judge(const struct kvr_tcp *tcp,
				   const struct kvr_tcp_hello *theirs);

/* One side's proof over both hellos. Errors: UNSUPPORTED, SYSTEM; logged. */
enum kvr_status kvr_tcp_prove(const struct kvr_tcp *tcp, bool of_rank_0,
			      const struct kvr_tcp_hello *other,
			      const struct kvr_tcp_hello *rank_0,
			      uint8_t out[KVR_MAC_BYTES]);

/* "its list has 3 ranks, that of rank 0 4; ..." */
void kvr_tcp_reason(enum kvr_tcp_verdict verdict,
		    const struct kvr_tcp_hello *other,
		    const struct kvr_tcp_hello *rank_0,
		    char out[KVR_TCP_REASON]);

/* -------------------------------------------------------------- joining */

/* Rank 0: until all others are in fds. Logged, and told to those there. */
enum kvr_status kvr_tcp_join(struct kvr_tcp *tcp);

/* Another rank: until rank 0 let it in and all have come. Logged. */
enum kvr_status kvr_tcp_dial(struct kvr_tcp *tcp);

/* -------------------------------------------------------------- gather */

/* A kvr_allgather_fn; arg is the kvr_tcp. */
int kvr_tcp_allgather(void *arg, const void *local, size_t bytes, void *all);

/* Rank 0: logs text, and says it to every rank that listens. */
void kvr_tcp_fail(struct kvr_tcp *tcp, const char *text);

/* Rank 0 says that all have come; another waits for it. */
enum kvr_status kvr_tcp_go(struct kvr_tcp *tcp);
enum kvr_status kvr_tcp_await_go(struct kvr_tcp *tcp);

/* "rank 3 (node2)" */
void kvr_tcp_name(const struct kvr_tcp *tcp, uint32_t rank, char *out,
		  size_t bytes);

#endif
