/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "tests/support/trace_state.h"

/* ------------------------------------------------ calls of the caller */

static void pass_fill(const struct ring *ring, const struct rank *r,
		      const struct kvr_trace_event *event, struct pass *p)
{
	const struct kvr_trace *t = ring->trace;
	const struct pass *last = r->passes ? &r->pass[r->passes - 1] : NULL;

	*p = (struct pass){.tag = event->a};
	for (uint32_t l = 0; l < t->lanes; l++) {
		bool home = t->kind[l] == KVR_LANE_ACCUMULATING && t->n > 1;

		p->hops[l] = (uint32_t)event->b + home;
		p->base[l] = last ? last->base[l] + last->hops[l] : 0;
	}
}

const char *trace_begin(struct ring *ring, const struct kvr_trace_event *event)
{
	const struct kvr_trace *t = ring->trace;
	struct rank *r = &ring->rank[event->rank];
	struct pass *grown;

	if (trace_pass_open(ring, event->rank))
		return "begin: a pass is open";
	if (r->bye[0] || r->bye[1])
		return "begin: after bye";
	if (event->b > t->n - 1)
		return "begin: too many hops";
	for (uint32_t l = 0; l < t->lanes; l++)
		if (t->kind[l] == KVR_LANE_ACCUMULATING && event->b < t->n - 1)
			return "begin: too few hops to come home";
	grown = realloc(r->pass, (r->passes + 1) * sizeof(*grown));
	if (!grown)
		return "no memory";
	r->pass = grown;
	pass_fill(ring, r, event, &grown[r->passes]);
	r->passes++;
	return NULL;
}

/* Did prev begin the same pass with other words? */
static bool disagrees(struct ring *ring, uint32_t rank, const struct pass *p)
{
	const struct rank *r = &ring->rank[rank];
	const struct rank *v = &ring->rank[trace_prev(ring, rank)];
	size_t i = (size_t)(p - r->pass);

	return i < v->passes &&
	       (v->pass[i].tag != p->tag || v->pass[i].hops[0] != p->hops[0]);
}

static const char *take_remote(struct ring *ring,
			       const struct kvr_trace_event *event,
			       struct pass *p)
{
	const struct edge *in = trace_edge_in(ring, event->rank, event->lane);
	uint64_t k = p->base[event->lane] + event->a - 1;
	uint32_t n = ring->trace->n;
	struct block *b = trace_block(in, k);

	if (!b || !trace_block_complete(b))
		return "take: not complete";
	if (k < in->granted)
		return "take: granted already";
	if (b->cancelled)
		return "take: cancelled";
	if (event->b != k % ring->trace->slots)
		return "take: wrong slot";
	if (event->c != b->origin ||
	    event->c != (event->rank + n - event->a % n) % n)
		return "take: wrong origin";
	if (disagrees(ring, event->rank, p))
		return "take: the pass disagrees with prev's";
	b->taken = true;
	return NULL;
}

const char *trace_take(struct ring *ring, const struct kvr_trace_event *event)
{
	struct pass *p = trace_pass_open(ring, event->rank);
	const char *why = NULL;

	if (!p)
		return "take: no pass open";
	if (event->a > p->hops[event->lane])
		return "take: after the last step";
	if (event->a != p->steps[event->lane])
		return "take: steps out of order";
	if (event->a)
		why = take_remote(ring, event, p);
	else if (event->b != KVR_TRACE_LOCAL || event->c != event->rank)
		why = "take: step 0 is the local block";
	if (!why)
		p->steps[event->lane]++;
	return why;
}

const char *trace_release(struct ring *ring,
			  const struct kvr_trace_event *event)
{
	struct pass *p = trace_pass_open(ring, event->rank);
	bool *released;

	if (!p || event->a >= p->steps[event->lane])
		return "release: not taken";
	released = &p->local_released[event->lane];
	if (event->a)
		released = &trace_edge_in(ring, event->rank, event->lane)
				    ->block[p->base[event->lane] + event->a - 1]
				    .released;
	if (*released)
		return "release: twice";
	*released = true;
	return NULL;
}

const char *trace_cancel(struct ring *ring, const struct kvr_trace_event *event)
{
	struct pass *p = trace_pass_open(ring, event->rank);

	if (!p)
		return "cancel: no pass open";
	p->cancel = true;
	return NULL;
}

