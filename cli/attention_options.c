/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/attention_options.h"

#include <float.h>
#include <sched.h>
#include <string.h>

#include "cli/command.h"
#include "cli/parse.h"

enum key {
	KEY_CAUSAL = 256,
	KEY_SCALE,
	KEY_PARTITION,
	KEY_THREADS,
	KEY_SLOTS,
	KEY_CHUNK,
	KEY_TRANSPORT,
	KEY_TIMEOUT,
	KEY_VERIFY,
	KEY_JSON,
	KEY_F32
};

static const struct argp_option options[] = {
	{"output", 'o', "FILE", 0, "Write the result to FILE (required)", 0},
	{"ranks", 'n', "N", 0, "Start N ranks (required)", 0},
	{"causal", KEY_CAUSAL, 0, 0, "Each token sees itself and earlier ones",
	 0},
	{"scale", KEY_SCALE, "S", 0,
	 "Multiply scores by S (default: 1 / sqrt(head dimension))", 0},
	{"partition", KEY_PARTITION, "HOW", 0,
	 "Give each rank 'contiguous' tokens (default), or 'zigzag': one piece "
	 "from the front and one from the back, which balances --causal",
	 0},
	{"threads", KEY_THREADS, "T", 0,
	 "Compute with T threads in each rank (default: processors / ranks)",
	 0},
	{"slots", KEY_SLOTS, "K", 0, "Use K landing slots per rank (default 2)",
	 0},
	{"chunk", KEY_CHUNK, "BYTES", 0,
	 "Write blocks in pieces of BYTES, 1 to 1G, which may end in K, M or G "
	 "(default 1M)",
	 0},
	{"transport", KEY_TRANSPORT, "NAME", 0,
	 "Move blocks by this transport; see 'kvring info' (default: the best)",
	 0},
	{"timeout", KEY_TIMEOUT, "SECONDS", 0,
	 "Give a silent rank up after SECONDS (default 10)", 0},
	{"f32-output", KEY_F32, 0, 0,
	 "Write out as F32, also where the input is BF16", 0},
	{"verify", KEY_VERIFY, 0, 0,
	 "Compare the result with the oracle; fail where it differs", 0},
	{"json", KEY_JSON, 0, 0, "Print the closing table as JSON", 0},
	{0}};

static enum partition partition_of(const struct argp_state *state,
				   const char *name)
{
	if (!strcmp(name, "contiguous"))
		return PARTITION_CONTIGUOUS;
	if (!strcmp(name, "zigzag"))
		return PARTITION_ZIGZAG;
	usage_error(state, "--partition", name, "contiguous or zigzag");
}

static float scale_of(const struct argp_state *state, const char *value)
{
	double scale;

	if (!parse_real(value, -(double)FLT_MAX, (double)FLT_MAX, &scale) ||
	    (float)scale == 0)
		usage_error(state, "--scale", value,
			    "a number other than 0 that a float can hold");
	return (float)scale;
}

static uint64_t chunk_of(const struct argp_state *state, const char *value)
{
	uint64_t bytes;

	if (!parse_bytes(value, 1, 1ull << 30, &bytes))
		usage_error(state, "--chunk", value,
			    "a number of bytes from 1 to 1G, such as 65536, "
			    "64K or 1M");
	return bytes;
}

static error_t parse_flag(int key, struct attention_options *o)
{
	switch (key) {
	case KEY_CAUSAL:
		o->causal = true;
		return 0;
	case KEY_VERIFY:
		o->verify = true;
		return 0;
	case KEY_JSON:
		o->json = true;
		return 0;
	case KEY_F32:
		o->f32_output = true;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static error_t parse_value(int key, const char *arg, struct argp_state *state,
			   struct attention_options *o)
{
	switch (key) {
	case 'o':
		o->output_path = arg;
		return 0;
	case 'n':
		o->n = (uint32_t)usage_number(state, "-n", arg, 1,
					      LAUNCH_RANKS_MAX);
		return 0;
	case KEY_SCALE:
		o->scale = scale_of(state, arg);
		return 0;
	case KEY_PARTITION:
		o->partition = partition_of(state, arg);
		return 0;
	case KEY_THREADS:
		o->threads = (uint32_t)usage_number(state, "--threads", arg, 1,
						    1024);
		return 0;
	case KEY_SLOTS:
		o->slots = (uint32_t)usage_number(state, "--slots", arg, 1, 64);
		return 0;
	case KEY_CHUNK:
		o->chunk_bytes = chunk_of(state, arg);
		return 0;
	case KEY_TRANSPORT:
		o->transport = arg;
		return 0;
	case KEY_TIMEOUT:
		o->timeout_seconds = usage_timeout(state, arg);
		return 0;
	default:
		return parse_flag(key, o);
	}
}

static uint32_t processors(void)
{
	cpu_set_t set;
	int count = 1;

	if (!sched_getaffinity(0, sizeof(set), &set))
		count = CPU_COUNT(&set);
	return count > 0 ? (uint32_t)count : 1;
}

static void check(const struct argp_state *state, struct attention_options *o)
{
	if (!o->input_path)
		usage_missing(state, "the input file");
	if (!o->output_path)
		usage_missing(state, "-o FILE, the output,");
	if (o->n == 0)
		usage_missing(state, "-n N, the number of ranks,");
	if (o->slots == 1 && o->n > 2)
		usage_error(state, "--slots", "1",
			    "enough for more than 2 ranks, which would wait "
			    "for each other for ever: at least 2 are");
	if (o->threads == 0)
		o->threads = processors() > o->n ? processors() / o->n : 1;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct attention_options *o = state->input;

	switch (key) {
	case ARGP_KEY_ARG:
		if (o->input_path)
			usage_error(state, "argument", arg,
				    "expected after the input file");
		o->input_path = arg;
		return 0;
	case ARGP_KEY_SUCCESS:
		check(state, o);
		return 0;
	default:
		return parse_value(key, arg, state, o);
	}
}

struct attention_options attention_options_parse(int argc, char **argv)
{
	static const struct argp argp = {
		options,
		parse,
		"INPUT",
		"Exact attention of the tensors q [tokens, q_heads, dim], k and"
		" v [tokens, kv_heads, dim] of the safetensors file INPUT, by a"
		" ring of N processes that pass key/value blocks to each other."
		" Writes out [tokens, q_heads, dim of v] and lse [q_heads, "
		"tokens], the natural logarithm of each row's sum.\v"
		"Exit status: 0 done, 1 failed, 2 wrong usage, 128 plus the "
		"number of the signal when interrupted (130 by Ctrl-C).",
		0,
		0,
		0};
	struct attention_options o = {
		.slots = 2, .chunk_bytes = 1 << 20, .timeout_seconds = 10};

	argp_parse(&argp, argc, argv, 0, 0, &o);
	return o;
}
