/* SPDX-License-Identifier: Apache-2.0 */
/* Level 1 as a caller uses it, over every transport that the machine has. */
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "rdma/fake/fake.h"
#include "tests/support/stamped.h"

static const char *const transports[] = {"fake", "shm"};

/* ------------------------------------------------------------- bodies */

#define PASSES 12

static void whole_passes(struct rank *rank)
{
	struct kvr_ring_stats stats;
	struct kvr_block block;
	struct sender sender;

	CHECK_STATUS(rank->opened, KVR_OK);
	sender_open(&sender, rank);
	kvr_block_init(&block);
	for (uint64_t tag = 1; tag <= PASSES; tag++) {
		struct kvr_pass *pass =
			stamped_begin(rank, &sender, tag, 1 + tag % 5);

		stamped_take(rank, pass, tag, rank->n, tag % 2);
		CHECK_STATUS(kvr_pass_next(pass, 0, &block), KVR_ERR_END);
		CHECK_STATUS(kvr_pass_end(pass), KVR_OK);
	}
	kvr_ring_stats_init(&stats);
	CHECK_STATUS(kvr_ring_get_stats(rank->ring, &stats), KVR_OK);
	CHECK(stats.passes == PASSES);
	CHECK(stats.blocks_received <= (uint64_t)PASSES * (rank->n - 1));
	sender_close(&sender);
}

/* Rank r ends pass p after (r + p) mod (n + 1) blocks. */
static void early_ends(struct rank *rank)
{
	struct sender sender;

	CHECK_STATUS(rank->opened, KVR_OK);
	sender_open(&sender, rank);
	for (uint64_t tag = 1; tag <= 2 * PASSES; tag++) {
		struct kvr_pass *pass = stamped_begin(rank, &sender, tag, 1);

		stamped_take(rank, pass, tag,
			     (uint32_t)((rank->rank + tag) % (rank->n + 1)), 0);
		CHECK_STATUS(kvr_pass_end(pass), KVR_OK);
	}
	sender_close(&sender);
}

static void wrong_calls(struct rank *rank)
{
	struct kvr_pass_desc desc;
	struct kvr_pass *pass, *second;
	struct kvr_block block;
	struct sender sender;

	CHECK_STATUS(rank->opened, KVR_OK);
	sender_open(&sender, rank);
	kvr_block_init(&block);
	kvr_pass_desc_init(&desc);
	pass = stamped_begin(rank, &sender, 1, 1);
	CHECK_STATUS(kvr_pass_begin(rank->ring, &desc, &second), KVR_ERR_STATE);
	CHECK_STATUS(kvr_pass_release(pass, 0, 0), KVR_ERR_STATE);
	CHECK_STATUS(kvr_pass_next(pass, 0, &block), KVR_OK);
	CHECK_STATUS(kvr_pass_release(pass, 0, 0), KVR_OK);
	CHECK_STATUS(kvr_pass_release(pass, 0, 0), KVR_ERR_STATE);
	CHECK_STATUS(kvr_pass_release(pass, 0, 77), KVR_ERR_STATE);
	CHECK_STATUS(kvr_pass_next(pass, 1, &block), KVR_ERR_INVALID);
	while (kvr_pass_next(pass, 0, &block) == KVR_OK)
		CHECK_STATUS(kvr_pass_release(pass, 0, block.step), KVR_OK);
	CHECK_STATUS(kvr_pass_next(pass, 0, &block), KVR_ERR_END);
	CHECK_STATUS(kvr_pass_end(pass), KVR_OK);
	CHECK_STATUS(kvr_pass_end(pass), KVR_ERR_STATE);
	CHECK_STATUS(kvr_pass_next(pass, 0, &block), KVR_ERR_STATE);
	CHECK_STATUS(kvr_pass_release(pass, 0, 0), KVR_ERR_STATE);
	CHECK_STATUS(kvr_pass_cancel(pass), KVR_ERR_STATE);

	/* A block larger than the slots, a segment past its memory. */
	struct kvr_segment segment = {sender.memory, BLOCK_MAX - 1, 2};

	desc.lane[0].segments = &segment;
	desc.lane[0].segment_count = 1;
	CHECK_STATUS(kvr_pass_begin(rank->ring, &desc, &pass), KVR_ERR_INVALID);
	struct kvr_segment twice[2] = {{sender.memory, 0, BLOCK_MAX},
				       {sender.memory, 0, BLOCK_MAX}};

	desc.lane[0].segments = twice;
	desc.lane[0].segment_count = 2;
	CHECK_STATUS(kvr_pass_begin(rank->ring, &desc, &pass), KVR_ERR_LIMIT);

	/* And after all that the ring works. */
	pass = stamped_begin(rank, &sender, 2, 1);
	stamped_take(rank, pass, 2, rank->n, 0);
	CHECK_STATUS(kvr_pass_end(pass), KVR_OK);
	sender_close(&sender);
}

