/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes, immediates and back-pressure; both ends driven by one thread. */
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "tests/conformance/transport/pair.h"
#include "tests/conformance/transport/suite.h"

#define MANY 100000 /* more than any queue or ring holds */

static uint32_t number(uint32_t i)
{
	return kvr_imm_value(KVR_IMM_CREDIT, 0, i);
}

static enum kvr_status write_piece(struct pair *pair, const void *from,
				   size_t bytes, uint32_t i)
{
	static struct kvr_piece piece; /* one write at a time is queued */

	piece = pair_piece(pair, from, bytes);
	return pair->ops->write(pair->out, &(struct kvr_write){.bytes = bytes,
							       .pieces = &piece,
							       .piece_count = 1,
							       .imm = number(i),
							       .cookie = i});
}

/* --------------------------------------------------------------- bytes */

#define BLOCK_MAX ((size_t)300000)
#define PIECES_MAX 64

/* Cuts bytes into pieces of odd and of no length. */
static size_t cut(struct pair *pair, uint64_t *random, uint8_t *block,
		  size_t bytes, struct kvr_piece pieces[PIECES_MAX])
{
	size_t count = 0, at = 0;

	while (at < bytes) {
		size_t part = test_random(random) % (bytes / 8 + 2);

		if (count == PIECES_MAX - 1 || part > bytes - at)
			part = bytes - at;
		pieces[count++] = pair_piece(pair, block + at, part);
		at += part;
	}
	return count;
}

static void send_block(struct pair *pair, uint64_t *random, uint8_t *block,
		       size_t bytes, uint32_t lane, uint32_t slot)
{
	struct kvr_piece pieces[PIECES_MAX];
	const size_t count = cut(pair, random, block, bytes, pieces);
	const uint8_t *target = pair->ops->slot(pair->in, lane, slot);
	size_t chunk = 1 + test_random(random) % (bytes / 4 + 1), at = 0;
	size_t imms = pair->at_in.imm_count, checked = 0;

	for (uint32_t c = 0; at < bytes || checked < at; c++) {
		size_t part = bytes - at < chunk ? bytes - at : chunk;
		const struct kvr_write write = {
			.lane = lane,
			.slot = slot,
			.offset = at,
			.bytes = part,
			.pieces = pieces,
			.piece_count = count,
			.skip = at,
			.imm = number(c),
			.cookie = at,
		};

		if (at < bytes && pair->ops->write(pair->out, &write) == KVR_OK)
			at += part;
		pair_poll_out(pair);
		pair_poll_in(pair);
		/* In order here, so each immediate stands for its bytes. */
		for (; imms < pair->at_in.imm_count; imms++) {
			part = bytes - checked < chunk ? bytes - checked
						       : chunk;
			assert_memory_equal(target + checked, block + checked,
					    part);
			checked += part;
		}
	}
	assert_int_equal(checked, bytes);
}

static void write_of_random_pieces_arrives_intact(void **state)
{
	struct pair *pair = pair_new(2, 3, BLOCK_MAX, BLOCK_MAX);
	uint8_t *block = malloc(BLOCK_MAX);
	uint64_t random = 1;

	(void)state;
	assert_non_null(block);
	(void)pair_piece(pair, block, BLOCK_MAX);
	for (uint32_t i = 0; i < pair_rounds(60); i++) {
		size_t bytes =
			1 + test_random(&random) % (i % 3 ? BLOCK_MAX : 100);

		test_fill(block, bytes, i);
		pair->at_in.imm_count = pair->at_out.cookie_count = 0;
		send_block(pair, &random, block, bytes, i & 1, i / 2 % 3);
	}
	pair_free(pair);
	free(block);
}

static void write_leaves_neighbouring_bytes_alone(void **state)
{
	struct pair *pair = pair_new(2, 2, 8192, 8192);
	uint8_t source[100], expected[8192];

	(void)state;
	memset(expected, 0x11, sizeof(expected));
	for (uint32_t i = 0; i < 4; i++)
		memset(pair->ops->slot(pair->in, i & 1, i / 2), 0x11, 8192);
	memset(source, 0x22, sizeof(source));
	const struct kvr_piece piece = pair_piece(pair, source, sizeof(source));
	const struct kvr_write write = {.lane = 1,
					.slot = 1,
					.offset = 4001,
					.bytes = 99,
					.pieces = &piece,
					.piece_count = 1,
					.skip = 1};
	assert_int_equal(pair->ops->write(pair->out, &write), KVR_OK);
	pair_run(pair, 1, 0);
	for (uint32_t i = 0; i < 3; i++)
		assert_memory_equal(pair->ops->slot(pair->in, i & 1, i / 2),
				    expected, 8192);
	memset(expected + 4001, 0x22, 99);
	assert_memory_equal(pair->ops->slot(pair->in, 1, 1), expected, 8192);
	pair_free(pair);
}

