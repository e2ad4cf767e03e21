/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A prompt in 64 chunks over a cache in pages is the prompt in one pass: within
 * the tolerance of the oracle, and bit for bit of the same ring in one pass.
 *
 * Bit for bit, because whose key a position is does not depend on the chunk:
 * each row meets the same keys in the same order of steps, in the same tiles,
 * and what it does not see yet adds nothing. Pages of a multiple of 16 tokens
 * are joined again, so that also a pass over unpaged shards has these bits.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kvring/pages.h"
#include "tests/support/whole.h"

/* As test_attention.c has them, with their reasons. */
#define F32_ERROR 2e-6
#define BF16_ERROR 3e-3
#define F16_ERROR 4e-4
#define LSE_ERROR 5e-6

#define RANGES_MAX 128
#define CHUNKS_MAX 1024

enum placing { CONTIGUOUS, ZIGZAG, INTERLEAVED };

struct prompt {
	struct whole whole; /* out and lse: of the chunks */
	enum placing placing;
	size_t page_tokens;
	size_t end[CHUNKS_MAX]; /* of each chunk; the last: all tokens */
	size_t chunks;
};

/* ------------------------------------------------------------ one rank */

struct page {
	struct kvr_range range; /* all that it will hold */
	struct kvr_segment segment;
};

struct cache {
	const struct prompt *prompt;
	struct kvr_range shard[RANGES_MAX];
	size_t ranges, tokens;
	struct page *page;
	size_t pages, page_bytes;
	void *pool;
	struct kvr_memory *memory;
};

static void place(const struct prompt *p, uint32_t rank, uint32_t n,
		  struct cache *c)
{
	const size_t tokens = p->whole.tokens, group = 24;

	if (p->placing == CONTIGUOUS)
		CHECK_STATUS(kvr_ranges_contiguous(tokens, rank, n, c->shard,
						   &c->ranges),
			     KVR_OK);
	else if (p->placing == ZIGZAG)
		CHECK_STATUS(kvr_ranges_zigzag(tokens, rank, n, c->shard,
					       &c->ranges),
			     KVR_OK);
	for (size_t at = rank * group; p->placing == INTERLEAVED && at < tokens;
	     at += n * group) {
		size_t left = tokens - at;

		CHECK(c->ranges < RANGES_MAX);
		c->shard[c->ranges++] = (struct kvr_range){
			.start = at, .length = left < group ? left : group};
	}
	for (size_t i = 0; i < c->ranges; i++) {
		c->tokens += c->shard[i].length;
		c->pages += (c->shard[i].length + p->page_tokens - 1) /
			    p->page_tokens;
	}
}

/* In an order of its own: a cache's pages are where there was room. */
static size_t home(const struct cache *c, size_t index)
{
	return c->pages - 1 - index;
}

static void cut_pages(struct cache *c)
{
	size_t most = c->prompt->page_tokens, index = 0;

	c->page = calloc(c->pages + 1, sizeof(*c->page));
	CHECK(c->page);
	for (size_t i = 0; i < c->ranges; i++) {
		const struct kvr_range *shard = &c->shard[i];

		for (size_t at = 0; at < shard->length; at += most) {
			size_t left = shard->length - at;

			c->page[index] = (struct page){
				{0, shard->start + at,
				 left < most ? left : most},
				{c->memory, home(c, index) * c->page_bytes,
				 c->page_bytes}};
			index++;
		}
	}
	CHECK(index == c->pages);
}

static void cache_open(struct cache *c, struct rank *rank)
{
	*c = (struct cache){.prompt = rank->arg};
	place(c->prompt, rank->rank, rank->n, c);
	CHECK_STATUS(kvr_attention_page_bytes(&c->prompt->whole.desc,
					      c->prompt->page_tokens,
					      &c->page_bytes),
		     KVR_OK);
	c->pool = aligned_alloc(KVR_PAGE_ALIGN, (c->pages + 1) * c->page_bytes);
	CHECK(c->pool);
	/* What was there before must not count. */
	memset(c->pool, 0xff, (c->pages + 1) * c->page_bytes);
	CHECK_STATUS(kvr_memory_register(rank->context, c->pool,
					 (c->pages + 1) * c->page_bytes,
					 &c->memory),
		     KVR_OK);
	cut_pages(c);
}

static void cache_close(struct cache *c)
{
	kvr_memory_deregister(c->memory);
	free(c->pool);
	free(c->page);
}

/* Rows from .. to - 1 of a tensor of the whole prompt. */
static struct kvr_tensor rows(const struct prompt *p, void *data,
			      uint32_t heads, uint32_t dim, size_t from,
			      size_t to)
{
	size_t row = heads * dim * kvr_dtype_bytes(p->whole.desc.dtype);

	return kvr_tensor_dense((char *)data + from * row, p->whole.desc.dtype,
				to - from, heads, dim);
}

