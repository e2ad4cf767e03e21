/* SPDX-License-Identifier: Apache-2.0 */
#include "rdma/verbs/reach.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

const char *verbs_gid_text(const union ibv_gid *gid, char *text)
{
	if (!inet_ntop(AF_INET6, gid->raw, text, INET6_ADDRSTRLEN))
		text[0] = '\0';
	return text;
}

enum kvr_status verbs_errno(const struct kvr_log *log, const char *device,
			    const char *operation)
{
	const int error = errno;
	char hint[96] = "";
	struct rlimit limit;

	/* Drivers say ENOMEM for a memlock limit, too. */
	if ((error == ENOMEM || error == EAGAIN) &&
	    getrlimit(RLIMIT_MEMLOCK, &limit) == 0 &&
	    limit.rlim_cur != RLIM_INFINITY)
		snprintf(hint, sizeof(hint),
			 "; raise the memlock limit (ulimit -l), now %llu KiB",
			 (unsigned long long)limit.rlim_cur / 1024);
	kvr_log(log, KVR_LOG_ERROR, "verbs: %s on %s: %s%s", operation, device,
		strerror(error), hint);
	return error == ENOMEM ? KVR_ERR_NO_MEMORY : KVR_ERR_SYSTEM;
}

bool verbs_device_listed(const char *devices, const char *name, uint8_t port)
{
	const size_t length = strlen(name);

	while (*devices) {
		size_t item = strcspn(devices, ",");

		if (item >= length && strncmp(devices, name, length) == 0) {
			unsigned long wanted = 0;
			char *end = NULL;

			if (item == length)
				return true;
			if (devices[length] == ':')
				wanted =
					strtoul(devices + length + 1, &end, 10);
			if (end == devices + item && wanted == port)
				return true;
		}
		devices += item;
		devices += *devices == ',';
	}
	return false;
}

/* --------------------------------------------------------------- probe */

static bool port_active(struct ibv_context *context, uint8_t ports)
{
	struct ibv_port_attr attr;

	for (uint8_t port = 1; port <= ports; port++)
		if (ibv_query_port(context, port, &attr) == 0 &&
		    attr.state == IBV_PORT_ACTIVE)
			return true;
	return false;
}

/* What can be said of one device; true: it could serve. */
static bool look_at(struct ibv_device *device, char *reason, size_t bytes)
{
	struct ibv_context *context = ibv_open_device(device);
	const char *name = ibv_get_device_name(device);
	struct ibv_device_attr attr;
	bool usable;

	if (!context) {
		snprintf(reason, bytes,
			 "%s cannot be opened: %s; is /dev/infiniband there, "
			 "and may this user write to it?",
			 name, strerror(errno));
		return false;
	}
	usable = ibv_query_device(context, &attr) == 0 &&
		 port_active(context, attr.phys_port_cnt);
	if (usable)
		snprintf(reason, bytes, "%s%s", name, "");
	else
		snprintf(reason, bytes,
			 "no port of %s is active: check cable and switch",
			 name);
	ibv_close_device(context);
	return usable;
}

enum kvr_status verbs_probe_devices(char *reason, size_t bytes)
{
	int count = 0;
	struct ibv_device **list = ibv_get_device_list(&count);
	bool usable = false;

	snprintf(reason, bytes, "no RDMA device on this machine");
	for (int i = 0; list && i < count && !usable; i++)
		usable = look_at(list[i], reason, bytes);
	if (list)
		ibv_free_device_list(list);
	return usable ? KVR_OK : KVR_ERR_UNSUPPORTED;
}

/* --------------------------------------------------------------- rails */

enum kvr_status verbs_device_init(const struct kvr_log *log,
				  struct verbs_device *device)
{
	const char *name = ibv_get_device_name(device->context->device);
	char text[INET6_ADDRSTRLEN];

