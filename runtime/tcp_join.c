/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rank 0 lets the others in. Whoever connects is a candidate until its hello,
 * and its proof where there is a secret, are right; strangers hold one of a
 * few places for a few seconds, and nothing else. Nothing here blocks but one
 * poll over all of them.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/stream.h"
#include "runtime/tcp.h"

#define HELLO_NS (2 * KVR_NS_PER_S) /* for a candidate to say it */

struct candidate {
	int fd; /* -1: a free place */
	uint64_t deadline_ns;
	bool heard; /* the hello; the proof is awaited */
	size_t got; /* of what is awaited */
	struct kvr_tcp_hello hello, reply;
	struct kvr_tcp_proof proof;
	char from[INET6_ADDRSTRLEN];
};

struct join {
	struct kvr_tcp *tcp;
	int listen_fd;
	uint32_t there; /* ranks, this one included */
	struct candidate candidates[KVR_TCP_CANDIDATES];
};

/* ------------------------------------------------------------ listening */

static enum kvr_status fail_listen(struct kvr_tcp *tcp, const char *what)
{
	int error = errno;

	if (error == EADDRINUSE)
		kvr_log(&tcp->log, KVR_LOG_ERROR,
			"bootstrap: port %u of %s is in use, perhaps by "
			"another job; give all ranks of this one another port "
			"(--port, KVRING_PORT)",
			tcp->first.port, tcp->first.name);
	else if (error == EADDRNOTAVAIL)
		kvr_log(&tcp->log, KVR_LOG_ERROR,
			"bootstrap: %s is no address of this machine, where "
			"rank 0 is; start rank 0 on the first host of the list",
			tcp->first.name);
	else
		kvr_log(&tcp->log, KVR_LOG_ERROR, "bootstrap: %s at %s:%u: %s",
			what, tcp->first.name, tcp->first.port,
			strerror(error));
	return error == ENOMEM || error == ENOBUFS ? KVR_ERR_NO_MEMORY
						   : KVR_ERR_SYSTEM;
}

/* A name may resolve to 127.0.1.1 at home: then every address will do. */
static socklen_t own_address(const struct kvr_tcp *tcp, int family,
			     struct sockaddr_storage *out)
{
	const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_PASSIVE};
	struct sockaddr_in6 *six = (void *)out;
	struct sockaddr_in *four = (void *)out;
	struct addrinfo *found;
	socklen_t bytes;

	memset(out, 0, sizeof(*out));
	if (!getaddrinfo(tcp->first.name, NULL, &hints, &found)) {
		bytes = found->ai_addrlen;
		memcpy(out, found->ai_addr, bytes);
		freeaddrinfo(found);
	} else {
		out->ss_family = (sa_family_t)family;
		bytes = family == AF_INET6 ? sizeof(*six) : sizeof(*four);
	}
	if (out->ss_family == AF_INET6)
		six->sin6_port = htons(tcp->first.port);
	else
		four->sin_port = htons(tcp->first.port);
	return bytes;
}

static int listen_at(const struct sockaddr_storage *address, socklen_t bytes)
{
	int fd = socket(address->ss_family,
			SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int error;

	if (fd < 0)
		return -1;
	/* Also while connections of the job before linger. */
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
	setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){0}, sizeof(int));
	if (!bind(fd, (const struct sockaddr *)address, bytes) &&
	    !listen(fd, SOMAXCONN))
		return fd;
	error = errno;
	close(fd);
	errno = error;
	return -1;
}

static enum kvr_status begin_listening(struct join *j)
{
	struct sockaddr_storage address;
	socklen_t bytes = own_address(j->tcp, AF_INET6, &address);

	j->listen_fd = listen_at(&address, bytes);
	if (j->listen_fd < 0 && errno == EAFNOSUPPORT) {
		bytes = own_address(j->tcp, AF_INET, &address);
		j->listen_fd = listen_at(&address, bytes);
	}
	return j->listen_fd >= 0 ? KVR_OK
				 : fail_listen(j->tcp, "cannot listen");
}

/* ----------------------------------------------------------- candidates */

static void drop(struct candidate *c)
{
	close(c->fd);
	c->fd = -1;
}

static void name_peer(struct candidate *c)
{
	struct sockaddr_storage peer;
	socklen_t bytes = sizeof(peer);

	if (getpeername(c->fd, (struct sockaddr *)&peer, &bytes) ||
	    getnameinfo((struct sockaddr *)&peer, bytes, c->from,
			sizeof(c->from), NULL, 0, NI_NUMERICHOST))
		snprintf(c->from, sizeof(c->from), "somewhere");
}

static void admit_candidate(struct candidate *c, int fd)
{
	*c = (struct candidate){.fd = fd,
				.deadline_ns = kvr_clock_ns() + HELLO_NS};
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
	name_peer(c);
}

