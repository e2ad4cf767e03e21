/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mistakes that words, their order and the flush are to prevent, planted:
 * each is seen by what it makes of the data, and without it nothing is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rdma/fake/fake.h"
#include "tests/support/streamed.h"

static atomic_uint seen_wrong; /* blocks, of all ranks */

/*
 * How long to look for what must not happen: a moment; or, where the mistake
 * is planted, until it does.
 */
#define MOMENT 200
#define UNTIL_IT_DOES 300000
static int patience; /* in steps of streamed_pause */

/*
 * Rank 1 holds its second pass back until rank 0's stream is either through
 * with its own or has had time to be.
 */
static void stale_replay(struct rank *rank)
{
	struct streamed_common *common = rank->arg;
	struct played_graph *graph;
	struct streamed s;

	streamed_open(&s, rank);
	played_capture(s.stream);
	streamed_pass(&s, 0, rank->n);
	graph = played_capture_end(s.stream);
	CHECK_STATUS(kvr_stream_plan_expect(s.plan, 2), KVR_OK);
	played_launch(s.stream, graph);
	streamed_sync(&s);
	CHECK(atomic_load(&s.right) == rank->n);
	streamed_meet(rank, 0);
	if (rank->rank == 0) {
		played_launch(s.stream, graph);
		/* With words that keep their value it does not wait. */
		for (int i = 0; i < patience && !atomic_load(&s.wrong); i++)
			streamed_pause();
		atomic_store(&common->gate[0].open, true);
	} else {
		while (!atomic_load(&common->gate[0].open))
			streamed_pause();
		played_launch(s.stream, graph);
	}
	streamed_sync(&s);
	atomic_fetch_add(&seen_wrong, atomic_load(&s.wrong));
	streamed_close(&s, false);
	played_graph_free(graph);
}

static void plan_word_not_consumed_replays_stale_data(void **state)
{
	(void)state;
	atomic_store(&seen_wrong, 0);
	patience = MOMENT;
	streamed_run("shm", stale_replay, 2, 1, NULL);
	assert_int_equal(atomic_load(&seen_wrong), 0);
	patience = UNTIL_IT_DOES;
	played_set_mistake(PLAYED_KEEPS_WORDS);
	streamed_run("shm", stale_replay, 2, 1, NULL);
	played_set_mistake(PLAYED_RIGHT);
	assert_true(atomic_load(&seen_wrong) > 0);
}

/* Reads the block only when another one has had time to land on it. */
struct late {
	struct streamed *s;
	const void *block;
	uint32_t origin, pass;
};

static void compare_late(const void *arg)
{
	const struct late *late = arg;

	for (int i = 0; i < patience &&
			streamed_stamped(late->block, late->origin, late->pass);
	     i++)
		streamed_pause();
	if (!streamed_stamped(late->block, late->origin, late->pass))
		atomic_fetch_add(&late->s->wrong, 1);
}

/* Two passes; the only block of the first is released before, or after. */
static void release_first(struct rank *rank, bool early)
{
	struct kvr_block block;
	struct streamed s;

	streamed_open(&s, rank);
	kvr_block_init(&block);
	streamed_fill(&s, 0);
	CHECK_STATUS(kvr_pass_start_on_stream(s.plan, 0, s.stream), KVR_OK);
	streamed_step(&s);
	CHECK_STATUS(kvr_pass_next_on_stream(s.plan, 0, s.stream, &block),
		     KVR_OK);
	if (rank->rank == 0) {
		const struct late late = {&s, block.data, block.origin, 1};

		if (early)
			CHECK_STATUS(kvr_pass_release_on_stream(s.plan, 0, 1,
								s.stream),
				     KVR_OK);
		played_call(s.stream, compare_late, &late, sizeof(late));
	}
	CHECK_STATUS(kvr_pass_end_on_stream(s.plan, s.stream), KVR_OK);
	streamed_pass(&s, 1, rank->n);
	streamed_sync(&s);
	atomic_fetch_add(&seen_wrong, atomic_load(&s.wrong));
	streamed_close(&s, false);
}

static void release_after(struct rank *rank)
{
	release_first(rank, false);
}

static void release_before(struct rank *rank)
{
	release_first(rank, true);
}

static void plan_release_before_computing_is_seen(void **state)
{
	(void)state;
	atomic_store(&seen_wrong, 0);
	patience = MOMENT;
	streamed_run("shm", release_after, 2, 1, NULL);
	assert_int_equal(atomic_load(&seen_wrong), 0);
	patience = UNTIL_IT_DOES;
	streamed_run("shm", release_before, 2, 1, NULL);
	assert_true(atomic_load(&seen_wrong) > 0);
}

/* Behind a bridge that holds bytes back until they are flushed. */
static void behind_bridge(struct rank *rank)
{
	struct streamed s;

	streamed_open(&s, rank);
	for (uint32_t i = 0; i < 6; i++)
		streamed_pass(&s, i % 2, rank->n);
	streamed_sync(&s);
	CHECK_STATUS(kvr_stream_plan_check(s.plan), KVR_OK);
	atomic_fetch_add(&seen_wrong, atomic_load(&s.wrong));
	streamed_close(&s, false);
}

static void run_behind(enum kvr_fake_bridge bridge)
{
	const struct kvr_fake_script script = {
		.bridge = bridge,
		.slow_rank = KVR_RANK_NONE,
	};

	kvr_fake_set_script(&script);
	streamed_run("fake", behind_bridge, 3, 2, NULL);
	kvr_fake_set_script(NULL);
}

static void plan_flush_comes_before_ready(void **state)
{
	(void)state;
	atomic_store(&seen_wrong, 0);
	patience = MOMENT;
	run_behind(KVR_FAKE_BRIDGE_FLUSHED);
	assert_int_equal(atomic_load(&seen_wrong), 0);
	run_behind(KVR_FAKE_BRIDGE_STUCK);
	assert_true(atomic_load(&seen_wrong) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plan_word_not_consumed_replays_stale_data),
		cmocka_unit_test(plan_release_before_computing_is_seen),
		cmocka_unit_test(plan_flush_comes_before_ready),
	};

	return cmocka_run_group_tests_name("stream_mistakes", tests, NULL,
					   NULL);
}
