/* SPDX-License-Identifier: Apache-2.0 */
/* Pages of a cache: their size, appending, what a run on them refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kvring/pages.h"
#include "tests/support/ranks.h"

#define HEADS 3
#define DIM 5
#define VALUE 18
#define TOKENS 100 /* of a page, at most */

static struct kvr_plan_desc shape(enum kvr_dtype dtype)
{
	struct kvr_plan_desc desc;

	kvr_plan_desc_init(&desc);
	desc.q_heads = desc.kv_heads = HEADS;
	desc.head_dim = DIM;
	desc.value_dim = VALUE;
	desc.dtype = dtype;
	desc.mask = KVR_MASK_CAUSAL;
	return desc;
}

/* --------------------------------------------------------------- sizes */

static void page_bytes_of_a_range_and_their_limits(void **state)
{
	struct kvr_plan_desc desc = shape(KVR_F32);
	size_t bytes = 7;

	(void)state;
	/* Panels of 16 * (5 + 32) floats; 3 heads; to 64. */
	assert_int_equal(kvr_attention_page_bytes(&desc, 1, &bytes), KVR_OK);
	assert_int_equal(bytes, 7104);
	assert_int_equal(kvr_attention_page_bytes(&desc, 17, &bytes), KVR_OK);
	assert_int_equal(bytes, 14208);
	assert_int_equal(kvr_attention_page_bytes(&desc, 0, &bytes), KVR_OK);
	assert_int_equal(bytes, 0);
	bytes = 7;
	assert_int_equal(kvr_attention_page_bytes(&desc, UINT64_MAX, &bytes),
			 KVR_ERR_LIMIT);
	assert_int_equal(kvr_attention_page_bytes(NULL, 1, &bytes),
			 KVR_ERR_INVALID);
	assert_int_equal(kvr_attention_page_bytes(&desc, 1, NULL),
			 KVR_ERR_INVALID);
	desc.kernel = "abacus";
	assert_int_equal(kvr_attention_page_bytes(&desc, 1, &bytes),
			 KVR_ERR_UNSUPPORTED);
	desc.size = 0;
	assert_int_equal(kvr_attention_page_bytes(&desc, 1, &bytes),
			 KVR_ERR_INVALID);
	assert_int_equal(bytes, 7);
}

/* Whether the tokens, the ranges or the list of these is too much. */
static void block_bytes_beyond_all_memory_limit(void **state)
{
	struct kvr_plan_desc desc = shape(KVR_F32);
	size_t bytes = 7;

	(void)state;
	assert_int_equal(
		kvr_attention_block_bytes(&desc, UINT64_MAX, 1, &bytes),
		KVR_ERR_LIMIT);
	assert_int_equal(
		kvr_attention_block_bytes(&desc, UINT64_MAX / 400, 1, &bytes),
		KVR_ERR_LIMIT);
	assert_int_equal(kvr_attention_block_bytes(&desc, 1, SIZE_MAX, &bytes),
			 KVR_ERR_LIMIT);
	assert_int_equal(kvr_attention_block_bytes(&desc, 1,
						   SIZE_MAX / 7104 + 2, &bytes),
			 KVR_ERR_LIMIT);
	assert_int_equal(bytes, 7);
	assert_int_equal(
		kvr_attention_block_bytes(&desc, UINT64_MAX / 500, 1, &bytes),
		KVR_OK);
}

/* -------------------------------------------------------------- append */

/* Rows of a cache of TOKENS tokens, heads outside of them; odd in each bit. */
struct rows {
	_Alignas(64) unsigned char k[HEADS * TOKENS * DIM * 4];
	_Alignas(64) unsigned char v[HEADS * TOKENS * VALUE * 4];
	enum kvr_dtype dtype;
};

static void rows_init(struct rows *r, enum kvr_dtype dtype)
{
	r->dtype = dtype;
	for (size_t i = 0; i < sizeof(r->k); i++)
		r->k[i] = (unsigned char)(i * 37 % 251 + 1);
	for (size_t i = 0; i < sizeof(r->v); i++)
		r->v[i] = (unsigned char)(i * 41 % 241 + 1);
}

