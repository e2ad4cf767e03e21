/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/rdma/hostile/client.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <string.h>

#define PATIENCE_NS UINT64_C(20000000000)
#define RESOLVE_MS 2000

struct client_request client_request(struct pair *pair)
{
	const struct kvr_endpoint_config *c = &pair->out_config;
	struct client_request request = {
		.magic = CLIENT_MAGIC,
		.version = VERBS_VERSION,
		.ring_id = c->ring_id,
		.generation = c->generation,
		.from = c->rank,
		.to = c->peer,
		.attempt = 77,
	};

	memcpy(request.nonce, verbs_endpoint(pair->in)->address.nonce,
	       sizeof(request.nonce));
	return request;
}

static void address_of_in(struct pair *pair, struct sockaddr_in *to)
{
	const struct verbs_rail_address *at =
		&verbs_endpoint(pair->in)->address.rail[0];

	assert_int_equal(at->family, 4);
	*to = (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_port = htons(at->tcp_port),
	};
	memcpy(&to->sin_addr, at->ip, 4);
}

void client_dial(struct client *client, struct pair *pair, const void *data,
		 size_t bytes)
{
	struct sockaddr_storage from =
		verbs_rail(verbs_endpoint(pair->in), 0)->local;
	struct sockaddr_in to;

	memset(client, 0, sizeof(*client));
	client->pair = pair;
	client->data = data;
	client->data_bytes = (uint8_t)bytes;
	client->channel = rdma_create_event_channel();
	assert_non_null(client->channel);
	assert_int_equal(fcntl(client->channel->fd, F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(rdma_create_id(client->channel, &client->id, client,
					RDMA_PS_TCP),
			 0);
	address_of_in(pair, &to);
	assert_int_equal(rdma_resolve_addr(client->id, (struct sockaddr *)&from,
					   (struct sockaddr *)&to, RESOLVE_MS),
			 0);
}

static void make_queue_pair(struct client *client)
{
	struct ibv_qp_init_attr attr = {
		.cap = {.max_send_wr = 8,
			.max_recv_wr = 8,
			.max_send_sge = 1,
			.max_recv_sge = 1},
		.qp_type = IBV_QPT_RC,
	};

	client->cq = ibv_create_cq(client->id->verbs, 64, NULL, NULL, 0);
	assert_non_null(client->cq);
	attr.send_cq = attr.recv_cq = client->cq;
	assert_int_equal(rdma_create_qp(client->id, NULL, &attr), 0);
	client->mr =
		ibv_reg_mr(client->id->qp->pd, client->message,
			   sizeof(client->message), IBV_ACCESS_LOCAL_WRITE);
	assert_non_null(client->mr);
}

static void ask(struct client *client)
{
	struct rdma_conn_param param = {
		.private_data = client->data,
		.private_data_len = client->data_bytes,
		.responder_resources = 1,
		.initiator_depth = 1,
		.retry_count = 7,
		.rnr_retry_count = 7,
	};

	make_queue_pair(client);
	assert_int_equal(rdma_connect(client->id, &param), 0);
}

static void handle(struct client *client, enum rdma_cm_event_type type)
{
	switch (type) {
	case RDMA_CM_EVENT_ADDR_RESOLVED:
		assert_int_equal(rdma_resolve_route(client->id, RESOLVE_MS), 0);
		return;
	case RDMA_CM_EVENT_ROUTE_RESOLVED:
		ask(client);
		return;
	case RDMA_CM_EVENT_ESTABLISHED:
		client->state = CLIENT_OPEN;
		return;
	case RDMA_CM_EVENT_TIMEWAIT_EXIT:
		return;
	default:
		client->state = CLIENT_REFUSED;
	}
}

void client_step(struct client *client)
{
	struct rdma_cm_event *event;

	if (rdma_get_cm_event(client->channel, &event) == 0) {
		enum rdma_cm_event_type type = event->event;

		rdma_ack_cm_event(event);
		handle(client, type);
	}
	client->in = client->pair->ops->connect_poll(client->pair->in);
}

enum client_state client_dialled(struct client *client)
{
	const uint64_t end = test_now_ns() + PATIENCE_NS;

	while (client->state == CLIENT_DIALLING) {
		client_step(client);
		assert_true(test_now_ns() < end);
	}
	return client->state;
}

enum ibv_wc_status client_post(struct client *client, struct ibv_send_wr *wr)
{
	const uint64_t end = test_now_ns() + PATIENCE_NS;
	struct ibv_send_wr *bad;
	struct ibv_wc wc;

	wr->wr_id = 1;
	wr->send_flags = IBV_SEND_SIGNALED;
	assert_int_equal(ibv_post_send(client->id->qp, wr, &bad), 0);
	do {
		client_step(client);
		assert_true(test_now_ns() < end);
	} while (ibv_poll_cq(client->cq, 1, &wc) == 0);
	assert_int_equal(wc.wr_id, 1);
	return wc.status;
}

enum ibv_wc_status client_send(struct client *client, uint32_t bytes)
{
	struct ibv_sge sge = {
		.addr = (uintptr_t)client->message,
		.length = bytes,
		.lkey = client->mr->lkey,
	};
	struct ibv_send_wr wr = {
		.sg_list = &sge,
		.num_sge = bytes > 0,
		.opcode = IBV_WR_SEND,
	};

	return client_post(client, &wr);
}

void client_close(struct client *client)
{
	if (client->id->qp) {
		(void)rdma_disconnect(client->id);
		rdma_destroy_qp(client->id);
	}
	if (client->mr)
		ibv_dereg_mr(client->mr);
	if (client->cq)
		ibv_destroy_cq(client->cq);
	rdma_destroy_id(client->id);
	rdma_destroy_event_channel(client->channel);
}
