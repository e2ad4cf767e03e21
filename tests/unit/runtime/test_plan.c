/* SPDX-License-Identifier: Apache-2.0 */
/* Plans and runs: what is refused, packing, steps, cancelling. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "plan_problem.h"
#include "runtime/registry.h"
#include "runtime/tensor.h"

/* ------------------------------------------------------------- refused */

static void wrong_plans(struct rank *rank)
{
	const struct kvr_window left = {-2, 0}, right = {0, -2};
	const float nan[HEADS] = {0, NAN}, infinite[HEADS] = {INFINITY, 0};
	const struct kvr_range wraps = {.start = UINT64_MAX, .length = 2};
	struct kvr_plan *plan;
	struct kvr_plan_desc d;
	struct problem p;

	CHECK_STATUS(rank->opened, KVR_OK);
	problem_init(&p, rank->rank);
#define REFUSED(change, expected)                                              \
	do {                                                                   \
		d = p.desc;                                                    \
		change;                                                        \
		refuse_plan(rank, &d, expected);                               \
	} while (0)
	REFUSED(d.size--, KVR_ERR_INVALID);
	REFUSED(d.q_heads = 0, KVR_ERR_INVALID);
	REFUSED(d.kv_heads = 0, KVR_ERR_INVALID);
	REFUSED(d.q_heads = 3; d.kv_heads = 2, KVR_ERR_INVALID);
	REFUSED(d.head_dim = 0, KVR_ERR_INVALID);
	REFUSED(d.head_dim = 577, KVR_ERR_INVALID);
	REFUSED(d.value_dim = 577, KVR_ERR_INVALID);
	REFUSED(d.dtype = (enum kvr_dtype)9, KVR_ERR_INVALID);
	REFUSED(d.mask = (enum kvr_mask)9, KVR_ERR_INVALID);
	REFUSED(d.scale = NAN, KVR_ERR_INVALID);
	REFUSED(d.scale = INFINITY, KVR_ERR_INVALID);
	REFUSED(d.softcap = -1, KVR_ERR_INVALID);
	REFUSED(d.kv_wire = (enum kvr_kv_wire)2, KVR_ERR_INVALID);
	REFUSED(d.window = &left, KVR_ERR_INVALID);
	REFUSED(d.window = &right, KVR_ERR_INVALID);
	REFUSED(d.sinks = nan, KVR_ERR_INVALID);
	REFUSED(d.values_in_keys = 1; d.value_dim = DIM + 1, KVR_ERR_INVALID);
	REFUSED(d.sinks = infinite, KVR_ERR_INVALID);
	REFUSED(d.softcap = NAN, KVR_ERR_INVALID);
	REFUSED(d.softcap = INFINITY, KVR_ERR_INVALID);
	REFUSED(d.q_ranges = &wraps, KVR_ERR_INVALID);
	REFUSED(d.kv_ranges = &wraps, KVR_ERR_INVALID);
	REFUSED(d.q_ranges = NULL, KVR_ERR_INVALID);
	REFUSED(d.kernel = "abacus", KVR_ERR_UNSUPPORTED);
#undef REFUSED
	CHECK_STATUS(kvr_plan_create(NULL, &p.desc, &plan), KVR_ERR_INVALID);
	CHECK_STATUS(kvr_plan_create(rank->ring, NULL, &plan), KVR_ERR_INVALID);
	CHECK_STATUS(kvr_plan_create(rank->ring, &p.desc, NULL),
		     KVR_ERR_INVALID);
	kvr_plan_destroy(NULL);

	/* And the ring is whole. */
	CHECK_STATUS(kvr_plan_create(rank->ring, &p.desc, &plan), KVR_OK);
	CHECK_STATUS(run(&p, plan), KVR_OK);
	check_output(&p, rank->rank, rank->n);
	kvr_plan_destroy(plan);
}

static void plan_wrong_description_refused_ring_whole(void **state)
{
	(void)state;
	over(1, wrong_plans, 0);
	over(RANKS, wrong_plans, 0);
}

static void block_too_large(struct rank *rank)
{
	struct problem p;

	CHECK_STATUS(rank->opened, KVR_OK);
	problem_init(&p, rank->rank);
	refuse_plan(rank, &p.desc, KVR_ERR_LIMIT);
	CHECK(strstr(rank->log, "kvr_attention_block_bytes"));
}

