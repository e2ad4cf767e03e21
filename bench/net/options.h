/* SPDX-License-Identifier: Apache-2.0 */
/* What `kvring bench` was asked to do. */
#ifndef KVR_BENCH_NET_OPTIONS_H
#define KVR_BENCH_NET_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/net/output.h"

#define NET_LIST_MAX 64

enum net_test { NET_LAT, NET_BW, NET_CREDIT, NET_PASS, NET_OVERLAP, NET_TESTS };

extern const char *const net_test_names[NET_TESTS];

/* Values of one option; count 0: not given. */
struct net_list {
	uint64_t value[NET_LIST_MAX];
	size_t count;
};

#define NET_UNSET UINT64_MAX

struct net_options {
	enum net_test test;
	const char *transport; /* NULL: the best that joins the ranks */
	struct net_list sizes, slots, chunks;
	struct net_list ratios; /* thousandths: compute over transfer */
	struct net_list pins;	/* CPUs, dealt to the ranks in turn */
	uint64_t iterations;	/* NET_UNSET: as many as `seconds` allow */
	uint64_t warmup;	/* NET_UNSET: by size */
	double seconds, timeout;
	uint32_t ranks; /* 0: not given */
	double jitter;	/* of the modelled compute, per cent */
	bool event, bidirectional;
	enum output_format format;
	bool plant; /* for tests: overwrite a slot while it is computed on */
	uint64_t begin_ns;
};

/* Of a whole ring, whatever its size; the others are of two ranks. */
static inline bool net_of_ring(const struct net_options *options)
{
	return options->test == NET_PASS || options->test == NET_OVERLAP;
}

/* Exits with 2 on wrong usage. */
void net_options_parse(int argc, char **argv, struct net_options *out);

#endif
