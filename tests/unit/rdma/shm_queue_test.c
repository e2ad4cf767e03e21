/* SPDX-License-Identifier: Apache-2.0 */
/* The sender's queue and the ring of immediates, without any socket. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "rdma/shm/endpoint.h"

struct fixture {
	struct shm_ring ring;
	struct shm_queue queue;
	struct shm_producer producer;
	struct shm_consumer consumer;
	uint8_t target[1000];
};

/* Both indexes begin where they soon wrap. */
static struct fixture *fixture_new(uint32_t index)
{
	struct fixture *f = aligned_alloc(64, (sizeof(*f) + 63) / 64 * 64);

	assert_non_null(f);
	memset(f, 0, sizeof(*f));
	f->producer = (struct shm_producer){&f->ring, index};
	f->consumer = (struct shm_consumer){&f->ring, index};
	atomic_store(&f->ring.head, index);
	atomic_store(&f->ring.tail, index);
	return f;
}

static bool post_signal(struct fixture *f, uint32_t imm)
{
	struct shm_item *item = shm_queue_reserve(&f->queue, false, true);

	if (item)
		item->imm = imm;
	return item != NULL;
}

static bool post_write(struct fixture *f, const struct kvr_piece *piece,
		       uint32_t imm)
{
	struct shm_item *item = shm_queue_reserve(&f->queue, true, false);

	if (!item)
		return false;
	item->imm = imm;
	item->cookie = imm;
	item->target = f->target;
	item->left = piece->bytes;
	item->gather = (struct kvr_gather){.piece = piece};
	return true;
}

static uint32_t take(struct fixture *f)
{
	uint32_t imm;

	assert_true(shm_consumer_used(&f->consumer) > 0);
	imm = shm_consumer_peek(&f->consumer, 0);
	shm_consumer_advance(&f->consumer, 1);
	return imm;
}

static void ring_index_that_wraps_keeps_order(void **state)
{
	struct fixture *f = fixture_new(UINT32_MAX - 500);
	bool wake;

	(void)state;
	for (uint32_t i = 0; i < 5000; i++) {
		assert_true(post_signal(f, i));
		assert_int_equal(
			shm_queue_run(&f->queue, &f->producer, 0, &wake),
			SHM_IDLE);
		if (i >= 700)
			assert_int_equal(take(f), i - 700);
	}
	free(f);
}

static void ring_that_is_full_stops_the_queue_and_goes_on(void **state)
{
	struct fixture *f = fixture_new(UINT32_MAX - 10);
	bool wake;

	(void)state;
	for (uint32_t i = 0; i < SHM_RING_ROOM; i++) {
		assert_true(post_signal(f, i));
		shm_queue_run(&f->queue, &f->producer, 0, &wake);
	}
	assert_true(post_signal(f, SHM_RING_ROOM));
	assert_int_equal(shm_queue_run(&f->queue, &f->producer, 0, &wake),
			 SHM_FULL);
	assert_int_equal(f->queue.count, 1);
	assert_int_equal(take(f), 0);
	assert_int_equal(shm_queue_run(&f->queue, &f->producer, 0, &wake),
			 SHM_IDLE);
	for (uint32_t i = 1; i <= SHM_RING_ROOM; i++)
		assert_int_equal(take(f), i);
	free(f);
}

/* A BYE behind a full ring arrives although nobody reads any more. */
static void farewell_to_a_full_ring_arrives(void **state)
{
	struct fixture *f = fixture_new(0);
	bool wake;

	(void)state;
	for (uint32_t i = 0; i < SHM_RING_ROOM; i++) {
		assert_true(post_signal(f, i));
		shm_queue_run(&f->queue, &f->producer, 0, &wake);
	}
	for (uint32_t i = 0; i < SHM_QUEUE; i++)
		assert_true(post_signal(f, SHM_RING_ROOM + i));
	assert_int_equal(shm_queue_run(&f->queue, &f->producer, 0, &wake),
			 SHM_FULL);
	shm_queue_farewell(&f->queue, &f->producer);
	assert_int_equal(f->queue.count, 0);
	for (uint32_t i = 0; i < SHM_RING_ROOM + SHM_QUEUE; i++)
		assert_int_equal(take(f), i);
	free(f);
}

/* Whatever the other side writes over its index, nothing is touched. */
static void ring_with_impossible_index_is_corrupt(void **state)
{
	static const uint32_t lies[] = {1, 2, 1000, 1u << 31,
					UINT32_MAX - 2000};
	bool wake;

	(void)state;
	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		struct fixture *f = fixture_new(0);

		assert_true(post_signal(f, 1));
		atomic_store(&f->ring.tail, lies[i]);
		assert_int_equal(
			shm_queue_run(&f->queue, &f->producer, 0, &wake),
			SHM_CORRUPT);
		assert_int_equal(atomic_load(&f->ring.head), 0);
		atomic_store(&f->ring.head, UINT32_MAX - lies[i]);
		assert_true(shm_consumer_used(&f->consumer) > SHM_RING_ENTRIES);
		free(f);
	}
}

static void queue_with_a_budget_copies_no_more(void **state)
{
	struct fixture *f = fixture_new(0);
	uint8_t source[1000];
	const struct kvr_piece piece = {source, sizeof(source), NULL};
	bool wake;

	(void)state;
	memset(source, 0x5a, sizeof(source));
	assert_true(post_write(f, &piece, 7));
	for (size_t done = 0; done < 900; done += 300) {
		assert_int_equal(
			shm_queue_run(&f->queue, &f->producer, 300, &wake),
			SHM_MORE);
		assert_int_equal(f->target[done + 299], 0x5a);
		assert_int_equal(f->target[done + 300], 0);
		/* Not before the last byte. */
		assert_int_equal(shm_consumer_used(&f->consumer), 0);
	}
	assert_int_equal(shm_queue_run(&f->queue, &f->producer, 300, &wake),
			 SHM_IDLE);
	assert_memory_equal(f->target, source, sizeof(source));
	assert_int_equal(take(f), 7);
	free(f);
}

