/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exposed and held time are what the caller sees with a clock of its own.
 * Bounds hold by causality, however slow the machine is: what takes a time
 * that the test chose takes no less, and what happens inside a call takes no
 * longer than the call.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>
#include <pthread.h>

#include "rdma/fake/fake.h"
#include "runtime/clock.h"
#include "runtime/ring.h"
#include "tests/support/ranks.h"

#define BYTES 64
#define HOLD_NS (2 * KVR_NS_PER_MS)

static void pause_ns(uint64_t ns)
{
	const struct timespec t = kvr_clock_timespec(ns);

	nanosleep(&t, NULL);
}

/* ----------------------------------------------------- delay on the way */

/*
 * A clock that goes on only while rank 0 waits for a block, and takes a
 * millisecond for each tick: so a delay of TICKS is as many milliseconds at
 * least in kvr_pass_next, and none of them elsewhere.
 */
#define TICKS 20
#define WAIT_NS (TICKS * KVR_NS_PER_MS)

static _Atomic uint64_t ticks;
static _Thread_local bool waiting;

static uint64_t tick(void *arg)
{
	(void)arg;
	if (!waiting)
		return ticks;
	pause_ns(KVR_NS_PER_MS);
	return ++ticks;
}

struct watch {
	pthread_barrier_t sent; /* the block of rank 1 is on its way */
	uint8_t block[2][BYTES];
};

/* What the caller's own clock says. */
struct measured {
	uint64_t waited_ns, held_ns;
};

static struct kvr_pass *begin(struct rank *rank, struct kvr_memory *memory,
			      uint64_t tag)
{
	struct kvr_segment segment = {memory, 0, BYTES};
	struct kvr_pass_desc desc;
	struct kvr_pass *pass;

	kvr_pass_desc_init(&desc);
	desc.tag = tag;
	desc.lane[0].segments = &segment;
	desc.lane[0].segment_count = 1;
	CHECK_STATUS(kvr_pass_begin(rank->ring, &desc, &pass), KVR_OK);
	return pass;
}

static void take(struct kvr_pass *pass, uint32_t step, struct measured *m)
{
	struct kvr_block block;
	uint64_t before_ns, after_ns;

	kvr_block_init(&block);
	before_ns = kvr_clock_ns();
	CHECK_STATUS(kvr_pass_next(pass, 0, &block), KVR_OK);
	after_ns = kvr_clock_ns();
	m->waited_ns += after_ns - before_ns;
	before_ns = after_ns;
	waiting = false;
	pause_ns(HOLD_NS);
	CHECK_STATUS(kvr_pass_release(pass, 0, step), KVR_OK);
	/* `ready` was taken within next: its call belongs to it. */
	m->held_ns += kvr_clock_ns() - before_ns;
}

static struct kvr_step_stats step_of(const struct kvr_pass *pass, uint32_t step)
{
	struct kvr_step_stats stats;

	kvr_step_stats_init(&stats);
	CHECK_STATUS(kvr_pass_get_step(pass, 0, step, &stats), KVR_OK);
	CHECK(stats.asked_ns <= stats.ready_ns);
	CHECK(stats.ready_ns <= stats.released_ns);
	return stats;
}

static void judge(const struct kvr_pass *pass, const struct measured *m)
{
	struct kvr_step_stats local = step_of(pass, 0),
			      other = step_of(pass, 1);
	uint64_t whole_ns = m->waited_ns + m->held_ns;
	struct kvr_pass_stats stats;

	kvr_pass_stats_init(&stats);
	CHECK_STATUS(kvr_pass_get_stats(pass, &stats), KVR_OK);
	CHECK(other.ready_ns - other.asked_ns >= WAIT_NS);
	CHECK(local.released_ns - local.ready_ns >= HOLD_NS);
	CHECK(other.released_ns - other.ready_ns >= HOLD_NS);
	CHECK(stats.exposed_ns == local.ready_ns - local.asked_ns +
					  other.ready_ns - other.asked_ns);
	CHECK(stats.held_ns == local.released_ns - local.ready_ns +
				       other.released_ns - other.ready_ns);
	CHECK(stats.exposed_ns <= m->waited_ns);
	CHECK(stats.exposed_ns + stats.held_ns <= whole_ns);
	CHECK(stats.exposed_ns + stats.held_ns <= stats.wall_ns);
}

