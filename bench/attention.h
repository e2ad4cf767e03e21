/* SPDX-License-Identifier: Apache-2.0 */
/* One rank's part of an attention over random numbers, to be timed. */
#ifndef KVR_BENCH_ATTENTION_H
#define KVR_BENCH_ATTENTION_H

#include <argp.h>
#include <stdbool.h>

#include "bench/processes.h"
#include "kvring/attention.h"

/* What is computed, and by what; the same on all ranks. */
struct attention_options {
	uint64_t tokens;
	uint32_t heads, kv_heads, dim; /* kv_heads 0: as many as heads */
	enum kvr_dtype dtype;
	bool causal;
	const char *kernel, *transport; /* NULL: the best */
	uint32_t slots;
	size_t chunk_bytes;
};

/* The library's defaults; then what a program likes; then the arguments. */
void attention_options_init(struct attention_options *options);

/* Parses into a struct attention_options: child of a program's argp. */
extern const struct argp attention_argp;

/* Dies unless text is a whole number in 1 .. most. */
uint64_t attention_number(const struct argp_state *state, const char *text,
			  uint64_t most);

/* "attention: 16384 tokens, ..."; one line. */
void attention_options_print(const struct attention_options *options);

/* Floating-point operations: two for each multiply-add. */
double attention_flop(const struct attention_options *options);

/* How it is cut. */
struct attention_part {
	uint32_t rank, n, threads;
	bool zigzag;
	/* See kvr_plan_desc; may be NULL. */
	kvr_step_fn on_step;
	void *on_step_arg;
};

struct attention;

/*
 * Collective over the n ranks, whose seats are at one meeting; the seat must
 * stay. Dies on failure, as everything here.
 */
struct attention *attention_open(const struct attention_options *options,
				 const struct attention_part *part,
				 struct seat *seat);
void attention_close(struct attention *attention);

/* Packs the keys and values, and gives up their memory. */
void attention_give_up_kv(struct attention *attention);

struct attention_sample {
	double begun, ended; /* seconds, by report_seconds */
	double cpu;	     /* seconds of the calling thread */
	double cpu_all;	     /* seconds of all threads of the process */
	double exposed;	     /* seconds that it waited for blocks */
	double lse_sum;	     /* of this rank's rows: to compare results */
};

/* Collective. */
void attention_run(struct attention *attention, struct attention_sample *out);

const char *attention_kernel(const struct attention *attention);
const char *attention_transport(const struct attention *attention);

#endif
