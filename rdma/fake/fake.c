/* SPDX-License-Identifier: Apache-2.0 */
#include "rdma/fake/fake.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "rdma/fake/endpoint.h"

#define FAKE_MAGIC UINT64_C(0x656b616652564b00)
#define FAKE_PAGE ((size_t)4096)

struct fake_address {
	uint64_t magic;
	uint64_t pid;
	uint64_t serial;
	uint64_t ring_id;
	uint32_t generation;
	uint32_t rank;
	uint32_t role;
	uint32_t reserved;
};

_Static_assert(sizeof(struct fake_address) <= KVR_ADDRESS_BYTES, "fits");

struct fake_transport {
	struct kvr_transport base;
};

/* One lock for the whole process: a test's scale, and no lock order. */
pthread_mutex_t fake_lock = PTHREAD_MUTEX_INITIALIZER;
static struct fake_endpoint *endpoints;
static uint64_t last_serial;
static const struct kvr_fake_script no_script = {.slow_rank = KVR_RANK_NONE};
static struct kvr_fake_script current_script = {.slow_rank = KVR_RANK_NONE};

static struct fake_endpoint *fake_endpoint(struct kvr_endpoint *base)
{
	return (struct fake_endpoint *)base;
}

/* -------------------------------------------------------------- faults */

void kvr_fake_set_script(const struct kvr_fake_script *script)
{
	pthread_mutex_lock(&fake_lock);
	current_script = script ? *script : no_script;
	pthread_mutex_unlock(&fake_lock);
}

static void stop(uint64_t ring_id, uint32_t rank, bool kill)
{
	pthread_mutex_lock(&fake_lock);
	for (struct fake_endpoint *e = endpoints; e; e = e->next) {
		if (e->config.ring_id != ring_id || e->config.rank != rank)
			continue;
		e->stopped = true;
		fake_drop_queue(e);
		if (kill && e->peer) {
			e->peer->lost = true;
			fake_wake(e->peer);
		}
	}
	pthread_mutex_unlock(&fake_lock);
}

void kvr_fake_kill(uint64_t ring_id, uint32_t rank)
{
	stop(ring_id, rank, true);
}

void kvr_fake_freeze(uint64_t ring_id, uint32_t rank)
{
	stop(ring_id, rank, false);
}

uint64_t kvr_fake_next_due(void)
{
	uint64_t due = UINT64_MAX;

	pthread_mutex_lock(&fake_lock);
	for (struct fake_endpoint *e = endpoints; e; e = e->next) {
		if (!fake_can_deliver(e))
			continue;
		for (struct fake_item *i = e->queue; i; i = i->next)
			if (i->due_ns < due)
				due = i->due_ns;
	}
	pthread_mutex_unlock(&fake_lock);
	return due;
}

/* ----------------------------------------------------------- transport */

static enum kvr_status fake_probe(char *reason, size_t reason_bytes)
{
	snprintf(reason, reason_bytes, "ranks of one process, for tests");
	return KVR_OK;
}

static enum kvr_status fake_open(const struct kvr_transport_config *config,
				 struct kvr_transport **out)
{
	struct fake_transport *transport = calloc(1, sizeof(*transport));

	(void)config;
	if (!transport)
		return KVR_ERR_NO_MEMORY;
	transport->base.ops = &kvr_fake_transport;
	*out = &transport->base;
	return KVR_OK;
}

static void fake_close(struct kvr_transport *transport)
{
	free(transport);
}

static enum kvr_status fake_memory_register(struct kvr_transport *transport,
					    void *address, size_t bytes,
					    void **key)
{
	(void)transport, (void)address, (void)bytes;
	*key = NULL;
	return KVR_OK;
}

static void fake_memory_deregister(struct kvr_transport *transport, void *key)
{
	(void)transport, (void)key;
}

/* Whoever writes sees what the receiver can take. */
static uint64_t fake_unready(struct kvr_transport *transport)
{
	(void)transport;
	return 0;
}

/* ---------------------------------------------------------- open, close */

static enum kvr_status alloc_slots(struct fake_endpoint *e)
{
	size_t total = 0;

	if (e->config.role != KVR_ROLE_IN)
		return KVR_OK;
	for (uint32_t lane = 0; lane < e->config.lanes; lane++) {
		/* Each slot starts a page, as the seam promises. */
		size_t *bytes = &e->config.slot_bytes[lane];
		size_t stride = (*bytes + FAKE_PAGE - 1) & ~(FAKE_PAGE - 1);

		e->lane_offset[lane] = total;
		e->lane_stride[lane] = stride;
		total += stride * e->config.slots;
	}
	if (posix_memalign((void **)&e->slots, FAKE_PAGE,
			   total ? total : FAKE_PAGE))
		return KVR_ERR_NO_MEMORY;
	e->described = calloc((size_t)e->config.lanes * e->config.slots,
			      sizeof(*e->described));
	return e->described ? fake_bridge_open(e, total) : KVR_ERR_NO_MEMORY;
}

