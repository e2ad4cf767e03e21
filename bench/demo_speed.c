/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The second part of the demo, timed: 65,536 random tokens, 8 query and 2 kv
 * heads of 64, f32, causal, on a ring of 4 processes; against one process
 * that uses the same CPUs.
 */
#include <stdio.h>
#include <string.h>

#include "bench/versus.h"

static const struct argp_option known[] = {
	{"partition", 'P', "HOW", 0, "contiguous or zigzag (default)", 0},
	{"ranks", 'n', "N", 0, "of the ring", 0},
	{0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct versus *v = state->input;

	switch (key) {
	case 'P':
		v->way[0].zigzag = strcmp(arg, "zigzag") == 0;
		if (!v->way[0].zigzag && strcmp(arg, "contiguous") != 0)
			argp_error(state, "no partition %s", arg);
		return 0;
	case 'n':
		v->way[0].n = (uint32_t)attention_number(state, arg, 256);
		return 0;
	case ARGP_KEY_INIT:
		state->child_inputs[0] = v;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int main(int argc, char **argv)
{
	static const struct argp_child children[] = {{.argp = &versus_argp},
						     {0}};
	static const struct argp argp = {
		.options = known,
		.parser = parse,
		.children = children,
		.doc = "Compares the demo's ring of 4 ranks with one process. "
		       "On 2 CPUs a pair takes about a minute.",
	};
	struct versus v = {
		.pairs = 9,
		.cpus = 2,
		.way = {{.name = "ring", .n = 4, .threads = 1, .zigzag = true},
			{.name = "one process", .n = 1, .threads = 2}},
	};
	struct versus_result *result;

	attention_options_init(&v.attention);
	v.attention.tokens = 65536;
	v.attention.kv_heads = 2;
	v.attention.dim = 64;
	v.attention.causal = true;
	argp_parse(&argp, argc, argv, 0, NULL, &v);
	v.way[1].threads = v.cpus;
	result = versus_run(&v);
	versus_print_ways(result);
	versus_print_exposed(result, 0);
	versus_print_seconds(result, "CPU seconds, all threads",
			     versus_all_cpu);
	versus_print_seconds(result, "seconds", versus_wall);
	versus_result_free(result);
	return 0;
}
