/* SPDX-License-Identifier: Apache-2.0 */
/* Recordings for reading: what each rank knew, then what happened when. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "runtime/explain.h"

#define LINE_BYTES 256

struct printer {
	kvr_line_fn line;
	void *arg;
};

__attribute__((format(printf, 2, 3))) static void put(const struct printer *p,
						      const char *format, ...)
{
	char line[LINE_BYTES];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	p->line(p->arg, line);
}

/* ------------------------------------------------------------------ state */

static const char *name_of_wait(uint32_t wait)
{
	static const char *const names[KVR_WAITS] = {
		[KVR_WAIT_NONE] = "in no call",
		[KVR_WAIT_BEGIN] = "waits in kvr_pass_begin",
		[KVR_WAIT_NEXT] = "waits in kvr_pass_next",
		[KVR_WAIT_END] = "waits in kvr_pass_end",
		[KVR_WAIT_CLOSE] = "waits in kvr_ring_close",
	};

	return names[wait];
}

static void put_slots(const struct printer *p, const struct kvr_recorded *r,
		      uint32_t lane)
{
	for (uint32_t i = 0; i < r->head->slots; i++) {
		const struct kvr_recording_slot *s =
			&r->slot[(size_t)lane * r->head->slots + i];

		if (!(s->flags & KVR_SLOT_DESCRIBED) && s->landed == 0)
			continue;
		put(p,
		    "  slot %u: block %" PRIu64 " of rank %u, pass %" PRIu64
		    ", %u of %u chunks, %s, %u forwarded%s",
		    (unsigned)(s->block % r->head->slots), s->block, s->origin,
		    s->pass, s->landed, s->chunks,
		    s->flags & KVR_SLOT_RELEASED ? "released" : "not released",
		    s->out.sent,
		    s->out.flags & KVR_OUT_CLOSED ? " of all" : "");
	}
}

static void put_rank(const struct printer *p, const struct kvr_recorded *r)
{
	const struct kvr_recording *h = r->head;
	const struct kvr_recording_pass *pass = kvr_recorded_newest(r);
	const enum kvr_status status = (enum kvr_status)h->failure.status;

	put(p, "rank %u of %u, process %u on %s: %s, %s since %.3f s", h->rank,
	    h->n, h->pid, h->host,
	    status == KVR_OK ? "works" : kvr_status_name(status),
	    name_of_wait(h->caller.wait),
	    kvr_seconds(h->now_ns - h->caller.since_ns));
	for (uint32_t lane = 0; lane < h->lanes; lane++) {
		const struct kvr_recording_lane *l = &r->lane[lane];

		put(p,
		    "  lane %u: %s %" PRIu64
		    ", step %u of %u; next block %" PRIu64 " to post, %" PRIu64
		    " credits, %" PRIu64 " granted",
		    lane, h->open ? "in pass" : "after pass",
		    pass ? pass->tag : 0, pass ? pass->part[lane].steps : 0,
		    pass ? pass->part[lane].hops + 1 : 0, l->next, l->credits,
		    l->signalled);
		put_slots(p, r, lane);
	}
}

/* ----------------------------------------------------------------- events */

struct moment {
	uint64_t wall_ns;
	uint32_t rank;
	uint32_t order; /* among those of the rank */
	const struct kvr_recorder_event *event;
};

static int compare(const void *left, const void *right)
{
	const struct moment *a = left, *b = right;

	if (a->wall_ns != b->wall_ns)
		return a->wall_ns < b->wall_ns ? -1 : 1;
	if (a->rank != b->rank)
		return a->rank < b->rank ? -1 : 1;
	return a->order < b->order ? -1 : a->order > b->order;
}

enum style { PLAIN, PASS, STEP, BLOCK, SIDE };