/* What of the range is in from .. to - 1; false: nothing. */
static bool common(const struct kvr_range *range, size_t from, size_t to,
		   struct kvr_range *out)
{
	size_t end = range->start + range->length;

	*out = *range;
	out->start = range->start > from ? range->start : from;
	end = end < to ? end : to;
	out->length = end > out->start ? end - out->start : 0;
	return out->length > 0;
}

static void append(struct cache *c, size_t from, size_t to)
{
	const struct whole *w = &c->prompt->whole;

	for (size_t i = 0; i < c->pages; i++) {
		const struct page *page = &c->page[i];
		struct kvr_range new;
		struct kvr_tensor k, v;

		if (!common(&page->range, from, to, &new))
			continue;
		k = rows(c->prompt, w->k, w->desc.kv_heads, w->desc.head_dim,
			 new.start, new.start + new.length);
		v = rows(c->prompt, w->v, w->desc.kv_heads, w->desc.value_dim,
			 new.start, new.start + new.length);
		CHECK_STATUS(kvr_attention_page_append(
				     &w->desc, &page->segment,
				     new.start - page->range.start, &k, &v),
			     KVR_OK);
	}
}

/* ----------------------------------------------------------- one chunk */

/* A rank's queries of a chunk, and its pages so far. */
struct chunk {
	struct kvr_range q[RANGES_MAX];
	size_t ranges, tokens;
	struct kvr_range *kv;
	struct kvr_segment *page;
	size_t pages;
	struct kvr_tensor tq, tout;
	float *lse;
};

static void move(const struct chunk *chunk, void *whole, void *part, size_t row,
		 bool in)
{
	char *at = part;

	for (size_t i = 0; i < chunk->ranges; i++) {
		char *there = (char *)whole + chunk->q[i].start * row;
		size_t bytes = chunk->q[i].length * row;

		memcpy(in ? at : there, in ? there : at, bytes);
		at += bytes;
	}
}

static void find(const struct cache *c, size_t from, size_t to,
		 struct chunk *chunk)
{
	for (size_t i = 0; i < c->ranges; i++)
		if (common(&c->shard[i], from, to, &chunk->q[chunk->ranges]))
			chunk->tokens += chunk->q[chunk->ranges++].length;
	chunk->kv = calloc(c->pages + 1, sizeof(*chunk->kv));
	chunk->page = calloc(c->pages + 1, sizeof(*chunk->page));
	CHECK(chunk->kv && chunk->page);
	for (size_t i = 0; i < c->pages; i++)
		if (common(&c->page[i].range, 0, to, &chunk->kv[chunk->pages]))
			chunk->page[chunk->pages++] = c->page[i].segment;
}

static void chunk_open(const struct cache *c, size_t from, size_t to,
		       struct chunk *chunk)
{
	const struct whole *w = &c->prompt->whole;
	const struct kvr_plan_desc *d = &w->desc;
	size_t q_row = d->q_heads * d->head_dim * kvr_dtype_bytes(d->dtype);
	size_t out_row =
		d->q_heads * d->value_dim * kvr_dtype_bytes(w->out_dtype);
	void *q, *out;

	*chunk = (struct chunk){.ranges = 0};
	find(c, from, to, chunk);
	q = malloc(chunk->tokens * q_row + 1);
	out = malloc(chunk->tokens * out_row + 1);
	chunk->lse = malloc(chunk->tokens * d->q_heads * sizeof(float) + 1);
	CHECK(q && out && chunk->lse);
	move(chunk, w->q, q, q_row, true);
	chunk->tq = kvr_tensor_dense(q, d->dtype, chunk->tokens, d->q_heads,
				     d->head_dim);
	chunk->tout = kvr_tensor_dense(out, w->out_dtype, chunk->tokens,
				       d->q_heads, d->value_dim);
}

static void chunk_close(const struct whole *w, struct chunk *chunk)
{
	const struct kvr_plan_desc *d = &w->desc;
	size_t out_row =
		d->q_heads * d->value_dim * kvr_dtype_bytes(w->out_dtype);

	move(chunk, w->out, chunk->tout.data, out_row, false);
	for (uint32_t h = 0; h < d->q_heads; h++)
		move(chunk, w->lse + h * w->tokens,
		     chunk->lse + h * chunk->tokens, sizeof(float), false);
	free(chunk->tq.data);
	free(chunk->tout.data);
	free(chunk->lse);
	free(chunk->kv);
	free(chunk->page);
}

