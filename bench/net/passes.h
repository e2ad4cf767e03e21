/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Passes of a ring, back to back, over a modelled device (device.h); how long
 * they take, and how much of that the device waits for blocks.
 */
#ifndef KVR_BENCH_NET_PASSES_H
#define KVR_BENCH_NET_PASSES_H

#include "bench/net/device.h"
#include "bench/net/options.h"
#include "kvring/kvring.h"

struct passes {
	const struct net_options *options;
	const struct kvr_bootstrap *who;
	struct kvr_context *context;
	struct kvr_ring *ring;
	struct kvr_memory *memory;
	struct kvr_segment segment;
	char *block; /* this rank's */
	struct device device;
	uint64_t pass; /* counted since the ring was opened */
};

/* The worst of all ranks, value by value. */
struct findings {
	double pass_ns;	 /* median */
	double total_ns; /* all passes that count */
	/* Parts of a pass that compute waited: median, average, 99 %. */
	double exposed, exposed_average, exposed_p99;
	double late_ns; /* that a compute's end was noticed late, average */
	double cpu;	/* part of a CPU that the modelled device used */
};

/* Collective; dies on failure. */
void passes_open(const struct net_options *options,
		 const struct kvr_bootstrap *who, uint32_t slots,
		 size_t chunk_bytes, size_t bytes, struct passes *out);
void passes_close(struct passes *passes);

/* Dies of a failure, with the ring's own words. */
void passes_check(const struct passes *passes, const char *what,
		  enum kvr_status status);

/* Static; of the edge to next. */
const char *passes_transport(const struct passes *passes);

/* Collective: `count` passes, after `warmup` that are not looked at. */
struct findings passes_measure(struct passes *passes, uint64_t compute_ns,
			       uint64_t warmup, uint64_t count);

#endif
