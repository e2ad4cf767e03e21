/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One attention done in two ways, in turn: pairs of measurements a moment
 * apart, so that whatever else the machine does hits both ways alike. All
 * processes of both ways exist from the start; those whose turn it is not
 * sleep.
 */
#ifndef KVR_BENCH_VERSUS_H
#define KVR_BENCH_VERSUS_H

#include "bench/attention.h"
#include "bench/report.h"

#define VERSUS_PAIRS_MAX 999

struct versus_way {
	const char *name;
	uint32_t n, threads; /* ranks; of each */
	bool zigzag;
};

struct versus {
	struct attention_options attention;
	size_t pairs;
	uint32_t cpus; /* at most so many are used */
	struct versus_way way[2];
};

/* Parses into a struct versus; has the options of attention_argp too. */
extern const struct argp versus_argp;

struct versus_result;

/*
 * Runs one pair unmeasured, then v->pairs of them; every other pair the
 * other way round. Prints the machine and the attention first. Dies on
 * failure, and when the two ways do not compute the same.
 */
struct versus_result *versus_run(const struct versus *v);
void versus_result_free(struct versus_result *result);

const struct attention_sample *versus_sample(const struct versus_result *result,
					     int way, size_t pair,
					     uint32_t rank);

/* Seconds from the first rank's begin to the last rank's end, of a pair. */
double versus_wall(const struct versus_result *result, int way, size_t pair);

/* CPU seconds of the rank that needed most of them. */
double versus_slowest_cpu(const struct versus_result *result, int way,
			  size_t pair);

/* CPU seconds of all ranks and threads together. */
double versus_all_cpu(const struct versus_result *result, int way, size_t pair);

typedef double (*versus_measure)(const struct versus_result *result, int way,
				 size_t pair);

/* Prints how both ways were run. */
void versus_print_ways(const struct versus_result *result);

/* Prints the measure of both ways in seconds, and its ratio. */
void versus_print_seconds(const struct versus_result *result, const char *what,
			  versus_measure measure);

/* Prints, for each rank of that way, how long it waited for blocks. */
void versus_print_exposed(const struct versus_result *result, int way);

/* The first way over the second, pair by pair. */
struct spread versus_ratio(const struct versus_result *result,
			   versus_measure measure);

#endif
