/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/place.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/parse.h"
#include "kvring/bootstrap.h"

/* ------------------------------------------------------------- engines */

/* *out: the rank. False: no engine started us. */
static bool engine_rank(uint64_t *out)
{
	const char *space = getenv("PMIX_NAMESPACE");
	const char *rank = getenv("PMIX_RANK");

	return space && rank && parse_number(rank, 0, UINT32_MAX - 2, out);
}

bool place_is_follower(void)
{
	const char *hosts = getenv("KVRING_HOSTS");
	uint64_t rank;

	return (!hosts || !*hosts) && engine_rank(&rank) && rank > 0;
}

static bool place_in_engine(uint64_t rank, struct place *out,
			    struct complaint *why)
{
	if (rank >= LAUNCH_RANKS_MAX)
		return complain(why,
				"PMIX_RANK: %" PRIu64 " is over %d; start "
				"fewer ranks",
				rank, LAUNCH_RANKS_MAX - 1);
	*out = (struct place){.kind = PLACE_ENGINE, .count = 1};
	out->ranks[0] = (uint32_t)rank;
	return true;
}

static bool place_here(uint32_t n, struct place *out, struct complaint *why)
{
	if (n == 0)
		return complain(why, "-n N, the number of ranks, is missing; "
				     "see 'kvring attention --help'");
	*out = (struct place){.kind = PLACE_HERE, .n = n, .count = n};
	for (uint32_t i = 0; i < n; i++)
		out->ranks[i] = i;
	return true;
}

/* ---------------------------------------------------------------- hosts */

/* What the list says, before the ranks of each host are settled. */
struct census {
	uint32_t entries;
	uint64_t ranks; /* one where none are given */
	bool any_given;
	uint32_t each; /* of entries without a number */
};

static bool count_hosts(const struct place_request *r, struct census *out,
			struct complaint *why)
{
	struct census c = {.each = 1};
	const char *at = r->hosts;
	struct kvr_host host;
	enum kvr_status status;

	kvr_host_init(&host);
	while ((status = kvr_host_next(&at, &host)) == KVR_OK) {
		c.entries++;
		c.ranks += host.ranks ? host.ranks : 1;
		c.any_given = c.any_given || host.ranks;
	}
	if (status != KVR_ERR_END)
		return complain(why,
				"%s: '%.*s' is not host, host:port or "
				"[address]:port, and *RANKS; separate them by "
				"commas",
				r->hosts_name, (int)strcspn(at, "\n"), at);
	if (c.entries == 0)
		return complain(why, "%s: names no host; give at least one",
				r->hosts_name);
	*out = c;
	return true;
}

/* -n spreads evenly over hosts without numbers of their own. */
static bool settle_ranks(const struct place_request *r, struct census *c,
			 struct complaint *why)
{
	if (r->n > 0 && !c->any_given && c->entries > 0) {
		if (r->n % c->entries != 0)
			return complain(why,
					"-n: %u ranks do not spread evenly "
					"over the %u hosts of %s; give each "
					"its number, as in a*2,b",
					r->n, c->entries, r->hosts_name);
		c->each = r->n / c->entries;
		c->ranks = r->n;
	}
	if (r->n > 0 && r->n != c->ranks)
		return complain(why,
				"-n: %u, but %s makes %" PRIu64 " ranks; leave "
				"-n out",
				r->n, r->hosts_name, c->ranks);
	if (c->ranks > LAUNCH_RANKS_MAX)
		return complain(why,
				"%s: makes %" PRIu64 " ranks, at most %d; "
				"start fewer",
				r->hosts_name, c->ranks, LAUNCH_RANKS_MAX);
	return true;
}

