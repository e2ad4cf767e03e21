/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of rings: two in one context, one left early, one that stalls, one
 * reopened with a replacement. Each rank sends a word of its own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/ranks.h"

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

struct sender {
	uint64_t word;
	struct kvr_memory *memory;
};

static void sender_open(struct sender *s, struct kvr_context *context)
{
	CHECK_STATUS(kvr_memory_register(context, &s->word, sizeof(s->word),
					 &s->memory),
		     KVR_OK);
}

static enum kvr_status try_begin(struct kvr_ring *ring, struct sender *s,
				 uint64_t tag, struct kvr_pass **out)
{
	struct kvr_segment segment = {s->memory, 0, sizeof(s->word)};
	struct kvr_pass_desc desc;

	s->word = tag * 1000 + kvr_ring_rank(ring);
	kvr_pass_desc_init(&desc);
	desc.tag = tag;
	desc.lane[0].segments = &segment;
	desc.lane[0].segment_count = 1;
	return kvr_pass_begin(ring, &desc, out);
}

static struct kvr_pass *begin(struct kvr_ring *ring, struct sender *s,
			      uint64_t tag)
{
	struct kvr_pass *pass;

	CHECK_STATUS(try_begin(ring, s, tag, &pass), KVR_OK);
	return pass;
}

/* Takes blocks until none comes; every one that comes must be right. */
static enum kvr_status take(struct kvr_pass *pass, uint64_t tag)
{
	struct kvr_block block;
	enum kvr_status status;

	kvr_block_init(&block);
	while ((status = kvr_pass_next(pass, 0, &block)) == KVR_OK) {
		CHECK(block.bytes == sizeof(uint64_t));
		CHECK(*(uint64_t *)block.data == tag * 1000 + block.origin);
		status = kvr_pass_release(pass, 0, block.step);
		if (status != KVR_OK)
			break;
	}
	return status;
}

static void whole_pass(struct kvr_ring *ring, struct sender *s, uint64_t tag)
{
	struct kvr_pass *pass = begin(ring, s, tag);

	CHECK_STATUS(take(pass, tag), KVR_ERR_END);
	CHECK_STATUS(kvr_pass_end(pass), KVR_OK);
}

/*
 * A pass that all ranks are through with: what one of them does next cannot
 * disturb another in it.
 */
static void whole_pass_of_all(struct rank *rank, struct sender *s, uint64_t tag)
{
	const struct kvr_bootstrap *b = &rank->bootstrap;
	char all[16];

	whole_pass(rank->ring, s, tag);
	CHECK(b->allgather(b->arg, "", 1, all) == 0);
}

/* A pass in which the ring fails, for a late rank before it begins. */
static void failing_pass(struct kvr_ring *ring, struct sender *s, uint64_t tag,
			 enum kvr_status expected)
{
	struct kvr_pass *pass;
	enum kvr_status status = try_begin(ring, s, tag, &pass);

	if (status == KVR_OK) {
		CHECK_STATUS(take(pass, tag), expected);
		status = kvr_pass_end(pass);
	}
	CHECK_STATUS(status, expected);
}

static void blames(struct kvr_ring *ring, enum kvr_status status, uint32_t rank)
{
	struct kvr_failure failure;

	kvr_failure_init(&failure);
	CHECK_STATUS(kvr_ring_get_failure(ring, &failure), KVR_OK);
	CHECK(failure.status == status && failure.rank == rank);
	CHECK(strlen(failure.text) > 0);
}

#define PEER_TIMEOUT_MS 2000

static void over(uint32_t n, void (*body)(struct rank *),
		 enum kvr_progress progress)
{
	struct ranks ranks;

	ranks_init(&ranks, n);
	ranks.transport = "shm";
	ranks.progress = progress;
	ranks.options.peer_timeout_ms = PEER_TIMEOUT_MS;
	ranks.body = body;
	ranks_run(&ranks);
}

/* --------------------------------------------------------------- bodies */