const char *trace_ending(struct ring *ring, const struct kvr_trace_event *event)
{
	struct pass *p = trace_pass_open(ring, event->rank);

	if (!p)
		return "ending: no pass open";
	p->ending = true;
	return NULL;
}

const char *trace_end(struct ring *ring, const struct kvr_trace_event *event)
{
	struct rank *r = &ring->rank[event->rank];
	struct pass *p = r->passes ? &r->pass[r->passes - 1] : NULL;

	if (!p || !p->ending || p->end)
		return "end: no pass ends";
	for (uint32_t l = 0; l < ring->trace->lanes; l++) {
		const struct block *b = trace_block(&r->edge[l], p->base[l]);

		if (!p->hops[l] ||
		    (!b && trace_cancelled(ring, event->rank, p)))
			continue;
		if (!b || b->sent < b->chunks)
			return "end: the local block is still to be sent";
	}
	p->end = true;
	return NULL;
}

/* ------------------------------------------------------------- actions */

/* The block that tx[k] forwards; NULL: the local one is sent. */
static struct block *source_of(struct ring *ring, uint32_t rank, uint32_t lane,
			       const struct pass *p, uint64_t k)
{
	if (k == p->base[lane])
		return NULL;
	return trace_block(trace_edge_in(ring, rank, lane), k - 1);
}

/* An accumulating lane's block moves on with our contribution in it. */
static bool contributed(struct ring *ring, uint32_t lane, const struct pass *p,
			const struct block *source)
{
	if (ring->trace->kind[lane] != KVR_LANE_ACCUMULATING || p->ending)
		return true;
	return source ? source->released : p->local_released[lane];
}

static const char *describe_source(struct ring *ring,
				   const struct kvr_trace_event *event,
				   const struct pass *p)
{
	const struct block *source =
		source_of(ring, event->rank, event->lane, p, event->a);
	bool flag = event->d & KVR_TRACE_CANCELLED;
	uint32_t chunks = (uint32_t)event->d & ~KVR_TRACE_CANCELLED;
	uint64_t hop = event->a - p->base[event->lane];
	uint32_t n = ring->trace->n;

	/* An empty block of a cancelled pass need not have come to go on. */
	if (!flag && event->a != p->base[event->lane] &&
	    (!source || !source->described))
		return "describe: not described by prev";
	if (event->c != (event->rank + n - hop % n) % n)
		return "describe: wrong origin";
	if (flag && chunks)
		return "describe: cancelled, with chunks";
	if (flag && !trace_cancelled(ring, event->rank, p))
		return "describe: the pass is not cancelled";
	if (!flag && (p->cancel || (source && source->cancelled)))
		return "describe: the cancel is forgotten";
	if (!flag && source && chunks != source->chunks)
		return "describe: other chunks than prev's";
	if (!flag && !contributed(ring, event->lane, p, source))
		return "describe: not released";
	return NULL;
}

static const char *block_append(struct edge *e,
				const struct kvr_trace_event *event)
{
	bool flag = event->d & KVR_TRACE_CANCELLED;
	uint32_t chunks = (uint32_t)event->d & ~KVR_TRACE_CANCELLED;
	struct block *grown = e->block;

	if (!(e->count & (e->count - 1))) /* full at each power of two */
		grown = realloc(grown, (2 * e->count + 1) * sizeof(*grown));
	if (!grown)
		return "no memory";
	e->block = grown;
	grown[e->count] = (struct block){
		.origin = event->c,
		.chunks = chunks,
		.cancelled = flag,
		.chunk = calloc(chunks ? chunks : 1, 1),
	};
	return grown[e->count++].chunk ? NULL : "no memory";
}

const char *trace_describe(struct ring *ring,
			   const struct kvr_trace_event *event)
{
	struct edge *e = &ring->rank[event->rank].edge[event->lane];
	const struct pass *p =
		trace_pass_of(ring, event->rank, event->lane, event->a);
	const char *why;

	if (event->a != e->count)
		return "describe: out of order";
	if (!p)
		return "describe: pass not begun";
	if (event->b != event->a % ring->trace->slots)
		return "describe: wrong slot";
	why = describe_source(ring, event, p);
	if (!why)
		why = trace_target_free(ring, event->rank, event->lane,
					event->a);
	return why ? why : block_append(e, event);
}

