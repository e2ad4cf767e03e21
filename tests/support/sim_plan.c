/* SPDX-License-Identifier: Apache-2.0 */
/* Draws what a schedule is to be. */
#include <string.h>

#include "tests/support/sim_internal.h"

/* splitmix64: Steele, Lea, Flood, 2014, doi 10.1145/2714064.2660195. */
uint64_t sim_draw(uint64_t *random)
{
	uint64_t z = *random += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

uint64_t sim_below(uint64_t *random, uint64_t below)
{
	return sim_draw(random) % below;
}

static bool one_in(uint64_t *random, uint64_t n)
{
	return sim_below(random, n) == 0;
}

static void draw_shape(uint64_t *random, struct sim_plan *plan)
{
	bool accumulates = false;
	size_t largest = 0;

	plan->n = 1 + (uint32_t)sim_below(random, SIM_RANKS);
	plan->lanes = 1 + (uint32_t)sim_below(random, KVR_LANES_MAX);
	plan->passes = 1 + (uint32_t)sim_below(random, SIM_PASSES);
	for (uint32_t i = 0; i < plan->lanes; i++) {
		bool accumulating = one_in(random, 3);

		accumulates |= accumulating;
		plan->lane[i].kind = accumulating ? KVR_LANE_ACCUMULATING
						  : KVR_LANE_IMMUTABLE;
		plan->lane[i].slot_bytes =
			1 + (size_t)sim_below(random, SIM_BLOCK);
		if (plan->lane[i].slot_bytes > largest)
			largest = plan->lane[i].slot_bytes;
	}
	plan->chunk_bytes = 1 + largest / (1 + sim_below(random, 10));
	plan->slots = 1 + (uint32_t)sim_below(random, SIM_SLOTS);
	if (plan->slots == 1 && (plan->n > 2 || (plan->n == 2 && accumulates)))
		plan->slots = 2;
}

static bool accumulates(const struct sim_plan *plan)
{
	for (uint32_t i = 0; i < plan->lanes; i++)
		if (plan->lane[i].kind == KVR_LANE_ACCUMULATING)
			return true;
	return false;
}

static void draw_part(uint64_t *random, const struct sim_plan *plan,
		      struct sim_part *part)
{
	for (uint32_t i = 0; i < plan->lanes; i++) {
		part->bytes[i] =
			one_in(random, 5)
				? 0
				: sim_below(random,
					    plan->lane[i].slot_bytes + 1);
		part->metadata_bytes[i] =
			(uint32_t)sim_below(random, SIM_METADATA + 1);
	}
	part->delay_ns = one_in(random, 4) ? sim_below(random, 2 * SIM_SILENCE)
					   : sim_below(random, 300);
	part->hold_ns = one_in(random, 4) ? 5000 : 1 + sim_below(random, 400);
	part->end_after =
		one_in(random, 8) ? (uint32_t)sim_below(random, 6) : UINT32_MAX;
	part->cancel_after = UINT32_MAX;
}

static void draw_passes(uint64_t *random, struct sim_plan *plan)
{
	for (uint32_t p = 0; p < plan->passes; p++) {
		uint32_t hops = plan->n - 1;

		if (!accumulates(plan) && one_in(random, 4))
			hops = (uint32_t)sim_below(random, plan->n);
		for (uint32_t i = 0; i < plan->n; i++) {
			draw_part(random, plan, &plan->part[i][p]);
			plan->part[i][p].tag = 100 + p;
			plan->part[i][p].hops = hops;
		}
	}
}

static void draw_cancel(uint64_t *random, struct sim_plan *plan)
{
	uint32_t cancels = 1 + (uint32_t)sim_below(random, 3);

	while (cancels--) {
		uint32_t rank = (uint32_t)sim_below(random, plan->n);
		uint32_t pass = (uint32_t)sim_below(random, plan->passes);
		struct sim_part *part = &plan->part[rank][pass];

		part->cancel_after = (uint32_t)sim_below(random, plan->n + 1);
		part->end_after = UINT32_MAX;
		plan->cancelled[pass] = true;
	}
}

/* Hops of 0 would leave the others waiting: only a time-out ends that. */
static void draw_mismatch(uint64_t *random, struct sim_plan *plan)
{
	uint32_t pass = (uint32_t)sim_below(random, plan->passes);
	struct sim_part *part = &plan->part[plan->victim][pass];

	if (part->hops == 0) {
		plan->fault = KVR_SIM_NONE;
		return;
	}
	if (!accumulates(plan) && part->hops > 1 && one_in(random, 2))
		part->hops--;
	else
		part->tag += 50;
}

static void draw_fault(uint64_t *random, struct sim_plan *plan)
{
	plan->fault =
		one_in(random, 2)
			? KVR_SIM_NONE
			: (enum kvr_sim_fault)sim_below(random, KVR_SIM_FAULTS);
	plan->victim = (uint32_t)sim_below(random, plan->n);
	plan->fault_ns = SIM_NEVER;
	if (plan->n == 1 && plan->fault != KVR_SIM_ABORT)
		plan->fault = KVR_SIM_NONE;
	if (plan->fault == KVR_SIM_CANCEL)
		draw_cancel(random, plan);
	else if (plan->fault == KVR_SIM_MISMATCH)
		draw_mismatch(random, plan);
	else if (plan->fault != KVR_SIM_NONE)
		plan->fault_ns = one_in(random, 3)
					 ? sim_below(random, 3 * SIM_SILENCE)
					 : sim_below(random, 4000);
}

static void draw_script(uint64_t *random, struct sim_plan *plan)
{
	struct kvr_fake_script *script = &plan->script;

	script->seed = sim_draw(random);
	script->delay_min_ns = sim_below(random, 100);
	script->delay_max_ns = script->delay_min_ns + sim_below(random, 500);
	script->reorder = one_in(random, 2);
	script->queue_depth = 2 + (uint32_t)sim_below(random, 14);
	script->slow_rank = KVR_RANK_NONE;
	if (one_in(random, 3)) {
		script->slow_rank = (uint32_t)sim_below(random, plan->n);
		script->slow_factor = 2 + (uint32_t)sim_below(random, 5);
	}
	plan->nap_chance = one_in(random, 2) ? 200 : 0;
	plan->refuse_chance = one_in(random, 2) ? 10 : 0;
}

void sim_plan_init(uint64_t *random, struct sim_plan *plan)
{
	memset(plan, 0, sizeof(*plan));
	draw_shape(random, plan);
	draw_passes(random, plan);
	draw_fault(random, plan);
	draw_script(random, plan);
}
