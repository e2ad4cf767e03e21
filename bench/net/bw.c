/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bandwidth: messages back to back, as many outstanding as the peer has slots
 * for. A message is over when its writes are SENT and the receiver, which saw
 * it arrive, has granted its slot again: that is one credit more for each than
 * ib_write_bw waits for, whose completions are the sender's alone. The window
 * (slots) is what --tx-depth is there; the working set is one message at the
 * source, and `slots` messages at the target, where ib_write_bw writes the
 * same one again and again.
 */
#include <stdlib.h>

#include "bench/net/tests.h"
#include "runtime/clock.h"

#define SLOTS_MAX 64
#define WINDOW_BYTES ((size_t)8 << 20)

static const struct output_column columns[] = {
	{"bytes", "#bytes", 0},
	{"iterations", "#iterations", 0},
	{"peak_mb_per_second", "BW peak[MB/sec]", 2},
	{"average_mb_per_second", "BW average[MB/sec]", 2},
	{"million_messages_per_second", "MsgRate[Mpps]", 6},
	{"slots", "#slots", 0},
};

#define COLUMNS (sizeof(columns) / sizeof(*columns))

/* When each message's first chunk was posted, and when it was over. */
struct times {
	uint64_t count;
	uint64_t *posted, *over;
};

/* What one rank sent. */
struct speed {
	double seconds_each_peak;
	double seconds; /* all of them */
};

static uint32_t slots_for(size_t bytes)
{
	size_t fit = bytes ? WINDOW_BYTES / bytes : SLOTS_MAX;

	if (fit < 2)
		return 2;
	return fit < SLOTS_MAX ? (uint32_t)fit : SLOTS_MAX;
}

/* ---------------------------------------------------------------- round */

struct round {
	struct link *link;
	uint64_t base; /* messages before this round */
	uint64_t to_send, to_get;
	uint64_t over;
	struct times *times;
};

static void note_over(struct round *r)
{
	uint64_t over = r->link->credited - r->base, now_ns;

	if (over == r->over)
		return;
	now_ns = kvr_clock_ns();
	while (r->over < over)
		r->times->over[r->over++] = now_ns;
}

static void fill_window(struct round *r)
{
	struct link *link = r->link;
	uint64_t i;

	while ((i = link->posted - r->base) < r->to_send &&
	       link->posted - link->credited < link->config.slots) {
		if (link->next_chunk == 0)
			r->times->posted[i] = kvr_clock_ns();
		if (!link_send(link))
			return;
	}
}

static bool finished(const struct round *r)
{
	return r->over == r->to_send && link_all_sent(r->link) &&
	       r->link->granted == r->to_get;
}

static void run_round(struct link *link, bool sends, bool gets,
		      struct times *times)
{
	struct round r = {
		.link = link,
		.base = link->posted,
		.to_send = sends ? times->count : 0,
		/* Counted from the beginning of the link. */
		.to_get = link->granted + (gets ? times->count : 0),
		.times = times,
	};

	link_meet(link);
	while (!finished(&r)) {
		fill_window(&r);
		link_progress(link);
		(void)link_grant(link);
		note_over(&r);
	}
	link_meet(link);
}

/* --------------------------------------------------------------- result */

static void times_new(const struct kvr_bootstrap *who, uint64_t count,
		      struct times *out)
{
	*out = (struct times){
		.count = count,
		.posted = calloc(count, sizeof(uint64_t)),
		.over = calloc(count, sizeof(uint64_t)),
	};
	if (!out->posted || !out->over)
		ranks_die(who, "no memory for %llu times",
			  (unsigned long long)count);
}

static void times_free(struct times *times)
{
	free(times->posted);
	free(times->over);
}

/*
 * The best stretch of a tenth of the messages, from posting its first to the
 * end of its last, or the whole run. perftest's peak is the best stretch of any
 * length, which takes n^2 steps to find.
 */
static double peak_of(const struct times *t, double average)
{
	uint64_t length = (t->count + 9) / 10;
	double least = average;

	for (uint64_t i = 0; i + length <= t->count; i++) {
		double each = (double)(t->over[i + length - 1] - t->posted[i]) *
			      1e-9 / (double)length;

		if (each < least)
			least = each;
	}
	return least;
}

static struct speed speed_of(const struct times *t)
{
	double seconds = (double)(t->over[t->count - 1] - t->posted[0]) * 1e-9;

	return (struct speed){
		.seconds_each_peak = peak_of(t, seconds / (double)t->count),
		.seconds = seconds,
	};
}

/* Of both directions, as perftest adds them up. */
static void print(const struct link_config *c, uint64_t count,
		  const struct speed *speeds, int directions,
		  struct output *output)
{
	const double mb = (double)c->message_bytes / (1 << 20);
	double peak = 0, rate = 0;

	for (int i = 0; i < directions; i++) {
		peak += mb / speeds[i].seconds_each_peak;
		rate += (double)count / speeds[i].seconds;
	}
	output_row(output,
		   (const double[COLUMNS]){(double)c->message_bytes,
					   (double)count, peak, rate * mb,
					   rate * 1e-6, (double)c->slots});
}

static uint64_t warm_up(const struct net_options *o, struct link *link,
			bool sends, bool gets)
{
	struct times times;
	uint64_t count;
	double took_ns;

	times_new(link->who, sweep_warmup(o, link->config.message_bytes),
		  &times);
	run_round(link, sends, gets, &times);
	took_ns = (double)(times.over[times.count - 1] - times.posted[0]);
	count = sweep_iterations(o, link->who, link->config.message_bytes,
				 took_ns / (double)times.count);
	times_free(&times);
	return count;
}

static double measure(const struct net_options *o,
		      const struct kvr_bootstrap *who, size_t bytes,
		      struct output *output)
{
	bool sends = who->rank == 0 || o->bidirectional;
	bool gets = who->rank == 1 || o->bidirectional;
	struct speed mine = {1, 1}, all[2];
	struct link_config config;
	struct times times;
	struct link link;

	sweep_config(o, bytes, slots_for(bytes), &config);
	link_open(who, &config, &link);
	times_new(who, warm_up(o, &link, sends, gets), &times);
	run_round(&link, sends, gets, &times);
	link_close(&link);
	if (sends)
		mine = speed_of(&times);
	ranks_gather(who, &mine, sizeof(mine), all);
	print(&config, times.count, all, o->bidirectional ? 2 : 1, output);
	times_free(&times);
	return all[0].seconds;
}

/* --------------------------------------------------------------- report */

static struct output *begin(const struct net_options *o,
			    const struct kvr_bootstrap *who)
{
	struct output *output = NULL;

	if (who->rank == 0)
		output = output_new(o->format, net_test_names[o->test], columns,
				    COLUMNS);
	sweep_describe(o, who, output);
	output_text(output, "direction",
		    o->bidirectional ? "both ways, added up" : "one way");
	output_text(output, "window",
		    "as many messages as slots; one is over when it is sent "
		    "and its credit is back");
	output_text(output, "unit", "MB is 2^20 bytes, as in perftest");
	return output;
}

void bw_run(const struct net_options *o, const struct kvr_bootstrap *who)
{
	struct output *output = begin(o, who);
	struct net_list sizes;
	double seconds = 0;

	sweep_sizes(o, false, &sizes);
	for (size_t i = 0; i < sizes.count; i++)
		seconds += measure(o, who, sizes.value[i], output);
	output_finish(output, seconds,
		      (double)(kvr_clock_ns() - o->begin_ns) * 1e-9);
}
