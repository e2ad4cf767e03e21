/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random schedules of the real engine over the fake transport. Each must end
 * as it should, with every block intact, and leave a trace that the rules of
 * the model accept.
 *
 *	test_schedules [COUNT [FIRST_SEED [dump]]]
 */
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/support/sim.h"

#define COUNT 10000

static const char *const fault_names[KVR_SIM_FAULTS] = {
	[KVR_SIM_NONE] = "none",   [KVR_SIM_CANCEL] = "cancel",
	[KVR_SIM_KILL] = "kill",   [KVR_SIM_FREEZE] = "freeze",
	[KVR_SIM_ABORT] = "abort", [KVR_SIM_MISMATCH] = "mismatch",
};

struct totals {
	uint64_t schedules[KVR_SIM_FAULTS];
	uint64_t blocks, events, cancelled, failed;
};

static void dump(const struct kvr_trace *trace)
{
	for (size_t i = 0; i < trace->count; i++) {
		const struct kvr_trace_event *e = &trace->events[i];

		printf("%4zu rank %u %-11s lane %u  %" PRIu64 " %" PRIu64
		       " %" PRIu64 " %" PRIu64 "\n",
		       i, e->rank, kvr_trace_kind_name(e->kind), e->lane, e->a,
		       e->b, e->c, e->d);
	}
}

static bool one(uint64_t seed, bool verbose, struct totals *totals)
{
	struct kvr_sim_result result;
	char why[256] = "";
	bool accepted;

	kvr_sim_run(seed, &result);
	accepted = kvr_trace_accept(&result.trace, why, sizeof(why));
	totals->schedules[result.fault]++;
	totals->blocks += result.blocks_taken;
	totals->events += result.events;
	totals->cancelled += result.cancelled;
	totals->failed += result.failed;
	if (verbose || !result.ok || !accepted)
		printf("seed %" PRIu64 ": n %u, lanes %u, slots %u, fault %s\n",
		       seed, result.trace.n, result.trace.lanes,
		       result.trace.slots, fault_names[result.fault]);
	if (verbose)
		dump(&result.trace);
	if (!result.ok)
		printf("  schedule: %s\n", result.why);
	if (!accepted)
		printf("  trace: %s\n", why);
	return result.ok && accepted;
}

/* A run in which nothing of a kind happened proves nothing about it. */
static bool covered(const struct totals *totals, uint64_t count)
{
	if (count < 1000)
		return true;
	for (int i = 0; i < KVR_SIM_FAULTS; i++)
		if (totals->schedules[i] < count / 100) {
			printf("only %" PRIu64 " schedules with fault %s\n",
			       totals->schedules[i], fault_names[i]);
			return false;
		}
	return totals->cancelled > 0 && totals->failed > 0;
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

int main(int argc, char **argv)
{
	uint64_t count = argc > 1 ? strtoull(argv[1], NULL, 0) : COUNT;
	uint64_t first = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
	bool verbose = argc > 3 && !strcmp(argv[3], "dump");
	struct totals totals = {0};
	double start = seconds();
	bool ok = true;

	/* Each schedule opens a ring: its memory need not go to the kernel. */
	mallopt(M_MMAP_THRESHOLD, 64 << 20);
	mallopt(M_TRIM_THRESHOLD, 256 << 20);
	for (uint64_t i = 0; ok && i < count; i++)
		ok = one(first + i, verbose, &totals);
	kvr_sim_fini();
	printf("%" PRIu64 " schedules, %" PRIu64 " blocks taken, %" PRIu64
	       " events, %" PRIu64 " cancelled ends, %" PRIu64
	       " failed ranks; %.0f schedules/s\n",
	       count, totals.blocks, totals.events, totals.cancelled,
	       totals.failed, (double)count / (seconds() - start));
	for (int i = 0; i < KVR_SIM_FAULTS; i++)
		printf("  %-8s %" PRIu64 "\n", fault_names[i],
		       totals.schedules[i]);
	return ok && covered(&totals, count) ? 0 : 1;
}
