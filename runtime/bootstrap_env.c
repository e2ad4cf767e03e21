/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The all-gather of ranks that `kvring run` or `kvring attention` started:
 * one stream socket to the launcher. Each rank sends a length and its bytes;
 * when all have, each receives everybody's, in rank order.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "kvring/kvring.h"
#include "runtime/clock.h"

/*
 * Ranks may load a model first, so the slowest may be late. One that ends is
 * no reason to wait: the launcher hangs up then.
 */
#define LAUNCHER_NS (600 * KVR_NS_PER_S)

static int wait_for(int fd, short events, uint64_t deadline_ns)
{
	struct pollfd poller = {.fd = fd, .events = events};
	uint64_t now_ns = kvr_clock_ns();
	int ready;

	if (now_ns >= deadline_ns)
		return -1;
	ready = poll(&poller, 1,
		     (int)((deadline_ns - now_ns) / KVR_NS_PER_MS) + 1);
	return ready > 0 || (ready < 0 && errno == EINTR) ? 0 : -1;
}

static int send_all(int fd, const void *data, size_t bytes, uint64_t deadline)
{
	const char *at = data;

	while (bytes) {
		ssize_t sent = send(fd, at, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (sent > 0) {
			at += sent;
			bytes -= (size_t)sent;
		} else if (errno != EAGAIN && errno != EINTR) {
			return -1;
		} else if (wait_for(fd, POLLOUT, deadline)) {
			return -1;
		}
	}
	return 0;
}

static int receive_all(int fd, void *data, size_t bytes, uint64_t deadline)
{
	char *at = data;

	while (bytes) {
		ssize_t got = recv(fd, at, bytes, MSG_DONTWAIT);

		if (got > 0) {
			at += got;
			bytes -= (size_t)got;
		} else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
			return -1;
		} else if (wait_for(fd, POLLIN, deadline)) {
			return -1;
		}
	}
	return 0;
}

struct launcher {
	int fd;
	uint32_t n;
};

/* One launcher per process: the environment is the process's. */
static struct launcher launcher = {.fd = -1};

static int allgather(void *arg, const void *local, size_t bytes, void *all)
{
	const struct launcher *l = arg;
	uint64_t deadline_ns = kvr_clock_ns() + LAUNCHER_NS;
	uint64_t length = bytes;

	if (send_all(l->fd, &length, sizeof(length), deadline_ns) ||
	    send_all(l->fd, local, bytes, deadline_ns))
		return -1;
	return receive_all(l->fd, all, bytes * l->n, deadline_ns);
}

/* A whole decimal number up to limit; absent is not a number. */
static int read_number(const char *name, unsigned long limit, uint32_t *out)
{
	const char *text = getenv(name);
	unsigned long value;
	char *end;

	if (!text || *text < '0' || *text > '9')
		return -1;
	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || *end || value > limit)
		return -1;
	*out = (uint32_t)value;
	return 0;
}

enum kvr_status kvr_bootstrap_from_environment(struct kvr_bootstrap *out)
{
	struct kvr_bootstrap found;
	uint32_t fd;

	if (!out)
		return KVR_ERR_INVALID;
	kvr_bootstrap_init(&found);
	if (!getenv("KVRING_RANK") && !getenv("KVRING_SIZE")) {
		*out = found;
		return KVR_OK;
	}
	if (read_number("KVRING_SIZE", KVR_RANKS_MAX, &found.n) ||
	    read_number("KVRING_RANK", KVR_RANKS_MAX, &found.rank) ||
	    found.n == 0 || found.rank >= found.n)
		return KVR_ERR_INVALID;
	if (found.n > 1) {
		if (read_number("KVRING_BOOTSTRAP_FD", INT_MAX, &fd) ||
		    fcntl((int)fd, F_SETFD, FD_CLOEXEC))
			return KVR_ERR_INVALID;
		launcher.fd = (int)fd;
		launcher.n = found.n;
		found.allgather = allgather;
		found.arg = &launcher;
	}
	*out = found;
	return KVR_OK;
}
