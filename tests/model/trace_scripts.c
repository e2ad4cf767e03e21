/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/model/trace_scripts.h"

static void add(struct script *s, uint32_t rank, enum kvr_trace_kind kind,
		uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	assert_true(s->trace.count < EVENTS);
	s->event[s->trace.count++] =
		(struct kvr_trace_event){rank, kind, 0, a, b, c, d};
}

static void script_init(struct script *s, uint32_t n, enum kvr_lane_kind kind)
{
	memset(s, 0, sizeof(*s));
	s->trace = (struct kvr_trace){
		.n = n,
		.lanes = 1,
		.slots = 2,
		.kind = {kind, kind},
		.complete = true,
		.events = s->event,
	};
}

/* Block `step` of each rank moves on, whole, and is in the next's slot. */
static void move(struct script *s, uint64_t base, uint64_t step)
{
	uint32_t n = s->trace.n, slots = s->trace.slots;
	uint64_t k = base + step;
	uint64_t source = step ? (k - 1) % slots : LOCAL;

	for (uint32_t r = 0; r < n; r++) {
		uint64_t origin = (r + n - step) % n;

		add(s, r, KVR_TRACE_DESCRIBE, k, k % slots, origin, 1);
		add(s, r, KVR_TRACE_WRITE, k, 0, source, 0);
	}
	for (uint32_t r = 0; r < n; r++) {
		uint64_t origin = (r + 2 * n - step - 1) % n;

		add(s, r, KVR_TRACE_LANDED, k, 0, 0, 0);
		add(s, r, KVR_TRACE_LANDED_DESC, k, origin, 0, 0);
		add(s, r, KVR_TRACE_SENT, k, 0, 0, 0);
	}
}

static void use(struct script *s, uint64_t base, uint64_t step)
{
	uint32_t n = s->trace.n;
	uint64_t slot = step ? (base + step - 1) % s->trace.slots : LOCAL;

	for (uint32_t r = 0; r < n; r++) {
		add(s, r, KVR_TRACE_TAKE, step, slot, (r + n - step % n) % n,
		    0);
		add(s, r, KVR_TRACE_RELEASE, step, 0, 0, 0);
	}
}

static void credit(struct script *s, uint64_t cumulative)
{
	for (uint32_t r = 0; r < s->trace.n; r++)
		add(s, r, KVR_TRACE_GRANT, cumulative, 0, 0, 0);
	for (uint32_t r = 0; r < s->trace.n; r++)
		add(s, r, KVR_TRACE_CREDIT, cumulative, 0, 0, 0);
}

static void begin(struct script *s, uint64_t tag)
{
	for (uint32_t r = 0; r < s->trace.n; r++)
		add(s, r, KVR_TRACE_BEGIN, tag, s->trace.n - 1, 0, 0);
}

static void end(struct script *s)
{
	for (uint32_t r = 0; r < s->trace.n; r++) {
		add(s, r, KVR_TRACE_ENDING, 0, 0, 0, 0);
		add(s, r, KVR_TRACE_END, 0, 0, 0, 0);
	}
}

static void bye(struct script *s)
{
	for (uint32_t r = 0; r < s->trace.n; r++) {
		add(s, r, KVR_TRACE_BYE, 0, 0, 0, 0);
		add(s, r, KVR_TRACE_BYE, 1, 0, 0, 0);
	}
}

/* Every block is released before it moves: what both kinds of lane may do. */
static void pass(struct script *s, uint64_t tag, uint64_t base, uint64_t hops)
{
	begin(s, tag);
	for (uint64_t step = 0; step < hops; step++) {
		use(s, base, step);
		move(s, base, step);
		if (step)
			credit(s, base + step);
	}
	use(s, base, hops);
	credit(s, base + hops);
	end(s);
}

void script_immutable(struct script *s)
{
	script_init(s, 3, KVR_LANE_IMMUTABLE);
	pass(s, 7, 0, 2);
	pass(s, 8, 2, 2);
	bye(s);
}

void script_accumulating(struct script *s)
{
	script_init(s, 2, KVR_LANE_ACCUMULATING);
	pass(s, 7, 0, 2);
	pass(s, 8, 2, 2);
	bye(s);
}

static void land(struct script *s, uint32_t rank, uint64_t k, uint64_t origin,
		 bool chunk)
{
	add(s, rank, KVR_TRACE_LANDED_DESC, k, origin, 0, 0);
	if (chunk)
		add(s, rank, KVR_TRACE_LANDED, k, 0, 0, 0);
}

