/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvr_attention_run on tensors in GPU memory, through the plug-in as it is
 * loaded, over the emulated CUDA: rings of 1 and 3 ranks, whose slots are in
 * host memory, so that blocks are staged. The environment names the plug-in.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <cuda_runtime_api.h>

#include "tests/emulated_cuda/emulated.h"
#include "tests/support/ranks.h"

#define TOKENS 90
#define HEADS 2
#define DIM 24
#define ROW (HEADS * DIM)

/* Sums of 24 products and 90 weights of scores below 1. */
#define CLOSE 2e-6

struct world {
	float q[TOKENS * ROW], k[TOKENS * ROW], v[TOKENS * ROW];
	float lse[HEADS * TOKENS];
	float want[TOKENS * ROW], want_lse[HEADS * TOKENS];
	float swapped[TOKENS * ROW]; /* of v as keys and k as values */
	enum kvr_progress progress;
};

static void fill(float *to, uint32_t seed)
{
	for (size_t i = 0; i < (size_t)TOKENS * ROW; i++) {
		seed = seed * 1664525 + 1013904223;
		to[i] = (float)(int32_t)seed * 0x1p-31f;
	}
}

static struct kvr_tensor dense(void *data, size_t tokens)
{
	return kvr_tensor_dense(data, KVR_F32, tokens, HEADS, DIM);
}

static void describe(struct kvr_plan_desc *desc, const struct kvr_range *range,
		     size_t count)
{
	kvr_plan_desc_init(desc);
	desc->q_heads = desc->kv_heads = HEADS;
	desc->head_dim = DIM;
	desc->mask = KVR_MASK_CAUSAL;
	desc->q_ranges = desc->kv_ranges = range;
	desc->q_range_count = desc->kv_range_count = count;
	desc->kernel = "cuda";
}

static void make_world(struct world *w)
{
	static const struct kvr_range all = {0, 0, TOKENS};
	struct kvr_tensor q = dense(w->q, TOKENS), k = dense(w->k, TOKENS);
	struct kvr_tensor v = dense(w->v, TOKENS);
	struct kvr_tensor out = dense(w->want, TOKENS);
	struct kvr_plan_desc desc;

	memset(w, 0, sizeof(*w));
	fill(w->q, 1);
	fill(w->k, 2);
	fill(w->v, 3);
	describe(&desc, &all, 1);
	CHECK_STATUS(kvr_attention_oracle(&desc, &q, &k, &v, NULL, 0, &out,
					  w->want_lse, TOKENS),
		     KVR_OK);
	out.data = w->swapped;
	CHECK_STATUS(
		kvr_attention_oracle(&desc, &q, &v, &k, NULL, 0, &out, NULL, 0),
		KVR_OK);
}

static void *on_device(const void *from, size_t bytes)
{
	void *at;

	CHECK(cudaMalloc(&at, bytes + 1) == cudaSuccess);
	CHECK(cudaMemcpy(at, from, bytes, cudaMemcpyHostToDevice) ==
	      cudaSuccess);
	return at;
}

static void from_device(void *to, void *at, size_t bytes)
{
	CHECK(cudaMemcpy(to, at, bytes, cudaMemcpyDeviceToHost) == cudaSuccess);
	CHECK(cudaFree(at) == cudaSuccess);
}

/* A rank's rows on the device, and a plan for them. */
struct part {
	struct kvr_range range;
	struct kvr_tensor q, kv[2], out;
	struct kvr_plan *plan;
};