/* Four segments in one chunk, then with the last in a second one. */
static void many_pieces(struct rank *rank)
{
	struct kvr_segment list[4];
	struct kvr_pass_desc desc;
	struct kvr_pass *pass;
	struct kvr_block block;
	struct sender sender;

	CHECK_STATUS(rank->opened, KVR_OK);
	sender_open(&sender, rank);
	kvr_block_init(&block);
	kvr_pass_desc_init(&desc);
	desc.tag = 1;
	desc.lane[0].segments = list;
	desc.lane[0].segment_count = 4;
	for (size_t i = 0; i < 4; i++)
		list[i] = (struct kvr_segment){sender.memory, i, 1024};
	CHECK_STATUS(kvr_pass_begin(rank->ring, &desc, &pass), KVR_ERR_LIMIT);
	CHECK(strstr(rank->log, "more segments in one chunk"));
	list[0].bytes = 2048;
	CHECK_STATUS(kvr_pass_begin(rank->ring, &desc, &pass), KVR_OK);
	while (kvr_pass_next(pass, 0, &block) == KVR_OK) {
		CHECK(block.bytes == 5 * 1024);
		CHECK_STATUS(kvr_pass_release(pass, 0, block.step), KVR_OK);
	}
	CHECK_STATUS(kvr_pass_end(pass), KVR_OK);
	sender_close(&sender);
}

/* Rank 1 cancels every second pass at once; nobody else knows before. */
static void cancelled_passes(struct rank *rank)
{
	struct kvr_block block;
	struct sender sender;

	CHECK_STATUS(rank->opened, KVR_OK);
	sender_open(&sender, rank);
	kvr_block_init(&block);
	for (uint64_t tag = 1; tag <= PASSES; tag++) {
		struct kvr_pass *pass = stamped_begin(rank, &sender, tag, 1);
		enum kvr_status status;

		if (tag % 2) {
			stamped_take(rank, pass, tag, rank->n, 0);
			CHECK_STATUS(kvr_pass_end(pass), KVR_OK);
			continue;
		}
		if (rank->rank == 1) {
			CHECK_STATUS(kvr_pass_cancel(pass), KVR_OK);
			CHECK_STATUS(kvr_pass_next(pass, 0, &block),
				     KVR_ERR_CANCELLED);
			CHECK_STATUS(kvr_pass_end(pass), KVR_ERR_CANCELLED);
			continue;
		}
		while ((status = kvr_pass_next(pass, 0, &block)) == KVR_OK) {
			if (block.step)
				stamped_check(&block, tag);
			CHECK_STATUS(kvr_pass_release(pass, 0, block.step),
				     KVR_OK);
		}
		CHECK(status == KVR_ERR_CANCELLED || status == KVR_ERR_END);
		status = kvr_pass_end(pass);
		CHECK(status == KVR_ERR_CANCELLED || status == KVR_OK);
	}
	sender_close(&sender);
}

