/* SPDX-License-Identifier: Apache-2.0 */
#include "rdma/shm/shm.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "rdma/shm/endpoint.h"

/* Copied in one poll at most: immediates must not wait behind a block. */
#define POLL_BYTES ((size_t)256 << 10)

/* Copied at once: queueing it would cost as much. */
#define SMALL_BYTES 1024

/* Between two looks at the socket while nobody sleeps on it. */
#define LOOK_NS 1000000

/* Wake-ups taken at once; an honest peer has at most two under way. */
#define LOOK_WAKES 8

struct shm_transport {
	struct kvr_transport base;
};

static struct shm_endpoint *shm_endpoint(struct kvr_endpoint *base)
{
	return (struct shm_endpoint *)base;
}

/* ----------------------------------------------------------- transport */

static enum kvr_status shm_probe(char *reason, size_t reason_bytes)
{
	struct shm_address host;
	struct shm_region region;
	enum kvr_status status = shm_host_identify(NULL, &host);
	const char *text = "processes of one machine, memfd";

	if (status != KVR_OK) {
		text = "/proc is not readable: who is a neighbour is unknown";
	} else {
		status = shm_region_create(NULL, 1, &region);
		if (status == KVR_OK)
			shm_region_release(&region);
		else
			text = "the system makes no sealed memfd";
	}
	snprintf(reason, reason_bytes, "%s", text);
	return status == KVR_OK ? KVR_OK : KVR_ERR_UNSUPPORTED;
}

static enum kvr_status shm_open(const struct kvr_transport_config *config,
				struct kvr_transport **out)
{
	struct shm_transport *transport = calloc(1, sizeof(*transport));

	(void)config;
	if (!transport)
		return KVR_ERR_NO_MEMORY;
	transport->base.ops = &kvr_shm_transport;
	*out = &transport->base;
	return KVR_OK;
}

static void shm_close(struct kvr_transport *transport)
{
	free(transport);
}

static enum kvr_status shm_memory_register(struct kvr_transport *transport,
					   void *address, size_t bytes,
					   void **key)
{
	(void)transport, (void)address, (void)bytes;
	*key = NULL; /* the sender copies with its own eyes */
	return KVR_OK;
}

static void shm_memory_deregister(struct kvr_transport *transport, void *key)
{
	(void)transport, (void)key;
}

/* Whoever writes sees what the receiver can take. */
static uint64_t shm_unready(struct kvr_transport *transport)
{
	(void)transport;
	return 0;
}

/* ---------------------------------------------------------- open, close */

static void release(struct shm_endpoint *e)
{
	shm_hang_up(e);
	if (e->epoll_fd >= 0)
		close(e->epoll_fd);
	shm_region_release(&e->outbox);
	shm_region_release(&e->inbox);
	free(e);
}

static struct shm_endpoint *blank(const struct kvr_endpoint_config *config)
{
	struct shm_endpoint *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->base.ops = &kvr_shm_transport;
	e->config = *config;
	e->owner = getpid();
	e->epoll_fd = e->listen_fd = e->socket_fd = -1;
	e->inbox.fd = e->outbox.fd = -1;
	for (int i = 0; i < SHM_CANDIDATES; i++)
		e->candidates[i] = -1;
	shm_layout_init(config, config->role, &e->inbox_layout);
	shm_layout_init(config, !config->role, &e->outbox_layout);
	return e;
}

static enum kvr_status set_up(struct shm_endpoint *e)
{
	struct kvr_log *log = e->config.log;
	enum kvr_status status = shm_host_identify(log, &e->address);

	if (status != KVR_OK)
		return status;
	status = shm_region_create(log, e->inbox_layout.bytes, &e->inbox);
	if (status != KVR_OK)
		return status;
	e->consumer.ring = (struct shm_ring *)(void *)e->inbox.base;
	e->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (e->epoll_fd < 0)
		return shm_errno(log, "epoll_create1");
	return e->config.role == KVR_ROLE_IN ? shm_listen(e) : KVR_OK;
}

static enum kvr_status
shm_endpoint_open(struct kvr_transport *transport,
		  const struct kvr_endpoint_config *config,
		  struct kvr_endpoint **out)
{
	enum kvr_status status = kvr_edge_check_config(config);
	struct shm_endpoint *e;

