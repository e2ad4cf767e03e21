/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys in pages that lie anywhere and grew in steps: a kernel gives the bits
 * that it gives for the ranges which the pages are of.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compute_test.h"
#include "runtime/tensor.h"

#define RANDOM_PROBLEMS 60

/* The keys of a problem, cut. */
struct pages {
	struct kvr_range *range;
	void **page;
	size_t count;
};

static struct kvr_tensor rows(const struct kvr_tensor *t, size_t first,
			      size_t tokens)
{
	struct kvr_tensor part = *t;

	part.data = (char *)t->data +
		    first * t->token_stride * kvr_dtype_bytes(t->dtype);
	part.tokens = tokens;
	return part;
}

/* In two steps, of which the first ends anywhere. */
static void *grow(const struct problem *p, const struct kvr_compute_ops *ops,
		  const struct kvr_compute_shape *shape, size_t token,
		  size_t tokens)
{
	const struct kvr_range all = {.length = tokens};
	size_t bytes = ops->block_bytes(shape, (struct kvr_ranges){&all, 1});
	size_t first = token * 7 % (tokens + 1);
	void *page = aligned_alloc(64, bytes + 64);
	struct kvr_tensor k, v;

	assert_non_null(page);
	memset(page, 0xff, bytes + 64);
	k = rows(&p->k, token, first);
	v = rows(&p->v, token, first);
	ops->append(shape, 0, &k, &v, page);
	k = rows(&p->k, token + first, tokens - first);
	v = rows(&p->v, token + first, tokens - first);
	ops->append(shape, first, &k, &v, page);
	for (size_t i = bytes; i < bytes + 64; i++)
		assert_int_equal(((unsigned char *)page)[i], 0xff);
	return page;
}

static void cut(const struct problem *p, const struct kvr_compute_ops *ops,
		const struct kvr_compute_shape *shape, size_t most,
		struct pages *out)
{
	size_t room = p->kv_tokens + p->desc.kv_range_count + 1, token = 0;

	*out = (struct pages){
		.range = calloc(room, sizeof(*out->range)),
		.page = calloc(room, sizeof(*out->page)),
	};
	assert_true(out->range && out->page);
	for (size_t i = 0; i < p->desc.kv_range_count; i++) {
		struct kvr_range left = p->kv_range[i];

		while (left.length > 0) {
			struct kvr_range *range = &out->range[out->count];

			*range = left;
			if (range->length > most)
				range->length = most;
			out->page[out->count++] = grow(p, ops, shape, token,
						       (size_t)range->length);
			token += (size_t)range->length;
			left.start += range->length;
			left.length -= range->length;
		}
	}
}

static void pages_free(struct pages *pages)
{
	for (size_t i = 0; i < pages->count; i++)
		free(pages->page[i]);
	free(pages->page);
	free(pages->range);
}

static void answer_in_pages(const struct problem *p, const struct manner *m,
			    size_t most, struct answer *a)
{
	const struct kvr_ranges q = {p->q_range, p->desc.q_range_count};
	struct kvr_compute_shape shape;
	struct kvr_compute *compute;
	struct pages pages;

	assert_int_equal(kvr_shape_from_desc(&p->desc, &shape), KVR_OK);
	cut(p, m->ops, &shape, most, &pages);
	assert_int_equal(m->ops->open(&shape, q, m->threads, &compute), KVR_OK);
	assert_int_equal(m->ops->reserve(compute, pages.count, 0), KVR_OK);
	m->ops->begin(compute, &p->q);
	m->ops->step_pages(compute,
			   (struct kvr_ranges){pages.range, pages.count},
			   (const void *const *)pages.page);
	m->ops->finish(compute, &a->out, a->lse, a->tokens);
	m->ops->close(compute);
	pages_free(&pages);
}

static void check_pages(const struct problem *p, const struct manner *m,
			size_t most)
{
	struct answer want = answer_of_kernel(p, m);
	struct answer got = answer_of_kernel(p, m);

	memset(got.lse, 0xff, got.tokens * got.heads * sizeof(*got.lse));
	answer_in_pages(p, m, most, &got);
	if (!answer_same_bits(&got, &want))
		fail_msg("pages of %zu tokens change bits", most);
	answer_free(&got);
	answer_free(&want);
}

void kernel_pages_of_any_range_same_bits(void **state)
{
	struct manner m = plainly();
	struct problem p;

	(void)state;
	for (uint64_t i = 0; i < RANDOM_PROBLEMS; i++) {
		uint64_t seed = 77 + i;

		problem_random(&p, seed);
		m.threads = 1 + i % 3;
		check_pages(&p, &m, 16 * (1 + random_below(&seed, 5)));
		problem_free(&p);
	}
}

/* Some tiles are of one page, some of many, and the last page is not full. */
void kernel_hundreds_of_pages_same_bits(void **state)
{
	static const size_t sizes[] = {16, 32, 48, 64, 256, 272};
	struct manner m = plainly();
	struct problem p;

	(void)state;
	for (int dtype = KVR_F32; dtype <= KVR_F16; dtype++)
		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			problem_square(&p, 70, 3001, 24, KVR_MASK_CAUSAL);
			p.desc.q_heads = 6;
			p.desc.kv_heads = 3;
			p.desc.dtype = (enum kvr_dtype)dtype;
			p.q_range[0].start = 2900;
			if (i % 2) {
				p.window = (struct kvr_window){700, 5};
				p.desc.window = &p.window;
			}
			problem_fill(&p, i + 1);
			check_pages(&p, &m, sizes[i]);
			problem_free(&p);
		}
}

/* Rows alone give what they give among others. */
void kernel_queries_one_by_one_same_bits(void **state)
{
	struct manner m = plainly();
	struct problem p;
	struct answer want;

	(void)state;
	problem_square(&p, 60, 700, 40, KVR_MASK_CAUSAL);
	p.desc.q_heads = 3;
	p.q_range[0].start = 600;
	problem_fill(&p, 3);
	want = answer_of_kernel(&p, &m);
	for (size_t token = 0; token < 60; token++) {
		struct problem one = p;
		struct answer got;

		one.q_range[0] = (struct kvr_range){0, 600 + token, 1};
		one.desc.q_ranges = one.q_range;
		one.desc.kv_ranges = one.kv_range;
		one.q_tokens = 1;
		one.q = rows(&p.q, token, 1);
		got = answer_of_kernel(&one, &m);
		assert_memory_equal(got.out.data,
				    (float *)want.out.data + token * 3 * 40,
				    sizeof(float) * 3 * 40);
		for (size_t h = 0; h < 3; h++)
			assert_memory_equal(&got.lse[h],
					    &want.lse[h * 60 + token],
					    sizeof(float));
		answer_free(&got);
	}
	answer_free(&want);
	problem_free(&p);
}
