/* SPDX-License-Identifier: Apache-2.0 */
#include "rdma/verbs/probe.h"

#include <errno.h>
#include <infiniband/verbs.h>
#include <stdio.h>
#include <string.h>

#include "rdma/verbs/reach.h"

static struct ibv_device *find(struct ibv_device **list, const char *name)
{
	for (; *list; list++)
		if (!strcmp(ibv_get_device_name(*list), name))
			return *list;
	return NULL;
}

static int probe_port(struct ibv_context *context, uint32_t index,
		      struct kvr_device_info *out)
{
	struct ibv_port_attr port;
	int error = ibv_query_port(context, (uint8_t)(index + 1), &port);

	if (error)
		return error;
	/* 1 is 256 bytes, 5 is 4096. */
	out->path_mtu[index] = 128u << port.active_mtu;
	out->max_message_bytes[index] = port.max_msg_sz;
	return 0;
}

static int probe_context(struct ibv_context *context, void *arg)
{
	struct kvr_device_info *out = arg;
	struct ibv_device_attr device;
	uint32_t i;
	int error = ibv_query_device(context, &device);

	if (error)
		return error;
	out->max_cq_entries = (uint32_t)device.max_cqe;
	out->port_count = device.phys_port_cnt;
	for (i = 0; i < out->port_count && i < KVR_DEVICE_PORTS_MAX; i++) {
		error = probe_port(context, i, out);
		if (error)
			return error;
	}
	out->dmabuf = verbs_maps_dmabuf(context);
	return 0;
}

/* What is asked of a device that is open; 0 or an errno. */
typedef int (*ask_fn)(struct ibv_context *context, void *arg);

static enum kvr_status ask_device(struct ibv_device *device, ask_fn ask,
				  void *arg, char *reason, size_t reason_bytes)
{
	struct ibv_context *context;
	int error;

	errno = 0;
	context = ibv_open_device(device);
	if (!context) {
		snprintf(reason, reason_bytes, "ibv_open_device: %s",
			 strerror(errno));
		return KVR_ERR_DEVICE;
	}
	error = ask(context, arg);
	ibv_close_device(context);
	if (!error)
		return KVR_OK;
	snprintf(reason, reason_bytes, "ibv_query: %s", strerror(error));
	return KVR_ERR_DEVICE;
}

static enum kvr_status ask_named(const char *name, ask_fn ask, void *arg,
				 char *reason, size_t reason_bytes)
{
	struct ibv_device **list, *device;
	enum kvr_status status = KVR_ERR_END;

	errno = 0;
	list = ibv_get_device_list(NULL);
	if (!list) {
		snprintf(reason, reason_bytes, "ibv_get_device_list: %s",
			 strerror(errno));
		return KVR_ERR_DEVICE;
	}
	device = find(list, name);
	if (device)
		status = ask_device(device, ask, arg, reason, reason_bytes);
	else
		snprintf(reason, reason_bytes, "libibverbs does not list it");
	ibv_free_device_list(list);
	return status;
}

enum kvr_status kvr_verbs_probe(const char *name, struct kvr_device_info *out,
				char *reason, size_t reason_bytes)
{
	struct kvr_device_info info = *out;
	enum kvr_status status =
		ask_named(name, probe_context, &info, reason, reason_bytes);

	if (status == KVR_OK)
		*out = info;
	return status;
}

/* ------------------------------------------------------------ GPU's memory */

struct card {
	int dmabuf;
	bool can_read;
};

static int ask_card(struct ibv_context *context, void *arg)
{
	struct card *card = arg;
	struct ibv_device_attr attr;
	int error = ibv_query_device(context, &attr);

	if (error)
		return error;
	card->dmabuf = verbs_maps_dmabuf(context);
	card->can_read = attr.max_qp_rd_atom > 0;
	return 0;
}

enum kvr_status kvr_verbs_gpu_path(const char *name,
				   const struct kvr_gpu_settings *settings,
				   const struct kvr_gpu_info *gpu,
				   struct kvr_gpu_path *out, char *reason,
				   size_t reason_bytes)
{
	struct card card = {.dmabuf = -1};
	enum kvr_status status =
		ask_named(name, ask_card, &card, reason, reason_bytes);
	const struct verbs_ladder_facts facts = {
		/* As cudaMalloc makes it. */
		.pointer = {.kind = KVR_POINTER_DEVICE,
			    .direct_rdma = gpu->direct_rdma},
		.gpu = *gpu,
		.nic_dmabuf = card.dmabuf,
		.peermem = verbs_peermem_loaded("/sys"),
		.same_switch =
			verbs_same_switch("/sys", name, gpu->pci_address),
		.wanted = settings->way,
		.pcie = settings->pcie,
	};

	if (status == KVR_OK)
		verbs_path_of(&facts, settings->flush, card.can_read, out);
	return status;
}