/* Lane 1 adds up what every rank contributes, and brings it home. */
static void accumulate(struct rank *rank)
{
	uint64_t sums[64];
	struct kvr_memory *memory;
	struct kvr_block kv, sum;
	struct sender sender;

	CHECK_STATUS(rank->opened, KVR_OK);
	sender_open(&sender, rank);
	CHECK_STATUS(
		kvr_memory_register(rank->context, sums, sizeof(sums), &memory),
		KVR_OK);
	kvr_block_init(&kv);
	kvr_block_init(&sum);
	for (uint64_t tag = 1; tag <= PASSES; tag++) {
		struct kvr_segment local = {sender.memory, 0, 4000};
		struct kvr_segment zero = {memory, 0, sizeof(sums)};
		struct kvr_pass_desc desc;
		struct kvr_pass *pass;

		memset(sums, 0, sizeof(sums));
		kvr_pass_desc_init(&desc);
		desc.tag = tag;
		desc.lane[0].segments = &local;
		desc.lane[0].segment_count = 1;
		desc.lane[1].segments = &zero;
		desc.lane[1].segment_count = 1;
		CHECK_STATUS(kvr_pass_begin(rank->ring, &desc, &pass), KVR_OK);
		for (uint32_t s = 0; s < rank->n; s++) {
			uint64_t *at;

			CHECK_STATUS(kvr_pass_next(pass, 0, &kv), KVR_OK);
			CHECK_STATUS(kvr_pass_next(pass, 1, &sum), KVR_OK);
			CHECK(kv.origin == sum.origin && sum.step == s);
			at = sum.data;
			for (size_t i = 0; i < 64; i++)
				at[i] += (rank->rank + 1) * (i + tag);
			CHECK_STATUS(kvr_pass_release(pass, 0, s), KVR_OK);
			CHECK_STATUS(kvr_pass_release(pass, 1, s), KVR_OK);
		}
		if (rank->n > 1) {
			const uint64_t *home;

			CHECK_STATUS(kvr_pass_next(pass, 1, &sum), KVR_OK);
			CHECK(sum.origin == rank->rank);
			CHECK(sum.step == rank->n);
			home = sum.data;
			for (size_t i = 0; i < 64; i++)
				CHECK(home[i] == (uint64_t)rank->n *
							 (rank->n + 1) / 2 *
							 (i + tag));
		}
		CHECK_STATUS(kvr_pass_end(pass), KVR_OK);
	}
	kvr_memory_deregister(memory);
	sender_close(&sender);
}

/* The caller's own loop: try, and sleep on the descriptor in between. */
static void event_loop(struct rank *rank)
{
	struct sender sender;
	struct pollfd poller = {.events = POLLIN};

	CHECK_STATUS(rank->opened, KVR_OK);
	sender_open(&sender, rank);
	CHECK_STATUS(kvr_ring_event_fd(rank->ring, &poller.fd), KVR_OK);
	for (uint64_t tag = 1; tag <= PASSES; tag++) {
		struct kvr_pass *pass = stamped_begin(rank, &sender, tag, 1);
		enum kvr_status status = KVR_OK;
		struct kvr_block block;

		kvr_block_init(&block);
		while (status != KVR_ERR_END) {
			status = kvr_pass_try_next(pass, 0, &block);
			if (status == KVR_OK) {
				if (block.step)
					stamped_check(&block, tag);
				CHECK_STATUS(
					kvr_pass_release(pass, 0, block.step),
					KVR_OK);
				continue;
			}
			CHECK(status == KVR_ERR_AGAIN || status == KVR_ERR_END);
			/* Progress may have brought what try_next missed. */
			if (kvr_ring_progress(rank->ring) == KVR_ERR_AGAIN &&
			    status == KVR_ERR_AGAIN)
				poll(&poller, 1, 1000);
		}
		CHECK_STATUS(kvr_pass_end(pass), KVR_OK);
	}
	sender_close(&sender);
}

/* Rank 0 aborts in its last step; everybody learns that it was rank 0. */
static void abort_midway(struct rank *rank)
{
	struct kvr_failure failure;
	enum kvr_status status;
	struct kvr_pass *pass;
	struct kvr_block block;
	struct sender sender;

	CHECK_STATUS(rank->opened, KVR_OK);
	sender_open(&sender, rank);
	kvr_block_init(&block);
	pass = stamped_begin(rank, &sender, 1, 1);
	if (rank->rank == 0) {
		/* All have begun once their blocks came round. */
		for (uint32_t s = 0; s < rank->n; s++) {
			CHECK_STATUS(kvr_pass_next(pass, 0, &block), KVR_OK);
			CHECK_STATUS(kvr_pass_release(pass, 0, s), KVR_OK);
		}
		kvr_ring_abort(rank->ring);
	}
	/* Until the abort comes there are blocks, or an end. */
	do {
		status = kvr_pass_next(pass, 0, &block);
		if (status == KVR_OK)
			status = kvr_pass_release(pass, 0, block.step);
	} while (status == KVR_OK || status == KVR_ERR_END);
	CHECK_STATUS(status, KVR_ERR_ABORTED);
	CHECK_STATUS(kvr_pass_end(pass), KVR_ERR_ABORTED);
	kvr_failure_init(&failure);
	CHECK_STATUS(kvr_ring_get_failure(rank->ring, &failure), KVR_OK);
	CHECK(failure.status == KVR_ERR_ABORTED && failure.rank == 0);

	/* Reopened, with the next generation, it works again. */
	CHECK_STATUS(kvr_ring_reopen(&rank->ring, &rank->bootstrap), KVR_OK);
	pass = stamped_begin(rank, &sender, 5, 1);
	stamped_take(rank, pass, 5, rank->n, 0);
	CHECK_STATUS(kvr_pass_end(pass), KVR_OK);
	sender_close(&sender);
}

