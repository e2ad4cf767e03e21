/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The all-gather of ranks that `kvring run` or `kvring attention` started:
 * one stream socket to the launcher. Each rank sends a length and its bytes;
 * when all have, each receives everybody's, in rank order.
 */
#include <fcntl.h>
#include <limits.h>

#include "runtime/bootstrap_open.h"
#include "runtime/clock.h"
#include "runtime/settings.h"
#include "runtime/stream.h"

/*
 * Ranks may load a model first, so the slowest may be late. One that ends is
 * no reason to wait: the launcher hangs up then.
 */
#define LAUNCHER_NS (600 * KVR_NS_PER_S)

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

	if (kvr_stream_send(l->fd, &length, sizeof(length), deadline_ns) ||
	    kvr_stream_send(l->fd, local, bytes, deadline_ns))
		return -1;
	return kvr_stream_receive(l->fd, all, bytes * l->n, deadline_ns);
}

static enum kvr_status read_descriptor(const struct kvr_log *log,
				       struct launcher *out)
{
	enum kvr_status status;
	uint32_t fd;

	status = kvr_environment_number(log, "KVRING_BOOTSTRAP_FD", INT_MAX,
					&fd);
	if (status != KVR_OK)
		return status;
	if (fcntl((int)fd, F_SETFD, FD_CLOEXEC)) {
		kvr_log(log, KVR_LOG_ERROR,
			"bootstrap: KVRING_BOOTSTRAP_FD: %u is not open", fd);
		return KVR_ERR_INVALID;
	}
	out->fd = (int)fd;
	return KVR_OK;
}

enum kvr_status kvr_bootstrap_open_launcher(const struct kvr_log *log,
					    struct kvr_bootstrap *out)
{
	struct kvr_bootstrap found;
	enum kvr_status status;

	kvr_bootstrap_init(&found);
	status = kvr_environment_number(log, "KVRING_SIZE", KVR_RANKS_MAX,
					&found.n);
	if (status == KVR_OK)
		status = kvr_environment_number(log, "KVRING_RANK",
						KVR_RANKS_MAX, &found.rank);
	if (status != KVR_OK)
		return status;
	if (found.rank >= found.n) {
		kvr_log(log, KVR_LOG_ERROR,
			"bootstrap: KVRING_RANK %u is not below KVRING_SIZE "
			"%u; start at 0",
			found.rank, found.n);
		return KVR_ERR_INVALID;
	}
	if (found.n > 1) {
		status = read_descriptor(log, &launcher);
		if (status != KVR_OK)
			return status;
		launcher.n = found.n;
		found.allgather = allgather;
		found.arg = &launcher;
	}
	*out = found;
	return KVR_OK;
}
