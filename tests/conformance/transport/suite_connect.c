/* SPDX-License-Identifier: Apache-2.0 */
/* How edges begin, who is refused, and how they end. */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/conformance/transport/pair.h"
#include "tests/conformance/transport/suite.h"

/* --------------------------------------------------------------- begin */

static void connect_before_the_peer_does_is_again(void **state)
{
	struct pair pair;
	uint8_t in[KVR_ADDRESS_BYTES], out[KVR_ADDRESS_BYTES];
	enum kvr_status at_in, at_out;

	(void)state;
	pair_init(&pair, 1, 2, 64, 64);
	pair_open(&pair);
	pair.ops->address(pair.in, in);
	pair.ops->address(pair.out, out);
	assert_int_equal(pair.ops->connect_poll(pair.in), KVR_ERR_AGAIN);
	assert_int_equal(pair.ops->connect_poll(pair.out), KVR_ERR_AGAIN);
	assert_int_equal(pair.ops->connect(pair.out, in), KVR_OK);
	for (int i = 0; i < 100; i++)
		assert_int_equal(pair.ops->connect_poll(pair.out),
				 KVR_ERR_AGAIN);
	assert_int_equal(pair.ops->signal(pair.in, 1), KVR_ERR_AGAIN);
	assert_int_equal(pair.ops->connect(pair.in, out), KVR_OK);
	pair_connect(&pair, &at_in, &at_out);
	assert_int_equal(at_in, KVR_OK);
	assert_int_equal(at_out, KVR_OK);
	assert_int_equal(pair.ops->signal(pair.out, 1), KVR_OK);
	pair_run(&pair, 1, 0);
	pair_close(&pair);
}

static void connect_to_a_peer_that_never_was_is_again(void **state)
{
	struct pair pair;

	(void)state;
	pair_init(&pair, 1, 2, 64, 64);
	pair_open(&pair);
	pair_introduce(&pair);
	pair.ops->endpoint_close(pair.in);
	pair.in = NULL;
	const int before = test_fd_count();
	for (int i = 0; i < 2000; i++)
		assert_int_equal(pair.ops->connect_poll(pair.out),
				 KVR_ERR_AGAIN);
	assert_int_equal(test_fd_count(), before);
	pair_close(&pair);
}

static void connect_to_garbage_is_refused(void **state)
{
	struct pair pair;
	uint8_t own[KVR_ADDRESS_BYTES], address[KVR_ADDRESS_BYTES];

	(void)state;
	pair_init(&pair, 1, 2, 64, 64);
	pair_open(&pair);
	pair.ops->address(pair.out, own);
	for (uint64_t i = 0; i < 100; i++) {
		test_fill(address, sizeof(address), i);
		assert_false(pair.ops->reaches(own, address));
		assert_false(pair.ops->reaches(address, own));
		assert_int_not_equal(pair.ops->connect(pair.out, address),
				     KVR_OK);
	}
	pair_close(&pair);
}

static void open_of_impossible_sizes_is_invalid(void **state)
{
	struct pair pair;
	struct kvr_endpoint_config bad[5];
	struct kvr_endpoint *out = NULL;

	(void)state;
	pair_init(&pair, 1, 2, 64, 64);
	pair_open(&pair);
	for (int i = 0; i < 5; i++)
		bad[i] = pair.in_config;
	bad[0].lanes = 0;
	bad[1].lanes = KVR_LANES_MAX + 1;
	bad[2].slots = 0;
	bad[3].slot_bytes[0] = SIZE_MAX / 2 + 1; /* times 2 is 0 */
	bad[4].slot_bytes[0] = (size_t)1 << 62;
	for (int i = 0; i < 5; i++) {
		assert_int_equal(
			pair.ops->endpoint_open(pair.transport, &bad[i], &out),
			KVR_ERR_INVALID);
		assert_null(out);
	}
	pair_close(&pair);
}

