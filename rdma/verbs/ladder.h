/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How RDMA cards reach memory of a GPU: which rungs to try, in which order,
 * and which flush makes visible what they wrote.
 *
 *	dma-buf		the driver exports the range, the card maps it
 *	nvidia_peermem	ibv_reg_mr, and a kernel module that knows the address
 *
 * Memory that neither reaches is refused. Pure: what is known goes in, the
 *decision and its reasons come out. The table of flushes with its sources is
 *docs/gpu-memory.md.
 */
#ifndef KVR_RDMA_VERBS_LADDER_H
#define KVR_RDMA_VERBS_LADDER_H

#include "runtime/accelerator.h"
#include "runtime/transport.h"

#define VERBS_WHY_BYTES 320

enum verbs_rung {
	VERBS_RUNG_HOST = 0, /* no memory of a GPU: plain ibv_reg_mr */
	VERBS_RUNG_DMABUF,
	VERBS_RUNG_PEERMEM
};

/* What of a GPU's memory and of the cards that shall reach it is known. */
struct verbs_ladder_facts {
	struct kvr_pointer_info pointer;
	struct kvr_gpu_info gpu;
	int nic_dmabuf;	  /* all cards map dma-bufs; 0: one does not; -1: ? */
	bool peermem;	  /* nvidia_peermem or nv_peer_mem is loaded */
	bool same_switch; /* all cards and the GPU are below one PCIe switch */
	enum kvr_gpu_way wanted;
	int pcie; /* as in struct kvr_gpu_settings */
};

struct verbs_step {
	enum verbs_rung rung;
	bool pcie; /* dma-buf: ask the driver for a mapping by PCIe */
};

#define VERBS_STEPS_MAX 3

struct verbs_ladder {
	struct verbs_step step[VERBS_STEPS_MAX];
	uint32_t count;
	char skipped[VERBS_WHY_BYTES]; /* rungs left out, and why; or "" */
};

const char *verbs_rung_name(enum verbs_rung rung);

/* The rungs to try. For memory of the host that is HOST alone. */
void verbs_ladder_plan(const struct verbs_ladder_facts *facts,
		       struct verbs_ladder *out);

/* The pages that hold a range, and where in them it begins. */
struct verbs_pages {
	uint64_t start;
	size_t bytes;
	uint64_t offset;
};

/* page: of the host, a power of two. */
struct verbs_pages verbs_pages_of(uint64_t address, size_t bytes, size_t page);

/*
 * What a failed registration may have failed for. bar1: the size of the
 * GPU's window on PCIe, 0 where it is not known. "" when nothing is known.
 */
void verbs_ladder_hint(const struct verbs_step *step, int error, size_t bytes,
		       uint64_t bar1, const struct kvr_gpu_info *gpu, char *out,
		       size_t out_bytes);

struct verbs_flush_facts {
	enum verbs_rung rung;	 /* of the landing slots */
	struct kvr_gpu_info gpu; /* that they are on */
	bool can_read;		 /* the cards do RDMA reads */
	enum kvr_gpu_flush wanted;
};

/*
 * The flush for these, never AUTO; *why is static. Errors: UNSUPPORTED when
 * the wanted one, or any that would be needed, cannot be had; *why says so.
 */
enum kvr_status verbs_flush_choose(const struct verbs_flush_facts *facts,
				   enum kvr_gpu_flush *out, const char **why);

/* Both in short, for people: what is tried first, and what is left out. */
void verbs_path_of(const struct verbs_ladder_facts *facts,
		   enum kvr_gpu_flush wanted, bool can_read,
		   struct kvr_gpu_path *out);

#endif
