/* SPDX-License-Identifier: Apache-2.0 */
/* Passes in the order of streams, which threads play: what they compute. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "tests/support/streamed.h"

#define REPLAYS 8

/* -------------------------------------------------------------- replays */

/* `passes` of them in a graph, replayed: every block is of its replay. */
static void replay(struct rank *rank, uint32_t passes)
{
	struct played_graph *graph;
	struct kvr_ring_stats stats;
	struct streamed s;

	streamed_open(&s, rank);
	played_capture(s.stream);
	for (uint32_t i = 0; i < passes; i++)
		streamed_pass(&s, i, rank->n);
	graph = played_capture_end(s.stream);
	CHECK_STATUS(kvr_stream_plan_expect(s.plan, (uint64_t)REPLAYS * passes),
		     KVR_OK);
	for (uint32_t i = 0; i < REPLAYS; i++)
		played_launch(s.stream, graph);
	streamed_sync(&s);
	CHECK(atomic_load(&s.right) == REPLAYS * passes * rank->n);
	kvr_ring_stats_init(&stats);
	CHECK_STATUS(kvr_ring_get_stats(rank->ring, &stats), KVR_OK);
	CHECK(stats.passes == REPLAYS * passes);
	streamed_close(&s, true);
	played_graph_free(graph);
}

static void replay_one(struct rank *rank)
{
	replay(rank, 1);
}

static void replay_two(struct rank *rank)
{
	replay(rank, 2);
}

static void plan_replayed_graph_computes_each_replay(void **state)
{
	(void)state;
	streamed_run_all(replay_one, 1, 2);
	streamed_run_all(replay_one, 2, 1);
	streamed_run_all(replay_one, 3, 2);
	streamed_run_all(replay_one, 4, 3);
}

/* One pass of these would leave the next replay in other slots. */
static void plan_graph_of_slots_passes_computes_each_replay(void **state)
{
	(void)state;
	streamed_run_all(replay_two, 2, 2);
	streamed_run_all(replay_two, 4, 2);
}

static void plan_words_of_32_bits_computes_the_same(void **state)
{
	(void)state;
	played_set_wide(false);
	streamed_run_all(replay_one, 3, 2);
	played_set_wide(true);
}

/* Two graphs from two captures, launched in turn. */
static void replay_in_turn(struct rank *rank)
{
	struct played_graph *graph[2];
	struct streamed s;

	streamed_open(&s, rank);
	for (size_t i = 0; i < 2; i++) {
		played_capture(s.stream);
		streamed_pass(&s, i, rank->n);
		graph[i] = played_capture_end(s.stream);
	}
	for (size_t i = 0; i < REPLAYS; i++) {
		CHECK_STATUS(kvr_stream_plan_expect(s.plan, 1), KVR_OK);
		played_launch(s.stream, graph[i % 3 == 0]);
		/* And one that nobody captured. */
		if (i % 4 == 0)
			streamed_pass(&s, 0, rank->n);
	}
	streamed_close(&s, true);
	played_graph_free(graph[0]);
	played_graph_free(graph[1]);
}

static void plan_graphs_in_turn_compute_each_launch(void **state)
{
	(void)state;
	streamed_run_all(replay_in_turn, 3, 2);
}

/* Nobody announced them: they come late, but come. */
static void replay_unannounced(struct rank *rank)
{
	struct played_graph *graph;
	struct streamed s;

	streamed_open(&s, rank);
	played_capture(s.stream);
	streamed_pass(&s, 0, rank->n);
	graph = played_capture_end(s.stream);
	played_launch(s.stream, graph);
	played_launch(s.stream, graph);
	streamed_sync(&s);
	CHECK(atomic_load(&s.right) == 2 * rank->n);
	streamed_close(&s, true);
	played_graph_free(graph);
}

static void lively(uint32_t rank, struct kvr_ring_options *options)
{
	(void)rank;
	options->heartbeat_ms = 50;
}

