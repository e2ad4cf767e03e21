/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes what cards wrote into a GPU's memory visible to that GPU, in the way
 * that ladder.h chose, and without ever waiting:
 *
 *	READ	each card reads a word of the slots; done when all are back
 *	HOST	a thread of its own calls the driver, which may block
 */
#ifndef KVR_RDMA_VERBS_FLUSH_H
#define KVR_RDMA_VERBS_FLUSH_H

#include "rdma/verbs/reach.h"

struct verbs_flush;

const char *verbs_flush_name(enum kvr_gpu_flush flush);

/*
 * For slots on GPU number `gpu`, which `slots` reach; borrowed until close.
 * *out is NULL where none is needed. Errors: UNSUPPORTED, NO_MEMORY, SYSTEM,
 * DEVICE; logged.
 */
enum kvr_status verbs_flush_open(struct verbs_transport *t,
				 const struct verbs_memory *slots, uint32_t gpu,
				 struct verbs_flush **out);
void verbs_flush_close(struct verbs_flush *f); /* NULL is ignored */

/*
 * Begins a flush where none is under way. AGAIN: it is under way. KVR_OK:
 * what had arrived before it began is visible. Errors: AGAIN, DEVICE.
 */
enum kvr_status verbs_flush_poll(struct verbs_flush *f);

enum kvr_gpu_flush verbs_flush_way(const struct verbs_flush *f);

#endif