/* Those who find no place wait in the kernel's queue. */
static enum kvr_status accept_some(struct join *j)
{
	for (int i = 0; i < KVR_TCP_CANDIDATES; i++) {
		int fd;

		if (j->candidates[i].fd >= 0)
			continue;
		fd = accept4(j->listen_fd, NULL, NULL,
			     SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0)
			admit_candidate(&j->candidates[i], fd);
		else if (errno == EMFILE || errno == ENFILE ||
			 errno == ENOMEM || errno == ENOBUFS)
			return fail_listen(j->tcp, "cannot accept a rank");
		else
			return KVR_OK; /* none left, or it gave up */
	}
	return KVR_OK;
}

/* What is small always fits into an empty socket; else it is not worth it. */
static bool say(struct candidate *c, const void *data, size_t bytes)
{
	return send(c->fd, data, bytes, MSG_NOSIGNAL | MSG_DONTWAIT) ==
	       (ssize_t)bytes;
}

static void note_refusal(struct join *j, const struct candidate *c,
			 enum kvr_tcp_verdict verdict)
{
	char reason[KVR_TCP_REASON];

	kvr_tcp_reason(verdict, &c->hello, &c->reply, reason);
	snprintf(j->tcp->trouble, sizeof(j->tcp->trouble),
		 "refused a process at %s that says it is rank %u: %s", c->from,
		 c->hello.rank, reason);
	kvr_log(&j->tcp->log, KVR_LOG_WARNING, "bootstrap: %s",
		j->tcp->trouble);
}

static void welcome(struct join *j, struct candidate *c)
{
	j->tcp->fds[c->hello.rank] = c->fd;
	j->there++;
	c->fd = -1;
}

/* Answers the hello. A stranger gets nothing. */
static enum kvr_status hear_hello(struct join *j, struct candidate *c)
{
	enum kvr_tcp_verdict verdict;
	enum kvr_status status;

	if (!kvr_tcp_is_hello(&c->hello)) {
		kvr_log(&j->tcp->log, KVR_LOG_INFO,
			"bootstrap: dropped a stranger from %s", c->from);
		drop(c);
		return KVR_OK;
	}
	status = kvr_tcp_hello_init(j->tcp, &c->reply);
	if (status != KVR_OK)
		return status;
	verdict = kvr_tcp_judge(j->tcp, &c->hello);
	c->reply.verdict = verdict;
	if (verdict != KVR_TCP_WELCOME)
		note_refusal(j, c, verdict);
	if (!say(c, &c->reply, sizeof(c->reply)) || verdict != KVR_TCP_WELCOME)
		drop(c);
	else if (j->tcp->secret)
		c->heard = true;
	else
		welcome(j, c);
	return KVR_OK;
}

static enum kvr_status hear_proof(struct join *j, struct candidate *c)
{
	struct kvr_tcp_proof proof = {.verdict = KVR_TCP_WELCOME};
	uint8_t expected[KVR_MAC_BYTES];
	enum kvr_status status;

	status = kvr_tcp_prove(j->tcp, false, &c->hello, &c->reply, expected);
	if (status == KVR_OK)
		status = kvr_tcp_prove(j->tcp, true, &c->hello, &c->reply,
				       proof.mac);
	if (status != KVR_OK)
		return status;
	/* Another may have become that rank meanwhile. */
	if (!kvr_secret_mac_equal(expected, c->proof.mac))
		proof.verdict = KVR_TCP_SECRET_WRONG;
	else if (j->tcp->fds[c->hello.rank] >= 0)
		proof.verdict = KVR_TCP_TAKEN;
	if (proof.verdict != KVR_TCP_WELCOME) {
		/* Who knows no secret gets nothing made with it. */
		memset(proof.mac, 0, sizeof(proof.mac));
		note_refusal(j, c, proof.verdict);
	}
	if (say(c, &proof, sizeof(proof)) && proof.verdict == KVR_TCP_WELCOME)
		welcome(j, c);
	else
		drop(c);
	return KVR_OK;
}

static enum kvr_status hear(struct join *j, struct candidate *c)
{
	size_t wanted = c->heard ? sizeof(c->proof) : sizeof(c->hello);
	uint8_t *to = c->heard ? (uint8_t *)&c->proof : (uint8_t *)&c->hello;
	ssize_t got = recv(c->fd, to + c->got, wanted - c->got, 0);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return KVR_OK;
	if (got <= 0) {
		drop(c);
		return KVR_OK;
	}
	c->got += (size_t)got;
	if (c->got < wanted)
		return KVR_OK;
	c->got = 0;
	return c->heard ? hear_proof(j, c) : hear_hello(j, c);
}

/* ----------------------------------------------------------------- loop */

