/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The committed cases through kvr_attention_run: whole rings over every
 * transport, with the tolerances of the kernels alone (check.h).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "tests/reference/check.h"
#include "tests/support/ranks.h"

#define RANKS_MAX 7

/* One case on one ring. The ranks fill in results; the test looks at them. */
struct setting {
	const struct reference_case *c;
	const struct partition *partition;
	const char *transport;
	uint32_t n;
	enum kvr_dtype out;
	struct shard q[RANKS_MAX], kv[RANKS_MAX];
	struct result result[RANKS_MAX];
};

static void describe(const struct setting *s, uint32_t rank,
		     struct kvr_plan_desc *desc)
{
	const struct reference_case *c = s->c;

	kvr_plan_desc_init(desc);
	desc->q_heads = (uint32_t)c->q.heads;
	desc->kv_heads = (uint32_t)c->k.heads;
	desc->head_dim = (uint32_t)c->q.dim;
	desc->value_dim = (uint32_t)c->v.dim;
	desc->dtype = c->q.dtype;
	desc->mask = c->mask;
	desc->scale = c->scale;
	desc->softcap = c->softcap;
	desc->sinks = c->sinks;
	desc->values_in_keys = c->values_in_keys;
	desc->window = &c->window;
	desc->q_ranges = s->q[rank].range;
	desc->q_range_count = s->q[rank].count;
	desc->kv_ranges = s->kv[rank].range;
	desc->kv_range_count = s->kv[rank].count;
	desc->threads = 1 + rank % 2;
}

static void attend(struct rank *rank)
{
	struct setting *s = rank->arg;
	const struct reference_case *c = s->c;
	struct result *r = &s->result[rank->rank];
	struct kvr_tensor q = shard_gather(&c->q, &s->q[rank->rank]),
			  k = shard_gather(&c->k, &s->kv[rank->rank]),
			  v = shard_gather(&c->v, &s->kv[rank->rank]);
	struct kvr_plan_desc desc;
	struct kvr_plan *plan;

	CHECK_STATUS(rank->opened, KVR_OK);
	describe(s, rank->rank, &desc);
	CHECK_STATUS(kvr_plan_create(rank->ring, &desc, &plan), KVR_OK);
	CHECK_STATUS(kvr_attention_run(plan, &q, &k,
				       c->values_in_keys ? NULL : &v, &r->out,
				       r->lse, r->out.tokens),
		     KVR_OK);
	kvr_plan_destroy(plan);
	free(q.data);
	free(k.data);
	free(v.data);
}

/* Cuts the case up; returns what slot_bytes must be. */
static size_t cut(struct setting *s)
{
	const struct reference_case *c = s->c;
	size_t most = 0;

	for (uint32_t i = 0; i < s->n; i++) {
		struct kvr_plan_desc desc;
		size_t bytes;

		s->q[i] = shard_of(s->partition, c, c->q.tokens, c->q_start, i,
				   s->n);
		s->kv[i] = shard_of(s->partition, c, c->k.tokens, c->kv_start,
				    i, s->n);
		s->result[i] = result_new(c, s->out, s->q[i].tokens);
		describe(s, i, &desc);
		assert_int_equal(kvr_plan_desc_block_bytes(&desc, &bytes),
				 KVR_OK);
		most = bytes > most ? bytes : most;
	}
	return most;
}

static void ring_check(struct setting *s)
{
	struct ranks ranks;
	char what[128];

	ranks_init(&ranks, s->n);
	ranks.transport = s->transport;
	ranks.options.lane[0].slot_bytes = cut(s);
	/* Never a divisor of the block. */
	ranks.options.chunk_bytes = 4099;
	ranks.body = attend;
	ranks.arg = s;
	ranks_run(&ranks);
	for (uint32_t i = 0; i < s->n; i++) {
		snprintf(what, sizeof(what), "%s over %s, rank %u of %u",
			 s->partition->name, s->transport, i, s->n);
		result_check(s->c, &s->result[i], &s->q[i],
			     kernel_tolerance(s->c), what);
		result_free(&s->result[i]);
	}
}

static void every_case_over(const char *transport)
{
	static const uint32_t sizes[] = {1, 2, 3, 4, RANKS_MAX};

	assert_true(case_count > 0);
	for (size_t i = 0; i < case_count; i++)
		for (size_t n = 0; n < sizeof(sizes) / sizeof(sizes[0]); n++) {
			struct setting s = {
				.c = &cases[i],
				.partition = &partitions[(i + n) % PARTITIONS],
				.transport = transport,
				.n = sizes[n],
				.out = (i + n) % 3 ? KVR_F32 : cases[i].q.dtype,
			};

			ring_check(&s);
		}
}

static void rings_every_case_over_fake_match_float64(void **state)
{
	(void)state;
	every_case_over("fake");
}

static void rings_every_case_over_shm_match_float64(void **state)
{
	(void)state;
	every_case_over("shm");
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(rings_every_case_over_fake_match_float64),
		cmocka_unit_test(rings_every_case_over_shm_match_float64),
	};
	int failed;

	if (argc != 2) {
		fprintf(stderr, "usage: test_rings DIRECTORY\n");
		return 2;
	}
	cases_read(argv[1]);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	cases_free();
	return failed ? 1 : 0;
}
