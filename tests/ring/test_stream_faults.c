/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Passes on played streams when something goes wrong: no stream waits for
 * ever, and everybody learns of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/clock.h"
#include "tests/support/streamed.h"

static enum kvr_status await_status(struct kvr_stream_plan *plan)
{
	enum kvr_status status;

	while ((status = kvr_stream_plan_check(plan)) == KVR_OK)
		streamed_pause();
	return status;
}

/* -------------------------------------------------------------- failure */

/*
 * Rank 0 starts nothing and aborts; the others have put ten passes on their
 * streams, which all come to their end.
 */
static void aborted(struct rank *rank)
{
	struct kvr_failure failure;
	struct streamed s;

	streamed_open(&s, rank);
	s.blind = true;
	streamed_meet(rank, 1);
	if (rank->rank == 0) {
		kvr_ring_abort(rank->ring);
	} else {
		for (uint32_t i = 0; i < 10; i++)
			streamed_pass(&s, i % 2, rank->n);
		streamed_sync(&s);
	}
	CHECK_STATUS(await_status(s.plan), KVR_ERR_ABORTED);
	/* It stays. */
	CHECK_STATUS(kvr_stream_plan_check(s.plan), KVR_ERR_ABORTED);
	kvr_failure_init(&failure);
	CHECK_STATUS(kvr_ring_get_failure(rank->ring, &failure), KVR_OK);
	CHECK(failure.rank == 0);
	/* What comes after it is let through, too. */
	streamed_pass(&s, 0, rank->n);
	streamed_sync(&s);
	streamed_close(&s, false);
}

static void plan_abort_lets_every_wait_through(void **state)
{
	(void)state;
	streamed_run_all(aborted, 2, 2);
	streamed_run_all(aborted, 4, 2);
}

/* Aborted by its own rank in the middle of a pass. */
static void aborted_midway(struct rank *rank)
{
	struct streamed_common *common = rank->arg;
	struct gate *gate = &common->gate[rank->rank];
	struct streamed s;

	streamed_open(&s, rank);
	s.blind = true;
	streamed_meet(rank, 1);
	streamed_fill(&s, 0);
	CHECK_STATUS(kvr_pass_start_on_stream(s.plan, 0, s.stream), KVR_OK);
	streamed_step(&s);
	streamed_gate(&s, gate);
	for (uint32_t step = 1; step < rank->n; step++)
		streamed_step(&s);
	CHECK_STATUS(kvr_pass_end_on_stream(s.plan, s.stream), KVR_OK);
	gate_await(gate);
	if (rank->rank == rank->n - 1)
		kvr_ring_abort(rank->ring);
	CHECK_STATUS(await_status(s.plan), KVR_ERR_ABORTED);
	atomic_store(&gate->open, true);
	streamed_close(&s, false);
}

static void plan_abort_of_an_open_pass_lets_it_end(void **state)
{
	(void)state;
	streamed_run_all(aborted_midway, 3, 2);
}

static void impatient(uint32_t rank, struct kvr_ring_options *options)
{
	(void)rank;
	options->wait_timeout_ms = 100;
}

/* Rank 0 lives, and never starts. */
static void never_started(struct rank *rank)
{
	struct streamed s;

	streamed_open(&s, rank);
	streamed_meet(rank, 1);
	if (rank->rank) {
		streamed_pass(&s, 0, rank->n);
		streamed_sync(&s);
		CHECK_STATUS(kvr_stream_plan_check(s.plan), KVR_ERR_TIMEOUT);
	}
	streamed_meet(rank, 0);
	streamed_close(&s, false);
}

static void plan_block_that_never_comes_times_out(void **state)
{
	(void)state;
	streamed_run("shm", never_started, 2, 2, impatient);
}

/* A stream that computes for longer than that harms nobody. */
static void slow_stream(struct rank *rank)
{
	struct streamed_common *common = rank->arg;
	struct gate *gate = &common->gate[rank->rank];
	struct kvr_block block;
	struct streamed s;

	streamed_open(&s, rank);
	kvr_block_init(&block);
	streamed_fill(&s, 0);
	CHECK_STATUS(kvr_pass_start_on_stream(s.plan, 0, s.stream), KVR_OK);
	for (uint32_t step = 0; step < rank->n; step++) {
		CHECK_STATUS(
			kvr_pass_next_on_stream(s.plan, 0, s.stream, &block),
			KVR_OK);
		streamed_check(&s, &block);
	}
	streamed_gate(&s, gate);
	CHECK_STATUS(kvr_pass_end_on_stream(s.plan, s.stream), KVR_OK);
	gate_await(gate);
	for (uint64_t until = kvr_clock_ns() + 200 * KVR_NS_PER_MS;
	     kvr_clock_ns() < until;)
		streamed_pause();
	atomic_store(&gate->open, true);
	streamed_sync(&s);
	streamed_meet(rank, 0);
	streamed_close(&s, true);
}

