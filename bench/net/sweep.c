/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/net/tests.h"

#define SMALLEST 2u
#define LARGEST (64u << 20)
#define CHUNK_BYTES (1u << 20)
#define WARMUP 100
#define WARMUP_BYTES ((size_t)8 << 20) /* but 2 messages at least */
/* At least a thousand, as perftest, or this many bytes, or 8. */
#define ITERATIONS_BYTES ((size_t)64 << 20)
#define ITERATIONS_MAX 100000

void sweep_sizes(const struct net_options *o, bool with_zero,
		 struct net_list *out)
{
	uint64_t bytes;

	*out = o->sizes;
	if (o->sizes.count)
		return;
	if (with_zero)
		out->value[out->count++] = 0;
	for (bytes = SMALLEST; bytes <= LARGEST; bytes *= 2)
		out->value[out->count++] = bytes;
}

void sweep_config(const struct net_options *o, size_t message_bytes,
		  uint32_t slots, struct link_config *out)
{
	*out = (struct link_config){
		.transport = o->transport,
		.message_bytes = message_bytes,
		.chunk_bytes =
			o->chunks.count ? o->chunks.value[0] : CHUNK_BYTES,
		.slots = o->slots.count ? (uint32_t)o->slots.value[0] : slots,
		.event = o->event,
		.timeout_seconds = o->timeout,
	};
}

uint64_t sweep_warmup(const struct net_options *o, size_t bytes)
{
	uint64_t fit = bytes ? WARMUP_BYTES / bytes : WARMUP;

	if (o->warmup != NET_UNSET)
		return o->warmup;
	if (fit < 2)
		return 2;
	return fit < WARMUP ? fit : WARMUP;
}

static uint64_t least_iterations(size_t bytes)
{
	uint64_t fit = bytes ? ITERATIONS_BYTES / bytes : 1000;

	if (fit < 8)
		return 8;
	return fit < 1000 ? fit : 1000;
}

static uint64_t fitting(double seconds, size_t bytes, double each_ns)
{
	double fit = seconds * 1e9 / (each_ns > 1 ? each_ns : 1);
	uint64_t least = least_iterations(bytes);

	if (fit < (double)least)
		return least;
	return fit > ITERATIONS_MAX ? ITERATIONS_MAX : (uint64_t)fit;
}

uint64_t sweep_iterations(const struct net_options *o,
			  const struct kvr_bootstrap *who, size_t bytes,
			  double each_ns)
{
	uint64_t all[2], mine = fitting(o->seconds, bytes, each_ns);

	if (o->iterations != NET_UNSET)
		return o->iterations;
	ranks_gather(who, &mine, sizeof(mine), all);
	return all[0];
}

void sweep_describe(const struct net_options *o,
		    const struct kvr_bootstrap *who, struct output *output)
{
	struct link_config config;
	struct link link;

	/* Which transport it is, is known when one stands. */
	sweep_config(o, 1, 2, &config);
	link_open(who, &config, &link);
	output_text(output, "transport", link.ops->name);
	link_close(&link);
	output_text(
		output, "waiting",
		o->event
			? "event-driven: arm, sleep in epoll"
			: "spinning: polls all the time, and offers its CPU to "
			  "others every 4096 polls in vain");
	output_number(output, "chunk_bytes", (double)config.chunk_bytes);
	ranks_describe(who, o, o->event ? 0 : 1, output);
}
