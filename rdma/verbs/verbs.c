/* SPDX-License-Identifier: Apache-2.0 */
#include "rdma/verbs/verbs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <unistd.h>

#include "rdma/verbs/endpoint.h"

#define CLOSE_NS 500000000

/* ----------------------------------------------------------- transport */

static enum kvr_status verbs_probe(char *reason, size_t bytes)
{
	enum kvr_status status = verbs_probe_devices(reason, bytes);

	/* Without any device that is the thing to say. */
	if (status != KVR_OK ||
	    access("/dev/infiniband/rdma_cm", R_OK | W_OK) == 0)
		return status;
	snprintf(reason, bytes,
		 "/dev/infiniband/rdma_cm: %s; %s, or use verbs-exchange",
		 strerror(errno),
		 errno == ENOENT ? "modprobe rdma_ucm"
				 : "let this user read and write it");
	return KVR_ERR_UNSUPPORTED;
}

static void verbs_close(struct kvr_transport *base)
{
	struct verbs_transport *t = (struct verbs_transport *)base;

	for (uint32_t rail = 0; rail < VERBS_RAILS_MAX; rail++)
		verbs_device_fini(&t->device[rail]);
	if (t->channel)
		rdma_destroy_event_channel(t->channel);
	free(t);
}

static enum kvr_status open_by(const struct kvr_transport_ops *ops,
			       const struct kvr_transport_config *config,
			       struct kvr_transport **out)
{
	struct verbs_transport *t = calloc(1, sizeof(*t));
	enum kvr_status status;

	if (!t)
		return KVR_ERR_NO_MEMORY;
	t->base.ops = ops;
	t->log = config->log;
	t->queue_pairs = config->queue_pairs ? config->queue_pairs : 1;
	t->adaptive_routing = config->adaptive_routing;
	t->gpu = config->gpu;
	t->sysfs = "/sys";
	status = ops == &kvr_verbs_transport
			 ? verbs_devices_by_cm(t, config)
			 : verbs_devices_by_exchange(t, config);
	if (status != KVR_OK) {
		verbs_close(&t->base);
		return status;
	}
	*out = &t->base;
	return KVR_OK;
}

static enum kvr_status verbs_open(const struct kvr_transport_config *config,
				  struct kvr_transport **out)
{
	if (config->gid_index) {
		kvr_log(config->log, KVR_LOG_ERROR,
			"verbs: the GID follows the address of the interface; "
			"a GID index goes with verbs-exchange");
		return KVR_ERR_UNSUPPORTED;
	}
	return open_by(&kvr_verbs_transport, config, out);
}

static enum kvr_status
verbs_exchange_transport_open(const struct kvr_transport_config *config,
			      struct kvr_transport **out)
{
	return open_by(&kvr_verbs_exchange_transport, config, out);
}

/* ------------------------------------------------------------- endpoint */

static enum kvr_status watch_devices(struct verbs_endpoint *e)
{
	enum kvr_status status = KVR_OK;

	for (uint32_t rail = 0; rail < e->rails && status == KVR_OK; rail++)
		status = verbs_watch(e, verbs_rail(e, rail)->context->async_fd);
	return status;
}

static enum kvr_status set_up(struct verbs_endpoint *e)
{
	enum kvr_status status;

	e->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (e->epoll_fd < 0)
		return verbs_errno(e->config.log, "this machine",
				   "epoll_create1");
	if (getrandom(e->address.nonce, sizeof(e->address.nonce), 0) !=
	    sizeof(e->address.nonce))
		return verbs_errno(e->config.log, "this machine", "getrandom");
	status = verbs_qp_plan(e);
	if (status == KVR_OK)
		status = verbs_domains_open(e);
	if (status == KVR_OK)
		status = verbs_hello_open(e);
	if (status == KVR_OK)
		status = verbs_cqs_open(e);
	if (status == KVR_OK)
		status = watch_devices(e);
	if (status == KVR_OK)
		status = e->by_cm ? verbs_cm_open(e) : verbs_exchange_open(e);
	return status;
}