static const struct {
	const char *name;
	enum style style;
} kinds[KVR_NOTE_KINDS] = {
	[KVR_NOTE_NONE] = {"nothing", PLAIN},
	[KVR_NOTE_BEGIN] = {"begins", PASS},
	[KVR_NOTE_END] = {"ends", PASS},
	[KVR_NOTE_TAKEN] = {"takes", STEP},
	[KVR_NOTE_RELEASED] = {"releases", STEP},
	[KVR_NOTE_CANCEL] = {"cancels", PASS},
	[KVR_NOTE_WAIT] = {"waits", PLAIN},
	[KVR_NOTE_DESCRIBED] = {"descriptor in", BLOCK},
	[KVR_NOTE_CHUNK] = {"first chunk in", BLOCK},
	[KVR_NOTE_LANDED] = {"all chunks in", BLOCK},
	[KVR_NOTE_GRANT] = {"credits given:", BLOCK},
	[KVR_NOTE_POST] = {"descriptor out", BLOCK},
	[KVR_NOTE_POSTED] = {"all chunks out", BLOCK},
	[KVR_NOTE_SENT] = {"all chunks sent", BLOCK},
	[KVR_NOTE_CREDIT] = {"credits got:", BLOCK},
	[KVR_NOTE_AWAY] = {"did nothing for", PLAIN},
	[KVR_NOTE_QUIET] = {"hears nothing of", SIDE},
	[KVR_NOTE_HEARD] = {"hears again of", SIDE},
	[KVR_NOTE_BYE_SENT] = {"says BYE to", SIDE},
	[KVR_NOTE_BYE] = {"BYE of", SIDE},
	[KVR_NOTE_LOST] = {"connection closed of", SIDE},
	[KVR_NOTE_ABORT] = {"ABORT of", SIDE},
	[KVR_NOTE_FAILED] = {"fails", PLAIN},
	[KVR_NOTE_CANCELLED] = {"is cancelled:", PASS},
};

static void put_detail(char *to, size_t bytes,
		       const struct kvr_recorder_event *e)
{
	switch (kinds[e->kind].style) {
	case PASS:
		snprintf(to, bytes, "pass %" PRIu64, e->value);
		break;
	case STEP:
		snprintf(to, bytes, "step %u of pass %" PRIu64 ", lane %u",
			 e->detail, e->value, e->lane);
		break;
	case BLOCK:
		snprintf(to, bytes, "%" PRIu64 ", lane %u", e->value, e->lane);
		break;
	case SIDE:
		snprintf(to, bytes, "%s", e->lane ? "next" : "prev");
		break;
	default:
		to[0] = '\0';
		if (e->kind == KVR_NOTE_AWAY)
			snprintf(to, bytes, "%.3f s", kvr_seconds(e->value));
		else if (e->kind == KVR_NOTE_WAIT && e->detail < KVR_WAITS)
			snprintf(to, bytes, "(%s)", name_of_wait(e->detail));
		else if (e->kind == KVR_NOTE_FAILED &&
			 e->detail != KVR_RANK_NONE)
			snprintf(to, bytes, "and blames rank %u", e->detail);
	}
}

/* At most `each` of a rank; NULL: no memory, or none to show. */
static struct moment *collect(const struct kvr_recordings *all, uint32_t each,
			      size_t *count)
{
	struct moment *moments;
	size_t room = 0;

	for (uint32_t i = 0; i < all->n; i++)
		if (all->rank[i].head)
			room += all->rank[i].head->events;
	moments = malloc(room * sizeof(*moments) + 1);
	*count = 0;
	for (uint32_t i = 0; moments && i < all->n; i++) {
		const struct kvr_recording *h = all->rank[i].head;
		uint32_t from = h && h->events > each ? h->events - each : 0;

		for (uint32_t k = from; h && k < h->events; k++) {
			const struct kvr_recorder_event *e =
				&all->rank[i].event[k];

			moments[(*count)++] = (struct moment){
				.wall_ns = h->wall_ns - h->now_ns + e->at_ns,
				.rank = i,
				.order = k,
				.event = e,
			};
		}
	}
	return moments;
}

/* Seconds before the last of them. */
static void put_events(const struct printer *p, const struct moment *moments,
		       size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct moment *m = &moments[i];
		char detail[96];

		put_detail(detail, sizeof(detail), m->event);
		put(p, "%+14.6f s  rank %u %s %s",
		    -kvr_seconds(moments[count - 1].wall_ns - m->wall_ns),
		    m->rank, kinds[m->event->kind].name, detail);
	}
}

enum kvr_status kvr_recordings_print(const void *recordings, size_t bytes,
				     uint32_t events, kvr_line_fn line,
				     void *arg)
{
	const struct printer p = {line, arg};
	struct kvr_recordings all;
	enum kvr_status status;
	struct moment *moments;
	size_t count;

	if (!recordings || !line)
		return KVR_ERR_INVALID;
	status = kvr_recordings_read(recordings, bytes, &all);
	if (status != KVR_OK)
		return status;
	moments = collect(&all, events, &count);
	for (uint32_t i = 0; moments && i < all.n; i++)
		if (all.rank[i].head)
			put_rank(&p, &all.rank[i]);
	if (moments && count) {
		qsort(moments, count, sizeof(*moments), compare);
		put_events(&p, moments, count);
	}
	status = moments ? KVR_OK : KVR_ERR_NO_MEMORY;
	free(moments);
	kvr_recordings_free(&all);
	return status;
}
