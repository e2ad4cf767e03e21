/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Speaks to a verbs IN endpoint without being one: a connection of librdmacm
 * with whatever private data and messages it likes.
 */
#ifndef TESTS_RDMA_HOSTILE_CLIENT_H
#define TESTS_RDMA_HOSTILE_CLIENT_H

#include "rdma/verbs/endpoint.h"
#include "tests/conformance/transport/pair.h"

/* What a connection request carries; written down here once more. */
struct client_request {
	uint32_t magic;
	uint16_t version;
	uint8_t rail, qp;
	uint64_t ring_id;
	uint32_t generation, from, to, attempt;
	uint8_t nonce[KVR_NONCE_BYTES];
};

#define CLIENT_MAGIC 0x71655256u

enum client_state { CLIENT_DIALLING, CLIENT_OPEN, CLIENT_REFUSED };

struct client {
	struct pair *pair; /* whose IN it attacks; polled meanwhile */
	struct rdma_event_channel *channel;
	struct rdma_cm_id *id;
	struct ibv_cq *cq;
	struct ibv_mr *mr; /* of message */
	enum client_state state;
	const void *data; /* private data of the request */
	uint8_t data_bytes;
	enum kvr_status in; /* what IN's connect_poll said last */
	struct verbs_message message[2];
};

/* The request that pair's OUT would make. */
struct client_request client_request(struct pair *pair);

/* Begins to connect. */
void client_dial(struct client *client, struct pair *pair, const void *data,
		 size_t bytes);

/* One look at its events, and one poll of IN. */
void client_step(struct client *client);

/* Until it is let in or turned away. */
enum client_state client_dialled(struct client *client);

/* Posts it and waits for its completion; IN is polled. */
enum ibv_wc_status client_post(struct client *client, struct ibv_send_wr *wr);

/* Sends the first bytes of message[0]. */
enum ibv_wc_status client_send(struct client *client, uint32_t bytes);

void client_close(struct client *client);

#endif
