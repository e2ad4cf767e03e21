/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Strangers at a verbs IN endpoint, before any hello is believed: they are
 * turned away or dropped, write nothing, and the real peer still gets in.
 * Some know the nonce of the endpoint's address, none the key.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/rdma/hostile/client.h"

#define CROWD 200

static void open_pair(struct pair *pair)
{
	pair_init(pair, 1, 2, 5000, 1000);
	pair_open(pair);
	pair_introduce(pair);
	test_fill(verbs_endpoint(pair->in)->memory,
		  verbs_endpoint(pair->in)->memory_bytes, 5);
}

static void assert_untouched(struct pair *pair)
{
	const struct verbs_endpoint *in = verbs_endpoint(pair->in);
	uint8_t *expected = malloc(in->memory_bytes);

	assert_non_null(expected);
	test_fill(expected, in->memory_bytes, 5);
	assert_memory_equal(in->memory, expected, in->memory_bytes);
	free(expected);
}

/* Nothing was written, and the real peer gets in as ever. */
static void welcome_and_close(struct pair *pair)
{
	enum kvr_status in, out;

	assert_untouched(pair);
	pair_connect(pair, &in, &out);
	assert_int_equal(in, KVR_OK);
	assert_int_equal(out, KVR_OK);
	assert_int_equal(pair->ops->signal(pair->out, 5), KVR_OK);
	assert_int_equal(pair->ops->signal(pair->in, 6), KVR_OK);
	pair_run(pair, 1, 1);
	assert_untouched(pair);
	pair_close(pair);
}

/* --------------------------------------------------------- private data */

static void turned_away(struct pair *pair, const void *data, size_t bytes)
{
	struct client client;

	client_dial(&client, pair, data, bytes);
	assert_int_equal(client_dialled(&client), CLIENT_REFUSED);
	assert_int_equal(client.in, KVR_ERR_AGAIN);
	client_close(&client);
}

static void request_of_garbage_is_turned_away(void **state)
{
	struct client_request good, bad;
	uint8_t noise[56];
	struct pair pair;

	(void)state;
	open_pair(&pair);
	good = client_request(&pair);
	test_fill(noise, sizeof(noise), 1);
	turned_away(&pair, noise, sizeof(noise));
	turned_away(&pair, noise, 1);
	turned_away(&pair, NULL, 0);
	bad = good;
	bad.magic++;
	turned_away(&pair, &bad, sizeof(bad));
	bad = good;
	bad.nonce[KVR_NONCE_BYTES - 1] ^= 1;
	turned_away(&pair, &bad, sizeof(bad));
	bad = good;
	bad.qp = 1;
	turned_away(&pair, &bad, sizeof(bad));
	bad.qp = 255;
	turned_away(&pair, &bad, sizeof(bad));
	bad = good;
	bad.rail = 1;
	turned_away(&pair, &bad, sizeof(bad));
	welcome_and_close(&pair);
}

/* ---------------------------------------------------------------- hello */

/* A hello that fits in all but the MAC. */
static void write_hello(struct client *client)
{
	struct pair *pair = client->pair;
	struct verbs_message *m = &client->message[0];
	struct verbs_hello *hello = &m->body.hello;

	m->magic = VERBS_MESSAGE_MAGIC;
	m->version = VERBS_VERSION;
	m->type = VERBS_HELLO_OUT;
	kvr_hello_init(&pair->out_config,
		       verbs_endpoint(pair->in)->address.nonce, &hello->base);
	hello->secret_mark = verbs_endpoint(pair->in)->secret_mark;
	hello->rails = hello->qps = 1;
	hello->qpn[0] = client->id->qp->qp_num;
}

static void step_until_refused(struct client *client)
{
	const uint64_t end = test_now_ns() + UINT64_C(10000000000);

	while (client->state == CLIENT_OPEN) {
		client_step(client);
		assert_int_equal(client->in, KVR_ERR_AGAIN);
		assert_true(test_now_ns() < end);
	}
}

/* bytes of a hello, changed, and the connection is over. */
static void hello_is_dropped(void (*change)(struct client *), uint32_t bytes)
{
	struct client_request request;
	struct client client;
	struct pair pair;

	open_pair(&pair);
	request = client_request(&pair);
	client_dial(&client, &pair, &request, sizeof(request));
	assert_int_equal(client_dialled(&client), CLIENT_OPEN);
	write_hello(&client);
	if (change)
		change(&client);
	(void)client_send(&client, bytes);
	step_until_refused(&client);
	client_close(&client);
	welcome_and_close(&pair);
}

static void change_to_noise(struct client *client)
{
	test_fill(client->message, sizeof(client->message), 2);
}

static void change_nonce(struct client *client)
{
	client->message[0].body.hello.base.nonce[0] ^= 1;
}

static void change_turn(struct client *client)
{
	client->message[0].type = VERBS_PROOF;
}

static void change_queue_pair(struct client *client)
{
	client->message[0].body.hello.qpn[0]++;
}

static void hello_without_key_is_dropped(void **state)
{
	const uint32_t whole = sizeof(struct verbs_message);

	(void)state;
	hello_is_dropped(NULL, whole);
	hello_is_dropped(NULL, 0);
	hello_is_dropped(NULL, 1);
	hello_is_dropped(NULL, whole - 1);
	hello_is_dropped(NULL, whole + 1);
	hello_is_dropped(change_to_noise, whole);
	hello_is_dropped(change_nonce, whole);
	hello_is_dropped(change_turn, whole);
}

