/* SPDX-License-Identifier: Apache-2.0 */
/* Queue pairs: how deep, and their way to READY. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rdma/verbs/endpoint.h"

/* Sends of OUT and of IN, where the device has that many. */
#define SEND_DEPTH_OUT 512u
#define SEND_DEPTH_IN 128u

/* Heartbeats, aborts and farewells, beside what credits bound. */
#define CONTROL 256u

#define SEND_SGE 16u
#define INLINE_BYTES ((uint32_t)sizeof(struct kvr_descriptor))

/*
 * Time-outs of the device. Retry 7 never expires on soft-RoCE and takes
 * seconds elsewhere, RNR retry 7 is for ever: the deadline of the ring alone
 * decides. 14 is 4.096 us << 14 = 67 ms for an acknowledgement; RNR timer 1 is
 * 10 us.
 */
#define ACK_TIMEOUT 14
#define RETRIES 7
#define RNR_TIMER 1

/* ---------------------------------------------------------------- plan */

static uint32_t chunks_of(const struct verbs_endpoint *e, uint32_t lane)
{
	const struct kvr_endpoint_config *c = &e->config;
	size_t chunks =
		(c->slot_bytes[lane] + c->chunk_bytes - 1) / c->chunk_bytes;

	return chunks > KVR_CHUNKS_MAX ? KVR_CHUNKS_MAX : (uint32_t)chunks;
}

/* Immediates that can be under way to us on one queue pair. */
static uint64_t receives(const struct verbs_endpoint *e,
			 const struct verbs_qp *q)
{
	const struct kvr_endpoint_config *c = &e->config;
	uint64_t count = q->index ? 1 : CONTROL;

	for (uint32_t lane = 0; lane < c->lanes; lane++) {
		uint64_t chunks = (chunks_of(e, lane) + e->qps - 1) / e->qps;

		/* Credits on OUT, descriptors on IN: one a slot. */
		if (q->index == 0)
			count += c->slots;
		if (verbs_is_in(e))
			count += chunks * c->slots;
	}
	return count;
}

static enum kvr_status too_deep(const struct verbs_endpoint *e,
				const struct verbs_device *device,
				const char *what, uint64_t wanted, int most)
{
	kvr_log(e->config.log, KVR_LOG_ERROR,
		"rank %" PRIu32 ": verbs: %s of %" PRIu64
		" entries is too deep for %s (%d): use larger chunk_bytes, "
		"fewer slots or more queue pairs",
		e->config.rank, what, wanted,
		ibv_get_device_name(device->context->device), most);
	return KVR_ERR_LIMIT;
}

static enum kvr_status plan_one(struct verbs_endpoint *e, struct verbs_qp *q)
{
	const struct verbs_device *device = verbs_rail(e, q->rail);
	const uint32_t most = (uint32_t)device->attr.max_qp_wr;
	const uint64_t count = receives(e, q);

	if (count > most)
		return too_deep(e, device, "a receive queue", count,
				device->attr.max_qp_wr);
	q->receive_depth = (uint32_t)count;
	q->depth = verbs_is_in(e) ? SEND_DEPTH_IN : SEND_DEPTH_OUT;
	if (q->depth > most)
		q->depth = most;
	q->sge_max = SEND_SGE;
	if (q->sge_max > (uint32_t)device->attr.max_sge)
		q->sge_max = (uint32_t)device->attr.max_sge;
	e->cq[q->rail].depth += q->depth + q->receive_depth + VERBS_MESSAGES;
	return KVR_OK;
}

static enum kvr_status check_chunk(const struct verbs_endpoint *e,
				   const struct verbs_device *device)
{
	if (e->config.chunk_bytes <= device->port_attr.max_msg_sz)
		return KVR_OK;
	kvr_log(e->config.log, KVR_LOG_ERROR,
		"rank %" PRIu32 ": verbs: chunk_bytes %zu exceeds what %s "
		"sends at once, %" PRIu32,
		e->config.rank, e->config.chunk_bytes,
		ibv_get_device_name(device->context->device),
		device->port_attr.max_msg_sz);
	return KVR_ERR_LIMIT;
}

enum kvr_status verbs_qp_plan(struct verbs_endpoint *e)
{
	enum kvr_status status = KVR_OK;

	for (uint32_t i = 0; i < e->qps && status == KVR_OK; i++) {
		struct verbs_qp *q = &e->qp[i];

		q->index = i;
		q->rail = i % e->rails;
		status = plan_one(e, q);
		if (status == KVR_OK)
			status = check_chunk(e, verbs_rail(e, q->rail));
	}
	for (uint32_t r = 0; r < e->rails && status == KVR_OK; r++) {
		const struct verbs_device *device = verbs_rail(e, r);

		if (e->cq[r].depth > (uint32_t)device->attr.max_cqe)
			status = too_deep(e, device, "a completion queue",
					  e->cq[r].depth, device->attr.max_cqe);
	}
	return status;
}

/* -------------------------------------------------------------- create */

static struct ibv_qp *make(struct verbs_endpoint *e, struct verbs_qp *q,
			   uint32_t inline_bytes)
{
	struct ibv_cq *cq = e->cq[q->rail].cq;
	struct ibv_qp_init_attr attr = {
		.qp_context = e,
		.send_cq = cq,
		.recv_cq = cq,
		.qp_type = IBV_QPT_RC,
		.cap =
			{
				.max_send_wr = q->depth,
				.max_recv_wr =
					q->receive_depth + VERBS_MESSAGES,
				.max_send_sge = q->sge_max,
				.max_recv_sge = 1,
				.max_inline_data = inline_bytes,
			},
	};

	return ibv_create_qp(e->pd[q->rail], &attr);
}

