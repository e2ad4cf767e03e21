/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/cu_seqlens.h"
#include "cli/output.h"
#include "cli/parse.h"
#include "cli/progress_bar.h"
#include "cli/random.h"
#include "cli/safetensors.h"
#include "cli/signals.h"
#include "kvring/attention.h"

#define PIECE 65536 /* elements made at a time */
#define SEQUENCES_MAX (1ull << 24)
#define CU_SEQLENS_STREAM 4 /* q, k, v and sinks are 0, 1, 2 and 3 */

enum type { TYPE_F32, TYPE_BF16, TYPE_F16, TYPES };

static const struct {
	const char *option, *name;
	size_t bytes;
} types[TYPES] = {
	[TYPE_F32] = {"f32", "F32", 4},
	[TYPE_BF16] = {"bf16", "BF16", 2},
	[TYPE_F16] = {"f16", "F16", 2},
};

struct random_options {
	const char *path;
	uint64_t tokens, q_heads, kv_heads, head_dim, value_dim, seed;
	enum type type;
	const char *list; /* --cu-seqlens */
	uint64_t sequences;
	uint64_t *cu_seqlens; /* sequences + 1; NULL: none */
	bool sinks, no_values;
};

/* Each tensor has its own stream, whichever others there are. */
struct random_file {
	struct safetensors_spec specs[5];
	uint64_t streams[5]; /* CU_SEQLENS_STREAM: as they are */
	size_t count;
};

enum key {
	KEY_TOKENS = 256,
	KEY_Q_HEADS,
	KEY_KV_HEADS,
	KEY_HEAD_DIM,
	KEY_VALUE_DIM,
	KEY_DTYPE,
	KEY_SEQUENCES,
	KEY_CU_SEQLENS,
	KEY_SINKS,
	KEY_NO_V,
	KEY_SEED
};

static const struct argp_option options[] = {
	{"tokens", KEY_TOKENS, "N", 0, "Make N tokens (required)", 0},
	{"q-heads", KEY_Q_HEADS, "H", 0, "Give q H heads (required)", 0},
	{"kv-heads", KEY_KV_HEADS, "G", 0,
	 "Give k and v G heads, a divisor of H (default: H)", 0},
	{"head-dim", KEY_HEAD_DIM, "D", 0,
	 "Make heads of D elements (required)", 0},
	{"value-dim", KEY_VALUE_DIM, "D", 0,
	 "Make heads of v of D elements (default: --head-dim)", 0},
	{"dtype", KEY_DTYPE, "TYPE", 0, "Write f32 (default), bf16 or f16", 0},
	{"sequences", KEY_SEQUENCES, "N", 0,
	 "Pack N sequences of random lengths, and write cu_seqlens", 0},
	{"cu-seqlens", KEY_CU_SEQLENS, "LIST", 0,
	 "Pack sequences that begin at these tokens, such as 0,5,9, of which "
	 "the last is --tokens",
	 0},
	{"no-v", KEY_NO_V, 0, 0,
	 "Leave v out: 'kvring attention' can take columns of k for it", 0},
	{"sinks", KEY_SINKS, 0, 0, "Add sinks, one for each head of q", 0},
	{"seed", KEY_SEED, "S", 0, "Start the generator at S (default 0)", 0},
	{0}};

static enum type type_of(const struct argp_state *state, const char *name)
{
	int i;

	for (i = 0; i < TYPES; i++)
		if (!strcmp(types[i].option, name))
			return (enum type)i;
	usage_error(state, "--dtype", name, "f32, bf16 or f16");
}

/* ----------------------------------------------------------- sequences */

static void no_memory(void)
{
	say_error("no memory for cu_seqlens; ask for fewer sequences");
	exit(CLI_FAILED);
}

static bool offsets_valid(const struct random_options *o)
{
	const uint64_t *at = o->cu_seqlens;
	uint64_t i;

	for (i = 0; i < o->sequences; i++)
		if (at[i] > at[i + 1])
			return false;
	return o->sequences > 0 && at[0] == 0 && at[i] == o->tokens;
}

/* A number for each comma, and one more. */
static void read_list(const struct argp_state *state, struct random_options *o)
{
	char *text = strdup(o->list), *rest = text, *word;
	uint64_t *at = calloc(strlen(o->list) + 1, sizeof(*at));
	bool ok = true;

	if (!text || !at)
		no_memory();
	o->cu_seqlens = at;
	while (ok && (word = strsep(&rest, ",")))
		ok = parse_number(word, 0, UINT64_MAX, at++);
	o->sequences = (uint64_t)(at - o->cu_seqlens) - 1;
	free(text);
	if (!ok || !offsets_valid(o))
		usage_error(state, "--cu-seqlens", o->list,
			    "a list that begins with 0, does not descend and "
			    "ends with --tokens");
}