static void two_at_once(struct rank *rank)
{
	struct kvr_ring_options options;
	struct kvr_failure failure;
	struct kvr_ring *second;
	struct sender a, b;

	CHECK_STATUS(rank->opened, KVR_OK);
	kvr_ring_options_init(&options);
	options.transport = "fake";
	options.slots = 3;
	options.lane[0].slot_bytes = 100;
	CHECK_STATUS(kvr_ring_open(rank->context, &rank->bootstrap, &options,
				   &second),
		     KVR_OK);
	sender_open(&a, rank->context);
	sender_open(&b, rank->context);
	for (uint64_t tag = 1; tag <= 20; tag++) {
		struct kvr_pass *first = begin(rank->ring, &a, tag);
		struct kvr_pass *other = begin(second, &b, tag + 500);

		CHECK_STATUS(take(other, tag + 500), KVR_ERR_END);
		CHECK_STATUS(take(first, tag), KVR_ERR_END);
		CHECK_STATUS(kvr_pass_end(first), KVR_OK);
		CHECK_STATUS(kvr_pass_end(other), KVR_OK);
	}
	/* Once all are through, one is given up; the other goes on. */
	whole_pass(rank->ring, &a, 21);
	kvr_ring_abort(second);
	kvr_ring_close(second);
	whole_pass(rank->ring, &a, 22);
	kvr_failure_init(&failure);
	CHECK_STATUS(kvr_ring_get_failure(rank->ring, &failure), KVR_OK);
	CHECK(failure.status == KVR_OK && failure.text[0] == '\0');
	kvr_memory_deregister(a.memory);
	kvr_memory_deregister(b.memory);
}

/* The last rank leaves in peace, but the others want another pass of it. */
static void one_leaves(struct rank *rank)
{
	uint32_t leaver = rank->n - 1;
	struct sender s;
	uint64_t begin_ms;

	CHECK_STATUS(rank->opened, KVR_OK);
	sender_open(&s, rank->context);
	whole_pass_of_all(rank, &s, 1);
	begin_ms = now_ms();
	if (rank->rank == leaver) {
		kvr_ring_close(rank->ring);
		rank->ring = NULL;
	} else {
		failing_pass(rank->ring, &s, 2, KVR_ERR_PEER_LOST);
		blames(rank->ring, KVR_ERR_PEER_LOST, leaver);
	}
	/* Nobody waits longer than for a rank that is lost. */
	CHECK(now_ms() - begin_ms < PEER_TIMEOUT_MS + 10000);
	kvr_memory_deregister(s.memory);
}

/* Alive, but it never begins: wait_timeout_ms is the others' deadline. */
static void one_stalls(struct rank *rank)
{
	struct kvr_pass_desc desc;
	struct kvr_pass *pass;
	struct sender s;

	CHECK_STATUS(rank->opened, KVR_OK);
	sender_open(&s, rank->context);
	whole_pass_of_all(rank, &s, 1);
	if (rank->rank == 1) {
		struct kvr_failure failure;

		kvr_failure_init(&failure);
		do {
			usleep(1000);
			CHECK_STATUS(kvr_ring_get_failure(rank->ring, &failure),
				     KVR_OK);
		} while (failure.status == KVR_OK);
		kvr_pass_desc_init(&desc);
		CHECK_STATUS(kvr_pass_begin(rank->ring, &desc, &pass),
			     KVR_ERR_TIMEOUT);
	} else {
		failing_pass(rank->ring, &s, 2, KVR_ERR_TIMEOUT);
	}
	blames(rank->ring, KVR_ERR_TIMEOUT, KVR_RANK_NONE);
	kvr_memory_deregister(s.memory);
}

static uint32_t generation(struct kvr_ring *ring)
{
	struct kvr_ring_stats stats;

	kvr_ring_stats_init(&stats);
	CHECK_STATUS(kvr_ring_get_stats(ring, &stats), KVR_OK);
	return stats.generation;
}