static enum kvr_status alloc_queue(struct fake_endpoint *e)
{
	uint32_t depth = fake_queue_depth(e);

	e->queue_end = &e->queue;
	e->sent = calloc(depth, sizeof(*e->sent));
	e->items = calloc((size_t)depth + FAKE_SIGNALS, sizeof(*e->items));
	if (!e->sent || !e->items)
		return KVR_ERR_NO_MEMORY;
	for (uint32_t i = 0; i < depth + FAKE_SIGNALS; i++) {
		struct fake_item **list =
			i < depth ? &e->free_writes : &e->free_signals;

		e->items[i].next = *list;
		*list = &e->items[i];
	}
	return KVR_OK;
}

static void free_endpoint(struct fake_endpoint *e)
{
	if (e->event_fd >= 0)
		close(e->event_fd);
	free(e->items);
	free(e->sent);
	free(e->described);
	free(e->bridge);
	free(e->slots);
	free(e);
}

static enum kvr_status alloc_endpoint(struct fake_endpoint *e)
{
	enum kvr_status status = alloc_slots(e);

	if (status == KVR_OK)
		status = alloc_queue(e);
	if (status != KVR_OK)
		return status;
	e->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (e->event_fd < 0) {
		kvr_log(e->config.log, KVR_LOG_ERROR,
			"fake: cannot make an eventfd: %s", strerror(errno));
		return KVR_ERR_SYSTEM;
	}
	return KVR_OK;
}

static void enter_table(struct fake_endpoint *e)
{
	pthread_mutex_lock(&fake_lock);
	e->serial = ++last_serial;
	e->next = endpoints;
	endpoints = e;
	pthread_mutex_unlock(&fake_lock);
}

static enum kvr_status
fake_endpoint_open(struct kvr_transport *transport,
		   const struct kvr_endpoint_config *config,
		   struct kvr_endpoint **out)
{
	enum kvr_status status = kvr_edge_check_config(config);
	struct fake_endpoint *e;

	(void)transport;
	if (status != KVR_OK)
		return status;
	e = calloc(1, sizeof(*e));
	if (!e)
		return KVR_ERR_NO_MEMORY;
	e->base.ops = &kvr_fake_transport;
	e->config = *config;
	e->event_fd = -1;
	pthread_mutex_lock(&fake_lock);
	e->script = current_script;
	pthread_mutex_unlock(&fake_lock);
	/* Of the rank and role, not of the order in which threads open. */
	e->random = e->script.seed ^ (uint64_t)config->rank << 32 ^
		    (uint64_t)config->generation << 1 ^ config->role;
	status = alloc_endpoint(e);
	if (status != KVR_OK) {
		free_endpoint(e);
		return status;
	}
	enter_table(e);
	*out = &e->base;
	return KVR_OK;
}

static void fake_endpoint_close(struct kvr_endpoint *base)
{
	struct fake_endpoint *e = fake_endpoint(base);

	pthread_mutex_lock(&fake_lock);
	/* What was signalled must arrive, and nobody is left to wait. */
	fake_deliver(e, true);
	for (struct fake_endpoint **link = &endpoints; *link;
	     link = &(*link)->next) {
		if (*link == e) {
			*link = e->next;
			break;
		}
	}
	if (e->peer) {
		e->peer->lost = true;
		fake_wake(e->peer);
		e->peer->peer = NULL;
	}
	pthread_mutex_unlock(&fake_lock);
	free_endpoint(e);
}

/* ------------------------------------------------------------- connect */

static void fake_address(struct kvr_endpoint *base,
			 uint8_t out[KVR_ADDRESS_BYTES])
{
	const struct fake_endpoint *e = fake_endpoint(base);
	const struct fake_address address = {
		.magic = FAKE_MAGIC,
		.pid = (uint64_t)getpid(),
		.serial = e->serial,
		.ring_id = e->config.ring_id,
		.generation = e->config.generation,
		.rank = e->config.rank,
		.role = e->config.role,
	};

	memset(out, 0, KVR_ADDRESS_BYTES);
	memcpy(out, &address, sizeof(address));
}

static struct fake_address parse(const uint8_t bytes[KVR_ADDRESS_BYTES])
{
	struct fake_address address;

	memcpy(&address, bytes, sizeof(address));
	return address;
}

static bool fake_reaches(const uint8_t local[KVR_ADDRESS_BYTES],
			 const uint8_t remote[KVR_ADDRESS_BYTES])
{
	const struct fake_address a = parse(local), b = parse(remote);

	return a.magic == FAKE_MAGIC && b.magic == FAKE_MAGIC && a.pid == b.pid;
}