static void plan_long_computing_does_not_time_out(void **state)
{
	(void)state;
	streamed_run("shm", slow_stream, 1, 2, impatient);
}

/* ---------------------------------------------------------------- cancel */

/* Rank 0 cancels a pass that the others wait in; the next one is exact. */
static void cancelled(struct rank *rank)
{
	struct streamed_common *common = rank->arg;
	struct gate *gate = &common->gate[0];
	enum kvr_status status;
	struct streamed s;

	streamed_open(&s, rank);
	for (uint32_t i = 0; i < 3; i++)
		streamed_pass(&s, i % 2, rank->n);
	streamed_sync(&s);
	CHECK_STATUS(kvr_stream_plan_check(s.plan), KVR_OK);
	CHECK(atomic_load(&s.right) == 3 * rank->n);

	s.blind = true;
	streamed_fill(&s, 1);
	CHECK_STATUS(kvr_pass_start_on_stream(s.plan, 1, s.stream), KVR_OK);
	streamed_step(&s);
	if (rank->rank == 0)
		streamed_gate(&s, gate);
	for (uint32_t step = 1; step < rank->n; step++)
		streamed_step(&s);
	CHECK_STATUS(kvr_pass_end_on_stream(s.plan, s.stream), KVR_OK);
	if (rank->rank == 0) {
		gate_await(gate);
		CHECK_STATUS(kvr_pass_cancel(kvr_stream_plan_pass(s.plan)),
			     KVR_OK);
		atomic_store(&gate->open, true);
	}
	streamed_sync(&s);
	/* Whose blocks were under way before may have them all. */
	status = kvr_stream_plan_check(s.plan);
	CHECK(status == KVR_ERR_CANCELLED || status == KVR_OK);
	CHECK_STATUS(kvr_stream_plan_check(s.plan), KVR_OK);

	s.blind = false;
	atomic_store(&s.right, 0);
	for (uint32_t i = 0; i < 5; i++)
		streamed_pass(&s, i % 2, rank->n);
	streamed_sync(&s);
	CHECK(atomic_load(&s.right) == 5 * rank->n);
	streamed_close(&s, true);
}

static void plan_cancelled_pass_leaves_the_next_exact(void **state)
{
	(void)state;
	streamed_run_all(cancelled, 2, 2);
	streamed_run_all(cancelled, 4, 2);
}

/* Cancelled before anything but the local block is there. */
static void cancelled_first(struct rank *rank)
{
	struct streamed_common *common = rank->arg;
	struct gate *gate = &common->gate[0];
	enum kvr_status status;
	struct streamed s;

	streamed_open(&s, rank);
	s.blind = true;
	if (rank->rank) {
		/* Rank 0's stream gets what was never sent. */
		gate_await(gate);
		streamed_pass(&s, 0, rank->n);
		streamed_sync(&s);
		/* Unless rank 0's block was on its way before. */
		status = kvr_stream_plan_check(s.plan);
		CHECK(status == KVR_ERR_CANCELLED || status == KVR_OK);
	} else {
		streamed_fill(&s, 0);
		CHECK_STATUS(kvr_pass_start_on_stream(s.plan, 0, s.stream),
			     KVR_OK);
		while (kvr_pass_cancel(kvr_stream_plan_pass(s.plan)) != KVR_OK)
			streamed_pause();
		for (uint32_t step = 0; step < rank->n; step++)
			streamed_step(&s);
		CHECK_STATUS(kvr_pass_end_on_stream(s.plan, s.stream), KVR_OK);
		streamed_sync(&s);
		CHECK_STATUS(kvr_stream_plan_check(s.plan), KVR_ERR_CANCELLED);
		atomic_store(&gate->reached, true);
	}
	s.blind = false;
	streamed_pass(&s, 1, rank->n);
	streamed_close(&s, true);
}

static void plan_cancelled_at_once_gives_all_steps(void **state)
{
	(void)state;
	streamed_run_all(cancelled_first, 2, 2);
}

/* ---------------------------------------------------------------- misuse */