static const char *write_source(struct ring *ring,
				const struct kvr_trace_event *event,
				const struct pass *p)
{
	const struct block *source =
		source_of(ring, event->rank, event->lane, p, event->a);
	uint64_t slot =
		source ? (event->a - 1) % ring->trace->slots : KVR_TRACE_LOCAL;

	if (event->c != slot)
		return "write: wrong source";
	if (source && !(source->chunk[event->b] & LANDED))
		return "write: forwarded before it landed";
	if (!source && p->end)
		return "write: local block after end";
	return NULL;
}

const char *trace_write(struct ring *ring, const struct kvr_trace_event *event)
{
	struct block *b = trace_block(
		&ring->rank[event->rank].edge[event->lane], event->a);
	const char *why;

	if (!b)
		return "write: not described";
	if (event->b >= b->chunks)
		return "write: no such chunk";
	if (b->chunk[event->b] & WRITTEN)
		return "write: twice";
	why = write_source(
		ring, event,
		trace_pass_of(ring, event->rank, event->lane, event->a));
	if (!why)
		b->chunk[event->b] |= WRITTEN;
	return why;
}

const char *trace_grant(struct ring *ring, const struct kvr_trace_event *event)
{
	struct edge *in = trace_edge_in(ring, event->rank, event->lane);

	if (event->a <= in->granted)
		return "grant: not new";
	for (; in->granted < event->a; in->granted++) {
		const char *why = trace_slot_done(ring, event->rank,
						  event->lane, in->granted);

		if (why)
			return why;
	}
	return NULL;
}

const char *trace_bye(struct ring *ring, const struct kvr_trace_event *event)
{
	struct rank *r = &ring->rank[event->rank];

	if (event->a > 1 || r->bye[event->a])
		return "bye: said already";
	if (trace_pass_open(ring, event->rank))
		return "bye: a pass is open";
	if (!trace_drained(ring, event->rank))
		return "bye: not drained";
	r->bye[event->a] = true;
	return NULL;
}

/* -------------------------------------------------------------- events */

const char *trace_sent(struct ring *ring, const struct kvr_trace_event *event)
{
	struct block *b = trace_block(
		&ring->rank[event->rank].edge[event->lane], event->a);

	if (!b || event->b >= b->chunks || !(b->chunk[event->b] & WRITTEN))
		return "sent: not written";
	if (b->chunk[event->b] & SENT)
		return "sent: twice";
	b->chunk[event->b] |= SENT;
	b->sent++;
	return NULL;
}

const char *trace_landed_desc(struct ring *ring,
			      const struct kvr_trace_event *event)
{
	struct block *b = trace_block(
		trace_edge_in(ring, event->rank, event->lane), event->a);

	if (!b || b->origin != event->b)
		return "descriptor landed: not described so";
	if (b->described)
		return "descriptor landed: twice";
	b->described = true;
	return NULL;
}

const char *trace_landed(struct ring *ring, const struct kvr_trace_event *event)
{
	struct block *b = trace_block(
		trace_edge_in(ring, event->rank, event->lane), event->a);

	if (!b || event->b >= b->chunks || !(b->chunk[event->b] & WRITTEN))
		return "landed: not written";
	if (b->chunk[event->b] & LANDED)
		return "landed: twice";
	b->chunk[event->b] |= LANDED;
	b->landed++;
	return NULL;
}

const char *trace_credit(struct ring *ring, const struct kvr_trace_event *event)
{
	struct edge *e = &ring->rank[event->rank].edge[event->lane];

	if (event->a > e->granted)
		return "credit: never granted";
	if (event->a <= e->seen)
		return "credit: not new";
	e->seen = event->a;
	return NULL;
}

const char *trace_lost(struct ring *ring, const struct kvr_trace_event *event)
{
	struct rank *r = &ring->rank[event->rank];
	uint32_t peer = event->a == KVR_TRACE_PREV
				? trace_prev(ring, event->rank)
				: trace_next(ring, event->rank);

	if (event->a > KVR_TRACE_NEXT)
		return "lost: no such side";
	/* What is our prev's side has us as its next. */
	if (!ring->rank[peer].bye[1 - event->a])
		r->lost = true;
	else if (event->a == KVR_TRACE_PREV)
		r->prev_left = true;
	return NULL;
}

const char *trace_abort(struct ring *ring, const struct kvr_trace_event *event)
{
	struct rank *r = &ring->rank[event->rank];

	if (r->failed)
		return "abort: failed already";
	r->failed = true;
	if (event->a < ring->trace->n)
		ring->rank[event->a].blamed = true;
	else if (event->a != KVR_RANK_NONE)
		return "abort: blames no rank of the ring";
	return NULL;
}
