/* SPDX-License-Identifier: Apache-2.0 */
/* The scheduler: whose turn it is, when the clock moves, how it must end. */
#include "tests/support/sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/sim_internal.h"

/* The trace outlives the run, and its memory is used again by the next. */
static struct kvr_trace_event *events;
static size_t event_count, event_room;

void sim_fail(struct sim *sim, const char *format, ...)
{
	va_list list;

	if (sim->result->why[0])
		return;
	va_start(list, format);
	vsnprintf(sim->result->why, sizeof(sim->result->why), format, list);
	va_end(list);
}

void sim_trace(struct sim_rank *r, enum kvr_trace_kind kind, uint32_t lane,
	       uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	if (event_count == event_room) {
		event_room = event_room ? 2 * event_room : 4096;
		events = realloc(events, event_room * sizeof(*events));
		if (!events)
			abort();
	}
	events[event_count++] = (struct kvr_trace_event){
		.rank = r->rank,
		.kind = kind,
		.lane = lane,
		.a = a,
		.b = b,
		.c = c,
		.d = d,
	};
}

void kvr_sim_fini(void)
{
	free(events);
	events = NULL;
	event_count = event_room = 0;
}

void sim_watch(struct sim_rank *r)
{
	const struct kvr_engine_failure *f = kvr_engine_failure(r->engine);

	if (f->status == KVR_OK || r->state == SIM_FAILED)
		return;
	r->state = SIM_FAILED;
	r->failed_ns = r->sim->now;
	sim_trace(r, KVR_TRACE_ABORT, 0, f->abort.rank, f->abort.cause, 0, 0);
}

/* -------------------------------------------------------------- one turn */

static bool alive(const struct sim_rank *r)
{
	return !r->stopped && (r->edge[0] || r->sim->plan.n == 1) &&
	       r->state != SIM_DONE;
}

/* A failed rank closes when its neighbours were told, or cannot be. */
static bool give_up(struct sim_rank *r)
{
	if (r->state != SIM_FAILED ||
	    (!kvr_engine_abort_sent(r->engine) &&
	     r->sim->now < r->failed_ns + SIM_ABORT_GRACE))
		return false;
	sim_close_edges(r);
	r->stopped = true;
	return true;
}

static bool nap(struct sim_rank *r)
{
	struct sim *sim = r->sim;

	if (r->nap_ns > sim->now)
		return true;
	if (!sim->plan.nap_chance ||
	    sim_below(&sim->random, sim->plan.nap_chance))
		return false;
	r->nap_ns = sim->now + 1 + sim_below(&sim->random, SIM_NAP);
	return true;
}

static bool turn(struct sim_rank *r, uint32_t what)
{
	bool acted = false;

	switch (what) {
	case 0:
	case 1:
		acted = sim_poll(r, (enum kvr_side)what);
		break;
	case 2:
		acted = kvr_engine_run(r->engine, r->sim->now);
		sim_watch(r);
		acted |= give_up(r);
		break;
	default:
		acted = sim_call(r);
	}
	return acted;
}

/*
 * Everyone's four things, starting somewhere, some left out unless the round
 * is to be whole. False from a whole one: nothing can happen at this time.
 */
static bool round_of_turns(struct sim *sim, bool whole)
{
	uint32_t turns = 4 * sim->plan.n;
	uint32_t step = 1 + 2 * (uint32_t)sim_below(&sim->random, turns / 2);
	uint32_t at = (uint32_t)sim_below(&sim->random, turns);
	bool acted = false;

	/* A step that shares no factor with the number: each comes once. */
	while (step % 3 == 0 || step % 5 == 0)
		step += 2;
	sim->stirred = false;
	for (uint32_t i = 0; i < turns; i++, at = (at + step) % turns) {
		struct sim_rank *r = &sim->rank[at / 4];

		if (!alive(r) || nap(r))
			continue;
		if (!whole && sim_below(&sim->random, 3) == 0)
			continue;
		acted |= turn(r, at % 4);
	}
	return acted || sim->stirred;
}