static void plan_unannounced_replay_is_seen(void **state)
{
	(void)state;
	streamed_run("shm", replay_unannounced, 2, 1, lively);
}

/* ---------------------------------------------------------------- passes */

/* All put on the stream before the first is through; slots in every phase. */
static void ahead(struct rank *rank)
{
	struct streamed s;

	streamed_open(&s, rank);
	for (uint32_t i = 0; i < REPLAYS; i++)
		streamed_pass(&s, i % 2, rank->n);
	streamed_sync(&s);
	CHECK(atomic_load(&s.right) == REPLAYS * rank->n);
	streamed_close(&s, true);
}

static void plan_passes_put_ahead_are_exact(void **state)
{
	(void)state;
	streamed_run_all(ahead, 2, 2);
	streamed_run_all(ahead, 4, 2);
	streamed_run_all(ahead, 3, 4);
}

/* Rank r takes (r + pass) mod (n + 1) blocks of each. */
static void early(struct rank *rank)
{
	struct streamed s;

	streamed_open(&s, rank);
	for (uint32_t i = 0; i < 2 * REPLAYS; i++)
		streamed_pass(&s, i % 2, (rank->rank + i) % (rank->n + 1));
	streamed_close(&s, true);
}

static void plan_early_end_leaves_no_word_behind(void **state)
{
	(void)state;
	streamed_run_all(early, 3, 2);
	streamed_run_all(early, 4, 2);
}

/* Ended while a block is held, and without one of them. */
static void unreleased(struct rank *rank)
{
	struct kvr_block block;
	struct streamed s;

	streamed_open(&s, rank);
	kvr_block_init(&block);
	for (uint32_t i = 0; i < REPLAYS; i++) {
		streamed_fill(&s, 0);
		CHECK_STATUS(kvr_pass_start_on_stream(s.plan, 0, s.stream),
			     KVR_OK);
		for (uint32_t step = 0; step < i % 3; step++) {
			CHECK_STATUS(kvr_pass_next_on_stream(s.plan, 0,
							     s.stream, &block),
				     KVR_OK);
			streamed_check(&s, &block);
		}
		CHECK_STATUS(kvr_pass_end_on_stream(s.plan, s.stream), KVR_OK);
	}
	streamed_close(&s, true);
}

static void plan_end_releases_what_is_held(void **state)
{
	(void)state;
	streamed_run_all(unreleased, 3, 2);
}

/* Odd ranks have no stream. */
static void mixed(struct rank *rank)
{
	struct kvr_block block;
	struct kvr_pass *pass;
	struct streamed s;

	streamed_open(&s, rank);
	if (rank->rank % 2 == 0) {
		for (uint32_t i = 0; i < REPLAYS; i++)
			streamed_pass(&s, i % 2, rank->n);
		streamed_close(&s, true);
		return;
	}
	kvr_stream_plan_destroy(s.plan);
	s.plan = NULL;
	kvr_block_init(&block);
	for (uint32_t i = 0; i < REPLAYS; i++) {
		streamed_stamp(s.local + i % 2 * STREAMED_BYTES, rank->rank,
			       i + 1);
		CHECK_STATUS(
			kvr_pass_begin(rank->ring, &s.passes[i % 2], &pass),
			KVR_OK);
		while (kvr_pass_next(pass, 0, &block) == KVR_OK) {
			CHECK(streamed_stamped(block.data, block.origin,
					       i + 1));
			CHECK_STATUS(kvr_pass_release(pass, 0, block.step),
				     KVR_OK);
		}
		CHECK_STATUS(kvr_pass_end(pass), KVR_OK);
	}
	streamed_close(&s, false);
}

static void plan_beside_ranks_without_stream_is_exact(void **state)
{
	(void)state;
	streamed_run_all(mixed, 4, 2);
}

/*
 * Two streams of one hardware queue: one takes, one releases. What the calls
 * accept never waits for what is behind it.
 */
