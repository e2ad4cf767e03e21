/* SPDX-License-Identifier: Apache-2.0 */
#include "rdma/verbs/loopback.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "rdma/verbs/reach.h"
#include "runtime/clock.h"

#define PROOF_NS (KVR_NS_PER_MS * 1000)
#define PROOF_BYTES 64u

/* As in queue_pair.c; a read of oneself that is not back by then is lost. */
#define ACK_TIMEOUT 14
#define RETRIES 7
#define RNR_TIMER 1
#define HOP_LIMIT 64

struct verbs_loopback {
	struct ibv_pd *pd;
	struct ibv_cq *cq;
	struct ibv_qp *qp;
	struct ibv_mr *mr_host, *mr_target;
	uint64_t target; /* on the GPU */
	uint8_t host[2 * PROOF_BYTES];
};

static enum kvr_status fail(const char *what, char *reason, size_t bytes)
{
	snprintf(reason, bytes, "%s: %s", what, strerror(errno));
	return KVR_ERR_UNSUPPORTED;
}

/* ---------------------------------------------------------- queue pair */

/* The GID's place in the port's table: librdmacm tells the GID alone. */
static uint8_t gid_index(const struct verbs_device *device)
{
	if (!device->anchor)
		return (uint8_t)device->gid_index;
	for (int i = device->port_attr.gid_tbl_len - 1; i > 0; i--) {
		union ibv_gid gid;

		/* From the end: RoCE v2 comes after v1 of the same address. */
		if (!ibv_query_gid(device->context, device->port, i, &gid) &&
		    !memcmp(&gid, &device->gid, sizeof(gid)))
			return (uint8_t)i;
	}
	return 0;
}

static int to_init(struct verbs_loopback *l, const struct verbs_device *device)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_INIT,
		.port_num = device->port,
		.qp_access_flags =
			IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE,
	};

	return ibv_modify_qp(l->qp, &attr,
			     IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT |
				     IBV_QP_ACCESS_FLAGS);
}

static int to_ready(struct verbs_loopback *l, const struct verbs_device *device)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_RTR,
		.path_mtu = device->port_attr.active_mtu,
		.dest_qp_num = l->qp->qp_num,
		.max_dest_rd_atomic = 1,
		.min_rnr_timer = RNR_TIMER,
		.ah_attr =
			{
				.dlid = device->port_attr.lid,
				.port_num = device->port,
				.is_global = 1,
				.grh =
					{
						.dgid = device->gid,
						.sgid_index = gid_index(device),
						.hop_limit = HOP_LIMIT,
					},
			},
	};
	struct ibv_qp_attr send = {
		.qp_state = IBV_QPS_RTS,
		.timeout = ACK_TIMEOUT,
		.retry_cnt = RETRIES,
		.rnr_retry = RETRIES,
		.max_rd_atomic = 1,
	};
	int error = ibv_modify_qp(l->qp, &attr,
				  IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU |
					  IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
					  IBV_QP_MAX_DEST_RD_ATOMIC |
					  IBV_QP_MIN_RNR_TIMER);

	if (error)
		return error;
	return ibv_modify_qp(l->qp, &send,
			     IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
				     IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN |
				     IBV_QP_MAX_QP_RD_ATOMIC);
}

static enum kvr_status connect_itself(struct verbs_loopback *l,
				      const struct verbs_device *device,
				      char *reason, size_t bytes)
{
	struct ibv_qp_init_attr init = {
		.cap = {.max_send_wr = 2, .max_send_sge = 1},
		.qp_type = IBV_QPT_RC,
		.sq_sig_all = 1,
	};

	l->cq = ibv_create_cq(device->context, 2, NULL, NULL, 0);
	if (!l->cq)
		return fail("create completion queue", reason, bytes);
	init.send_cq = init.recv_cq = l->cq;
	l->qp = ibv_create_qp(l->pd, &init);
	if (!l->qp)
		return fail("create queue pair", reason, bytes);
	errno = to_init(l, device);
	if (!errno)
		errno = to_ready(l, device);
	return errno ? fail("connect a card to itself", reason, bytes) : KVR_OK;
}

