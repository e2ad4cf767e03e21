/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A libibverbs and a GPU that are played, for tests of what registers memory.
 * The card has queue pairs with itself, whose writes and reads are copies;
 * "device" memory is mapped without access but while the card or the driver
 * copies, so that whoever else touches it is killed.
 */
#ifndef KVR_TESTS_FAKE_VERBS_H
#define KVR_TESTS_FAKE_VERBS_H

#include "rdma/verbs/device.h"
#include "runtime/accelerator_memory.h"

/* Calls that can fail, in the order of fake_call_names. */
enum fake_call {
	FAKE_NONE,
	FAKE_ALLOC_PD,
	FAKE_REG_MR,
	FAKE_REG_DMABUF,
	FAKE_CREATE_CQ,
	FAKE_CREATE_QP,
	FAKE_MODIFY_QP,
	FAKE_POST_SEND,
	FAKE_POLL_CQ, /* a completion in error */
	FAKE_EXPORT,
	FAKE_ORDER,
	FAKE_ALLOCATE,
	FAKE_COPY,
	FAKE_DEVICE_INFO,
	FAKE_POINTER_QUERY,
	FAKE_CALLS,
	FAKE_FLUSH /* not of those that open something */
};

/* How the machine is, and what was done to it. */
struct fake_machine {
	/* set by the test */
	struct kvr_gpu_info gpu;
	struct kvr_pointer_info pointer; /* of device memory */
	int nic_dmabuf;			 /* 1, 0; -1: answers otherwise */
	bool writes_arrive;		 /* of the card into the GPU */
	bool pcie_flag;			 /* the driver knows it */
	int fail_errno;
	enum fake_call fail; /* the nth-th call of this fails */
	unsigned nth;

	/* counted */
	unsigned calls[FAKE_FLUSH + 1];
	unsigned pds, mrs, cqs, qps, allocations; /* now */
	unsigned dmabuf_mrs, plain_mrs;		  /* ever, of the GPU */
	unsigned pcie_exports, exports;		  /* ever, the first in all */
	unsigned bad; /* calls against the rules; the text is printed */
	unsigned reads, polls_until_done;
	unsigned flushes;
	bool flushed_here; /* in the test's own thread */
	int access;	   /* of the last registration of device memory */
	size_t longest_mr;
};

extern struct fake_machine fake;

/* All works; a card of that many rails in t. */
void fake_reset(struct verbs_transport *t, uint32_t rails);

void *fake_device_memory(size_t bytes);
void fake_device_free(void *address, size_t bytes);

const struct kvr_accelerator_ops *fake_present(void);

/* Lines of the log since fake_reset. */
const char *fake_log(void);

/* Open file descriptors of this process. */
unsigned fake_open_files(void);

#endif
