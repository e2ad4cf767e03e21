/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registers memory, of the host or of a GPU, on every rail: climbs the ladder
 * (ladder.h) until a rung holds on all of them, and says which and why.
 */
#ifndef KVR_RDMA_VERBS_REACH_H
#define KVR_RDMA_VERBS_REACH_H

#include "rdma/verbs/device.h"
#include "rdma/verbs/ladder.h"
#include "runtime/accelerator_memory.h"

struct verbs_part {
	struct ibv_mr *mr[VERBS_RAILS_MAX];
};

/* One range, on each rail, in parts where a card takes less at once. */
struct verbs_memory {
	struct verbs_step step; /* how it is reached */
	uint64_t address;
	size_t bytes;
	size_t part_bytes; /* of every part but the last; whole pages */
	uint32_t parts;
	struct verbs_part part[];
};

/* The registration that holds address, and how much of it is left there. */
static inline struct ibv_mr *verbs_memory_at(const struct verbs_memory *memory,
					     uint32_t rail, uint64_t address,
					     size_t *left)
{
	const size_t offset = (size_t)(address - memory->address);
	const size_t part = offset / memory->part_bytes;

	*left = memory->part_bytes - offset % memory->part_bytes;
	return memory->part[part].mr[rail];
}

/* What to register, and where. */
struct verbs_wish {
	struct ibv_pd *pd[VERBS_RAILS_MAX]; /* one a rail */
	void *address;
	size_t bytes;
	int access;
	const char *what; /* for lines of the log: "landing slots" */
};

/*
 * Registers it. pointer: what the address is. Errors: UNSUPPORTED, no card
 * reaches it; NO_MEMORY, SYSTEM, DEVICE; logged.
 */
enum kvr_status verbs_reach(struct verbs_transport *t,
			    const struct verbs_wish *wish,
			    const struct kvr_pointer_info *pointer,
			    struct verbs_memory **out);

/* NULL is ignored. */
void verbs_unreach(struct verbs_memory *memory);

/*
 * One registration by one step of the ladder. fd: of the dma-buf that begins
 * `offset` bytes before address. NULL: errno says why not.
 */
struct ibv_mr *verbs_register_by(const struct verbs_step *step,
				 struct ibv_pd *pd, void *address, size_t bytes,
				 int access, int fd, uint64_t offset);

/* Does this device's driver map dma-bufs? 1, 0, or -1: it said other things. */
int verbs_maps_dmabuf(struct ibv_context *context);

/* What of the address this process knows; HOST where it has no GPU. */
enum kvr_status verbs_what_is(const struct verbs_transport *t,
			      const void *address,
			      struct kvr_pointer_info *out);

/* -------------------------------------------------------------- place.c */

/* Is one of the kernel modules loaded that let ibv_reg_mr take GPU memory? */
bool verbs_peermem_loaded(const char *sysfs);

/* Bytes of the GPU's window on PCIe; 0: not known. */
uint64_t verbs_bar1_bytes(const char *sysfs, const char *pci_address);

/* Are a card and a GPU below one PCIe switch? false: not, or not known. */
bool verbs_same_switch(const char *sysfs, const char *ib_name,
		       const char *pci_address);

#endif
