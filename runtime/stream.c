/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/stream.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "runtime/clock.h"

#define WAIT_MS_MAX 60000

int kvr_stream_wait_ms(uint64_t deadline_ns)
{
	uint64_t now_ns = kvr_clock_ns(), ms;

	if (now_ns >= deadline_ns)
		return 0;
	ms = (deadline_ns - now_ns) / KVR_NS_PER_MS + 1;
	return ms < WAIT_MS_MAX ? (int)ms : WAIT_MS_MAX;
}

int kvr_stream_wait(int fd, short events, uint64_t deadline_ns)
{
	struct pollfd poller = {.fd = fd, .events = events};
	int ready;

	do {
		if (kvr_clock_ns() >= deadline_ns) {
			errno = ETIMEDOUT;
			return -1;
		}
		ready = poll(&poller, 1, kvr_stream_wait_ms(deadline_ns));
	} while (ready == 0 || (ready < 0 && errno == EINTR));
	return ready > 0 ? 0 : -1;
}

int kvr_stream_send(int fd, const void *data, size_t bytes,
		    uint64_t deadline_ns)
{
	const char *at = data;

	while (bytes) {
		ssize_t sent = send(fd, at, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (sent > 0) {
			at += sent;
			bytes -= (size_t)sent;
		} else if (errno != EAGAIN && errno != EINTR) {
			return -1;
		} else if (kvr_stream_wait(fd, POLLOUT, deadline_ns)) {
			return -1;
		}
	}
	return 0;
}

int kvr_stream_receive(int fd, void *data, size_t bytes, uint64_t deadline_ns)
{
	char *at = data;

	while (bytes) {
		ssize_t got = recv(fd, at, bytes, MSG_DONTWAIT);

		if (got > 0) {
			at += got;
			bytes -= (size_t)got;
		} else if (got == 0) {
			errno = ECONNRESET;
			return -1;
		} else if (errno != EAGAIN && errno != EINTR) {
			return -1;
		} else if (kvr_stream_wait(fd, POLLIN, deadline_ns)) {
			return -1;
		}
	}
	return 0;
}
