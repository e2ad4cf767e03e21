/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The landing memory of IN, which prev may write, and nothing else: it is
 * alone in its protection domain. On OUT the descriptors on their way there,
 * with the same layout.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "rdma/verbs/endpoint.h"

/* Writes of a block may pass each other on PCIe; the flush orders them. */
#ifdef IBV_ACCESS_RELAXED_ORDERING
#define SLOT_ACCESS                                                            \
	(IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE |                    \
	 IBV_ACCESS_RELAXED_ORDERING)
#else
#define SLOT_ACCESS (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE)
#endif

enum kvr_status verbs_domains_open(struct verbs_endpoint *e)
{
	for (uint32_t rail = 0; rail < e->rails; rail++) {
		struct verbs_device *device = verbs_rail(e, rail);

		e->pd[rail] = verbs_is_in(e) ? ibv_alloc_pd(device->context)
					     : device->pd_out;
		if (!e->pd[rail])
			return verbs_errno(
				e->config.log,
				ibv_get_device_name(device->context->device),
				"allocate protection domain");
	}
	return KVR_OK;
}

void verbs_domains_close(struct verbs_endpoint *e)
{
	for (uint32_t rail = 0; rail < VERBS_RAILS_MAX; rail++) {
		if (verbs_is_in(e) && e->pd[rail])
			ibv_dealloc_pd(e->pd[rail]);
		e->pd[rail] = NULL;
	}
}

static size_t described_bytes(const struct verbs_endpoint *e)
{
	return sizeof(struct kvr_described) * e->config.lanes * e->config.slots;
}

static enum kvr_status register_in(struct verbs_endpoint *e, uint32_t rail)
{
	struct verbs_device *device = verbs_rail(e, rail);
	const char *name = ibv_get_device_name(device->context->device);
	size_t before = e->layout.slots[0];

	/* A descriptor is read when its immediate is: in order, no flush. */
	e->mr_described[rail] =
		ibv_reg_mr(e->pd[rail], e->memory, described_bytes(e),
			   IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
	if (!e->mr_described[rail])
		return verbs_errno(e->config.log, name, "register descriptors");
	if (e->memory_bytes == before)
		return KVR_OK;
	e->mr_slots[rail] = ibv_reg_mr(e->pd[rail], e->memory + before,
				       e->memory_bytes - before, SLOT_ACCESS);
	if (!e->mr_slots[rail])
		return verbs_errno(e->config.log, name,
				   "register landing slots");
	return KVR_OK;
}

/* Descriptors go over queue pair 0 alone, so over rail 0. */
static enum kvr_status register_out(struct verbs_endpoint *e)
{
	struct verbs_device *device = verbs_rail(e, 0);
	size_t places = (size_t)e->config.lanes * e->config.slots;

	e->describe_end = calloc(places, sizeof(*e->describe_end));
	e->describe_used = calloc(places, sizeof(*e->describe_used));
	if (!e->describe_end || !e->describe_used)
		return KVR_ERR_NO_MEMORY;
	e->mr_described[0] =
		ibv_reg_mr(e->pd[0], e->memory, e->memory_bytes, 0);
	if (!e->mr_described[0])
		return verbs_errno(e->config.log,
				   ibv_get_device_name(device->context->device),
				   "register descriptors");
	return KVR_OK;
}

enum kvr_status verbs_landing_open(struct verbs_endpoint *e)
{
	enum kvr_status status = KVR_OK;
	void *memory;

	kvr_landing_init(&e->config, 0, &e->layout);
	e->memory_bytes = verbs_is_in(e) ? e->layout.bytes : described_bytes(e);
	/* Populated: the hot path takes no page faults. */
	memory = mmap(NULL, e->memory_bytes, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (memory == MAP_FAILED)
		return verbs_errno(e->config.log, "host memory",
				   "map landing slots");
	e->memory = memory;
	/* A fork must not move the pages away under the device. */
	if (madvise(memory, e->memory_bytes, MADV_DONTFORK))
		return verbs_errno(e->config.log, "host memory", "madvise");
	if (!verbs_is_in(e))
		return register_out(e);
	for (uint32_t rail = 0; rail < e->rails && status == KVR_OK; rail++)
		status = register_in(e, rail);
	return status;
}

void verbs_landing_close(struct verbs_endpoint *e)
{
	for (uint32_t rail = 0; rail < VERBS_RAILS_MAX; rail++) {
		if (e->mr_slots[rail])
			ibv_dereg_mr(e->mr_slots[rail]);
		if (e->mr_described[rail])
			ibv_dereg_mr(e->mr_described[rail]);
		e->mr_slots[rail] = e->mr_described[rail] = NULL;
	}
	if (e->memory)
		munmap(e->memory, e->memory_bytes);
	e->memory = NULL;
	free(e->describe_end);
	free(e->describe_used);
	e->describe_end = NULL;
	e->describe_used = NULL;
}

void verbs_landing_grant(const struct verbs_endpoint *e,
			 struct verbs_grant *out)
{
	*out = (struct verbs_grant){
		.address = (uint64_t)(uintptr_t)e->memory,
	};
	for (uint32_t rail = 0; rail < e->rails; rail++) {
		out->described_key[rail] = e->mr_described[rail]->rkey;
		if (e->mr_slots[rail])
			out->slots_key[rail] = e->mr_slots[rail]->rkey;
	}
}