/* Pass tags differ on rank 1. */
static void wrong_tag(struct rank *rank)
{
	struct kvr_failure failure;
	enum kvr_status status;
	struct kvr_pass *pass;
	struct kvr_block block;
	struct sender sender;

	CHECK_STATUS(rank->opened, KVR_OK);
	sender_open(&sender, rank);
	kvr_block_init(&block);
	/* A late rank learns it from its own begin. */
	status = stamped_try_begin(rank, &sender, rank->rank == 1 ? 8 : 7, 1,
				   &pass);
	while (status == KVR_OK) {
		status = kvr_pass_next(pass, 0, &block);
		if (status == KVR_OK)
			status = kvr_pass_release(pass, 0, block.step);
	}
	CHECK_STATUS(status, KVR_ERR_MISMATCH);
	kvr_failure_init(&failure);
	CHECK_STATUS(kvr_ring_get_failure(rank->ring, &failure), KVR_OK);
	CHECK(strstr(failure.text, "pass of rank ") ||
	      strstr(failure.text, " disagrees with its next"));
	sender_close(&sender);
}

/*
 * Rank 0 is done at once and leaves; the others compute on each block for
 * longer than a peer may be silent, and need what rank 0 still forwards.
 */
static void first_one_leaves(struct rank *rank)
{
	const struct timespec work = {.tv_nsec = 750000000};
	struct kvr_block block;
	struct kvr_pass *pass;
	struct sender sender;

	CHECK_STATUS(rank->opened, KVR_OK);
	sender_open(&sender, rank);
	pass = stamped_begin(rank, &sender, 1, 1);
	kvr_block_init(&block);
	for (uint32_t s = 0; rank->rank && s < rank->n; s++) {
		CHECK_STATUS(kvr_pass_next(pass, 0, &block), KVR_OK);
		nanosleep(&work, NULL);
		if (s > 0)
			stamped_check(&block, 1);
		CHECK_STATUS(kvr_pass_release(pass, 0, s), KVR_OK);
	}
	CHECK_STATUS(kvr_pass_end(pass), KVR_OK);
	/* The local block's memory is free; the ring is not done yet. */
	sender_close(&sender);
}

static void not_opened(struct rank *rank)
{
	CHECK_STATUS(rank->opened, KVR_ERR_MISMATCH);
	CHECK(strstr(rank->log, "chunk_bytes differs: 4096 on rank 0, 4097"));
}

static void odd_chunk(uint32_t rank, struct kvr_ring_options *options)
{
	if (rank == 1)
		options->chunk_bytes = 4097;
}

/* -------------------------------------------------------------- tests */

static void over_all(uint32_t from, uint32_t to, void (*body)(struct rank *),
		     enum kvr_progress progress)
{
	for (size_t t = 0; t < 2; t++) {
		for (uint32_t n = from; n <= to; n++) {
			struct ranks ranks;

			ranks_init(&ranks, n);
			ranks.transport = transports[t];
			ranks.progress = progress;
			ranks.body = body;
			ranks_run(&ranks);
		}
	}
}

static void pass_whole_every_block_once(void **state)
{
	(void)state;
	over_all(1, 8, whole_passes, KVR_PROGRESS_THREAD);
}

static void pass_caller_driven_every_block_once(void **state)
{
	(void)state;
	over_all(1, 5, whole_passes, KVR_PROGRESS_CALLER);
	over_all(1, 5, event_loop, KVR_PROGRESS_CALLER);
}

