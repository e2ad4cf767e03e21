/* SPDX-License-Identifier: Apache-2.0 */
/* Plans with sinks, and with values that are columns of the keys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "plan_problem.h"

/* Rank 1 has its own idea of one head's sink, or of there being any. */
static void other_sinks(struct rank *rank)
{
	const float sinks[HEADS] = {0.5f, rank->rank == 1 ? -1 : -2};
	struct problem p;

	CHECK_STATUS(rank->opened, KVR_OK);
	problem_init(&p, rank->rank);
	p.desc.sinks = sinks;
	refuse_plan(rank, &p.desc, KVR_ERR_MISMATCH);
	CHECK(strstr(rank->log, "sinks (digest; 0: none) is "));
	p.desc.sinks = rank->rank == 1 ? NULL : sinks;
	refuse_plan(rank, &p.desc, KVR_ERR_MISMATCH);
}

/* Rank 1 looks for values where the others have none. */
static void other_values(struct rank *rank)
{
	struct problem p;

	CHECK_STATUS(rank->opened, KVR_OK);
	problem_init(&p, rank->rank);
	p.desc.values_in_keys = rank->rank != 1;
	refuse_plan(rank, &p.desc, KVR_ERR_MISMATCH);
	CHECK(strstr(rank->log, "values_in_keys is "));
}

static void plan_sinks_or_values_differ_mismatch(void **state)
{
	(void)state;
	over(2, other_sinks, 0);
	over(2, other_values, 0);
	over(RANKS, other_values, 0);
}

/* Of the plan, whatever becomes of the caller's; once a run, not a block. */
static void sinks_copied(struct rank *rank)
{
	const float kept[HEADS] = {0.25f, -0.5f};
	float sinks[HEADS];
	struct kvr_plan *plan;
	struct problem p;

	CHECK_STATUS(rank->opened, KVR_OK);
	problem_init(&p, rank->rank);
	memcpy(sinks, kept, sizeof(kept));
	p.desc.sinks = sinks;
	CHECK_STATUS(kvr_plan_create(rank->ring, &p.desc, &plan), KVR_OK);
	memset(sinks, 0xff, sizeof(sinks));
	p.desc.sinks = kept;
	for (int i = 0; i < 2; i++) {
		CHECK_STATUS(run(&p, plan), KVR_OK);
		check_output(&p, rank->rank, rank->n);
	}
	kvr_plan_destroy(plan);
}

static uint64_t received(const struct kvr_plan *plan)
{
	struct kvr_pass_stats stats;

	kvr_pass_stats_init(&stats);
	CHECK_STATUS(kvr_pass_get_stats(kvr_plan_pass(plan), &stats), KVR_OK);
	return stats.bytes_received;
}

/* One panel a rank: 16 * 4 floats of keys, 16 * 16 of values. */
static void values_in_keys(struct rank *rank)
{
	float out[TOKENS * HEADS * VALUE], lse[HEADS * TOKENS];
	struct kvr_plan *plan;
	struct problem p;

	CHECK_STATUS(rank->opened, KVR_OK);
	problem_init(&p, rank->rank);
	p.tv = p.tk;
	p.tv.dim = VALUE;
	CHECK_STATUS(kvr_plan_create(rank->ring, &p.desc, &plan), KVR_OK);
	CHECK_STATUS(run(&p, plan), KVR_OK);
	CHECK(received(plan) == (rank->n - 1) * (64 + 256) * sizeof(float));
	kvr_plan_destroy(plan);
	memcpy(out, p.out, sizeof(out));
	memcpy(lse, p.lse, sizeof(lse));
	p.desc.values_in_keys = 1;
	CHECK_STATUS(kvr_plan_create(rank->ring, &p.desc, &plan), KVR_OK);
	CHECK_STATUS(run(&p, plan), KVR_ERR_INVALID);
	CHECK(strstr(rank->log, "v is given"));
	CHECK_STATUS(kvr_attention_pack(plan, &p.tk, &p.tv), KVR_ERR_INVALID);
	memset(p.out, 0xff, sizeof(p.out));
	CHECK_STATUS(kvr_attention_run(plan, &p.tq, &p.tk, NULL, &p.tout, p.lse,
				       TOKENS),
		     KVR_OK);
	CHECK(received(plan) == (rank->n - 1) * 64 * sizeof(float));
	CHECK(memcmp(p.out, out, sizeof(out)) == 0);
	CHECK(memcmp(p.lse, lse, sizeof(lse)) == 0);
	kvr_plan_destroy(plan);
}

static void plan_values_in_keys_same_bits_fewer_bytes(void **state)
{
	(void)state;
	over(1, values_in_keys, 0);
	over(RANKS, values_in_keys, 0);
}

static void plan_sinks_copied_and_counted_once(void **state)
{
	(void)state;
	over(1, sinks_copied, 0);
	over(RANKS, sinks_copied, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plan_sinks_or_values_differ_mismatch),
		cmocka_unit_test(plan_sinks_copied_and_counted_once),
		cmocka_unit_test(plan_values_in_keys_same_bits_fewer_bytes),
	};

	return cmocka_run_group_tests_name("plan_values", tests, NULL, NULL);
}