static void plan_block_exceeds_slots_limit(void **state)
{
	struct problem p;
	size_t bytes;

	(void)state;
	problem_init(&p, 0);
	assert_int_equal(kvr_attention_block_bytes(&p.desc, TOKENS, 1, &bytes),
			 KVR_OK);
	over(1, block_too_large, bytes - 1);
	over(RANKS, block_too_large, bytes - 1);
}

/* However tokens are cut into ranges, no block is larger than was said. */
static void block_bytes_hold_any_ranges(void **state)
{
	struct problem p;

	(void)state;
	problem_init(&p, 0);
	for (uint32_t i = 0; i < 2 * 3 * 5 * 5; i++) {
		const uint64_t a = 1 + i % 5 * 17, b = 1 + i / 5 % 5 * 30;
		const struct kvr_range ranges[] = {{0, 0, a}, {0, a, b}};
		const struct kvr_compute_ops *ops;
		struct kvr_compute_shape shape;
		size_t said, bytes;

		p.desc.head_dim = 1 + i / 25 % 3;
		p.desc.q_heads = p.desc.kv_heads = 3;
		p.desc.kv_wire = i / 75 ? KVR_KV_E4M3 : KVR_KV_PLAIN;
		assert_int_equal(kvr_registry_find_compute(NULL, &ops), KVR_OK);
		assert_int_equal(kvr_shape_from_desc(&p.desc, &shape), KVR_OK);
		bytes = ops->block_bytes(&shape,
					 (struct kvr_ranges){ranges, 2});
		assert_int_equal(
			kvr_attention_block_bytes(&p.desc, a + b, 2, &said),
			KVR_OK);
		assert_true(bytes <= said);
	}
}

static void block_bytes_wrong_arguments_refused(void **state)
{
	struct problem p;
	size_t bytes = 7;

	(void)state;
	problem_init(&p, 0);
	assert_int_equal(kvr_attention_block_bytes(NULL, 1, 1, &bytes),
			 KVR_ERR_INVALID);
	assert_int_equal(kvr_attention_block_bytes(&p.desc, 1, 1, NULL),
			 KVR_ERR_INVALID);
	p.desc.kernel = "abacus";
	assert_int_equal(kvr_attention_block_bytes(&p.desc, 1, 1, &bytes),
			 KVR_ERR_UNSUPPORTED);
	p.desc.size = 0;
	assert_int_equal(kvr_attention_block_bytes(&p.desc, 1, 1, &bytes),
			 KVR_ERR_INVALID);
	assert_int_equal(bytes, 7);
}

/* Rank 1 has its own idea of the window. */
static void other_window(struct rank *rank)
{
	struct kvr_window window = {rank->rank == 1 ? 3 : 4, 0};
	struct problem p;

	CHECK_STATUS(rank->opened, KVR_OK);
	problem_init(&p, rank->rank);
	p.desc.window = &window;
	refuse_plan(rank, &p.desc, KVR_ERR_MISMATCH);
	CHECK(strstr(rank->log, "window's left is "));
}

/*
 * Shards of 6 tokens: as many hops on every rank as the window needs on any,
 * whatever its queries are; seen by the steps, their callbacks, and bytes.
 */
static const struct {
	struct kvr_window window;
	enum kvr_mask mask;
	uint32_t hops;
} travels[] = {
	{{0, 0}, KVR_MASK_FULL, 0},	     {{0, -1}, KVR_MASK_CAUSAL, 0},
	{{1, 0}, KVR_MASK_FULL, 1},	     {{TOKENS, 0}, KVR_MASK_FULL, 1},
	{{TOKENS + 1, 0}, KVR_MASK_FULL, 2}, {{-1, 0}, KVR_MASK_FULL, 2},
	{{0, 1}, KVR_MASK_FULL, 2},	     {{-1, -1}, KVR_MASK_FULL, 2},
};

static void count_step(void *arg, uint32_t done, uint32_t steps)
{
	uint32_t *seen = arg;

	*seen += done == *seen % 100 + 1 ? 1 : 1000;
	CHECK(done <= steps);
	*seen += done == steps ? 100 : 0;
}