static void queue_of_unreported_writes_is_full_until_popped(void **state)
{
	struct fixture *f = fixture_new(0);
	const struct kvr_piece piece = {"x", 1, NULL};
	struct kvr_event event;
	bool wake;

	(void)state;
	for (uint32_t i = 0; i < SHM_WRITES; i++)
		assert_true(post_write(f, &piece, i));
	assert_false(post_write(f, &piece, 0));
	assert_true(post_signal(f, 0));
	shm_queue_run(&f->queue, &f->producer, 1000, &wake);
	assert_int_equal(f->queue.count, 0);
	assert_false(post_write(f, &piece, 0));
	for (uint32_t i = 0; i < 3 * SHM_WRITES; i++) {
		assert_int_equal(shm_queue_pop_sent(&f->queue, &event, 1), 1);
		assert_int_equal(event.kind, KVR_EVENT_SENT);
		assert_int_equal(event.cookie, i);
		assert_true(post_write(f, &piece, i + SHM_WRITES));
		shm_queue_run(&f->queue, &f->producer, 1000, &wake);
	}
	free(f);
}

static void queue_of_others_leaves_room_for_signals(void **state)
{
	struct fixture *f = fixture_new(0);
	uint32_t described = 0, signals = 0;

	(void)state;
	while (shm_queue_reserve(&f->queue, false, false))
		described++;
	while (post_signal(f, 0))
		signals++;
	assert_int_equal(described, SHM_QUEUE - SHM_SIGNALS);
	assert_int_equal(signals, SHM_SIGNALS);
	free(f);
}

static void push_wakes_only_who_is_armed_and_once(void **state)
{
	struct fixture *f = fixture_new(0);

	(void)state;
	assert_false(shm_producer_push(&f->producer, 1));
	assert_false(shm_consumer_arm(&f->consumer)); /* not empty */
	take(f);
	assert_false(shm_producer_push(&f->producer, 2)); /* arm was undone */
	take(f);
	assert_true(shm_consumer_arm(&f->consumer));
	assert_true(shm_producer_push(&f->producer, 3));
	assert_false(shm_producer_push(&f->producer, 4));
	free(f);
}

static void advance_wakes_only_who_starves_and_once(void **state)
{
	struct fixture *f = fixture_new(0);

	(void)state;
	assert_false(shm_producer_starve(&f->producer)); /* there is room */
	for (uint32_t i = 0; i < SHM_RING_ROOM; i++)
		shm_producer_push(&f->producer, i);
	assert_false(shm_consumer_advance(&f->consumer, 1));
	shm_producer_push(&f->producer, 0);
	assert_true(shm_producer_starve(&f->producer));
	assert_true(shm_consumer_advance(&f->consumer, 1));
	assert_false(shm_consumer_advance(&f->consumer, 1));
	free(f);
}

/* ---------------------------------------------------------- both at once */

/* So many, or what a busy machine does in so much time. */
#define RACES 50000u
#define RACE_SECONDS 5

struct race {
	struct fixture *fixture;
	_Atomic bool rung, over;
	_Atomic uint32_t taken;
};

static void *push_all(void *arg)
{
	struct race *race = arg;

	for (uint32_t i = 0; i < RACES; i++) {
		for (uint32_t n = 0; atomic_load(&race->taken) != i; n++)
			if (n > 1000)
				sched_yield();
		if (atomic_load(&race->over))
			break;
		if (shm_producer_push(&race->fixture->producer, i))
			atomic_store(&race->rung, true);
	}
	return NULL;
}

/* Asleep until rung; false: an immediate lay there and nobody rang. */
static bool sleep_well(struct race *race)
{
	for (uint32_t i = 0; i < 3000000; i++) {
		if (atomic_exchange(&race->rung, false))
			return true;
		if (i > 1000)
			sched_yield();
	}
	return false;
}

static void arm_amid_pushes_loses_no_wake_up(void **state)
{
	struct race race = {.fixture = fixture_new(0)};
	time_t end = time(NULL) + RACE_SECONDS;
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, push_all, &race), 0);
	for (uint32_t i = 0; i < RACES && !race.over; i++) {
		/* About as long as the push takes to come, or not quite. */
		for (volatile uint32_t wait = i % 256; wait > 0; wait--)
			;
		/* A bell that rings late is no harm: look, and arm again. */
		while (shm_consumer_used(&race.fixture->consumer) == 0)
			if (shm_consumer_arm(&race.fixture->consumer) &&
			    !sleep_well(&race))
				fail_msg("wake-up %u was lost", i);
		assert_int_equal(take(race.fixture), i);
		atomic_store(&race.over, time(NULL) > end);
		atomic_store(&race.taken, i + 1);
	}
	pthread_join(thread, NULL);
	free(race.fixture);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ring_index_that_wraps_keeps_order),
		cmocka_unit_test(ring_that_is_full_stops_the_queue_and_goes_on),
		cmocka_unit_test(farewell_to_a_full_ring_arrives),
		cmocka_unit_test(ring_with_impossible_index_is_corrupt),
		cmocka_unit_test(queue_with_a_budget_copies_no_more),
		cmocka_unit_test(
			queue_of_unreported_writes_is_full_until_popped),
		cmocka_unit_test(queue_of_others_leaves_room_for_signals),
		cmocka_unit_test(push_wakes_only_who_is_armed_and_once),
		cmocka_unit_test(advance_wakes_only_who_starves_and_once),
		cmocka_unit_test(arm_amid_pushes_loses_no_wake_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
