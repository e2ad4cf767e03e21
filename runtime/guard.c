/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/guard.h"

#include <stdlib.h>

#include "runtime/seal.h"

/* Of a lane: one for each slot, then the local block's. */
static struct kvr_held *held_at(const struct kvr_ring *ring, uint32_t lane,
				uint32_t index)
{
	return &ring->held[(size_t)lane * (ring->options.slots + 1) + index];
}

static bool accumulates(const struct kvr_ring *ring, uint32_t lane)
{
	return ring->options.lane[lane].kind == KVR_LANE_ACCUMULATING;
}

static bool failed(const struct kvr_ring *ring)
{
	return kvr_engine_failure(ring->engine)->status != KVR_OK;
}

size_t kvr_guard_slot_bytes(const struct kvr_ring *ring, uint32_t lane)
{
	size_t bytes = ring->options.lane[lane].slot_bytes;
	size_t more = kvr_seal_bytes(bytes, ring->options.chunk_bytes);

	if (!ring->integrity)
		return bytes;
	return __builtin_add_overflow(bytes, more, &bytes) ? SIZE_MAX : bytes;
}

/* ---------------------------------------------------------- open, close */

static size_t seal_room(const struct kvr_ring *ring, uint32_t lane)
{
	return kvr_seal_bytes(ring->options.lane[lane].slot_bytes,
			      ring->options.chunk_bytes);
}

static struct kvr_transport *transport_out(const struct kvr_ring *ring)
{
	return ring->context->transports[ring->edge[KVR_NEXT].transport_index];
}

static enum kvr_status open_lane(struct kvr_ring *ring, uint32_t lane)
{
	struct kvr_piece *seal = &ring->local_seal[lane];
	struct kvr_transport *transport = transport_out(ring);
	size_t bytes = seal_room(ring, lane);
	void *memory = malloc(bytes);
	enum kvr_status status;
	void *key;

	if (!memory)
		return KVR_ERR_NO_MEMORY;
	seal->address = memory;
	if (!ring->edge[KVR_NEXT].endpoint)
		return KVR_OK;
	status =
		transport->ops->memory_register(transport, memory, bytes, &key);
	if (status != KVR_OK)
		return status;
	seal->key = key;
	seal->bytes = bytes; /* registered */
	return KVR_OK;
}

enum kvr_status kvr_guard_open(struct kvr_ring *ring)
{
	const struct kvr_ring_options *o = &ring->options;
	enum kvr_status status = KVR_OK;

	if (!ring->integrity)
		return KVR_OK;
	ring->held =
		calloc((size_t)o->lanes * (o->slots + 1), sizeof(*ring->held));
	if (!ring->held)
		return KVR_ERR_NO_MEMORY;
	for (uint32_t i = 0; i < o->lanes && status == KVR_OK; i++)
		status = open_lane(ring, i);
	return status;
}

void kvr_guard_close(struct kvr_ring *ring)
{
	for (uint32_t i = 0; i < KVR_LANES_MAX; i++) {
		struct kvr_piece *seal = &ring->local_seal[i];

		if (seal->bytes)
			transport_out(ring)->ops->memory_deregister(
				transport_out(ring), seal->key);
		free(kvr_ring_writable(seal));
		*seal = (struct kvr_piece){.bytes = 0};
	}
	free(ring->held);
	ring->held = NULL;
}

/* --------------------------------------------------------------- blocks */

static void *seal_of(const struct kvr_ring *ring, uint32_t lane,
		     const struct kvr_held *held)
{
	if (held->step == 0)
		return kvr_ring_writable(&ring->local_seal[lane]);
	return (char *)kvr_ring_writable(&held->piece) + held->bytes;
}

static struct kvr_sealed sealed_of(const struct kvr_pass *pass, uint32_t lane,
				   const struct kvr_held *held)
{
	return (struct kvr_sealed){
		.pass = pass->tag,
		.origin = held->origin,
		.lane = lane,
		.pieces = held->step ? &held->piece : pass->pieces[lane],
		.bytes = held->bytes,
		.metadata = held->metadata,
		.metadata_bytes = held->metadata_bytes,
		.chunk_bytes = pass->ring->options.chunk_bytes,
	};
}

static void seal_unlocked(struct kvr_ring *ring, const struct kvr_sealed *block,
			  void *seal)
{
	pthread_mutex_unlock(&ring->lock);
	kvr_seal_make(block, seal);
	pthread_mutex_lock(&ring->lock);
}

static bool check_unlocked(struct kvr_ring *ring,
			   const struct kvr_sealed *block, const void *seal,
			   struct kvr_seal_fault *fault)
{
	bool right;

	pthread_mutex_unlock(&ring->lock);
	right = kvr_seal_check(block, seal, fault);
	pthread_mutex_lock(&ring->lock);
	return right;
}

