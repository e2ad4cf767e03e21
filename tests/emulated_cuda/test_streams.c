/* SPDX-License-Identifier: Apache-2.0 */
/* Streams, events, words and graphs of the emulation. */
#include <cuda.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/emulated_cuda/emulated.h"
#include "tests/emulated_cuda/test_kernels.h"

typedef CUresult (*value_call)(CUstream, CUdeviceptr, cuuint32_t, unsigned);

struct fixture {
	cudaStream_t one, two;
	cudaEvent_t event;
	float *device, *host; /* 32 of each, zero */
	uint32_t *word;	      /* pinned, zero */
	value_call wait_value, write_value;
	int go;
};

static void ok(int error)
{
	assert_int_equal(error, 0);
}

static void *entry(const char *name)
{
	enum cudaDriverEntryPointQueryResult found;
	void *function;

	ok(cudaGetDriverEntryPointByVersion(name, &function, 12000,
					    cudaEnableDefault, &found));
	assert_int_equal(found, cudaDriverEntryPointSuccess);
	return function;
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	kvr_emulated_reset();
	ok(cudaStreamCreateWithFlags(&f->one, cudaStreamNonBlocking));
	ok(cudaStreamCreateWithFlags(&f->two, cudaStreamNonBlocking));
	ok(cudaEventCreate(&f->event));
	ok(cudaMalloc((void **)&f->device, 32 * sizeof(float)));
	ok(cudaMemset(f->device, 0, 32 * sizeof(float)));
	ok(cudaMallocHost((void **)&f->host, 32 * sizeof(float)));
	ok(cudaMallocHost((void **)&f->word, 2 * sizeof(uint32_t)));
	memset(f->word, 0, 2 * sizeof(uint32_t));
	f->wait_value = (value_call)entry("cuStreamWaitValue32");
	f->write_value = (value_call)entry("cuStreamWriteValue32");
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	/* A test that failed may have left a stream waiting. */
	__atomic_store_n(&f->go, 1, __ATOMIC_RELEASE);
	ok(cudaStreamDestroy(f->one));
	ok(cudaStreamDestroy(f->two));
	ok(cudaEventDestroy(f->event));
	ok(cudaFree(f->device));
	ok(cudaFreeHost(f->host));
	ok(cudaFreeHost(f->word));
	free(f);
	kvr_emulated_reset();
	return 0;
}

static void hold(void *argument)
{
	while (!__atomic_load_n((int *)argument, __ATOMIC_ACQUIRE))
		usleep(200);
}

static void let_go(struct fixture *f)
{
	__atomic_store_n(&f->go, 1, __ATOMIC_RELEASE);
}

static float fetch(struct fixture *f)
{
	ok(cudaMemcpyAsync(f->host, f->device, 32 * sizeof(float),
			   cudaMemcpyDeviceToHost, f->one));
	ok(cudaStreamSynchronize(f->one));
	return f->host[31];
}

/* Given time to do what it must not do yet, the stream is still busy. */
static void assert_stays_busy(cudaStream_t stream)
{
	for (int i = 0; i < 25; i++) {
		assert_int_equal(cudaStreamQuery(stream), cudaErrorNotReady);
		usleep(2000);
	}
}

static void stream_busy_query_is_not_ready(void **state)
{
	struct fixture *f = *state;

	ok(cudaLaunchHostFunc(f->one, hold, &f->go));
	ok(cudaEventRecord(f->event, f->one));
	assert_int_equal(cudaStreamQuery(f->one), cudaErrorNotReady);
	assert_int_equal(cudaEventQuery(f->event), cudaErrorNotReady);
	let_go(f);
	ok(cudaEventSynchronize(f->event));
	ok(cudaEventQuery(f->event));
	ok(cudaStreamSynchronize(f->one));
	ok(cudaStreamQuery(f->one));
}

static void streams_without_event_do_not_wait_for_each_other(void **state)
{
	struct fixture *f = *state;

	ok(cudaLaunchHostFunc(f->one, hold, &f->go));
	ok(run_add_one(f->device, 32, f->two));
	ok(cudaStreamSynchronize(f->two));
	assert_int_equal(cudaStreamQuery(f->one), cudaErrorNotReady);
	let_go(f);
	assert_true(fetch(f) == 1);
}

