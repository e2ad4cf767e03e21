/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/net/options.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/parse.h"
#include "kvring/kvring.h"

#define BYTES_MAX (UINT64_C(1) << 30)
#define RATIO_MAX 1000

const char *const net_test_names[NET_TESTS] = {
	[NET_LAT] = "lat",   [NET_BW] = "bw",		[NET_CREDIT] = "credit",
	[NET_PASS] = "pass", [NET_OVERLAP] = "overlap",
};

enum key {
	KEY_TRANSPORT = 256,
	KEY_SIZE,
	KEY_ITERATIONS,
	KEY_WARMUP,
	KEY_SECONDS,
	KEY_CHUNK,
	KEY_SLOTS,
	KEY_EVENT,
	KEY_BIDIRECTIONAL,
	KEY_RATIO,
	KEY_JITTER,
	KEY_PIN,
	KEY_TIMEOUT,
	KEY_JSON,
	KEY_CSV,
	KEY_PLANT
};

static const struct argp_option known[] = {
	{"ranks", 'n', "N", 0, "Start N ranks here (pass, overlap; default 2)",
	 0},
	{"transport", KEY_TRANSPORT, "NAME", 0,
	 "Measure this transport; see 'kvring info' (default: the best)", 0},
	{"size", KEY_SIZE, "BYTES,...", 0,
	 "Messages of these sizes, up to 1G, which may end in K, M or G; 0 "
	 "(lat) "
	 "is an immediate alone (default: 2 to 64M; pass: 64; overlap: 16M)",
	 0},
	{"iterations", KEY_ITERATIONS, "N", 0,
	 "Measure N messages of each size, or N passes (default: by --seconds)",
	 0},
	{"seconds", KEY_SECONDS, "S", 0,
	 "Measure each row for about S seconds (default 1)", 0},
	{"warmup", KEY_WARMUP, "N", 0, "Do N before that, uncounted", 0},
	{"chunk", KEY_CHUNK, "BYTES,...", 0,
	 "One write carries BYTES (default 1M; overlap: 256K,1M)", 0},
	{"slots", KEY_SLOTS, "K,...", 0,
	 "Landing slots (default: lat, credit and pass 2; bw 2 to 64, 8M of "
	 "them; "
	 "overlap 1,2,3, without 1 where there are more than 2 ranks)",
	 0},
	{"event", KEY_EVENT, 0, 0,
	 "Sleep until an event, instead of polling all the time; with pass, "
	 "progress threads that sleep (not overlap)",
	 0},
	{"bidirectional", KEY_BIDIRECTIONAL, 0, 0, "Both ways at once (bw)", 0},
	{"ratio", KEY_RATIO, "R,...", 0,
	 "Compute for R times what the transfer of a block takes (overlap; "
	 "default 0.25,0.5,0.75,1,1.1,1.5,2,4)",
	 0},
	{"jitter", KEY_JITTER, "PERCENT", 0,
	 "Let each compute take up to PERCENT less or more, at random "
	 "(overlap; default 0)",
	 0},
	{"pin", KEY_PIN, "CPU,...", 0,
	 "Deal these CPUs to the ranks, one each (default: any CPU)", 0},
	{"timeout", KEY_TIMEOUT, "SECONDS", 0,
	 "Give a silent rank up after SECONDS (default 10)", 0},
	{"json", KEY_JSON, 0, 0, "Print JSON", 0},
	{"csv", KEY_CSV, 0, 0, "Print comma-separated values", 0},
	{"plant", KEY_PLANT, 0, OPTION_HIDDEN, 0, 0},
	{0}};

/* ------------------------------------------------------------- values */

typedef bool (*read_one)(const char *text, uint64_t *out);

static bool read_size(const char *text, uint64_t *out)
{
	return parse_bytes(text, 0, BYTES_MAX, out);
}

static bool read_chunk(const char *text, uint64_t *out)
{
	return parse_bytes(text, 1, BYTES_MAX, out);
}

