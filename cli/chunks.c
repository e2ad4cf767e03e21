/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --chunks: the prompt as a server prefills it. Each chunk's keys are appended
 * to this rank's pages, and its queries see all keys so far: those of earlier
 * chunks are packed already, and are sent from their pages. Whose a token is
 * does not depend on the chunk, so that the result is that of one pass, to the
 * bit where a page has a multiple of 16 tokens.
 *
 * The ranges of a shard ascend: a chunk's rows are neighbours in it.
 */
#include <stdlib.h>
#include <time.h>

#include "cli/rank.h"
#include "kvring/pages.h"

struct prefill {
	struct rank *r;
	struct kvr_range *full, *kv, *q; /* pages when full, so far; queries */
	struct kvr_segment *page;
	size_t count; /* of pages */
};

size_t shard_pages(const struct shard *shard, uint64_t page_tokens)
{
	size_t pages = 0, i;

	for (i = 0; i < shard->count; i++)
		pages += (shard->ranges[i].length + page_tokens - 1) /
			 page_tokens;
	return pages;
}

/* ---------------------------------------------------------------- pages */

static bool allocate_pool(struct prefill *p, size_t page_bytes)
{
	struct rank *r = p->r;
	int error = rows_allocate(p->count * page_bytes, &r->pool);

	if (error)
		return rank_fail_system(
			r, "memory for its pages", error,
			"free some, or start more ranks with less each");
	return p->count == 0 ||
	       rank_check(r,
			  kvr_memory_register(r->context, r->pool.data,
					      p->count * page_bytes,
					      &r->pool_memory),
			  "registering its pages");
}

static void cut_pages(struct prefill *p, size_t page_bytes)
{
	const struct shard *shard = p->r->shard;
	uint64_t most = p->r->job->options->page_tokens, at, left;
	size_t page = 0, i;

	for (i = 0; i < shard->count; i++) {
		for (at = 0; at < shard->ranges[i].length; at += most) {
			left = shard->ranges[i].length - at;
			p->full[page] = shard->ranges[i];
			p->full[page].start += at;
			p->full[page].length = left < most ? left : most;
			p->page[page] = (struct kvr_segment){p->r->pool_memory,
							     page * page_bytes,
							     page_bytes};
			page++;
		}
	}
}

static bool open_pages(struct prefill *p)
{
	struct rank *r = p->r;
	uint64_t most = 0;
	size_t page_bytes, i;

	/* No page holds more than the longest range has. */
	for (i = 0; i < r->shard->count; i++)
		if (r->shard->ranges[i].length > most)
			most = r->shard->ranges[i].length;
	if (most > r->job->options->page_tokens)
		most = r->job->options->page_tokens;
	p->count = shard_pages(r->shard, r->job->options->page_tokens);
	p->full = calloc(p->count + 1, sizeof(*p->full));
	p->kv = calloc(p->count + 1, sizeof(*p->kv));
	p->page = calloc(p->count + 1, sizeof(*p->page));
	p->q = calloc(r->shard->count + 1, sizeof(*p->q));
	if (!p->full || !p->kv || !p->page || !p->q)
		return rank_fail(r, "no memory for its list of pages",
				 "free some, or use larger --page-tokens");
	if (!rank_check(
		    r,
		    kvr_attention_page_bytes(&r->job->desc, most, &page_bytes),
		    "sizing a page") ||
	    !allocate_pool(p, page_bytes))
		return false;
	cut_pages(p, page_bytes);
	return true;
}

static void close_pages(struct prefill *p)
{
	free(p->full);
	free(p->kv);
	free(p->page);
	free(p->q);
}

/* --------------------------------------------------------------- chunks */

/* What of a range is in the chunk. */
static struct kvr_range common(const struct kvr_range *range,
			       const struct kvr_range *chunk)
{
	uint64_t start = range->start, end = start + range->length;
	struct kvr_range both = *range;

	if (start < chunk->start)
		start = chunk->start;
	if (end > chunk->start + chunk->length)
		end = chunk->start + chunk->length;
	both.start = start;
	both.length = end > start ? end - start : 0;
	return both;
}

static struct kvr_tensor slice(const struct kvr_tensor *all, uint64_t first,
			       uint64_t tokens)
{
	struct kvr_tensor part = *all;

	part.data = (uint8_t *)all->data +
		    first * all->token_stride * kvr_dtype_bytes(all->dtype);
	part.tokens = tokens;
	return part;
}