static void write_out_of_bounds_is_invalid(void **state)
{
	struct pair *pair = pair_new(1, 2, 1000, 1000);
	uint8_t source[2000] = {0};
	const struct kvr_piece piece = pair_piece(pair, source, 1000);
	const struct kvr_write good = {
		.bytes = 1000, .pieces = &piece, .piece_count = 1};
	struct kvr_write bad[6];

	(void)state;
	for (int i = 0; i < 6; i++)
		bad[i] = good;
	bad[0].lane = 1;
	bad[1].slot = 2;
	bad[2].offset = 1;
	bad[3].offset = SIZE_MAX;
	bad[4].bytes = 0;
	bad[5].skip = 1; /* the pieces end before the chunk */
	for (int i = 0; i < 6; i++)
		assert_int_equal(pair->ops->write(pair->out, &bad[i]),
				 KVR_ERR_INVALID);
	assert_int_equal(pair->ops->write(pair->out, &good), KVR_OK);
	pair_run(pair, 1, 0);
	pair_free(pair);
}

static void write_of_the_most_pieces_arrives_one_more_is_refused(void **state)
{
	enum { COUNT = 7000 };
	static uint8_t source[COUNT];
	static struct kvr_piece pieces[COUNT];
	struct pair *pair = pair_new(1, 1, COUNT, COUNT);
	uint32_t most = pair->ops->pieces_max(pair->out);
	struct kvr_write write = {.pieces = pieces, .imm = number(0)};

	(void)state;
	test_fill(source, COUNT, 1);
	pieces[0] = pair_piece(pair, source, COUNT);
	for (size_t i = COUNT; i-- > 0;)
		pieces[i] = (struct kvr_piece){source + i, 1, pieces[0].key};
	write.bytes = write.piece_count = most + 1;
	if (most)
		assert_int_equal(pair->ops->write(pair->out, &write),
				 KVR_ERR_INVALID);
	write.bytes = write.piece_count = most ? most : COUNT;
	assert_int_equal(pair->ops->write(pair->out, &write), KVR_OK);
	pair_run(pair, 1, 0);
	assert_memory_equal(pair->ops->slot(pair->in, 0, 0), source,
			    write.bytes);
	pair_free(pair);
}

/* ---------------------------------------------------------------- SENT */

static void write_source_is_free_after_sent(void **state)
{
	enum { COUNT = 40, BYTES = 100001 };
	struct pair *pair = pair_new(1, COUNT, BYTES, BYTES);
	uint8_t *source = malloc(COUNT * BYTES), *expected = malloc(BYTES);
	static struct kvr_piece pieces[COUNT];
	bool sent[COUNT] = {false};
	size_t freed = 0;

	(void)state;
	assert_non_null(source);
	assert_non_null(expected);
	for (uint32_t i = 0; i < COUNT; i++) {
		test_fill(source + i * BYTES, BYTES, i);
		pieces[i] = pair_piece(pair, source + i * BYTES, BYTES);
	}
	/* At once, so that most are still to be sent when the first are. */
	for (uint32_t i = 0; i < COUNT; i++) {
		const struct kvr_write write = {.slot = i,
						.bytes = BYTES,
						.pieces = &pieces[i],
						.piece_count = 1,
						.imm = number(i),
						.cookie = i};
		assert_int_equal(pair->ops->write(pair->out, &write), KVR_OK);
	}
	while (freed < COUNT || pair->at_in.imm_count < COUNT) {
		pair_poll_out(pair);
		for (; freed < pair->at_out.cookie_count; freed++) {
			uint64_t cookie = pair->at_out.cookies[freed];

			assert_true(cookie < COUNT);
			assert_false(sent[cookie]);
			sent[cookie] = true;
			memset(source + cookie * BYTES, 0xee, BYTES);
		}
		pair_poll_in(pair);
	}
	for (uint32_t i = 0; i < COUNT; i++) {
		test_fill(expected, BYTES, i);
		assert_memory_equal(pair->ops->slot(pair->in, 0, i), expected,
				    BYTES);
	}
	pair_run(pair, COUNT, 0);
	assert_int_equal(pair->at_out.cookie_count, COUNT);
	pair_free(pair);
	free(expected);
	free(source);
}

