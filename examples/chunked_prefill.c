/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A prompt in chunks over a cache in pages: each rank keeps its part of every
 * chunk in one page more, and its queries see all pages of all ranks so far.
 *
 *	cc chunked_prefill.c -lkvring -lm -o chunked_prefill
 *	kvring run -n 3 -- ./chunked_prefill
 *
 * Every number is 1: so is the output, and lse says how many keys were seen.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <kvring/bootstrap.h>
#include <kvring/pages.h>

enum { CHUNKS = 8, TOKENS = 64, HEADS = 2, DIM = 32 }; /* of a rank's chunk */
struct cache {
	struct kvr_range range[CHUNKS];
	struct kvr_segment page[CHUNKS];
	struct kvr_memory *memory;
	void *pool;
	size_t page_bytes;
};

static float ones[TOKENS * HEADS * DIM], out[TOKENS * HEADS * DIM],
	lse[HEADS * TOKENS];
/* The n ranks share a chunk: rank r has its r-th part. */
static enum kvr_status prefill(struct kvr_ring *ring, struct cache *c,
			       struct kvr_plan_desc *desc, uint32_t chunk)
{
	struct kvr_tensor rows =
		kvr_tensor_dense(ones, KVR_F32, TOKENS, HEADS, DIM);
	struct kvr_tensor result =
		kvr_tensor_dense(out, KVR_F32, TOKENS, HEADS, DIM);
	uint32_t part = chunk * kvr_ring_size(ring) + kvr_ring_rank(ring);
	struct kvr_plan *plan = NULL;
	enum kvr_status status;

	c->range[chunk] = (struct kvr_range){0, part * TOKENS, TOKENS};
	c->page[chunk] = (struct kvr_segment){c->memory, chunk * c->page_bytes,
					      c->page_bytes};
	status = kvr_attention_page_append(desc, &c->page[chunk], 0, &rows,
					   &rows);
	desc->q_ranges = &c->range[chunk];
	desc->q_range_count = 1;
	desc->kv_ranges = c->range;
	desc->kv_range_count = chunk + 1;
	desc->paged = 1;
	if (status == KVR_OK)
		status = kvr_plan_create(ring, desc, &plan);
	if (status == KVR_OK) /* once a layer, with the layer's own pages */
		status = kvr_attention_run_pages(
			plan, &rows, c->page, chunk + 1, &result, lse, TOKENS);
	kvr_plan_destroy(plan);
	for (uint32_t t = 0; t < TOKENS && status == KVR_OK; t++)
		if (fabsf(out[t * HEADS * DIM] - 1) > 1e-5f ||
		    fabs((double)lse[t] - DIM / sqrt(DIM) -
			 log(part * TOKENS + t + 1)) > 1e-4)
			status = KVR_ERR_PROTOCOL;
	return status;
}

static enum kvr_status serve(struct kvr_context *context,
			     const struct kvr_bootstrap *who)
{
	struct kvr_ring_options options;
	struct kvr_ring *ring = NULL;
	struct cache cache = {.pool = NULL}; /* one a layer */
	struct kvr_plan_desc desc;
	enum kvr_status status;

	kvr_plan_desc_init(&desc);
	desc.q_heads = desc.kv_heads = HEADS;
	desc.head_dim = DIM;
	desc.mask = KVR_MASK_CAUSAL;
	kvr_ring_options_init(&options);
	status = kvr_attention_block_bytes(&desc, CHUNKS * TOKENS, CHUNKS,
					   &options.lane[0].slot_bytes);
	if (status == KVR_OK)
		status = kvr_attention_page_bytes(&desc, TOKENS,
						  &cache.page_bytes);
	if (status == KVR_OK)
		cache.pool = aligned_alloc(KVR_PAGE_ALIGN,
					   CHUNKS * cache.page_bytes);
	if (status == KVR_OK)
		status = kvr_memory_register(context, cache.pool,
					     CHUNKS * cache.page_bytes,
					     &cache.memory);
	if (status == KVR_OK)
		status = kvr_ring_open(context, who, &options, &ring);
	for (uint32_t i = 0; i < CHUNKS && status == KVR_OK; i++)
		status = prefill(ring, &cache, &desc, i);
	kvr_ring_close(ring);
	kvr_memory_deregister(cache.memory);
	free(cache.pool);
	return status;
}

int main(void)
{
	struct kvr_context *context = NULL;
	struct kvr_bootstrap who;
	enum kvr_status status;

	kvr_bootstrap_init(&who);
	status = kvr_bootstrap_from_environment(&who);
	for (size_t i = 0; i < sizeof(ones) / sizeof(*ones); i++)
		ones[i] = 1;
	if (status == KVR_OK)
		status = kvr_context_open(NULL, &context);
	if (status == KVR_OK)
		status = serve(context, &who);
	printf("%s\n",
	       status == KVR_OK ? "prefilled" : kvr_status_text(status));
	kvr_context_close(context);
	kvr_bootstrap_close(&who);
	return status != KVR_OK;
}
