/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Passes on emulated CUDA streams, by the plug-in's own operations: kernels
 * read landing slots of the host, graphs are replayed, calls fail.
 */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "compute/cuda/driver.h"
#include "compute/cuda/stream.h"
#include "runtime/stream_plan.h"
#include "tests/emulated_cuda/emulated.h"
#include "tests/emulated_cuda/stream/kernels.h"
#include "tests/support/ranks.h"

#define REPLAYS 6

#define CHECK_CUDA(call) CHECK((call) == cudaSuccess)

/* One rank's. */
struct seat {
	struct rank *rank;
	cudaStream_t stream;
	uint8_t *local; /* mapped */
	struct stamped_counts *counts;
	struct kvr_memory *memory;
	struct kvr_segment segment;
	struct kvr_pass_desc pass;
	struct kvr_stream_plan *plan;
};

static const struct kvr_accelerator_stream_ops *operations =
	&kvr_cuda_stream_ops;

static void seat_open(struct seat *s, struct rank *rank)
{
	CHECK_STATUS(rank->opened, KVR_OK);
	*s = (struct seat){.rank = rank};
	CHECK_CUDA(
		cudaStreamCreateWithFlags(&s->stream, cudaStreamNonBlocking));
	CHECK_CUDA(cudaHostAlloc((void **)&s->local, STAMPED_BYTES,
				 cudaHostAllocMapped));
	CHECK_CUDA(cudaHostAlloc((void **)&s->counts, sizeof(*s->counts),
				 cudaHostAllocMapped));
	memset(s->local, 0, STAMPED_BYTES);
	memset(s->counts, 0, sizeof(*s->counts));
	CHECK_STATUS(kvr_memory_register(rank->context, s->local, STAMPED_BYTES,
					 &s->memory),
		     KVR_OK);
	s->segment = (struct kvr_segment){s->memory, 0, STAMPED_BYTES};
	kvr_pass_desc_init(&s->pass);
	s->pass.lane[0].segments = &s->segment;
	s->pass.lane[0].segment_count = 1;
}

static void seat_plan(struct seat *s)
{
	CHECK_STATUS(kvr_stream_plan_create_on(operations, s->rank->ring,
					       &s->pass, 1, &s->plan),
		     KVR_OK);
}

static void seat_close(struct seat *s)
{
	CHECK_CUDA(cudaStreamSynchronize(s->stream));
	kvr_stream_plan_destroy(s->plan);
	kvr_memory_deregister(s->memory);
	CHECK_CUDA(cudaFreeHost(s->counts));
	CHECK_CUDA(cudaFreeHost(s->local));
	CHECK_CUDA(cudaStreamDestroy(s->stream));
}

static enum kvr_status put_step(struct seat *s)
{
	struct kvr_block block;
	enum kvr_status status;

	kvr_block_init(&block);
	status = kvr_pass_next_on_stream(s->plan, 0, s->stream, &block);
	if (status != KVR_OK)
		return status;
	CHECK_CUDA(stamped_compare(block.data, block.origin, s->counts,
				   s->stream));
	return kvr_pass_release_on_stream(s->plan, 0, block.step, s->stream);
}

static enum kvr_status put_pass(struct seat *s)
{
	enum kvr_status status;

	CHECK_CUDA(stamped_fill(s->local, s->rank->rank, s->counts, s->stream));
	status = kvr_pass_start_on_stream(s->plan, 0, s->stream);
	for (uint32_t i = 0; i < s->rank->n && status == KVR_OK; i++)
		status = put_step(s);
	return status == KVR_OK ? kvr_pass_end_on_stream(s->plan, s->stream)
				: status;
}

static cudaGraphExec_t capture(struct seat *s, uint32_t passes)
{
	cudaGraphExec_t exec;
	cudaGraph_t graph;

	CHECK_CUDA(cudaStreamBeginCapture(s->stream,
					  cudaStreamCaptureModeThreadLocal));
	for (uint32_t i = 0; i < passes; i++)
		CHECK_STATUS(put_pass(s), KVR_OK);
	CHECK_CUDA(cudaStreamEndCapture(s->stream, &graph));
	CHECK_CUDA(cudaGraphInstantiate(&exec, graph, 0));
	CHECK_CUDA(cudaGraphDestroy(graph));
	return exec;
}

