/* SPDX-License-Identifier: Apache-2.0 */
/* What a simulated rank's caller does with its engine. */
#include <string.h>

#include "tests/support/sim_internal.h"

static const struct sim_part *part_of(const struct sim_rank *r)
{
	return &r->sim->plan.part[r->rank][r->pass];
}

static void unexpected(struct sim_rank *r, const char *call,
		       enum kvr_status status)
{
	sim_watch(r);
	if (r->state != SIM_FAILED)
		sim_fail(r->sim, "rank %u pass %u: %s returned %s", r->rank,
			 r->pass, call, kvr_status_name(status));
}

/* ----------------------------------------------------------------- begin */

static bool begin(struct sim_rank *r)
{
	const struct sim_part *part = part_of(r);
	struct kvr_engine_pass pass = {.tag = part->tag, .hops = part->hops};
	enum kvr_status status;
	uint32_t record = 0;

	memcpy(pass.bytes, part->bytes, sizeof(pass.bytes));
	memcpy(pass.metadata_bytes, part->metadata_bytes,
	       sizeof(pass.metadata_bytes));
	status = kvr_engine_begin(r->engine, &pass, &record);
	if (status == KVR_ERR_AGAIN)
		return false;
	if (status != KVR_OK && status != KVR_ERR_MISMATCH) {
		unexpected(r, "begin", status);
		return true;
	}
	sim_trace(r, KVR_TRACE_BEGIN, 0, part->tag, part->hops, 0, 0);
	sim_watch(r);
	if (status != KVR_OK)
		return true;
	r->record = record;
	r->takes = 0;
	memset(r->lane, 0, sizeof(r->lane));
	sim_fill_local(r);
	r->state = SIM_OPEN;
	return true;
}

/* --------------------------------------------------------- take, release */

static void check_block(struct sim_rank *r, uint32_t lane,
			const struct kvr_engine_block *block)
{
	uint32_t n = r->sim->plan.n, step = r->lane[lane].steps;
	uint32_t origin = (r->rank + 2 * n - step) % n;
	const struct sim_part *owner = &r->sim->plan.part[origin][r->pass];

	if (block->step != step || block->origin != origin ||
	    block->bytes != owner->bytes[lane] ||
	    block->metadata_bytes != owner->metadata_bytes[lane])
		sim_fail(r->sim,
			 "rank %u pass %u lane %u: step %u of rank %u, %zu "
			 "bytes instead of step %u of rank %u, %zu bytes",
			 r->rank, r->pass, lane, block->step, block->origin,
			 block->bytes, step, origin, owner->bytes[lane]);
}

static struct sim_held *free_place(struct sim_lane *lane)
{
	for (uint32_t i = 0; i <= SIM_SLOTS; i++)
		if (!lane->held[i].held)
			return &lane->held[i];
	return NULL;
}

static void hold(struct sim_rank *r, uint32_t lane,
		 const struct kvr_engine_block *block)
{
	uint64_t hold_ns = sim_below(&r->sim->random, part_of(r)->hold_ns);
	struct sim_held *h = free_place(&r->lane[lane]);

	if (!h) {
		sim_fail(r->sim, "rank %u holds more than there is", r->rank);
		return;
	}
	*h = (struct sim_held){
		.held = true,
		.step = block->step,
		.origin = block->origin,
		.slot = block->slot,
		.bytes = block->bytes,
		.release_ns = r->sim->now + hold_ns,
	};
	check_block(r, lane, block);
	sim_verify_metadata(r, lane, block);
	sim_verify(r, lane, h, "take");
	r->lane[lane].steps++;
	r->takes++;
	r->sim->result->blocks_taken++;
}

static bool take(struct sim_rank *r, uint32_t lane)
{
	struct sim_lane *l = &r->lane[lane];
	struct kvr_engine_block block;
	enum kvr_status status;

	if (l->over || !free_place(l))
		return false;
	status = kvr_engine_take(r->engine, lane, &block);
	switch (status) {
	case KVR_OK:
		sim_trace(r, KVR_TRACE_TAKE, lane, block.step, block.slot,
			  block.origin, 0);
		hold(r, lane, &block);
		return true;
	case KVR_ERR_AGAIN:
	case KVR_ERR_STATE: /* all slots are held */
		return false;
	case KVR_ERR_CANCELLED:
		if (!r->sim->plan.cancelled[r->pass])
			sim_fail(r->sim, "rank %u: nobody cancelled", r->rank);
		l->over = true;
		return true;
	case KVR_ERR_END:
		l->over = true;
		return true;
	default:
		unexpected(r, "take", status);
		return true;
	}
}

static void release(struct sim_rank *r, uint32_t lane, struct sim_held *h)
{
	bool adds = r->sim->plan.lane[lane].kind == KVR_LANE_ACCUMULATING;
	enum kvr_status status;

	sim_verify(r, lane, h, "release");
	if (adds && h->step < r->sim->plan.n)
		sim_contribute(r, lane, h);
	status = kvr_engine_release(r->engine, lane, h->step);
	if (status != KVR_OK) {
		unexpected(r, "release", status);
		return;
	}
	sim_trace(r, KVR_TRACE_RELEASE, lane, h->step, 0, 0, 0);
	h->held = false;
}