static struct kvr_tensor part(const struct rows *r, const void *data,
			      size_t dim, size_t from, size_t tokens)
{
	return (struct kvr_tensor){
		.data = (char *)(uintptr_t)data +
			from * dim * kvr_dtype_bytes(r->dtype),
		.dtype = r->dtype,
		.tokens = tokens,
		.heads = HEADS,
		.dim = dim,
		.token_stride = dim,
		.head_stride = TOKENS * dim,
	};
}

static enum kvr_status append(const struct rows *r,
			      const struct kvr_segment *page, size_t held,
			      size_t tokens)
{
	struct kvr_plan_desc desc = shape(r->dtype);
	struct kvr_tensor k = part(r, r->k, DIM, held, tokens);
	struct kvr_tensor v = part(r, r->v, VALUE, held, tokens);

	return kvr_attention_page_append(&desc, page, held, &k, &v);
}

static size_t page_bytes(enum kvr_dtype dtype, size_t tokens)
{
	struct kvr_plan_desc desc = shape(dtype);
	size_t bytes;

	assert_int_equal(kvr_attention_page_bytes(&desc, tokens, &bytes),
			 KVR_OK);
	return bytes;
}

/* Two pages of a pool, the first in the order of time. */
struct pool {
	struct kvr_context *context;
	struct kvr_memory *memory;
	char *data;
	size_t bytes; /* of a page */
	struct kvr_segment page[2];
};

static void pool_open(struct pool *p)
{
	p->bytes = page_bytes(KVR_F32, TOKENS);
	p->data = aligned_alloc(KVR_PAGE_ALIGN, 2 * p->bytes);
	assert_non_null(p->data);
	memset(p->data, 0xee, 2 * p->bytes);
	assert_int_equal(kvr_context_open(NULL, &p->context), KVR_OK);
	assert_int_equal(kvr_memory_register(p->context, p->data, 2 * p->bytes,
					     &p->memory),
			 KVR_OK);
	for (size_t i = 0; i < 2; i++)
		p->page[i] =
			(struct kvr_segment){p->memory, i * p->bytes, p->bytes};
}

static void pool_close(struct pool *p)
{
	kvr_memory_deregister(p->memory);
	kvr_context_close(p->context);
	free(p->data);
}

/* However it grew, a page is the same to the last byte, and no byte further. */
static void page_grown_in_any_steps_same_bytes(void **state)
{
	static const size_t steps[][8] = {
		{1, 1, 1, 13, 1, 17, 66},
		{15, 2, 30, 53},
		{16, 16, 32, 36},
		{40, 0, 1, 59},
		{3, 5, 7, 11, 13, 17, 19, 25},
	};
	struct pool pool;
	struct rows rows;

	(void)state;
	pool_open(&pool);
	for (int dtype = KVR_F32; dtype <= KVR_F16; dtype++)
		for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
			size_t held = 0, bytes;

			rows_init(&rows, (enum kvr_dtype)dtype);
			memset(pool.data, 0xee, 2 * pool.bytes);
			for (size_t s = 0; s < 8; s++) {
				assert_int_equal(append(&rows, &pool.page[0],
							held, steps[i][s]),
						 KVR_OK);
				held += steps[i][s];
				assert_int_equal(
					append(&rows, &pool.page[1], 0, held),
					KVR_OK);
				bytes = page_bytes(rows.dtype, held);
				assert_memory_equal(pool.data,
						    pool.data + pool.bytes,
						    bytes);
			}
			assert_int_equal(held, TOKENS);
			bytes = page_bytes(rows.dtype, TOKENS);
			for (size_t b = bytes; b < pool.bytes; b++)
				assert_int_equal(pool.data[b], (char)0xee);
		}
	pool_close(&pool);
}

