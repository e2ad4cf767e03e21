/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "plan_problem.h"

/* Some number between -1 and 1 for each element of the whole. */
static float element(uint32_t which, size_t i)
{
	return (float)sin(1.7 * (double)(i + 1) + 0.9 * which);
}

static void fill(float *data, size_t count, uint32_t which, uint32_t rank)
{
	for (size_t i = 0; i < count; i++)
		data[i] = element(which, rank * count + i);
}

void problem_init(struct problem *p, uint32_t rank)
{
	memset(p, 0, sizeof(*p));
	p->range = (struct kvr_range){.start = (uint64_t)rank * TOKENS,
				      .length = TOKENS};
	kvr_plan_desc_init(&p->desc);
	p->desc.q_heads = HEADS;
	p->desc.kv_heads = 1;
	p->desc.head_dim = DIM;
	p->desc.value_dim = VALUE;
	p->desc.mask = KVR_MASK_CAUSAL;
	p->desc.q_ranges = p->desc.kv_ranges = &p->range;
	p->desc.q_range_count = p->desc.kv_range_count = 1;
	fill(p->q, TOKENS * HEADS * DIM, 0, rank);
	fill(p->k, TOKENS * DIM, 1, rank);
	fill(p->v, TOKENS * VALUE, 2, rank);
	p->tq = kvr_tensor_dense(p->q, KVR_F32, TOKENS, HEADS, DIM);
	p->tk = kvr_tensor_dense(p->k, KVR_F32, TOKENS, 1, DIM);
	p->tv = kvr_tensor_dense(p->v, KVR_F32, TOKENS, 1, VALUE);
	p->tout = kvr_tensor_dense(p->out, KVR_F32, TOKENS, HEADS, VALUE);
}

enum kvr_status run(struct problem *p, struct kvr_plan *plan)
{
	return kvr_attention_run(plan, &p->tq, &p->tk, &p->tv, &p->tout, p->lse,
				 TOKENS);
}

void check_output(const struct problem *p, uint32_t rank, uint32_t n)
{
	float k[RANKS * TOKENS * DIM], v[RANKS * TOKENS * VALUE];
	float out[TOKENS * HEADS * VALUE], lse[HEADS * TOKENS];
	const struct kvr_range all = {.length = (uint64_t)n * TOKENS};
	struct kvr_plan_desc desc = p->desc;
	struct kvr_tensor tk, tv, tout;

	for (uint32_t i = 0; i < n; i++) {
		fill(k + (size_t)i * TOKENS * DIM, TOKENS * DIM, 1, i);
		fill(v + (size_t)i * TOKENS * VALUE, TOKENS * VALUE, 2, i);
	}
	tk = kvr_tensor_dense(k, KVR_F32, n * TOKENS, 1, DIM);
	tv = kvr_tensor_dense(v, KVR_F32, n * TOKENS, 1, VALUE);
	tout = kvr_tensor_dense(out, KVR_F32, TOKENS, HEADS, VALUE);
	desc.kv_ranges = &all;
	CHECK(p->range.start == (uint64_t)rank * TOKENS);
	CHECK_STATUS(kvr_attention_oracle(&desc, &p->tq, &tk, &tv, NULL, 0,
					  &tout, lse, TOKENS),
		     KVR_OK);
	for (size_t i = 0; i < TOKENS * HEADS * VALUE; i++)
		CHECK(fabsf(p->out[i] - out[i]) < 1e-5f);
	for (size_t i = 0; i < HEADS * TOKENS; i++)
		CHECK(fabsf(p->lse[i] - lse[i]) < 1e-5f);
}

void over(uint32_t n, void (*body)(struct rank *), size_t slot_bytes)
{
	struct ranks ranks;

	ranks_init(&ranks, n);
	ranks.body = body;
	if (slot_bytes)
		ranks.options.lane[0].slot_bytes = slot_bytes;
	ranks_run(&ranks);
}

void refuse_plan(struct rank *rank, const struct kvr_plan_desc *desc,
		 enum kvr_status expected)
{
	struct kvr_plan *plan = NULL;

	CHECK_STATUS(kvr_plan_create(rank->ring, desc, &plan), expected);
	CHECK(!plan);
}