/* polls: the listening socket, the candidates, then ranks 1 to n - 1. */
static uint32_t fill_polls(struct join *j)
{
	struct pollfd *p = j->tcp->polls;
	bool room = false;
	uint32_t count = 1, i;

	for (i = 0; i < KVR_TCP_CANDIDATES; i++) {
		room = room || j->candidates[i].fd < 0;
		p[count++] = (struct pollfd){.fd = j->candidates[i].fd,
					     .events = POLLIN};
	}
	p[0] = (struct pollfd){.fd = room ? j->listen_fd : -1,
			       .events = POLLIN};
	for (i = 1; i < j->tcp->n; i++)
		p[count++] =
			(struct pollfd){.fd = j->tcp->fds[i], .events = POLLIN};
	return count;
}

/* Who came and awaits the others has nothing to say. */
static enum kvr_status check_ranks(struct join *j)
{
	const struct pollfd *p = j->tcp->polls + 1 + KVR_TCP_CANDIDATES;
	char name[KVR_HOST_NAME_MAX + 32], text[KVR_TCP_TEXT];

	for (uint32_t i = 1; i < j->tcp->n; i++, p++) {
		if (p->fd < 0 || !p->revents)
			continue;
		kvr_tcp_name(j->tcp, i, name, sizeof(name));
		snprintf(text, sizeof(text),
			 "%.96s ended while the others came; see its own "
			 "messages",
			 name);
		kvr_tcp_fail(j->tcp, text);
		return KVR_ERR_PEER_LOST;
	}
	return KVR_OK;
}

static enum kvr_status serve(struct join *j)
{
	const struct pollfd *p = j->tcp->polls;
	uint64_t now_ns = kvr_clock_ns();
	enum kvr_status status = check_ranks(j);

	for (int i = 0; i < KVR_TCP_CANDIDATES && status == KVR_OK; i++) {
		struct candidate *c = &j->candidates[i];

		if (c->fd < 0)
			continue;
		if (p[1 + i].revents)
			status = hear(j, c);
		else if (now_ns >= c->deadline_ns)
			drop(c);
	}
	if (status == KVR_OK && p[0].revents)
		status = accept_some(j);
	return status;
}

static void say_missing(struct join *j)
{
	struct kvr_tcp *tcp = j->tcp;
	char text[KVR_TCP_TEXT], name[KVR_HOST_NAME_MAX + 32];
	uint32_t first = 1;

	while (tcp->fds[first] >= 0)
		first++;
	kvr_tcp_name(tcp, first, name, sizeof(name));
	if (tcp->n - j->there > 1)
		snprintf(text, sizeof(text),
			 "%.96s and %u more of %u ranks did not come within "
			 "%.1f s; %.320s",
			 name, tcp->n - j->there - 1, tcp->n,
			 (double)tcp->join_ns / (double)KVR_NS_PER_S,
			 tcp->trouble[0] ? tcp->trouble : "start them");
	else
		snprintf(text, sizeof(text),
			 "%.96s did not come within %.1f s; %.320s", name,
			 (double)tcp->join_ns / (double)KVR_NS_PER_S,
			 tcp->trouble[0] ? tcp->trouble : "start it");
	kvr_tcp_fail(tcp, text);
}

static enum kvr_status loop(struct join *j)
{
	const uint64_t deadline_ns = kvr_clock_ns() + j->tcp->join_ns;
	const int round_ms = 200; /* the deadlines of candidates */
	enum kvr_status status = KVR_OK;

	while (j->there < j->tcp->n && status == KVR_OK) {
		uint32_t count = fill_polls(j);
		int ms = kvr_stream_wait_ms(deadline_ns);
		int ready = poll(j->tcp->polls, count,
				 ms < round_ms ? ms : round_ms);

		if (ready >= 0)
			status = serve(j);
		else if (errno != EINTR)
			status = fail_listen(j->tcp, "poll");
		if (status == KVR_OK && j->there < j->tcp->n &&
		    kvr_clock_ns() >= deadline_ns) {
			say_missing(j);
			status = KVR_ERR_TIMEOUT;
		}
	}
	return status;
}

enum kvr_status kvr_tcp_join(struct kvr_tcp *tcp)
{
	struct join j = {.tcp = tcp, .listen_fd = -1, .there = 1};
	enum kvr_status status;
	int i;

	for (i = 0; i < KVR_TCP_CANDIDATES; i++)
		j.candidates[i].fd = -1;
	status = begin_listening(&j);
	if (status != KVR_OK)
		return status;
	status = loop(&j);
	for (i = 0; i < KVR_TCP_CANDIDATES; i++)
		if (j.candidates[i].fd >= 0)
			drop(&j.candidates[i]);
	close(j.listen_fd);
	return status == KVR_OK ? kvr_tcp_go(tcp) : status;
}
