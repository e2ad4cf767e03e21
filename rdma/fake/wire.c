/* SPDX-License-Identifier: Apache-2.0 */
/* Between two fake endpoints: when things arrive, and in which order. */
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "rdma/fake/endpoint.h"

uint64_t fake_now(const struct fake_endpoint *endpoint)
{
	struct timespec now;

	if (endpoint->script.now)
		return endpoint->script.now(endpoint->script.now_arg);
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint32_t fake_queue_depth(const struct fake_endpoint *endpoint)
{
	return endpoint->script.queue_depth ? endpoint->script.queue_depth : 64;
}

/* splitmix64: Steele, Lea, Flood, 2014, doi 10.1145/2714064.2660195. */
static uint64_t draw(struct fake_endpoint *endpoint)
{
	uint64_t z = endpoint->random += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static uint64_t delay(struct fake_endpoint *from)
{
	const struct kvr_fake_script *script = &from->script;
	uint64_t span, ns = script->delay_min_ns;

	if (script->delay_max_ns > script->delay_min_ns) {
		span = script->delay_max_ns - script->delay_min_ns + 1;
		ns += draw(from) % span;
	}
	if (script->slow_factor && (from->config.rank == script->slow_rank ||
				    from->config.peer == script->slow_rank))
		ns *= script->slow_factor;
	return ns;
}

void fake_wake(struct fake_endpoint *endpoint)
{
	const uint64_t one = 1;

	if (!endpoint || !endpoint->armed)
		return;
	endpoint->armed = false;
	/* Fails only when the counter is full: then it is readable. */
	if (write(endpoint->event_fd, &one, sizeof(one)) < 0)
		return;
}

struct fake_item *fake_take(struct fake_endpoint *from, enum fake_kind kind)
{
	struct fake_item **list =
		kind == FAKE_SIGNAL ? &from->free_signals : &from->free_writes;
	struct fake_item *item = *list;

	if (from->stopped || !from->linked)
		return NULL;
	/* A write holds its place until SENT is reported. */
	if (kind != FAKE_SIGNAL) {
		if (from->outstanding >= fake_queue_depth(from))
			return NULL;
		from->outstanding++;
	}
	if (item) {
		*list = item->next;
		item->kind = kind;
	}
	return item;
}

/*
 * Signals overtake nothing and are overtaken by nothing. With reorder the
 * rest is free within the safe window: two blocks of one slot keep their
 * order, as the credit between them guarantees on any back end.
 */
static bool blocked_by(const struct fake_item *item,
		       const struct fake_item *earlier)
{
	if (item->kind == FAKE_SIGNAL || earlier->kind == FAKE_SIGNAL)
		return true;
	return item->lane == earlier->lane && item->slot == earlier->slot &&
	       kvr_imm_decode(item->imm).sequence !=
		       kvr_imm_decode(earlier->imm).sequence;
}

void fake_post(struct fake_endpoint *from, struct fake_item *item)
{
	item->due_ns = fake_now(from) + delay(from);
	/* So that whatever is due first is free to go. */
	for (const struct fake_item *i = from->queue; i; i = i->next)
		if ((!from->script.reorder || blocked_by(item, i)) &&
		    item->due_ns < i->due_ns)
			item->due_ns = i->due_ns;
	item->next = NULL;
	*from->queue_end = item;
	from->queue_end = &item->next;
}

static bool may_go(const struct fake_endpoint *from,
		   const struct fake_item *item)
{
	if (!from->script.reorder)
		return item == from->queue;
	for (const struct fake_item *i = from->queue; i != item; i = i->next)
		if (blocked_by(item, i))
			return false;
	return true;
}

/* The link that points at what goes next, drawn from all that may. */
static struct fake_item **choose(struct fake_endpoint *from, uint64_t now)
{
	struct fake_item **chosen = NULL, **link = &from->queue;
	uint64_t candidates = 0;

	for (; *link; link = &(*link)->next) {
		if ((*link)->due_ns > now || !may_go(from, *link))
			continue;
		if (!from->script.reorder)
			return link;
		if (draw(from) % ++candidates == 0)
			chosen = link;
	}
	return chosen;
}

static struct fake_item *unlink_item(struct fake_endpoint *from,
				     struct fake_item **link)
{
	struct fake_item *item = *link;

	*link = item->next;
	if (from->queue_end == &item->next)
		from->queue_end = link;
	return item;
}

static void give_back(struct fake_endpoint *from, struct fake_item *item)
{
	struct fake_item **list = item->kind == FAKE_SIGNAL
					  ? &from->free_signals
					  : &from->free_writes;

	item->next = *list;
	*list = item;
}

uint8_t *fake_slot_address(struct fake_endpoint *endpoint, uint32_t lane,
			   uint32_t slot)
{
	return endpoint->slots + endpoint->lane_offset[lane] +
	       endpoint->lane_stride[lane] * slot;
}

static bool lose(struct fake_endpoint *from, const struct fake_item *item)
{
	const struct kvr_fake_script *script = &from->script;

	if (script->lose_from == 0 || from->config.rank != script->lose_rank ||
	    kvr_imm_decode(item->imm).type != script->lose_type)
		return false;
	return ++from->losable >= script->lose_from;
}

static void arrive(struct fake_endpoint *from, const struct fake_item *item)
{
	struct fake_endpoint *to = from->peer;
	struct kvr_gather gather = item->gather;

	if (item->kind == FAKE_WRITE)
		from->sent[(from->sent_head + from->sent_count++) %
			   fake_queue_depth(from)] = item->cookie;
	if (lose(from, item))
		return;
	if (item->kind == FAKE_WRITE) {
		uint8_t *at = fake_slot_address(to, item->lane, item->slot) +
			      item->offset;

		at = fake_bridge_enter(to, at, item->bytes);
		kvr_gather_copy(&gather, at, item->bytes);
		if (from->script.land)
			from->script.land(from->script.land_arg,
					  to->config.rank, item->imm, at,
					  item->bytes);
	}
	if (item->kind == FAKE_DESCRIBE) {
		struct fake_described *place =
			&to->described[item->lane * to->config.slots +
				       item->slot];

		place->descriptor = item->descriptor;
		memcpy(place->metadata, item->metadata,
		       item->descriptor.metadata_bytes);
	}
	to->inbox[(to->inbox_head + to->inbox_count++) % FAKE_INBOX] =
		item->imm;
}

bool fake_can_deliver(const struct fake_endpoint *from)
{
	return from && from->peer && !from->stopped && from->queue &&
	       from->peer->inbox_count < FAKE_INBOX - FAKE_FAREWELL;
}

void fake_deliver(struct fake_endpoint *from, bool hurry)
{
	uint32_t room = FAKE_INBOX - (hurry ? 0 : FAKE_FAREWELL);
	uint64_t now = UINT64_MAX;
	struct fake_item **link;
	bool any = false;

	if (!from || !from->peer || from->stopped)
		return;
	if (!hurry)
		now = fake_now(from);
	while (from->peer->inbox_count < room &&
	       (link = choose(from, now)) != NULL) {
		struct fake_item *item = unlink_item(from, link);

		arrive(from, item);
		from->outstanding -= item->kind == FAKE_DESCRIBE;
		give_back(from, item);
		any = true;
	}
	if (any) {
		fake_wake(from->peer);
		fake_wake(from);
	}
}

void fake_drop_queue(struct fake_endpoint *from)
{
	while (from->queue) {
		struct fake_item *item = unlink_item(from, &from->queue);

		from->outstanding -= item->kind != FAKE_SIGNAL;
		give_back(from, item);
	}
}