static void launch(struct seat *s, cudaGraphExec_t exec, uint32_t passes)
{
	CHECK_STATUS(kvr_stream_plan_expect(s->plan, passes), KVR_OK);
	CHECK_CUDA(cudaGraphLaunch(exec, s->stream));
}

static void run(const char *transport, void (*body)(struct rank *), uint32_t n,
		uint32_t slots, void *arg)
{
	struct ranks ranks;

	ranks_init(&ranks, n);
	ranks.transport = transport;
	ranks.options.slots = slots;
	ranks.body = body;
	ranks.arg = arg;
	ranks_run(&ranks);
}

static void run_all(void (*body)(struct rank *), uint32_t n, uint32_t slots)
{
	run("fake", body, n, slots, NULL);
	run("shm", body, n, slots, NULL);
}

static void replay(struct rank *rank, uint32_t passes)
{
	cudaGraphExec_t exec;
	struct seat s;

	seat_open(&s, rank);
	seat_plan(&s);
	exec = capture(&s, passes);
	for (uint32_t i = 0; i < REPLAYS; i++)
		launch(&s, exec, passes);
	CHECK_CUDA(cudaStreamSynchronize(s.stream));
	CHECK_STATUS(kvr_stream_plan_check(s.plan), KVR_OK);
	CHECK(s.counts->right == REPLAYS * passes * rank->n);
	CHECK(s.counts->wrong == 0);
	CHECK_CUDA(cudaGraphExecDestroy(exec));
	seat_close(&s);
}

static void replay_one(struct rank *rank)
{
	replay(rank, 1);
}

static void replay_two(struct rank *rank)
{
	replay(rank, 2);
}

static void emulated_replays_compute_each_replay(void **state)
{
	(void)state;
	run_all(replay_one, 2, 1);
	run_all(replay_one, 3, 2);
	run_all(replay_two, 4, 2);
}

static void emulated_32_bit_words_compute_the_same(void **state)
{
	(void)state;
	kvr_emulated_set_attribute(
		0, CU_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS, 0);
	run("shm", replay_one, 2, 1, NULL);
	kvr_emulated_set_attribute(
		0, CU_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS, 1);
}

/* Put on the stream one by one, as far ahead as there are. */
static void ahead(struct rank *rank)
{
	struct seat s;

	seat_open(&s, rank);
	seat_plan(&s);
	for (uint32_t i = 0; i < REPLAYS; i++)
		CHECK_STATUS(put_pass(&s), KVR_OK);
	CHECK_CUDA(cudaStreamSynchronize(s.stream));
	CHECK_STATUS(kvr_stream_plan_check(s.plan), KVR_OK);
	CHECK(s.counts->right == REPLAYS * rank->n && s.counts->wrong == 0);
	seat_close(&s);
}

static void emulated_passes_put_ahead_are_exact(void **state)
{
	(void)state;
	run_all(ahead, 4, 2);
}

/* Rank 0 starts nothing, and gives the ring up; launched graphs end. */
static void aborted(struct rank *rank)
{
	atomic_uint *there = rank->arg;
	const struct timespec pause = {.tv_nsec = 1000000};
	cudaGraphExec_t exec;
	struct seat s;

	seat_open(&s, rank);
	seat_plan(&s);
	exec = capture(&s, 1);
	if (rank->rank)
		for (uint32_t i = 0; i < REPLAYS; i++)
			launch(&s, exec, 1);
	atomic_fetch_add(there, 1);
	while (atomic_load(there) < rank->n)
		nanosleep(&pause, NULL);
	if (rank->rank == 0)
		kvr_ring_abort(rank->ring);
	CHECK_CUDA(cudaStreamSynchronize(s.stream));
	while (kvr_stream_plan_check(s.plan) == KVR_OK)
		nanosleep(&pause, NULL);
	CHECK_STATUS(kvr_stream_plan_check(s.plan), KVR_ERR_ABORTED);
	CHECK_CUDA(cudaGraphExecDestroy(exec));
	seat_close(&s);
}