/*
 * As a forwarded block lies in its slot: the piece goes on behind it, and
 * nothing follows that would push its SENT out.
 */
static void write_of_a_blocks_last_chunk_is_sent_alone(void **state)
{
	static uint8_t slot[4096];
	struct pair *pair = pair_new(1, 1, sizeof(slot), 64);
	const struct kvr_piece piece = pair_piece(pair, slot, sizeof(slot));
	const uint64_t end = test_now_ns() + UINT64_C(10000000000);

	(void)state;
	for (uint32_t chunk = 0; chunk < 3; chunk++) {
		const struct kvr_write write = {
			.offset = chunk * 64,
			.bytes = 64,
			.pieces = &piece,
			.piece_count = 1,
			.skip = chunk * 64,
			.chunks = 3,
			.imm = kvr_imm_block(KVR_IMM_CHUNK, 0, 0, chunk),
			.cookie = chunk};

		assert_int_equal(pair->ops->write(pair->out, &write), KVR_OK);
	}
	while (pair->at_out.cookie_count < 3) {
		pair_poll_out(pair);
		assert_true(test_now_ns() < end);
	}
	pair_run(pair, 3, 0);
	pair_free(pair);
}

/* --------------------------------------------------- descriptors, order */

static void describe_with_any_metadata_arrives_intact(void **state)
{
	static const uint32_t sizes[] = {0, 1, 63, 4095, 4096};
	struct pair *pair = pair_new(2, 2, 64, 64);
	uint8_t metadata[KVR_METADATA_MAX];

	(void)state;
	for (uint32_t i = 0; i < 40; i++) {
		struct kvr_descriptor sent, got;
		const void *landed;

		test_fill(&sent, sizeof(sent), i);
		sent.metadata_bytes = sizes[i % 5];
		test_fill(metadata, sizeof(metadata), i + 1000);
		const struct kvr_describe describe = {
			.lane = i & 1,
			.slot = i / 2 % 2,
			.descriptor = &sent,
			.metadata = sent.metadata_bytes ? metadata : NULL,
			.imm = number(i)};
		assert_int_equal(pair->ops->describe(pair->out, &describe),
				 KVR_OK);
		const struct kvr_descriptor original = sent;
		memset(&sent, 0, sizeof(sent)); /* was copied */
		memset(metadata, 0, sizeof(metadata));
		pair_run(pair, i + 1, 0);
		pair->ops->descriptor(pair->in, i & 1, i / 2 % 2, &got,
				      &landed);
		assert_memory_equal(&got, &original, sizeof(got));
		test_fill(metadata, sizeof(metadata), i + 1000);
		assert_memory_equal(landed, metadata, sizes[i % 5]);
	}
	pair_free(pair);
}

static void describe_out_of_bounds_is_invalid(void **state)
{
	struct pair *pair = pair_new(1, 2, 64, 64);
	struct kvr_descriptor d = {.metadata_bytes = KVR_METADATA_MAX + 1};

	(void)state;
	assert_int_equal(
		pair->ops->describe(pair->out,
				    &(struct kvr_describe){.descriptor = &d}),
		KVR_ERR_INVALID);
	d.metadata_bytes = 0;
	assert_int_equal(
		pair->ops->describe(
			pair->out,
			&(struct kvr_describe){.descriptor = &d, .slot = 2}),
		KVR_ERR_INVALID);
	pair_free(pair);
}

static enum kvr_status post_any(struct pair *pair, uint32_t i)
{
	static uint8_t source[3000];
	static const struct kvr_descriptor descriptor;

	if (i % 3 == 0)
		return pair->ops->signal(pair->out, number(i));
	if (i % 3 == 1)
		return write_piece(pair, source, sizeof(source), i);
	return pair->ops->describe(
		pair->out, &(struct kvr_describe){.descriptor = &descriptor,
						  .imm = number(i)});
}

/* Without faults every back end of this body keeps the order. */
static void immediates_of_all_kinds_arrive_in_order(void **state)
{
	struct pair *pair = pair_new(1, 1, 3000, 3000);
	uint32_t posted = 0;

	(void)state;
	while (posted < 3000) {
		for (int i = 0; i < 7 && posted < 3000; i++)
			posted += post_any(pair, posted) == KVR_OK;
		pair_poll_out(pair);
		pair_poll_in(pair);
	}
	pair_run(pair, 3000, 0);
	for (uint32_t i = 0; i < 3000; i++)
		assert_int_equal(pair->at_in.imms[i], number(i));
	assert_int_equal(pair->at_out.cookie_count, 1000);
	pair_free(pair);
}

