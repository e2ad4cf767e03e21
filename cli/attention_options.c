/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/attention_options.h"

#include <errno.h>
#include <float.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/parse.h"

/* As long as a tile of keys: what one load of them is used for. */
#define STRIPE_DEFAULT 256
#define STRIPE_TEXT "256"

enum key {
	KEY_CAUSAL = 256,
	KEY_SCALE,
	KEY_SOFTCAP,
	KEY_WINDOW,
	KEY_VALUES_IN_KEYS,
	KEY_PARTITION,
	KEY_THREADS,
	KEY_SLOTS,
	KEY_CHUNK,
	KEY_TRANSPORT,
	KEY_TIMEOUT,
	KEY_HOSTS,
	KEY_HOSTFILE,
	KEY_HOST_INDEX,
	KEY_PORT,
	KEY_JOIN,
	KEY_VERIFY,
	KEY_JSON,
	KEY_F32,
	KEY_INTEGRITY,
	KEY_CHUNKS,
	KEY_PAGE,
	KEY_KV_WIRE
};

static const struct argp_option options[] = {
	{"output", 'o', "FILE", 0, "Write the result to FILE (required)", 0},
	{"ranks", 'n', "N", 0,
	 "Start N ranks (required, but with hosts and under mpirun or srun)",
	 0},
	{"hosts", KEY_HOSTS, "LIST", 0,
	 "Share the ranks with other hosts, on each of which the same command "
	 "is started: names or addresses with :PORT and *RANKS as needed, such "
	 "as a,b*2",
	 0},
	{"hostfile", KEY_HOSTFILE, "FILE", 0,
	 "The same list from FILE: a host a line, with slots=RANKS as needed",
	 0},
	{"host-index", KEY_HOST_INDEX, "I", 0,
	 "This is host I of the list, from 0 (default: by name and address)",
	 0},
	{"port", KEY_PORT, "PORT", 0,
	 "Ranks meet at PORT of the first host (default 17850)", 0},
	{"join-timeout", KEY_JOIN, "SECONDS", 0,
	 "Wait SECONDS for all ranks to come (default 60)", 0},
	{"causal", KEY_CAUSAL, 0, 0, "Each token sees itself and earlier ones",
	 0},
	{"scale", KEY_SCALE, "S", 0,
	 "Multiply scores by S (default: 1 / sqrt(head dimension))", 0},
	{"softcap", KEY_SOFTCAP, "C", 0,
	 "Make C * tanh(s / C) of each scaled score s (default: s as it is)",
	 0},
	{"window", KEY_WINDOW, "L,R", 0,
	 "Let each token see L tokens before it and R behind it, -1 all of them"
	 " (default -1,-1)",
	 0},
	{"values-in-keys", KEY_VALUES_IN_KEYS, "DIM", 0,
	 "Take the first DIM columns of k for v, which INPUT then lacks", 0},
	{"partition", KEY_PARTITION, "HOW", 0,
	 "Give each rank 'contiguous' tokens (default); 'zigzag': of each "
	 "sequence one piece from the front and one from the back, which "
	 "balances --causal; or 'interleave:G': every n-th stripe of G tokens "
	 "(default " STRIPE_TEXT ")",
	 0},
	{"chunks", KEY_CHUNKS, "C", 0,
	 "Prefill in C chunks, each seeing the keys so far, which stay packed "
	 "in pages; needs --causal (default: all tokens in one pass)",
	 0},
	{"page-tokens", KEY_PAGE, "N", 0,
	 "Pages of at most N tokens, with --chunks (default 64)", 0},
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
	{"kv-wire", KEY_KV_WIRE, "TYPE", 0,
	 "Send K and V, and compute on them, as 'input' has them (default), or "
	 "as 'fp8': e4m3 with a scale for each range and head, half the bytes "
	 "of bf16, errors of some per cent",
	 0},
	{"integrity", KEY_INTEGRITY, 0, 0,
	 "Send a CRC-32C of each piece along, and check what arrived and that "
	 "it stayed as it was; what differs is named and fails",
	 0},
	{"f32-output", KEY_F32, 0, 0,
	 "Write out as F32, also where the input is not", 0},
	{"verify", KEY_VERIFY, 0, 0,
	 "Compare the result with the oracle; fail where it differs", 0},
	{"json", KEY_JSON, 0, 0, "Print the closing table as JSON", 0},
	{0}};

/* NAME, or interleave:STRIPE. */
static void take_partition(const struct argp_state *state, const char *value,
			   struct attention_options *o)
{
	static const char interleave[] = "interleave:";