static enum kvr_status fake_connect(struct kvr_endpoint *base,
				    const uint8_t remote[KVR_ADDRESS_BYTES])
{
	struct fake_endpoint *e = fake_endpoint(base);
	const struct fake_address address = parse(remote);

	if (address.magic != FAKE_MAGIC || address.pid != (uint64_t)getpid()) {
		kvr_log(e->config.log, KVR_LOG_ERROR,
			"fake: the peer's address is not of this process");
		return KVR_ERR_INVALID;
	}
	pthread_mutex_lock(&fake_lock);
	e->remote = address.serial;
	pthread_mutex_unlock(&fake_lock);
	return KVR_OK;
}

static struct fake_endpoint *find_peer(const struct fake_endpoint *e)
{
	struct fake_endpoint *peer = endpoints;

	while (peer && peer->serial != e->remote)
		peer = peer->next;
	if (!peer || peer->remote != e->serial || peer->stopped)
		return NULL;
	return peer;
}

/* Both sides log, and both are refused, whoever notices. */
static enum kvr_status agree(struct fake_endpoint *e,
			     struct fake_endpoint *peer)
{
	static const uint8_t no_nonce[KVR_NONCE_BYTES];
	struct kvr_hello ours, theirs;
	enum kvr_status status;

	kvr_hello_init(&e->config, no_nonce, &ours);
	kvr_hello_init(&peer->config, no_nonce, &theirs);
	status = kvr_hello_check(&e->config, &theirs);
	if (status != KVR_OK) {
		e->refused = status;
		peer->refused = kvr_hello_check(&peer->config, &ours);
	}
	return status;
}

static enum kvr_status fake_connect_poll(struct kvr_endpoint *base)
{
	struct fake_endpoint *e = fake_endpoint(base), *peer;
	enum kvr_status status = KVR_OK;

	pthread_mutex_lock(&fake_lock);
	if (e->refused != KVR_OK) {
		status = e->refused;
	} else if (!e->linked) {
		peer = e->stopped ? NULL : find_peer(e);
		status = peer ? agree(e, peer) : KVR_ERR_AGAIN;
		if (status == KVR_OK) {
			e->peer = peer;
			peer->peer = e;
			e->linked = peer->linked = true;
		}
	}
	pthread_mutex_unlock(&fake_lock);
	return status;
}

/* ---------------------------------------------------------------- data */

static void *fake_slot(struct kvr_endpoint *base, uint32_t lane, uint32_t slot)
{
	return fake_slot_address(fake_endpoint(base), lane, slot);
}

static void fake_descriptor(struct kvr_endpoint *base, uint32_t lane,
			    uint32_t slot, struct kvr_descriptor *out,
			    const void **metadata)
{
	struct fake_endpoint *e = fake_endpoint(base);
	struct fake_described *place =
		&e->described[lane * e->config.slots + slot];

	*out = place->descriptor;
	*metadata = place->metadata;
}

static uint32_t fake_pieces_max(struct kvr_endpoint *base)
{
	return fake_endpoint(base)->script.pieces_max;
}

static enum kvr_status fake_write(struct kvr_endpoint *base,
				  const struct kvr_write *write)
{
	struct fake_endpoint *e = fake_endpoint(base);
	struct kvr_gather gather;
	struct fake_item *item;
	enum kvr_status status = kvr_gather_begin(&e->config, write, &gather);

	if (status != KVR_OK)
		return status;
	pthread_mutex_lock(&fake_lock);
	item = fake_take(e, FAKE_WRITE);
	if (item) {
		item->imm = write->imm;
		item->lane = write->lane;
		item->slot = write->slot;
		item->offset = write->offset;
		item->bytes = write->bytes;
		item->gather = gather;
		item->cookie = write->cookie;
		fake_post(e, item);
	}
	pthread_mutex_unlock(&fake_lock);
	return item ? KVR_OK : KVR_ERR_AGAIN;
}

static enum kvr_status fake_describe(struct kvr_endpoint *base,
				     const struct kvr_describe *describe)
{
	struct fake_endpoint *e = fake_endpoint(base);
	struct fake_item *item;
	enum kvr_status status = kvr_describe_check(&e->config, describe);

	if (status != KVR_OK)
		return status;
	pthread_mutex_lock(&fake_lock);
	item = fake_take(e, FAKE_DESCRIBE);
	if (item) {
		item->imm = describe->imm;
		item->lane = describe->lane;
		item->slot = describe->slot;
		item->descriptor = *describe->descriptor;
		if (item->descriptor.metadata_bytes > 0)
			memcpy(item->metadata, describe->metadata,
			       item->descriptor.metadata_bytes);
		fake_post(e, item);
	}
	pthread_mutex_unlock(&fake_lock);
	return item ? KVR_OK : KVR_ERR_AGAIN;
}