static void emulated_abort_lets_launched_graphs_end(void **state)
{
	atomic_uint there = 0;

	(void)state;
	run("shm", aborted, 3, 2, &there);
}

/* ------------------------------------------------------- planted mistakes */

/* What a growing number is at the next replay: long reached. */
static enum kvr_status wait_geq(const struct kvr_accelerator_words *words,
				size_t offset, uint32_t value, void *stream,
				char *reason, size_t reason_bytes)
{
	(void)reason, (void)reason_bytes;
	return kvr_cuda_driver.stream_wait_value64(
		       stream, words->device + offset, value,
		       CU_STREAM_WAIT_VALUE_GEQ) == CUDA_SUCCESS
		       ? KVR_OK
		       : KVR_ERR_DEVICE;
}

/* And so nobody sets it back. */
static enum kvr_status write_on(const struct kvr_accelerator_words *words,
				size_t offset, uint32_t value, void *stream,
				char *reason, size_t reason_bytes)
{
	return value ? kvr_cuda_stream_ops.write(words, offset, value, stream,
						 reason, reason_bytes)
		     : KVR_OK;
}

struct stale {
	atomic_bool go;
	atomic_uint there, wrong;
};

/* Rank 1 holds its second replay back until rank 0's is over, or waits. */
static void stale(struct rank *rank)
{
	const struct timespec pause = {.tv_nsec = 1000000};
	struct stale *shared = rank->arg;
	cudaGraphExec_t exec;
	struct seat s;

	seat_open(&s, rank);
	seat_plan(&s);
	exec = capture(&s, 1);
	launch(&s, exec, 1);
	CHECK_CUDA(cudaStreamSynchronize(s.stream));
	CHECK(s.counts->right == rank->n);
	atomic_fetch_add(&shared->there, 1);
	while (atomic_load(&shared->there) < rank->n ||
	       (rank->rank && !atomic_load(&shared->go)))
		nanosleep(&pause, NULL);
	launch(&s, exec, 1);
	if (operations != &kvr_cuda_stream_ops && rank->rank == 0)
		CHECK_CUDA(cudaStreamSynchronize(s.stream));
	else
		nanosleep(&pause, NULL);
	atomic_store(&shared->go, true);
	CHECK_CUDA(cudaStreamSynchronize(s.stream));
	atomic_fetch_add(&shared->wrong, s.counts->wrong);
	CHECK_CUDA(cudaGraphExecDestroy(exec));
	seat_close(&s);
}

static void emulated_growing_number_is_stale_at_replay(void **state)
{
	struct kvr_accelerator_stream_ops planted = kvr_cuda_stream_ops;
	struct stale shared;

	(void)state;
	memset(&shared, 0, sizeof(shared));
	run("shm", stale, 2, 1, &shared);
	assert_int_equal(atomic_load(&shared.wrong), 0);
	planted.wait = wait_geq;
	planted.write = write_on;
	operations = &planted;
	memset(&shared, 0, sizeof(shared));
	run("shm", stale, 2, 1, &shared);
	operations = &kvr_cuda_stream_ops;
	assert_true(atomic_load(&shared.wrong) > 0);
}

/* -------------------------------------------------------------- unwinding */

/* Whatever call fails: the error comes back, and all that was made is gone. */
static bool try_plan(struct seat *s)
{
	enum kvr_status status;

	status = kvr_stream_plan_create_on(operations, s->rank->ring, &s->pass,
					   1, &s->plan);
	if (status == KVR_OK)
		status = kvr_pass_start_on_stream(s->plan, 0, s->stream);
	if (status == KVR_OK)
		status = put_step(s);
	if (status == KVR_OK)
		status = kvr_pass_end_on_stream(s->plan, s->stream);
	CHECK(status == KVR_OK || status == KVR_ERR_DEVICE ||
	      status == KVR_ERR_NO_MEMORY);
	kvr_emulated_fail_call(0, cudaSuccess);
	CHECK_CUDA(cudaStreamSynchronize(s->stream));
	kvr_stream_plan_destroy(s->plan);
	s->plan = NULL;
	return status == KVR_OK;
}

