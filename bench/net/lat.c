/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lat: ping-pong of messages over both edges of a ring of two; printed is half
 * a round trip. Each receiver sees its message complete, by its immediate: the
 * question of ib_send_lat, not that of ib_write_lat, whose receiver spins on
 * the last byte in memory and is told nothing.
 *
 * credit: a message over one edge, and its credit back over the same: what a
 * slot costs before it can be written again. Printed is the whole round trip.
 */
#include <stdlib.h>

#include "bench/net/samples.h"
#include "bench/net/tests.h"
#include "runtime/clock.h"

#define SLOTS 2

/* A measurement is taken in so many parts. */
#define PARTS 10

/* --------------------------------------------------------------- rounds */

static void send_whole(struct link *link)
{
	while (!link_send(link))
		link_progress(link);
}

static void await_arrival(struct link *link, uint64_t arrived)
{
	while (link->arrived < arrived)
		link_progress(link);
}

/* stamps: count + 1, one clock reading per round trip, as perftest does. */
typedef void (*rounds)(struct link *link, uint64_t count, uint64_t *stamps);

static void ping(struct link *link, uint64_t count, uint64_t *stamps)
{
	stamps[0] = kvr_clock_ns();
	for (uint64_t i = 0; i < count; i++) {
		uint64_t next = link->arrived + 1;

		send_whole(link);
		await_arrival(link, next);
		stamps[i + 1] = kvr_clock_ns();
	}
}

static void pong(struct link *link, uint64_t count, uint64_t *stamps)
{
	(void)stamps;
	for (uint64_t i = 0; i < count; i++) {
		await_arrival(link, link->posted + 1);
		send_whole(link);
	}
}

static void spend_credit(struct link *link, uint64_t count, uint64_t *stamps)
{
	stamps[0] = kvr_clock_ns();
	for (uint64_t i = 0; i < count; i++) {
		send_whole(link);
		while (link->credited < link->posted || !link_all_sent(link))
			link_progress(link);
		stamps[i + 1] = kvr_clock_ns();
	}
}

static void give_credit(struct link *link, uint64_t count, uint64_t *stamps)
{
	uint64_t end = link->granted + count;

	(void)stamps;
	while (link->granted < end) {
		if (link->granted == link->arrived || !link_grant(link))
			link_progress(link);
	}
}

static rounds rounds_of(const struct net_options *o, uint32_t rank)
{
	if (o->test == NET_CREDIT)
		return rank == 0 ? spend_credit : give_credit;
	return rank == 0 ? ping : pong;
}

/* ------------------------------------------------------------------ row */

/* What was measured; usec has room for all that is wanted. */
struct series {
	double *usec;
	uint64_t count;
	double seconds;
};

static void *allocate(const struct kvr_bootstrap *who, uint64_t count)
{
	void *memory = calloc(count, sizeof(uint64_t));

	if (!memory)
		ranks_die(who, "no memory for %llu times",
			  (unsigned long long)count);
	return memory;
}

/* Adds one round to it. */
static void run_rounds(const struct net_options *o, struct link *link,
		       uint64_t count, struct series *series)
{
	double part = o->test == NET_LAT ? 0.5 : 1;
	uint64_t *stamps = allocate(link->who, count + 1);

	link_meet(link);
	rounds_of(o, link->who->rank)(link, count, stamps);
	/* Before anything slower is done: the other may still wait for us. */
	link_meet(link);
	for (uint64_t i = 0; i < count; i++)
		series->usec[series->count++] =
			(double)(stamps[i + 1] - stamps[i]) * 1e-3 * part;
	series->seconds += (double)(stamps[count] - stamps[0]) * 1e-9;
	free(stamps);
}

/* How many to measure. */
static uint64_t warm_up(const struct net_options *o, struct link *link)
{
	uint64_t count = sweep_warmup(o, link->config.message_bytes);
	struct series series = {.usec = allocate(link->who, count)};
	struct samples s;

	run_rounds(o, link, count, &series);
	/* The median: the first ones fault pages in. */
	s = samples_of(series.usec, count);
	free(series.usec);
	return sweep_iterations(o, link->who, link->config.message_bytes,
				s.typical * (o->test == NET_LAT ? 2e3 : 1e3));
}

/* Collective. On a busy machine most can be much slower than the median. */
static bool takes_too_long(const struct net_options *o,
			   const struct kvr_bootstrap *who, double seconds)
{
	double all[2];

	if (o->iterations != NET_UNSET)
		return false;
	ranks_gather(who, &seconds, sizeof(seconds), all);
	return all[0] > 2 * o->seconds;
}

static void run_all(const struct net_options *o, struct link *link,
		    uint64_t wanted, struct series *series)
{
	uint64_t part = (wanted + PARTS - 1) / PARTS, left;

	while ((left = wanted - series->count) > 0) {
		run_rounds(o, link, left < part ? left : part, series);
		if (takes_too_long(o, link->who, series->seconds))
			return;
	}
}

static double measure(const struct net_options *o,
		      const struct kvr_bootstrap *who, size_t bytes,
		      struct output *output)
{
	struct series series = {.count = 0};
	struct link_config config;
	struct samples samples;
	struct link link;
	uint64_t wanted;

	sweep_config(o, bytes, SLOTS, &config);
	link_open(who, &config, &link);
	wanted = warm_up(o, &link);
	series.usec = allocate(who, wanted);
	run_all(o, &link, wanted, &series);
	link_close(&link);
	samples = samples_of(series.usec, series.count);
	samples_print(bytes, series.count, &samples, output);
	free(series.usec);
	return series.seconds;
}

/* --------------------------------------------------------------- report */

static struct output *begin(const struct net_options *o,
			    const struct kvr_bootstrap *who)
{
	struct output *output = NULL;

	if (who->rank == 0)
		output = samples_output(o->format, net_test_names[o->test]);
	sweep_describe(o, who, output);
	if (o->test == NET_LAT)
		output_text(output, "time",
			    "half a round trip; the receiver sees completion "
			    "(write with immediate; 0 bytes: an immediate "
			    "alone)");
	else
		output_text(output, "time",
			    "a whole round trip: message, its arrival seen, "
			    "credit back");
	return output;
}

void lat_run(const struct net_options *o, const struct kvr_bootstrap *who)
{
	struct output *output = begin(o, who);
	struct net_list sizes;
	double seconds = 0;

	sweep_sizes(o, o->test == NET_LAT, &sizes);
	for (size_t i = 0; i < sizes.count; i++)
		seconds += measure(o, who, sizes.value[i], output);
	output_finish(output, seconds,
		      (double)(kvr_clock_ns() - o->begin_ns) * 1e-9);
}