static bool read_slots(const char *text, uint64_t *out)
{
	return parse_number(text, 1, KVR_SLOTS_MAX, out);
}

static bool read_cpu(const char *text, uint64_t *out)
{
	return parse_number(text, 0, CPU_SETSIZE - 1, out);
}

static bool read_ratio(const char *text, uint64_t *out)
{
	double ratio;

	if (!parse_real(text, 0.001, RATIO_MAX, &ratio))
		return false;
	*out = (uint64_t)(ratio * 1000 + 0.5);
	return true;
}

static void read_list(const struct argp_state *state, const char *option,
		      char *arg, read_one read, const char *wanted,
		      struct net_list *out)
{
	char *save = NULL, *word;

	out->count = 0;
	for (word = strtok_r(arg, ",", &save); word;
	     word = strtok_r(NULL, ",", &save)) {
		if (out->count == NET_LIST_MAX ||
		    !read(word, &out->value[out->count]))
			usage_error(state, option, word, wanted);
		out->count++;
	}
	if (out->count == 0)
		usage_error(state, option, "", wanted);
}

static double read_real(const struct argp_state *state, const char *option,
			const char *arg, double min, double max,
			const char *wanted)
{
	double value;

	if (!parse_real(arg, min, max, &value))
		usage_error(state, option, arg, wanted);
	return value;
}

static const char *read_transport(const struct argp_state *state, char *arg)
{
	struct kvr_backend_info info;
	uint32_t i;

	for (i = 0;; i++) {
		kvr_backend_info_init(&info);
		if (kvr_backend_get_info(i, &info) != KVR_OK)
			usage_error(state, "--transport", arg,
				    "a transport between processes");
		if (!strcmp(info.kind, "transport") && info.between_processes &&
		    !strcmp(info.name, arg))
			return arg;
	}
}

/* ------------------------------------------------------------- parser */

static void take_test(const struct argp_state *state, const char *arg,
		      struct net_options *o)
{
	int i;

	if (o->test != NET_TESTS)
		usage_error(state, "argument", arg, "expected");
	for (i = 0; i < NET_TESTS; i++)
		if (!strcmp(net_test_names[i], arg))
			o->test = (enum net_test)i;
	if (o->test == NET_TESTS)
		usage_error(state, "test", arg,
			    "lat, bw, credit, pass or overlap");
}

static bool parse_list(int key, char *arg, const struct argp_state *state,
		       struct net_options *o)
{
	switch (key) {
	case KEY_SIZE:
		read_list(state, "--size", arg, read_size,
			  "a number of bytes up to 1G", &o->sizes);
		return true;
	case KEY_CHUNK:
		read_list(state, "--chunk", arg, read_chunk,
			  "a number of bytes from 1 to 1G", &o->chunks);
		return true;
	case KEY_SLOTS:
		read_list(state, "--slots", arg, read_slots,
			  "a whole number from 1 to 64", &o->slots);
		return true;
	case KEY_RATIO:
		read_list(state, "--ratio", arg, read_ratio,
			  "a number from 0.001 to 1000", &o->ratios);
		return true;
	case KEY_PIN:
		read_list(state, "--pin", arg, read_cpu, "a CPU's number",
			  &o->pins);
		return true;
	default:
		return false;
	}
}

static bool parse_value(int key, char *arg, const struct argp_state *state,
			struct net_options *o)
{
	switch (key) {
	case 'n':
		o->ranks = (uint32_t)usage_number(state, "-n", arg, 2, 256);
		return true;
	case KEY_TRANSPORT:
		o->transport = read_transport(state, arg);
		return true;
	case KEY_ITERATIONS:
		o->iterations =
			usage_number(state, "--iterations", arg, 1, 10000000);
		return true;
	case KEY_WARMUP:
		o->warmup = usage_number(state, "--warmup", arg, 1, 10000000);
		return true;
	case KEY_SECONDS:
		o->seconds = read_real(state, "--seconds", arg, 0.001, 3600,
				       "a number from 0.001 to 3600");
		return true;
	case KEY_JITTER:
		o->jitter = read_real(state, "--jitter", arg, 0, 100,
				      "a number from 0 to 100");
		return true;
	case KEY_TIMEOUT:
		o->timeout = usage_seconds(state, "--timeout", arg);
		return true;
	default:
		return false;
	}
}