/* One page in a memory of its own: what does not fit is not begun. */
static void append_wrong_arguments_refused_page_as_it_was(void **state)
{
	struct kvr_plan_desc desc = shape(KVR_F32);
	struct kvr_segment bad;
	struct kvr_tensor k, v, wrong;
	struct pool pool;
	struct rows rows;

	(void)state;
	pool_open(&pool);
	rows_init(&rows, KVR_F32);
	k = part(&rows, rows.k, DIM, 0, 4);
	v = part(&rows, rows.v, VALUE, 0, 4);
#define REFUSED(status, desc, page, held, k, v)                                \
	assert_int_equal(kvr_attention_page_append(desc, page, held, k, v),    \
			 status)
	REFUSED(KVR_ERR_INVALID, NULL, &pool.page[0], 0, &k, &v);
	REFUSED(KVR_ERR_INVALID, &desc, NULL, 0, &k, &v);
	REFUSED(KVR_ERR_INVALID, &desc, &pool.page[0], 0, NULL, &v);
	REFUSED(KVR_ERR_INVALID, &desc, &pool.page[0], 0, &k, NULL);
	wrong = v;
	wrong.tokens = 3;
	REFUSED(KVR_ERR_INVALID, &desc, &pool.page[0], 0, &k, &wrong);
	wrong = k;
	wrong.dtype = KVR_BF16;
	REFUSED(KVR_ERR_INVALID, &desc, &pool.page[0], 0, &wrong, &v);
	bad = pool.page[0];
	bad.memory = NULL;
	REFUSED(KVR_ERR_INVALID, &desc, &bad, 0, &k, &v);
	bad = pool.page[0];
	bad.offset = 32;
	REFUSED(KVR_ERR_INVALID, &desc, &bad, 0, &k, &v);
	bad = pool.page[1];
	bad.bytes++;
	REFUSED(KVR_ERR_INVALID, &desc, &bad, 0, &k, &v);
	bad = pool.page[1];
	bad.offset = 2 * pool.bytes + 64;
	REFUSED(KVR_ERR_INVALID, &desc, &bad, 0, &k, &v);
	REFUSED(KVR_ERR_LIMIT, &desc, &pool.page[0], UINT64_MAX - 1, &k, &v);
	/* 112 tokens have the panels of 100. */
	REFUSED(KVR_ERR_LIMIT, &desc, &pool.page[0], 109, &k, &v);
	desc.kernel = "abacus";
	REFUSED(KVR_ERR_UNSUPPORTED, &desc, &pool.page[0], 0, &k, &v);
#undef REFUSED
	for (size_t b = 0; b < 2 * pool.bytes; b++)
		assert_int_equal(pool.data[b], (char)0xee);
	pool_close(&pool);
}

static void append_in_a_forked_child_forked(void **state)
{
	struct pool pool;
	struct rows rows;
	int how;
	pid_t child;

	(void)state;
	pool_open(&pool);
	rows_init(&rows, KVR_F32);
	child = fork();
	assert_true(child >= 0);
	if (child == 0)
		_exit(append(&rows, &pool.page[0], 0, 4) == KVR_ERR_FORKED ? 0
									   : 1);
	assert_true(waitpid(child, &how, 0) == child);
	assert_true(WIFEXITED(how) && WEXITSTATUS(how) == 0);
	pool_close(&pool);
}

/* ----------------------------------------------------------------- runs */

#define PAGES 3
#define PAGE 16
#define N 2

/* Each rank: three pages, the last of 5 tokens; as many queries. */
struct paged {
	_Alignas(64) char data[4 * 8192];
	struct rows rows;
	struct kvr_range range[PAGES + 1];
	struct kvr_plan_desc desc;
	struct kvr_memory *memory;
	struct kvr_segment page[PAGES + 1];
	float q[HEADS * 37 * DIM], out[37 * HEADS * VALUE];
	struct kvr_tensor tq, tout;
};

static void paged_open(struct paged *p, struct rank *rank)
{
	size_t bytes = page_bytes(KVR_F32, PAGE);

	memset(p, 0, sizeof(*p));
	CHECK(bytes <= 8192);
	CHECK_STATUS(kvr_memory_register(rank->context, p->data,
					 sizeof(p->data), &p->memory),
		     KVR_OK);
	rows_init(&p->rows, KVR_F32);
	for (size_t i = 0; i < sizeof(p->q) / sizeof(*p->q); i++)
		p->q[i] = (float)(i % 11);
	for (size_t i = 0; i < HEADS * TOKENS * DIM; i++)
		((float *)p->rows.k)[i] = (float)(i * 7 % 13) / 13;
	for (size_t i = 0; i < HEADS * TOKENS * VALUE; i++)
		((float *)p->rows.v)[i] = (float)(i * 5 % 17) / 17;
	p->desc = shape(KVR_F32);
	for (size_t i = 0; i < PAGES; i++) {
		size_t count = i == PAGES - 1 ? 5 : PAGE;
		struct kvr_tensor k =
			part(&p->rows, p->rows.k, DIM, i * PAGE, count);
		struct kvr_tensor v =
			part(&p->rows, p->rows.v, VALUE, i * PAGE, count);

		p->range[i] = (struct kvr_range){
			.start = rank->rank * 37 + i * PAGE, .length = count};
		p->page[i] = (struct kvr_segment){p->memory, i * bytes, bytes};
		CHECK_STATUS(kvr_attention_page_append(&p->desc, &p->page[i], 0,
						       &k, &v),
			     KVR_OK);
	}
	p->desc.q_ranges = p->desc.kv_ranges = p->range;
	p->desc.q_range_count = p->desc.kv_range_count = PAGES;
	p->desc.paged = 1;
	p->tq = kvr_tensor_dense(p->q, KVR_F32, 37, HEADS, DIM);
	p->tout = kvr_tensor_dense(p->out, KVR_F32, 37, HEADS, VALUE);
}

