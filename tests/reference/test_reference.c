/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention against PyTorch in float64: the committed cases are independent
 * of our own oracle. The oracle is held to the rounding of its f32 results;
 * every kernel that this processor runs, to the a-priori bound of fp32
 * arithmetic, with the sequence split over rings of several sizes and each
 * rank taking the blocks in the order in which a ring brings them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/tensor.h"
#include "tests/reference/check.h"

#define RANKS_MAX 7

/* ---------------------------------------------------------------- oracle */

/* But for the ranges. */
static void describe(const struct reference_case *c, struct kvr_plan_desc *desc)
{
	kvr_plan_desc_init(desc);
	desc->q_heads = (uint32_t)c->q.heads;
	desc->kv_heads = (uint32_t)c->k.heads;
	desc->head_dim = (uint32_t)c->q.dim;
	desc->value_dim = (uint32_t)c->v.dim;
	desc->dtype = c->q.dtype;
	desc->mask = c->mask;
	desc->window = &c->window;
	desc->scale = c->scale;
	desc->softcap = c->softcap;
	desc->sinks = c->sinks;
	desc->values_in_keys = c->values_in_keys;
}

static void oracle_check(const struct reference_case *c)
{
	struct result r = result_new(c, KVR_F32, c->q.tokens);
	struct shard all =
		shard_of(&partitions[0], c, c->q.tokens, c->q_start, 0, 1);
	struct shard keys =
		shard_of(&partitions[0], c, c->k.tokens, c->kv_start, 0, 1);
	struct kvr_plan_desc desc;

	describe(c, &desc);
	desc.q_ranges = all.range;
	desc.q_range_count = all.count;
	desc.kv_ranges = keys.range;
	desc.kv_range_count = keys.count;
	assert_int_equal(kvr_attention_oracle(&desc, &c->q, &c->k,
					      c->values_in_keys ? NULL : &c->v,
					      NULL, 0, &r.out, r.lse,
					      c->q.tokens),
			 KVR_OK);
	result_check(c, &r, &all, oracle_tolerance(c), "oracle");
	result_free(&r);
}

static void oracle_every_case_matches_float64(void **state)
{
	(void)state;
	for (size_t i = 0; i < case_count; i++)
		oracle_check(&cases[i]);
}

/* --------------------------------------------------------------- kernels */

static struct kvr_ranges shard_ranges(const struct shard *s)
{
	return (struct kvr_ranges){.range = s->range, .count = s->count};
}

/* A simulated ring: all blocks packed, each rank's steps in ring order. */
struct setting {
	const struct reference_case *c;
	const struct kvr_compute_ops *ops;
	const struct partition *partition;
	uint32_t n, threads;
	enum kvr_dtype out;
	bool paged;
};

static struct kvr_compute_shape shape_of(const struct reference_case *c)
{
	struct kvr_compute_shape shape;
	struct kvr_plan_desc desc;

	describe(c, &desc);
	assert_int_equal(kvr_shape_from_desc(&desc, &shape), KVR_OK);
	return shape;
}

static void *pack_block(const struct setting *s, struct kvr_compute *compute,
			const struct shard *kv)
{
	struct kvr_compute_shape shape = shape_of(s->c);
	size_t bytes = s->ops->block_bytes(&shape, shard_ranges(kv));
	struct kvr_tensor k = shard_gather(&s->c->k, kv),
			  v = shard_gather(&s->c->v, kv);
	void *block = aligned_alloc(64, bytes + 64);

	assert_int_equal(bytes % 64, 0);
	assert_non_null(block);
	s->ops->pack(compute, shard_ranges(kv), &k,
		     s->c->values_in_keys ? NULL : &v, block);
	free(k.data);
	free(v.data);
	return block;
}

#define PAGE 16
#define PAGES_MAX 64

/* The same keys in pages, each with memory of its own. */
struct pages {
	struct kvr_range range[PAGES_MAX];
	void *page[PAGES_MAX];
	size_t count;
};

static void add_page(const struct setting *s, struct pages *pages,
		     const struct kvr_range *range, struct kvr_tensor k,
		     struct kvr_tensor v, size_t token)
{
	struct kvr_compute_shape shape = shape_of(s->c);
	size_t i = pages->count++;
	size_t bytes =
		s->ops->block_bytes(&shape, (struct kvr_ranges){range, 1});

	assert_true(i < PAGES_MAX);
	pages->range[i] = *range;
	pages->page[i] = aligned_alloc(64, bytes);
	assert_non_null(pages->page[i]);
	k.tokens = v.tokens = (size_t)range->length;
	k.data = (char *)k.data +
		 token * k.token_stride * kvr_dtype_bytes(k.dtype);
	v.data = (char *)v.data +
		 token * v.token_stride * kvr_dtype_bytes(v.dtype);
	s->ops->append(&shape, 0, &k, &v, pages->page[i]);
}

