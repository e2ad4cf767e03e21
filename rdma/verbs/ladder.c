/* SPDX-License-Identifier: Apache-2.0 */
#include "rdma/verbs/ladder.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define HOPPER 9 /* compute capability, major */

const char *verbs_rung_name(enum verbs_rung rung)
{
	static const char *const names[] = {
		[VERBS_RUNG_HOST] = "host",
		[VERBS_RUNG_DMABUF] = "dma-buf",
		[VERBS_RUNG_PEERMEM] = "nvidia_peermem",
	};

	return names[rung];
}

/* -------------------------------------------------------------- ladder */

static void skip(struct verbs_ladder *ladder, enum verbs_rung rung,
		 const char *why)
{
	size_t used = strlen(ladder->skipped);

	snprintf(ladder->skipped + used, sizeof(ladder->skipped) - used,
		 "%s%s: %s", used ? "; " : "", verbs_rung_name(rung), why);
}

static void add(struct verbs_ladder *ladder, enum verbs_rung rung, bool pcie)
{
	ladder->step[ladder->count++] = (struct verbs_step){rung, pcie};
}

/* NULL: nothing known is against it. */
static const char *against_dmabuf(const struct verbs_ladder_facts *f)
{
	if (f->wanted != KVR_GPU_WAY_AUTO && f->wanted != KVR_GPU_WAY_DMABUF)
		return "another way is asked for";
	if (f->pointer.kind != KVR_POINTER_DEVICE)
		return "the memory migrates";
	if (!f->gpu.dmabuf)
		return "the driver exports none; it takes the open kernel "
		       "modules and Linux 5.12";
	if (f->nic_dmabuf == 0)
		return "a card's driver maps none";
	return NULL;
}

static const char *against_peermem(const struct verbs_ladder_facts *f)
{
	if (f->wanted != KVR_GPU_WAY_AUTO && f->wanted != KVR_GPU_WAY_PEERMEM)
		return "another way is asked for";
	if (f->pointer.kind != KVR_POINTER_DEVICE)
		return "the memory migrates";
	if (!f->peermem)
		return "not loaded; modprobe nvidia-peermem";
	if (!f->gpu.direct_rdma)
		return "this GPU does not do GPUDirect RDMA";
	/* Of cuMemCreate, unless it was asked for with the allocation. */
	if (!f->pointer.direct_rdma)
		return f->pointer.vmm
			       ? "the memory was made without "
				 "gpuDirectRDMACapable"
			       : "the driver says that this memory is not for "
				 "it";
	return NULL;
}

/*
 * On a GPU beside its processor (C2C) dma-bufs are mapped by C2C unless PCIe
 * is asked for: shorter for a card below the GPU's own switch, and longer for
 * every other. A GPU on PCIe alone knows no such choice.
 */
static void add_dmabuf(const struct verbs_ladder_facts *f,
		       struct verbs_ladder *ladder)
{
	if (f->pcie > 0) {
		add(ladder, VERBS_RUNG_DMABUF, true);
		return;
	}
	if (f->pcie == 0 && f->gpu.host_page_tables && f->same_switch)
		add(ladder, VERBS_RUNG_DMABUF, true);
	add(ladder, VERBS_RUNG_DMABUF, false);
}

void verbs_ladder_plan(const struct verbs_ladder_facts *facts,
		       struct verbs_ladder *out)
{
	const char *why;

	*out = (struct verbs_ladder){.count = 0};
	if (facts->pointer.kind == KVR_POINTER_HOST ||
	    facts->pointer.kind == KVR_POINTER_PINNED) {
		add(out, VERBS_RUNG_HOST, false);
		return;
	}
	why = against_dmabuf(facts);
	if (why)
		skip(out, VERBS_RUNG_DMABUF, why);
	else
		add_dmabuf(facts, out);
	why = against_peermem(facts);
	if (why)
		skip(out, VERBS_RUNG_PEERMEM, why);
	else
		add(out, VERBS_RUNG_PEERMEM, false);
}

struct verbs_pages verbs_pages_of(uint64_t address, size_t bytes, size_t page)
{
	const uint64_t start = address & ~(uint64_t)(page - 1);
	const uint64_t end =
		(address + bytes + page - 1) & ~(uint64_t)(page - 1);

	return (struct verbs_pages){start, (size_t)(end - start),
				    address - start};
}

