/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For a fabric that routes adaptively a chunk is plain writes and then a
 * write with immediate without bytes: one request more at the sender, and
 * the same at the receiver, which has not been told.
 */
#include <stdio.h>
#include <string.h>

#include "rdma/verbs/endpoint.h"
#include "tests/conformance/transport/pair.h"

#define SLOT_BYTES 40000u
#define PATIENCE_NS UINT64_C(10000000000)
#define PIECES 40u /* more than one request gathers */

static uint8_t source[SLOT_BYTES];

static void await_sent(struct pair *pair)
{
	const uint64_t end = test_now_ns() + PATIENCE_NS;

	while (pair->at_out.cookie_count == 0) {
		pair_poll_out(pair);
		assert_true(test_now_ns() < end);
	}
}

/* Posts one chunk of so many pieces; returns how many requests it took. */
static uint32_t requests(bool adaptive, uint32_t pieces)
{
	const size_t part = SLOT_BYTES / pieces;
	const uint32_t imm = kvr_imm_block(KVR_IMM_CHUNK, 0, 0, 0);
	struct kvr_piece piece[PIECES];
	struct kvr_write write = {
		.bytes = part * pieces,
		.pieces = piece,
		.piece_count = pieces,
		.chunks = 1,
		.imm = imm,
		.cookie = 5,
	};
	const struct verbs_qp *q;
	struct pair *pair;
	uint32_t before;

	pair_adaptive_routing = adaptive;
	pair = pair_new(1, 2, SLOT_BYTES, SLOT_BYTES);
	q = &verbs_endpoint(pair->out)->qp[0];
	test_fill(source, sizeof(source), pieces);
	(void)pair_piece(pair, source, sizeof(source));
	for (uint32_t i = 0; i < pieces; i++)
		piece[i] = pair_piece(pair, source + i * part, part);
	before = q->posted;
	assert_int_equal(pair->ops->write(pair->out, &write), KVR_OK);
	before = q->posted - before;
	pair_run(pair, 1, 0);
	assert_int_equal(pair->at_in.imms[0], imm);
	assert_memory_equal(pair->ops->slot(pair->in, 0, 0), source,
			    write.bytes);
	await_sent(pair);
	assert_int_equal(pair->at_out.cookies[0], write.cookie);
	pair_free(pair);
	return before;
}

static void write_is_followed_by_its_immediate(void **state)
{
	pair_ops = *state;
	assert_int_equal(requests(false, 1), 1);
	assert_int_equal(requests(true, 1), 2);
	assert_int_equal(requests(true, PIECES), requests(false, PIECES) + 1);
}

int main(void)
{
	const struct kvr_transport_ops *cm = &kvr_verbs_transport;
	const struct kvr_transport_ops *exchange =
		&kvr_verbs_exchange_transport;
	const struct CMUnitTest tests[] = {
		{"write_by_librdmacm_is_followed_by_its_immediate",
		 write_is_followed_by_its_immediate, NULL, NULL,
		 (void *)(uintptr_t)cm},
		{"write_by_exchange_is_followed_by_its_immediate",
		 write_is_followed_by_its_immediate, NULL, NULL,
		 (void *)(uintptr_t)exchange},
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