static void signal_of_either_side_reaches_the_other(void **state)
{
	struct pair *pair = pair_new(1, 2, 64, 64);

	(void)state;
	for (uint32_t i = 0; i < pair_rounds(3000); i++) {
		assert_int_equal(pair->ops->signal(pair->in, number(i)),
				 KVR_OK);
		assert_int_equal(pair->ops->signal(pair->out, ~number(i)),
				 KVR_OK);
		pair_run(pair, i + 1, i + 1);
		assert_int_equal(pair->at_out.imms[i], number(i));
		assert_int_equal(pair->at_in.imms[i], ~number(i));
	}
	pair_free(pair);
}

/* ------------------------------------------------------- back-pressure */

static void write_into_full_queue_is_again_and_recovers(void **state)
{
	static uint8_t source[500];
	struct pair *pair = pair_new(1, 1, 500, 500);
	uint32_t posted = 0;

	(void)state;
	while (posted < MANY &&
	       write_piece(pair, source, sizeof(source), posted) == KVR_OK)
		posted++;
	assert_in_range(posted, 2, MANY - 1);
	/* A full queue of writes still takes a signal. */
	assert_int_equal(pair->ops->signal(pair->out, number(posted)), KVR_OK);
	pair_run(pair, posted + 1, 0);
	assert_int_equal(pair->at_out.cookie_count, posted);
	for (uint32_t i = 0; i <= posted; i++)
		assert_int_equal(pair->at_in.imms[i], number(i));
	assert_int_equal(write_piece(pair, source, sizeof(source), 0), KVR_OK);
	pair_run(pair, posted + 2, 0);
	pair_free(pair);
}

/* A device goes on by itself for as long as it has room. */
#define BLOCKED_NS UINT64_C(100000000)

/* Posts until neither the queue nor the peer, which sleeps, takes more. */
static uint32_t post_until_blocked(struct pair *pair)
{
	uint32_t posted = 0;
	uint64_t taken_ns = test_now_ns();

	while (test_now_ns() - taken_ns < BLOCKED_NS) {
		if (pair->ops->signal(pair->out, number(posted)) == KVR_OK) {
			posted++;
			taken_ns = test_now_ns();
		} else {
			pair_poll_out(pair);
		}
		assert_true(posted < SEEN_MAX);
	}
	return posted;
}

static void signal_to_sleeping_peer_is_again_and_recovers(void **state)
{
	struct pair *pair = pair_new(1, 1, 64, 64);
	const uint32_t posted = post_until_blocked(pair);

	(void)state;
	pair_run(pair, posted, 0);
	for (uint32_t i = 0; i < posted; i++)
		assert_int_equal(pair->at_in.imms[i], number(i));
	assert_int_equal(pair->ops->signal(pair->out, number(posted)), KVR_OK);
	pair_run(pair, posted + 1, 0);
	pair_free(pair);
}

static void poll_with_little_room_loses_nothing(void **state)
{
	static uint8_t source[64];
	struct pair *pair = pair_new(1, 1, 64, 64);
	struct kvr_event event;
	size_t count, arrived = 0, sent = 0;

	(void)state;
	for (uint32_t i = 0; i < 20; i++)
		assert_int_equal(write_piece(pair, source, 64, i), KVR_OK);
	const uint64_t end = test_now_ns() + UINT64_C(10000000000);
	while (arrived < 20 || sent < 20) {
		assert_true(test_now_ns() < end);
		assert_int_equal(pair->ops->poll(pair->out, &event, 1, &count),
				 KVR_OK);
		assert_true(count <= 1);
		sent += count;
		assert_int_equal(pair->ops->poll(pair->in, &event, 1, &count),
				 KVR_OK);
		assert_true(count <= 1);
		if (count)
			assert_int_equal(event.imm, number((uint32_t)arrived));
		arrived += count;
	}
	assert_int_equal(arrived, 20);
	assert_int_equal(sent, 20);
	pair_free(pair);
}

/* ------------------------------------------------------------- waking */

static bool readable(struct pair *pair, struct kvr_endpoint *endpoint, int ms)
{
	struct pollfd fd = {.fd = pair->ops->event_fd(endpoint),
			    .events = POLLIN};

	return poll(&fd, 1, ms) == 1;
}

