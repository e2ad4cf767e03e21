/* SPDX-License-Identifier: Apache-2.0 */
/* Which device ports are the rails, and by which of their addresses. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "rdma/verbs/device.h"

#define CANDIDATES 16

struct candidate {
	struct verbs_device device;
	int rank; /* lower is better */
};

struct candidates {
	struct candidate list[CANDIDATES];
	uint32_t count;
};

static const char *name_of(const struct verbs_device *device)
{
	return ibv_get_device_name(device->context->device);
}

/* Keeps the better address of a port; what is not kept is released. */
static void offer(struct candidates *all, struct candidate *c)
{
	for (uint32_t i = 0; i < all->count; i++) {
		struct candidate *old = &all->list[i];

		if (strcmp(name_of(&old->device), name_of(&c->device)) != 0 ||
		    old->device.port != c->device.port)
			continue;
		if (c->rank < old->rank) {
			struct candidate worse = *old;

			*old = *c;
			*c = worse;
		}
		verbs_device_fini(&c->device);
		return;
	}
	if (all->count == CANDIDATES) {
		verbs_device_fini(&c->device);
		return;
	}
	all->list[all->count++] = *c;
}

static void release(struct candidates *all)
{
	for (uint32_t i = 0; i < all->count; i++)
		if (all->list[i].device.context)
			verbs_device_fini(&all->list[i].device);
}

/* -------------------------------------------------------------- choose */

static enum kvr_status take(struct verbs_transport *t, struct candidate *c)
{
	struct verbs_device *device = &t->device[t->rails];

	*device = c->device;
	c->device = (struct verbs_device){.context = NULL};
	t->rails++; /* undone with the others, also after failure */
	return verbs_device_init(t->log, device);
}

static enum kvr_status not_found(const struct verbs_transport *t,
				 const struct candidates *all, const char *item,
				 size_t length)
{
	char there[160] = "";
	size_t used = 0;

	for (uint32_t i = 0; i < all->count && used < sizeof(there); i++)
		if (all->list[i].device.context)
			used += (size_t)snprintf(there + used,
						 sizeof(there) - used, " %s:%u",
						 name_of(&all->list[i].device),
						 all->list[i].device.port);
	kvr_log(t->log, KVR_LOG_ERROR,
		"verbs: no usable device '%.*s'; there %s%s", (int)length, item,
		used ? "is" : "is none", there);
	return KVR_ERR_INVALID;
}

/* Rails in the order named: the same rail is the same fabric everywhere. */
static enum kvr_status take_named(struct verbs_transport *t,
				  struct candidates *all, const char *devices)
{
	char item[64];

	while (*devices) {
		size_t length = strcspn(devices, ",");
		bool found = false;

		snprintf(item, sizeof(item), "%.*s", (int)length, devices);
		for (uint32_t i = 0; i < all->count && !found; i++) {
			struct candidate *c = &all->list[i];
			enum kvr_status status;

			if (!c->device.context ||
			    !verbs_device_listed(item, name_of(&c->device),
						 c->device.port))
				continue;
			if (t->rails == VERBS_RAILS_MAX) {
				kvr_log(t->log, KVR_LOG_ERROR,
					"verbs: more than %d devices are named",
					VERBS_RAILS_MAX);
				return KVR_ERR_INVALID;
			}
			found = true;
			status = take(t, c);
			if (status != KVR_OK)
				return status;
		}
		if (!found)
			return not_found(t, all, devices, length);
		devices += length;
		devices += *devices == ',';
	}
	return KVR_OK;
}

/* The same on every run: by address, then by name. */
static bool better(const struct candidate *a, const struct candidate *b)
{
	if (a->rank != b->rank)
		return a->rank < b->rank;
	return strcmp(name_of(&a->device), name_of(&b->device)) < 0;
}

static enum kvr_status choose(struct verbs_transport *t, struct candidates *all,
			      const char *devices, const char *none)
{
	enum kvr_status status = KVR_OK;
	struct candidate *best = NULL;

	for (uint32_t i = 0; i < all->count; i++)
		if (!best || better(&all->list[i], best))
			best = &all->list[i];
	if (devices) {
		status = take_named(t, all, devices);
	} else if (best) {
		status = take(t, best);
	} else {
		kvr_log(t->log, KVR_LOG_ERROR, "verbs: %s", none);
		status = KVR_ERR_UNSUPPORTED;
	}
	release(all);
	return status;
}

/* ----------------------------------------------------------- librdmacm */

/* IPv4 before IPv6 before link-local: what routes further comes first. */
static int rank_of(const struct sockaddr *address)
{
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;

	if (address->sa_family == AF_INET)
		return 0;
	return IN6_IS_ADDR_LINKLOCAL(&v6->sin6_addr) ? 2 : 1;
}

/* Is this interface address a device's? */
static void try_address(struct verbs_transport *t, struct sockaddr *address,
			struct candidates *all)
{
	const size_t bytes = address->sa_family == AF_INET
				     ? sizeof(struct sockaddr_in)
				     : sizeof(struct sockaddr_in6);
	struct candidate c = {.rank = rank_of(address)};
	struct ibv_port_attr port;
	struct rdma_cm_id *id;