/* ----------------------------------------------------------------- clock */

static uint64_t sooner(uint64_t a, uint64_t b, uint64_t now)
{
	return b > now && b < a ? b : a;
}

static void advance(struct sim *sim)
{
	uint64_t next = sooner(SIM_NEVER, kvr_fake_next_due(), sim->now);

	next = sooner(next, sim->plan.fault_ns, sim->now);
	for (uint32_t i = 0; i < sim->plan.n; i++) {
		struct sim_rank *r = &sim->rank[i];

		if (!alive(r))
			continue;
		if (r->nap_ns > sim->now) {
			next = sooner(next, r->nap_ns, sim->now);
			continue;
		}
		next = sooner(next, kvr_engine_next_deadline(r->engine),
			      sim->now);
		next = sooner(next, sim_call_due(r), sim->now);
		if (r->state == SIM_FAILED)
			next = sooner(next, r->failed_ns + SIM_ABORT_GRACE,
				      sim->now);
	}
	if (next == SIM_NEVER)
		sim_fail(sim, "deadlock: nothing will ever happen");
	else
		sim->now = next;
}

static uint64_t virtual_now(void *arg)
{
	return ((struct sim *)arg)->now;
}

static void strike(struct sim *sim)
{
	struct sim_rank *r = &sim->rank[sim->plan.victim];
	uint64_t ring_id = sim->plan.script.seed;

	if (sim->now < sim->plan.fault_ns)
		return;
	sim->plan.fault_ns = SIM_NEVER;
	if (!alive(r))
		return;
	switch (sim->plan.fault) {
	case KVR_SIM_KILL:
		kvr_fake_kill(ring_id, r->rank);
		r->stopped = true;
		break;
	case KVR_SIM_FREEZE:
		kvr_fake_freeze(ring_id, r->rank);
		r->stopped = true;
		break;
	case KVR_SIM_ABORT:
		kvr_engine_abort(r->engine, r->rank, KVR_CAUSE_CALLER);
		sim_watch(r);
		break;
	default:
		break;
	}
}

static bool over(const struct sim *sim)
{
	for (uint32_t i = 0; i < sim->plan.n; i++)
		if (alive(&sim->rank[i]))
			return false;
	return true;
}

static void run(struct sim *sim)
{
	uint64_t progress_ns = 0;
	size_t seen = 0;
	bool idle = false, whole;

	while (!over(sim) && !sim->result->why[0]) {
		strike(sim);
		whole = idle;
		idle = !round_of_turns(sim, whole);
		if (event_count != seen) {
			seen = event_count;
			progress_ns = sim->now;
		}
		if (idle && whole && !over(sim))
			advance(sim);
		if (sim->now > progress_ns + SIM_PATIENCE)
			sim_fail(sim, "deadlock: no progress since %llu ns",
				 (unsigned long long)progress_ns);
	}
}

/* --------------------------------------------------------------- outcome */

static enum kvr_status expected_status(enum kvr_sim_fault fault)
{
	switch (fault) {
	case KVR_SIM_KILL:
	case KVR_SIM_FREEZE:
		return KVR_ERR_PEER_LOST;
	case KVR_SIM_ABORT:
		return KVR_ERR_ABORTED;
	case KVR_SIM_MISMATCH:
		return KVR_ERR_MISMATCH;
	default:
		return KVR_OK;
	}
}

static void check_failure(struct sim *sim, const struct sim_rank *r)
{
	const struct kvr_engine_failure *f = kvr_engine_failure(r->engine);
	bool named = sim->plan.fault != KVR_SIM_MISMATCH;

	sim->result->failed++;
	if (f->status != expected_status(sim->plan.fault) ||
	    (named && f->abort.rank != sim->plan.victim))
		sim_fail(sim,
			 "rank %u failed: %s, cause %d, field \"%s\", "
			 "blaming %u",
			 r->rank, kvr_status_name(f->status), f->abort.cause,
			 f->field, f->abort.rank);
}