	o->stripe = STRIPE_DEFAULT;
	if (!strcmp(value, "contiguous"))
		o->partition = PARTITION_CONTIGUOUS;
	else if (!strcmp(value, "zigzag"))
		o->partition = PARTITION_ZIGZAG;
	else if (!strcmp(value, "interleave") ||
		 (!strncmp(value, interleave, strlen(interleave)) &&
		  parse_number(value + strlen(interleave), 1, STRIPE_MAX,
			       &o->stripe)))
		o->partition = PARTITION_INTERLEAVE;
	else
		usage_error(state, "--partition", value,
			    "contiguous, zigzag, interleave or interleave:G, "
			    "where G is a whole number of tokens from 1");
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

static float softcap_of(const struct argp_state *state, const char *value)
{
	double softcap;

	if (!parse_real(value, (double)FLT_MIN, (double)FLT_MAX, &softcap))
		usage_error(state, "--softcap", value,
			    "a positive number that a float can hold");
	return (float)softcap;
}

static enum kvr_kv_wire kv_wire_of(const struct argp_state *state,
				   const char *name)
{
	if (!strcmp(name, "input"))
		return KVR_KV_PLAIN;
	if (!strcmp(name, "fp8"))
		return KVR_KV_E4M3;
	usage_error(state, "--kv-wire", name, "input or fp8");
}

static bool reach_of(const char *text, int64_t *out)
{
	uint64_t value;

	*out = -1;
	if (!strcmp(text, "-1"))
		return true;
	if (!parse_number(text, 0, INT64_MAX, &value))
		return false;
	*out = (int64_t)value;
	return true;
}

static struct kvr_window window_of(const struct argp_state *state,
				   const char *value)
{
	const char *comma = strchr(value, ',');
	struct kvr_window window;
	char left[24];

	if (comma && (size_t)(comma - value) < sizeof(left)) {
		memcpy(left, value, (size_t)(comma - value));
		left[comma - value] = '\0';
		if (reach_of(left, &window.left) &&
		    reach_of(comma + 1, &window.right))
			return window;
	}
	usage_error(state, "--window", value,
		    "two whole numbers of tokens, such as 1023,0, or -1 for "
		    "all");
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

/* All of it; small, and for as long as this process lives. */
static const char *read_hostfile(const char *path)
{
	FILE *file = fopen(path, "re");
	char *text = NULL;
	size_t room = 0;
	ssize_t got = -1;

	if (file) {
		errno = 0;
		got = getdelim(&text, &room, '\0', file);
		fclose(file);
	}
	if (got >= 0 || (file && errno == 0))
		return got >= 0 ? text : "";
	say_error("--hostfile: %s: cannot be read: %s; check the name", path,
		  strerror(errno));
	exit(CLI_USAGE);
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
	case KEY_INTEGRITY:
		o->integrity = true;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void take_hosts(const struct argp_state *state,
		       struct attention_options *o, const char *name,
		       const char *list)
{
	if (o->place.hosts)
		usage_error(state, name, list,
			    "needed after another list of hosts");
	o->place.hosts = list;
	o->place.hosts_name = name;
}

static error_t parse_place(int key, const char *arg, struct argp_state *state,
			   struct attention_options *o)
{
	struct place_request *p = &o->place;

	switch (key) {
	case KEY_HOSTS:
		take_hosts(state, o, "--hosts", arg);
		return 0;
	case KEY_HOSTFILE:
		take_hosts(state, o, arg, read_hostfile(arg));
		return 0;
	case KEY_HOST_INDEX:
		p->host_index = (int64_t)usage_number(
			state, "--host-index", arg, 0, LAUNCH_RANKS_MAX - 1);
		return 0;
	case KEY_PORT:
		o->port = (uint16_t)usage_number(state, "--port", arg, 1,
						 UINT16_MAX);
		return 0;
	case KEY_JOIN:
		o->join_seconds = usage_seconds(state, "--join-timeout", arg);
		return 0;
	default:
		return parse_flag(key, o);
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
		o->place.n = (uint32_t)usage_number(state, "-n", arg, 1,
						    LAUNCH_RANKS_MAX);
		return 0;
	case KEY_SCALE:
		o->scale = scale_of(state, arg);
		return 0;
	case KEY_SOFTCAP:
		o->softcap = softcap_of(state, arg);
		return 0;
	case KEY_KV_WIRE:
		o->kv_wire = kv_wire_of(state, arg);
		return 0;
	case KEY_WINDOW:
		o->window = window_of(state, arg);
		return 0;
	case KEY_VALUES_IN_KEYS:
		o->values_in_keys = (uint32_t)usage_number(
			state, "--values-in-keys", arg, 1, KVR_DIM_MAX);
		return 0;
	case KEY_PARTITION:
		take_partition(state, arg, o);
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
	case KEY_CHUNKS:
		o->chunks = (uint32_t)usage_number(state, "--chunks", arg, 1,
						   1 << 20);
		return 0;
	case KEY_PAGE:
		o->page_tokens =
			usage_number(state, "--page-tokens", arg, 1, 1 << 20);
		return 0;
	case KEY_TRANSPORT:
		o->transport = arg;
		return 0;
	case KEY_TIMEOUT:
		o->timeout_seconds = usage_seconds(state, "--timeout", arg);
		return 0;
	default:
		return parse_place(key, arg, state, o);
	}
}

/* Without --causal a chunk would have to see keys that are yet to come. */
static void check_chunks(const struct argp_state *state,
			 struct attention_options *o)
{
	if (o->chunks > 0 && !o->causal)
		usage_missing(state, "--causal, with --chunks,");
	if (o->page_tokens > 0 && o->chunks == 0)
		usage_missing(state, "--chunks, with --page-tokens,");
	if (o->chunks > 0 && o->kv_wire == KVR_KV_E4M3)
		usage_error(state, "--kv-wire", "fp8",
			    "for pages, with --chunks");
	if (o->chunks > 0 && o->page_tokens == 0)
		o->page_tokens = 64;
}

static void check(const struct argp_state *state, struct attention_options *o)
{
	if (!o->input_path)
		usage_missing(state, "the input file");
	if (!o->output_path)
		usage_missing(state, "-o FILE, the output,");
	if (o->slots == 1 && o->place.n > 2)
		usage_error(state, "--slots", "1",
			    "enough for more than 2 ranks, which would wait "
			    "for each other for ever: at least 2 are");
	check_chunks(state, o);
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

/*
 * Followers are told the same as rank 0 is, and leave it to that to say what
 * is wrong with it. They end later, too, for when one ends an engine ends all.
 */
static int hushed = -1; /* what standard error was */

static void linger(void)
{
	if (hushed >= 0)
		poll(NULL, 0, 1000);
}

static void hush(void)
{
	if (!place_is_follower() || atexit(linger))
		return;
	hushed = dup(STDERR_FILENO);
	if (hushed < 0 || !freopen("/dev/null", "w", stderr) ||
	    !freopen("/dev/null", "w", stdout))
		hushed = -1;
}

static void speak(void)
{
	if (hushed < 0)
		return;
	dup2(hushed, fileno(stderr));
	close(hushed);
	hushed = -1;
}

/* The environment's counts where no option says otherwise. */
static void read_host_index(struct place_request *place)
{
	const char *text = getenv("KVRING_HOST_INDEX");
	uint64_t index;

	if (!text || place->host_index >= 0)
		return;
	if (!parse_number(text, 0, LAUNCH_RANKS_MAX - 1, &index)) {
		say_error("KVRING_HOST_INDEX: '%s' is not a whole number from "
			  "0 to %d",
			  text, LAUNCH_RANKS_MAX - 1);
		exit(CLI_USAGE);
	}
	place->host_index = (int64_t)index;
}

struct attention_options attention_options_parse(int argc, char **argv,
						 struct place *place)
{
	static const struct argp argp = {
		options,
		parse,
		"INPUT",
		"Exact attention of the tensors q [tokens, q_heads, dim], k and"
		" v [tokens, kv_heads, dim] of the safetensors file INPUT, by a"
		" ring of N processes that pass key/value blocks to each other."
		" With cu_seqlens [sequences + 1] in it each token sees its own"
		" sequence."
		" Writes out [tokens, q_heads, dim of v] and lse [q_heads, "
		"tokens], the natural logarithm of each row's sum, which counts"
		" the tensor sinks [q_heads] where INPUT has it.\v"
		"Exit status: 0 done, 1 failed, 2 wrong usage, 128 plus the "
		"number of the signal when interrupted (130 by Ctrl-C).",
		0,
		0,
		0};
	struct attention_options o = {.window = {-1, -1},
				      .stripe = STRIPE_DEFAULT,
				      .slots = 2,
				      .chunk_bytes = 1 << 20,
				      .timeout_seconds = 10,
				      .join_seconds = 60,
				      .place.host_index = -1};
	struct complaint why;

	hush();
	argp_parse(&argp, argc, argv, 0, 0, &o);
	read_host_index(&o.place);
	if (!place_choose(&o.place, place, &why)) {
		complaint_print(&why);
		exit(CLI_USAGE);
	}
	speak();
	return o;
}
