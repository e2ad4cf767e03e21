/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What does the ring cost? The same attention by a ring of n processes with
 * one thread each, and by one process with n threads. Rank i has CPU i, for
 * its progress thread too; the one process has the same CPUs.
 */
#include <stdio.h>

#include "bench/versus.h"

#define GOAL 1.03

int main(int argc, char **argv)
{
	static const struct argp_child children[] = {{.argp = &versus_argp},
						     {0}};
	static const struct argp argp = {
		.children = children,
		.doc = "Compares a ring of 2 ranks x 1 thread with one process "
		       "of 2 threads.",
	};
	struct versus v = {
		.pairs = 9,
		.cpus = 2,
		.way = {{.name = "ring", .n = 2, .threads = 1},
			{.name = "one process", .n = 1, .threads = 2}},
	};
	struct versus_result *result;
	struct spread ratio;

	attention_options_init(&v.attention);
	argp_parse(&argp, argc, argv, 0, NULL, &v);
	/* Equal work for both ranks. */
	v.way[0].zigzag = v.attention.causal;
	result = versus_run(&v);
	versus_print_ways(result);
	versus_print_exposed(result, 0);
	versus_print_seconds(result, "CPU seconds, all threads",
			     versus_all_cpu);
	versus_print_seconds(result, "seconds", versus_wall);
	ratio = versus_ratio(result, versus_wall);
	printf("ring / one process, seconds, goal <= %.2f: %s\n", GOAL,
	       ratio.median <= GOAL ? "reached" : "not reached");
	versus_result_free(result);
	return 0;
}
