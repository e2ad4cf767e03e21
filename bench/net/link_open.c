/* SPDX-License-Identifier: Apache-2.0 */
/* How two ranks find a transport and connect: as kvr_ring_open, without it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "bench/net/link.h"
#include "bench/net/link_internal.h"
#include "bench/net/ranks.h"
#include "runtime/clock.h"
#include "runtime/registry.h"
#include "runtime/settings.h"

/* Rank 0's: what makes this link another than the last. */
struct draw {
	uint64_t ring_id;
	uint8_t entropy[KVR_ENTROPY_BYTES];
};

/* What a rank can offer on one transport. */
struct offer {
	int32_t status;
	uint8_t address[2][KVR_ADDRESS_BYTES];
	char reason[160];
};

/* -------------------------------------------------------------- offers */

static void endpoint_config(struct link *link, enum kvr_role role,
			    const struct draw *draw,
			    struct kvr_endpoint_config *out)
{
	size_t bytes = link->config.message_bytes;

	*out = (struct kvr_endpoint_config){
		.role = role,
		.rank = link->who->rank,
		.peer = !link->who->rank,
		.n = 2,
		.ring_id = draw->ring_id,
		.generation = 1,
		.lanes = 1,
		.slots = link->config.slots,
		.slot_bytes = {bytes ? bytes : 1},
		.chunk_bytes = link->config.chunk_bytes,
		.secret = link->secret.data,
		.secret_bytes = link->secret.bytes,
		.log = &link->log,
	};
	memcpy(out->entropy, draw->entropy, sizeof(out->entropy));
}

static enum kvr_status
open_endpoints(struct link *link, const struct draw *draw, struct offer *offer)
{
	struct kvr_endpoint_config config;
	enum kvr_status status;

	endpoint_config(link, KVR_ROLE_IN, draw, &config);
	status = link->ops->endpoint_open(link->transport, &config, &link->in);
	if (status != KVR_OK)
		return status;
	link->ops->address(link->in, offer->address[KVR_ROLE_IN]);
	config.role = KVR_ROLE_OUT;
	status = link->ops->endpoint_open(link->transport, &config, &link->out);
	if (status == KVR_OK)
		link->ops->address(link->out, offer->address[KVR_ROLE_OUT]);
	return status;
}

static void make_offer(struct link *link, const struct draw *draw,
		       struct offer *offer)
{
	enum kvr_status status =
		link->ops->probe(offer->reason, sizeof(offer->reason));

	if (status == KVR_OK)
		status = link->ops->open(&link->settings, &link->transport);
	if (status == KVR_OK)
		status = open_endpoints(link, draw, offer);
	offer->status = status;
}

static void withdraw(struct link *link)
{
	if (link->out)
		link->ops->endpoint_close(link->out);
	if (link->in)
		link->ops->endpoint_close(link->in);
	if (link->transport)
		link->ops->close(link->transport);
	link->out = link->in = NULL;
	link->transport = NULL;
}

/* Both ranks see the same two offers, and so decide alike. */
static bool joins(const struct link *link, const struct offer *offers)
{
	for (int from = 0; from < 2; from++)
		if (offers[from].status != KVR_OK)
			return false;
	for (int from = 0; from < 2; from++)
		if (!link->ops->reaches(offers[from].address[KVR_ROLE_OUT],
					offers[!from].address[KVR_ROLE_IN]))
			return false;
	return true;
}

static bool wanted(const struct link *link, const struct kvr_transport_ops *ops)
{
	if (link->config.transport)
		return strcmp(link->config.transport, ops->name) == 0;
	return ops->between_processes;
}

static struct draw draw_one(const struct kvr_bootstrap *who)
{
	struct draw draws[2], mine;

	if (getrandom(&mine, sizeof(mine), 0) != sizeof(mine))
		ranks_die(who, "getrandom: %s", strerror(errno));
	ranks_gather(who, &mine, sizeof(mine), draws);
	return draws[0];
}

static void choose(struct link *link, struct offer *offers)
{
	const struct draw draw = draw_one(link->who);
	char reason[200] = "no such transport here";

	for (size_t i = 0; (link->ops = kvr_registry_transport(i)); i++) {
		struct offer mine = {.status = KVR_OK};

		if (!wanted(link, link->ops))
			continue;
		make_offer(link, &draw, &mine);
		ranks_gather(link->who, &mine, sizeof(mine), offers);
		if (joins(link, offers))
			return;
		snprintf(reason, sizeof(reason), "%s: %s", link->ops->name,
			 mine.status != KVR_OK ? mine.reason
					       : "it does not reach the other");
		withdraw(link);
	}
	ranks_die(link->who,
		  "no transport joins the ranks (%s); see "
		  "'kvring info'",
		  reason);
}

