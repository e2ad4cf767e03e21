/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the C engine did in one random schedule, as a program for SPIN: the
 * model of kvring.pml, driven by the trace. SPIN then prints "accepted" if the
 * model can do the same, event by event.
 *
 *	replay SEED [EDIT]	0 none; 1 .. EDITS - 1 falsify the trace
 *
 * Exit 3: this schedule is larger than the model, or nothing to edit.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/sim.h"

#define OUT_OF_SCOPE 3
#define PASSES_MAX 3
#define CHUNKS_MAX 2
#define NOBODY 255u

enum edit {
	EDIT_NONE,
	EDIT_CHUNK_NEVER_LANDED,
	EDIT_TAKEN_TWICE,
	EDIT_WRONG_SOURCE,
	EDIT_GRANTED_UNRELEASED,
	EDIT_CREDIT_TWICE,
	EDITS
};

/* What of a trace the model is built for. */
struct shape {
	const struct kvr_trace *trace;
	uint32_t passes, hops;
	uint32_t chunks[KVR_LANES_MAX]; /* 2 bits for each pass and origin */
};

static uint32_t hops_of(const struct shape *s, uint32_t lane)
{
	return s->trace->kind[lane] == KVR_LANE_ACCUMULATING ? s->trace->n
							     : s->hops;
}

/* ---------------------------------------------------------------- shape */

static bool note_begin(struct shape *s, const struct kvr_trace_event *event)
{
	if (event->rank == 0)
		s->passes++;
	if (s->hops && s->hops != event->b)
		return false;
	s->hops = (uint32_t)event->b;
	return s->hops > 0 && s->passes <= PASSES_MAX;
}

static bool note_block(struct shape *s, const struct kvr_trace_event *event)
{
	uint32_t hops = hops_of(s, event->lane);
	uint64_t bit;

	if (hops == 0)
		return false;
	if (event->a % hops || (event->d & KVR_TRACE_CANCELLED))
		return true;
	bit = 2 * (event->a / hops * s->trace->n + event->rank);
	if (event->d > CHUNKS_MAX)
		return false;
	s->chunks[event->lane] |= (uint32_t)(event->d << bit);
	return true;
}

static bool measure(struct shape *s, const struct kvr_trace *trace)
{
	*s = (struct shape){.trace = trace};
	if (trace->n < 2 || trace->n > 3 || !trace->complete)
		return false;
	for (size_t i = 0; i < trace->count; i++) {
		const struct kvr_trace_event *event = &trace->events[i];

		if (event->kind == KVR_TRACE_ABORT)
			return false;
		if (event->kind == KVR_TRACE_BEGIN && !note_begin(s, event))
			return false;
		if (event->kind == KVR_TRACE_DESCRIBE && !note_block(s, event))
			return false;
	}
	return s->passes > 0;
}

/* ------------------------------------------------------------- printing */

static void print_event(const struct kvr_trace_event *event, uint64_t a,
			uint64_t b, uint64_t c)
{
	printf("\tEV(E_%s, %" PRIu32 ", %" PRIu32 ", %" PRIu64 ", %" PRIu64
	       ", %" PRIu64 ");\n",
	       kvr_trace_kind_name(event->kind), event->rank, event->lane, a, b,
	       c);
}

/* The model takes one step at a time. */
static void print_counts(const struct kvr_trace_event *event, uint64_t *count)
{
	if (event->a <= *count)
		print_event(event, event->a, 0, 0);
	while (*count < event->a)
		print_event(event, ++*count, 0, 0);
}

struct printer {
	const struct shape *shape;
	uint64_t begun[3], granted[3][KVR_LANES_MAX], seen[3][KVR_LANES_MAX];
	bool bye[3];
};

static uint64_t slot_of(const struct shape *s, uint64_t sequence)
{
	return sequence % s->trace->slots;
}

static uint64_t local_or(uint64_t slot)
{
	return slot == KVR_TRACE_LOCAL ? NOBODY : slot;
}

static void print_release(const struct printer *p,
			  const struct kvr_trace_event *event)
{
	uint64_t base =
		(p->begun[event->rank] - 1) * hops_of(p->shape, event->lane);

	print_event(event,
		    event->a ? slot_of(p->shape, base + event->a - 1) : NOBODY,
		    0, 0);
}

static void print_sent(const struct printer *p,
		       const struct kvr_trace_event *event)
{
	bool local = event->a % hops_of(p->shape, event->lane) == 0;

	print_event(event, local ? NOBODY : slot_of(p->shape, event->a - 1), 0,
		    0);
}

static void print_one(struct printer *p, const struct kvr_trace_event *event)
{
	uint32_t rank = event->rank, lane = event->lane;

	switch (event->kind) {
	case KVR_TRACE_BEGIN:
		print_event(event, p->begun[rank]++, 0, 0);
		break;
	case KVR_TRACE_DESCRIBE:
		print_event(event, event->a,
			    (event->d & KVR_TRACE_CANCELLED) != 0, event->c);
		break;
	case KVR_TRACE_WRITE:
		print_event(event, event->a, event->b, local_or(event->c));
		break;
	case KVR_TRACE_SENT:
		print_sent(p, event);
		break;
	case KVR_TRACE_LANDED_DESC:
		print_event(event, slot_of(p->shape, event->a), 0, 0);
		break;
	case KVR_TRACE_LANDED:
		print_event(event, slot_of(p->shape, event->a), event->b, 0);
		break;
	case KVR_TRACE_TAKE:
		print_event(event, event->a, local_or(event->b), event->c);
		break;
	case KVR_TRACE_RELEASE:
		print_release(p, event);
		break;
	case KVR_TRACE_GRANT:
		print_counts(event, &p->granted[rank][lane]);
		break;
	case KVR_TRACE_CREDIT:
		print_counts(event, &p->seen[rank][lane]);
		break;
	case KVR_TRACE_BYE:
		if (!p->bye[rank]) /* the model's goes to both sides */
			print_event(event, 0, 0, 0);
		p->bye[rank] = true;
		break;
	case KVR_TRACE_LOST: /* in peace, or there were an ABORT */
		break;
	default:
		print_event(event, 0, 0, 0);
		break;
	}
}

