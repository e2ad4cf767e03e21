/* SPDX-License-Identifier: Apache-2.0 */
/* All-gathers through rank 0, once all have come. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "runtime/stream.h"
#include "runtime/tcp.h"

enum { FRAME_DATA = 1, FRAME_FAILURE = 2 };

struct frame {
	uint32_t kind;
	uint32_t reserved;
	uint64_t bytes; /* that follow */
};

_Static_assert(sizeof(struct frame) == 16, "no padding");

void kvr_tcp_name(const struct kvr_tcp *tcp, uint32_t rank, char *out,
		  size_t bytes)
{
	const char *at = tcp->hosts;
	struct kvr_host host;
	uint32_t before = 0;

	kvr_host_init(&host);
	while (kvr_host_next(&at, &host) == KVR_OK) {
		before += host.ranks ? host.ranks : 1;
		if (rank < before) {
			snprintf(out, bytes, "rank %u (%s)", rank, host.name);
			return;
		}
	}
	snprintf(out, bytes, "rank %u", rank);
}

/* --------------------------------------------------------------- rank 0 */

void kvr_tcp_fail(struct kvr_tcp *tcp, const char *text)
{
	struct {
		struct frame frame;
		char text[KVR_TCP_TEXT];
	} message = {.frame = {.kind = FRAME_FAILURE,
			       .bytes = strnlen(text, KVR_TCP_TEXT - 1)}};

	tcp->failed = true;
	kvr_log(&tcp->log, KVR_LOG_ERROR, "bootstrap: %s", text);
	memcpy(message.text, text, message.frame.bytes);
	for (uint32_t i = 1; i < tcp->n; i++)
		if (tcp->fds[i] >= 0)
			(void)send(tcp->fds[i], &message,
				   sizeof(message.frame) + message.frame.bytes,
				   MSG_NOSIGNAL | MSG_DONTWAIT);
}

static int fail_rank(struct kvr_tcp *tcp, uint32_t rank, const char *what)
{
	char name[KVR_HOST_NAME_MAX + 32], text[KVR_TCP_TEXT];

	kvr_tcp_name(tcp, rank, name, sizeof(name));
	snprintf(text, sizeof(text), "%.96s %.150s", name, what);
	kvr_tcp_fail(tcp, text);
	return -1;
}

static int fail_errno(struct kvr_tcp *tcp, uint32_t rank)
{
	if (errno == ECONNRESET || errno == EPIPE)
		return fail_rank(tcp, rank, "ended; see its own messages");
	if (errno == ETIMEDOUT)
		return fail_rank(tcp, rank,
				 "did not take part in time; is it stopped?");
	return fail_rank(tcp, rank, strerror(errno));
}

static int answer(struct kvr_tcp *tcp, const void *all, size_t bytes)
{
	const uint64_t deadline_ns = kvr_clock_ns() + tcp->gather_ns;
	const struct frame frame = {.kind = FRAME_DATA, .bytes = bytes};

	for (uint32_t i = 1; i < tcp->n; i++)
		if (kvr_stream_send(tcp->fds[i], &frame, sizeof(frame),
				    deadline_ns) ||
		    kvr_stream_send(tcp->fds[i], all, bytes, deadline_ns))
			return fail_errno(tcp, i);
	return 0;
}

/* rank has something to say, or ended. */
static int take(struct kvr_tcp *tcp, uint32_t rank, size_t bytes, void *to,
		uint64_t deadline_ns)
{
	struct frame frame;
	char what[128];

	if (kvr_stream_receive(tcp->fds[rank], &frame, sizeof(frame),
			       deadline_ns))
		return fail_errno(tcp, rank);
	if (frame.kind != FRAME_DATA || frame.bytes != bytes) {
		snprintf(what, sizeof(what),
			 "gathers %llu bytes where rank 0 gathers %zu; start "
			 "the same program everywhere",
			 (unsigned long long)frame.bytes, bytes);
		return fail_rank(tcp, rank, what);
	}
	if (kvr_stream_receive(tcp->fds[rank], to, bytes, deadline_ns))
		return fail_errno(tcp, rank);
	return 0;
}

/* A rank whose data are here awaits the answer: if it says more, it ended. */
static int collect_ready(struct kvr_tcp *tcp, size_t bytes, uint8_t *all,
			 uint32_t *missing, uint64_t deadline_ns)
{
	for (uint32_t i = 1; i < tcp->n; i++) {
		struct pollfd *p = &tcp->polls[i];
		bool here = p->events == POLLRDHUP;

		if (!p->revents)
			continue;
		if (here)
			return fail_rank(tcp, i, "ended; see its own messages");
		if (take(tcp, i, bytes, all + i * bytes, deadline_ns))
			return -1;
		p->events = POLLRDHUP;
		--*missing;
	}
	return 0;
}