static void take_pages(const struct setting *s, struct kvr_compute *compute,
		       const struct shard *kv)
{
	struct kvr_tensor k = shard_gather(&s->c->k, kv),
			  v = shard_gather(&s->c->v, kv);
	struct pages pages = {.count = 0};
	size_t token = 0;

	for (size_t i = 0; i < kv->count; i++)
		for (uint64_t at = 0; at < kv->range[i].length; at += PAGE) {
			struct kvr_range range = kv->range[i];

			range.start += at;
			range.length -= at;
			if (range.length > PAGE)
				range.length = PAGE;
			add_page(s, &pages, &range, k, v, token);
			token += (size_t)range.length;
		}
	s->ops->step_pages(compute,
			   (struct kvr_ranges){pages.range, pages.count},
			   (const void *const *)pages.page);
	for (size_t i = 0; i < pages.count; i++)
		free(pages.page[i]);
	free(k.data);
	free(v.data);
}

/* The block of rank (rank - step) mod n, as a ring brings it. */
static void take_step(const struct setting *s, struct kvr_compute *compute,
		      uint32_t rank, uint32_t step)
{
	uint32_t origin = (rank + s->n - step) % s->n;
	struct shard kv = shard_of(s->partition, s->c, s->c->k.tokens,
				   s->c->kv_start, origin, s->n);
	void *block;

	if (s->paged) {
		take_pages(s, compute, &kv);
		return;
	}
	block = pack_block(s, compute, &kv);
	s->ops->step(compute, shard_ranges(&kv), block);
	free(block);
}

static void rank_check(const struct setting *s, uint32_t rank)
{
	const struct reference_case *c = s->c;
	struct kvr_compute_shape shape = shape_of(c);
	struct shard shard =
		shard_of(s->partition, c, c->q.tokens, c->q_start, rank, s->n);
	struct kvr_tensor q = shard_gather(&c->q, &shard);
	struct result r = result_new(c, s->out, shard.tokens);
	struct kvr_compute *compute;
	char what[128];

	assert_int_equal(s->ops->open(&shape, shard_ranges(&shard), s->threads,
				      &compute),
			 KVR_OK);
	s->ops->begin(compute, &q);
	for (uint32_t step = 0; step < s->n; step++)
		take_step(s, compute, rank, step);
	s->ops->finish(compute, &r.out, r.lse, shard.tokens);
	s->ops->close(compute);

	snprintf(what, sizeof(what), "%s %s rank %u of %u, %u threads",
		 s->ops->name, s->partition->name, rank, s->n, s->threads);
	result_check(c, &r, &shard, kernel_tolerance(c), what);
	result_free(&r);
	free(q.data);
}

static void kernel_check(const struct reference_case *c,
			 const struct kvr_compute_ops *ops)
{
	static const uint32_t sizes[] = {1, 2, 3, 4, RANKS_MAX};

	for (size_t p = 0; p < PARTITIONS; p++)
		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			/* threads, output types and pages alternate */
			struct setting s = {
				.c = c,
				.ops = ops,
				.partition = &partitions[p],
				.n = sizes[i],
				.threads = 1 + (uint32_t)(p + i) % 2,
				.out = i % 2 ? c->q.dtype : KVR_F32,
				.paged = (p + i / 2) % 2,
			};

			for (uint32_t rank = 0; rank < s.n; rank++)
				rank_check(&s, rank);
		}
}

static void kernels_every_case_in_rings_match_float64(void **state)
{
	(void)state;
	kernels_check(kernel_check);
}

/* ----------------------------------------------------------------- cases */

static size_t dims_seen(enum kvr_dtype dtype, enum kvr_mask mask, size_t dim)
{
	size_t count = 0;

	for (size_t i = 0; i < case_count; i++)
		count += cases[i].q.dtype == dtype && cases[i].mask == mask &&
			 cases[i].q.dim == dim;
	return count;
}

/* A checkout that lost its cases must not pass. */
static void cases_committed_cover_types_masks_and_dims(void **state)
{
	static const size_t dims[] = {1, 3, 16, 32, 64, 80, 128, 256};

	(void)state;
	assert_true(case_count >= 48);
	for (size_t i = 0; i < sizeof(dims) / sizeof(dims[0]); i++)
		for (int dtype = KVR_F32; dtype <= KVR_F16; dtype++)
			for (int mask = 0; mask <= KVR_MASK_CAUSAL; mask++)
				assert_true(dims_seen((enum kvr_dtype)dtype,
						      (enum kvr_mask)mask,
						      dims[i]) > 0);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(cases_committed_cover_types_masks_and_dims),
		cmocka_unit_test(oracle_every_case_matches_float64),
		cmocka_unit_test(kernels_every_case_in_rings_match_float64),
	};
	int failed;

	if (argc != 2) {
		fprintf(stderr, "usage: test_reference DIRECTORY\n");
		return 2;
	}
	cases_read(argv[1]);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	cases_free();
	return failed ? 1 : 0;
}