/* A new process in all but name: another context, opened afresh. */
static void replace(struct rank *rank)
{
	struct kvr_ring_options options;

	kvr_ring_close(rank->ring);
	kvr_context_close(rank->context);
	CHECK_STATUS(kvr_context_open(NULL, &rank->context), KVR_OK);
	kvr_ring_options_init(&options);
	options.transport = "shm";
	options.lane[0].slot_bytes = 64 << 10;
	options.chunk_bytes = 4096;
	CHECK_STATUS(kvr_ring_open(rank->context, &rank->bootstrap, &options,
				   &rank->ring),
		     KVR_OK);
}

/* Each rank in turn is lost and replaced; the others reopen. */
static void one_is_replaced(struct rank *rank)
{
	struct sender s;

	CHECK_STATUS(rank->opened, KVR_OK);
	CHECK(generation(rank->ring) == 1);
	for (uint32_t victim = 0; victim < rank->n; victim++) {
		sender_open(&s, rank->context);
		whole_pass_of_all(rank, &s, 1);
		if (rank->rank == victim) {
			kvr_memory_deregister(s.memory);
			replace(rank);
			sender_open(&s, rank->context);
		} else {
			failing_pass(rank->ring, &s, 2, KVR_ERR_PEER_LOST);
			blames(rank->ring, KVR_ERR_PEER_LOST, victim);
			CHECK_STATUS(
				kvr_ring_reopen(&rank->ring, &rank->bootstrap),
				KVR_OK);
		}
		CHECK(generation(rank->ring) == victim + 2);
		/* The pass is repeated from what the callers still have. */
		whole_pass(rank->ring, &s, 2);
		kvr_memory_deregister(s.memory);
	}
}

/* After a failure every call says so, and none hangs. */
static void all_calls_after_abort(struct rank *rank)
{
	struct kvr_pass_desc desc;
	struct kvr_block block;
	struct kvr_pass *pass;
	struct sender s;

	CHECK_STATUS(rank->opened, KVR_OK);
	sender_open(&s, rank->context);
	pass = begin(rank->ring, &s, 1);
	kvr_block_init(&block);
	CHECK_STATUS(kvr_pass_next(pass, 0, &block), KVR_OK);
	kvr_ring_abort(rank->ring);
	CHECK_STATUS(kvr_pass_next(pass, 0, &block), KVR_ERR_ABORTED);
	CHECK_STATUS(kvr_pass_try_next(pass, 0, &block), KVR_ERR_ABORTED);
	CHECK_STATUS(kvr_pass_release(pass, 0, 0), KVR_ERR_ABORTED);
	CHECK_STATUS(kvr_pass_cancel(pass), KVR_ERR_ABORTED);
	CHECK_STATUS(kvr_pass_end(pass), KVR_ERR_ABORTED);
	CHECK_STATUS(kvr_pass_end(pass), KVR_ERR_STATE);
	kvr_pass_desc_init(&desc);
	CHECK_STATUS(kvr_pass_begin(rank->ring, &desc, &pass), KVR_ERR_ABORTED);
	kvr_memory_deregister(s.memory);
}

/* Closed with a pass open: close ends it. */
static void closed_with_pass_open(struct rank *rank)
{
	struct kvr_block block;
	struct kvr_pass *pass;
	struct sender s;

	CHECK_STATUS(rank->opened, KVR_OK);
	sender_open(&s, rank->context);
	pass = begin(rank->ring, &s, 1);
	kvr_block_init(&block);
	CHECK_STATUS(kvr_pass_next(pass, 0, &block), KVR_OK);
	kvr_ring_close(rank->ring);
	rank->ring = NULL;
	kvr_memory_deregister(s.memory);
}

/* ---------------------------------------------------------------- tests */

static void rings_two_in_one_context_do_not_mix(void **state)
{
	(void)state;
	over(2, two_at_once, KVR_PROGRESS_THREAD);
	over(3, two_at_once, KVR_PROGRESS_THREAD);
}