static void verbs_endpoint_close(struct kvr_endpoint *base)
{
	struct verbs_endpoint *e = verbs_endpoint(base);

	if (e->owner != getpid()) {
		/* The devices' objects are the parent's. */
		close(e->epoll_fd);
		free(e);
		return;
	}
	/* Signals posted last must arrive; refusals of the hello, too. */
	if (!e->by_cm && e->connected)
		verbs_post_last(e);
	if (e->qp[0].qp)
		(void)verbs_drain_sends(e, verbs_coarse_ns() + CLOSE_NS);
	for (uint32_t i = 0; i < e->qps; i++)
		verbs_qp_error_state(&e->qp[i]);
	if (e->by_cm)
		verbs_cm_close(e);
	for (uint32_t i = 0; i < e->qps; i++)
		verbs_qp_destroy(&e->qp[i]);
	verbs_cqs_close(e);
	verbs_hello_close(e);
	verbs_landing_close(e);
	verbs_domains_close(e);
	if (e->epoll_fd >= 0)
		close(e->epoll_fd);
	free(e);
}

static struct verbs_endpoint *blank(struct verbs_transport *t,
				    const struct kvr_endpoint_config *config)
{
	struct verbs_endpoint *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->base.ops = t->base.ops;
	e->config = *config;
	e->transport = t;
	e->owner = getpid();
	e->by_cm = t->base.ops == &kvr_verbs_transport;
	e->epoll_fd = -1;
	e->rails = t->rails;
	e->qps = t->rails * t->queue_pairs;
	e->address = (struct verbs_address){
		.magic = VERBS_ADDRESS_MAGIC,
		.role = config->role,
		.by_cm = e->by_cm,
		.rails = e->rails,
		.qps = e->qps,
	};
	return e;
}

static enum kvr_status
verbs_endpoint_open(struct kvr_transport *transport,
		    const struct kvr_endpoint_config *config,
		    struct kvr_endpoint **out)
{
	enum kvr_status status = kvr_edge_check_config(config);
	struct verbs_endpoint *e;

	if (status != KVR_OK)
		return status;
	e = blank((struct verbs_transport *)transport, config);
	if (!e)
		return KVR_ERR_NO_MEMORY;
	status = set_up(e);
	if (status != KVR_OK) {
		verbs_endpoint_close(&e->base);
		return status;
	}
	*out = &e->base;
	return KVR_OK;
}

/* ------------------------------------------------------------- connect */

static void verbs_address_of(struct kvr_endpoint *base,
			     uint8_t out[KVR_ADDRESS_BYTES])
{
	memset(out, 0, KVR_ADDRESS_BYTES);
	memcpy(out, &verbs_endpoint(base)->address,
	       sizeof(struct verbs_address));
}

static bool sound(const struct verbs_address *a)
{
	return a->magic == VERBS_ADDRESS_MAGIC && a->rails > 0 &&
	       a->rails <= VERBS_RAILS_MAX && a->qps >= a->rails &&
	       a->qps <= VERBS_QPS_MAX;
}

static bool verbs_reaches(const uint8_t local[KVR_ADDRESS_BYTES],
			  const uint8_t remote[KVR_ADDRESS_BYTES])
{
	struct verbs_address a, b;

	memcpy(&a, local, sizeof(a));
	memcpy(&b, remote, sizeof(b));
	return sound(&a) && sound(&b) && a.by_cm == b.by_cm &&
	       a.rail[0].family == b.rail[0].family &&
	       a.rail[0].link_layer == b.rail[0].link_layer;
}

static enum kvr_status check_count(const struct verbs_endpoint *e,
				   const char *what, uint32_t here,
				   uint32_t there)
{
	if (here == there)
		return KVR_OK;
	kvr_log(e->config.log, KVR_LOG_ERROR,
		"rank %" PRIu32 ": rank %" PRIu32 " has %" PRIu32
		" %s, here are %" PRIu32
		"; set KVRING_DEVICE and KVRING_QPS alike",
		e->config.rank, e->config.peer, there, what, here);
	return KVR_ERR_MISMATCH;
}

