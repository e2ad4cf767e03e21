/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A rank that leaves while its next does not listen: what it sent fills the
 * room for events, to the last place or not quite, and its farewell must be
 * heard all the same. And the last one to leave, for whom nothing comes any
 *more. ring_leave [TRANSPORT...]	the last one alone, over these
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>
#include <pthread.h>
#include <sched.h>

#include "rdma/fake/endpoint.h"
#include "rdma/shm/ring.h"
#include "runtime/clock.h"
#include "tests/support/stamped.h"

#define CHUNK 64

/*
 * The late rank listens again when the other has left, or after so long:
 * with more chunks than there is room for it waits for that.
 */
#define LATE_NS (100 * KVR_NS_PER_MS)

struct farewell {
	size_t chunks; /* of the block of rank 0 */
	pthread_barrier_t deaf;
	atomic_bool left;
};

static struct kvr_pass *begin(struct rank *rank, const struct sender *sender,
			      size_t bytes)
{
	struct kvr_segment segment = {sender->memory, 0, bytes};
	struct kvr_pass_desc desc;
	struct kvr_pass *pass;

	kvr_pass_desc_init(&desc);
	desc.tag = 1;
	desc.lane[0].segments = &segment;
	desc.lane[0].segment_count = 1;
	CHECK_STATUS(kvr_pass_begin(rank->ring, &desc, &pass), KVR_OK);
	return pass;
}

static void finish(struct kvr_pass *pass)
{
	struct kvr_block block;

	kvr_block_init(&block);
	for (uint32_t step = 0; step < 2; step++) {
		CHECK_STATUS(kvr_pass_next(pass, 0, &block), KVR_OK);
		CHECK_STATUS(kvr_pass_release(pass, 0, step), KVR_OK);
	}
	CHECK_STATUS(kvr_pass_next(pass, 0, &block), KVR_ERR_END);
	CHECK_STATUS(kvr_pass_end(pass), KVR_OK);
}

static void be_late(struct farewell *farewell)
{
	const struct timespec moment = {.tv_nsec = 1000000};
	uint64_t deadline_ns = kvr_clock_ns() + LATE_NS;

	pthread_barrier_wait(&farewell->deaf);
	while (!atomic_load(&farewell->left) && kvr_clock_ns() < deadline_ns)
		nanosleep(&moment, NULL);
}

/* One chunk, so that all of it is out before rank 0 listens. */
static void late(struct rank *rank, struct sender *sender)
{
	struct kvr_ring_stats stats = {.bytes_sent = 0};
	struct kvr_pass *pass = begin(rank, sender, CHUNK);

	while (stats.bytes_sent < CHUNK) {
		enum kvr_status status = kvr_ring_progress(rank->ring);

		CHECK(status == KVR_OK || status == KVR_ERR_AGAIN);
		kvr_ring_stats_init(&stats);
		CHECK_STATUS(kvr_ring_get_stats(rank->ring, &stats), KVR_OK);
	}
	be_late(rank->arg);
	finish(pass);
}

static void leave(struct rank *rank, struct sender *sender)
{
	struct farewell *farewell = rank->arg;

	pthread_barrier_wait(&farewell->deaf);
	finish(begin(rank, sender, farewell->chunks * CHUNK));
	kvr_ring_close(rank->ring);
	rank->ring = NULL;
	atomic_store(&farewell->left, true);
}

static void body(struct rank *rank)
{
	struct sender sender;

	CHECK_STATUS(rank->opened, KVR_OK);
	sender_open(&sender, rank);
	if (rank->rank == 1)
		late(rank, &sender);
	else
		leave(rank, &sender);
	sender_close(&sender);
}

/* Chunks, a descriptor and a few signals that fill `room` about to the end. */
static void around(const char *transport, size_t room)
{
	struct farewell farewell;
	struct ranks ranks;

	ranks_init(&ranks, 2);
	ranks.transport = transport;
	ranks.progress = KVR_PROGRESS_CALLER;
	ranks.options.chunk_bytes = CHUNK;
	ranks.body = body;
	ranks.arg = &farewell;
	pthread_barrier_init(&farewell.deaf, NULL, 2);
	for (size_t less = 0; less <= 3; less++) {
		farewell.chunks = room - less;
		atomic_init(&farewell.left, false);
		ranks_run(&ranks);
	}
	pthread_barrier_destroy(&farewell.deaf);
}

static void farewell_to_a_deaf_next_is_heard(void **state)
{
	(void)state;
	around("shm", SHM_RING_ROOM);
	around("shm", SHM_RING_ENTRIES);
	around("fake", FAKE_INBOX - FAKE_FAREWELL);
	around("fake", FAKE_INBOX);
}

/* Another looks so often between the last one's end and its own. */
struct last {
	unsigned looks;
	atomic_bool left;
};

static void leave_in_turn(struct rank *rank)
{
	struct last *last = rank->arg;
	uint64_t begun_ns;

	CHECK_STATUS(rank->opened, KVR_OK);
	while (rank->rank == 1 && !atomic_load(&last->left))
		sched_yield();
	for (unsigned i = 0; rank->rank == 1 && i < last->looks; i++)
		(void)!kvr_ring_progress(rank->ring);
	begun_ns = kvr_clock_ns();
	kvr_ring_close(rank->ring);
	rank->ring = NULL;
	/* wait_timeout_ms is a minute. */
	CHECK(kvr_clock_ns() - begun_ns < UINT64_C(20000000000));
	if (rank->rank == 0)
		atomic_store(&last->left, true);
}

static void leave_over(const char *transport)
{
	struct last last;
	struct ranks ranks;

	for (last.looks = 0; last.looks < 5; last.looks++) {
		ranks_init(&ranks, 2);
		ranks.transport = transport;
		ranks.progress = KVR_PROGRESS_CALLER;
		ranks.body = leave_in_turn;
		ranks.arg = &last;
		atomic_init(&last.left, false);
		ranks_run(&ranks);
	}
}

static char **given; /* transports */

static void last_to_leave_waits_for_nobody(void **state)
{
	(void)state;
	for (char **transport = given; *transport; transport++)
		leave_over(*transport);
	if (*given)
		return;
	leave_over("shm");
	leave_over("fake");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest over[] = {
		cmocka_unit_test(last_to_leave_waits_for_nobody),
	};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(farewell_to_a_deaf_next_is_heard),
		cmocka_unit_test(last_to_leave_waits_for_nobody),
	};

	given = argv + 1;
	if (argc > 1)
		return cmocka_run_group_tests_name("leave", over, NULL, NULL);
	return cmocka_run_group_tests_name("leave", tests, NULL, NULL);
}