static void pass_ended_early_next_works(void **state)
{
	(void)state;
	over_all(1, 6, early_ends, KVR_PROGRESS_THREAD);
	over_all(2, 4, early_ends, KVR_PROGRESS_CALLER);
}

static void pass_wrong_calls_give_status(void **state)
{
	(void)state;
	over_all(1, 4, wrong_calls, KVR_PROGRESS_THREAD);
}

static void pass_of_more_pieces_than_carried_is_refused(void **state)
{
	struct kvr_fake_script script = {.slow_rank = KVR_RANK_NONE,
					 .pieces_max = 3};
	struct ranks ranks;

	(void)state;
	kvr_fake_set_script(&script);
	ranks_init(&ranks, 3);
	ranks.transport = "fake";
	ranks.options.chunk_bytes = 4096;
	ranks.body = many_pieces;
	ranks_run(&ranks);
	kvr_fake_set_script(NULL);
}

static void pass_cancelled_ring_stays_whole(void **state)
{
	(void)state;
	over_all(2, 5, cancelled_passes, KVR_PROGRESS_THREAD);
}

static void ring_aborted_everyone_knows_and_reopens(void **state)
{
	(void)state;
	over_all(2, 5, abort_midway, KVR_PROGRESS_THREAD);
}

static void pass_tags_differ_mismatch(void **state)
{
	(void)state;
	over_all(2, 4, wrong_tag, KVR_PROGRESS_THREAD);
}

static void lane_accumulating_sums_come_home(void **state)
{
	(void)state;
	for (size_t t = 0; t < 2; t++) {
		for (uint32_t n = 1; n <= 6; n++) {
			struct ranks ranks;

			ranks_init(&ranks, n);
			ranks.transport = transports[t];
			ranks.options.lanes = 2;
			ranks.options.lane[1].kind = KVR_LANE_ACCUMULATING;
			ranks.options.lane[1].slot_bytes = 4096;
			ranks.body = accumulate;
			ranks_run(&ranks);
		}
	}
}

static void slots_and_chunks_any_every_block_once(void **state)
{
	static const size_t chunks[] = {1 << 20, 4096, 1000, 77};

	(void)state;
	for (uint32_t slots = 1; slots <= 4; slots++) {
		for (size_t c = 0; c < 4; c++) {
			struct ranks ranks;

			ranks_init(&ranks, slots == 1 ? 2 : 3);
			ranks.transport = transports[c % 2];
			ranks.options.slots = slots;
			ranks.options.chunk_bytes = chunks[c];
			/* With one slot a block must go before the next. */
			ranks.body = slots == 1 ? early_ends : whole_passes;
			ranks_run(&ranks);
		}
	}
}

static void ring_left_early_forwards_on(void **state)
{
	(void)state;
	for (size_t t = 0; t < 2; t++) {
		struct ranks ranks;

		ranks_init(&ranks, 5);
		ranks.transport = transports[t];
		ranks.options.peer_timeout_ms = 600;
		ranks.body = first_one_leaves;
		ranks_run(&ranks);
	}
}

static void options_differ_refused_everywhere(void **state)
{
	struct ranks ranks;

	(void)state;
	ranks_init(&ranks, 3);
	ranks.adjust = odd_chunk;
	ranks.body = not_opened;
	ranks_run(&ranks);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pass_whole_every_block_once),
		cmocka_unit_test(pass_caller_driven_every_block_once),
		cmocka_unit_test(pass_ended_early_next_works),
		cmocka_unit_test(pass_wrong_calls_give_status),
		cmocka_unit_test(pass_of_more_pieces_than_carried_is_refused),
		cmocka_unit_test(pass_cancelled_ring_stays_whole),
		cmocka_unit_test(ring_aborted_everyone_knows_and_reopens),
		cmocka_unit_test(pass_tags_differ_mismatch),
		cmocka_unit_test(lane_accumulating_sums_come_home),
		cmocka_unit_test(slots_and_chunks_any_every_block_once),
		cmocka_unit_test(ring_left_early_forwards_on),
		cmocka_unit_test(options_differ_refused_everywhere),
	};

	return cmocka_run_group_tests_name("pass", tests, NULL, NULL);
}