static void print_model(const struct shape *s)
{
	const struct kvr_trace *t = s->trace;

	printf("#define TRACE\n#define N %" PRIu32 "\n#define S %" PRIu32
	       "\n#define L %" PRIu32 "\n#define P %" PRIu32
	       "\n#define C 2\n#define EARLY 254\n#define HOLD S\n",
	       t->n, t->slots, t->lanes, s->passes);
	for (uint32_t l = 0; l < 2; l++)
		printf("#define ACC%" PRIu32 " %d\n#define H%" PRIu32
		       " %" PRIu32 "\n",
		       l, t->kind[l] == KVR_LANE_ACCUMULATING, l,
		       hops_of(s, l));
	printf("#define CHUNKS(l, k, o) (((l -> %" PRIu32 " : %" PRIu32
	       ") >> (2 * ((k) / H(l) * N + (o)))) & 3)\n"
	       "#include \"kvring.pml\"\n",
	       s->chunks[1], s->chunks[0]);
}

static void print_driver(const struct shape *s)
{
	struct printer printer = {.shape = s};

	printf("active proctype driver()\n{\n");
	for (size_t i = 0; i < s->trace->count; i++)
		print_one(&printer, &s->trace->events[i]);
	for (uint32_t r = 0; r < s->trace->n; r++)
		printf("\tclosed[%" PRIu32 "];\n", r);
	printf("\tprintf(\"accepted\\n\")\n}\n");
}

/* -------------------------------------------------------------- falsifying */

/* The first event of a kind, or count. from and step: where to look. */
static size_t find(const struct kvr_trace *trace, enum kvr_trace_kind kind)
{
	size_t i = 0;

	while (i < trace->count && trace->events[i].kind != kind)
		i++;
	return i;
}

static void move(struct kvr_trace_event *events, size_t from, size_t to)
{
	struct kvr_trace_event event = events[from];

	memmove(&events[to + 1], &events[to], (from - to) * sizeof(event));
	events[to] = event;
}

/* In front of the release that it needed. */
static bool grant_early(struct kvr_trace *trace, struct kvr_trace_event *events)
{
	size_t grant = find(trace, KVR_TRACE_GRANT), to = grant;

	while (to-- > 0)
		if (events[to].rank == events[grant].rank &&
		    events[to].lane == events[grant].lane &&
		    (events[to].kind == KVR_TRACE_RELEASE ||
		     events[to].kind == KVR_TRACE_LANDED)) {
			move(events, grant, to);
			return true;
		}
	return false;
}

static bool twice(struct kvr_trace *trace, struct kvr_trace_event *events,
		  enum kvr_trace_kind kind)
{
	size_t at = find(trace, kind);

	if (at == trace->count)
		return false;
	memmove(&events[at + 1], &events[at],
		(trace->count++ - at) * sizeof(*events));
	return true;
}

static bool falsify(struct kvr_trace *trace, struct kvr_trace_event *events,
		    enum edit edit)
{
	size_t at;

	switch (edit) {
	case EDIT_CHUNK_NEVER_LANDED:
		at = find(trace, KVR_TRACE_LANDED);
		if (at == trace->count)
			return false;
		memmove(&events[at], &events[at + 1],
			(--trace->count - at) * sizeof(*events));
		return true;
	case EDIT_TAKEN_TWICE:
		return twice(trace, events, KVR_TRACE_TAKE);
	case EDIT_WRONG_SOURCE:
		at = find(trace, KVR_TRACE_WRITE);
		if (at == trace->count)
			return false;
		events[at].c ^= 1;
		return true;
	case EDIT_GRANTED_UNRELEASED:
		return grant_early(trace, events);
	case EDIT_CREDIT_TWICE:
		return twice(trace, events, KVR_TRACE_CREDIT);
	case EDIT_NONE:
	case EDITS:
		break;
	}
	return true;
}

/* A copy of the trace with room for one more event; exits when it fails. */
static struct kvr_trace_event *copy(struct kvr_trace *trace)
{
	struct kvr_trace_event *events =
		calloc(trace->count + 1, sizeof(*events));

	if (!events) {
		fprintf(stderr, "no memory\n");
		exit(1);
	}
	memcpy(events, trace->events, trace->count * sizeof(*events));
	trace->events = events;
	return events;
}

int main(int argc, char **argv)
{
	enum edit edit = argc > 2 ? (enum edit)atoi(argv[2]) : EDIT_NONE;
	struct kvr_sim_result result;
	struct kvr_trace_event *events;
	struct shape shape;
	bool fits;

	if (argc < 2 || edit >= EDITS) {
		fprintf(stderr, "usage: replay SEED [EDIT]\n");
		return 2;
	}
	kvr_sim_run(strtoull(argv[1], NULL, 0), &result);
	events = copy(&result.trace);
	fits = measure(&shape, &result.trace) &&
	       falsify(&result.trace, events, edit);
	if (fits) {
		print_model(&shape);
		print_driver(&shape);
	}
	free(events);
	kvr_sim_fini();
	return fits ? 0 : OUT_OF_SCOPE;
}