static enum kvr_status run(struct paged *p, struct kvr_plan *plan)
{
	return kvr_attention_run_pages(plan, &p->tq, p->page,
				       p->desc.kv_range_count, &p->tout, NULL,
				       0);
}

static void over(void (*body)(struct rank *), uint32_t max_segments)
{
	struct ranks ranks;

	ranks_init(&ranks, N);
	ranks.body = body;
	ranks.options.lane[0].slot_bytes = (size_t)1 << 16;
	ranks.options.max_segments = max_segments;
	ranks_run(&ranks);
}

/* Each page in turn is wrong in one way; then all are right. */
static void wrong_pages(struct rank *rank)
{
	struct kvr_context *other;
	struct kvr_memory *foreign;
	struct kvr_plan *plan;
	struct paged p;

	CHECK_STATUS(rank->opened, KVR_OK);
	paged_open(&p, rank);
	CHECK_STATUS(kvr_context_open(NULL, &other), KVR_OK);
	CHECK_STATUS(
		kvr_memory_register(other, p.data, sizeof(p.data), &foreign),
		KVR_OK);
	CHECK_STATUS(kvr_plan_create(rank->ring, &p.desc, &plan), KVR_OK);
	for (size_t i = 0; i < PAGES; i++) {
		for (int how = 0; how < 5; how++) {
			struct kvr_segment good = p.page[i];

			p.page[i].offset += how == 0 ? 32 : 0;
			p.page[i].bytes =
				how == 1 ? good.bytes - 64 : good.bytes;
			if (how == 2)
				p.page[i].offset = sizeof(p.data) - 64;
			if (how == 3)
				p.page[i].memory = NULL;
			if (how == 4)
				p.page[i].memory = foreign;
			CHECK_STATUS(run(&p, plan), KVR_ERR_INVALID);
			p.page[i] = good;
		}
	}
	CHECK(strstr(rank->log, "page 2 is outside its memory"));
	CHECK(strstr(rank->log, "page 1 is smaller than its range"));
	CHECK(strstr(rank->log, "page 0 is registered with another context"));
	CHECK_STATUS(kvr_attention_run_pages(plan, &p.tq, p.page, PAGES - 1,
					     &p.tout, NULL, 0),
		     KVR_ERR_INVALID);
	CHECK_STATUS(kvr_attention_run_pages(plan, &p.tq, NULL, PAGES, &p.tout,
					     NULL, 0),
		     KVR_ERR_INVALID);
	CHECK_STATUS(kvr_attention_run_pages(NULL, &p.tq, p.page, PAGES,
					     &p.tout, NULL, 0),
		     KVR_ERR_INVALID);
	CHECK_STATUS(kvr_attention_run_pages(plan, &p.tout, p.page, PAGES,
					     &p.tout, NULL, 0),
		     KVR_ERR_INVALID);
	/* Nothing of that moved a block: the ranks agree. */
	CHECK_STATUS(run(&p, plan), KVR_OK);
	kvr_plan_destroy(plan);
	kvr_memory_deregister(foreign);
	kvr_context_close(other);
	kvr_memory_deregister(p.memory);
}

static void run_pages_wrong_pages_refused_ring_whole(void **state)
{
	(void)state;
	over(wrong_pages, 4096);
}