static void run_chunk(struct cache *c, struct rank *rank, size_t from,
		      size_t to)
{
	struct kvr_plan_desc desc = c->prompt->whole.desc;
	struct kvr_plan *plan;
	struct chunk chunk;

	append(c, from, to);
	chunk_open(c, from, to, &chunk);
	desc.q_ranges = chunk.q;
	desc.q_range_count = chunk.ranges;
	desc.kv_ranges = chunk.kv;
	desc.kv_range_count = chunk.pages;
	desc.threads = c->prompt->whole.threads;
	desc.paged = 1;
	CHECK_STATUS(kvr_plan_create(rank->ring, &desc, &plan), KVR_OK);
	CHECK_STATUS(kvr_attention_run_pages(plan, &chunk.tq, chunk.page,
					     chunk.pages, &chunk.tout,
					     chunk.lse, chunk.tokens),
		     KVR_OK);
	kvr_plan_destroy(plan);
	chunk_close(&c->prompt->whole, &chunk);
}

static void rank_body(struct rank *rank)
{
	const struct prompt *p = rank->arg;
	struct cache cache;
	size_t from = 0;

	CHECK_STATUS(rank->opened, KVR_OK);
	cache_open(&cache, rank);
	for (size_t i = 0; i < p->chunks; i++) {
		run_chunk(&cache, rank, from, p->end[i]);
		from = p->end[i];
	}
	CHECK(from == p->whole.tokens);
	cache_close(&cache);
}

static void prompt_run(struct prompt *p)
{
	const struct whole *w = &p->whole;
	size_t most = 0, bytes;
	struct ranks ranks;

	for (uint32_t i = 0; i < w->n; i++) {
		struct cache c = {.prompt = p};

		place(p, i, w->n, &c);
		CHECK_STATUS(kvr_attention_block_bytes(&w->desc, c.tokens,
						       c.pages, &bytes),
			     KVR_OK);
		most = bytes > most ? bytes : most;
	}
	ranks_init(&ranks, w->n);
	ranks.transport = w->transport;
	ranks.options.slots = w->slots;
	ranks.options.chunk_bytes = w->chunk_bytes;
	ranks.options.lane[0].slot_bytes = most;
	ranks.body = rank_body;
	ranks.arg = p;
	ranks_run(&ranks);
}

/* ------------------------------------------------------------- comparing */

static size_t out_bytes(const struct whole *w)
{
	return w->tokens * w->desc.q_heads * w->desc.value_dim *
	       kvr_dtype_bytes(w->out_dtype);
}

static size_t lse_bytes(const struct whole *w)
{
	return w->tokens * w->desc.q_heads * sizeof(float);
}

static void *copy(const void *data, size_t bytes)
{
	void *kept = malloc(bytes + 1);

	CHECK(kept);
	memcpy(kept, data, bytes);
	return kept;
}

static void check_oracle(const struct prompt *p)
{
	static const double bounds[] = {[KVR_F32] = F32_ERROR,
					[KVR_BF16] = BF16_ERROR,
					[KVR_F16] = F16_ERROR};
	const struct whole *w = &p->whole;
	size_t rows_of = w->tokens * w->desc.q_heads;
	float *out = malloc(rows_of * w->desc.value_dim * sizeof(float) + 1);
	float *lse = malloc(rows_of * sizeof(float) + 1);

	CHECK(out && lse);
	whole_oracle(w, out, lse);
	assert_true(whole_error(w, out) <= bounds[w->out_dtype]);
	assert_true(whole_lse_error(w, lse) <= LSE_ERROR);
	free(out);
	free(lse);
}

/* What nobody writes must not agree by chance. */
static void spoil(struct whole *w)
{
	memset(w->out, 0x5a, out_bytes(w));
	memset(w->lse, 0x5a, lse_bytes(w));
}

static void expect_bits(struct prompt *p, const void *out, const void *lse,
			const char *what)
{
	struct whole *w = &p->whole;

	if (memcmp(w->out, out, out_bytes(w)) ||
	    memcmp(w->lse, lse, lse_bytes(w))) {
		fprintf(stderr,
			"%s differs: n %u, %zu tokens in pages of %zu\n", what,
			w->n, w->tokens, p->page_tokens);
		abort();
	}
}