static void event_waited_for_orders_streams(void **state)
{
	struct fixture *f = *state;

	ok(cudaLaunchHostFunc(f->one, hold, &f->go));
	ok(run_add_one(f->device, 32, f->one));
	ok(cudaEventRecord(f->event, f->one));
	ok(cudaStreamWaitEvent(f->two, f->event, 0));
	ok(run_add_one(f->device, 32, f->two));
	assert_stays_busy(f->two);
	let_go(f);
	ok(cudaStreamSynchronize(f->two));
	assert_true(fetch(f) == 2);
}

static void event_recorded_again_waits_for_the_last(void **state)
{
	struct fixture *f = *state;

	ok(cudaEventRecord(f->event, f->one));
	ok(cudaStreamWaitEvent(f->two, f->event, 0));
	ok(cudaStreamSynchronize(f->two));
	ok(cudaLaunchHostFunc(f->one, hold, &f->go));
	ok(cudaEventRecord(f->event, f->one));
	assert_int_equal(cudaEventQuery(f->event), cudaErrorNotReady);
	let_go(f);
	ok(cudaEventSynchronize(f->event));
}

static void event_never_recorded_is_no_wait(void **state)
{
	struct fixture *f = *state;

	ok(cudaStreamWaitEvent(f->one, f->event, 0));
	ok(cudaStreamSynchronize(f->one));
	ok(cudaEventQuery(f->event));
}

static void stream_legacy_waits_for_blocking_ones(void **state)
{
	struct fixture *f = *state;
	cudaStream_t blocking;

	ok(cudaStreamCreate(&blocking));
	ok(cudaLaunchHostFunc(blocking, hold, &f->go));
	ok(run_add_one(f->device, 32, NULL));
	ok(cudaStreamSynchronize(f->one)); /* non-blocking: not ordered */
	assert_stays_busy(NULL);
	let_go(f);
	ok(cudaStreamSynchronize(NULL));
	ok(cudaStreamDestroy(blocking));
	assert_true(fetch(f) == 1);
}

static void stream_destroyed_busy_finishes(void **state)
{
	struct fixture *f = *state;
	cudaStream_t gone;

	ok(cudaStreamCreateWithFlags(&gone, cudaStreamNonBlocking));
	for (int i = 0; i < 5; i++)
		ok(run_add_one(f->device, 32, gone));
	ok(cudaEventRecord(f->event, gone));
	ok(cudaStreamDestroy(gone));
	ok(cudaEventSynchronize(f->event));
	assert_true(fetch(f) == 5);
}

static void word_awaited_holds_until_written(void **state)
{
	struct fixture *f = *state;
	CUdeviceptr word = (CUdeviceptr)f->word;

	*f->word = 8;
	ok((int)f->wait_value(f->one, word, 7, CU_STREAM_WAIT_VALUE_EQ));
	ok(run_add_one(f->device, 32, f->one));
	ok((int)f->write_value(f->one, word, 9, 0));
	assert_stays_busy(f->one);
	__atomic_store_n(f->word, 7, __ATOMIC_RELEASE);
	ok(cudaStreamSynchronize(f->one));
	assert_int_equal(__atomic_load_n(f->word, __ATOMIC_ACQUIRE), 9);
}

static void word_compared_each_way_is_satisfied(void **state)
{
	static const struct {
		uint32_t now, value;
		unsigned how;
	} cases[] = {
		{5, 5, CU_STREAM_WAIT_VALUE_GEQ},
		{2, 0xfffffff0, CU_STREAM_WAIT_VALUE_GEQ}, /* cyclic */
		{6, 2, CU_STREAM_WAIT_VALUE_AND},
		{6, 1, CU_STREAM_WAIT_VALUE_NOR},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		*f->word = cases[i].now;
		ok((int)f->wait_value(f->one, (CUdeviceptr)f->word,
				      cases[i].value, cases[i].how));
		ok(cudaStreamSynchronize(f->one));
	}
}

