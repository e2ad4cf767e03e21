/* SPDX-License-Identifier: Apache-2.0 */
/* The measurements: each runs in every rank, and rank 0 prints. */
#ifndef KVR_BENCH_NET_TESTS_H
#define KVR_BENCH_NET_TESTS_H

#include "bench/net/link.h"
#include "bench/net/options.h"
#include "bench/net/ranks.h"

void lat_run(const struct net_options *options,
	     const struct kvr_bootstrap *who);
void bw_run(const struct net_options *options, const struct kvr_bootstrap *who);
void pass_run(const struct net_options *options,
	      const struct kvr_bootstrap *who);
void overlap_run(const struct net_options *options,
		 const struct kvr_bootstrap *who);

/* ------------------------------------------- what lat, bw, credit, pass share
 */

/* The sizes asked for, or powers of two from 2 to 64 MiB; 0 first if so. */
void sweep_sizes(const struct net_options *options, bool with_zero,
		 struct net_list *out);

void sweep_config(const struct net_options *options, size_t message_bytes,
		  uint32_t slots, struct link_config *out);

/* Messages before those that count. */
uint64_t sweep_warmup(const struct net_options *options, size_t bytes);

/* Collective: how many to measure; each of them takes so long on rank 0. */
uint64_t sweep_iterations(const struct net_options *options,
			  const struct kvr_bootstrap *who, size_t bytes,
			  double each_ns);

/* Describes options and link. NULL output: nothing. */
void sweep_describe(const struct net_options *options,
		    const struct kvr_bootstrap *who, struct output *output);

#endif
