/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/ring/gpu_ring.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <cuda_runtime_api.h>

/* Sums of 24 products and 90 weights of scores below 1. */
#define CLOSE 2e-6

static void fill(float *to, uint32_t seed)
{
	for (size_t i = 0; i < (size_t)TOKENS * ROW; i++) {
		seed = seed * 1664525 + 1013904223;
		to[i] = (float)(int32_t)seed * 0x1p-31f;
	}
}

struct kvr_tensor dense(void *data, size_t tokens)
{
	return kvr_tensor_dense(data, KVR_F32, tokens, HEADS, DIM);
}

void describe(struct kvr_plan_desc *desc, const struct kvr_range *range,
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

void make_world(struct world *w)
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

void make_part(struct part *part, struct rank *rank)
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

void free_part(struct part *part)
{
	kvr_plan_destroy(part->plan);
	CHECK(cudaFree(part->q.data) == cudaSuccess);
	CHECK(cudaFree(part->kv[0].data) == cudaSuccess);
	CHECK(cudaFree(part->kv[1].data) == cudaSuccess);
	CHECK(cudaFree(part->out.data) == cudaSuccess);
}

enum kvr_status run_part(struct part *part, unsigned round)
{
	return kvr_attention_run(part->plan, &part->q, &part->kv[round % 2],
				 &part->kv[1 - round % 2], &part->out, NULL, 0);
}

bool part_is_right(const struct part *part, const struct world *w,
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

void gpu_ring_check(uint32_t n, const char *transport,
		    enum kvr_progress progress)
{
	static struct world w;
	struct ranks ranks;

	make_world(&w);
	ranks_init(&ranks, n);
	ranks.transport = transport;
	ranks.progress = progress;
	ranks.options.lane[0].slot_bytes = 1 << 16;
	ranks.body = body;
	ranks.arg = &w;
	ranks_run(&ranks);
	for (size_t i = 0; i < (size_t)HEADS * TOKENS; i++)
		assert_true(fabsf(w.lse[i] - w.want_lse[i]) <= CLOSE);
}
