/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Does moving the next block hide behind computing on this one? Passes of a
 * real ring over a modelled device, which computes on each block for a set
 * multiple of what a transfer takes. The transfer is measured before, as the
 * same ring with a compute of 0.
 *
 * A pass of n ranks is n computes, and n - 1 transfers of which each can hide
 * behind the compute before it. Back to back, passes take (n - 1) x step +
 * compute, with step = max(compute, transfer) at best: that is how step is
 * found. The last compute of a pass hides nothing: no pass begins before the
 * one before it is over.
 */
#include <stdio.h>
#include <sys/prctl.h>

#include "bench/net/passes.h"
#include "bench/net/tests.h"
#include "runtime/clock.h"

#define BLOCK_BYTES (16u << 20)
#define WARMUP 3
#define PASSES_MIN 10
#define PASSES_MAX 10000

static const struct output_column columns[] = {
	{"slots", "#slots", 0},
	{"chunk_bytes", "#chunk", 0},
	{"passes", "#passes", 0},
	{"ratio", "compute/transfer", 3},
	{"compute_usec", "compute[usec]", 1},
	{"transfer_usec", "transfer[usec]", 1},
	{"step_usec", "step[usec]", 1},
	{"step_per_transfer", "step/transfer", 3},
	{"exposed_percent", "exposed[%]", 2},
	{"exposed_average_percent", "average[%]", 2},
	{"exposed_p99_percent", "99%[%]", 2},
	{"late_usec", "late[usec]", 1},
	{"cpu_percent", "CPU[%]", 2},
};

#define COLUMNS (sizeof(columns) / sizeof(*columns))

/* What all rows of one ring share. */
struct setting {
	const struct net_options *options;
	uint32_t n, slots;
	size_t chunk_bytes;
	double transfer_ns;
	double seconds; /* measured so far */
	struct output *output;
};

static const struct net_list usual_slots = {{1, 2, 3}, 3};
static const struct net_list usual_chunks = {{256 << 10, 1 << 20}, 2};
static const struct net_list usual_ratios = {
	{250, 500, 750, 1000, 1100, 1500, 2000, 4000}, 8};

static const struct net_list *either(const struct net_list *given,
				     const struct net_list *usual)
{
	return given->count ? given : usual;
}

static size_t block_bytes(const struct net_options *o)
{
	return o->sizes.count ? o->sizes.value[0] : BLOCK_BYTES;
}

/* ----------------------------------------------------------------- rows */

static uint64_t warmup_of(const struct net_options *o)
{
	return o->warmup != NET_UNSET ? o->warmup : WARMUP;
}

/* All ranks know the same pass_ns. */
static uint64_t count_passes(const struct net_options *o, double pass_ns)
{
	double fit = o->seconds * 1e9 / pass_ns;

	if (o->iterations != NET_UNSET)
		return o->iterations;
	if (fit < PASSES_MIN)
		return PASSES_MIN;
	return fit > PASSES_MAX ? PASSES_MAX : (uint64_t)fit;
}

static void print(struct setting *s, uint64_t passes, double compute_ns,
		  const struct findings *found)
{
	double step_ns = (found->pass_ns - compute_ns) / (s->n - 1);

	output_row(s->output,
		   (const double[COLUMNS]){
			   s->slots, (double)s->chunk_bytes, (double)passes,
			   compute_ns / s->transfer_ns, compute_ns * 1e-3,
			   s->transfer_ns * 1e-3, step_ns * 1e-3,
			   step_ns / s->transfer_ns, found->exposed * 100,
			   found->exposed_average * 100,
			   found->exposed_p99 * 100, found->late_ns * 1e-3,
			   found->cpu * 100});
}

static void run_row(struct setting *s, struct passes *passes, double ratio)
{
	double compute_ns = ratio * s->transfer_ns;
	double step_ns = ratio > 1 ? compute_ns : s->transfer_ns;
	uint64_t count =
		count_passes(s->options, step_ns * (s->n - 1) + compute_ns);
	struct findings found;

	found = passes_measure(passes, (uint64_t)compute_ns,
			       warmup_of(s->options), count);
	s->seconds += found.total_ns * 1e-9;
	print(s, count, compute_ns, &found);
}

/*
 * A transfer: a pass without compute, by its hops. Measured again before each
 * row, as the machine may have become another meanwhile; printed once.
 */
static void run_transfer(struct setting *s, struct passes *passes, bool first)
{
	uint64_t warmup = warmup_of(s->options), count;
	struct findings found = passes_measure(passes, 0, warmup, warmup);

	count = count_passes(s->options, found.pass_ns);
	found = passes_measure(passes, 0, warmup, count);
	s->seconds += found.total_ns * 1e-9;
	s->transfer_ns = found.pass_ns / (s->n - 1);
	if (first)
		print(s, count, 0, &found);
}

static void run_setting(struct setting *s, const struct kvr_bootstrap *who)
{
	const struct net_list *ratios =
		either(&s->options->ratios, &usual_ratios);
	struct passes passes;

	passes_open(s->options, who, s->slots, s->chunk_bytes,
		    block_bytes(s->options), &passes);
	for (size_t i = 0; i < ratios->count; i++) {
		run_transfer(s, &passes, i == 0);
		run_row(s, &passes, (double)ratios->value[i] / 1000);
	}
	passes_close(&passes);
}

/* --------------------------------------------------------------- report */

static void describe(const struct net_options *o,
		     const struct kvr_bootstrap *who, struct output *output)
{
	struct passes passes;

	passes_open(o, who, 2, 1 << 20, 64, &passes);
	output_text(output, "transport", passes_transport(&passes));
	passes_close(&passes);
	output_number(output, "block_bytes", (double)block_bytes(o));
	output_number(output, "jitter_percent", o->jitter);
	output_text(output, "compute",
		    "a device model: sleeps, uses no CPU; its input is hashed "
		    "by 64 samples at its begin, at two random moments and at "
		    "its end");
	output_text(
		output, "transfer",
		"the same ring with compute 0, measured anew before each row");
	output_text(output, "exposed",
		    "waited for blocks, of the pass, by the most exposed rank: "
		    "median, average and 99 % of the passes");
	/* The progress thread copies, or waits for the device. */
	ranks_describe(who, o, 1, output);
}

static struct output *begin(const struct net_options *o,
			    const struct kvr_bootstrap *who)
{
	struct output *output = NULL;

	if (who->rank == 0)
		output = output_new(o->format, net_test_names[o->test], columns,
				    COLUMNS);
	describe(o, who, output);
	return output;
}

void overlap_run(const struct net_options *o, const struct kvr_bootstrap *who)
{
	const struct net_list *slots = either(&o->slots, &usual_slots);
	const struct net_list *chunks = either(&o->chunks, &usual_chunks);
	struct setting s = {.options = o, .n = who->n};

	/* A compute ends when it ends, not when it suits the timer. */
	prctl(PR_SET_TIMERSLACK, 1);
	s.output = begin(o, who);
	for (size_t i = 0; i < slots->count; i++) {
		s.slots = (uint32_t)slots->value[i];
		/* Dead-locks there, and is refused. */
		if (s.slots == 1 && s.n > 2 && !o->slots.count)
			continue;
		for (size_t j = 0; j < chunks->count; j++) {
			s.chunk_bytes = chunks->value[j];
			run_setting(&s, who);
		}
	}
	output_finish(s.output, s.seconds,
		      (double)(kvr_clock_ns() - o->begin_ns) * 1e-9);
}