static enum kvr_status fake_signal(struct kvr_endpoint *base, uint32_t imm)
{
	struct fake_endpoint *e = fake_endpoint(base);
	struct fake_item *item;

	pthread_mutex_lock(&fake_lock);
	item = fake_take(e, FAKE_SIGNAL);
	if (item) {
		item->imm = imm;
		fake_post(e, item);
	}
	pthread_mutex_unlock(&fake_lock);
	return item ? KVR_OK : KVR_ERR_AGAIN;
}

/* ------------------------------------------------------ poll, arm, wait */

static size_t pop(struct fake_endpoint *e, struct kvr_event *events, size_t max)
{
	size_t count = 0;

	for (; count < max && e->sent_count > 0; e->sent_count--) {
		events[count++] =
			(struct kvr_event){.kind = KVR_EVENT_SENT,
					   .cookie = e->sent[e->sent_head]};
		e->sent_head = (e->sent_head + 1) % fake_queue_depth(e);
		e->outstanding--;
	}
	for (; count < max && e->inbox_count > 0; e->inbox_count--) {
		events[count++] =
			(struct kvr_event){.kind = KVR_EVENT_ARRIVED,
					   .imm = e->inbox[e->inbox_head]};
		e->inbox_head = (e->inbox_head + 1) % FAKE_INBOX;
	}
	return count;
}

static bool drained(const struct fake_endpoint *e)
{
	return e->sent_count == 0 && e->inbox_count == 0;
}

static enum kvr_status fake_poll(struct kvr_endpoint *base,
				 struct kvr_event *events, size_t max,
				 size_t *count)
{
	struct fake_endpoint *e = fake_endpoint(base);
	enum kvr_status status = KVR_OK;

	*count = 0;
	pthread_mutex_lock(&fake_lock);
	if (!e->stopped) {
		fake_deliver(e->peer, false);
		fake_deliver(e, false);
		*count = pop(e, events, max);
		if (e->lost && drained(e))
			status = KVR_ERR_PEER_LOST;
	}
	pthread_mutex_unlock(&fake_lock);
	return status;
}

static enum kvr_status fake_flush(struct kvr_endpoint *base)
{
	enum kvr_status status;

	pthread_mutex_lock(&fake_lock);
	status = fake_bridge_flush(fake_endpoint(base));
	pthread_mutex_unlock(&fake_lock);
	return status;
}

static void fake_slots_info(struct kvr_endpoint *base,
			    struct kvr_slots_info *out)
{
	(void)base;
	*out = (struct kvr_slots_info){.by = "host", .flush = "none"};
}

static int fake_event_fd(struct kvr_endpoint *base)
{
	return fake_endpoint(base)->event_fd;
}

/* With a delay on the way it never sleeps: nobody rings when it is over. */
static enum kvr_status fake_arm(struct kvr_endpoint *base)
{
	struct fake_endpoint *e = fake_endpoint(base);
	bool busy;

	pthread_mutex_lock(&fake_lock);
	busy = !e->stopped && (!drained(e) || e->lost || fake_can_deliver(e) ||
			       fake_can_deliver(e->peer));
	e->armed = !busy;
	pthread_mutex_unlock(&fake_lock);
	return busy ? KVR_ERR_AGAIN : KVR_OK;
}

static void fake_disarm(struct kvr_endpoint *base)
{
	struct fake_endpoint *e = fake_endpoint(base);
	uint64_t drain;

	pthread_mutex_lock(&fake_lock);
	e->armed = false;
	/* Not blocking: EAGAIN when nobody rang. */
	if (read(e->event_fd, &drain, sizeof(drain)) < 0)
		drain = 0;
	pthread_mutex_unlock(&fake_lock);
}

const struct kvr_transport_ops kvr_fake_transport = {
	.name = "fake",
	.unordered = true,
	.between_processes = false,
	.sees_death = true,
	.asks_secret = false, /* one process */
	.probe = fake_probe,
	.open = fake_open,
	.close = fake_close,
	.memory_register = fake_memory_register,
	.memory_deregister = fake_memory_deregister,
	.unready = fake_unready,
	.endpoint_open = fake_endpoint_open,
	.endpoint_close = fake_endpoint_close,
	.address = fake_address,
	.reaches = fake_reaches,
	.connect = fake_connect,
	.connect_poll = fake_connect_poll,
	.slot = fake_slot,
	.descriptor = fake_descriptor,
	.pieces_max = fake_pieces_max,
	.write = fake_write,
	.describe = fake_describe,
	.signal = fake_signal,
	.poll = fake_poll,
	.flush = fake_flush,
	.slots_info = fake_slots_info,
	.event_fd = fake_event_fd,
	.arm = fake_arm,
	.disarm = fake_disarm,
};