static void refuse(const struct argp_state *state, bool given,
		   const char *option, const char *test)
{
	if (given)
		usage_error(state, option, test, "the test that it is for");
}

/* What this test has no use for, or only one of. */
static void check(const struct argp_state *state, const struct net_options *o)
{
	const char *name = net_test_names[o->test % NET_TESTS];
	bool overlap = o->test == NET_OVERLAP;
	size_t i;

	if (o->test == NET_TESTS)
		usage_missing(state,
			      "the test: lat, bw, credit, pass or overlap,");
	refuse(state, o->bidirectional && o->test != NET_BW, "--bidirectional",
	       name);
	refuse(state, o->event && overlap, "--event", name);
	refuse(state, o->ratios.count && !overlap, "--ratio", name);
	refuse(state, o->jitter > 0 && !overlap, "--jitter", name);
	refuse(state, o->plant && !overlap, "--plant", name);
	refuse(state, o->ranks && o->ranks != 2 && !net_of_ring(o), "-n", name);
	refuse(state, o->slots.count > 1 && !overlap, "--slots K,K", name);
	refuse(state, o->chunks.count > 1 && !overlap, "--chunk B,B", name);
	refuse(state, o->sizes.count > 1 && overlap, "--size B,B", name);
	for (i = 0; i < o->sizes.count; i++) {
		if (o->sizes.value[i] == 0 && o->test != NET_LAT)
			usage_error(state, "--size", "0", "a size but of lat");
		if (o->sizes.value[i] < 64 && overlap)
			usage_error(state, "--size", "that", "64 or more");
		if (o->sizes.value[i] < 8 && o->test == NET_PASS)
			usage_error(state, "--size", "that", "8 or more");
	}
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct net_options *o = state->input;

	if (parse_list(key, arg, state, o) || parse_value(key, arg, state, o))
		return 0;
	switch (key) {
	case KEY_EVENT:
		o->event = true;
		return 0;
	case KEY_BIDIRECTIONAL:
		o->bidirectional = true;
		return 0;
	case KEY_JSON:
		o->format = OUTPUT_JSON;
		return 0;
	case KEY_CSV:
		o->format = OUTPUT_CSV;
		return 0;
	case KEY_PLANT:
		o->plant = true;
		return 0;
	case ARGP_KEY_ARG:
		take_test(state, arg, o);
		return 0;
	case ARGP_KEY_SUCCESS:
		check(state, o);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void print_version(FILE *stream, struct argp_state *state)
{
	(void)state;
	fprintf(stream, "kvring %s\n", kvr_version());
}

void net_options_parse(int argc, char **argv, struct net_options *out)
{
	static const struct argp argp = {
		known,
		parse,
		"lat|bw|credit|pass|overlap",
		"Measures what moves blocks, between two ranks: those that "
		"'kvring run' or another launcher started, else two that it "
		"starts here. lat: half a round trip of a message that tells "
		"its receiver that it is there. bw: bandwidth. credit: a "
		"message there and its credit back. pass: passes of a "
		"ring over small blocks. overlap: passes of a ring "
		"over a device that computes for a given time without the "
		"CPU.\v"
		"Exit status: 0 done, 1 failed, 2 wrong usage.",
		0,
		0,
		0};

	*out = (struct net_options){
		.test = NET_TESTS,
		.iterations = NET_UNSET,
		.warmup = NET_UNSET,
		.seconds = 1,
		.timeout = 10,
	};
	argp_err_exit_status = CLI_USAGE;
	argp_program_version_hook = print_version;
	argp_parse(&argp, argc, argv, 0, 0, out);
}