static void watched_pass(struct rank *rank, struct kvr_memory *memory,
			 uint64_t tag)
{
	struct measured m = {0, 0};
	struct watch *watch = rank->arg;
	struct kvr_pass *pass;

	if (rank->rank == 0)
		pthread_barrier_wait(&watch->sent);
	pass = begin(rank, memory, tag);
	if (rank->rank == 1)
		pthread_barrier_wait(&watch->sent);
	take(pass, 0, &m);
	waiting = rank->rank == 0;
	take(pass, 1, &m);
	if (rank->rank == 0)
		judge(pass, &m);
	CHECK_STATUS(kvr_pass_end(pass), KVR_OK);
}

static void watched(struct rank *rank)
{
	struct watch *watch = rank->arg;
	struct kvr_memory *memory;

	CHECK_STATUS(rank->opened, KVR_OK);
	CHECK_STATUS(kvr_memory_register(rank->context,
					 watch->block[rank->rank], BYTES,
					 &memory),
		     KVR_OK);
	for (uint64_t tag = 1; tag <= 3; tag++)
		watched_pass(rank, memory, tag);
	kvr_memory_deregister(memory);
}

static void exposed_time_is_what_next_waited(void **state)
{
	const struct kvr_fake_script script = {.now = tick,
					       .delay_min_ns = TICKS,
					       .delay_max_ns = TICKS,
					       .slow_rank = KVR_RANK_NONE};
	struct watch watch;
	struct ranks ranks;

	(void)state;
	ranks_init(&ranks, 2);
	ranks.transport = "fake";
	ranks.progress = KVR_PROGRESS_CALLER;
	ranks.body = watched;
	ranks.arg = &watch;
	pthread_barrier_init(&watch.sent, NULL, 2);
	kvr_fake_set_script(&script);
	ranks_run(&ranks);
	kvr_fake_set_script(NULL);
	pthread_barrier_destroy(&watch.sent);
}

/* ----------------------------------------------------- a lock that is held */

#define LOCKED_NS (50 * KVR_NS_PER_MS)
#define TRIES 20

struct holder {
	struct kvr_ring *ring;
	atomic_bool holds;
};

static void *hold(void *arg)
{
	struct holder *holder = arg;

	pthread_mutex_lock(&holder->ring->lock);
	atomic_store(&holder->holds, true);
	pause_ns(LOCKED_NS);
	pthread_mutex_unlock(&holder->ring->lock);
	return NULL;
}

/* Whether next, called while the lock was held, says that it waited. */
static bool waits_and_says_so(struct rank *rank, struct kvr_memory *memory,
			      uint64_t tag)
{
	struct holder holder = {.ring = rank->ring};
	struct kvr_pass *pass = begin(rank, memory, tag);
	struct measured m = {0, 0};
	struct kvr_step_stats stats;
	pthread_t thread;

	CHECK(pthread_create(&thread, NULL, hold, &holder) == 0);
	while (!atomic_load(&holder.holds))
		pause_ns(10000);
	take(pass, 0, &m);
	pthread_join(thread, NULL);
	stats = step_of(pass, 0);
	CHECK_STATUS(kvr_pass_end(pass), KVR_OK);
	return stats.ready_ns - stats.asked_ns >= LOCKED_NS / 2;
}

static void locked_out(struct rank *rank)
{
	static uint8_t block[BYTES];
	struct kvr_memory *memory;
	uint64_t tag = 1;

	CHECK_STATUS(rank->opened, KVR_OK);
	CHECK_STATUS(kvr_memory_register(rank->context, block, BYTES, &memory),
		     KVR_OK);
	/* A machine that is busy may let us come when it is free again. */
	while (!waits_and_says_so(rank, memory, tag))
		CHECK(++tag <= TRIES);
	kvr_memory_deregister(memory);
}

static void exposed_time_counts_the_wait_for_the_lock(void **state)
{
	struct ranks ranks;

	(void)state;
	ranks_init(&ranks, 1);
	ranks.body = locked_out;
	ranks_run(&ranks);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(exposed_time_is_what_next_waited),
		cmocka_unit_test(exposed_time_counts_the_wait_for_the_lock),
	};

	return cmocka_run_group_tests_name("exposed", tests, NULL, NULL);
}