static void slot_of_any_size_is_page_aligned(void **state)
{
	struct pair *pair = pair_new(2, 5, 5001, 1000);

	(void)state;
	for (uint32_t i = 0; i < 10; i++) {
		uint8_t *slot = pair->ops->slot(pair->in, i & 1, i / 2);

		assert_int_equal((uintptr_t)slot % 4096, 0);
		memset(slot, (int)i, 5001);
	}
	for (uint32_t i = 0; i < 10; i++) {
		uint8_t *slot = pair->ops->slot(pair->in, i & 1, i / 2);

		assert_int_equal(slot[0], i);
		assert_int_equal(slot[5000], i);
	}
	pair_free(pair);
}

/* ------------------------------------------------------------ mismatch */

struct difference {
	const char *field;
	void (*apply)(struct kvr_endpoint_config *config);
	const char *values[2];
};

static void other_ring(struct kvr_endpoint_config *c)
{
	c->ring_id = 4711;
}
static void other_generation(struct kvr_endpoint_config *c)
{
	c->generation = 4711;
}
static void other_n(struct kvr_endpoint_config *c)
{
	c->n = 4711;
}
static void other_rank(struct kvr_endpoint_config *c)
{
	c->rank = 4711;
}
static void other_peer(struct kvr_endpoint_config *c)
{
	c->peer = 4711;
}
static void other_lanes(struct kvr_endpoint_config *c)
{
	c->lanes = 2;
}
static void other_slots(struct kvr_endpoint_config *c)
{
	c->slots = 47;
}
static void other_bytes(struct kvr_endpoint_config *c)
{
	c->slot_bytes[0] = 4711;
}
static void other_chunk(struct kvr_endpoint_config *c)
{
	c->chunk_bytes = 4711;
}

static const struct difference differences[] = {
	{"ring id", other_ring, {"4711 here", "4711 there"}},
	{"generation", other_generation, {"4711 here", "4711 there"}},
	{"ring size", other_n, {"4711 here", "4711 there"}},
	{"rank", other_rank, {"4711 here", "4711 there"}},
	{"rank", other_peer, {"4711 here", "4711 there"}},
	{"lanes", other_lanes, {"2 here", "2 there"}},
	{"slots", other_slots, {"47 here", "47 there"}},
	{"slot_bytes of lane 0", other_bytes, {"4711 here", "4711 there"}},
	{"chunk_bytes", other_chunk, {"4711 here", "4711 there"}},
};

static void refuse(const struct difference *difference, bool at_in)
{
	struct pair pair;
	enum kvr_status in, out;

	pair_init(&pair, 1, 2, 64, 64);
	difference->apply(at_in ? &pair.in_config : &pair.out_config);
	pair_open(&pair);
	pair_introduce(&pair);
	pair_connect(&pair, &in, &out);
	assert_int_equal(in, KVR_ERR_MISMATCH);
	assert_int_equal(out, KVR_ERR_MISMATCH);
	/* Once by each side, and each names both values. */
	assert_non_null(strstr(pair.lines, difference->field));
	assert_non_null(strstr(pair.lines, difference->values[0]));
	assert_non_null(strstr(pair.lines, difference->values[1]));
	/* It stays so. */
	assert_int_equal(pair.ops->connect_poll(pair.in), KVR_ERR_MISMATCH);
	assert_int_equal(pair.ops->connect_poll(pair.out), KVR_ERR_MISMATCH);
	pair_close(&pair);
}

static void connect_with_a_difference_is_refused_on_both_sides(void **state)
{
	const size_t count = sizeof(differences) / sizeof(differences[0]);

	(void)state;
	for (size_t i = 0; i < count; i++) {
		refuse(&differences[i], false);
		refuse(&differences[i], true);
	}
}

