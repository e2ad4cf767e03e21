/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/attention.h"

enum {
	KEY_TOKENS = 0x100,
	KEY_HEADS,
	KEY_KV_HEADS,
	KEY_DIM,
	KEY_DTYPE,
	KEY_CAUSAL,
	KEY_FULL,
	KEY_KERNEL,
	KEY_TRANSPORT,
	KEY_SLOTS,
	KEY_CHUNK,
};

static const struct argp_option known[] = {
	{"tokens", KEY_TOKENS, "N", 0, "length of the sequence", 1},
	{"heads", KEY_HEADS, "H", 0, "query heads", 1},
	{"kv-heads", KEY_KV_HEADS, "G", 0, "key/value heads", 1},
	{"dim", KEY_DIM, "D", 0, "size of a head", 1},
	{"dtype", KEY_DTYPE, "TYPE", 0, "f32 or bf16", 1},
	{"causal", KEY_CAUSAL, NULL, 0, "causal mask", 1},
	{"full", KEY_FULL, NULL, 0, "no mask", 1},
	{"kernel", KEY_KERNEL, "NAME", 0, "compute kernel", 1},
	{"transport", KEY_TRANSPORT, "NAME", 0, "of the ring", 1},
	{"slots", KEY_SLOTS, "K", 0, "landing slots", 1},
	{"chunk", KEY_CHUNK, "BYTES", 0, "what one write carries", 1},
	{0},
};

void attention_options_init(struct attention_options *options)
{
	struct kvr_ring_options ring;

	kvr_ring_options_init(&ring);
	*options = (struct attention_options){
		.tokens = 16384,
		.heads = 8,
		.dim = 128,
		.slots = ring.slots,
		.chunk_bytes = ring.chunk_bytes,
	};
}

uint64_t attention_number(const struct argp_state *state, const char *text,
			  uint64_t most)
{
	unsigned long long value;
	char *end;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || end == text || *end || *text == '-' || value < 1 ||
	    value > most)
		argp_error(state, "%s is not a number of 1 to %" PRIu64, text,
			   most);
	return value;
}

static enum kvr_dtype dtype_of(const struct argp_state *state, const char *text)
{
	if (strcmp(text, "bf16") == 0)
		return KVR_BF16;
	if (strcmp(text, "f32") != 0)
		argp_error(state, "%s is neither f32 nor bf16", text);
	return KVR_F32;
}

static error_t parse_shape(int key, char *arg, const struct argp_state *state,
			   struct attention_options *o)
{
	switch (key) {
	case KEY_TOKENS:
		o->tokens = attention_number(state, arg, 1u << 30);
		return 0;
	case KEY_HEADS:
		o->heads = (uint32_t)attention_number(state, arg, 65536);
		return 0;
	case KEY_KV_HEADS:
		o->kv_heads = (uint32_t)attention_number(state, arg, 65536);
		return 0;
	case KEY_DIM:
		o->dim = (uint32_t)attention_number(state, arg, KVR_DIM_MAX);
		return 0;
	case KEY_DTYPE:
		o->dtype = dtype_of(state, arg);
		return 0;
	case KEY_CAUSAL:
	case KEY_FULL:
		o->causal = key == KEY_CAUSAL;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct attention_options *o = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		argp_err_exit_status = 2;
		return 0;
	case KEY_KERNEL:
		o->kernel = arg;
		return 0;
	case KEY_TRANSPORT:
		o->transport = arg;
		return 0;
	case KEY_SLOTS:
		o->slots =
			(uint32_t)attention_number(state, arg, KVR_SLOTS_MAX);
		return 0;
	case KEY_CHUNK:
		o->chunk_bytes = attention_number(state, arg, 1u << 30);
		return 0;
	default:
		return parse_shape(key, arg, state, o);
	}
}

const struct argp attention_argp = {.options = known, .parser = parse};

void attention_options_print(const struct attention_options *o)
{
	printf("attention: %" PRIu64 " tokens, %u heads (%u of k and v) x %u, "
	       "%s, %s; %u slots, %zu KiB chunks\n",
	       o->tokens, o->heads, o->kv_heads ? o->kv_heads : o->heads,
	       o->dim, o->dtype == KVR_F32 ? "f32" : "bf16",
	       o->causal ? "causal" : "full", o->slots, o->chunk_bytes / 1024);
}

double attention_flop(const struct attention_options *o)
{
	double n = (double)o->tokens;
	double pairs = o->causal ? n * (n + 1) / 2 : n * n;

	return 4.0 * o->dim * o->heads * pairs;
}