static void word_unknown_to_cuda_is_refused(void **state)
{
	struct fixture *f = *state;
	uint32_t mine = 0;

	assert_int_equal(f->write_value(f->one, (CUdeviceptr)&mine, 1, 0),
			 CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(f->write_value(f->one, (CUdeviceptr)f->word + 2, 1, 0),
			 CUDA_ERROR_INVALID_VALUE);
}

static cudaGraphExec_t end_capture(struct fixture *f)
{
	cudaGraphExec_t exec;
	cudaGraph_t graph;

	ok(cudaStreamEndCapture(f->one, &graph));
	ok(cudaGraphInstantiate(&exec, graph, 0));
	ok(cudaGraphDestroy(graph));
	return exec;
}

static void begin_capture(struct fixture *f)
{
	ok(cudaStreamBeginCapture(f->one, cudaStreamCaptureModeThreadLocal));
}

static void capture_replayed_repeats_what_was_captured(void **state)
{
	struct fixture *f = *state;
	CUdeviceptr word = (CUdeviceptr)f->word;
	cudaGraphExec_t exec;

	begin_capture(f);
	ok((int)f->wait_value(f->one, word, 1, CU_STREAM_WAIT_VALUE_EQ));
	ok((int)f->write_value(f->one, word, 0, 0));
	ok(run_add_one(f->device, 32, f->one));
	ok((int)f->write_value(f->one, word + 4, 3, 0));
	exec = end_capture(f);
	ok(cudaStreamQuery(f->one)); /* nothing ran */
	for (uint32_t i = 1; i <= 3; i++) {
		ok(cudaGraphLaunch(exec, f->one));
		__atomic_store_n(f->word, 1, __ATOMIC_RELEASE);
		ok(cudaStreamSynchronize(f->one));
		assert_int_equal(__atomic_load_n(f->word, __ATOMIC_ACQUIRE), 0);
		assert_int_equal(f->word[1], 3);
		f->word[1] = 0;
		assert_true(fetch(f) == (float)i);
	}
	ok(cudaGraphExecDestroy(exec));
}

/* If the branches took turns, the first would wait for ever. */
static void capture_forked_branches_run_at_once(void **state)
{
	struct fixture *f = *state;
	CUdeviceptr word = (CUdeviceptr)f->word;
	cudaGraphExec_t exec;
	cudaEvent_t joined;

	ok(cudaEventCreateWithFlags(&joined, cudaEventDisableTiming));
	begin_capture(f);
	ok(cudaEventRecord(f->event, f->one));
	ok(cudaStreamWaitEvent(f->two, f->event, 0));
	ok((int)f->wait_value(f->one, word, 1, CU_STREAM_WAIT_VALUE_EQ));
	ok(run_add_one(f->device, 32, f->one));
	ok((int)f->write_value(f->two, word, 1, 0));
	ok(cudaEventRecord(joined, f->two));
	ok(cudaStreamWaitEvent(f->one, joined, 0));
	ok(run_add_one(f->device, 32, f->one));
	exec = end_capture(f);
	ok(cudaEventDestroy(joined));
	ok(cudaGraphLaunch(exec, f->one));
	assert_true(fetch(f) == 2);
	ok(cudaGraphExecDestroy(exec));
}

static void capture_joined_branch_comes_first(void **state)
{
	struct fixture *f = *state;
	CUdeviceptr word = (CUdeviceptr)f->word;
	cudaGraphExec_t exec;

	begin_capture(f);
	ok(cudaEventRecord(f->event, f->one));
	ok(cudaStreamWaitEvent(f->two, f->event, 0));
	ok((int)f->wait_value(f->one, word, 1, CU_STREAM_WAIT_VALUE_EQ));
	ok(cudaMemsetAsync(f->device, 0, 32 * sizeof(float), f->one));
	ok((int)f->write_value(f->two, word + 4, 1, 0));
	ok(cudaEventRecord(f->event, f->two));
	ok(cudaStreamWaitEvent(f->one, f->event, 0));
	ok(run_add_one(f->device, 32, f->one)); /* in the branch of two */
	exec = end_capture(f);
	ok(cudaGraphLaunch(exec, f->one));
	assert_stays_busy(f->one);
	__atomic_store_n(f->word, 1, __ATOMIC_RELEASE);
	assert_true(fetch(f) == 1);
	ok(cudaGraphExecDestroy(exec));
}

static void capture_unjoined_branch_is_refused(void **state)
{
	struct fixture *f = *state;
	cudaGraph_t graph;

	begin_capture(f);
	ok(cudaEventRecord(f->event, f->one));
	ok(cudaStreamWaitEvent(f->two, f->event, 0));
	ok(run_add_one(f->device, 32, f->two));
	assert_int_equal(cudaStreamEndCapture(f->one, &graph),
			 cudaErrorStreamCaptureUnjoined);
	ok(run_add_one(f->device, 32, f->two)); /* both work again */
	ok(cudaStreamSynchronize(f->two));
	assert_true(fetch(f) == 1);
}

static void capture_synchronized_is_spoilt(void **state)
{
	struct fixture *f = *state;
	enum cudaStreamCaptureStatus status;
	cudaGraph_t graph;

	begin_capture(f);
	ok(cudaStreamIsCapturing(f->one, &status));
	assert_int_equal(status, cudaStreamCaptureStatusActive);
	assert_int_equal(cudaStreamSynchronize(f->one),
			 cudaErrorStreamCaptureUnsupported);
	assert_int_equal(cudaStreamEndCapture(f->one, &graph),
			 cudaErrorStreamCaptureInvalidated);
	ok(cudaStreamIsCapturing(f->one, &status));
	assert_int_equal(status, cudaStreamCaptureStatusNone);
}

/* By how often they sleep: on a busy machine they hardly run either way. */
static void threads_waiting_sleep(void **state)
{
	struct fixture *f = *state;
	struct rusage before, after;

	ok((int)f->wait_value(f->one, (CUdeviceptr)f->word, 1,
			      CU_STREAM_WAIT_VALUE_EQ));
	ok(cudaEventRecord(f->event, f->one));
	ok(cudaStreamWaitEvent(f->two, f->event, 0));
	getrusage(RUSAGE_SELF, &before);
	usleep(200000);
	getrusage(RUSAGE_SELF, &after);
	__atomic_store_n(f->word, 1, __ATOMIC_RELEASE);
	ok(cudaStreamSynchronize(f->two));
	assert_true(after.ru_nvcsw - before.ru_nvcsw >= 5);
}

static void call_planned_to_fail_fails_once(void **state)
{
	struct fixture *f = *state;
	unsigned before = kvr_emulated_calls();

	kvr_emulated_fail_call(2, cudaErrorLaunchFailure);
	ok(cudaStreamSynchronize(f->one));
	assert_int_equal(cudaStreamSynchronize(f->one), cudaErrorLaunchFailure);
	ok(cudaStreamSynchronize(f->one));
	assert_int_equal(kvr_emulated_calls() - before, 3);
	kvr_emulated_fail_named("cudaEventRecordWithFlags", 1,
				cudaErrorUnknown);
	ok(cudaStreamSynchronize(f->one));
	assert_int_equal(cudaEventRecord(f->event, f->one), cudaErrorUnknown);
	kvr_emulated_fail_named("cuStreamWriteValue32", 1,
				cudaErrorNotSupported);
	assert_int_equal(f->write_value(f->one, (CUdeviceptr)f->word, 1, 0),
			 CUDA_ERROR_NOT_SUPPORTED);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(stream_busy_query_is_not_ready),
		TEST(streams_without_event_do_not_wait_for_each_other),
		TEST(event_waited_for_orders_streams),
		TEST(event_recorded_again_waits_for_the_last),
		TEST(event_never_recorded_is_no_wait),
		TEST(stream_legacy_waits_for_blocking_ones),
		TEST(stream_destroyed_busy_finishes),
		TEST(word_awaited_holds_until_written),
		TEST(word_compared_each_way_is_satisfied),
		TEST(word_unknown_to_cuda_is_refused),
		TEST(capture_replayed_repeats_what_was_captured),
		TEST(capture_forked_branches_run_at_once),
		TEST(capture_joined_branch_comes_first),
		TEST(capture_unjoined_branch_is_refused),
		TEST(capture_synchronized_is_spoilt),
		TEST(threads_waiting_sleep),
		TEST(call_planned_to_fail_fails_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
