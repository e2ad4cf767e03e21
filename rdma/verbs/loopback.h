/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A queue pair of a card with itself, in a protection domain of its own: no
 * peer can reach it or what is registered there. Two uses:
 *
 *	proof	does what this card writes into memory of that GPU arrive?
 *		Where it does not (IOMMU, ACS), registering succeeds all the
 *		same, and data would be lost in silence
 *	flush	a read of the GPU's memory by the card that wrote it: PCIe lets
 *		no read pass the writes before it, so that when it is back
 *		they are in place
 */
#ifndef KVR_RDMA_VERBS_LOOPBACK_H
#define KVR_RDMA_VERBS_LOOPBACK_H

#include "rdma/verbs/device.h"
#include "rdma/verbs/ladder.h"
#include "runtime/accelerator_memory.h"

struct verbs_loopback;

/*
 * Opens one to the first page of [address, address + bytes), device memory
 * that `step` reaches; bytes >= 8. When this is not KVR_OK, reason says why.
 * Errors: UNSUPPORTED, NO_MEMORY.
 */
enum kvr_status verbs_loopback_open(const struct verbs_device *device,
				    const struct kvr_accelerator_ops *gpu,
				    void *address,
				    const struct verbs_step *step,
				    struct verbs_loopback **out, char *reason,
				    size_t reason_bytes);
void verbs_loopback_close(struct verbs_loopback *l); /* NULL is ignored */

/* Begins a read; one at a time. Errors: DEVICE. */
enum kvr_status verbs_loopback_read(struct verbs_loopback *l);

/* Is it back? Errors: AGAIN (not yet), DEVICE (never will be). */
enum kvr_status verbs_loopback_poll(struct verbs_loopback *l);

/*
 * Writes into fresh memory of that GPU, and reads it back, by the card and by
 * the driver; up to a second. When this is not KVR_OK, reason says why.
 * Errors: UNSUPPORTED.
 */
enum kvr_status verbs_loopback_prove(const struct verbs_device *device,
				     const struct kvr_accelerator_ops *gpu,
				     uint32_t index,
				     const struct verbs_step *step,
				     char *reason, size_t reason_bytes);

#endif