static void check_outcome(struct sim *sim)
{
	for (uint32_t i = 0; i < sim->plan.n; i++) {
		const struct sim_rank *r = &sim->rank[i];

		if (r->state == SIM_FAILED)
			check_failure(sim, r);
		else if (r->state == SIM_DONE && r->pass != sim->plan.passes)
			sim_fail(sim, "rank %u left early", r->rank);
		else if (r->state != SIM_DONE && r->rank != sim->plan.victim)
			sim_fail(sim, "rank %u is still there", r->rank);
	}
	if (sim->plan.fault == KVR_SIM_MISMATCH && !sim->result->failed)
		sim_fail(sim, "nobody noticed the disagreement");
}

static bool set_up(struct sim *sim)
{
	for (uint32_t i = 0; i < sim->plan.n; i++) {
		struct sim_rank *r = &sim->rank[i];
		struct kvr_engine_config config = {
			.rank = i,
			.n = sim->plan.n,
			.lanes = sim->plan.lanes,
			.slots = sim->plan.slots,
			.chunk_bytes = sim->plan.chunk_bytes,
			.layout_id = 5,
			.heartbeat_ns = SIM_BEAT,
			.silence_ns = SIM_SILENCE,
		};

		memcpy(config.lane, sim->plan.lane, sizeof(config.lane));
		r->sim = sim;
		r->rank = i;
		r->wake_ns = sim->plan.part[i][0].delay_ns;
		r->memory = aligned_alloc(64, kvr_engine_bytes(&config));
		if (!r->memory ||
		    kvr_engine_init(r->memory, &config, &sim_actions, r,
				    sim->now, &r->engine) != KVR_OK)
			return false;
	}
	return sim->plan.n == 1 || sim_open(sim);
}

/* One that dies after its BYE harms nobody, and leaves no end to judge. */
static bool complete(const struct sim *sim)
{
	if (sim->result->why[0])
		return false;
	return sim->result->failed > 0 ||
	       sim->rank[sim->plan.victim].state == SIM_DONE;
}

static void fill_trace(const struct sim *sim, struct kvr_trace *trace)
{
	*trace = (struct kvr_trace){
		.n = sim->plan.n,
		.lanes = sim->plan.lanes,
		.slots = sim->plan.slots,
		.complete = complete(sim),
		.events = events,
		.count = event_count,
	};
	for (uint32_t l = 0; l < sim->plan.lanes; l++)
		trace->kind[l] = sim->plan.lane[l].kind;
}

static void tear_down(struct sim *sim)
{
	for (uint32_t i = 0; i < sim->plan.n; i++) {
		sim_close_edges(&sim->rank[i]);
		free(sim->rank[i].memory);
	}
	if (sim->transport)
		kvr_fake_transport.close(sim->transport);
	kvr_fake_set_script(NULL);
}

void kvr_sim_run(uint64_t seed, struct kvr_sim_result *out)
{
	struct sim *sim = calloc(1, sizeof(*sim));

	if (!sim)
		abort();
	memset(out, 0, sizeof(*out));
	event_count = 0;
	sim->result = out;
	sim->random = seed;
	sim_plan_init(&sim->random, &sim->plan);
	sim->plan.script.now = virtual_now;
	sim->plan.script.now_arg = sim;
	kvr_fake_set_script(&sim->plan.script);
	if (kvr_fake_transport.open(&(struct kvr_transport_config){.log = NULL},
				    &sim->transport) != KVR_OK ||
	    !set_up(sim))
		sim_fail(sim, "the ring did not open");
	else
		run(sim);
	if (!out->why[0])
		check_outcome(sim);
	out->ok = !out->why[0];
	out->fault = sim->plan.fault;
	out->virtual_ns = sim->now;
	out->events = event_count;
	fill_trace(sim, &out->trace);
	tear_down(sim);
	free(sim);
}