static void arm_when_idle_sleeps_until_a_signal(void **state)
{
	struct pair *pair = pair_new(1, 1, 64, 64);

	(void)state;
	for (uint32_t i = 1; i <= 3; i++) {
		assert_int_equal(pair->ops->arm(pair->in), KVR_OK);
		assert_false(readable(pair, pair->in, 20));
		assert_int_equal(pair->ops->signal(pair->out, i), KVR_OK);
		pair_poll_out(pair);
		assert_true(readable(pair, pair->in, 10000));
		pair->ops->disarm(pair->in);
		pair_run(pair, i, 0);
		assert_int_equal(pair->ops->arm(pair->in), KVR_OK);
		assert_false(readable(pair, pair->in, 0));
		pair->ops->disarm(pair->in);
	}
	pair_free(pair);
}

/* A device reports what it did a moment later. */
static void await_work(struct pair *pair, struct kvr_endpoint *endpoint)
{
	const uint64_t end = test_now_ns() + UINT64_C(10000000000);

	while (pair->ops->arm(endpoint) != KVR_ERR_AGAIN) {
		pair->ops->disarm(endpoint);
		assert_true(test_now_ns() < end);
	}
}

static void arm_with_work_waiting_is_again(void **state)
{
	static uint8_t source[64];
	struct pair *pair = pair_new(1, 1, 64, 64);

	(void)state;
	assert_int_equal(write_piece(pair, source, 64, 0), KVR_OK);
	await_work(pair, pair->out);
	struct kvr_event none[1];
	size_t count;
	/* Moves the bytes, has no room to report. */
	assert_int_equal(pair->ops->poll(pair->out, none, 0, &count), KVR_OK);
	await_work(pair, pair->out);
	await_work(pair, pair->in);
	pair_run(pair, 1, 0);
	assert_int_equal(pair->at_out.cookie_count, 1);
	assert_int_equal(pair->ops->arm(pair->out), KVR_OK);
	assert_int_equal(pair->ops->arm(pair->in), KVR_OK);
	pair_free(pair);
}

/* The sender of more than the peer can hold sleeps, and is woken by room. */
static void arm_of_blocked_sender_wakes_when_there_is_room(void **state)
{
	struct pair *pair = pair_new(1, 1, 64, 64);
	const uint64_t end = test_now_ns() + UINT64_C(10000000000);
	uint32_t posted = post_until_blocked(pair);

	(void)state;
	/* A device that starves may go on after all. */
	while (pair->ops->arm(pair->out) != KVR_OK ||
	       readable(pair, pair->out, 20)) {
		pair->ops->disarm(pair->out);
		posted += post_until_blocked(pair);
		assert_true(test_now_ns() < end);
	}
	pair_poll_in(pair);
	pair_poll_in(pair);
	assert_true(readable(pair, pair->out, 10000));
	pair->ops->disarm(pair->out);
	pair_run(pair, posted, 0);
	pair_free(pair);
}

static void flush_of_received_bytes_succeeds(void **state)
{
	struct pair *pair = pair_new(1, 1, 64, 64);
	struct kvr_slots_info info;

	(void)state;
	assert_int_equal(pair->ops->flush(pair->in), KVR_OK);
	/* Of host memory there is nothing to make visible. */
	pair->ops->slots_info(pair->in, &info);
	assert_string_equal(info.by, "host");
	assert_string_equal(info.flush, "none");
	pair_free(pair);
}

int suite_data(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(write_of_random_pieces_arrives_intact),
		cmocka_unit_test(
			write_of_the_most_pieces_arrives_one_more_is_refused),
		cmocka_unit_test(write_leaves_neighbouring_bytes_alone),
		cmocka_unit_test(write_out_of_bounds_is_invalid),
		cmocka_unit_test(write_source_is_free_after_sent),
		cmocka_unit_test(write_of_a_blocks_last_chunk_is_sent_alone),
		cmocka_unit_test(describe_with_any_metadata_arrives_intact),
		cmocka_unit_test(describe_out_of_bounds_is_invalid),
		cmocka_unit_test(immediates_of_all_kinds_arrive_in_order),
		cmocka_unit_test(signal_of_either_side_reaches_the_other),
		cmocka_unit_test(write_into_full_queue_is_again_and_recovers),
		cmocka_unit_test(signal_to_sleeping_peer_is_again_and_recovers),
		cmocka_unit_test(poll_with_little_room_loses_nothing),
		cmocka_unit_test(arm_when_idle_sleeps_until_a_signal),
		cmocka_unit_test(arm_with_work_waiting_is_again),
		cmocka_unit_test(
			arm_of_blocked_sender_wakes_when_there_is_room),
		cmocka_unit_test(flush_of_received_bytes_succeeds),
	};

	return cmocka_run_group_tests_name("transport: data", tests, NULL,
					   NULL);
}