static void make_part(struct part *part, struct rank *rank)
{
	struct world *w = rank->arg;
	struct kvr_plan_desc desc;
	size_t count, first, tokens, bytes;

	CHECK_STATUS(rank->opened, KVR_OK);
	CHECK_STATUS(kvr_ranges_contiguous(TOKENS, rank->rank, rank->n,
					   &part->range, &count),
		     KVR_OK);
	describe(&desc, &part->range, count);
	first = (size_t)part->range.start * ROW;
	tokens = (size_t)part->range.length;
	bytes = tokens * ROW * sizeof(float);
	part->q = dense(on_device(w->q + first, bytes), tokens);
	part->kv[0] = dense(on_device(w->k + first, bytes), tokens);
	part->kv[1] = dense(on_device(w->v + first, bytes), tokens);
	part->out = dense(on_device(w->q + first, bytes), tokens);
	CHECK_STATUS(kvr_plan_create(rank->ring, &desc, &part->plan), KVR_OK);
}

static void free_part(struct part *part)
{
	kvr_plan_destroy(part->plan);
	CHECK(cudaFree(part->q.data) == cudaSuccess);
	CHECK(cudaFree(part->kv[0].data) == cudaSuccess);
	CHECK(cudaFree(part->kv[1].data) == cudaSuccess);
	CHECK(cudaFree(part->out.data) == cudaSuccess);
}

/* Odd rounds swap keys and values, so that no round has the last one's rows. */
static enum kvr_status run_part(struct part *part, unsigned round)
{
	return kvr_attention_run(part->plan, &part->q, &part->kv[round % 2],
				 &part->kv[1 - round % 2], &part->out, NULL, 0);
}

static bool part_is_right(const struct part *part, const struct world *w,
			  unsigned round)
{
	const float *want = (round % 2 ? w->swapped : w->want) +
			    (size_t)part->range.start * ROW;
	size_t count = (size_t)part->range.length * ROW;
	float got[TOKENS * ROW];

	CHECK(cudaMemcpy(got, part->out.data, count * sizeof(*got),
			 cudaMemcpyDeviceToHost) == cudaSuccess);
	for (size_t i = 0; i < count; i++)
		if (!(fabsf(got[i] - want[i]) <= CLOSE))
			return false;
	return true;
}

static void body(struct rank *rank)
{
	struct world *w = rank->arg;
	float lse[HEADS * TOKENS], *lse_at;
	struct part part;
	size_t tokens;

	make_part(&part, rank);
	tokens = (size_t)part.range.length;
	lse_at = on_device(lse, HEADS * tokens * sizeof(float));
	for (int i = 0; i < 2; i++)
		CHECK_STATUS(kvr_attention_run(part.plan, &part.q, &part.kv[0],
					       &part.kv[1], &part.out, lse_at,
					       tokens),
			     KVR_OK);
	CHECK(part_is_right(&part, w, 0));
	from_device(lse, lse_at, HEADS * tokens * sizeof(float));
	for (size_t h = 0; h < HEADS; h++)
		memcpy(w->lse + h * TOKENS + part.range.start, lse + h * tokens,
		       tokens * sizeof(float));
	free_part(&part);
}

static void check_ring(uint32_t n, enum kvr_progress progress)
{
	static struct world w;
	struct ranks ranks;

	make_world(&w);
	ranks_init(&ranks, n);
	ranks.transport = "shm";
	ranks.progress = progress;
	ranks.options.lane[0].slot_bytes = 1 << 16;
	ranks.body = body;
	ranks.arg = &w;
	ranks_run(&ranks);
	for (size_t i = 0; i < (size_t)HEADS * TOKENS; i++)
		assert_true(fabsf(w.lse[i] - w.want_lse[i]) <= CLOSE);
	assert_int_equal(kvr_emulated_allocations(), 0);
}

static void emulated_ring_of_one_is_the_oracles(void **state)
{
	(void)state;
	check_ring(1, KVR_PROGRESS_THREAD);
}

static void emulated_ring_of_three_is_the_oracles(void **state)
{
	(void)state;
	check_ring(3, KVR_PROGRESS_THREAD);
}

/* Progress is made while the host waits for the GPU. */
static void emulated_ring_of_callers_is_the_oracles(void **state)
{
	(void)state;
	check_ring(3, KVR_PROGRESS_CALLER);
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
	for (unsigned n = 1; n < 150; n++) {
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
