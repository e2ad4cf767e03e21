/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the two ends of a shm edge meet:
 *
 *	OUT	connect to IN's abstract socket; hello + memfd of its inbox
 *	IN	hello + memfd of the landing slots; or, refusing, hello alone
 *
 * Each hello carries the nonce of its receiver's address, which only ranks of
 * the ring were told. Whoever does not know it is a stranger: dropped, while
 * the wait for the real peer goes on. Nothing here blocks.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "rdma/shm/endpoint.h"

#define BACKLOG 16

/* Room for a longer hello of a later version, so that it can be named. */
union hello_buffer {
	struct kvr_hello hello;
	uint8_t bytes[512];
};

union control_buffer {
	struct cmsghdr header;
	uint8_t bytes[CMSG_SPACE(4 * sizeof(int))];
};

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void shm_hang_up(struct shm_endpoint *e)
{
	for (int i = 0; i < SHM_CANDIDATES; i++)
		close_fd(&e->candidates[i]);
	close_fd(&e->listen_fd);
	close_fd(&e->socket_fd);
}

/* ------------------------------------------------------------ messages */

static enum kvr_status watch(struct shm_endpoint *e, int fd)
{
	struct epoll_event event = {.events = EPOLLIN};

	if (epoll_ctl(e->epoll_fd, EPOLL_CTL_ADD, fd, &event))
		return shm_errno(e->config.log, "epoll_ctl");
	return KVR_OK;
}

/* Errors: PEER_LOST (it hung up), SYSTEM. fd < 0: no memory is passed. */
static enum kvr_status send_hello(struct shm_endpoint *e, int socket_fd, int fd)
{
	union control_buffer control = {0};
	struct kvr_hello hello;
	struct iovec data = {.iov_base = &hello, .iov_len = sizeof(hello)};
	struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};

	kvr_hello_init(&e->config, e->remote.nonce, &hello);
	if (fd >= 0) {
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(sizeof(int));
		struct cmsghdr *header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(header), &fd, sizeof(fd));
	}
	if (sendmsg(socket_fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
		return KVR_OK;
	if (errno == EPIPE || errno == ECONNRESET || errno == EAGAIN)
		return KVR_ERR_PEER_LOST;
	return shm_errno(e->config.log, "send hello");
}

/* The only descriptor that came, or -1; any other is closed. */
static int take_fd(struct msghdr *message)
{
	int fd, found = -1;
	size_t count = 0;

	for (struct cmsghdr *h = CMSG_FIRSTHDR(message); h;
	     h = CMSG_NXTHDR(message, h)) {
		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t at = 0; CMSG_LEN(at + sizeof(int)) <= h->cmsg_len;
		     at += sizeof(int)) {
			memcpy(&fd, CMSG_DATA(h) + at, sizeof(fd));
			if (count++ == 0)
				found = fd;
			else
				close(fd);
		}
	}
	if (count > 1 || (message->msg_flags & MSG_CTRUNC))
		close_fd(&found);
	return found;
}

/*
 * A hello that knows our nonce; of another version, only its prefix is set.
 * *fd is the memory that came with it, or -1. Errors: AGAIN (nothing yet),
 * PEER_LOST (hung up, or a stranger).
 */