/* One that has been held long enough, drawn: in any order. */
static bool release_one(struct sim_rank *r, uint32_t lane)
{
	uint32_t at = (uint32_t)sim_below(&r->sim->random, SIM_SLOTS + 1);

	for (uint32_t i = 0; i <= SIM_SLOTS; i++) {
		struct sim_held *h =
			&r->lane[lane].held[(at + i) % (SIM_SLOTS + 1)];

		if (h->held && h->release_ns <= r->sim->now) {
			release(r, lane, h);
			return true;
		}
	}
	return false;
}

/* ------------------------------------------------------------ end, leave */

static bool all_over(const struct sim_rank *r)
{
	for (uint32_t l = 0; l < r->sim->plan.lanes; l++) {
		if (!r->lane[l].over)
			return false;
		for (uint32_t i = 0; i <= SIM_SLOTS; i++)
			if (r->lane[l].held[i].held)
				return false;
	}
	return true;
}

static bool all_taken(const struct sim_rank *r)
{
	uint32_t n = r->sim->plan.n;

	for (uint32_t l = 0; l < r->sim->plan.lanes; l++) {
		bool home =
			r->sim->plan.lane[l].kind == KVR_LANE_ACCUMULATING &&
			n > 1;

		if (r->lane[l].steps < part_of(r)->hops + 1 + home)
			return false;
	}
	return true;
}

static void check_end(struct sim_rank *r, enum kvr_status status)
{
	bool cancelled = r->sim->plan.cancelled[r->pass];

	if (status == KVR_ERR_CANCELLED && (!cancelled || all_taken(r)))
		sim_fail(r->sim, "rank %u pass %u: cancelled by nobody",
			 r->rank, r->pass);
	if (status == KVR_OK && !all_taken(r) &&
	    part_of(r)->end_after == UINT32_MAX)
		sim_fail(r->sim, "rank %u pass %u: blocks are missing", r->rank,
			 r->pass);
	r->sim->result->cancelled += status == KVR_ERR_CANCELLED;
}

/* Held blocks must be good to the last. */
static void start_end(struct sim_rank *r)
{
	for (uint32_t l = 0; l < r->sim->plan.lanes; l++)
		for (uint32_t i = 0; i <= SIM_SLOTS; i++)
			if (r->lane[l].held[i].held)
				sim_verify(r, l, &r->lane[l].held[i], "end");
	sim_trace(r, KVR_TRACE_ENDING, 0, 0, 0, 0, 0);
	r->state = SIM_ENDING;
}

static bool end(struct sim_rank *r)
{
	enum kvr_status status = kvr_engine_end(r->engine);

	if (status == KVR_ERR_AGAIN)
		return false;
	if (status != KVR_OK && status != KVR_ERR_CANCELLED) {
		unexpected(r, "end", status);
		return true;
	}
	sim_trace(r, KVR_TRACE_END, 0, 0, 0, 0, 0);
	check_end(r, status);
	sim_scribble_local(r);
	r->pass++;
	r->state = r->pass < r->sim->plan.passes ? SIM_WAITING : SIM_LEAVING;
	if (r->state == SIM_WAITING)
		r->wake_ns = r->sim->now + part_of(r)->delay_ns;
	return true;
}

static bool leave(struct sim_rank *r)
{
	enum kvr_status status = kvr_engine_bye(r->engine);

	if (status == KVR_ERR_AGAIN)
		return false;
	if (status != KVR_OK) {
		unexpected(r, "bye", status);
		return true;
	}
	r->state = SIM_DONE;
	sim_close_edges(r);
	return true;
}

/* ------------------------------------------------------------------ turn */

static bool cancel(struct sim_rank *r)
{
	enum kvr_status status = kvr_engine_cancel(r->engine);

	/* Once: the plan is ours to change. */
	r->sim->plan.part[r->rank][r->pass].cancel_after = UINT32_MAX;
	if (status != KVR_OK) {
		unexpected(r, "cancel", status);
		return true;
	}
	sim_trace(r, KVR_TRACE_CANCEL, 0, 0, 0, 0, 0);
	return true;
}

static bool use_pass(struct sim_rank *r)
{
	uint32_t lanes = r->sim->plan.lanes;
	uint32_t at = (uint32_t)sim_below(&r->sim->random, lanes);
	bool release_first = sim_below(&r->sim->random, 2);

	if (r->takes >= part_of(r)->cancel_after)
		return cancel(r);
	if (r->takes >= part_of(r)->end_after || all_over(r)) {
		start_end(r);
		return end(r) || true;
	}
	for (uint32_t i = 0; i < lanes; i++) {
		uint32_t lane = (at + i) % lanes;

		if (release_first && release_one(r, lane))
			return true;
		if (take(r, lane) || release_one(r, lane))
			return true;
	}
	return false;
}

bool sim_call(struct sim_rank *r)
{
	switch (r->state) {
	case SIM_WAITING:
		return r->wake_ns <= r->sim->now && begin(r);
	case SIM_OPEN:
		return use_pass(r);
	case SIM_ENDING:
		return end(r);
	case SIM_LEAVING:
		return leave(r);
	case SIM_DONE:
	case SIM_FAILED:
		break;
	}
	return false;
}

uint64_t sim_call_due(const struct sim_rank *r)
{
	uint64_t due = SIM_NEVER;

	if (r->state == SIM_WAITING)
		return r->wake_ns;
	for (uint32_t l = 0; r->state == SIM_OPEN && l < KVR_LANES_MAX; l++)
		for (uint32_t i = 0; i <= SIM_SLOTS; i++) {
			const struct sim_held *h = &r->lane[l].held[i];

			if (h->held && h->release_ns < due)
				due = h->release_ns;
		}
	return due;
}
