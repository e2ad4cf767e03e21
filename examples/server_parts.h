/* SPDX-License-Identifier: Apache-2.0 */
/* What server_loop.c joins and serves: a batch stands for a model's layer. */
#ifndef SERVER_PARTS_H
#define SERVER_PARTS_H

#include <kvring/attention.h>
#include <kvring/bootstrap.h>

#define SERVER_TOKENS_MAX 4096

struct server {
	struct kvr_bootstrap who;
	struct kvr_context *context;
	struct kvr_ring *ring;
	int epoll_fd;
};

/*
 * Meets the others and opens the ring, at first and again after a failure,
 * whoever takes a lost rank's place; its events go to epoll_fd.
 */
enum kvr_status server_join(struct server *s);

struct request {
	uint64_t tokens; /* 0: no more */
	int64_t deadline_ns;
};

/* "TOKENS DEADLINE_MS", a line of standard input; no more at its end. */
void request_read(struct request *out);

/*
 * Makes a plan, runs it, and prints what came out; collective. Rank 0 cancels
 * it on all ranks once the deadline is over: KVR_ERR_CANCELLED.
 */
enum kvr_status batch_serve(struct kvr_ring *ring, const struct request *r);

#endif