	if (rdma_create_id(t->channel, &id, NULL, RDMA_PS_TCP))
		return;
	if (rdma_bind_addr(id, address) || !id->verbs ||
	    ibv_query_port(id->verbs, id->port_num, &port) ||
	    port.state != IBV_PORT_ACTIVE) {
		rdma_destroy_id(id);
		return;
	}
	c.device.anchor = id;
	c.device.context = id->verbs;
	c.device.port = id->port_num;
	c.device.gid = id->route.addr.addr.ibaddr.sgid;
	memcpy(&c.device.local, address, bytes);
	offer(all, &c);
}

enum kvr_status verbs_devices_by_cm(struct verbs_transport *t,
				    const struct kvr_transport_config *config)
{
	struct candidates all = {.count = 0};
	struct ifaddrs *list;

	t->channel = rdma_create_event_channel();
	if (!t->channel)
		return verbs_errno(t->log, "/dev/infiniband/rdma_cm",
				   "create event channel");
	if (getifaddrs(&list))
		return verbs_errno(t->log, "this machine",
				   "list network interfaces");
	for (const struct ifaddrs *i = list; i; i = i->ifa_next)
		if (i->ifa_addr && (i->ifa_flags & IFF_UP) &&
		    !(i->ifa_flags & IFF_LOOPBACK) &&
		    (i->ifa_addr->sa_family == AF_INET ||
		     i->ifa_addr->sa_family == AF_INET6))
			try_address(t, i->ifa_addr, &all);
	freeifaddrs(list);
	return choose(t, &all, config->devices,
		      "no active RDMA port has an IP address; give its "
		      "interface one, or use verbs-exchange");
}

/* ------------------------------------------------------------- exchange */

static bool is_v4(const union ibv_gid *gid)
{
	static const uint8_t prefix[12] = {[10] = 0xff, [11] = 0xff};

	return memcmp(gid->raw, prefix, sizeof(prefix)) == 0;
}

/* RoCE v2 with IPv4, global IPv6, link-local; then v1. As UCX chooses. */
static int rank_gid(const struct ibv_gid_entry *entry)
{
	const bool local =
		entry->gid.raw[0] == 0xfe && (entry->gid.raw[1] & 0xc0) == 0x80;

	if (entry->gid_type == IBV_GID_TYPE_IB)
		return 0;
	if (entry->gid_type == IBV_GID_TYPE_ROCE_V1)
		return 3;
	if (is_v4(&entry->gid))
		return 0;
	return local ? 2 : 1;
}

/* Some entries are there and yet of no use: an address handle tells. */
static bool gid_works(struct ibv_context *context, uint8_t port,
		      const struct ibv_gid_entry *entry)
{
	struct ibv_pd *pd = ibv_alloc_pd(context);
	struct ibv_ah_attr attr = {
		.port_num = port,
		.is_global = 1,
		.grh =
			{
				.dgid = entry->gid,
				.sgid_index = (uint8_t)entry->gid_index,
				.hop_limit = 1,
			},
	};
	struct ibv_ah *ah = pd ? ibv_create_ah(pd, &attr) : NULL;

	if (ah)
		ibv_destroy_ah(ah);
	if (pd)
		ibv_dealloc_pd(pd);
	return ah != NULL;
}

static bool best_gid(struct ibv_context *context, uint8_t port, int table,
		     uint32_t wished, struct candidate *c)
{
	bool found = false;

	for (int i = 0; i < table; i++) {
		struct ibv_gid_entry entry;
		int rank;

		if ((wished && wished != (uint32_t)i + 1) ||
		    ibv_query_gid_ex(context, port, (uint32_t)i, &entry, 0))
			continue;
		rank = rank_gid(&entry);
		if ((found && rank >= c->rank) ||
		    !gid_works(context, port, &entry))
			continue;
		found = true;
		c->rank = rank;
		c->device.gid = entry.gid;
		c->device.gid_index = (uint32_t)i;
	}
	return found;
}

static void try_port(struct ibv_device *device, uint8_t port, uint32_t gid,
		     struct candidates *all)
{
	struct candidate c = {.rank = 0};
	struct ibv_port_attr attr;

	/* A context of its own: each rail closes its own. */
	c.device.context = ibv_open_device(device);
	c.device.port = port;
	if (!c.device.context)
		return;
	if (ibv_query_port(c.device.context, port, &attr) ||
	    attr.state != IBV_PORT_ACTIVE ||
	    !best_gid(c.device.context, port, attr.gid_tbl_len, gid, &c)) {
		verbs_device_fini(&c.device);
		return;
	}
	offer(all, &c);
}

static uint8_t ports_of(struct ibv_device *device)
{
	struct ibv_context *context = ibv_open_device(device);
	struct ibv_device_attr attr = {.phys_port_cnt = 0};

	if (!context)
		return 0;
	if (ibv_query_device(context, &attr))
		attr.phys_port_cnt = 0;
	ibv_close_device(context);
	return attr.phys_port_cnt;
}

enum kvr_status
verbs_devices_by_exchange(struct verbs_transport *t,
			  const struct kvr_transport_config *config)
{
	struct candidates all = {.count = 0};
	int count = 0;
	struct ibv_device **list = ibv_get_device_list(&count);

	for (int i = 0; list && i < count; i++) {
		uint8_t ports = ports_of(list[i]);

		for (uint8_t port = 1; port <= ports; port++)
			try_port(list[i], port, config->gid_index, &all);
	}
	if (list)
		ibv_free_device_list(list);
	return choose(
		t, &all, config->devices,
		config->gid_index
			? "no active RDMA port has the GID that was asked "
			  "for (KVRING_GID_INDEX)"
			: "no active RDMA port has a usable GID");
}