/* The hello's first: receives are used in the order posted. */
static enum kvr_status post_messages(struct verbs_endpoint *e,
				     struct verbs_qp *q)
{
	for (uint32_t i = verbs_is_in(e) ? 0 : 1; i < VERBS_MESSAGES; i += 2) {
		struct ibv_sge sge = {
			.addr = (uintptr_t)&e->talk.message[i],
			.length = sizeof(e->talk.message[i]),
			.lkey = e->mr_talk->lkey,
		};
		struct ibv_recv_wr wr = {
			.wr_id = verbs_wr_id(VERBS_WR_MESSAGE, e->attempt,
					     q->index, i),
			.sg_list = &sge,
			.num_sge = 1,
		};
		struct ibv_recv_wr *bad;

		if ((errno = ibv_post_recv(q->qp, &wr, &bad)))
			return verbs_errno(e->config.log, "queue pair 0",
					   "post receive");
	}
	return KVR_OK;
}

enum kvr_status verbs_post_receives(struct verbs_endpoint *e,
				    struct verbs_qp *q, uint32_t count)
{
	struct ibv_recv_wr wr = {
		.wr_id = verbs_wr_id(VERBS_WR_IMM, e->attempt, q->index, 0),
	};
	struct ibv_recv_wr *bad;

	for (uint32_t i = 0; i < count; i++)
		if ((errno = ibv_post_recv(q->qp, &wr, &bad)))
			return verbs_errno(e->config.log, "a queue pair",
					   "post receive");
	return KVR_OK;
}

enum kvr_status verbs_qp_create(struct verbs_endpoint *e, struct verbs_qp *q)
{
	const struct verbs_device *device = verbs_rail(e, q->rail);
	enum kvr_status status;

	q->ops = calloc(q->depth, sizeof(*q->ops));
	if (!q->ops)
		return KVR_ERR_NO_MEMORY;
	q->inline_max = INLINE_BYTES;
	q->qp = make(e, q, q->inline_max);
	if (!q->qp) {
		q->inline_max = 0;
		q->qp = make(e, q, 0);
	}
	if (!q->qp) {
		status = verbs_errno(
			e->config.log,
			ibv_get_device_name(device->context->device),
			"create queue pair");
		verbs_qp_destroy(q);
		return status;
	}
	return KVR_OK;
}

void verbs_qp_destroy(struct verbs_qp *q)
{
	/* Once it returns, the device reads and writes nothing for it. */
	if (q->qp)
		ibv_destroy_qp(q->qp);
	q->qp = NULL;
	free(q->ops);
	q->ops = NULL;
	q->posted = q->done = q->silent = 0;
	q->op_first = q->op_count = 0;
	q->step = VERBS_QP_IDLE;
}

/* -------------------------------------------------------------- states */

static enum kvr_status modify(struct verbs_endpoint *e, struct verbs_qp *q,
			      struct ibv_qp_attr *attr, int mask,
			      const char *to)
{
	char operation[64];

	errno = ibv_modify_qp(q->qp, attr, mask);
	if (!errno)
		return KVR_OK;
	snprintf(operation, sizeof(operation), "move queue pair to %s", to);
	verbs_complain(e, q, operation, strerror(errno));
	return KVR_ERR_SYSTEM;
}

enum kvr_status verbs_qp_init_state(struct verbs_endpoint *e,
				    struct verbs_qp *q,
				    struct ibv_qp_attr *attr, int mask)
{
	enum kvr_status status;

	attr->qp_state = IBV_QPS_INIT;
	attr->qp_access_flags = IBV_ACCESS_LOCAL_WRITE;
	status = modify(e, q, attr, mask | IBV_QP_STATE | IBV_QP_ACCESS_FLAGS,
			"INIT");
	/* Only from here on does it take receives. */
	if (status == KVR_OK && q->index == 0)
		status = post_messages(e, q);
	if (status == KVR_OK)
		status = verbs_post_receives(e, q, q->receive_depth);
	return status;
}

enum kvr_status verbs_qp_ready_state(struct verbs_endpoint *e,
				     struct verbs_qp *q,
				     struct ibv_qp_attr *receive,
				     int receive_mask, struct ibv_qp_attr *send,
				     int send_mask)
{
	enum kvr_status status;

	q->remote_qpn = receive->dest_qp_num;
	q->remote_gid = receive->ah_attr.grh.dgid;
	receive->qp_state = IBV_QPS_RTR;
	receive->min_rnr_timer = RNR_TIMER;
	status = modify(e, q, receive,
			receive_mask | IBV_QP_STATE | IBV_QP_MIN_RNR_TIMER,
			"RTR");
	if (status != KVR_OK)
		return status;
	send->qp_state = IBV_QPS_RTS;
	send->timeout = ACK_TIMEOUT;
	send->retry_cnt = RETRIES;
	send->rnr_retry = RETRIES;
	return modify(e, q, send,
		      send_mask | IBV_QP_STATE | IBV_QP_TIMEOUT |
			      IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY,
		      "RTS");
}

void verbs_qp_error_state(struct verbs_qp *q)
{
	struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};

	/* It may be there already. */
	if (q->qp)
		(void)ibv_modify_qp(q->qp, &attr, IBV_QP_STATE);
}

enum kvr_status verbs_qp_allow_writes(struct verbs_endpoint *e)
{
	enum kvr_status status = KVR_OK;

	for (uint32_t i = 0; i < e->qps && status == KVR_OK; i++) {
		struct ibv_qp_attr attr = {
			.qp_access_flags = IBV_ACCESS_LOCAL_WRITE |
					   IBV_ACCESS_REMOTE_WRITE,
		};

		status = modify(e, &e->qp[i], &attr, IBV_QP_ACCESS_FLAGS,
				"writable");
	}
	return status;
}