/* With every number written out, as the ranks need it. */
static char *write_hosts(const char *at, const struct census *c)
{
	struct kvr_host host;
	char *text = NULL;
	size_t bytes;
	FILE *to = open_memstream(&text, &bytes);

	if (!to)
		return NULL;
	kvr_host_init(&host);
	while (kvr_host_next(&at, &host) == KVR_OK) {
		fprintf(to, strchr(host.name, ':') ? "[%s]" : "%s", host.name);
		if (host.port)
			fprintf(to, ":%u", host.port);
		fprintf(to, "*%u,", host.ranks ? host.ranks : c->each);
	}
	if (fclose(to) || !text)
		return NULL;
	text[bytes ? bytes - 1 : 0] = '\0';
	return text;
}

static bool is_ours(const struct place_request *r, uint32_t index,
		    const struct kvr_host *host)
{
	int local = 0;

	if (r->host_index >= 0)
		return index == r->host_index;
	return kvr_host_is_local(host, &local) == KVR_OK && local;
}

static void take_ranks(const struct place_request *r, const struct census *c,
		       struct place *out)
{
	const char *at = r->hosts;
	struct kvr_host host;
	uint32_t index = 0, rank = 0, i, count;

	kvr_host_init(&host);
	for (; kvr_host_next(&at, &host) == KVR_OK; index++) {
		count = host.ranks ? host.ranks : c->each;
		if (is_ours(r, index, &host))
			for (i = 0; i < count; i++)
				out->ranks[out->count++] = rank + i;
		rank += count;
	}
}

/* KVRING_RANK: this command is that rank alone. */
static bool take_one(const struct census *c, const char *text,
		     struct place *out, struct complaint *why)
{
	uint64_t rank;

	if (!parse_number(text, 0, c->ranks - 1, &rank))
		return complain(why,
				"KVRING_RANK: '%s' is not a whole number from "
				"0 to %" PRIu64,
				text, c->ranks - 1);
	out->ranks[0] = (uint32_t)rank;
	out->count = 1;
	return true;
}

static bool find_ours(const struct place_request *r, const struct census *c,
		      struct place *out, struct complaint *why)
{
	/* kvring run sets it as well, for its own rings. */
	const char *rank =
		getenv("KVRING_BOOTSTRAP_FD") ? NULL : getenv("KVRING_RANK");
	char name[256] = "?";

	if (rank)
		return take_one(c, rank, out, why);
	if (r->host_index >= (int64_t)c->entries)
		return complain(why,
				"--host-index: %" PRId64 " is not below the %u "
				"hosts of %s; the first is 0",
				r->host_index, c->entries, r->hosts_name);
	take_ranks(r, c, out);
	if (out->count > 0)
		return true;
	gethostname(name, sizeof(name) - 1);
	return complain(why,
			"%s: none of the hosts is this machine, %s; name it "
			"there, or say which one it is with --host-index",
			r->hosts_name, name);
}

static bool place_on_hosts(const struct place_request *r, struct place *out,
			   struct complaint *why)
{
	struct place place = {.kind = PLACE_HOSTS};
	struct census c = {.entries = 0};

	if (!count_hosts(r, &c, why) || !settle_ranks(r, &c, why) ||
	    !find_ours(r, &c, &place, why))
		return false;
	place.n = (uint32_t)c.ranks;
	place.hosts = write_hosts(r->hosts, &c);
	if (!place.hosts)
		return complain(why, "no memory for the hosts; free some");
	*out = place;
	return true;
}

bool place_choose(const struct place_request *request, struct place *out,
		  struct complaint *why)
{
	struct place_request r = *request;
	const char *hosts = getenv("KVRING_HOSTS");
	uint64_t rank;

	if (!r.hosts && hosts && *hosts) {
		r.hosts = hosts;
		r.hosts_name = "KVRING_HOSTS";
	}
	if (r.hosts)
		return place_on_hosts(&r, out, why);
	if (engine_rank(&rank))
		return place_in_engine(rank, out, why);
	return place_here(r.n, out, why);
}

void place_free(struct place *place)
{
	free(place->hosts);
	place->hosts = NULL;
}

bool place_has_root(const struct place *place)
{
	uint32_t i;

	for (i = 0; i < place->count; i++)
		if (place->ranks[i] == 0)
			return true;
	return false;
}