static enum kvr_status verbs_connect(struct kvr_endpoint *base,
				     const uint8_t remote[KVR_ADDRESS_BYTES])
{
	struct verbs_endpoint *e = verbs_endpoint(base);
	struct verbs_address address;
	enum kvr_status status;

	memcpy(&address, remote, sizeof(address));
	if (!sound(&address) || address.by_cm != e->by_cm) {
		kvr_log(e->config.log, KVR_LOG_ERROR,
			"rank %" PRIu32 ": verbs: rank %" PRIu32
			" has no address of this transport",
			e->config.rank, e->config.peer);
		return KVR_ERR_INVALID;
	}
	status = check_count(e, "rails", e->rails, address.rails);
	if (status == KVR_OK)
		status = check_count(e, "queue pairs", e->qps, address.qps);
	if (status == KVR_OK)
		status = verbs_landing_open(e);
	if (status != KVR_OK)
		return status;
	e->remote = address;
	e->connecting = true;
	return e->by_cm ? KVR_OK : verbs_exchange_connect(e);
}

static enum kvr_status verbs_connect_poll(struct kvr_endpoint *base)
{
	struct verbs_endpoint *e = verbs_endpoint(base);
	enum kvr_status status;

	if (e->connected)
		return KVR_OK;
	if (e->failed != KVR_OK)
		return e->failed;
	if (!e->connecting)
		return KVR_ERR_AGAIN;
	status = e->by_cm ? verbs_cm_poll(e) : verbs_hello_poll(e);
	if (status == KVR_OK)
		e->connected = true;
	else if (status != KVR_ERR_AGAIN)
		e->failed = status;
	return status;
}

/* ---------------------------------------------------------------- data */

static void *verbs_slot(struct kvr_endpoint *base, uint32_t lane, uint32_t slot)
{
	const struct verbs_endpoint *e = verbs_endpoint(base);

	return e->slots + verbs_slot_offset(e, lane, slot);
}

static void verbs_descriptor(struct kvr_endpoint *base, uint32_t lane,
			     uint32_t slot, struct kvr_descriptor *out,
			     const void **metadata)
{
	const struct verbs_endpoint *e = verbs_endpoint(base);
	const struct kvr_described *place =
		(const struct kvr_described *)(const void *)e->memory +
		(size_t)lane * e->config.slots + slot;

	*out = place->descriptor;
	*metadata = place->metadata;
}

/* Of host memory a completion says that the bytes are there. */
static enum kvr_status verbs_flush_slots(struct kvr_endpoint *base)
{
	struct verbs_flush *flush = verbs_endpoint(base)->flush;

	return flush ? verbs_flush_poll(flush) : KVR_OK;
}

static void verbs_slots_info(struct kvr_endpoint *base,
			     struct kvr_slots_info *out)
{
	const struct verbs_endpoint *e = verbs_endpoint(base);

	*out = (struct kvr_slots_info){
		.by = verbs_rung_name(e->reached ? e->reached->step.rung
						 : VERBS_RUNG_HOST),
		.flush = verbs_flush_name(e->flush ? verbs_flush_way(e->flush)
						   : KVR_GPU_FLUSH_NONE),
	};
}

static int verbs_event_fd(struct kvr_endpoint *base)
{
	return verbs_endpoint(base)->epoll_fd;
}

/* Two ways to meet, and all the rest alike. */
#define ALIKE                                                                  \
	.unordered = true, .between_processes = true, .asks_secret = true,     \
	.takes_gpu = true, .close = verbs_close,                               \
	.memory_register = verbs_memory_register,                              \
	.memory_deregister = verbs_memory_deregister,                          \
	.unready = verbs_unready, .endpoint_open = verbs_endpoint_open,        \
	.endpoint_close = verbs_endpoint_close, .address = verbs_address_of,   \
	.reaches = verbs_reaches, .connect = verbs_connect,                    \
	.connect_poll = verbs_connect_poll, .slot = verbs_slot,                \
	.descriptor = verbs_descriptor, .pieces_max = verbs_pieces_max,        \
	.write = verbs_write, .describe = verbs_describe,                      \
	.signal = verbs_signal, .poll = verbs_poll,                            \
	.flush = verbs_flush_slots, .slots_info = verbs_slots_info,            \
	.event_fd = verbs_event_fd, .arm = verbs_arm, .disarm = verbs_disarm

const struct kvr_transport_ops kvr_verbs_transport = {
	.name = "verbs",
	.sees_death = true,
	.probe = verbs_probe,
	.open = verbs_open,
	ALIKE,
};

const struct kvr_transport_ops kvr_verbs_exchange_transport = {
	.name = "verbs-exchange",
	.sees_death = false,
	.probe = verbs_probe_devices,
	.open = verbs_exchange_transport_open,
	ALIKE,
};