/* Neither an answer nor the end of a wait: both say that it is the secret. */
static void connect_with_another_secret_is_refused_on_both_sides(void **state)
{
	enum kvr_status in, out;
	struct pair pair;

	(void)state;
	if (!pair_ops->asks_secret)
		skip();
	for (int i = 0; i < 3; i++) {
		pair_init(&pair, 1, 2, 64, 64);
		pair.in_config.secret = "barley";
		pair.in_config.secret_bytes = 6;
		if (i == 1) {
			pair.out_config.secret = "rye";
			pair.out_config.secret_bytes = 3;
		} else if (i == 2) {
			pair.out_config.secret = "barley";
			pair.out_config.secret_bytes = 6;
			pair.out_config.entropy[31] ^= 1;
		}
		pair_open(&pair);
		pair_introduce(&pair);
		pair_connect(&pair, &in, &out);
		assert_int_equal(in, KVR_ERR_MISMATCH);
		assert_int_equal(out, KVR_ERR_MISMATCH);
		assert_non_null(strstr(pair.lines, "rank 1: rank 0 refused: "
						   "the secret"));
		assert_non_null(strstr(pair.lines, "rank 0: rank 1 refused: "
						   "the secret"));
		pair_close(&pair);
	}
}

static void connect_with_the_same_secret_succeeds(void **state)
{
	enum kvr_status in, out;
	struct pair pair;

	(void)state;
	pair_init(&pair, 1, 2, 64, 64);
	pair.in_config.secret = pair.out_config.secret = "barley";
	pair.in_config.secret_bytes = pair.out_config.secret_bytes = 6;
	pair_open(&pair);
	pair_introduce(&pair);
	pair_connect(&pair, &in, &out);
	assert_int_equal(in, KVR_OK);
	assert_int_equal(out, KVR_OK);
	pair_close(&pair);
}

/* Even when who noticed first has left since. */
static void connect_refused_by_a_peer_that_left_is_a_mismatch(void **state)
{
	struct pair pair;
	enum kvr_status in = KVR_ERR_AGAIN, out = KVR_ERR_AGAIN;

	(void)state;
	pair_init(&pair, 1, 2, 64, 64);
	pair.out_config.slots = 3;
	pair_open(&pair);
	pair_introduce(&pair);
	while (in == KVR_ERR_AGAIN && out == KVR_ERR_AGAIN) {
		out = pair.ops->connect_poll(pair.out);
		if (out == KVR_ERR_AGAIN)
			in = pair.ops->connect_poll(pair.in);
	}
	pair.ops->endpoint_close(out == KVR_ERR_AGAIN ? pair.in : pair.out);
	if (out == KVR_ERR_AGAIN) {
		pair.in = NULL;
		out = pair.ops->connect_poll(pair.out);
	} else {
		pair.out = NULL;
		in = pair.ops->connect_poll(pair.in);
	}
	assert_int_equal(in, KVR_ERR_MISMATCH);
	assert_int_equal(out, KVR_ERR_MISMATCH);
	pair_close(&pair);
}

static void connect_of_two_receivers_is_refused(void **state)
{
	struct pair pair;
	uint8_t in[KVR_ADDRESS_BYTES], out[KVR_ADDRESS_BYTES];
	enum kvr_status status = KVR_ERR_AGAIN;

	(void)state;
	pair_init(&pair, 1, 2, 64, 64);
	pair.out_config.role = KVR_ROLE_IN;
	pair_open(&pair);
	pair.ops->address(pair.in, in);
	pair.ops->address(pair.out, out);
	assert_int_equal(pair.ops->connect(pair.in, out), KVR_OK);
	assert_int_equal(pair.ops->connect(pair.out, in), KVR_OK);
	/* Refused, or never connected; never connected to each other. */
	for (int i = 0; i < 100 && status == KVR_ERR_AGAIN; i++) {
		status = pair.ops->connect_poll(pair.in);
		assert_int_not_equal(status, KVR_OK);
		assert_int_not_equal(pair.ops->connect_poll(pair.out), KVR_OK);
	}
	pair_close(&pair);
}

/* --------------------------------------------------------- several edges */

