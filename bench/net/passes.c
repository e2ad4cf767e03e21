/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/net/passes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/net/ranks.h"
#include "bench/net/samples.h"
#include "runtime/clock.h"

#define PAGE 4096

/* Passes before a planted mistake. */
#define PLANT_AFTER 2

/* One rank's part of one pass. */
struct pass_times {
	double ns, exposed_ns;
};

void passes_check(const struct passes *r, const char *what,
		  enum kvr_status status)
{
	struct kvr_failure failure;

	if (status == KVR_OK)
		return;
	kvr_failure_init(&failure);
	if (r->ring && kvr_ring_get_failure(r->ring, &failure) == KVR_OK &&
	    failure.status != KVR_OK)
		ranks_die(r->who, "%s: %s: %s", what, kvr_status_name(status),
			  failure.text);
	ranks_die(r->who, "%s: %s", what, kvr_status_text(status));
}

/* --------------------------------------------------------------- passes */

static void compute(struct passes *r, const struct kvr_block *block,
		    uint64_t ns)
{
	struct device_fault fault;
	double part = r->options->jitter / 100;

	if (ns)
		ns = device_vary(&r->device, ns, part);
	/* A prev that overwrites does so in a slot. */
	r->device.plant =
		r->options->plant && block->step > 0 && r->pass > PLANT_AFTER;
	if (device_compute(&r->device, block->data, block->origin, r->pass, ns,
			   &fault))
		return;
	ranks_die(r->who,
		  "pass %llu, step %u: the block of rank %u was not what it "
		  "must be at %.0f %% of its compute: %s",
		  (unsigned long long)r->pass, block->step, block->origin,
		  fault.at * 100,
		  fault.check ? "its slot was overwritten"
			      : "it was wrong when it was handed over");
}

static void run_pass(struct passes *r, uint64_t compute_ns,
		     struct pass_times *out)
{
	struct kvr_pass_stats stats;
	struct kvr_pass_desc desc;
	struct kvr_block block;
	struct kvr_pass *pass;
	enum kvr_status status;

	r->pass++;
	device_stamp(&r->device, r->block, r->who->rank, r->pass);
	kvr_pass_desc_init(&desc);
	desc.tag = r->pass;
	desc.lane[0].segments = &r->segment;
	desc.lane[0].segment_count = 1;
	passes_check(r, "kvr_pass_begin",
		     kvr_pass_begin(r->ring, &desc, &pass));
	kvr_block_init(&block);
	while ((status = kvr_pass_next(pass, 0, &block)) == KVR_OK) {
		compute(r, &block, compute_ns);
		passes_check(r, "kvr_pass_release",
			     kvr_pass_release(pass, 0, block.step));
	}
	if (status != KVR_ERR_END)
		passes_check(r, "kvr_pass_next", status);
	passes_check(r, "kvr_pass_end", kvr_pass_end(pass));
	kvr_pass_stats_init(&stats);
	passes_check(r, "kvr_pass_get_stats", kvr_pass_get_stats(pass, &stats));
	out->exposed_ns = (double)stats.exposed_ns;
}

/* Back to back: a pass lasts until the next one begins. */
static void run_passes(struct passes *r, uint64_t compute_ns, uint64_t count,
		       struct pass_times *out)
{
	uint64_t begin_ns = kvr_clock_ns(), end_ns;

	for (uint64_t i = 0; i < count; i++) {
		run_pass(r, compute_ns, &out[i]);
		end_ns = kvr_clock_ns();
		out[i].ns = (double)(end_ns - begin_ns);
		begin_ns = end_ns;
	}
}

static double thread_cpu_ns(void)
{
	struct timespec used;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
	return (double)used.tv_sec * 1e9 + (double)used.tv_nsec;
}

/* ------------------------------------------------------------- findings */

static void find_exposed(const struct pass_times *times, uint64_t count,
			 struct findings *out)
{
	double *parts = calloc(count, sizeof(*parts)), exposed = 0, ns = 0;
	struct samples s;

	if (!parts)
		return;
	for (uint64_t i = 0; i < count; i++) {
		parts[i] = times[i].exposed_ns / times[i].ns;
		exposed += times[i].exposed_ns;
		ns += times[i].ns;
	}
	s = samples_of(parts, count);
	out->exposed = s.typical;
	out->exposed_average = exposed / ns;
	out->exposed_p99 = s.p99;
	for (uint64_t i = 0; i < count; i++)
		parts[i] = times[i].ns;
	out->pass_ns = samples_of(parts, count).typical;
	free(parts);
}

