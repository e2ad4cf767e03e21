/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ranks of a measurement: this process alone, when a launcher started it
 * as one of several, else children of this one.
 */
#ifndef KVR_BENCH_NET_RANKS_H
#define KVR_BENCH_NET_RANKS_H

#include "bench/net/options.h"
#include "kvring/kvring.h"

typedef void (*ranks_body)(const struct net_options *options,
			   const struct kvr_bootstrap *who);

/* Runs body in every rank. Dies, naming it, when one of them fails. */
void ranks_run(const struct net_options *options, ranks_body body);

/* all: n x bytes, in rank order. Dies when a rank is gone. */
void ranks_gather(const struct kvr_bootstrap *who, const void *local,
		  size_t bytes, void *all);

/* Prefixes what the library logs, on standard error. A kvr_log_fn. */
void ranks_log(void *who, enum kvr_log_level level, const char *line);

/* "rank R: " and the rest; exits with 1. */
__attribute__((noreturn, format(printf, 2, 3))) void
ranks_die(const struct kvr_bootstrap *who, const char *format, ...);

/*
 * Collective. Tells who runs where, and, as a note, when so many busy threads
 * of a rank (0: it sleeps most of the time) outnumber the CPUs.
 */
void ranks_describe(const struct kvr_bootstrap *who,
		    const struct net_options *options, uint32_t busy_threads,
		    struct output *output);

#endif
