/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program of somebody else's: this rank's part of causal attention over
 * TOKENS tokens, held against the oracle. Found by the library's package.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <kvring/attention.h>
#include <kvring/bootstrap.h>

#define TOKENS 300
#define HEADS 4
#define DIM 16

static float values[3][TOKENS * HEADS * DIM]; /* q, k, v of all ranks */
static float expected[TOKENS * HEADS * DIM];
static float out[TOKENS * HEADS * DIM];

static void check(enum kvr_status status, const char *what)
{
	if (status == KVR_OK)
		return;
	fprintf(stderr, "%s: %s\n", what, kvr_status_text(status));
	exit(1);
}

static struct kvr_tensor rows_of(float *data, const struct kvr_range *range)
{
	return kvr_tensor_dense(data + range->start * HEADS * DIM, KVR_F32,
				range->length, HEADS, DIM);
}

static void fill_in(void)
{
	unsigned seed = 1;

	for (size_t i = 0; i < sizeof(values) / sizeof(float); i++) {
		seed = seed * 1103515245 + 12345;
		values[0][i] = (float)(seed >> 16) / 32768 - 1;
	}
}

static void describe(struct kvr_plan_desc *desc, const struct kvr_range *range)
{
	kvr_plan_desc_init(desc);
	desc->q_heads = HEADS;
	desc->kv_heads = HEADS;
	desc->head_dim = DIM;
	desc->mask = KVR_MASK_CAUSAL;
	desc->q_ranges = range;
	desc->kv_ranges = range;
	desc->q_range_count = 1;
	desc->kv_range_count = 1;
}

static void run(struct kvr_ring *ring, const struct kvr_plan_desc *desc)
{
	struct kvr_tensor part[4];
	struct kvr_plan *plan = NULL;

	for (int i = 0; i < 3; i++)
		part[i] = rows_of(values[i], desc->q_ranges);
	part[3] = rows_of(out, desc->q_ranges);
	check(kvr_plan_create(ring, desc, &plan), "plan");
	check(kvr_attention_run(plan, &part[0], &part[1], &part[2], &part[3],
				NULL, 0),
	      "run");
	kvr_plan_destroy(plan);
}

static float error_of(const struct kvr_range *range)
{
	const struct kvr_range all = {0, 0, TOKENS};
	struct kvr_plan_desc desc;
	struct kvr_tensor whole[4];
	float worst = 0;

	describe(&desc, &all);
	for (int i = 0; i < 3; i++)
		whole[i] = rows_of(values[i], &all);
	whole[3] = rows_of(expected, &all);
	check(kvr_attention_oracle(&desc, &whole[0], &whole[1], &whole[2], NULL,
				   0, &whole[3], NULL, 0),
	      "oracle");
	for (size_t i = range->start * HEADS * DIM;
	     i < (range->start + range->length) * HEADS * DIM; i++)
		worst = fmaxf(worst, fabsf(out[i] - expected[i]));
	return worst;
}

int main(void)
{
	struct kvr_context *context = NULL;
	struct kvr_ring *ring = NULL;
	struct kvr_ring_options options;
	struct kvr_plan_desc desc;
	struct kvr_bootstrap who;
	struct kvr_range mine;
	size_t count;
	float worst;

	fill_in();
	kvr_bootstrap_init(&who);
	check(kvr_bootstrap_open(NULL, &who), "bootstrap");
	check(kvr_ranges_contiguous(TOKENS, who.rank, who.n, &mine, &count),
	      "ranges");
	describe(&desc, &mine);
	kvr_ring_options_init(&options);
	check(kvr_attention_block_bytes(&desc, TOKENS, 1,
					&options.lane[0].slot_bytes),
	      "bytes");
	check(kvr_context_open(NULL, &context), "context");
	check(kvr_ring_open(context, &who, &options, &ring), "ring");
	run(ring, &desc);
	worst = error_of(&mine);
	printf("rank %u of %u: %u tokens, error %.1e, kvring %s\n", who.rank,
	       who.n, (unsigned)mine.length, (double)worst, kvr_version());
	kvr_ring_close(ring);
	kvr_context_close(context);
	kvr_bootstrap_close(&who);
	return worst < 1e-5f ? 0 : 1; /* 300 terms of fp32, values below 1 */
}
