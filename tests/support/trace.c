/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/trace_state.h"

static const struct rule {
	const char *name;
	trace_rule *fn;
	bool lane, works; /* has a lane; forbidden once the ring failed */
} rules[KVR_TRACE_KINDS] = {
	[KVR_TRACE_BEGIN] = {"BEGIN", trace_begin, false, true},
	[KVR_TRACE_DESCRIBE] = {"DESCRIBE", trace_describe, true, true},
	[KVR_TRACE_WRITE] = {"WRITE", trace_write, true, true},
	[KVR_TRACE_SENT] = {"SENT", trace_sent, true, false},
	[KVR_TRACE_LANDED_DESC] = {"LANDED_DESC", trace_landed_desc, true,
				   false},
	[KVR_TRACE_LANDED] = {"LANDED", trace_landed, true, false},
	[KVR_TRACE_TAKE] = {"TAKE", trace_take, true, true},
	[KVR_TRACE_RELEASE] = {"RELEASE", trace_release, true, true},
	[KVR_TRACE_GRANT] = {"GRANT", trace_grant, true, true},
	[KVR_TRACE_CREDIT] = {"CREDIT", trace_credit, true, false},
	[KVR_TRACE_ENDING] = {"ENDING", trace_ending, false, true},
	[KVR_TRACE_END] = {"END", trace_end, false, true},
	[KVR_TRACE_CANCEL] = {"CANCEL", trace_cancel, false, true},
	[KVR_TRACE_ABORT] = {"ABORT", trace_abort, false, false},
	[KVR_TRACE_LOST] = {"LOST", trace_lost, false, false},
	[KVR_TRACE_BYE] = {"BYE", trace_bye, false, true},
};

const char *kvr_trace_kind_name(enum kvr_trace_kind kind)
{
	return (unsigned)kind < KVR_TRACE_KINDS ? rules[kind].name : "?";
}

static const char *apply(struct ring *ring, const struct kvr_trace_event *event)
{
	const struct rule *rule;

	if ((unsigned)event->kind >= KVR_TRACE_KINDS ||
	    event->rank >= ring->trace->n)
		return "no such kind or rank";
	rule = &rules[event->kind];
	if (rule->lane && event->lane >= ring->trace->lanes)
		return "no such lane";
	if (rule->works && ring->rank[event->rank].failed)
		return "works on after its failure";
	if (rule->works && ring->rank[event->rank].lost)
		return "works on after a peer was lost";
	return rule->fn(ring, event);
}

/* No rank is left waiting, when one or more failed. */
static const char *nobody_waits(const struct ring *ring)
{
	for (uint32_t i = 0; i < ring->trace->n; i++) {
		const struct rank *r = &ring->rank[i];

		if (!r->failed && !r->blamed && !(r->bye[0] && r->bye[1]))
			return "end of trace: a rank was not told";
	}
	return NULL;
}

static const char *all_agree(struct ring *ring)
{
	for (uint32_t i = 0; i < ring->trace->n; i++) {
		struct rank *r = &ring->rank[i];

		if (r->passes != ring->rank[ring->trace->n - 1].passes)
			return "end of trace: passes differ";
		if (r->passes && !r->pass[r->passes - 1].end)
			return "end of trace: a pass has not ended";
		if (!trace_drained(ring, i))
			return "end of trace: not drained";
		for (uint32_t l = 0; l < ring->trace->lanes; l++)
			if (r->edge[l].seen != r->edge[l].granted)
				return "end of trace: a credit was lost";
		if (ring->trace->n > 1 && (!r->bye[0] || !r->bye[1]))
			return "end of trace: no bye";
	}
	return NULL;
}

static const char *at_end(struct ring *ring)
{
	for (uint32_t i = 0; i < ring->trace->n; i++)
		if (ring->rank[i].failed)
			return nobody_waits(ring);
	return all_agree(ring);
}

static void ring_fini(struct ring *ring)
{
	for (uint32_t i = 0; ring->rank && i < ring->trace->n; i++) {
		for (uint32_t l = 0; l < KVR_LANES_MAX; l++) {
			struct edge *e = &ring->rank[i].edge[l];

			for (size_t k = 0; k < e->count; k++)
				free(e->block[k].chunk);
			free(e->block);
		}
		free(ring->rank[i].pass);
	}
	free(ring->rank);
}

static const char *replay(struct ring *ring, size_t *at)
{
	const char *why = ring->rank ? NULL : "no memory";

	for (*at = 0; !why && *at < ring->trace->count; ++*at)
		why = apply(ring, &ring->trace->events[*at]);
	if (why) {
		--*at; /* the loop stepped past the culprit */
		return why;
	}
	return ring->trace->complete ? at_end(ring) : NULL;
}

bool kvr_trace_accept(const struct kvr_trace *trace, char *why,
		      size_t why_bytes)
{
	struct ring ring = {
		.trace = trace,
		.rank = calloc(trace->n, sizeof(*ring.rank)),
	};
	size_t at = 0;
	const char *reason = replay(&ring, &at);

	if (why_bytes)
		why[0] = '\0';
	if (reason && ring.rank && at < trace->count)
		snprintf(why, why_bytes, "event %zu, rank %" PRIu32 ": %s: %s",
			 at, trace->events[at].rank,
			 kvr_trace_kind_name(trace->events[at].kind), reason);
	else if (reason)
		snprintf(why, why_bytes, "%s", reason);
	ring_fini(&ring);
	return !reason;
}
