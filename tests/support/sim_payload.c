/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the blocks hold: every byte is stamped with its owner, pass, lane and
 * place, so that nothing can be in the wrong place unnoticed. On an
 * accumulating lane each rank adds its own stamps, bytewise.
 */
#include <string.h>

#include "tests/support/sim_internal.h"

#define OWNER 0xffu /* the stamp that a block starts with */
#define JUNK 0xee

static uint8_t stamp(uint32_t owner, uint32_t pass, uint32_t lane, uint32_t who,
		     size_t offset)
{
	uint32_t x = (uint32_t)offset * 0x9e3779b1u ^
		     (owner << 24 | pass << 16 | lane << 8 | who);

	x = (x ^ x >> 15) * 0x85ebca6bu;
	x = (x ^ x >> 13) * 0xc2b2ae35u;
	return (uint8_t)(x >> 24);
}

static uint8_t *data_of(struct sim_rank *r, uint32_t lane, uint32_t slot)
{
	if (slot == KVR_SOURCE_LOCAL)
		return r->local[r->record][lane];
	return r->edge[KVR_PREV]->ops->slot(r->edge[KVR_PREV], lane, slot);
}

/* Several pieces, so that chunks cross their borders. */
static void cut(struct sim_rank *r, uint32_t lane, size_t bytes)
{
	struct kvr_piece *piece = r->pieces[r->record][lane];
	uint8_t *data = r->local[r->record][lane];
	size_t left = bytes;

	for (uint32_t i = 0; i < SIM_PIECES; i++) {
		size_t part = i + 1 < SIM_PIECES
				      ? sim_below(&r->sim->random, left + 1)
				      : left;

		piece[i] = (struct kvr_piece){.address = data, .bytes = part};
		data += part;
		left -= part;
	}
}

void sim_fill_local(struct sim_rank *r)
{
	const struct sim_part *part = &r->sim->plan.part[r->rank][r->pass];

	for (uint32_t l = 0; l < r->sim->plan.lanes; l++) {
		for (size_t i = 0; i < part->bytes[l]; i++)
			r->local[r->record][l][i] =
				stamp(r->rank, r->pass, l, OWNER, i);
		for (size_t i = 0; i < part->metadata_bytes[l]; i++)
			r->local_metadata[r->record][l][i] =
				stamp(r->rank, r->pass, l, OWNER, ~i);
		cut(r, l, part->bytes[l]);
	}
}

/* Whoever still reads it sends junk. */
void sim_scribble_local(struct sim_rank *r)
{
	memset(r->local[r->record], JUNK, sizeof(r->local[r->record]));
	memset(r->local_metadata[r->record], JUNK,
	       sizeof(r->local_metadata[r->record]));
}

void sim_scribble_slot(struct sim_rank *r, uint32_t lane, uint32_t slot)
{
	memset(data_of(r, lane, slot), JUNK,
	       r->sim->plan.lane[lane].slot_bytes);
}

static uint8_t expected(const struct sim_rank *r, uint32_t lane,
			const struct sim_held *h, size_t offset)
{
	const struct sim *sim = r->sim;
	uint32_t n = sim->plan.n;
	uint32_t added = sim->added[lane][r->pass][h->origin];
	uint8_t sum = stamp(h->origin, r->pass, lane, OWNER, offset);

	/* The ranks that it met before this step. */
	for (uint32_t s = 0; s < h->step; s++) {
		uint32_t who = (h->origin + s) % n;

		if (added & 1u << who)
			sum = (uint8_t)(sum + stamp(h->origin, r->pass, lane,
						    who, offset));
	}
	return sum;
}

void sim_verify(struct sim_rank *r, uint32_t lane, const struct sim_held *h,
		const char *when)
{
	const uint8_t *data = data_of(r, lane, h->slot);

	for (size_t i = 0; i < h->bytes; i++) {
		if (data[i] == expected(r, lane, h, i))
			continue;
		sim_fail(r->sim,
			 "rank %u pass %u lane %u step %u: byte %zu of rank "
			 "%u's block is wrong at %s",
			 r->rank, r->pass, lane, h->step, i, h->origin, when);
		return;
	}
}

void sim_verify_metadata(struct sim_rank *r, uint32_t lane,
			 const struct kvr_engine_block *block)
{
	const uint8_t *metadata = block->slot == KVR_SOURCE_LOCAL
					  ? r->local_metadata[r->record][lane]
					  : r->slot_metadata[lane][block->slot];

	for (size_t i = 0; i < block->metadata_bytes; i++)
		if (metadata[i] !=
		    stamp(block->origin, r->pass, lane, OWNER, ~i))
			sim_fail(r->sim,
				 "rank %u pass %u lane %u step %u: metadata "
				 "is not rank %u's",
				 r->rank, r->pass, lane, block->step,
				 block->origin);
}

void sim_contribute(struct sim_rank *r, uint32_t lane, const struct sim_held *h)
{
	uint8_t *data = data_of(r, lane, h->slot);

	for (size_t i = 0; i < h->bytes; i++)
		data[i] = (uint8_t)(data[i] + stamp(h->origin, r->pass, lane,
						    r->rank, i));
	r->sim->added[lane][r->pass][h->origin] |= 1u << r->rank;
}
