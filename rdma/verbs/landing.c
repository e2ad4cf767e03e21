/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The landing memory of IN, which prev may write, and nothing else: it is
 * alone in its protection domain. On OUT the descriptors on their way there,
 * with the same layout.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

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

static size_t slots_bytes(const struct verbs_endpoint *e)
{
	return e->layout.bytes - e->layout.slots[0];
}

static enum kvr_status register_described(struct verbs_endpoint *e)
{
	for (uint32_t rail = 0; rail < e->rails; rail++) {
		struct verbs_device *device = verbs_rail(e, rail);

		/* A descriptor is read when its immediate is: in order, and no
		 * flush. */
		e->mr_described[rail] = ibv_reg_mr(
			e->pd[rail], e->memory, described_bytes(e),
			IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
		if (!e->mr_described[rail])
			return verbs_errno(
				e->config.log,
				ibv_get_device_name(device->context->device),
				"register descriptors");
	}
	return KVR_OK;
}

/* A slot has one key on each rail. */
static enum kvr_status check_whole(const struct verbs_endpoint *e)
{
	if (e->reached->parts == 1)
		return KVR_OK;
	kvr_log(e->config.log, KVR_LOG_ERROR,
		"rank %" PRIu32 ": verbs: landing slots of %zu bytes exceed "
		"what a card registers at once, %zu: use fewer or smaller",
		e->config.rank, e->reached->bytes, e->reached->part_bytes);
	return KVR_ERR_LIMIT;
}

static enum kvr_status reach_slots(struct verbs_endpoint *e)
{
	struct verbs_wish wish = {
		.address = e->slots,
		.bytes = slots_bytes(e),
		.access = SLOT_ACCESS,
		.what = "landing slots",
	};
	struct kvr_pointer_info pointer = {.kind = KVR_POINTER_HOST};
	enum kvr_status status = KVR_OK;

	for (uint32_t rail = 0; rail < e->rails; rail++)
		wish.pd[rail] = e->pd[rail];
	/* Ours: of the host, unless we allocated it on a GPU. */
	if (e->config.on_gpu)
		status = verbs_what_is(e->transport, e->slots, &pointer);
	if (status == KVR_OK)
		status =
			verbs_reach(e->transport, &wish, &pointer, &e->reached);
	if (status == KVR_OK)
		status = check_whole(e);
	if (status != KVR_OK || !e->config.on_gpu)
		return status;
	return verbs_flush_open(e->transport, e->reached, e->config.gpu,
				&e->flush);
}

static enum kvr_status allocate_on_gpu(struct verbs_endpoint *e)
{
	const struct kvr_accelerator_ops *gpu =
		e->transport->gpu.present ? e->transport->gpu.present() : NULL;
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char reason[VERBS_WHY_BYTES] = "no plug-in for GPUs is open";
	enum kvr_status status = KVR_ERR_UNSUPPORTED;

	/* Slots begin a page, which devices' allocations need not. */
	if (gpu)
		status = gpu->memory->allocate(
			e->config.gpu, slots_bytes(e) + page, &e->on_gpu,
			reason, sizeof(reason));
	if (status != KVR_OK)
		kvr_log(e->config.log, KVR_LOG_ERROR,
			"rank %" PRIu32 ": %zu bytes of landing slots on GPU "
			"%" PRIu32 ": %s",
			e->config.rank, slots_bytes(e), e->config.gpu, reason);
	else
		e->slots = (uint8_t *)(((uintptr_t)e->on_gpu + page - 1) &
				       ~(page - 1));
	return status;
}

static enum kvr_status open_in(struct verbs_endpoint *e)
{
	enum kvr_status status = register_described(e);

	if (status != KVR_OK || slots_bytes(e) == 0)
		return status;
	if (e->config.on_gpu)
		status = allocate_on_gpu(e);
	return status == KVR_OK ? reach_slots(e) : status;
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
	void *memory;

	kvr_landing_init(&e->config, 0, &e->layout);
	e->memory_bytes = described_bytes(e);
	if (verbs_is_in(e))
		e->memory_bytes =
			e->config.on_gpu ? e->layout.slots[0] : e->layout.bytes;
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
	if (!e->config.on_gpu)
		e->slots = e->memory + e->layout.slots[0];
	return open_in(e);
}

void verbs_landing_close(struct verbs_endpoint *e)
{
	verbs_flush_close(e->flush);
	verbs_unreach(e->reached);
	e->flush = NULL;
	e->reached = NULL;
	for (uint32_t rail = 0; rail < VERBS_RAILS_MAX; rail++) {
		if (e->mr_described[rail])
			ibv_dereg_mr(e->mr_described[rail]);
		e->mr_described[rail] = NULL;
	}
	if (e->on_gpu)
		e->transport->gpu.present()->memory->release(e->config.gpu,
							     e->on_gpu);
	e->on_gpu = NULL;
	e->slots = NULL;
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
		.slots_address = (uint64_t)(uintptr_t)e->slots,
	};
	for (uint32_t rail = 0; rail < e->rails; rail++) {
		out->described_key[rail] = e->mr_described[rail]->rkey;
		if (e->reached)
			out->slots_key[rail] =
				e->reached->part[0].mr[rail]->rkey;
	}
}