/* The same graph on two streams at once. */
static void second_start(struct rank *rank)
{
	struct streamed_common *common = rank->arg;
	struct gate *gate = &common->gate[rank->rank];
	struct played_queue *queue = played_queue_open();
	struct played_stream *other = played_stream_open(queue);
	struct played_graph *graph;
	struct streamed s;

	streamed_open(&s, rank);
	s.blind = true;
	streamed_meet(rank, 1);
	played_capture(s.stream);
	streamed_fill(&s, 0);
	CHECK_STATUS(kvr_pass_start_on_stream(s.plan, 0, s.stream), KVR_OK);
	streamed_step(&s);
	streamed_gate(&s, gate);
	for (uint32_t step = 1; step < rank->n; step++)
		streamed_step(&s);
	CHECK_STATUS(kvr_pass_end_on_stream(s.plan, s.stream), KVR_OK);
	graph = played_capture_end(s.stream);
	CHECK_STATUS(kvr_stream_plan_expect(s.plan, 2), KVR_OK);
	played_launch(s.stream, graph);
	gate_await(gate);
	streamed_meet(rank, 0);
	if (rank->rank == 1)
		played_launch(other, graph);
	CHECK_STATUS(await_status(s.plan),
		     rank->rank == 1 ? KVR_ERR_STATE : KVR_ERR_ABORTED);
	CHECK(rank->rank != 1 || strstr(rank->log, "while one is open"));
	atomic_store(&gate->open, true);
	played_sync(other);
	streamed_close(&s, false);
	played_graph_free(graph);
	played_stream_close(other);
	played_queue_close(queue);
}

static void plan_second_start_is_reported_to_all(void **state)
{
	(void)state;
	streamed_run_all(second_start, 2, 1);
	streamed_run_all(second_start, 3, 2);
}

/* One pass of three hops in two slots, replayed. */
static void wrong_slots(struct rank *rank)
{
	struct played_graph *graph;
	enum kvr_status status;
	struct streamed s;

	streamed_open(&s, rank);
	streamed_meet(rank, 1);
	played_capture(s.stream);
	streamed_pass(&s, 0, rank->n);
	graph = played_capture_end(s.stream);
	CHECK_STATUS(kvr_stream_plan_expect(s.plan, 2), KVR_OK);
	played_launch(s.stream, graph);
	streamed_sync(&s);
	CHECK(atomic_load(&s.right) == rank->n);
	streamed_meet(rank, 0);
	played_launch(s.stream, graph);
	streamed_sync(&s);
	status = await_status(s.plan);
	CHECK(status == KVR_ERR_STATE || status == KVR_ERR_ABORTED);
	CHECK(status != KVR_ERR_STATE || strstr(rank->log, "in other slots"));
	streamed_close(&s, false);
	played_graph_free(graph);
}

static void plan_replay_in_other_slots_is_reported(void **state)
{
	(void)state;
	/* Not fake: what is let through reads while others write. */
	streamed_run("shm", wrong_slots, 4, 2, NULL);
}

static void wrong_calls(struct rank *rank)
{
	struct kvr_stream_plan *second;
	struct kvr_block block;
	struct kvr_pass *pass;
	struct streamed s;

	streamed_open(&s, rank);
	kvr_block_init(&block);
	CHECK_STATUS(kvr_pass_begin(rank->ring, &s.passes[0], &pass),
		     KVR_ERR_STATE);
	CHECK_STATUS(kvr_stream_plan_create_on(&played_ops, rank->ring,
					       s.passes, 1, &second),
		     KVR_ERR_STATE);
	CHECK_STATUS(kvr_pass_start_on_stream(s.plan, 2, s.stream),
		     KVR_ERR_INVALID);
	CHECK_STATUS(kvr_pass_next_on_stream(s.plan, 0, s.stream, &block),
		     KVR_ERR_STATE);
	CHECK_STATUS(kvr_pass_release_on_stream(s.plan, 0, 0, s.stream),
		     KVR_ERR_STATE);
	CHECK_STATUS(kvr_pass_end_on_stream(s.plan, s.stream), KVR_ERR_STATE);
	streamed_fill(&s, 0);
	CHECK_STATUS(kvr_pass_start_on_stream(s.plan, 0, s.stream), KVR_OK);
	CHECK_STATUS(kvr_pass_start_on_stream(s.plan, 0, s.stream),
		     KVR_ERR_STATE);
	CHECK_STATUS(kvr_pass_next_on_stream(s.plan, 1, s.stream, &block),
		     KVR_ERR_INVALID);
	for (uint32_t step = 0; step < rank->n; step++) {
		CHECK_STATUS(
			kvr_pass_release_on_stream(s.plan, 0, step, s.stream),
			KVR_ERR_STATE);
		streamed_step(&s);
		CHECK_STATUS(
			kvr_pass_release_on_stream(s.plan, 0, step, s.stream),
			KVR_ERR_STATE);
	}
	CHECK_STATUS(kvr_pass_next_on_stream(s.plan, 0, s.stream, &block),
		     KVR_ERR_END);
	/* What is the stream's is nobody else's. */
	pass = kvr_stream_plan_pass(s.plan);
	CHECK_STATUS(kvr_pass_next(pass, 0, &block), KVR_ERR_STATE);
	CHECK_STATUS(kvr_pass_release(pass, 0, 0), KVR_ERR_STATE);
	CHECK_STATUS(kvr_pass_end(pass), KVR_ERR_STATE);
	CHECK_STATUS(kvr_pass_end_on_stream(s.plan, s.stream), KVR_OK);
	CHECK_STATUS(kvr_stream_plan_check(NULL), KVR_ERR_INVALID);
	CHECK_STATUS(kvr_stream_plan_expect(NULL, 1), KVR_ERR_INVALID);
	streamed_sync(&s);
	CHECK(atomic_load(&s.right) == rank->n);
	streamed_close(&s, true);
}

