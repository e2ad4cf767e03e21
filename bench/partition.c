/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What does the partition cost under a causal mask? Zigzag against contiguous
 * on a ring of 8 processes: the compute of the slowest rank, as CPU time of
 * its compute thread, since ranks may outnumber the CPUs. With n ranks the
 * contiguous ring's last one has (2n - 1) / n times the average work.
 */
#include <stdio.h>

#include "bench/versus.h"

#define RANKS 8

static void print_ranks(const struct versus_result *result,
			const struct versus *v)
{
	double cpu[VERSUS_PAIRS_MAX];

	for (uint32_t rank = 0; rank < RANKS; rank++) {
		printf("  rank %-7u", rank);
		for (int way = 0; way < 2; way++) {
			for (size_t i = 0; i < v->pairs; i++)
				cpu[i] = versus_sample(result, way, i, rank)
						 ->cpu;
			report_print_spread(v->way[way].name,
					    report_spread(cpu, v->pairs), 4);
		}
		printf("\n");
	}
}

int main(int argc, char **argv)
{
	static const struct argp_child children[] = {{.argp = &versus_argp},
						     {0}};
	static const struct argp argp = {
		.children = children,
		.doc = "Compares the compute of the slowest of 8 ranks with "
		       "the zigzag and the contiguous partition.",
	};
	struct versus v = {
		.pairs = 9,
		.cpus = 2,
		.way = {{.name = "zigzag",
			 .n = RANKS,
			 .threads = 1,
			 .zigzag = true},
			{.name = "contiguous", .n = RANKS, .threads = 1}},
	};
	struct versus_result *result;

	attention_options_init(&v.attention);
	v.attention.causal = true;
	argp_parse(&argp, argc, argv, 0, NULL, &v);
	result = versus_run(&v);
	versus_print_ways(result);
	printf("CPU seconds of each rank's compute thread\n");
	print_ranks(result, &v);
	printf("of the slowest rank\n");
	versus_print_seconds(result, "CPU seconds", versus_slowest_cpu);
	printf("expected under a causal mask: %.4f\n",
	       RANKS / (2.0 * RANKS - 1));
	versus_result_free(result);
	return 0;
}
