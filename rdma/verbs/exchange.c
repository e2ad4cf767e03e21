/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connecting by addresses that travel with the caller's all-gather: GID, LID
 * and the numbers of queue pairs that exist before. Needs no librdmacm. A
 * peer that dies is noticed by its silence only; one that closes says so.
 */
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "rdma/verbs/endpoint.h"

#define PSN_MASK 0xffffffu
#define HOP_LIMIT 64

static enum kvr_status open_one(struct verbs_endpoint *e, struct verbs_qp *q)
{
	struct ibv_qp_attr attr = {
		.pkey_index = 0,
		.port_num = verbs_rail(e, q->rail)->port,
	};
	enum kvr_status status = verbs_qp_create(e, q);

	if (status != KVR_OK)
		return status;
	e->address.qpn[q->index] = q->qp->qp_num;
	return verbs_qp_init_state(e, q, &attr,
				   IBV_QP_PKEY_INDEX | IBV_QP_PORT);
}

enum kvr_status verbs_exchange_open(struct verbs_endpoint *e)
{
	enum kvr_status status = KVR_OK;

	if (getrandom(&e->address.psn, sizeof(e->address.psn), 0) !=
	    sizeof(e->address.psn))
		return verbs_errno(e->config.log, "the system", "getrandom");
	e->address.psn &= PSN_MASK;
	for (uint32_t rail = 0; rail < e->rails; rail++) {
		const struct verbs_device *device = verbs_rail(e, rail);
		struct verbs_rail_address *out = &e->address.rail[rail];

		memcpy(out->ip, device->gid.raw, sizeof(out->ip));
		out->lid = device->port_attr.lid;
		out->mtu = (uint8_t)device->port_attr.active_mtu;
		out->link_layer = device->port_attr.link_layer;
	}
	for (uint32_t i = 0; i < e->qps && status == KVR_OK; i++)
		status = open_one(e, &e->qp[i]);
	return status;
}

/* The path has the smaller MTU of both ports. */
static enum ibv_mtu path_mtu(const struct verbs_device *device, uint8_t theirs)
{
	enum ibv_mtu ours = device->port_attr.active_mtu;

	return theirs >= IBV_MTU_256 && theirs < ours ? (enum ibv_mtu)theirs
						      : ours;
}

static enum kvr_status connect_one(struct verbs_endpoint *e, struct verbs_qp *q)
{
	const struct verbs_device *device = verbs_rail(e, q->rail);
	const struct verbs_rail_address *to = &e->remote.rail[q->rail];
	struct ibv_qp_attr receive = {
		.path_mtu = path_mtu(device, to->mtu),
		.dest_qp_num = e->remote.qpn[q->index],
		.rq_psn = e->remote.psn,
		.max_dest_rd_atomic = 1,
		.ah_attr =
			{
				.dlid = to->lid,
				.port_num = device->port,
				/* Always by GID: RoCE needs it, InfiniBand
				   takes it. */
				.is_global = 1,
				.grh =
					{
						.sgid_index =
							(uint8_t)device
								->gid_index,
						.hop_limit = HOP_LIMIT,
					},
			},
	};
	struct ibv_qp_attr send = {
		.sq_psn = e->address.psn,
		.max_rd_atomic = 1,
	};

	memcpy(receive.ah_attr.grh.dgid.raw, to->ip, sizeof(to->ip));
	q->step = VERBS_QP_READY;
	return verbs_qp_ready_state(
		e, q, &receive,
		IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
			IBV_QP_MAX_DEST_RD_ATOMIC,
		&send, IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC);
}

enum kvr_status verbs_exchange_connect(struct verbs_endpoint *e)
{
	enum kvr_status status = KVR_OK;

	for (uint32_t i = 0; i < e->qps && status == KVR_OK; i++)
		status = connect_one(e, &e->qp[i]);
	if (status == KVR_OK && !verbs_is_in(e))
		status = verbs_hello_begin(e);
	return status;
}