/* The new ones, if any, of a page whose first key is row `row` of the shard. */
static bool append_page(struct prefill *p, size_t page, uint64_t row,
			const struct kvr_range *chunk)
{
	struct kvr_range new = common(&p->full[page], chunk);
	struct rank *r = p->r;
	bool in_keys = r->job->input->values_in_keys;
	struct kvr_tensor k, v;
	uint64_t held;

	if (new.length == 0)
		return true;
	held = new.start - p->full[page].start;
	k = slice(&r->k_view, row + held, new.length);
	if (!in_keys)
		v = slice(&r->v_view, row + held, new.length);
	return rank_check(r,
			  kvr_attention_page_append(&r->job->desc,
						    &p->page[page], held, &k,
						    in_keys ? NULL : &v),
			  "packing a page");
}

/* The chunk's keys into their pages; kv: what is in them by then. */
static bool append_keys(struct prefill *p, const struct kvr_range *chunk,
			size_t *pages)
{
	uint64_t end = chunk->start + chunk->length, row = 0;
	size_t i;

	for (i = 0; i < p->count && p->full[i].start < end; i++) {
		if (!append_page(p, i, row, chunk))
			return false;
		p->kv[i] = p->full[i];
		if (p->kv[i].length > end - p->kv[i].start)
			p->kv[i].length = end - p->kv[i].start;
		row += p->full[i].length;
	}
	*pages = i;
	return true;
}

/* Rows first .. first + tokens - 1 of the shard are the chunk's. */
static size_t find_queries(struct prefill *p, const struct kvr_range *chunk,
			   uint64_t *first, uint64_t *tokens)
{
	const struct shard *shard = p->r->shard;
	uint64_t row = 0;
	struct kvr_range both;
	size_t count = 0, i;

	*first = *tokens = 0;
	for (i = 0; i < shard->count; i++) {
		both = common(&shard->ranges[i], chunk);
		if (both.length > 0 && count == 0)
			*first = row + both.start - shard->ranges[i].start;
		if (both.length > 0)
			p->q[count++] = both;
		*tokens += both.length;
		row += shard->ranges[i].length;
	}
	return count;
}

static bool run_chunk(struct prefill *p, const struct kvr_range *chunk)
{
	struct rank *r = p->r;
	struct kvr_plan_desc desc = r->job->desc;
	struct kvr_tensor q, out;
	uint64_t first, tokens;

	kvr_plan_destroy(r->plan);
	r->plan = NULL;
	if (!append_keys(p, chunk, &desc.kv_range_count))
		return false;
	desc.q_range_count = find_queries(p, chunk, &first, &tokens);
	desc.q_ranges = p->q;
	desc.kv_ranges = p->kv;
	desc.paged = 1;
	desc.on_step = rank_on_step;
	desc.on_step_arg = r;
	if (!rank_check(r, kvr_plan_create(r->ring, &desc, &r->plan),
			"agreeing on a chunk's plan"))
		return false;
	q = slice(&r->q_view, first, tokens);
	out = slice(&r->out_view, first, tokens);
	return rank_check(r,
			  kvr_attention_run_pages(r->plan, &q, p->page,
						  desc.kv_range_count, &out,
						  (float *)r->lse.data + first,
						  r->shard->tokens),
			  "computing") &&
	       rank_add_pass(r);
}

/* Chunks of no token, where there are more than tokens, are left out. */
static bool run_chunks(struct prefill *p)
{
	struct rank *r = p->r;
	uint32_t chunks = r->job->options->chunks;
	struct kvr_range chunk;
	size_t count;

	for (r->chunk = 0; r->chunk < chunks; r->chunk++) {
		if (!rank_check(r,
				kvr_ranges_contiguous(r->job->input->tokens,
						      r->chunk, chunks, &chunk,
						      &count),
				"cutting the prompt"))
			return false;
		if (count > 0 && !run_chunk(p, &chunk))
			return false;
	}
	return true;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* Timed as a whole: a chunk costs packing and agreeing, too, and waiting. */
bool rank_compute_chunks(struct rank *r)
{
	struct prefill p = {.r = r};
	uint64_t begin = now_ns();
	bool ok = open_pages(&p) && run_chunks(&p);

	r->report->wall_ns = now_ns() - begin;
	close_pages(&p);
	return ok;
}