static void ring_left_early_others_lose_that_rank(void **state)
{
	(void)state;
	for (uint32_t n = 2; n <= 4; n++)
		over(n, one_leaves, KVR_PROGRESS_THREAD);
	/* Who waits for the others outside the ring forwards nothing: n = 2. */
	over(2, one_leaves, KVR_PROGRESS_CALLER);
}

static void pass_one_never_begins_timeout(void **state)
{
	struct ranks ranks;

	(void)state;
	ranks_init(&ranks, 3);
	ranks.options.wait_timeout_ms = 2000;
	ranks.body = one_stalls;
	ranks_run(&ranks);
}

static void ring_reopened_with_replacement_repeats_pass(void **state)
{
	(void)state;
	over(2, one_is_replaced, KVR_PROGRESS_THREAD);
	over(4, one_is_replaced, KVR_PROGRESS_THREAD);
}

static void ring_aborted_every_call_says_so(void **state)
{
	(void)state;
	over(1, all_calls_after_abort, KVR_PROGRESS_THREAD);
	over(1, all_calls_after_abort, KVR_PROGRESS_CALLER);
}

static void ring_closed_with_pass_open_ends_it(void **state)
{
	(void)state;
	for (uint32_t n = 1; n <= 4; n++)
		over(n, closed_with_pass_open, KVR_PROGRESS_THREAD);
	over(3, closed_with_pass_open, KVR_PROGRESS_CALLER);
}

/* Ranks that have given the first up, and has it noticed? */
static atomic_uint losers;
static atomic_bool noticed;

static void progress_until_failed(struct rank *rank,
				  struct kvr_failure *failure)
{
	kvr_failure_init(failure);
	do {
		usleep(1000);
		(void)!kvr_ring_progress(rank->ring);
		CHECK_STATUS(kvr_ring_get_failure(rank->ring, failure), KVR_OK);
	} while (failure->status == KVR_OK);
	CHECK(failure->status == KVR_ERR_PEER_LOST && failure->rank == 0);
}

/* The first stops for longer than it may, and lives: its ABORT waits. */
static void first_stops_too_long(struct rank *rank)
{
	const char *lost = "lost rank 0 between passes: it was silent for 2000";
	const char *by = rank->n == 2 ? "rank 1 lost us, rank 0, between passes"
				      : "a neighbour lost us, rank 0, between";
	struct kvr_failure failure;

	CHECK_STATUS(rank->opened, KVR_OK);
	if (rank->rank > 0) {
		progress_until_failed(rank, &failure);
		CHECK(strstr(failure.text, lost) == failure.text);
		atomic_fetch_add(&losers, 1);
		while (!atomic_load(&noticed)) {
			usleep(1000);
			(void)!kvr_ring_progress(rank->ring);
		}
		return;
	}
	while (atomic_load(&losers) < rank->n - 1)
		usleep(1000);
	progress_until_failed(rank, &failure);
	atomic_store(&noticed, true);
	CHECK(strstr(failure.text, by) == failure.text);
	CHECK(strstr(failure.text, ": we were silent for 2000 ms"));
	CHECK(!strstr(failure.text, "lost rank"));
}

static void ring_that_lost_us_says_so(void **state)
{
	(void)state;
	for (uint32_t n = 2; n <= 3; n++) {
		atomic_store(&losers, 0);
		atomic_store(&noticed, false);
		over(n, first_stops_too_long, KVR_PROGRESS_CALLER);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rings_two_in_one_context_do_not_mix),
		cmocka_unit_test(ring_left_early_others_lose_that_rank),
		cmocka_unit_test(pass_one_never_begins_timeout),
		cmocka_unit_test(ring_reopened_with_replacement_repeats_pass),
		cmocka_unit_test(ring_aborted_every_call_says_so),
		cmocka_unit_test(ring_closed_with_pass_open_ends_it),
		cmocka_unit_test(ring_that_lost_us_says_so),
	};

	return cmocka_run_group_tests_name("ring", tests, NULL, NULL);
}