/* In its chunks: the oracle's; in one, and without pages: the same bits. */
static void check_prompt(struct prompt *p)
{
	struct whole *w = &p->whole;
	void *out, *lse;
	struct prompt one = *p;

	spoil(w);
	prompt_run(p);
	check_oracle(p);
	out = copy(w->out, out_bytes(w));
	lse = copy(w->lse, lse_bytes(w));
	spoil(w);
	one.chunks = 1;
	one.end[0] = w->tokens;
	prompt_run(&one);
	expect_bits(p, out, lse, "one pass over pages");
	if (p->placing != INTERLEAVED && p->page_tokens % 16 == 0) {
		spoil(w);
		w->zigzag = p->placing == ZIGZAG;
		whole_run(w);
		expect_bits(p, out, lse, "one pass");
	}
	free(out);
	free(lse);
}

/* `chunks` of any size, also of no token. */
static void cut_chunks(struct prompt *p, size_t count, uint64_t seed)
{
	p->chunks = count;
	for (size_t i = 0; i < count; i++)
		p->end[i] = whole_random(&seed) % (p->whole.tokens + 1);
	p->end[count - 1] = p->whole.tokens;
	for (size_t i = 1; i < count; i++)
		for (size_t j = i; j > 0 && p->end[j] < p->end[j - 1]; j--) {
			size_t end = p->end[j];

			p->end[j] = p->end[j - 1];
			p->end[j - 1] = end;
		}
}

/* ----------------------------------------------------------------- tests */

struct subject {
	uint32_t n, q_heads, kv_heads, dim, value_dim;
	float softcap;
	size_t tokens, page_tokens;
	enum kvr_dtype dtype;
	enum placing placing;
	struct kvr_window window;
	const char *transport;
};

/* Grouped heads, windows, soft-caps, types, odd pages and tokens, together. */
static const struct subject subjects[] = {
	{1, 4, 2, 32, 32, 0, 1300, 16, KVR_F32, CONTIGUOUS, {-1, -1}, "shm"},
	{1, 2, 2, 16, 5, 0, 701, 64, KVR_BF16, CONTIGUOUS, {300, 0}, "fake"},
	{2, 4, 1, 64, 64, 0.8f, 643, 32, KVR_BF16, ZIGZAG, {-1, -1}, "shm"},
	{2, 4, 2, 24, 40, 0, 517, 256, KVR_F32, INTERLEAVED, {97, 3}, "shm"},
	{3, 3, 3, 16, 16, 0, 777, 16, KVR_F16, ZIGZAG, {-1, -1}, "fake"},
	{3, 6, 2, 80, 80, 0.5f, 331, 20, KVR_F32, CONTIGUOUS, {40, 0}, "shm"},
	{4, 8, 2, 64, 64, 0, 1029, 16, KVR_BF16, INTERLEAVED, {-1, 0}, "shm"},
	{4, 2, 1, 33, 33, 0, 900, 48, KVR_F32, CONTIGUOUS, {-1, -1}, "fake"},
};

static void prompt_init(const struct subject *s, struct prompt *p,
			uint64_t seed)
{
	struct kvr_plan_desc desc;

	kvr_plan_desc_init(&desc);
	desc.q_heads = s->q_heads;
	desc.kv_heads = s->kv_heads;
	desc.head_dim = s->dim;
	desc.value_dim = s->value_dim;
	desc.dtype = s->dtype;
	desc.mask = KVR_MASK_CAUSAL;
	desc.window = &s->window;
	desc.softcap = s->softcap;
	*p = (struct prompt){
		.placing = s->placing,
		.page_tokens = s->page_tokens,
	};
	whole_init(&p->whole, &desc, s->tokens, seed, 1);
	p->whole.n = s->n;
	p->whole.threads = 1 + s->n % 2;
	p->whole.transport = s->transport;
	p->whole.out_dtype = seed % 2 ? s->dtype : KVR_F32;
}

static size_t chunks = 64;

static void chunks_of_a_prompt_are_one_pass_bit_for_bit(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(subjects) / sizeof(subjects[0]); i++) {
		struct prompt p;

		prompt_init(&subjects[i], &p, i + 1);
		cut_chunks(&p, chunks, i + 1);
		check_prompt(&p);
		whole_fini(&p.whole);
	}
}

/* A prompt, then a token a step: pages grow one by one. */
static void decoded_tokens_are_one_pass_bit_for_bit(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(subjects) / sizeof(subjects[0]); i += 3) {
		struct prompt p;

		prompt_init(&subjects[i], &p, i + 1);
		p.whole.tokens = 200;
		for (size_t end = 101; end <= 200; end++)
			p.end[p.chunks++] = end;
		check_prompt(&p);
		whole_fini(&p.whole);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(chunks_of_a_prompt_are_one_pass_bit_for_bit),
		cmocka_unit_test(decoded_tokens_are_one_pass_bit_for_bit),
	};

	if (argc > 1)
		chunks = strtoull(argv[1], NULL, 10);
	return cmocka_run_group_tests_name("chunks", tests, NULL, NULL);
}