	if ((errno = ibv_query_device(device->context, &device->attr)) ||
	    (errno = ibv_query_port(device->context, device->port,
				    &device->port_attr)))
		return verbs_errno(log, name, "query device");
	device->pd_out = ibv_alloc_pd(device->context);
	if (!device->pd_out)
		return verbs_errno(log, name, "allocate protection domain");
	kvr_log(log, KVR_LOG_INFO, "verbs: rail %s port %u, GID %s, MTU %d",
		name, device->port, verbs_gid_text(&device->gid, text),
		128 << device->port_attr.active_mtu);
	return KVR_OK;
}

void verbs_device_fini(struct verbs_device *device)
{
	if (device->pd_out)
		ibv_dealloc_pd(device->pd_out);
	if (device->anchor)
		rdma_destroy_id(device->anchor);
	else if (device->context)
		ibv_close_device(device->context);
	*device = (struct verbs_device){.context = NULL};
}

void verbs_device_async(const struct kvr_log *log, struct verbs_device *device)
{
	struct ibv_async_event event;

	/* Acknowledged at once: ibv_destroy_qp waits for it. */
	while (ibv_get_async_event(device->context, &event) == 0) {
		enum ibv_event_type type = event.event_type;

		ibv_ack_async_event(&event);
		/* The path that broke shows itself in completions. */
		kvr_log(log,
			type == IBV_EVENT_PORT_ERR ||
					type == IBV_EVENT_DEVICE_FATAL ||
					type == IBV_EVENT_QP_FATAL ||
					type == IBV_EVENT_CQ_ERR
				? KVR_LOG_ERROR
				: KVR_LOG_INFO,
			"verbs: %s: %s",
			ibv_get_device_name(device->context->device),
			ibv_event_type_str(type));
	}
}

/* ------------------------------------------------------------ counters */

/* soft-RoCE has the first two, mlx5 the third; what is not there is 0. */
static const char *const rnr_counters[] = {"send_rnr_err", "rcvd_rnr_err",
					   "rnr_nak_retry_err"};

#define RNR_COUNTERS (sizeof(rnr_counters) / sizeof(rnr_counters[0]))

static uint64_t read_counter(const struct verbs_device *device,
			     const char *name)
{
	char path[IBV_SYSFS_PATH_MAX + 64], text[32] = "";
	ssize_t got;
	int fd;

	snprintf(path, sizeof(path), "%s/ports/%u/hw_counters/%s",
		 device->context->device->ibdev_path, device->port, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	got = read(fd, text, sizeof(text) - 1);
	close(fd);
	return got > 0 ? strtoull(text, NULL, 10) : 0;
}

uint64_t verbs_unready(struct kvr_transport *base)
{
	const struct verbs_transport *t = (struct verbs_transport *)base;
	uint64_t count = 0;

	for (uint32_t rail = 0; rail < t->rails; rail++)
		for (size_t i = 0; i < RNR_COUNTERS; i++)
			count +=
				read_counter(&t->device[rail], rnr_counters[i]);
	return count;
}

/* -------------------------------------------------------------- memory */

void verbs_memory_deregister(struct kvr_transport *base, void *key)
{
	(void)base;
	verbs_unreach(key);
}

enum kvr_status verbs_memory_register(struct kvr_transport *base, void *address,
				      size_t bytes, void **key)
{
	struct verbs_transport *t = (struct verbs_transport *)base;
	/* Read only, and by this side only. */
	struct verbs_wish wish = {
		.address = address,
		.bytes = bytes,
		.what = "memory to send",
	};
	struct kvr_pointer_info pointer;
	struct verbs_memory *memory;
	enum kvr_status status = verbs_what_is(t, address, &pointer);

	if (status != KVR_OK)
		return status;
	for (uint32_t rail = 0; rail < t->rails; rail++)
		wish.pd[rail] = t->device[rail].pd_out;
	status = verbs_reach(t, &wish, &pointer, &memory);
	if (status == KVR_OK)
		*key = memory;
	return status;
}