static void travel(struct rank *rank)
{
	for (size_t i = 0; i < sizeof(travels) / sizeof(travels[0]); i++) {
		struct kvr_pass_stats stats;
		struct kvr_plan *plan;
		uint32_t seen = 0;
		struct problem p;

		CHECK_STATUS(rank->opened, KVR_OK);
		problem_init(&p, rank->rank);
		p.desc.window = &travels[i].window;
		p.desc.mask = travels[i].mask;
		p.desc.on_step = count_step;
		p.desc.on_step_arg = &seen;
		CHECK_STATUS(kvr_plan_create(rank->ring, &p.desc, &plan),
			     KVR_OK);
		CHECK_STATUS(run(&p, plan), KVR_OK);
		check_output(&p, rank->rank, rank->n);
		kvr_pass_stats_init(&stats);
		CHECK_STATUS(kvr_pass_get_stats(kvr_plan_pass(plan), &stats),
			     KVR_OK);
		CHECK(stats.steps == travels[i].hops + 1);
		CHECK(seen == 100 + travels[i].hops + 1);
		CHECK((stats.bytes_received > 0) == (travels[i].hops > 0));
		kvr_plan_destroy(plan);
	}
}

static void plan_blocks_travel_no_further_than_seen(void **state)
{
	(void)state;
	over(RANKS, travel, 0);
}

/* Rank 1 has its own idea of the softcap. */
static void other_softcap(struct rank *rank)
{
	struct problem p;

	CHECK_STATUS(rank->opened, KVR_OK);
	problem_init(&p, rank->rank);
	p.desc.softcap = rank->rank == 1 ? 0.25f : 0.5f;
	refuse_plan(rank, &p.desc, KVR_ERR_MISMATCH);
	CHECK(strstr(rank->log, "softcap (bits) is "));
}

/* Rank 1 sends codes: its blocks would fit into the slots of the other. */
static void other_kv_wire(struct rank *rank)
{
	struct problem p;

	CHECK_STATUS(rank->opened, KVR_OK);
	problem_init(&p, rank->rank);
	p.desc.kv_wire = rank->rank == 1 ? KVR_KV_E4M3 : KVR_KV_PLAIN;
	refuse_plan(rank, &p.desc, KVR_ERR_MISMATCH);
	CHECK(strstr(rank->log, "kv_wire is "));
}

/* Rank 1 has its own idea of the scale. */
static void other_scale(struct rank *rank)
{
	struct kvr_plan *plan;
	struct problem p;

	CHECK_STATUS(rank->opened, KVR_OK);
	problem_init(&p, rank->rank);
	p.desc.scale = rank->rank == 1 ? 0.25f : 0.5f;
	refuse_plan(rank, &p.desc, KVR_ERR_MISMATCH);
	CHECK(strstr(rank->log, "scale (bits) is "));
	/* All know it, and can agree. */
	p.desc.scale = 0;
	CHECK_STATUS(kvr_plan_create(rank->ring, &p.desc, &plan), KVR_OK);
	CHECK_STATUS(run(&p, plan), KVR_OK);
	check_output(&p, rank->rank, rank->n);
	kvr_plan_destroy(plan);
}

static void plan_differs_between_ranks_mismatch(void **state)
{
	(void)state;
	over(2, other_window, 0);
	over(2, other_softcap, 0);
	over(2, other_kv_wire, 0);
	over(2, other_scale, 0);
	over(RANKS, other_scale, 0);
}

/* One tensor of the call is not what the plan says. */
static void wrong_tensors(const struct problem *p, struct kvr_plan *plan)
{
	const struct kvr_tensor *good[4] = {&p->tq, &p->tk, &p->tv, &p->tout};

	for (int which = 0; which < 4; which++) {
		for (int how = 0; how < 6; how++) {
			struct kvr_tensor bad = *good[which];
			const struct kvr_tensor *t[4];

			memcpy(t, good, sizeof(t));
			t[which] = &bad;
			bad.tokens -= how == 0;
			bad.heads += how == 1;
			bad.dim -= how == 2;
			if (how == 3)
				bad.dtype = KVR_BF16;
			if (how == 4)
				bad.data = NULL;
			if (how == 5)
				bad.token_stride = 1;
			CHECK_STATUS(kvr_attention_run(plan, t[0], t[1], t[2],
						       t[3], NULL, 0),
				     KVR_ERR_INVALID);
			if (which == 1 || which == 2)
				CHECK_STATUS(
					kvr_attention_pack(plan, t[1], t[2]),
					KVR_ERR_INVALID);
		}
	}
}