/* A plan is paged or not, and says so. */
static void wrong_plans(struct rank *rank)
{
	struct kvr_plan *plan;
	struct kvr_tensor k, v;
	struct paged p;

	CHECK_STATUS(rank->opened, KVR_OK);
	paged_open(&p, rank);
	k = part(&p.rows, p.rows.k, DIM, 0, 37);
	v = part(&p.rows, p.rows.v, VALUE, 0, 37);
	CHECK_STATUS(kvr_plan_create(rank->ring, &p.desc, &plan), KVR_OK);
	CHECK_STATUS(kvr_attention_pack(plan, &k, &v), KVR_ERR_STATE);
	CHECK_STATUS(kvr_attention_run(plan, &p.tq, &k, &v, &p.tout, NULL, 0),
		     KVR_ERR_STATE);
	kvr_plan_destroy(plan);
	p.desc.paged = 0;
	CHECK_STATUS(kvr_plan_create(rank->ring, &p.desc, &plan), KVR_OK);
	CHECK_STATUS(run(&p, plan), KVR_ERR_STATE);
	kvr_plan_destroy(plan);
	p.desc.paged = 2;
	CHECK_STATUS(kvr_plan_create(rank->ring, &p.desc, &plan),
		     KVR_ERR_INVALID);
	kvr_memory_deregister(p.memory);
}

static void run_pages_of_an_unpaged_plan_state(void **state)
{
	(void)state;
	over(wrong_plans, 4096);
}

static bool same_bits(const void *a, const void *b, size_t bytes)
{
	return memcmp(a, b, bytes) == 0;
}

/*
 * One rank's keys in pages, the other's in tensors; an empty range has no page,
 * and a full page and the next in memory are one segment of the two allowed.
 */
static void mix(struct rank *rank)
{
	float first[37 * HEADS * VALUE];
	struct kvr_plan *plan;
	struct kvr_tensor k, v;
	struct paged p;

	CHECK_STATUS(rank->opened, KVR_OK);
	paged_open(&p, rank);
	k = part(&p.rows, p.rows.k, DIM, 0, 37);
	v = part(&p.rows, p.rows.v, VALUE, 0, 37);
	p.desc.paged = 0;
	CHECK_STATUS(kvr_plan_create(rank->ring, &p.desc, &plan), KVR_OK);
	CHECK_STATUS(kvr_attention_run(plan, &p.tq, &k, &v, &p.tout, NULL, 0),
		     KVR_OK);
	kvr_plan_destroy(plan);
	memcpy(first, p.out, sizeof(first));
	memset(p.out, 0xff, sizeof(p.out));

	p.desc.paged = rank->rank == 0;
	p.range[3] = p.range[2];
	p.range[2] = (struct kvr_range){.start = 3};
	p.page[3] = p.page[2];
	p.page[3].offset = sizeof(p.data) - p.page[3].bytes;
	memcpy(p.data + p.page[3].offset, p.data + p.page[2].offset,
	       p.page[3].bytes);
	memset(p.data + p.page[2].offset, 0xff, p.page[2].bytes);
	p.page[2] = (struct kvr_segment){.memory = NULL};
	p.desc.q_range_count = p.desc.kv_range_count = PAGES + 1;
	CHECK_STATUS(kvr_plan_create(rank->ring, &p.desc, &plan), KVR_OK);
	for (int i = 0; i < 2; i++) {
		if (rank->rank == 0)
			CHECK_STATUS(run(&p, plan), KVR_OK);
		else
			CHECK_STATUS(kvr_attention_run(plan, &p.tq, &k, &v,
						       &p.tout, NULL, 0),
				     KVR_OK);
		CHECK(same_bits(p.out, first, sizeof(first)));
	}
	kvr_plan_destroy(plan);
	kvr_memory_deregister(p.memory);
}

static void run_pages_of_one_rank_same_bits(void **state)
{
	(void)state;
	over(mix, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(page_bytes_of_a_range_and_their_limits),
		cmocka_unit_test(block_bytes_beyond_all_memory_limit),
		cmocka_unit_test(page_grown_in_any_steps_same_bytes),
		cmocka_unit_test(append_wrong_arguments_refused_page_as_it_was),
		cmocka_unit_test(append_in_a_forked_child_forked),
		cmocka_unit_test(run_pages_wrong_pages_refused_ring_whole),
		cmocka_unit_test(run_pages_of_an_unpaged_plan_state),
		cmocka_unit_test(run_pages_of_one_rank_same_bits),
	};

	return cmocka_run_group_tests_name("pages", tests, NULL, NULL);
}