static void send(struct script *s, uint32_t rank, uint64_t k, uint64_t origin,
		 uint64_t source)
{
	add(s, rank, KVR_TRACE_DESCRIBE, k, k % 2, origin, 1);
	add(s, rank, KVR_TRACE_WRITE, k, 0, source, 0);
	add(s, rank, KVR_TRACE_SENT, k, 0, 0, 0);
}

static void send_cancelled(struct script *s, uint32_t rank, uint64_t k,
			   uint64_t origin)
{
	add(s, rank, KVR_TRACE_DESCRIBE, k, k % 2, origin, CANCELLED);
}

void script_cancelled(struct script *s)
{
	script_init(s, 3, KVR_LANE_IMMUTABLE);
	begin(s, 7);
	add(s, 0, KVR_TRACE_CANCEL, 0, 0, 0, 0);
	send_cancelled(s, 0, 0, 0);
	send_cancelled(s, 0, 1, 2); /* has not come yet */
	send(s, 1, 0, 1, LOCAL);
	send(s, 2, 0, 2, LOCAL);
	land(s, 0, 0, 2, true);
	land(s, 1, 0, 0, false);
	land(s, 2, 0, 1, true);
	add(s, 2, KVR_TRACE_TAKE, 0, LOCAL, 2, 0);
	add(s, 2, KVR_TRACE_TAKE, 1, 0, 1, 0);
	add(s, 2, KVR_TRACE_RELEASE, 1, 0, 0, 0);
	send_cancelled(s, 1, 1, 0);
	send(s, 2, 1, 1, 0);
	land(s, 0, 1, 1, true);
	land(s, 1, 1, 2, false);
	land(s, 2, 1, 0, false);
	credit(s, 2);
	end(s);
	bye(s);
}

void script_lost(struct script *s)
{
	script_init(s, 3, KVR_LANE_IMMUTABLE);
	begin(s, 7);
	use(s, 0, 0);
	move(s, 0, 0);
	add(s, 0, KVR_TRACE_LOST, 0, 0, 0, 0);
	add(s, 0, KVR_TRACE_ABORT, 2, 1, 0, 0);
	add(s, 1, KVR_TRACE_ABORT, 2, 1, 0, 0);
}

void script_early(struct script *s)
{
	script_init(s, 3, KVR_LANE_IMMUTABLE);
	s->trace.complete = false;
	begin(s, 7);
	for (uint32_t r = 0; r < 3; r++)
		send(s, r, 0, r, LOCAL);
	add(s, 0, KVR_TRACE_ENDING, 0, 0, 0, 0);
	add(s, 0, KVR_TRACE_END, 0, 0, 0, 0);
	add(s, 0, KVR_TRACE_BEGIN, 8, 2, 0, 0);
	for (uint32_t r = 0; r < 3; r++)
		land(s, r, 0, (r + 2) % 3, true);
	for (uint32_t r = 1; r < 3; r++) {
		add(s, r, KVR_TRACE_TAKE, 0, LOCAL, r, 0);
		add(s, r, KVR_TRACE_TAKE, 1, 0, r - 1, 0);
		add(s, r, KVR_TRACE_RELEASE, 1, 0, 0, 0);
	}
	for (uint32_t r = 0; r < 3; r++)
		send(s, r, 1, (r + 2) % 3, 0);
	land(s, 1, 1, 2, true);
	add(s, 1, KVR_TRACE_TAKE, 2, 1, 2, 0);
	add(s, 1, KVR_TRACE_RELEASE, 2, 0, 0, 0);
	credit(s, 1);
	send(s, 0, 2, 0, LOCAL);
	land(s, 1, 2, 0, true);
	add(s, 1, KVR_TRACE_GRANT, 2, 0, 0, 0);
}

void script_local_after_end(struct script *s)
{
	script_init(s, 2, KVR_LANE_IMMUTABLE);
	begin(s, 7);
	add(s, 0, KVR_TRACE_CANCEL, 0, 0, 0, 0);
	send_cancelled(s, 0, 0, 0);
	land(s, 1, 0, 0, false);
	add(s, 1, KVR_TRACE_ENDING, 0, 0, 0, 0);
	add(s, 1, KVR_TRACE_END, 0, 0, 0, 0);
	send(s, 1, 0, 1, LOCAL);
}
