/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A rank of a server that lives in its own epoll loop, with no thread of the
 * library: start one with KVRING_HOSTS=127.0.0.1*3 and KVRING_RANK=0, 1, 2.
 * Rank 0 reads requests; joining and the batch itself are in server_parts.c.
 */
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "server_parts.h"

#define TICK_MS 500 /* the ring's heartbeat_ms is 1000 */

/* One turn: what the ring has to do, then sleep; *fd is what woke us. */
static enum kvr_status turn(struct server *s, int *fd)
{
	struct epoll_event event = {.data.fd = -1};
	enum kvr_status status;

	do
		status = kvr_ring_progress(s->ring);
	while (status == KVR_OK);
	if (status != KVR_ERR_AGAIN)
		return status;
	epoll_wait(s->epoll_fd, &event, 1, TICK_MS);
	*fd = event.data.fd;
	return KVR_OK;
}

/* Rank 0's request goes round, as the metadata of an empty block. */
static enum kvr_status share(struct server *s, struct request *r)
{
	enum kvr_status status = KVR_OK;
	struct kvr_pass_desc desc;
	struct kvr_block block;
	struct kvr_pass *pass;
	int fd = -1;

	while (s->who.rank == 0 && status == KVR_OK && fd != STDIN_FILENO)
		status = turn(s, &fd);
	if (status != KVR_OK)
		return status;
	if (s->who.rank == 0)
		request_read(r);
	kvr_pass_desc_init(&desc);
	desc.lane[0].metadata = r;
	desc.lane[0].metadata_bytes = sizeof(*r);
	kvr_block_init(&block);
	status = kvr_pass_begin(s->ring, &desc, &pass);
	while (status == KVR_OK) {
		status = kvr_pass_try_next(pass, 0, &block);
		if (status == KVR_OK && block.origin == 0)
			memcpy(r, block.metadata, sizeof(*r));
		if (status == KVR_OK)
			status = kvr_pass_release(pass, 0, block.step);
		else if (status == KVR_ERR_AGAIN)
			status = turn(s, &fd);
	}
	return status == KVR_ERR_END ? kvr_pass_end(pass) : status;
}

int main(void)
{
	struct epoll_event input = {EPOLLIN, {.fd = STDIN_FILENO}};
	struct kvr_context_options options;
	struct server s = {.epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
	struct request r = {.tokens = 1};
	enum kvr_status status;

	setvbuf(stdin, NULL, _IONBF, 0); /* what epoll does not see is lost */
	setvbuf(stdout, NULL, _IOLBF, 0);
	kvr_context_options_init(&options);
	options.progress = KVR_PROGRESS_CALLER;
	kvr_bootstrap_init(&s.who);
	status = kvr_context_open(&options, &s.context);
	if (status == KVR_OK)
		status = server_join(&s);
	if (status == KVR_OK && s.who.rank == 0)
		epoll_ctl(s.epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO, &input);
	while (status == KVR_OK && r.tokens) {
		status = share(&s, &r);
		if (status == KVR_OK && r.tokens)
			status = batch_serve(s.ring, &r);
		if (status == KVR_ERR_CANCELLED || status == KVR_OK) {
			printf("rank %u: %s\n", s.who.rank,
			       kvr_status_name(status));
			status = KVR_OK;
		} else if (status <= KVR_ERR_PEER_LOST &&
			   status > KVR_ERR_DEVICE) {
			printf("rank %u: %s, joining again\n", s.who.rank,
			       kvr_status_name(status));
			status = server_join(&s);
		}
	}
	kvr_ring_close(s.ring);
	kvr_bootstrap_close(&s.who);
	kvr_context_close(s.context);
	return status == KVR_OK ? 0 : 1;
}
