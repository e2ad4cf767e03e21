/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rings of 1 and 3 ranks over the emulated CUDA, every call of which fails
 * once. The environment names the plug-in.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <cuda_runtime_api.h>

#include "tests/emulated_cuda/emulated.h"
#include "tests/ring/gpu_ring.h"

static void emulated_ring_of_one_is_the_oracles(void **state)
{
	(void)state;
	gpu_ring_check(1, "shm", KVR_PROGRESS_THREAD);
	assert_int_equal(kvr_emulated_allocations(), 0);
}

static void emulated_ring_of_three_is_the_oracles(void **state)
{
	(void)state;
	gpu_ring_check(3, "shm", KVR_PROGRESS_THREAD);
	assert_int_equal(kvr_emulated_allocations(), 0);
}

/* Progress is made while the host waits for the GPU. */
static void emulated_ring_of_callers_is_the_oracles(void **state)
{
	(void)state;
	gpu_ring_check(3, "shm", KVR_PROGRESS_CALLER);
	assert_int_equal(kvr_emulated_allocations(), 0);
}

static void refused(struct rank *rank)
{
	static const struct kvr_range range = {0, 0, TOKENS};
	struct world *w = rank->arg;
	struct kvr_tensor t = dense(w->q, TOKENS), out = dense(w->v, TOKENS);
	struct kvr_plan_desc desc;
	struct kvr_plan *plan;

	CHECK_STATUS(rank->opened, KVR_OK);
	describe(&desc, &range, 1);
	CHECK_STATUS(kvr_plan_create(rank->ring, &desc, &plan), KVR_OK);
	CHECK_STATUS(kvr_attention_run(plan, &t, &t, &t, &out, NULL, 0),
		     KVR_ERR_INVALID);
	CHECK(strstr(rank->log, "only the host reads"));
	kvr_plan_destroy(plan);
	desc.paged = 1;
	CHECK_STATUS(kvr_plan_create(rank->ring, &desc, &plan),
		     KVR_ERR_UNSUPPORTED);
	CHECK(strstr(rank->log, "takes no pages"));
	desc.paged = 0;
	desc.kv_wire = KVR_KV_E4M3;
	CHECK_STATUS(kvr_plan_create(rank->ring, &desc, &plan),
		     KVR_ERR_UNSUPPORTED);
}

static void emulated_host_tensors_pages_and_codes_are_refused(void **state)
{
	static struct world w;
	struct ranks ranks;

	(void)state;
	make_world(&w);
	ranks_init(&ranks, 1);
	ranks.options.lane[0].slot_bytes = 1 << 16;
	ranks.body = refused;
	ranks.arg = &w;
	ranks_run(&ranks);
	assert_int_equal(kvr_emulated_allocations(), 0);
}

static void fails(struct rank *rank)
{
	struct part part;
	unsigned n;

	make_part(&part, rank);
	for (n = 1; n < 200; n++) {
		unsigned before = kvr_emulated_calls();
		enum kvr_status status;

		kvr_emulated_fail_call(n, cudaErrorLaunchFailure);
		status = run_part(&part, n);
		before = kvr_emulated_calls() - before;
		kvr_emulated_fail_call(0, 0);
		/* An address that was not answered for is not used. */
		CHECK(status == KVR_ERR_DEVICE || status == KVR_OK);
		CHECK(status != KVR_OK || part_is_right(&part, rank->arg, n));
		if (before < n)
			break;
	}
	CHECK(n > 20 && n < 200);
	CHECK(strstr(rank->log, "kernel cuda failed"));
	CHECK_STATUS(run_part(&part, 0), KVR_OK);
	CHECK(part_is_right(&part, rank->arg, 0));
	free_part(&part);
}