static int collect(struct kvr_tcp *tcp, size_t bytes, uint8_t *all)
{
	const uint64_t deadline_ns = kvr_clock_ns() + tcp->gather_ns;
	uint32_t missing = tcp->n - 1, i;

	for (i = 0; i < tcp->n; i++)
		tcp->polls[i] = (struct pollfd){.fd = i ? tcp->fds[i] : -1,
						.events = POLLIN};
	while (missing > 0) {
		int ready = poll(tcp->polls, tcp->n,
				 kvr_stream_wait_ms(deadline_ns));

		for (i = 1; ready == 0 && i < tcp->n; i++) {
			errno = ETIMEDOUT;
			if (tcp->polls[i].events == POLLIN &&
			    kvr_clock_ns() >= deadline_ns)
				return fail_errno(tcp, i);
		}
		if (ready > 0 &&
		    collect_ready(tcp, bytes, all, &missing, deadline_ns))
			return -1;
	}
	return 0;
}

enum kvr_status kvr_tcp_go(struct kvr_tcp *tcp)
{
	return answer(tcp, NULL, 0) ? KVR_ERR_PEER_LOST : KVR_OK;
}

static int gather_here(struct kvr_tcp *tcp, const void *local, size_t bytes,
		       void *all)
{
	memcpy(all, local, bytes);
	if (collect(tcp, bytes, all))
		return -1;
	return answer(tcp, all, bytes * tcp->n);
}

/* --------------------------------------------------------- other ranks */

static int fail_here(struct kvr_tcp *tcp, const char *what)
{
	tcp->failed = true;
	kvr_log(&tcp->log, KVR_LOG_ERROR, "bootstrap: rank 0 at %s:%u: %s",
		tcp->first.name, tcp->first.port, what);
	return -1;
}

static int fail_root(struct kvr_tcp *tcp)
{
	if (errno == ECONNRESET || errno == EPIPE)
		return fail_here(tcp, "ended; see its own messages");
	if (errno == ETIMEDOUT)
		return fail_here(tcp, "did not answer in time; is it stopped?");
	return fail_here(tcp, strerror(errno));
}

static int hear_failure(struct kvr_tcp *tcp, uint64_t bytes,
			uint64_t deadline_ns)
{
	char text[KVR_TCP_TEXT] = "";

	if (bytes >= sizeof(text) ||
	    kvr_stream_receive(tcp->fds[0], text, bytes, deadline_ns))
		return fail_here(tcp, "failed");
	/* It goes to logs and terminals. */
	for (char *c = text; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	return fail_here(tcp, text);
}

/* Rank 0's word: exactly bytes of data. */
static int hear(struct kvr_tcp *tcp, void *to, size_t bytes,
		uint64_t deadline_ns)
{
	struct frame frame;

	if (kvr_stream_receive(tcp->fds[0], &frame, sizeof(frame), deadline_ns))
		return fail_root(tcp);
	if (frame.kind == FRAME_FAILURE)
		return hear_failure(tcp, frame.bytes, deadline_ns);
	if (frame.kind != FRAME_DATA || frame.bytes != bytes)
		return fail_here(tcp, "answers with another number of bytes; "
				      "start the same program everywhere");
	if (kvr_stream_receive(tcp->fds[0], to, bytes, deadline_ns))
		return fail_root(tcp);
	return 0;
}

enum kvr_status kvr_tcp_await_go(struct kvr_tcp *tcp)
{
	uint64_t deadline_ns = kvr_clock_ns() + tcp->join_ns + KVR_TCP_GRACE_NS;

	return hear(tcp, NULL, 0, deadline_ns) ? KVR_ERR_PEER_LOST : KVR_OK;
}

static int gather_there(struct kvr_tcp *tcp, const void *local, size_t bytes,
			void *all)
{
	const uint64_t deadline_ns =
		kvr_clock_ns() + tcp->gather_ns + KVR_TCP_GRACE_NS;
	const struct frame frame = {.kind = FRAME_DATA, .bytes = bytes};

	if (kvr_stream_send(tcp->fds[0], &frame, sizeof(frame), deadline_ns) ||
	    kvr_stream_send(tcp->fds[0], local, bytes, deadline_ns)) {
		/* Why it hung up may lie in what it said before. */
		if (errno != ECONNRESET && errno != EPIPE)
			return fail_root(tcp);
	}
	return hear(tcp, all, bytes * tcp->n, deadline_ns);
}

int kvr_tcp_allgather(void *arg, const void *local, size_t bytes, void *all)
{
	struct kvr_tcp *tcp = arg;

	if (tcp->failed)
		return -1;
	if (bytes > KVR_TCP_GATHER_MAX) {
		kvr_log(&tcp->log, KVR_LOG_ERROR,
			"bootstrap: %zu bytes are over the limit of %u; "
			"gather less",
			bytes, KVR_TCP_GATHER_MAX);
		return -1;
	}
	if (tcp->rank == 0)
		return gather_here(tcp, local, bytes, all);
	return gather_there(tcp, local, bytes, all);
}