/* ---------------------------------------------------------- open, close */

/*
 * Without RELAXED_ORDERING, also where the slots have it: this read must stay
 * behind their writes.
 */
static enum kvr_status map_target(struct verbs_loopback *l,
				  const struct kvr_accelerator_ops *gpu,
				  void *address, const struct verbs_step *step,
				  char *reason, size_t bytes)
{
	const struct verbs_pages pages =
		verbs_pages_of((uint64_t)(uintptr_t)address, PROOF_BYTES,
			       (size_t)sysconf(_SC_PAGESIZE));
	enum kvr_status status;
	int fd = -1;

	if (step->rung == VERBS_RUNG_DMABUF) {
		status = gpu->memory->export_dmabuf(
			(const void *)(uintptr_t)pages.start, pages.bytes,
			step->pcie, &fd, reason, bytes);
		if (status != KVR_OK)
			return KVR_ERR_UNSUPPORTED;
	}
	l->mr_target = verbs_register_by(step, l->pd, address, PROOF_BYTES,
					 IBV_ACCESS_LOCAL_WRITE |
						 IBV_ACCESS_REMOTE_WRITE |
						 IBV_ACCESS_REMOTE_READ,
					 fd, pages.offset);
	if (!l->mr_target)
		status = fail("register a page", reason, bytes);
	else
		status = KVR_OK;
	if (fd >= 0)
		close(fd);
	l->target = (uint64_t)(uintptr_t)address;
	return status;
}

enum kvr_status verbs_loopback_open(const struct verbs_device *device,
				    const struct kvr_accelerator_ops *gpu,
				    void *address,
				    const struct verbs_step *step,
				    struct verbs_loopback **out, char *reason,
				    size_t reason_bytes)
{
	struct verbs_loopback *l = calloc(1, sizeof(*l));
	enum kvr_status status;

	if (!l) {
		snprintf(reason, reason_bytes, "no memory");
		return KVR_ERR_NO_MEMORY;
	}
	l->pd = ibv_alloc_pd(device->context);
	if (!l->pd) {
		status = fail("allocate protection domain", reason,
			      reason_bytes);
		goto err_close;
	}
	l->mr_host = ibv_reg_mr(l->pd, l->host, sizeof(l->host),
				IBV_ACCESS_LOCAL_WRITE);
	if (!l->mr_host) {
		status = fail("register host memory", reason, reason_bytes);
		goto err_close;
	}
	status = map_target(l, gpu, address, step, reason, reason_bytes);
	if (status == KVR_OK)
		status = connect_itself(l, device, reason, reason_bytes);
	if (status != KVR_OK)
		goto err_close;
	*out = l;
	return KVR_OK;

err_close:
	verbs_loopback_close(l);
	return status;
}

void verbs_loopback_close(struct verbs_loopback *l)
{
	if (!l)
		return;
	if (l->qp)
		ibv_destroy_qp(l->qp);
	if (l->cq)
		ibv_destroy_cq(l->cq);
	if (l->mr_target)
		ibv_dereg_mr(l->mr_target);
	if (l->mr_host)
		ibv_dereg_mr(l->mr_host);
	if (l->pd)
		ibv_dealloc_pd(l->pd);
	free(l);
}

/* ------------------------------------------------------------ read, write */

static enum kvr_status post(struct verbs_loopback *l, enum ibv_wr_opcode opcode,
			    uint8_t *host, uint32_t bytes)
{
	struct ibv_sge sge = {
		.addr = (uint64_t)(uintptr_t)host,
		.length = bytes,
		.lkey = l->mr_host->lkey,
	};
	struct ibv_send_wr wr = {
		.sg_list = &sge,
		.num_sge = 1,
		.opcode = opcode,
		.send_flags = IBV_SEND_SIGNALED,
		.wr.rdma.remote_addr = l->target,
		.wr.rdma.rkey = l->mr_target->rkey,
	};
	struct ibv_send_wr *bad;

	return ibv_post_send(l->qp, &wr, &bad) ? KVR_ERR_DEVICE : KVR_OK;
}

