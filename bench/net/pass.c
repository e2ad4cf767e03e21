/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pass: what a ring's own work costs. Passes back to back over small blocks,
 * nothing computed on them: begin, next and release of every block, end. A
 * step is a pass by its hops, so that at n = 2, whose pass has one hop, it is
 * the whole pass with all its calls. The callers drive the ring themselves.
 *
 * With --event the progress threads do, and all are asleep before: rank 0
 * pauses before every other pass, while the others sleep in kvr_pass_next,
 * and the two passes after a pause are a message there and, from a rank that
 * it has woken, one back. Printed is half of the two.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/net/passes.h"
#include "bench/net/samples.h"
#include "bench/net/tests.h"
#include "runtime/clock.h"

#define BLOCK_BYTES 64
#define SLOTS 2
#define CHUNK_BYTES (1u << 20)

/* Longer than a progress thread looks before it sleeps. */
#define PAUSE_NS 1000000

/* ---------------------------------------------------------------- passes */

/* Each block begins with its pass: a late or a wrong one is not missed. */
static void look_at(const struct passes *r, const struct kvr_block *block)
{
	uint64_t tag;

	memcpy(&tag, block->data, sizeof(tag));
	if (tag != r->pass)
		ranks_die(r->who,
			  "pass %llu, step %u: the block is of pass %llu",
			  (unsigned long long)r->pass, block->step,
			  (unsigned long long)tag);
}

static void run_pass(struct passes *r)
{
	struct kvr_pass_desc desc;
	struct kvr_block block;
	struct kvr_pass *pass;
	enum kvr_status status;

	r->pass++;
	memcpy(r->block, &r->pass, sizeof(r->pass));
	kvr_pass_desc_init(&desc);
	desc.tag = r->pass;
	desc.lane[0].segments = &r->segment;
	desc.lane[0].segment_count = 1;
	passes_check(r, "kvr_pass_begin",
		     kvr_pass_begin(r->ring, &desc, &pass));
	kvr_block_init(&block);
	while ((status = kvr_pass_next(pass, 0, &block)) == KVR_OK) {
		look_at(r, &block);
		passes_check(r, "kvr_pass_release",
			     kvr_pass_release(pass, 0, block.step));
	}
	if (status != KVR_ERR_END)
		passes_check(r, "kvr_pass_next", status);
	passes_check(r, "kvr_pass_end", kvr_pass_end(pass));
}

/* Times of a step; `usec` has room for count. */
static void run_back_to_back(struct passes *r, uint64_t count, double *usec)
{
	uint64_t begin_ns = kvr_clock_ns(), end_ns;

	for (uint64_t i = 0; i < count; i++) {
		run_pass(r);
		end_ns = kvr_clock_ns();
		usec[i] = (double)(end_ns - begin_ns) * 1e-3 / (r->who->n - 1);
		begin_ns = end_ns;
	}
}

static void run_asleep(struct passes *r, uint64_t count, double *usec)
{
	const struct timespec pause = {.tv_nsec = PAUSE_NS};

	for (uint64_t i = 0; i < count; i++) {
		uint64_t begin_ns;

		if (r->who->rank == 0)
			nanosleep(&pause, NULL);
		begin_ns = kvr_clock_ns();
		run_pass(r);
		run_pass(r);
		usec[i] = (double)(kvr_clock_ns() - begin_ns) * 0.5e-3 /
			  (r->who->n - 1);
	}
}

static void run_passes(struct passes *r, uint64_t count, double *usec)
{
	if (r->options->event)
		run_asleep(r, count, usec);
	else
		run_back_to_back(r, count, usec);
}

/* ------------------------------------------------------------------- row */

static double *allocate(const struct kvr_bootstrap *who, uint64_t count)
{
	double *usec = calloc(count, sizeof(*usec));

	if (!usec)
		ranks_die(who, "no memory for %llu times",
			  (unsigned long long)count);
	return usec;
}

/* How many to measure. */
static uint64_t warm_up(struct passes *r, size_t bytes)
{
	uint64_t count = sweep_warmup(r->options, bytes);
	double *usec = allocate(r->who, count), each_ns;

	run_passes(r, count, usec);
	each_ns = samples_of(usec, count).typical * 1e3 * (r->who->n - 1);
	if (r->options->event)
		each_ns = each_ns * 2 + PAUSE_NS;
	free(usec);
	return sweep_iterations(r->options, r->who, bytes, each_ns);
}

static double measure(const struct net_options *o,
		      const struct kvr_bootstrap *who, size_t bytes,
		      struct output *output)
{
	struct samples s;
	struct passes r;
	uint64_t count;
	double *usec;

	passes_open(
		o, who, o->slots.count ? (uint32_t)o->slots.value[0] : SLOTS,
		o->chunks.count ? o->chunks.value[0] : CHUNK_BYTES, bytes, &r);
	count = warm_up(&r, bytes);
	usec = allocate(who, count);
	run_passes(&r, count, usec);
	passes_close(&r);
	s = samples_of(usec, count);
	samples_print(bytes, count, &s, output);
	free(usec);
	return s.average * (double)count * 1e-6;
}

/* ---------------------------------------------------------------- report */

static struct output *begin(const struct net_options *o,
			    const struct kvr_bootstrap *who)
{
	struct output *output = NULL;
	struct passes passes;

	if (who->rank == 0)
		output = samples_output(o->format, net_test_names[o->test]);
	passes_open(o, who, SLOTS, CHUNK_BYTES, BLOCK_BYTES, &passes);
	output_text(output, "transport", passes_transport(&passes));
	passes_close(&passes);
	output_text(output, "waiting",
		    o->event ? "progress threads; all ranks asleep before each "
			       "two passes"
			     : "the callers drive the ring, passes back to "
			       "back");
	output_text(output, "time",
		    "a pass with all its calls, by its n - 1 hops");
	ranks_describe(who, o, o->event ? 0 : 1, output);
	return output;
}

void pass_run(const struct net_options *o, const struct kvr_bootstrap *who)
{
	static const struct net_list usual = {{BLOCK_BYTES}, 1};
	const struct net_list *sizes = o->sizes.count ? &o->sizes : &usual;
	struct output *output = begin(o, who);
	double seconds = 0;

	for (size_t i = 0; i < sizes->count; i++)
		seconds += measure(o, who, sizes->value[i], output);
	output_finish(output, seconds,
		      (double)(kvr_clock_ns() - o->begin_ns) * 1e-9);
}