	(void)transport;
	if (status != KVR_OK)
		return status;
	e = blank(config);
	if (!e)
		return KVR_ERR_NO_MEMORY;
	status = set_up(e);
	if (status != KVR_OK) {
		release(e);
		return status;
	}
	*out = &e->base;
	return KVR_OK;
}

static void wake_peer(struct shm_endpoint *e)
{
	/*
	 * Not an eventfd: its other owner could make our write block. A full
	 * buffer is no loss, the peer's end is readable then.
	 */
	if (send(e->socket_fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return;
}

static void shm_endpoint_close(struct kvr_endpoint *base)
{
	struct shm_endpoint *e = shm_endpoint(base);

	/* Signals posted last must arrive; writes need their SENT first. */
	if (e->connected && !e->gone && e->owner == getpid()) {
		shm_queue_farewell(&e->queue, &e->producer);
		/* For the peer, even if a forked child keeps a copy. */
		shutdown(e->socket_fd, SHUT_RDWR);
	}
	release(e);
}

/* ------------------------------------------------------------- connect */

static void shm_address(struct kvr_endpoint *base,
			uint8_t out[KVR_ADDRESS_BYTES])
{
	memset(out, 0, KVR_ADDRESS_BYTES);
	memcpy(out, &shm_endpoint(base)->address, sizeof(struct shm_address));
}

static bool shm_reaches(const uint8_t local[KVR_ADDRESS_BYTES],
			const uint8_t remote[KVR_ADDRESS_BYTES])
{
	struct shm_address a, b;

	memcpy(&a, local, sizeof(a));
	memcpy(&b, remote, sizeof(b));
	return shm_host_reaches(&a, &b);
}

static enum kvr_status shm_connect(struct kvr_endpoint *base,
				   const uint8_t remote[KVR_ADDRESS_BYTES])
{
	struct shm_endpoint *e = shm_endpoint(base);
	struct shm_address address;

	memcpy(&address, remote, sizeof(address));
	if (!shm_host_reaches(&e->address, &address) ||
	    address.name_bytes > SHM_NAME_MAX) {
		kvr_log(e->config.log, KVR_LOG_ERROR,
			"rank %" PRIu32 ": shm: rank %" PRIu32
			" is not in this machine's network namespace, or not "
			"of this user",
			e->config.rank, e->config.peer);
		return KVR_ERR_INVALID;
	}
	e->remote = address;
	e->connecting = true;
	return KVR_OK;
}

static enum kvr_status shm_connect_poll(struct kvr_endpoint *base)
{
	struct shm_endpoint *e = shm_endpoint(base);
	enum kvr_status status;

	if (e->connected)
		return KVR_OK;
	if (e->failed != KVR_OK)
		return e->failed;
	if (!e->connecting)
		return KVR_ERR_AGAIN;
	status = e->config.role == KVR_ROLE_IN ? shm_accept_poll(e)
					       : shm_dial_poll(e);
	if (status != KVR_OK && status != KVR_ERR_AGAIN)
		e->failed = status;
	return status;
}

/* ---------------------------------------------------------------- data */

static void *shm_slot(struct kvr_endpoint *base, uint32_t lane, uint32_t slot)
{
	const struct shm_endpoint *e = shm_endpoint(base);

	return e->inbox.base + e->inbox_layout.slots[lane] +
	       e->inbox_layout.stride[lane] * slot;
}

static struct kvr_described *described(uint8_t *base, size_t offset,
				       uint32_t index)
{
	return (struct kvr_described *)(void *)(base + offset) + index;
}

static void shm_descriptor(struct kvr_endpoint *base, uint32_t lane,
			   uint32_t slot, struct kvr_descriptor *out,
			   const void **metadata)
{
	const struct shm_endpoint *e = shm_endpoint(base);
	const struct kvr_described *place =
		described(e->inbox.base, e->inbox_layout.described,
			  lane * e->config.slots + slot);

	*out = place->descriptor;
	*metadata = place->metadata;
}

/* With nothing before it, what is short does not wait for the next poll. */
static void run_now(struct shm_endpoint *e)
{
	bool wake = false;

	if (e->queue.count == 1 &&
	    shm_queue_run(&e->queue, &e->producer, SMALL_BYTES, &wake) ==
		    SHM_CORRUPT)
		return; /* the next poll finds it again and reports it */
	if (wake)
		wake_peer(e);
}

static uint32_t shm_pieces_max(struct kvr_endpoint *base)
{
	(void)base;
	return 0;
}

static enum kvr_status shm_write(struct kvr_endpoint *base,
				 const struct kvr_write *write)
{
	struct shm_endpoint *e = shm_endpoint(base);
	struct kvr_gather gather;
	struct shm_item *item;
	enum kvr_status status = kvr_gather_begin(&e->config, write, &gather);

	if (status != KVR_OK)
		return status;
	item = e->connected ? shm_queue_reserve(&e->queue, true, false) : NULL;
	if (!item)
		return KVR_ERR_AGAIN;
	item->imm = write->imm;
	item->cookie = write->cookie;
	item->gather = gather;
	item->left = write->bytes;
	item->target = e->outbox.base + e->outbox_layout.slots[write->lane] +
		       e->outbox_layout.stride[write->lane] * write->slot +
		       write->offset;
	if (write->bytes <= SMALL_BYTES)
		run_now(e);
	return KVR_OK;
}

static enum kvr_status shm_describe(struct kvr_endpoint *base,
				    const struct kvr_describe *describe)
{
	struct shm_endpoint *e = shm_endpoint(base);
	const struct kvr_descriptor *descriptor = describe->descriptor;
	struct kvr_described *place;
	struct shm_item *item;
	enum kvr_status status = kvr_describe_check(&e->config, describe);

	if (status != KVR_OK)
		return status;
	item = e->connected ? shm_queue_reserve(&e->queue, false, false) : NULL;
	if (!item)
		return KVR_ERR_AGAIN;
	/* The slot is ours to write: only its immediate waits its turn. */
	place = described(e->outbox.base, e->outbox_layout.described,
			  describe->lane * e->config.slots + describe->slot);
	place->descriptor = *descriptor;
	if (descriptor->metadata_bytes > 0)
		memcpy(place->metadata, describe->metadata,
		       descriptor->metadata_bytes);
	item->imm = describe->imm;
	run_now(e);
	return KVR_OK;
}

static enum kvr_status shm_signal(struct kvr_endpoint *base, uint32_t imm)
{
	struct shm_endpoint *e = shm_endpoint(base);
	struct shm_item *item;

	item = e->connected ? shm_queue_reserve(&e->queue, false, true) : NULL;
	if (!item)
		return KVR_ERR_AGAIN;
	item->imm = imm;
	run_now(e);
	return KVR_OK;
}

/* ------------------------------------------------------ poll, arm, wait */

/* Takes wake-ups from the socket and notices its end. */
static void listen_for_death(struct shm_endpoint *e)
{
	char wake; /* each a message of its own */
	ssize_t bytes;

	/* Bounded: a peer that keeps ringing costs no more than this. */
	for (int i = 0; i < LOOK_WAKES && !e->gone; i++) {
		bytes = recv(e->socket_fd, &wake, 1, MSG_DONTWAIT);
		if (bytes < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		e->gone = bytes <= 0;
	}
}

static void look_for_death(struct shm_endpoint *e)
{
	struct timespec now;
	int64_t now_ns;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	now_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
	if (now_ns - e->looked_ns < LOOK_NS)
		return;
	e->looked_ns = now_ns;
	listen_for_death(e);
}

static void protocol_error(struct shm_endpoint *e)
{
	kvr_log(e->config.log, KVR_LOG_ERROR,
		"rank %" PRIu32 ": shm: rank %" PRIu32
		" wrote an impossible index into the event ring",
		e->config.rank, e->config.peer);
	e->failed = KVR_ERR_PROTOCOL;
}

static size_t pop_arrived(struct shm_endpoint *e, struct kvr_event *events,
			  size_t max)
{
	uint32_t count = shm_consumer_used(&e->consumer);

	if (count > SHM_RING_ENTRIES) {
		protocol_error(e);
		return 0;
	}
	if (count > max)
		count = (uint32_t)max;
	for (uint32_t i = 0; i < count; i++)
		events[i] = (struct kvr_event){
			.kind = KVR_EVENT_ARRIVED,
			.imm = shm_consumer_peek(&e->consumer, i)};
	if (count > 0 && shm_consumer_advance(&e->consumer, count))
		wake_peer(e);
	return count;
}

static void run_queue(struct shm_endpoint *e)
{
	bool wake;

	if (shm_queue_run(&e->queue, &e->producer, POLL_BYTES, &wake) ==
	    SHM_CORRUPT)
		protocol_error(e);
	if (wake)
		wake_peer(e);
}

static enum kvr_status shm_poll(struct kvr_endpoint *base,
				struct kvr_event *events, size_t max,
				size_t *count)
{
	struct shm_endpoint *e = shm_endpoint(base);
	size_t got;

	*count = 0;
	if (!e->connected || e->failed != KVR_OK)
		return e->failed;
	/* First: what the peer pushed before it died is in the ring then. */
	if (!e->gone)
		look_for_death(e);
	if (!e->gone)
		run_queue(e);
	got = shm_queue_pop_sent(&e->queue, events, max);
	if (e->failed == KVR_OK)
		got += pop_arrived(e, events + got, max - got);
	*count = got;
	if (e->failed == KVR_OK && e->gone && e->queue.sent_count == 0 &&
	    shm_consumer_used(&e->consumer) == 0)
		return KVR_ERR_PEER_LOST;
	return e->failed;
}

static enum kvr_status shm_flush(struct kvr_endpoint *base)
{
	(void)base;
	return KVR_OK;
}

static void shm_slots_info(struct kvr_endpoint *base,
			   struct kvr_slots_info *out)
{
	(void)base;
	*out = (struct kvr_slots_info){.by = "host", .flush = "none"};
}

static int shm_event_fd(struct kvr_endpoint *base)
{
	return shm_endpoint(base)->epoll_fd;
}

static enum kvr_status shm_arm(struct kvr_endpoint *base)
{
	struct shm_endpoint *e = shm_endpoint(base);
	enum shm_progress state;

	if (!e->connected)
		return KVR_OK;
	if (e->gone || e->failed != KVR_OK || e->queue.sent_count > 0)
		return KVR_ERR_AGAIN;
	state = shm_queue_state(&e->queue, &e->producer);
	if (state == SHM_MORE || state == SHM_CORRUPT)
		return KVR_ERR_AGAIN;
	if (state == SHM_FULL && !shm_producer_starve(&e->producer))
		return KVR_ERR_AGAIN;
	return shm_consumer_arm(&e->consumer) ? KVR_OK : KVR_ERR_AGAIN;
}

static void shm_disarm(struct kvr_endpoint *base)
{
	struct shm_endpoint *e = shm_endpoint(base);

	if (!e->connected)
		return;
	/* No order needed: a wake-up too many is harmless. */
	atomic_store_explicit(&e->consumer.ring->armed, 0,
			      memory_order_relaxed);
	atomic_store_explicit(&e->producer.ring->starved, 0,
			      memory_order_relaxed);
	if (!e->gone)
		listen_for_death(e);
}

const struct kvr_transport_ops kvr_shm_transport = {
	.name = "shm",
	.unordered = false,
	.between_processes = true,
	.sees_death = true,
	.asks_secret = false, /* the kernel tells the user */
	.probe = shm_probe,
	.open = shm_open,
	.close = shm_close,
	.memory_register = shm_memory_register,
	.memory_deregister = shm_memory_deregister,
	.unready = shm_unready,
	.endpoint_open = shm_endpoint_open,
	.endpoint_close = shm_endpoint_close,
	.address = shm_address,
	.reaches = shm_reaches,
	.connect = shm_connect,
	.connect_poll = shm_connect_poll,
	.slot = shm_slot,
	.descriptor = shm_descriptor,
	.pieces_max = shm_pieces_max,
	.write = shm_write,
	.describe = shm_describe,
	.signal = shm_signal,
	.poll = shm_poll,
	.flush = shm_flush,
	.slots_info = shm_slots_info,
	.event_fd = shm_event_fd,
	.arm = shm_arm,
	.disarm = shm_disarm,
};