static void plan_wrong_calls_are_refused(void **state)
{
	(void)state;
	streamed_run_all(wrong_calls, 2, 2);
}

/* Passes that could never begin. */
static void wrong_passes(struct rank *rank)
{
	struct kvr_stream_plan *plan = NULL;
	struct streamed s;

	streamed_open(&s, rank);
	kvr_stream_plan_destroy(s.plan);
	s.plan = NULL;
	s.passes[1].hops = rank->n;
	CHECK_STATUS(kvr_stream_plan_create_on(&played_ops, rank->ring,
					       s.passes, 2, &plan),
		     KVR_ERR_INVALID);
	s.passes[1].hops = KVR_HOPS_ALL;
	s.segment[1].offset = (size_t)STREAMED_PASSES * STREAMED_BYTES;
	CHECK_STATUS(kvr_stream_plan_create_on(&played_ops, rank->ring,
					       s.passes, 2, &plan),
		     KVR_ERR_INVALID);
	s.segment[1] =
		(struct kvr_segment){s.memory, 0, (size_t)2 * STREAMED_BYTES};
	CHECK_STATUS(kvr_stream_plan_create_on(&played_ops, rank->ring,
					       s.passes, 2, &plan),
		     KVR_ERR_LIMIT);
	CHECK(!plan);
	CHECK_STATUS(kvr_stream_plan_create(NULL, s.passes, 1, &plan),
		     KVR_ERR_INVALID);
	CHECK_STATUS(kvr_stream_plan_create(rank->ring, s.passes, 0, &plan),
		     KVR_ERR_INVALID);
	CHECK_STATUS(kvr_stream_plan_create(rank->ring, s.passes,
					    KVR_STREAM_PASSES_MAX + 1, &plan),
		     KVR_ERR_LIMIT);
	streamed_close(&s, false);
}

static void small_slots(uint32_t rank, struct kvr_ring_options *options)
{
	(void)rank;
	options->lane[0].slot_bytes = STREAMED_BYTES;
}

static void plan_of_wrong_passes_is_refused(void **state)
{
	(void)state;
	streamed_run("fake", wrong_passes, 2, 2, small_slots);
}

/* The ring is closed first: the caller's mistake, but nothing hangs. */
static void closed_first(struct rank *rank)
{
	struct kvr_block block;
	struct streamed s;

	streamed_open(&s, rank);
	streamed_pass(&s, 0, rank->n);
	streamed_sync(&s);
	streamed_meet(rank, 0);
	kvr_ring_close(rank->ring);
	rank->ring = NULL;
	CHECK(strstr(rank->log, "kvr_ring_close before"));
	kvr_block_init(&block);
	CHECK_STATUS(kvr_pass_start_on_stream(s.plan, 0, s.stream),
		     KVR_ERR_STATE);
	CHECK_STATUS(kvr_pass_next_on_stream(s.plan, 0, s.stream, &block),
		     KVR_ERR_STATE);
	CHECK_STATUS(kvr_stream_plan_expect(s.plan, 1), KVR_ERR_STATE);
	streamed_close(&s, true);
}

static void plan_of_a_closed_ring_is_only_destroyed(void **state)
{
	(void)state;
	streamed_run_all(closed_first, 2, 2);
}

/* -------------------------------------------------------------- unwinding */