static void wrong_runs(struct rank *rank)
{
	struct kvr_plan *plan;
	struct problem p;

	CHECK_STATUS(rank->opened, KVR_OK);
	problem_init(&p, rank->rank);
	CHECK_STATUS(kvr_plan_create(rank->ring, &p.desc, &plan), KVR_OK);
	CHECK(!kvr_plan_pass(plan));
	wrong_tensors(&p, plan);
	CHECK_STATUS(
		kvr_attention_run(NULL, &p.tq, &p.tk, &p.tv, &p.tout, NULL, 0),
		KVR_ERR_INVALID);
	CHECK_STATUS(
		kvr_attention_run(plan, NULL, &p.tk, &p.tv, &p.tout, NULL, 0),
		KVR_ERR_INVALID);
	CHECK_STATUS(
		kvr_attention_run(plan, &p.tq, &p.tk, NULL, &p.tout, NULL, 0),
		KVR_ERR_INVALID);
	CHECK_STATUS(
		kvr_attention_run(plan, &p.tq, NULL, &p.tv, &p.tout, NULL, 0),
		KVR_ERR_INVALID);
	CHECK_STATUS(
		kvr_attention_run(plan, &p.tq, &p.tk, &p.tv, NULL, NULL, 0),
		KVR_ERR_INVALID);
	CHECK_STATUS(kvr_attention_run(plan, &p.tq, &p.tk, &p.tv, &p.tout,
				       p.lse, TOKENS - 1),
		     KVR_ERR_INVALID);
	CHECK_STATUS(kvr_attention_pack(NULL, &p.tk, &p.tv), KVR_ERR_INVALID);
	CHECK_STATUS(kvr_attention_pack(plan, NULL, &p.tv), KVR_ERR_INVALID);
	CHECK_STATUS(kvr_attention_pack(plan, &p.tk, NULL), KVR_ERR_INVALID);
	/* Nothing was packed. */
	CHECK_STATUS(
		kvr_attention_run(plan, &p.tq, NULL, NULL, &p.tout, NULL, 0),
		KVR_ERR_STATE);
	/* Nothing of that has moved a block: the others agree. */
	CHECK_STATUS(run(&p, plan), KVR_OK);
	check_output(&p, rank->rank, rank->n);
	kvr_plan_destroy(plan);
}

static void run_wrong_arguments_refused_ring_whole(void **state)
{
	(void)state;
	over(1, wrong_runs, 0);
	over(RANKS, wrong_runs, 0);
}

/* --------------------------------------------------------------- works */

static void pack_and_run_twice(struct rank *rank)
{
	float out[TOKENS * HEADS * VALUE], lse[HEADS * TOKENS];
	struct kvr_plan *plan;
	struct problem p;

	CHECK_STATUS(rank->opened, KVR_OK);
	problem_init(&p, rank->rank);
	CHECK_STATUS(kvr_plan_create(rank->ring, &p.desc, &plan), KVR_OK);
	CHECK_STATUS(run(&p, plan), KVR_OK);
	check_output(&p, rank->rank, rank->n);
	memcpy(out, p.out, sizeof(out));
	memcpy(lse, p.lse, sizeof(lse));
	CHECK_STATUS(kvr_attention_pack(plan, &p.tk, &p.tv), KVR_OK);
	/* From here on their memory is the caller's again. */
	memset(p.k, 0xff, sizeof(p.k));
	memset(p.v, 0xff, sizeof(p.v));
	for (int i = 0; i < 2; i++) {
		memset(p.out, 0xff, sizeof(p.out));
		memset(p.lse, 0xff, sizeof(p.lse));
		CHECK_STATUS(kvr_attention_run(plan, &p.tq, NULL, NULL, &p.tout,
					       p.lse, TOKENS),
			     KVR_OK);
		CHECK(memcmp(p.out, out, sizeof(out)) == 0);
		CHECK(memcmp(p.lse, lse, sizeof(lse)) == 0);
	}
	kvr_plan_destroy(plan);
}