/* ------------------------------------------------------------- connect */

static void check(const struct link *link, const char *what,
		  enum kvr_status status)
{
	if (status != KVR_OK)
		ranks_die(link->who, "%s: %s", what, kvr_status_text(status));
}

static enum kvr_status poll_connect(const struct link *link)
{
	enum kvr_status in = link->ops->connect_poll(link->in);
	enum kvr_status out = link->ops->connect_poll(link->out);

	if (in != KVR_OK && in != KVR_ERR_AGAIN)
		return in;
	return out == KVR_OK ? in : out;
}

static void connect_both(struct link *link, const struct offer *theirs)
{
	const struct timespec pause = {.tv_nsec = 200000};
	const uint64_t begin_ns = kvr_clock_ns();
	enum kvr_status status;

	check(link, "connect",
	      link->ops->connect(link->in, theirs->address[KVR_ROLE_OUT]));
	check(link, "connect",
	      link->ops->connect(link->out, theirs->address[KVR_ROLE_IN]));
	while ((status = poll_connect(link)) == KVR_ERR_AGAIN) {
		if ((double)(kvr_clock_ns() - begin_ns) >
		    link->config.timeout_seconds * 1e9)
			ranks_die(link->who, "rank %u did not connect",
				  !link->who->rank);
		nanosleep(&pause, NULL);
	}
	check(link, "connect", status);
}

static void watch(const struct link *link, struct kvr_endpoint *endpoint)
{
	struct epoll_event event = {.events = EPOLLIN};

	if (epoll_ctl(link->epoll_fd, EPOLL_CTL_ADD,
		      link->ops->event_fd(endpoint), &event))
		ranks_die(link->who, "epoll_ctl: %s", strerror(errno));
}

static void watch_both(struct link *link)
{
	link->epoll_fd = -1;
	if (!link->config.event)
		return;
	link->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (link->epoll_fd < 0)
		ranks_die(link->who, "epoll_create1: %s", strerror(errno));
	watch(link, link->out);
	watch(link, link->in);
}

static size_t source_bytes(const struct link *link)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t bytes = link->config.message_bytes;

	return bytes ? (bytes + page - 1) / page * page : page;
}

static void make_source(struct link *link)
{
	size_t bytes = source_bytes(link);
	void *memory = aligned_alloc((size_t)sysconf(_SC_PAGESIZE), bytes);

	if (!memory)
		ranks_die(link->who, "no memory for a message of %zu bytes",
			  bytes);
	memset(memory, (int)link->who->rank + 1, bytes);
	check(link, "memory_register",
	      link->ops->memory_register(link->transport, memory, bytes,
					 &link->source.key));
	link->source.address = memory;
	link->source.bytes = link->config.message_bytes;
}

/* As a context and a ring of this process would be set up. */
static void read_settings(struct link *link)
{
	struct kvr_context_options context;

	kvr_context_options_init(&context);
	check(link, "settings",
	      kvr_settings_transport(&context, &link->log, &link->settings));
	check(link, "secret",
	      kvr_settings_secret(NULL, 0, &link->log, &link->secret));
}

static uint32_t count_chunks(const struct link_config *config)
{
	return (uint32_t)((config->message_bytes + config->chunk_bytes - 1) /
			  config->chunk_bytes);
}

void link_open(const struct kvr_bootstrap *who,
	       const struct link_config *config, struct link *out)
{
	struct offer offers[2];

	*out = (struct link){.who = who, .config = *config};
	out->log = (struct kvr_log){ranks_log, out, KVR_LOG_WARNING};
	out->chunks = count_chunks(config);
	if (out->chunks > KVR_CHUNKS_MAX)
		ranks_die(who, "more than %d chunks; use a larger --chunk",
			  KVR_CHUNKS_MAX);
	read_settings(out);
	choose(out, offers);
	connect_both(out, &offers[!who->rank]);
	watch_both(out);
	make_source(out);
	/* Nobody writes before both are ready, and a failure is everybody's. */
	link_meet(out);
}

void link_close(struct link *link)
{
	void *memory = (void *)(uintptr_t)link->source.address;

	link_say_bye(link);
	/* The descriptor set first: it names those of the endpoints. */
	if (link->epoll_fd >= 0)
		close(link->epoll_fd);
	link->ops->memory_deregister(link->transport, link->source.key);
	withdraw(link);
	free(memory);
	kvr_secret_forget(&link->secret);
	free((void *)(uintptr_t)link->settings.devices);
}