enum kvr_status verbs_loopback_read(struct verbs_loopback *l)
{
	/* The least that PCIe carries: one word. */
	return post(l, IBV_WR_RDMA_READ, l->host, sizeof(uint32_t));
}

enum kvr_status verbs_loopback_poll(struct verbs_loopback *l)
{
	struct ibv_wc wc;
	int got = ibv_poll_cq(l->cq, 1, &wc);

	if (got == 0)
		return KVR_ERR_AGAIN;
	return got == 1 && wc.status == IBV_WC_SUCCESS ? KVR_OK
						       : KVR_ERR_DEVICE;
}

/* --------------------------------------------------------------- proof */

static enum kvr_status await(struct verbs_loopback *l)
{
	const struct timespec pause = {.tv_nsec = 20000};
	const uint64_t deadline = kvr_clock_ns() + PROOF_NS;
	enum kvr_status status;

	while ((status = verbs_loopback_poll(l)) == KVR_ERR_AGAIN &&
	       kvr_clock_ns() < deadline)
		nanosleep(&pause, NULL);
	return status;
}

static enum kvr_status there_and_back(struct verbs_loopback *l,
				      const struct kvr_accelerator_ops *gpu,
				      uint32_t index, char *reason,
				      size_t bytes)
{
	uint8_t *sent = l->host, *back = l->host + PROOF_BYTES;
	uint8_t seen[PROOF_BYTES];

	/* Another each time: memory may still have that of the last. */
	for (uint32_t i = 0; i < PROOF_BYTES; i++)
		sent[i] = (uint8_t)(kvr_clock_ns() >> i % 4 ^ i);
	memset(back, 0, PROOF_BYTES);
	memset(seen, 0, sizeof(seen));
	if (post(l, IBV_WR_RDMA_WRITE, sent, PROOF_BYTES) != KVR_OK ||
	    await(l) != KVR_OK) {
		snprintf(reason, bytes,
			 "a write into the GPU fails: see dmesg for faults of "
			 "the IOMMU");
		return KVR_ERR_UNSUPPORTED;
	}
	if (post(l, IBV_WR_RDMA_READ, back, PROOF_BYTES) != KVR_OK ||
	    await(l) != KVR_OK || memcmp(sent, back, PROOF_BYTES) != 0) {
		snprintf(reason, bytes,
			 "a read of the GPU does not give what was written: "
			 "turn off ACS on the bridges between, or the IOMMU");
		return KVR_ERR_UNSUPPORTED;
	}
	if (gpu->memory->copy(index, seen, (void *)(uintptr_t)l->target,
			      PROOF_BYTES, reason, bytes) != KVR_OK)
		return KVR_ERR_UNSUPPORTED;
	if (memcmp(sent, seen, PROOF_BYTES) != 0) {
		snprintf(reason, bytes,
			 "what the card wrote is not in the GPU: turn off ACS "
			 "on the bridges between, or the IOMMU");
		return KVR_ERR_UNSUPPORTED;
	}
	return KVR_OK;
}

enum kvr_status verbs_loopback_prove(const struct verbs_device *device,
				     const struct kvr_accelerator_ops *gpu,
				     uint32_t index,
				     const struct verbs_step *step,
				     char *reason, size_t reason_bytes)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct verbs_loopback *l = NULL;
	enum kvr_status status;
	void *memory;

	/* Room for a whole page of its own: what is exported are pages. */
	status = gpu->memory->allocate(index, 2 * page, &memory, reason,
				       reason_bytes);
	if (status != KVR_OK)
		return KVR_ERR_UNSUPPORTED;
	status = verbs_loopback_open(
		device, gpu,
		(void *)(uintptr_t)(((uintptr_t)memory + page - 1) &
				    ~(page - 1)),
		step, &l, reason, reason_bytes);
	if (status == KVR_OK)
		status = there_and_back(l, gpu, index, reason, reason_bytes);
	verbs_loopback_close(l);
	gpu->memory->release(index, memory);
	return status == KVR_OK ? KVR_OK : KVR_ERR_UNSUPPORTED;
}