/*
 * A genuine hello of the real peer, seen on the wire and sent again to the
 * same receiver: its MAC is right, but it names other queue pairs.
 */
static void change_to_replay(struct client *client)
{
	struct verbs_endpoint *in = verbs_endpoint(client->pair->in);
	struct verbs_talk talk = {.count = 0};

	memcpy(&talk.message[0], &client->message[0], sizeof(talk.message[0]));
	talk.message[0].body.hello.qpn[0]++;
	assert_int_equal(verbs_talk_seal(in->key, &talk, 0), KVR_OK);
	client->message[0] = talk.message[0];
}

static void hello_of_other_queue_pairs_is_dropped(void **state)
{
	(void)state;
	hello_is_dropped(change_queue_pair, sizeof(struct verbs_message));
	hello_is_dropped(change_to_replay, sizeof(struct verbs_message));
}

/* From a talk that came to an end, to the endpoint of the next. */
static void hello_of_another_connection_is_dropped(void **state)
{
	struct pair *old = pair_new(1, 2, 5000, 1000);
	struct client_request request;
	struct client client;
	struct pair pair;

	(void)state;
	open_pair(&pair);
	request = client_request(&pair);
	client_dial(&client, &pair, &request, sizeof(request));
	assert_int_equal(client_dialled(&client), CLIENT_OPEN);
	client.message[0] = verbs_endpoint(old->in)->talk.message[0];
	(void)client_send(&client, sizeof(struct verbs_message));
	step_until_refused(&client);
	client_close(&client);
	pair_free(old);
	welcome_and_close(&pair);
}

/* ---------------------------------------------------------------- writes */

/* It even knows where, and by which key. */
static void write_before_the_hello_reaches_nothing(void **state)
{
	static const enum ibv_wr_opcode opcodes[] = {IBV_WR_RDMA_WRITE,
						     IBV_WR_RDMA_WRITE_WITH_IMM,
						     IBV_WR_RDMA_READ};

	(void)state;
	for (uint32_t i = 0; i < 2 * 3; i++) {
		const bool empty = i >= 3;
		struct client_request request;
		struct verbs_endpoint *in;
		struct client client;
		struct pair pair;

		open_pair(&pair);
		in = verbs_endpoint(pair.in);
		request = client_request(&pair);
		client_dial(&client, &pair, &request, sizeof(request));
		assert_int_equal(client_dialled(&client), CLIENT_OPEN);
		struct ibv_sge sge = {(uintptr_t)client.message, 8,
				      client.mr->lkey};
		struct ibv_send_wr wr = {
			.opcode = opcodes[i % 3],
			.sg_list = &sge,
			.num_sge = !empty,
			.wr.rdma = {(uintptr_t)in->memory + in->layout.slots[0],
				    in->reached->part[0].mr[0]->rkey},
		};
		assert_int_not_equal(client_post(&client, &wr), IBV_WC_SUCCESS);
		client_close(&client);
		welcome_and_close(&pair);
	}
}

/* ----------------------------------------------------------------- crowds */

/* They hold their connections, or half of one, and say nothing. */
static void crowd(bool knows_nonce, bool waits)
{
	static struct client clients[CROWD];
	struct client_request request;
	struct pair pair;

	open_pair(&pair);
	request = client_request(&pair);
	if (!knows_nonce)
		request.nonce[0] ^= 1;
	for (int i = 0; i < CROWD; i++) {
		client_dial(&clients[i], &pair, &request, sizeof(request));
		if (waits)
			(void)client_dialled(&clients[i]);
		else
			client_step(&clients[i]);
	}
	welcome_and_close(&pair);
	for (int i = 0; i < CROWD; i++)
		client_close(&clients[i]);
}

static void crowd_of_strangers_keeps_nobody_out(void **state)
{
	(void)state;
	crowd(false, true);
}

static void crowd_that_says_nothing_keeps_nobody_out(void **state)
{
	(void)state;
	crowd(true, true);
}

static void crowd_that_never_finishes_keeps_nobody_out(void **state)
{
	(void)state;
	crowd(true, false);
}

/* Gone before IN looks at the request, or just after. */
static void client_that_gives_up_is_forgotten(void **state)
{
	struct pair pair;

	(void)state;
	open_pair(&pair);
	for (int steps = 0; steps < 12; steps++) {
		struct client_request request = client_request(&pair);
		struct client client;

		client_dial(&client, &pair, &request, sizeof(request));
		for (int i = 0; i < steps; i++) {
			usleep(2000);
			client_step(&client);
			assert_int_equal(client.in, KVR_ERR_AGAIN);
		}
		client_close(&client);
	}
	welcome_and_close(&pair);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(request_of_garbage_is_turned_away),
		cmocka_unit_test(hello_without_key_is_dropped),
		cmocka_unit_test(hello_of_other_queue_pairs_is_dropped),
		cmocka_unit_test(hello_of_another_connection_is_dropped),
		cmocka_unit_test(write_before_the_hello_reaches_nothing),
		cmocka_unit_test(client_that_gives_up_is_forgotten),
		cmocka_unit_test(crowd_of_strangers_keeps_nobody_out),
		cmocka_unit_test(crowd_that_says_nothing_keeps_nobody_out),
		cmocka_unit_test(crowd_that_never_finishes_keeps_nobody_out),
	};
	char reason[160];

	pair_ops = &kvr_verbs_transport;
	if (pair_ops->probe(reason, sizeof(reason)) != KVR_OK) {
		printf("skipped: %s\n", reason);
		return 77;
	}
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