/* A ring of two: A to B and B to A, told apart by role. */
static void edges_between_the_same_ranks_stay_apart(void **state)
{
	struct pair *ab = pair_new(1, 2, 4096, 4096), ba;
	enum kvr_status in, out;

	(void)state;
	pair_init(&ba, 1, 2, 4096, 4096);
	ba.in_config.ring_id = ba.out_config.ring_id = ab->in_config.ring_id;
	ba.in_config.rank = ba.out_config.peer = 0;
	ba.in_config.peer = ba.out_config.rank = 1;
	pair_open(&ba);
	pair_introduce(&ba);
	pair_connect(&ba, &in, &out);
	assert_int_equal(in, KVR_OK);
	assert_int_equal(out, KVR_OK);
	for (uint32_t i = 0; i < 100; i++) {
		assert_int_equal(ab->ops->signal(ab->out, 1000 + i), KVR_OK);
		assert_int_equal(ab->ops->signal(ba.out, 2000 + i), KVR_OK);
		pair_run(ab, i + 1, 0);
		pair_run(&ba, i + 1, 0);
		assert_int_equal(ab->at_in.imms[i], 1000 + i);
		assert_int_equal(ba.at_in.imms[i], 2000 + i);
	}
	pair_close(&ba);
	pair_free(ab);
}

static void rings_of_one_process_stay_apart(void **state)
{
	enum { RINGS = 20 };
	struct pair *pairs[RINGS];
	uint8_t source[512];

	(void)state;
	for (uint32_t i = 0; i < RINGS; i++)
		pairs[i] = pair_new(2, 2, 512, 512);
	for (uint32_t i = 0; i < RINGS; i++) {
		const struct kvr_piece piece =
			pair_piece(pairs[i], source, sizeof(source));

		memset(source, (int)i, sizeof(source));
		assert_int_equal(pairs[i]->ops->write(
					 pairs[i]->out,
					 &(struct kvr_write){.bytes = 512,
							     .lane = 1,
							     .pieces = &piece,
							     .piece_count = 1,
							     .imm = i}),
				 KVR_OK);
		pair_run(pairs[i], 1, 0);
	}
	for (uint32_t i = 0; i < RINGS; i++) {
		memset(source, (int)i, sizeof(source));
		assert_int_equal(pairs[i]->at_in.imms[0], i);
		assert_memory_equal(pairs[i]->ops->slot(pairs[i]->in, 1, 0),
				    source, 512);
		pair_free(pairs[i]);
	}
}

/* ----------------------------------------------------------------- end */

static void close_of_sender_is_lost_after_what_it_signalled(void **state)
{
	struct pair *pair = pair_new(1, 2, 64, 64);

	(void)state;
	for (uint32_t i = 0; i < 50; i++)
		assert_int_equal(pair->ops->signal(pair->out, i), KVR_OK);
	pair->ops->endpoint_close(pair->out);
	pair->out = NULL;
	pair_await_in(pair, KVR_ERR_PEER_LOST);
	assert_int_equal(pair->at_in.imm_count, 50);
	for (uint32_t i = 0; i < 50; i++)
		assert_int_equal(pair->at_in.imms[i], i);
	/* And stays so. */
	pair_await_in(pair, KVR_ERR_PEER_LOST);
	assert_int_equal(pair->at_in.imm_count, 50);
	pair_free(pair);
}

static void close_of_receiver_is_lost_after_what_it_signalled(void **state)
{
	static uint8_t source[64];
	struct pair *pair = pair_new(1, 2, 64, 64);
	const struct kvr_piece piece = pair_piece(pair, source, 64);

	(void)state;
	for (uint32_t i = 0; i < 50; i++)
		assert_int_equal(pair->ops->signal(pair->in, i), KVR_OK);
	/* On the way when the target goes. */
	assert_int_equal(
		pair->ops->write(pair->out,
				 &(struct kvr_write){.bytes = 64,
						     .pieces = &piece,
						     .piece_count = 1}),
		KVR_OK);
	pair->ops->endpoint_close(pair->in);
	pair->in = NULL;
	pair_await_out(pair, KVR_ERR_PEER_LOST);
	assert_int_equal(pair->at_out.imm_count, 50);
	for (uint32_t i = 0; i < 50; i++)
		assert_int_equal(pair->at_out.imms[i], i);
	pair_free(pair);
}

