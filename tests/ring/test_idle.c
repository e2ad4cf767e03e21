/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who has nothing to do sleeps, and wakes at once when there is something.
 * Bounds are far from what is normal on both sides: a spinning thread uses a
 * whole core, a lost wake-up costs the second that a sleep may last.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "runtime/clock.h"
#include "tests/support/stamped.h"

#define WATCHED_NS (500 * KVR_NS_PER_MS)
#define BUSY_NS (150 * KVR_NS_PER_MS)
#define LOST_NS (900 * KVR_NS_PER_MS)
#define PASSES 400
#define STARVED_MAX 4 /* passes that a busy machine may keep waiting */

static uint64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * KVR_NS_PER_S + (uint64_t)t.tv_nsec;
}

static void pause_ns(uint64_t ns)
{
	const struct timespec t = kvr_clock_timespec(ns);

	nanosleep(&t, NULL);
}

/* CPU time of the whole process while nobody does anything. */
static void watch(void)
{
	uint64_t before;

	pause_ns(100 * KVR_NS_PER_MS); /* let what just happened be over */
	before = cpu_ns();
	pause_ns(WATCHED_NS);
	CHECK(cpu_ns() - before < BUSY_NS);
}

static void all_idle(struct rank *rank)
{
	CHECK_STATUS(rank->opened, KVR_OK);
	if (rank->rank == 0)
		watch();
}

/* The others leave at once. */
static void left_alone(struct rank *rank)
{
	CHECK_STATUS(rank->opened, KVR_OK);
	if (rank->rank == 1)
		watch();
}

static void after_failure(struct rank *rank)
{
	CHECK_STATUS(rank->opened, KVR_OK);
	if (rank->rank == 0)
		kvr_ring_abort(rank->ring);
	watch();
}

/* Pauses of any length around that after which progress falls asleep. */
static void wakes_at_once(struct rank *rank)
{
	struct sender sender;
	uint32_t slow = 0;

	CHECK_STATUS(rank->opened, KVR_OK);
	sender_open(&sender, rank);
	for (uint64_t tag = 1; tag <= PASSES; tag++) {
		uint64_t begin_ns = kvr_clock_ns();
		struct kvr_pass *pass = stamped_begin(rank, &sender, tag, 1);

		stamped_take(rank, pass, tag, rank->n, 0);
		CHECK_STATUS(kvr_pass_end(pass), KVR_OK);
		slow += kvr_clock_ns() - begin_ns >= LOST_NS;
		CHECK(slow <= STARVED_MAX);
		pause_ns(tag * 7919 % 200000);
	}
	sender_close(&sender);
}

static void run(void (*body)(struct rank *), uint32_t n)
{
	struct ranks ranks;

	ranks_init(&ranks, n);
	ranks.transport = "shm";
	ranks.body = body;
	ranks_run(&ranks);
}

static void progress_idle_ring_sleeps(void **state)
{
	(void)state;
	run(all_idle, 3);
}

static void progress_after_neighbours_left_sleeps(void **state)
{
	(void)state;
	run(left_alone, 2);
	run(left_alone, 3);
}

static void progress_after_failure_sleeps(void **state)
{
	(void)state;
	run(after_failure, 3);
}

static void progress_work_after_sleep_wakes(void **state)
{
	(void)state;
	run(wakes_at_once, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(progress_idle_ring_sleeps),
		cmocka_unit_test(progress_after_neighbours_left_sleeps),
		cmocka_unit_test(progress_after_failure_sleeps),
		cmocka_unit_test(progress_work_after_sleep_wakes),
	};

	return cmocka_run_group_tests_name("idle", tests, NULL, NULL);
}