void kvr_guard_begin(struct kvr_ring *ring, const struct kvr_pass_desc *desc,
		     uint32_t lane, size_t *bytes)
{
	const struct kvr_local_block *local = &desc->lane[lane];
	const struct kvr_piece *seal = &ring->local_seal[lane];
	size_t more = kvr_seal_bytes(*bytes, ring->options.chunk_bytes);
	const struct kvr_sealed block = {
		.pass = desc->tag,
		.origin = ring->rank,
		.lane = lane,
		.pieces = ring->pass.pieces[lane],
		.bytes = *bytes,
		.metadata = local->metadata,
		.metadata_bytes = local->metadata_bytes,
		.chunk_bytes = ring->options.chunk_bytes,
	};

	/* The engine will refuse it: there is no room, or no ring. */
	if (*bytes > ring->options.lane[lane].slot_bytes || failed(ring)) {
		*bytes = SIZE_MAX;
		return;
	}
	seal_unlocked(ring, &block, kvr_ring_writable(seal));
	ring->pass.pieces[lane][ring->pass.piece_count[lane]++] =
		(struct kvr_piece){
			.address = seal->address,
			.bytes = more,
			.key = seal->key,
		};
	*bytes += more;
}

/* ---------------------------------------------------------------- faults */

static uint32_t prev_of(const struct kvr_ring *ring)
{
	return (ring->rank + ring->n - 1) % ring->n;
}

/* The first cause wins, here too. */
static enum kvr_status blame(struct kvr_pass *pass, const struct kvr_held *held,
			     bool arriving, const struct kvr_seal_fault *fault)
{
	struct kvr_ring *ring = pass->ring;

	if (!failed(ring))
		ring->damage = (struct kvr_damage){
			.known = true,
			.arriving = arriving,
			.part = (uint32_t)fault->part,
			.chunk = fault->chunk,
			.origin = held->origin,
			.hops = held->step,
		};
	kvr_engine_abort(ring->engine, arriving ? prev_of(ring) : ring->rank,
			 KVR_CAUSE_CORRUPT);
	return kvr_engine_failure(ring->engine)->status;
}

enum kvr_status kvr_guard_take(struct kvr_pass *pass, uint32_t lane,
			       struct kvr_block *out)
{
	struct kvr_ring *ring = pass->ring;
	/* Any step but 0 is in the slot of its hop counter: slots apart. */
	uint32_t index = out->step ? out->step % ring->options.slots
				   : ring->options.slots;
	struct kvr_held *held = held_at(ring, lane, index);
	struct kvr_seal_fault fault;
	struct kvr_sealed block;
	size_t payload;

	if (!kvr_seal_payload(out->bytes, ring->options.chunk_bytes,
			      &payload)) {
		kvr_engine_abort(ring->engine, prev_of(ring),
				 KVR_CAUSE_PROTOCOL);
		return kvr_engine_failure(ring->engine)->status;
	}
	*held = (struct kvr_held){
		.held = true,
		.step = out->step,
		.origin = out->origin,
		.bytes = payload,
		.piece = {.address = out->data, .bytes = payload},
		.metadata = out->metadata,
		.metadata_bytes = out->metadata_bytes,
	};
	out->bytes = payload;
	if (out->step == 0)
		return KVR_OK;
	block = sealed_of(pass, lane, held);
	if (check_unlocked(ring, &block, seal_of(ring, lane, held), &fault))
		return KVR_OK;
	held->held = false;
	return blame(pass, held, true, &fault);
}

static enum kvr_status give_back(struct kvr_pass *pass, uint32_t lane,
				 struct kvr_held *held)
{
	struct kvr_ring *ring = pass->ring;
	struct kvr_sealed block = sealed_of(pass, lane, held);
	void *seal = seal_of(ring, lane, held);
	struct kvr_seal_fault fault;

	held->held = false;
	if (accumulates(ring, lane))
		seal_unlocked(ring, &block, seal);
	else if (!check_unlocked(ring, &block, seal, &fault))
		return blame(pass, held, false, &fault);
	return KVR_OK;
}

enum kvr_status kvr_guard_release(struct kvr_pass *pass, uint32_t lane,
				  uint32_t step)
{
	struct kvr_ring *ring = pass->ring;
	uint32_t slots = ring->options.slots;
	struct kvr_held *held =
		held_at(ring, lane, step ? step % slots : slots);

	if (!held->held || held->step != step || failed(ring))
		return KVR_OK;
	return give_back(pass, lane, held);
}

void kvr_guard_end(struct kvr_pass *pass)
{
	const struct kvr_ring *ring = pass->ring;

	for (uint32_t lane = 0; lane < ring->options.lanes; lane++) {
		for (uint32_t i = 0; i <= ring->options.slots; i++) {
			struct kvr_held *held = held_at(ring, lane, i);

			if (held->held && !failed(ring))
				(void)give_back(pass, lane, held);
			held->held = false;
		}
	}
}
