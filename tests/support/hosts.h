/* SPDX-License-Identifier: Apache-2.0 */
/* Ranks of a host list that are threads of the test, on a port of its own. */
#ifndef KVR_TESTS_HOSTS_H
#define KVR_TESTS_HOSTS_H

#include <pthread.h>

#include "kvring/bootstrap.h"

struct member {
	struct kvr_bootstrap_options options;
	pthread_t thread;
	enum kvr_status status; /* of opening */
	struct kvr_bootstrap bootstrap;
	unsigned int delay_ms;
	char log[2048]; /* every line, joined by newlines */
	int gathered;	/* by the body: what the all-gather returned */
	void (*body)(struct member *member); /* once open; may be NULL */
	size_t bytes;			     /* for the body */
};

/* A port that nobody listens on just now. */
uint16_t hosts_free_port(void);

/* members[rank] of "127.0.0.1:port*n", with short deadlines. */
void hosts_init(struct member *members, uint32_t n, uint16_t port);

/* Opens in a thread of its own; end waits for it, and closes. */
void hosts_start(struct member *member);
void hosts_end(struct member *member);
void hosts_run(struct member *members, uint32_t n);

/* A body: gathers bytes, which must be right. */
void hosts_gather(struct member *member);

#endif
