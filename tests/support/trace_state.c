/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/trace_state.h"

uint32_t trace_prev(const struct ring *ring, uint32_t rank)
{
	return (rank + ring->trace->n - 1) % ring->trace->n;
}

uint32_t trace_next(const struct ring *ring, uint32_t rank)
{
	return (rank + 1) % ring->trace->n;
}

struct edge *trace_edge_in(struct ring *ring, uint32_t rank, uint32_t lane)
{
	return &ring->rank[trace_prev(ring, rank)].edge[lane];
}

struct block *trace_block(const struct edge *edge, uint64_t sequence)
{
	return sequence < edge->count ? &edge->block[sequence] : NULL;
}

struct pass *trace_pass_of(struct ring *ring, uint32_t rank, uint32_t lane,
			   uint64_t sequence)
{
	struct rank *r = &ring->rank[rank];

	for (size_t i = r->passes; i-- > 0;) {
		struct pass *p = &r->pass[i];

		if (sequence >= p->base[lane] &&
		    sequence - p->base[lane] < p->hops[lane])
			return p;
	}
	return NULL;
}

struct pass *trace_pass_open(struct ring *ring, uint32_t rank)
{
	struct rank *r = &ring->rank[rank];
	struct pass *p = r->passes ? &r->pass[r->passes - 1] : NULL;

	return p && !p->ending ? p : NULL;
}

bool trace_cancelled(struct ring *ring, uint32_t rank, const struct pass *p)
{
	if (p->cancel)
		return true;
	for (uint32_t lane = 0; lane < ring->trace->lanes; lane++) {
		const struct edge *e = trace_edge_in(ring, rank, lane);
		uint64_t end = p->base[lane] + p->hops[lane];

		for (uint64_t k = p->base[lane]; k < end && k < e->count; k++)
			if (e->block[k].described && e->block[k].cancelled)
				return true;
	}
	return false;
}

bool trace_block_complete(const struct block *b)
{
	return b->described && b->landed == b->chunks;
}

/* Will the owner of the slot still read or write this block? */
static bool consumed(struct ring *ring, uint32_t rank, const struct pass *p,
		     const struct block *b)
{
	return b->released || p->ending ||
	       (!b->taken && trace_cancelled(ring, rank, p));
}

/* Has rx[k] of this rank gone on, as far as it must? */
static bool forwarded(struct ring *ring, uint32_t rank, uint32_t lane,
		      const struct pass *p, uint64_t k)
{
	const struct block *b =
		trace_block(&ring->rank[rank].edge[lane], k + 1);
	bool last = k + 1 == p->base[lane] + p->hops[lane];

	return last || (b && b->sent == b->chunks);
}

const char *trace_slot_done(struct ring *ring, uint32_t rank, uint32_t lane,
			    uint64_t k)
{
	const struct pass *p = trace_pass_of(ring, rank, lane, k);
	const struct block *b = trace_block(trace_edge_in(ring, rank, lane), k);

	if (!b || !trace_block_complete(b))
		return "slot still filling";
	if (!p)
		return "slot of a pass not begun";
	if (!consumed(ring, rank, p, b))
		return "slot still read";
	if (!forwarded(ring, rank, lane, p, k))
		return "slot still to be forwarded";
	return NULL;
}

const char *trace_target_free(struct ring *ring, uint32_t rank, uint32_t lane,
			      uint64_t k)
{
	const struct edge *e = &ring->rank[rank].edge[lane];
	uint32_t slots = ring->trace->slots;
	const char *why = NULL;

	if (k >= slots)
		why = trace_slot_done(ring, trace_next(ring, rank), lane,
				      k - slots);
	if (why)
		return why;
	if (k >= slots + e->granted)
		return "slot not granted";
	if (k >= slots + e->seen)
		return "credit not seen";
	return NULL;
}

bool trace_drained(struct ring *ring, uint32_t rank)
{
	const struct rank *r = &ring->rank[rank];
	const struct pass *last = r->passes ? &r->pass[r->passes - 1] : NULL;

	for (uint32_t l = 0; last && l < ring->trace->lanes; l++) {
		const struct edge *out = &r->edge[l];
		uint64_t total = last->base[l] + last->hops[l];

		if (out->count != total ||
		    (!r->prev_left &&
		     trace_edge_in(ring, rank, l)->granted != total))
			return false;
		for (size_t k = 0; k < out->count; k++)
			if (out->block[k].sent < out->block[k].chunks)
				return false;
	}
	return true;
}