/* The call under test is not a kernel's launch, which is the caller's. */
static void each_fails(struct rank *rank)
{
	/* As cuda.h names the symbol, and as the log names the call. */
	static const struct {
		const char *symbol, *name;
	} calls[] = {
		{"cudaGetDevice", "cudaGetDevice"},
		{"cudaHostAlloc", "cudaHostAlloc"},
		{"cudaHostGetDevicePointer", "cudaHostGetDevicePointer"},
		{"cudaStreamIsCapturing", "cudaStreamIsCapturing"},
		{"cuStreamWaitValue64_v2", "cuStreamWaitValue64"},
		{"cuStreamWriteValue64_v2", "cuStreamWriteValue64"},
	};
	struct seat s;
	unsigned failed = 0;

	seat_open(&s, rank);
	CHECK(try_plan(&s));
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		for (unsigned n = 1;; n++) {
			rank->log[0] = '\0';
			kvr_emulated_fail_named(calls[i].symbol, n,
						cudaErrorUnknown);
			if (try_plan(&s))
				break;
			CHECK(strstr(rank->log, calls[i].name));
			failed++;
		}
	}
	/* One each of four; two waits; start, ready, released, end, done. */
	CHECK(failed == 4 + 2 + 5);
	CHECK(try_plan(&s));
	seat_close(&s);
}

/* Two slots to be mapped, by three calls each. */
static void mapping_fails(struct rank *rank)
{
	static const char *const calls[] = {
		"cudaPointerGetAttributes",
		"cudaHostRegister",
		"cudaHostGetDevicePointer",
	};
	atomic_uint *there = rank->arg;
	unsigned failed = 0;
	struct seat s;

	seat_open(&s, rank);
	/* Others' calls would be counted, too: one rank alone. */
	while (atomic_load(there) != rank->rank)
		sched_yield();
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		for (unsigned n = 1;; n++) {
			rank->log[0] = '\0';
			kvr_emulated_fail_named(calls[i], n, cudaErrorUnknown);
			if (kvr_stream_plan_create_on(operations, rank->ring,
						      &s.pass, 1,
						      &s.plan) == KVR_OK)
				break;
			CHECK(strstr(rank->log, calls[i]));
			failed++;
		}
		kvr_emulated_fail_call(0, cudaSuccess);
		kvr_stream_plan_destroy(s.plan);
		s.plan = NULL;
	}
	/* The words need a pointer of the device's, too. */
	CHECK(failed == 2 + 2 + 3);
	atomic_fetch_add(there, 1);
	seat_close(&s);
}

static void emulated_slot_not_mapped_unwinds(void **state)
{
	atomic_uint there = 0;

	(void)state;
	run("shm", mapping_fails, 2, 2, &there);
}

static void emulated_nth_call_failing_unwinds(void **state)
{
	(void)state;
	run("shm", each_fails, 1, 2, NULL);
}

/* By name of a call, not of a version: as the plug-in looks them up. */
static int load(void **state)
{
	const char *missing;

	(void)state;
	return kvr_emulated_cuda_marker[0] &&
			       kvr_cuda_driver_load(&missing) == cudaSuccess
		       ? 0
		       : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(emulated_replays_compute_each_replay),
		cmocka_unit_test(emulated_32_bit_words_compute_the_same),
		cmocka_unit_test(emulated_passes_put_ahead_are_exact),
		cmocka_unit_test(emulated_abort_lets_launched_graphs_end),
		cmocka_unit_test(emulated_growing_number_is_stale_at_replay),
		cmocka_unit_test(emulated_nth_call_failing_unwinds),
		cmocka_unit_test(emulated_slot_not_mapped_unwinds),
	};

	return cmocka_run_group_tests_name("emulated_stream", tests, load,
					   NULL);
}