static void one_queue(struct rank *rank)
{
	struct played_stream *other;
	struct kvr_block block;
	struct streamed s;
	uint32_t held = 0;

	streamed_open(&s, rank);
	other = played_stream_open(s.queue);
	kvr_block_init(&block);
	for (uint32_t i = 0; i < REPLAYS; i++) {
		streamed_fill(&s, 0);
		CHECK_STATUS(kvr_pass_start_on_stream(s.plan, 0, other),
			     KVR_OK);
		held = 0;
		for (uint32_t step = 0; step < rank->n; step++) {
			enum kvr_status status = kvr_pass_next_on_stream(
				s.plan, 0, other, &block);

			/* As late as it is accepted. */
			if (status == KVR_ERR_STATE) {
				CHECK_STATUS(
					kvr_pass_release_on_stream(
						s.plan, 0, held++, s.stream),
					KVR_OK);
				step--;
				continue;
			}
			CHECK_STATUS(status, KVR_OK);
			streamed_check(&s, &block);
		}
		CHECK_STATUS(kvr_pass_end_on_stream(s.plan, other), KVR_OK);
	}
	streamed_sync(&s);
	CHECK(atomic_load(&s.right) == REPLAYS * rank->n);
	played_stream_close(other);
	streamed_close(&s, true);
}

static void plan_one_queue_never_waits_for_itself(void **state)
{
	(void)state;
	streamed_run_all(one_queue, 4, 2);
}

/* ----------------------------------------------------------------- quiet */

#define WATCHED_MS 200

/* How often progress slept, and so woke, while nobody did anything. */
static uint64_t sleeps(struct rank *rank)
{
	const struct timespec watched = {.tv_nsec = WATCHED_MS * 1000000L};
	struct kvr_ring_stats stats;
	uint64_t before;

	kvr_ring_stats_init(&stats);
	CHECK_STATUS(kvr_ring_get_stats(rank->ring, &stats), KVR_OK);
	before = stats.sleeps;
	nanosleep(&watched, NULL);
	CHECK_STATUS(kvr_ring_get_stats(rank->ring, &stats), KVR_OK);
	return stats.sleeps - before;
}

/* No look at the words while no pass is due; ten a millisecond while one is. */
static void quiet(struct rank *rank)
{
	struct gate gate = {false, false};
	struct streamed s;

	streamed_open(&s, rank);
	streamed_pass(&s, 0, rank->n);
	streamed_sync(&s);
	CHECK(sleeps(rank) < 10);
	CHECK_STATUS(kvr_pass_start_on_stream(s.plan, 1, s.stream), KVR_OK);
	streamed_gate(&s, &gate);
	CHECK_STATUS(kvr_pass_end_on_stream(s.plan, s.stream), KVR_OK);
	gate_await(&gate);
	CHECK(sleeps(rank) <= 10 * WATCHED_MS + 10);
	atomic_store(&gate.open, true);
	streamed_sync(&s);
	CHECK(sleeps(rank) < 10);
	streamed_close(&s, true);
}

static void plan_quiet_words_let_progress_sleep(void **state)
{
	(void)state;
	streamed_run("shm", quiet, 1, 2, NULL);
}

/* ----------------------------------------------------------- accumulating */

struct add {
	uint64_t *sum;
	uint64_t part;
};

static void add(const void *arg)
{
	const struct add *a = arg;

	*a->sum += a->part;
}

static void zero(const void *arg)
{
	const struct add *a = arg;

	*a->sum = 0;
}

static void expect_sum(const void *arg)
{
	const struct add *a = arg;

	CHECK(*a->sum == a->part);
}

static void put(struct played_stream *stream, void (*call)(const void *),
		uint64_t *sum, uint64_t part)
{
	const struct add arg = {sum, part};

	played_call(stream, call, &arg, sizeof(arg));
}