/* More than one queue holds: BYE is among the last that is signalled. */
static void close_delivers_all_signals_that_were_taken(void **state)
{
	struct pair *pair = pair_new(1, 2, 64, 64);
	uint32_t posted = 0;

	(void)state;
	while (posted < 200) {
		while (posted < 200 &&
		       pair->ops->signal(pair->out, posted) == KVR_OK)
			posted++;
		if (posted < 200)
			pair_poll_out(pair);
	}
	pair->ops->endpoint_close(pair->out);
	pair->out = NULL;
	pair_await_in(pair, KVR_ERR_PEER_LOST);
	assert_int_equal(pair->at_in.imm_count, 200);
	pair_free(pair);
}

static void close_wakes_a_peer_that_sleeps(void **state)
{
	struct pair *pair = pair_new(1, 2, 64, 64);
	struct pollfd fd = {.fd = pair->ops->event_fd(pair->in),
			    .events = POLLIN};

	(void)state;
	assert_int_equal(pair->ops->arm(pair->in), KVR_OK);
	pair->ops->endpoint_close(pair->out);
	pair->out = NULL;
	assert_int_equal(poll(&fd, 1, 10000), 1);
	pair->ops->disarm(pair->in);
	/* At once: not when a look happens to be due. */
	pair_poll_in(pair);
	assert_int_equal(pair->at_in.status, KVR_ERR_PEER_LOST);
	pair_free(pair);
}

static void close_in_any_order_at_any_stage_leaves_nothing(void **state)
{
	const int fds = test_fd_count(), maps = test_map_count();
	enum kvr_status in = KVR_OK, out;

	(void)state;
	for (int i = 0; i < 16; i++) {
		struct pair pair;

		pair_init(&pair, 2, 2, 5000, 1000);
		pair_open(&pair);
		if (i & 3)
			pair_introduce(&pair);
		if ((i & 3) == 3)
			pair_connect(&pair, &in, &out);
		else if (i & 2)
			in = pair.ops->connect_poll(pair.out);
		if (i & 4) {
			pair.ops->endpoint_close(pair.in);
			pair.in = NULL;
		}
		if (i & 8)
			assert_int_not_equal(pair.ops->connect_poll(pair.out),
					     KVR_ERR_MISMATCH);
		pair_close(&pair);
	}
	assert_int_equal(test_fd_count(), fds);
	assert_int_equal(test_map_count(), maps);
}

int suite_connect(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(connect_before_the_peer_does_is_again),
		cmocka_unit_test(connect_to_a_peer_that_never_was_is_again),
		cmocka_unit_test(connect_to_garbage_is_refused),
		cmocka_unit_test(open_of_impossible_sizes_is_invalid),
		cmocka_unit_test(slot_of_any_size_is_page_aligned),
		cmocka_unit_test(
			connect_with_a_difference_is_refused_on_both_sides),
		cmocka_unit_test(
			connect_with_another_secret_is_refused_on_both_sides),
		cmocka_unit_test(connect_with_the_same_secret_succeeds),
		cmocka_unit_test(
			connect_refused_by_a_peer_that_left_is_a_mismatch),
		cmocka_unit_test(connect_of_two_receivers_is_refused),
		cmocka_unit_test(edges_between_the_same_ranks_stay_apart),
		cmocka_unit_test(rings_of_one_process_stay_apart),
		cmocka_unit_test(
			close_of_sender_is_lost_after_what_it_signalled),
		cmocka_unit_test(
			close_of_receiver_is_lost_after_what_it_signalled),
		cmocka_unit_test(close_delivers_all_signals_that_were_taken),
		cmocka_unit_test(close_wakes_a_peer_that_sleeps),
		cmocka_unit_test(
			close_in_any_order_at_any_stage_leaves_nothing),
	};

	return cmocka_run_group_tests_name("transport: connect", tests, NULL,
					   NULL);
}
