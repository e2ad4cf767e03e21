/* SPDX-License-Identifier: Apache-2.0 */
/* Which way this process finds the others: the options, or the environment. */
#include "runtime/bootstrap_open.h"

#include <stdlib.h>

#include "runtime/settings.h"

#define JOIN_MS 60000
#define GATHER_MS 600000

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
	enum kvr_status status = find_port(log, o);
	struct kvr_secret secret;

	if (status == KVR_OK)
		status = kvr_settings_secret(o->secret, o->secret_bytes, log,
					     &secret);
	if (status == KVR_OK) {
		o->secret = secret.data;
		o->secret_bytes = secret.bytes;
		status = kvr_bootstrap_open_hosts(o, out);
	}
	o->secret = NULL;
	kvr_secret_forget(&secret);
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
