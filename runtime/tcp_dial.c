/* SPDX-License-Identifier: Apache-2.0 */
/* Every other rank finds rank 0, which may start later. */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/stream.h"
#include "runtime/tcp.h"

#define CONNECT_NS (3 * KVR_NS_PER_S) /* one attempt, at one address */
#define RETRY_MS 100

/* Not now: the next attempt may do better, the last one's trouble is told. */
static enum kvr_status again(struct kvr_tcp *tcp, const char *what)
{
	snprintf(tcp->trouble, sizeof(tcp->trouble), "%s", what);
	return KVR_ERR_AGAIN;
}

/* That time is up says less than what went before. */
static enum kvr_status again_errno(struct kvr_tcp *tcp)
{
	if (errno == ETIMEDOUT && tcp->trouble[0])
		return KVR_ERR_AGAIN;
	return again(tcp, strerror(errno));
}

static uint64_t attempt_end(uint64_t deadline_ns)
{
	uint64_t end_ns = kvr_clock_ns() + CONNECT_NS;

	return end_ns < deadline_ns ? end_ns : deadline_ns;
}

static enum kvr_status connect_to(struct kvr_tcp *tcp,
				  const struct addrinfo *where,
				  uint64_t deadline_ns, int *out)
{
	int error = 0,
	    fd = socket(where->ai_family,
			SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	socklen_t bytes = sizeof(error);

	if (fd < 0)
		return again_errno(tcp);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
	if (connect(fd, where->ai_addr, where->ai_addrlen) &&
	    errno != EINPROGRESS && errno != EINTR)
		goto err_close;
	if (kvr_stream_wait(fd, POLLOUT, attempt_end(deadline_ns)))
		goto err_close;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &bytes) || error) {
		errno = error ? error : errno;
		goto err_close;
	}
	*out = fd;
	return KVR_OK;

err_close:
	error = errno;
	close(fd);
	errno = error;
	return again_errno(tcp);
}

static enum kvr_status connect_first(struct kvr_tcp *tcp, uint64_t deadline_ns,
				     int *out)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
				       .ai_flags = AI_NUMERICSERV};
	struct addrinfo *found, *i;
	enum kvr_status status = KVR_ERR_AGAIN;
	char port[8];
	int error;

	snprintf(port, sizeof(port), "%u", tcp->first.port);
	error = getaddrinfo(tcp->first.name, port, &hints, &found);
	if (error)
		return again(tcp, gai_strerror(error));
	for (i = found; i && status == KVR_ERR_AGAIN; i = i->ai_next)
		status = connect_to(tcp, i, deadline_ns, out);
	freeaddrinfo(found);
	return status;
}

/* ------------------------------------------------------------ handshake */

static enum kvr_status refused(const struct kvr_tcp *tcp, uint32_t verdict,
			       const struct kvr_tcp_hello *mine,
			       const struct kvr_tcp_hello *theirs)
{
	char reason[KVR_TCP_REASON];

	kvr_tcp_reason((enum kvr_tcp_verdict)verdict, mine, theirs, reason);
	kvr_log(&tcp->log, KVR_LOG_ERROR,
		"bootstrap: rank 0 at %s:%u refuses rank %u: %s",
		tcp->first.name, tcp->first.port, tcp->rank, reason);
	return KVR_ERR_MISMATCH;
}

/* Rank 0 must know the secret, too. */
static enum kvr_status exchange_proofs(struct kvr_tcp *tcp, int fd,
				       const struct kvr_tcp_hello *mine,
				       const struct kvr_tcp_hello *theirs,
				       uint64_t deadline_ns)
{
	struct kvr_tcp_proof proof = {0}, answer;
	uint8_t expected[KVR_MAC_BYTES];
	enum kvr_status status;

	status = kvr_tcp_prove(tcp, false, mine, theirs, proof.mac);
	if (status == KVR_OK)
		status = kvr_tcp_prove(tcp, true, mine, theirs, expected);
	if (status != KVR_OK)
		return status;
	if (kvr_stream_send(fd, &proof, sizeof(proof), deadline_ns) ||
	    kvr_stream_receive(fd, &answer, sizeof(answer), deadline_ns))
		return again_errno(tcp);
	if (answer.verdict != KVR_TCP_WELCOME)
		return refused(tcp, answer.verdict, mine, theirs);
	if (kvr_secret_mac_equal(expected, answer.mac))
		return KVR_OK;
	kvr_log(&tcp->log, KVR_LOG_ERROR,
		"bootstrap: who answers as rank 0 at %s:%u does not know the "
		"secret; another job may use that port",
		tcp->first.name, tcp->first.port);
	return KVR_ERR_MISMATCH;
}

static enum kvr_status shake_hands(struct kvr_tcp *tcp, int fd,
				   uint64_t deadline_ns)
{
	struct kvr_tcp_hello mine, theirs;
	enum kvr_status status = kvr_tcp_hello_init(tcp, &mine);

	if (status != KVR_OK)
		return status;
	if (kvr_stream_send(fd, &mine, sizeof(mine), deadline_ns) ||
	    kvr_stream_receive(fd, &theirs, sizeof(theirs), deadline_ns))
		return again_errno(tcp);
	/* Rank != 0: the kernel may connect us with ourselves. */
	if (!kvr_tcp_is_hello(&theirs) || theirs.rank != 0)
		return again(tcp, "another program answers there");
	if (theirs.verdict != KVR_TCP_WELCOME)
		return refused(tcp, theirs.verdict, &mine, &theirs);
	if (!tcp->secret)
		return KVR_OK;
	return exchange_proofs(tcp, fd, &mine, &theirs, deadline_ns);
}

static enum kvr_status attempt(struct kvr_tcp *tcp, uint64_t deadline_ns)
{
	enum kvr_status status;
	int fd;

	status = connect_first(tcp, deadline_ns, &fd);
	if (status != KVR_OK)
		return status;
	status = shake_hands(tcp, fd, deadline_ns);
	if (status == KVR_OK)
		tcp->fds[0] = fd;
	else
		close(fd);
	return status;
}

enum kvr_status kvr_tcp_dial(struct kvr_tcp *tcp)
{
	const uint64_t deadline_ns = kvr_clock_ns() + tcp->join_ns;
	enum kvr_status status = attempt(tcp, deadline_ns);

	while (status == KVR_ERR_AGAIN && kvr_clock_ns() < deadline_ns) {
		poll(NULL, 0, RETRY_MS);
		status = attempt(tcp, deadline_ns);
	}
	if (status == KVR_ERR_AGAIN) {
		kvr_log(&tcp->log, KVR_LOG_ERROR,
			"bootstrap: rank %u found no rank 0 at %s:%u within "
			"%.1f s: %s; start it there, or see the firewall",
			tcp->rank, tcp->first.name, tcp->first.port,
			(double)tcp->join_ns / (double)KVR_NS_PER_S,
			tcp->trouble);
		status = KVR_ERR_TIMEOUT;
	}
	return status == KVR_OK ? kvr_tcp_await_go(tcp) : status;
}