static void keep_worst(struct findings *worst, const struct findings *other)
{
	worst->pass_ns = fmax(worst->pass_ns, other->pass_ns);
	worst->total_ns = fmax(worst->total_ns, other->total_ns);
	worst->exposed = fmax(worst->exposed, other->exposed);
	worst->exposed_average =
		fmax(worst->exposed_average, other->exposed_average);
	worst->exposed_p99 = fmax(worst->exposed_p99, other->exposed_p99);
	worst->late_ns = fmax(worst->late_ns, other->late_ns);
	worst->cpu = fmax(worst->cpu, other->cpu);
}

/* Every rank gets the same. */
static void gather_worst(const struct passes *r, struct findings *mine)
{
	struct findings *all = calloc(r->who->n, sizeof(*all));

	if (!all)
		ranks_die(r->who, "out of memory");
	ranks_gather(r->who, mine, sizeof(*mine), all);
	for (uint32_t i = 0; i < r->who->n; i++)
		keep_worst(mine, &all[i]);
	free(all);
}

struct findings passes_measure(struct passes *r, uint64_t compute_ns,
			       uint64_t warmup, uint64_t count)
{
	uint64_t most = warmup > count ? warmup : count;
	struct pass_times *times = calloc(most, sizeof(*times));
	struct findings found = {0};
	double begin_ns, cpu_ns;

	if (!times)
		ranks_die(r->who, "out of memory");
	run_passes(r, compute_ns, warmup, times);
	r->device.late_ns = 0;
	cpu_ns = thread_cpu_ns();
	begin_ns = (double)kvr_clock_ns();
	run_passes(r, compute_ns, count, times);
	found.total_ns = (double)kvr_clock_ns() - begin_ns;
	found.cpu = (thread_cpu_ns() - cpu_ns) / found.total_ns;
	found.late_ns = (double)r->device.late_ns / (double)(count * r->who->n);
	find_exposed(times, count, &found);
	free(times);
	gather_worst(r, &found);
	return found;
}

/* ----------------------------------------------------------------- ring */

static void open_ring(struct passes *r, uint32_t slots, size_t chunk_bytes,
		      size_t bytes)
{
	struct kvr_ring_options ring;

	kvr_ring_options_init(&ring);
	ring.transport = r->options->transport;
	ring.slots = slots;
	ring.chunk_bytes = chunk_bytes;
	ring.lane[0].slot_bytes = bytes;
	ring.peer_timeout_ms = (uint32_t)(r->options->timeout * 1000);
	passes_check(r, "kvr_ring_open",
		     kvr_ring_open(r->context, r->who, &ring, &r->ring));
}

void passes_open(const struct net_options *options,
		 const struct kvr_bootstrap *who, uint32_t slots,
		 size_t chunk_bytes, size_t bytes, struct passes *out)
{
	struct kvr_context_options context;

	*out = (struct passes){.options = options, .who = who};
	device_init(&out->device, bytes, who->rank);
	kvr_context_options_init(&context);
	context.log = ranks_log;
	if (options->test == NET_PASS && !options->event)
		context.progress = KVR_PROGRESS_CALLER;
	passes_check(out, "kvr_context_open",
		     kvr_context_open(&context, &out->context));
	open_ring(out, slots, chunk_bytes, bytes);
	out->block = aligned_alloc(PAGE, (bytes + PAGE - 1) / PAGE * PAGE);
	if (!out->block)
		ranks_die(who, "no memory for a block of %zu bytes", bytes);
	memset(out->block, (int)who->rank + 1, bytes);
	passes_check(out, "kvr_memory_register",
		     kvr_memory_register(out->context, out->block, bytes,
					 &out->memory));
	out->segment = (struct kvr_segment){out->memory, 0, bytes};
}

void passes_close(struct passes *r)
{
	kvr_ring_close(r->ring);
	kvr_memory_deregister(r->memory);
	kvr_context_close(r->context);
	free(r->block);
}

const char *passes_transport(const struct passes *r)
{
	struct kvr_ring_stats stats;

	kvr_ring_stats_init(&stats);
	passes_check(r, "kvr_ring_get_stats",
		     kvr_ring_get_stats(r->ring, &stats));
	return stats.transport_out;
}