/* Lane 1 brings home the sum of all ranks' parts, replay after replay. */
static void accumulate(struct rank *rank)
{
	struct played_queue *queue = played_queue_open();
	struct played_stream *stream = played_stream_open(queue);
	struct kvr_stream_plan *plan;
	struct kvr_memory *memory;
	struct kvr_segment segment;
	struct played_graph *graph;
	struct kvr_pass_desc desc;
	struct kvr_block block;
	uint64_t sum = 0, all = (uint64_t)rank->n * (rank->n + 1) / 2;

	CHECK_STATUS(rank->opened, KVR_OK);
	CHECK_STATUS(
		kvr_memory_register(rank->context, &sum, sizeof(sum), &memory),
		KVR_OK);
	segment = (struct kvr_segment){memory, 0, sizeof(sum)};
	kvr_pass_desc_init(&desc);
	desc.lane[1].segments = &segment;
	desc.lane[1].segment_count = 1;
	kvr_block_init(&block);
	CHECK_STATUS(kvr_stream_plan_create_on(&played_ops, rank->ring, &desc,
					       1, &plan),
		     KVR_OK);
	played_capture(stream);
	for (uint32_t pass = 0; pass < 2; pass++) {
		put(stream, zero, &sum, 0);
		CHECK_STATUS(kvr_pass_start_on_stream(plan, 0, stream), KVR_OK);
		for (uint32_t step = 0; step < rank->n; step++) {
			CHECK_STATUS(kvr_pass_next_on_stream(plan, 1, stream,
							     &block),
				     KVR_OK);
			put(stream, add, block.data, rank->rank + 1);
			CHECK_STATUS(kvr_pass_release_on_stream(plan, 1, step,
								stream),
				     KVR_OK);
		}
		CHECK_STATUS(kvr_pass_next_on_stream(plan, 1, stream, &block),
			     KVR_OK);
		CHECK(block.origin == rank->rank && block.step == rank->n);
		put(stream, expect_sum, block.data, all);
		CHECK_STATUS(kvr_pass_end_on_stream(plan, stream), KVR_OK);
	}
	graph = played_capture_end(stream);
	CHECK_STATUS(kvr_stream_plan_expect(plan, 2 * REPLAYS), KVR_OK);
	for (uint32_t i = 0; i < REPLAYS; i++)
		played_launch(stream, graph);
	played_sync(stream);
	CHECK_STATUS(kvr_stream_plan_check(plan), KVR_OK);
	kvr_stream_plan_destroy(plan);
	kvr_memory_deregister(memory);
	played_graph_free(graph);
	played_stream_close(stream);
	played_queue_close(queue);
}

static void plan_accumulating_lane_brings_sums_home(void **state)
{
	struct ranks ranks;

	(void)state;
	for (uint32_t n = 2; n <= 4; n++) {
		ranks_init(&ranks, n);
		ranks.transport = "shm";
		ranks.options.lanes = 2;
		ranks.options.lane[1].kind = KVR_LANE_ACCUMULATING;
		ranks.options.lane[1].slot_bytes = 4096;
		ranks.body = accumulate;
		ranks_run(&ranks);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plan_replayed_graph_computes_each_replay),
		cmocka_unit_test(
			plan_graph_of_slots_passes_computes_each_replay),
		cmocka_unit_test(plan_words_of_32_bits_computes_the_same),
		cmocka_unit_test(plan_graphs_in_turn_compute_each_launch),
		cmocka_unit_test(plan_unannounced_replay_is_seen),
		cmocka_unit_test(plan_passes_put_ahead_are_exact),
		cmocka_unit_test(plan_early_end_leaves_no_word_behind),
		cmocka_unit_test(plan_end_releases_what_is_held),
		cmocka_unit_test(plan_beside_ranks_without_stream_is_exact),
		cmocka_unit_test(plan_one_queue_never_waits_for_itself),
		cmocka_unit_test(plan_quiet_words_let_progress_sleep),
		cmocka_unit_test(plan_accumulating_lane_brings_sums_home),
	};

	return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}