static void pack_then_run_twice_same_bits(void **state)
{
	(void)state;
	over(1, pack_and_run_twice, 0);
	over(RANKS, pack_and_run_twice, 0);
}

struct steps {
	uint32_t seen, steps;
	bool in_order;
	struct kvr_plan *plan;
	uint32_t cancel_at; /* 0: never */
};

static void on_step(void *arg, uint32_t done, uint32_t steps)
{
	struct steps *s = arg;

	s->in_order &= done == ++s->seen;
	s->steps = steps;
	if (done == s->cancel_at)
		CHECK_STATUS(kvr_pass_cancel(kvr_plan_pass(s->plan)), KVR_OK);
}

static void watch_steps(struct rank *rank)
{
	struct steps s = {.in_order = true};
	struct kvr_pass_stats stats;
	struct problem p;

	CHECK_STATUS(rank->opened, KVR_OK);
	problem_init(&p, rank->rank);
	p.desc.on_step = on_step;
	p.desc.on_step_arg = &s;
	CHECK_STATUS(kvr_plan_create(rank->ring, &p.desc, &s.plan), KVR_OK);
	/* The exchange of ranges is no step of the caller's. */
	CHECK(s.seen == 0);
	for (int i = 0; i < 3; i++) {
		s.seen = 0;
		CHECK_STATUS(run(&p, s.plan), KVR_OK);
		CHECK(s.in_order && s.seen == rank->n && s.steps == rank->n);
	}
	kvr_pass_stats_init(&stats);
	CHECK_STATUS(kvr_pass_get_stats(kvr_plan_pass(s.plan), &stats), KVR_OK);
	CHECK(stats.steps == rank->n);
	kvr_plan_destroy(s.plan);
}

static void run_tells_every_step_in_order(void **state)
{
	(void)state;
	over(1, watch_steps, 0);
	over(RANKS, watch_steps, 0);
}

/* Rank 0 gives up every second run, after its first step. */
static void cancel_midway(struct rank *rank)
{
	struct steps s = {.in_order = true};
	struct problem p;

	CHECK_STATUS(rank->opened, KVR_OK);
	problem_init(&p, rank->rank);
	p.desc.on_step = on_step;
	p.desc.on_step_arg = &s;
	CHECK_STATUS(kvr_plan_create(rank->ring, &p.desc, &s.plan), KVR_OK);
	for (int i = 0; i < 10; i++) {
		enum kvr_status status;

		s.seen = 0;
		s.cancel_at = i % 2 && rank->rank == 0;
		status = run(&p, s.plan);
		if (i % 2 == 0)
			CHECK_STATUS(status, KVR_OK);
		else if (rank->rank == 0)
			CHECK_STATUS(status, KVR_ERR_CANCELLED);
		else
			CHECK(status == KVR_OK || status == KVR_ERR_CANCELLED);
		/* Whoever is told that all went well has it all. */
		if (status == KVR_OK)
			check_output(&p, rank->rank, rank->n);
	}
	kvr_plan_destroy(s.plan);
}

static void run_cancelled_from_its_step_next_one_works(void **state)
{
	(void)state;
	over(2, cancel_midway, 0);
	over(RANKS, cancel_midway, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plan_wrong_description_refused_ring_whole),
		cmocka_unit_test(plan_block_exceeds_slots_limit),
		cmocka_unit_test(block_bytes_hold_any_ranges),
		cmocka_unit_test(block_bytes_wrong_arguments_refused),
		cmocka_unit_test(plan_differs_between_ranks_mismatch),
		cmocka_unit_test(plan_blocks_travel_no_further_than_seen),
		cmocka_unit_test(run_wrong_arguments_refused_ring_whole),
		cmocka_unit_test(pack_then_run_twice_same_bits),
		cmocka_unit_test(run_tells_every_step_in_order),
		cmocka_unit_test(run_cancelled_from_its_step_next_one_works),
	};

	return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}