/* Each call of a run: an error is told, and the next run is well. */
static void emulated_nth_call_of_a_run_fails_told(void **state)
{
	static struct world w;
	struct ranks ranks;

	(void)state;
	make_world(&w);
	ranks_init(&ranks, 1);
	ranks.options.lane[0].slot_bytes = 1 << 16;
	ranks.body = fails;
	ranks.arg = &w;
	ranks_run(&ranks);
	assert_int_equal(kvr_emulated_allocations(), 0);
}

/* Fewer where each takes long; odd, so that rounds still swap. */
#ifdef __SANITIZE_ADDRESS__
#define STRIDE 3
#else
#define STRIDE 1
#endif

static void meet(struct rank *rank)
{
	char mine = 0, all[3];

	CHECK(rank->bootstrap.allgather(rank->bootstrap.arg, &mine, 1, all) ==
	      0);
}

/* The n-th call of whichever rank makes it fails. */
static void somebody_fails(struct rank *rank)
{
	struct part part;

	make_part(&part, rank);
	for (unsigned n = 1; n < 150; n += STRIDE) {
		enum kvr_status status;

		meet(rank);
		if (rank->rank == 0)
			kvr_emulated_fail_call(n, cudaErrorLaunchFailure);
		meet(rank);
		status = run_part(&part, n);
		meet(rank);
		if (rank->rank == 0)
			kvr_emulated_fail_call(0, 0);
		meet(rank);
		CHECK(status == KVR_OK || status == KVR_ERR_DEVICE ||
		      status == KVR_ERR_CANCELLED);
		CHECK(status != KVR_OK || part_is_right(&part, rank->arg, n));
	}
	free_part(&part);
}

/* Whatever fails anywhere: who says that all is well has the right rows. */
static void emulated_failure_of_a_rank_deceives_no_other(void **state)
{
	static struct world w;
	struct ranks ranks;

	(void)state;
	make_world(&w);
	ranks_init(&ranks, 3);
	ranks.transport = "shm";
	ranks.options.lane[0].slot_bytes = 1 << 16;
	ranks.body = somebody_fails;
	ranks.arg = &w;
	ranks_run(&ranks);
	assert_int_equal(kvr_emulated_allocations(), 0);
}

static void open_fails(struct rank *rank)
{
	static const struct kvr_range range = {0, 0, TOKENS};
	struct kvr_plan_desc desc;
	struct kvr_plan *plan;
	unsigned failures = 0;
	bool last = false;

	CHECK_STATUS(rank->opened, KVR_OK);
	describe(&desc, &range, 1);
	for (unsigned n = 1; !last; n++) {
		unsigned before = kvr_emulated_calls();

		plan = NULL;
		kvr_emulated_fail_call(n, cudaErrorMemoryAllocation);
		failures += kvr_plan_create(rank->ring, &desc, &plan) != KVR_OK;
		last = kvr_emulated_calls() - before < n;
		CHECK(!last || plan);
		kvr_plan_destroy(plan);
	}
	/* Who asks what an address is may do without an answer. */
	CHECK(failures > 10);
	kvr_emulated_fail_call(0, 0);
}

static void emulated_nth_call_of_open_fails_undone(void **state)
{
	struct ranks ranks;

	(void)state;
	ranks_init(&ranks, 1);
	ranks.options.lane[0].slot_bytes = 1 << 16;
	ranks.body = open_fails;
	ranks_run(&ranks);
	assert_int_equal(kvr_emulated_allocations(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(emulated_ring_of_one_is_the_oracles),
		cmocka_unit_test(emulated_ring_of_three_is_the_oracles),
		cmocka_unit_test(emulated_ring_of_callers_is_the_oracles),
		cmocka_unit_test(
			emulated_host_tensors_pages_and_codes_are_refused),
		cmocka_unit_test(emulated_nth_call_of_a_run_fails_told),
		cmocka_unit_test(emulated_failure_of_a_rank_deceives_no_other),
		cmocka_unit_test(emulated_nth_call_of_open_fails_undone),
	};

	return cmocka_run_group_tests_name("emulated ring", tests, NULL, NULL);
}