void verbs_ladder_hint(const struct verbs_step *step, int error, size_t bytes,
		       uint64_t bar1, const struct kvr_gpu_info *gpu, char *out,
		       size_t out_bytes)
{
	/* By C2C nothing goes through BAR1. */
	const bool by_bar1 = step->pcie || !gpu->host_page_tables;

	out[0] = '\0';
	if (!by_bar1)
		return;
	if (bar1 && bytes > bar1)
		snprintf(out, out_bytes,
			 "; %zu MiB do not fit into BAR1 of %s, %" PRIu64
			 " MiB: enable resizable BAR, or use smaller slots",
			 bytes >> 20, gpu->pci_address, bar1 >> 20);
	/* What drivers say when the window is full: no agreement. */
	else if (error == ENOMEM || error == EFAULT || error == EIO ||
		 error == ENOSPC)
		snprintf(out, out_bytes,
			 "; BAR1 of %s may be used up, see nvidia-smi -q -d "
			 "MEMORY",
			 gpu->pci_address);
}

/* --------------------------------------------------------------- flush */

static enum kvr_status take(enum kvr_gpu_flush flush, const char *reason,
			    enum kvr_gpu_flush *out, const char **why)
{
	*out = flush;
	*why = reason;
	return KVR_OK;
}

static enum kvr_status refuse(const char *reason, const char **why)
{
	*why = reason;
	return KVR_ERR_UNSUPPORTED;
}

static enum kvr_status choose_wanted(const struct verbs_flush_facts *f,
				     enum kvr_gpu_flush *out, const char **why)
{
	if (f->wanted == KVR_GPU_FLUSH_READ && !f->can_read)
		return refuse("reads are asked for, and a card does none", why);
	if (f->wanted == KVR_GPU_FLUSH_HOST && !f->gpu.flush_by_host)
		return refuse("cuFlushGPUDirectRDMAWrites is asked for, and "
			      "this GPU does not have it",
			      why);
	return take(f->wanted, "asked for", out, why);
}

/*
 * A read by the card that wrote: PCIe lets no read pass a write before it. It
 * needs nothing of CUDA, so the engine can post it itself.
 */
static enum kvr_status choose_some(const struct verbs_flush_facts *f,
				   const char *reason, enum kvr_gpu_flush *out,
				   const char **why)
{
	if (f->can_read)
		return take(KVR_GPU_FLUSH_READ, reason, out, why);
	/* Where the driver orders by itself its flush does nothing. */
	if (f->gpu.flush_by_host && f->gpu.ordering == KVR_GPU_ORDERING_NONE)
		return take(KVR_GPU_FLUSH_HOST,
			    "a card does no reads, the driver flushes", out,
			    why);
	return refuse("the GPU needs a flush, a card does no reads and the "
		      "driver's flush does nothing here",
		      why);
}

enum kvr_status verbs_flush_choose(const struct verbs_flush_facts *f,
				   enum kvr_gpu_flush *out, const char **why)
{
	if (f->rung == VERBS_RUNG_HOST)
		return take(KVR_GPU_FLUSH_NONE, "the slots are in host memory",
			    out, why);
	if (f->wanted != KVR_GPU_FLUSH_AUTO)
		return choose_wanted(f, out, why);
	if (f->gpu.host_page_tables)
		return choose_some(f,
				   "data and completion may come by two ways, "
				   "PCIe and C2C",
				   out, why);
	if (f->gpu.compute_major < HOPPER)
		return choose_some(f, "GPUs before Hopper need it", out, why);
	if (f->gpu.ordering == KVR_GPU_ORDERING_NONE)
		return choose_some(f, "the driver promises no order", out, why);
	return take(KVR_GPU_FLUSH_NONE, "the GPU sees writes in order", out,
		    why);
}

/* --------------------------------------------------------------- path */

static enum kvr_gpu_way way_of(enum verbs_rung rung)
{
	return rung == VERBS_RUNG_DMABUF ? KVR_GPU_WAY_DMABUF
					 : KVR_GPU_WAY_PEERMEM;
}

void verbs_path_of(const struct verbs_ladder_facts *facts,
		   enum kvr_gpu_flush wanted, bool can_read,
		   struct kvr_gpu_path *out)
{
	struct verbs_flush_facts flush = {
		.gpu = facts->gpu,
		.can_read = can_read,
		.wanted = wanted,
	};
	struct verbs_ladder ladder;
	const char *why = "";

	verbs_ladder_plan(facts, &ladder);
	snprintf(out->why, sizeof(out->why), "%s", ladder.skipped);
	out->way = KVR_GPU_WAY_AUTO;
	out->flush = KVR_GPU_FLUSH_AUTO;
	out->by_pcie = 0;
	if (!ladder.count)
		return;
	out->way = way_of(ladder.step[0].rung);
	out->by_pcie = ladder.step[0].pcie;
	flush.rung = ladder.step[0].rung;
	(void)!verbs_flush_choose(&flush, &out->flush, &why);
	snprintf(out->flush_why, sizeof(out->flush_why), "%s", why);
}