/* Two passes, whatever call of the device's fails. False: one did. */
static bool try_passes(struct streamed *s)
{
	struct kvr_block block;
	enum kvr_status status = KVR_OK;

	kvr_block_init(&block);
	status =
		kvr_stream_plan_create_on(&played_ops, s->rank->ring, s->passes,
					  STREAMED_PASSES, &s->plan);
	for (size_t i = 0; i < 2 && status == KVR_OK; i++) {
		streamed_fill(s, i);
		status = kvr_pass_start_on_stream(s->plan, i, s->stream);
		if (status == KVR_OK)
			status = kvr_pass_next_on_stream(s->plan, 0, s->stream,
							 &block);
		if (status == KVR_OK)
			status = kvr_pass_release_on_stream(s->plan, 0, 0,
							    s->stream);
		if (status == KVR_OK)
			status = kvr_pass_end_on_stream(s->plan, s->stream);
	}
	if (status != KVR_OK) {
		CHECK_STATUS(status, KVR_ERR_DEVICE);
		CHECK(strstr(s->rank->log, "it fails, as told"));
		if (s->plan)
			CHECK_STATUS(
				kvr_pass_start_on_stream(s->plan, 0, s->stream),
				KVR_ERR_DEVICE);
	}
	streamed_sync(s);
	kvr_stream_plan_destroy(s->plan);
	s->plan = NULL;
	return status == KVR_OK;
}

/* Alone, so that no other rank's call is the n-th. The ring stays whole. */
static void fails_once(struct rank *rank)
{
	struct streamed s;
	unsigned n = 1;

	streamed_open(&s, rank);
	kvr_stream_plan_destroy(s.plan);
	s.plan = NULL;
	for (;; n++) {
		rank->log[0] = '\0';
		played_fail_at(n);
		if (try_passes(&s))
			break;
		CHECK(played_failed());
	}
	played_fail_at(0);
	/* words_open; capturing, start, wait, write, release, end, wait, write
	 */
	CHECK(n == 1 + 2 * 8 + 1);
	streamed_close(&s, false);
}

static void plan_nth_call_failing_unwinds(void **state)
{
	(void)state;
	streamed_run("fake", fails_once, 1, 2, NULL);
}

/* Slots are mapped one by one: the second and the third fail. */
static void fails_mapping(struct rank *rank)
{
	struct kvr_stream_plan *plan = NULL;
	struct streamed s;

	streamed_open(&s, rank);
	kvr_stream_plan_destroy(s.plan);
	s.plan = NULL;
	streamed_meet(rank, 0);
	if (rank->rank == 0) {
		CHECK(played_mapped() == 0);
		for (unsigned n = 2; n <= 3; n++) {
			played_fail_at(n);
			CHECK_STATUS(kvr_stream_plan_create_on(
					     &played_ops, rank->ring, s.passes,
					     1, &plan),
				     KVR_ERR_DEVICE);
			CHECK(played_failed() && played_mapped() == 0);
		}
		CHECK_STATUS(kvr_stream_plan_create_on(&played_ops, rank->ring,
						       s.passes, 1, &plan),
			     KVR_OK);
		CHECK(played_mapped() == 2);
		kvr_stream_plan_destroy(plan);
		CHECK(played_mapped() == 0);
	}
	streamed_meet(rank, 1);
	streamed_close(&s, false);
}

static void plan_unmapped_slot_unwinds(void **state)
{
	(void)state;
	streamed_run("shm", fails_mapping, 2, 2, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plan_abort_lets_every_wait_through),
		cmocka_unit_test(plan_abort_of_an_open_pass_lets_it_end),
		cmocka_unit_test(plan_block_that_never_comes_times_out),
		cmocka_unit_test(plan_long_computing_does_not_time_out),
		cmocka_unit_test(plan_cancelled_pass_leaves_the_next_exact),
		cmocka_unit_test(plan_cancelled_at_once_gives_all_steps),
		cmocka_unit_test(plan_second_start_is_reported_to_all),
		cmocka_unit_test(plan_replay_in_other_slots_is_reported),
		cmocka_unit_test(plan_wrong_calls_are_refused),
		cmocka_unit_test(plan_of_wrong_passes_is_refused),
		cmocka_unit_test(plan_of_a_closed_ring_is_only_destroyed),
		cmocka_unit_test(plan_nth_call_failing_unwinds),
		cmocka_unit_test(plan_unmapped_slot_unwinds),
	};

	return cmocka_run_group_tests_name("stream_faults", tests, NULL, NULL);
}
