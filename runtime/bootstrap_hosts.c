/* SPDX-License-Identifier: Apache-2.0 */
/* A host list becomes a bootstrap over TCP. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/bootstrap_open.h"
#include "runtime/tcp.h"

static void close_tcp(void *arg)
{
	struct kvr_tcp *tcp = arg;
	const uint32_t count = tcp->rank == 0 ? tcp->n : 1;

	for (uint32_t i = 0; tcp->fds && i < count; i++)
		if (tcp->fds[i] >= 0)
			close(tcp->fds[i]);
	free(tcp->fds);
	free(tcp->polls);
	free(tcp->hosts);
	free(tcp);
}

/* How many ranks the list makes, and where the first is. */
static enum kvr_status read_list(struct kvr_tcp *tcp, uint16_t port)
{
	const char *at = tcp->hosts;
	struct kvr_host host;
	enum kvr_status status;
	uint64_t ranks = 0;

	kvr_host_init(&host);
	while ((status = kvr_host_next(&at, &host)) == KVR_OK) {
		if (ranks == 0)
			tcp->first = host;
		ranks += host.ranks ? host.ranks : 1;
	}
	if (status != KVR_ERR_END) {
		kvr_log(&tcp->log, KVR_LOG_ERROR,
			"bootstrap: host list: '%.40s' does not begin with "
			"host, host:port or [address]:port, and *ranks",
			at);
		return KVR_ERR_INVALID;
	}
	if (tcp->first.port == 0)
		tcp->first.port = port;
	if (ranks == 0 || ranks > KVR_RANKS_MAX || tcp->rank >= ranks) {
		kvr_log(&tcp->log, KVR_LOG_ERROR,
			"bootstrap: rank %u is not on a host list of %" PRIu64
			" ranks (at most %d)",
			tcp->rank, ranks, KVR_RANKS_MAX);
		return KVR_ERR_INVALID;
	}
	tcp->n = (uint32_t)ranks;
	return KVR_OK;
}

static enum kvr_status make_room(struct kvr_tcp *tcp)
{
	const uint32_t count = tcp->rank == 0 ? tcp->n : 1;

	tcp->fds = calloc(count, sizeof(*tcp->fds));
	if (!tcp->fds)
		return KVR_ERR_NO_MEMORY;
	for (uint32_t i = 0; i < count; i++)
		tcp->fds[i] = -1;
	tcp->polls =
		calloc(count + 1 + KVR_TCP_CANDIDATES, sizeof(*tcp->polls));
	return tcp->polls ? KVR_OK : KVR_ERR_NO_MEMORY;
}

static enum kvr_status join(struct kvr_tcp *tcp, uint16_t port)
{
	enum kvr_status status = read_list(tcp, port);

	if (status == KVR_OK)
		status = make_room(tcp);
	if (status != KVR_OK || tcp->n == 1)
		return status;
	if (tcp->rank == 0)
		return kvr_tcp_join(tcp);
	return kvr_tcp_dial(tcp);
}

enum kvr_status
kvr_bootstrap_open_hosts(const struct kvr_bootstrap_options *options,
			 struct kvr_bootstrap *out)
{
	struct kvr_tcp *tcp = calloc(1, sizeof(*tcp));
	struct kvr_bootstrap made;
	enum kvr_status status;

	if (!tcp)
		return KVR_ERR_NO_MEMORY;
	tcp->rank = options->rank;
	tcp->log = (struct kvr_log){options->log, options->log_arg,
				    options->log_level};
	tcp->secret = options->secret;
	tcp->secret_bytes = options->secret_bytes;
	tcp->join_ns = options->join_timeout_ms * KVR_NS_PER_MS;
	tcp->gather_ns = options->gather_timeout_ms * KVR_NS_PER_MS;
	tcp->hosts = strdup(options->hosts);
	status = tcp->hosts ? KVR_OK : KVR_ERR_NO_MEMORY;
	if (status == KVR_OK)
		status = join(tcp, options->port);
	tcp->secret = NULL;
	if (status != KVR_OK) {
		close_tcp(tcp);
		return status;
	}
	kvr_bootstrap_init(&made);
	made.rank = tcp->rank;
	made.n = tcp->n;
	made.allgather = kvr_tcp_allgather;
	made.arg = tcp;
	made.close = close_tcp;
	*out = made;
	return KVR_OK;
}

enum kvr_status kvr_bootstrap_probe_hosts(char *reason, size_t bytes)
{
	uint8_t mac[KVR_MAC_BYTES];

	if (kvr_secret_mac("", 0, "", 0, mac) == KVR_OK)
		snprintf(reason, bytes,
			 "a list of hosts, with a secret or not");
	else
		snprintf(reason, bytes,
			 "a list of hosts; without libcrypto, no secret");
	return KVR_OK;
}
