/* SPDX-License-Identifier: Apache-2.0 */
/* Which way this process finds the others: the options, or the environment. */
#include "runtime/bootstrap_open.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define JOIN_MS 60000
#define GATHER_MS 600000

bool kvr_environment_has(const char *name)
{
	const char *text = getenv(name);

	return text && *text;
}

enum kvr_status kvr_environment_number(const struct kvr_log *log,
				       const char *name, unsigned long limit,
				       uint32_t *out)
{
	const char *text = getenv(name);
	unsigned long value = 0;
	char *end = NULL;

	if (text && *text >= '0' && *text <= '9') {
		errno = 0;
		value = strtoul(text, &end, 10);
	}
	if (!end || errno || *end || value > limit) {
		kvr_log(log, KVR_LOG_ERROR,
			"bootstrap: %s: '%s' is not a whole number up to %lu",
			name, text ? text : "", limit);
		return KVR_ERR_INVALID;
	}
	*out = (uint32_t)value;
	return KVR_OK;
}

/* -------------------------------------------------------------- secret */

static enum kvr_status fail_secret(const struct kvr_log *log, const char *what,
				   const char *why)
{
	kvr_log(log, KVR_LOG_ERROR, "bootstrap: %s: %s", what, why);
	return KVR_ERR_INVALID;
}

static enum kvr_status read_secret(const struct kvr_log *log, const char *path,
				   char *to, size_t *bytes)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t have = 0;
	ssize_t got = 1;

	if (fd < 0)
		return fail_secret(log, path, strerror(errno));
	while (have <= KVR_SECRET_MAX && got > 0) {
		got = read(fd, to + have, KVR_SECRET_MAX + 1 - have);
		if (got > 0)
			have += (size_t)got;
	}
	close(fd);
	if (got < 0)
		return fail_secret(log, path, "cannot be read");
	if (have > 0 && to[have - 1] == '\n')
		have--;
	*bytes = have;
	return KVR_OK;
}

/* room: KVR_SECRET_MAX + 1 bytes. */
static enum kvr_status find_secret(const struct kvr_log *log, char *room,
				   struct kvr_bootstrap_options *o)
{
	const char *text = getenv("KVRING_SECRET");
	const char *path = getenv("KVRING_SECRET_FILE");
	enum kvr_status status = KVR_OK;

	if (!o->secret && text && path)
		return fail_secret(log, "KVRING_SECRET, KVRING_SECRET_FILE",
				   "both are set; unset one");
	if (!o->secret && text) {
		o->secret = text;
		o->secret_bytes = strlen(text);
	} else if (!o->secret && path) {
		status = read_secret(log, path, room, &o->secret_bytes);
		o->secret = room;
	}
	if (status != KVR_OK || !o->secret)
		return status;
	if (o->secret_bytes == 0)
		return fail_secret(log, "the secret",
				   "is empty; unset it, or "
				   "give one");
	if (o->secret_bytes > KVR_SECRET_MAX)
		return fail_secret(log, "the secret", "is over 4096 bytes");
	return KVR_OK;
}

/* ---------------------------------------------------------------- open */

void kvr_bootstrap_options_init(struct kvr_bootstrap_options *options)
{
	*options = (struct kvr_bootstrap_options){.size = sizeof(*options),
						  .log_level = KVR_LOG_WARNING};
}

static enum kvr_status find_port(const struct kvr_log *log,
				 struct kvr_bootstrap_options *o)
{
	uint32_t port = KVR_HOST_PORT;
	enum kvr_status status = KVR_OK;

	if (o->port == 0 && getenv("KVRING_PORT"))
		status = kvr_environment_number(log, "KVRING_PORT", UINT16_MAX,
						&port);
	if (status == KVR_OK && o->port == 0)
		o->port = (uint16_t)port;
	return status;
}

static enum kvr_status open_hosts(const struct kvr_log *log,
				  struct kvr_bootstrap_options *o,
				  struct kvr_bootstrap *out)
{
	char room[KVR_SECRET_MAX + 1];
	enum kvr_status status = find_port(log, o);

	if (status == KVR_OK)
		status = find_secret(log, room, o);
	if (status == KVR_OK)
		status = kvr_bootstrap_open_hosts(o, out);
	o->secret = NULL;
	explicit_bzero(room, sizeof(room));
	return status;
}

enum kvr_status kvr_bootstrap_open(const struct kvr_bootstrap_options *options,
				   struct kvr_bootstrap *out)
{
	struct kvr_bootstrap_options o;
	enum kvr_status status;
	struct kvr_log log;

	kvr_bootstrap_options_init(&o);
	if (!out || (options && options->size != sizeof(*options)))
		return KVR_ERR_INVALID;
	if (options)
		o = *options;
	o.join_timeout_ms = o.join_timeout_ms ? o.join_timeout_ms : JOIN_MS;
	if (!o.gather_timeout_ms)
		o.gather_timeout_ms = GATHER_MS;
	log = (struct kvr_log){o.log, o.log_arg, o.log_level};
	if (o.hosts)
		return open_hosts(&log, &o, out);
	if (getenv("KVRING_BOOTSTRAP_FD"))
		return kvr_bootstrap_open_launcher(&log, out);
	if (kvr_environment_has("KVRING_HOSTS")) {
		o.hosts = getenv("KVRING_HOSTS");
		status = kvr_environment_number(&log, "KVRING_RANK",
						KVR_RANKS_MAX, &o.rank);
		return status == KVR_OK ? open_hosts(&log, &o, out) : status;
	}
	if (getenv("KVRING_RANK") || getenv("KVRING_SIZE"))
		return kvr_bootstrap_open_launcher(&log, out);
	if (kvr_environment_has("PMIX_NAMESPACE") &&
	    kvr_environment_has("PMIX_RANK"))
		return kvr_bootstrap_open_pmix(&o, out);
	kvr_bootstrap_init(out);
	return KVR_OK;
}

enum kvr_status kvr_bootstrap_from_environment(struct kvr_bootstrap *out)
{
	return kvr_bootstrap_open(NULL, out);
}

void kvr_bootstrap_close(struct kvr_bootstrap *bootstrap)
{
	if (!bootstrap)
		return;
	if (bootstrap->close)
		bootstrap->close(bootstrap->arg);
	kvr_bootstrap_init(bootstrap);
}