static enum kvr_status receive_hello(const struct shm_endpoint *e,
				     int socket_fd, struct kvr_hello *out,
				     int *fd)
{
	union hello_buffer buffer = {0};
	union control_buffer control = {0};
	struct iovec data = {.iov_base = &buffer, .iov_len = sizeof(buffer)};
	struct msghdr message = {
		.msg_iov = &data,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	const ssize_t length =
		recvmsg(socket_fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (length < 0 && (errno == EAGAIN || errno == EINTR))
		return KVR_ERR_AGAIN;
	if (length <= 0)
		return KVR_ERR_PEER_LOST;
	int received = take_fd(&message);
	const struct kvr_hello *hello = &buffer.hello;
	if ((size_t)length < KVR_HELLO_PREFIX_BYTES ||
	    hello->magic != KVR_HELLO_MAGIC ||
	    memcmp(hello->nonce, e->address.nonce, KVR_NONCE_BYTES) != 0 ||
	    (hello->version == KVR_HELLO_VERSION && length != sizeof(*hello))) {
		close_fd(&received);
		return KVR_ERR_PEER_LOST;
	}
	*out = *hello;
	*fd = received;
	return KVR_OK;
}

/* Of another user: whatever it says, it gets no memory of ours. */
static bool same_user(int socket_fd)
{
	struct ucred peer;
	socklen_t bytes = sizeof(peer);

	return getsockopt(socket_fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) ==
		       0 &&
	       peer.uid == geteuid();
}

static enum kvr_status adopt(struct shm_endpoint *e, int fd)
{
	enum kvr_status status;

	status = shm_region_adopt(e->config.log, fd, e->outbox_layout.bytes,
				  &e->outbox);
	if (status == KVR_OK)
		e->producer.ring = (struct shm_ring *)(void *)e->outbox.base;
	return status;
}

static void connected(struct shm_endpoint *e)
{
	e->connected = true;
	/* The peer holds it now; our mapping stays. */
	shm_region_close_fd(&e->inbox);
}

/* ------------------------------------------------------------------ IN */

enum kvr_status shm_listen(struct shm_endpoint *e)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	socklen_t bytes = sizeof(name.sun_family);
	const size_t path = offsetof(struct sockaddr_un, sun_path);

	e->listen_fd = socket(AF_UNIX,
			      SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (e->listen_fd < 0)
		return shm_errno(e->config.log, "make a Unix socket");
	/* Family alone: the kernel chooses a free abstract name. */
	if (bind(e->listen_fd, (const struct sockaddr *)&name, bytes))
		return shm_errno(e->config.log, "bind a Unix socket");
	if (listen(e->listen_fd, BACKLOG))
		return shm_errno(e->config.log, "listen on a Unix socket");
	bytes = sizeof(name);
	if (getsockname(e->listen_fd, (struct sockaddr *)&name, &bytes))
		return shm_errno(e->config.log, "name of a Unix socket");
	if (bytes <= path || bytes - path > SHM_NAME_MAX) {
		errno = ENAMETOOLONG;
		return shm_errno(e->config.log, "name of a Unix socket");
	}
	e->address.name_bytes = (uint32_t)(bytes - path);
	memcpy(e->address.name, name.sun_path, bytes - path);
	return watch(e, e->listen_fd);
}

/* A full table drops its oldest: a real peer simply comes again. */
static enum kvr_status accept_some(struct shm_endpoint *e)
{
	for (int i = 0; i < SHM_CANDIDATES; i++) {
		int fd = accept4(e->listen_fd, NULL, NULL,
				 SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0 && (errno == EAGAIN || errno == EINTR ||
			       errno == ECONNABORTED))
			return KVR_OK;
		if (fd < 0)
			return shm_errno(e->config.log, "accept a peer");
		int *place = &e->candidates[e->next_candidate];
		e->next_candidate = (e->next_candidate + 1) % SHM_CANDIDATES;
		close_fd(place);
		*place = fd;
	}
	return KVR_OK;
}

/* Takes over *candidate. AGAIN: it hung up meanwhile, wait for another. */
static enum kvr_status welcome(struct shm_endpoint *e, int *candidate,
			       const struct kvr_hello *hello, int fd)
{
	enum kvr_status status = kvr_hello_check(&e->config, hello);

	if (status != KVR_OK) {
		/* So that it can name the difference too. */
		if (send_hello(e, *candidate, -1) == KVR_ERR_SYSTEM)
			return KVR_ERR_SYSTEM;
		return status;
	}
	status = adopt(e, fd);
	if (status != KVR_OK)
		return status;
	status = send_hello(e, *candidate, e->inbox.fd);
	if (status == KVR_OK)
		status = watch(e, *candidate);
	if (status != KVR_OK) {
		shm_region_release(&e->outbox);
		return status == KVR_ERR_PEER_LOST ? KVR_ERR_AGAIN : status;
	}
	e->socket_fd = *candidate;
	*candidate = -1;
	for (int i = 0; i < SHM_CANDIDATES; i++)
		close_fd(&e->candidates[i]);
	close_fd(&e->listen_fd);
	connected(e);
	return KVR_OK;
}

static enum kvr_status hear(struct shm_endpoint *e, int *candidate)
{
	struct kvr_hello hello;
	enum kvr_status status;
	int fd = -1;

	status = receive_hello(e, *candidate, &hello, &fd);
	if (status == KVR_ERR_AGAIN)
		return status;
	if (status == KVR_OK && same_user(*candidate)) {
		status = welcome(e, candidate, &hello, fd);
	} else {
		kvr_log(e->config.log, KVR_LOG_INFO,
			"rank %" PRIu32 ": shm: dropped a stranger",
			e->config.rank);
		status = KVR_ERR_AGAIN;
	}
	close_fd(&fd);
	close_fd(candidate);
	return status;
}

enum kvr_status shm_accept_poll(struct shm_endpoint *e)
{
	enum kvr_status status = accept_some(e);

	for (int i = 0; i < SHM_CANDIDATES && status == KVR_OK; i++) {
		if (e->candidates[i] < 0)
			continue;
		status = hear(e, &e->candidates[i]);
		if (status == KVR_OK)
			return KVR_OK;
		if (status == KVR_ERR_AGAIN)
			status = KVR_OK;
	}
	return status == KVR_OK ? KVR_ERR_AGAIN : status;
}

/* ----------------------------------------------------------------- OUT */

/* AGAIN while nobody listens, who may have died or not yet begun. */
static enum kvr_status dial(struct shm_endpoint *e)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	socklen_t bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) +
				      e->remote.name_bytes);
	enum kvr_status status;

	memcpy(name.sun_path, e->remote.name, e->remote.name_bytes);
	e->socket_fd = socket(AF_UNIX,
			      SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (e->socket_fd < 0)
		return shm_errno(e->config.log, "make a Unix socket");
	if (connect(e->socket_fd, (const struct sockaddr *)&name, bytes)) {
		if (errno == ECONNREFUSED || errno == EAGAIN || errno == EINTR)
			return KVR_ERR_AGAIN;
		return shm_errno(e->config.log, "connect to the peer");
	}
	/* The name may have passed to another: it gets no memory of ours. */
	if (!same_user(e->socket_fd))
		return KVR_ERR_AGAIN;
	status = send_hello(e, e->socket_fd, e->inbox.fd);
	if (status != KVR_OK)
		return status == KVR_ERR_PEER_LOST ? KVR_ERR_AGAIN : status;
	return watch(e, e->socket_fd);
}

/* PEER_LOST: this connection came to nothing. */
static enum kvr_status hear_reply(struct shm_endpoint *e)
{
	struct kvr_hello hello;
	enum kvr_status status;
	int fd = -1;

	status = receive_hello(e, e->socket_fd, &hello, &fd);
	if (status == KVR_OK)
		status = kvr_hello_check(&e->config, &hello);
	if (status == KVR_OK)
		status = adopt(e, fd);
	close_fd(&fd);
	if (status == KVR_OK)
		connected(e);
	return status;
}

enum kvr_status shm_dial_poll(struct shm_endpoint *e)
{
	enum kvr_status status = KVR_OK;

	if (e->socket_fd < 0) {
		status = dial(e);
		if (status != KVR_OK) {
			close_fd(&e->socket_fd);
			return status;
		}
	}
	status = hear_reply(e);
	if (status == KVR_ERR_PEER_LOST) {
		close_fd(&e->socket_fd);
		return KVR_ERR_AGAIN;
	}
	return status;
}
