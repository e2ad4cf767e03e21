/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the progress thread costs while the device computes and nothing is
 * under way: every rank holds the last block of a pass for a second, as a
 * GPU would, and no thread but progress runs. Its own CPU time is the figure,
 * heartbeats included; the median of a few such seconds is judged, for on a
 * busy machine a thread of an emulated processor is charged for others.
 *
 *	rdma_idle TRANSPORT...
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "runtime/clock.h"
#include "runtime/ring.h"
#include "tests/support/stamped.h"

#define RANKS 3
#define SECONDS 5
#define LIMIT_NS (20 * KVR_NS_PER_MS) /* 2 % of a core */

struct watch {
	pthread_barrier_t barrier;
	uint64_t used_ns[RANKS][SECONDS];
	uint64_t wake_ups[RANKS];
};

static uint64_t thread_ns(const struct rank *rank)
{
	struct timespec t;
	clockid_t clock;

	CHECK(pthread_getcpuclockid(rank->context->thread.thread, &clock) == 0);
	CHECK(clock_gettime(clock, &t) == 0);
	return (uint64_t)t.tv_sec * KVR_NS_PER_S + (uint64_t)t.tv_nsec;
}

static uint64_t sleeps(struct rank *rank)
{
	struct kvr_ring_stats stats;

	kvr_ring_stats_init(&stats);
	CHECK_STATUS(kvr_ring_get_stats(rank->ring, &stats), KVR_OK);
	return stats.sleeps;
}

/* The device computes on a block that all have: nothing moves. */
static void compute(struct rank *rank, uint32_t second)
{
	struct watch *watch = rank->arg;
	const struct timespec one = kvr_clock_timespec(KVR_NS_PER_S);
	const struct timespec still = kvr_clock_timespec(50 * KVR_NS_PER_MS);
	uint64_t before, slept;

	pthread_barrier_wait(&watch->barrier);
	nanosleep(&still, NULL); /* credits and acknowledgements arrive */
	before = thread_ns(rank);
	slept = sleeps(rank);
	nanosleep(&one, NULL);
	watch->used_ns[rank->rank][second] = thread_ns(rank) - before;
	watch->wake_ups[rank->rank] += sleeps(rank) - slept;
	pthread_barrier_wait(&watch->barrier);
}

static void body(struct rank *rank)
{
	struct kvr_block block;
	struct sender sender;

	CHECK_STATUS(rank->opened, KVR_OK);
	sender_open(&sender, rank);
	for (uint32_t second = 0; second < SECONDS; second++) {
		struct kvr_pass *pass =
			stamped_begin(rank, &sender, second + 1, 1);

		stamped_take(rank, pass, second + 1, rank->n - 1, 0);
		kvr_block_init(&block);
		CHECK_STATUS(kvr_pass_next(pass, 0, &block), KVR_OK);
		compute(rank, second);
		CHECK_STATUS(kvr_pass_release(pass, 0, block.step), KVR_OK);
		CHECK_STATUS(kvr_pass_end(pass), KVR_OK);
	}
	sender_close(&sender);
}

static int compare(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* True: no rank's progress thread used more than it may. */
static bool judge(struct watch *watch, const char *transport)
{
	bool good = true;

	for (uint32_t rank = 0; rank < RANKS; rank++) {
		uint64_t *used = watch->used_ns[rank];

		qsort(used, SECONDS, sizeof(*used), compare);
		printf("%-14s rank %u: progress thread %.2f %% of a core "
		       "(%.2f to %.2f), %.1f wake-ups a second\n",
		       transport, rank, (double)used[SECONDS / 2] / 1e7,
		       (double)used[0] / 1e7, (double)used[SECONDS - 1] / 1e7,
		       (double)watch->wake_ups[rank] / SECONDS);
		good &= used[SECONDS / 2] < LIMIT_NS;
	}
	return good;
}

static bool run(const char *transport)
{
	static struct watch watch;
	struct kvr_ring_options defaults;
	struct ranks ranks;
	bool good;

	watch = (struct watch){.used_ns = {{0}}};
	pthread_barrier_init(&watch.barrier, NULL, RANKS);
	ranks_init(&ranks, RANKS);
	/* The heartbeats that a caller gets who asks for nothing. */
	kvr_ring_options_init(&defaults);
	ranks.options.peer_timeout_ms = defaults.peer_timeout_ms;
	ranks.options.heartbeat_ms = defaults.heartbeat_ms;
	ranks.transport = transport;
	ranks.body = body;
	ranks.arg = &watch;
	ranks_run(&ranks);
	pthread_barrier_destroy(&watch.barrier);
	good = judge(&watch, transport);
	if (!good)
		printf("FAILED: over %s it takes 2 %% or more\n", transport);
	return good;
}

int main(int argc, char **argv)
{
	bool good = argc > 1;

	for (int i = 1; i < argc; i++)
		good &= run(argv[i]);
	return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