static int by_size(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* Any boundary may be anywhere: sequences may be empty, too. */
static void draw_sequences(struct random_options *o)
{
	uint64_t *at = calloc(o->sequences + 1, sizeof(*at)), i;

	if (!at)
		no_memory();
	for (i = 1; i < o->sequences; i++)
		at[i] = random_bits(o->seed, CU_SEQLENS_STREAM, i) %
			(o->tokens + 1);
	at[o->sequences] = o->tokens;
	qsort(at, o->sequences, sizeof(*at), by_size);
	o->cu_seqlens = at;
}

static void make_sequences(const struct argp_state *state,
			   struct random_options *o)
{
	if (o->list && o->sequences > 0)
		usage_error(state, "--cu-seqlens", o->list,
			    "needed with --sequences");
	if (o->list)
		read_list(state, o);
	else if (o->sequences > 0)
		draw_sequences(o);
}

/* ------------------------------------------------------------- options */

static void check(const struct argp_state *state, struct random_options *o)
{
	if (!o->path)
		usage_missing(state, "the output file");
	if (o->tokens == 0)
		usage_missing(state, "--tokens");
	if (o->q_heads == 0)
		usage_missing(state, "--q-heads");
	if (o->head_dim == 0)
		usage_missing(state, "--head-dim");
	if (o->kv_heads == 0)
		o->kv_heads = o->q_heads;
	if (o->value_dim == 0)
		o->value_dim = o->head_dim;
	make_sequences(state, o);
	if (o->q_heads % o->kv_heads == 0)
		return;
	say_error("--kv-heads: %llu do not divide %llu query heads; see "
		  "'%s --help'",
		  (unsigned long long)o->kv_heads,
		  (unsigned long long)o->q_heads, state->name);
	exit(CLI_USAGE);
}

static error_t parse_size(int key, const char *arg, struct argp_state *state,
			  struct random_options *o)
{
	switch (key) {
	case KEY_TOKENS:
		o->tokens = usage_number(state, "--tokens", arg, 1, 1ull << 40);
		return 0;
	case KEY_Q_HEADS:
		o->q_heads = usage_number(state, "--q-heads", arg, 1, 65536);
		return 0;
	case KEY_KV_HEADS:
		o->kv_heads = usage_number(state, "--kv-heads", arg, 1, 65536);
		return 0;
	case KEY_HEAD_DIM:
		o->head_dim =
			usage_number(state, "--head-dim", arg, 1, KVR_DIM_MAX);
		return 0;
	case KEY_VALUE_DIM:
		o->value_dim =
			usage_number(state, "--value-dim", arg, 1, KVR_DIM_MAX);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct random_options *o = state->input;

	switch (key) {
	case KEY_DTYPE:
		o->type = type_of(state, arg);
		return 0;
	case KEY_SEQUENCES:
		o->sequences = usage_number(state, "--sequences", arg, 1,
					    SEQUENCES_MAX);
		return 0;
	case KEY_CU_SEQLENS:
		o->list = arg;
		return 0;
	case KEY_NO_V:
		o->no_values = true;
		return 0;
	case KEY_SINKS:
		o->sinks = true;
		return 0;
	case KEY_SEED:
		o->seed = usage_number(state, "--seed", arg, 0, UINT64_MAX);
		return 0;
	case ARGP_KEY_ARG:
		if (o->path)
			usage_error(state, "argument", arg,
				    "expected after the output file");
		o->path = arg;
		return 0;
	case ARGP_KEY_SUCCESS:
		check(state, o);
		return 0;
	default:
		return parse_size(key, arg, state, o);
	}
}

static void fill(const struct random_options *o, uint64_t stream,
		 uint64_t first, size_t count, void *to)
{
	float value;
	size_t i;

	for (i = 0; i < count; i++) {
		value = random_normal(o->seed, stream, first + i);
		if (o->type == TYPE_BF16)
			((uint16_t *)to)[i] = random_to_bf16(value);
		else if (o->type == TYPE_F16)
			((uint16_t *)to)[i] = random_to_f16(value);
		else
			((float *)to)[i] = value;
	}
}

/* 0, or the signal that came; -1 with errno. */
static int write_tensor(const struct random_options *o, uint64_t stream,
			const struct safetensors_spec *spec, int fd)
{
	const struct progress_bar bar = progress_bar_begin(spec->name);
	size_t element = types[o->type].bytes, count, i;
	uint64_t total = 1, at;
	float piece[PIECE];
	int code = 0;

	for (i = 0; i < spec->rank; i++)
		total *= spec->shape[i];
	for (at = 0; at < total && code == 0; at += count) {
		count = total - at < PIECE ? (size_t)(total - at) : PIECE;
		fill(o, stream, at, count, piece);
		if (!write_all(fd, piece, count * element,
			       spec->offset + at * element))
			code = -1;
		else
			code = signals_interrupted();
		progress_bar_show(&bar, (double)at / (double)total);
	}
	progress_bar_end(&bar);
	return code;
}

static bool is_wide(const struct random_options *o)
{
	return o->tokens > INT32_MAX;
}

static bool write_cu_seqlens(const struct random_options *o,
			     const struct safetensors_spec *spec, int fd)
{
	size_t count = (size_t)o->sequences + 1, i;
	uint64_t *at = o->cu_seqlens;
	int32_t narrow;

	if (is_wide(o))
		return write_all(fd, at, count * sizeof(*at), spec->offset);
	/* In place: a narrower element never reaches one that is to be read. */
	for (i = 0; i < count; i++) {
		narrow = (int32_t)at[i];
		memcpy((char *)at + i * sizeof(narrow), &narrow,
		       sizeof(narrow));
	}
	return write_all(fd, at, count * sizeof(int32_t), spec->offset);
}

static int write_tensors(const struct random_options *o,
			 const struct random_file *file, int fd)
{
	int code = 0;
	size_t i;

	for (i = 0; i < file->count && code == 0; i++) {
		if (file->streams[i] != CU_SEQLENS_STREAM)
			code = write_tensor(o, file->streams[i],
					    &file->specs[i], fd);
		else if (!write_cu_seqlens(o, &file->specs[i], fd))
			code = -1;
	}
	if (code == 0)
		return CLI_OK;
	if (code > 0) {
		say_error("interrupted by SIG%s; nothing was written",
			  sigabbrev_np(code));
		return 128 + code;
	}
	say_error("%s: cannot be written: %s; check the disk", o->path,
		  strerror(errno));
	return CLI_FAILED;
}

/* Everything but the head of the file; gives up *output. */
static int write_file(const struct random_options *o,
		      const struct random_file *file, struct output *output)
{
	int code = write_tensors(o, file, output->fd);
	struct complaint why;

	if (code != CLI_OK) {
		output_abandon(output);
		return code;
	}
	if (output_commit(output, &why))
		return CLI_OK;
	complaint_print(&why);
	return CLI_FAILED;
}

static bool open_file(const struct random_options *o, struct random_file *file,
		      struct output *output, struct complaint *why)
{
	size_t head_bytes;
	uint64_t total;
	bool ok = false;
	void *head;

	if (!safetensors_head(file->specs, file->count, &head, &head_bytes,
			      &total, why))
		return false;
	if (!output_open(o->path, total, -1, output, why))
		goto out_free;
	ok = write_all(output->fd, head, head_bytes, 0);
	if (!ok) {
		complain(why, "%s: cannot be written: %s; check the disk",
			 o->path, strerror(errno));
		output_abandon(output);
	}
out_free:
	free(head);
	return ok;
}

static void describe(const struct random_options *o, struct random_file *file)
{
	const char *type = types[o->type].name;
	/* The offsets first: all are then aligned, whatever their sizes. */
	const struct safetensors_spec all[5] = {
		{CU_SEQLENS,
		 is_wide(o) ? "I64" : "I32",
		 1,
		 {o->sequences + 1},
		 0},
		{"q", type, 3, {o->tokens, o->q_heads, o->head_dim}, 0},
		{"k", type, 3, {o->tokens, o->kv_heads, o->head_dim}, 0},
		{"v", type, 3, {o->tokens, o->kv_heads, o->value_dim}, 0},
		{"sinks", type, 1, {o->q_heads}, 0}};
	const uint64_t streams[5] = {CU_SEQLENS_STREAM, 0, 1, 2, 3};
	const bool wanted[5] = {o->cu_seqlens != NULL, true, true,
				!o->no_values, o->sinks};
	size_t i;

	file->count = 0;
	for (i = 0; i < 5; i++) {
		if (!wanted[i])
			continue;
		file->specs[file->count] = all[i];
		file->streams[file->count++] = streams[i];
	}
}

int cmd_random(int argc, char **argv)
{
	static const struct argp argp = {
		options,
		parse,
		"OUTPUT",
		"Writes a safetensors file of close to normal random q, k and v"
		" for 'kvring attention'. The same options give the same bytes "
		"on every machine.\v"
		"Exit status: 0 done, 1 failed, 2 wrong usage, 128 plus the "
		"number of the signal when interrupted (130 by Ctrl-C).",
		0,
		0,
		0};
	struct random_options o = {0};
	struct random_file file;
	int code = CLI_FAILED;
	struct output output;
	struct complaint why;

	argp_parse(&argp, argc, argv, 0, 0, &o);
	describe(&o, &file);
	if (signals_block(&why) && open_file(&o, &file, &output, &why))
		code = write_file(&o, &file, &output);
	else
		complaint_print(&why);
	free(o.cu_seqlens);
	return code;
}
