/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/conformance/transport/stream.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "tests/conformance/transport/pair.h"
#include "tests/support/ranks.h"

#define PATIENCE_MS 20000

enum {
	LANES = STREAM_LANES,
	SLOTS = STREAM_SLOTS,
	BLOCK_MAX = STREAM_BLOCK_MAX
};

bool (*stream_elsewhere)(const struct stream *stream, enum kvr_role role);

void sleep_until_ready(const struct kvr_transport_ops *ops,
		       struct kvr_endpoint *endpoint)
{
	struct pollfd fd = {.fd = ops->event_fd(endpoint), .events = POLLIN};
	const enum kvr_status status = ops->arm(endpoint);

	CHECK(status == KVR_OK || status == KVR_ERR_AGAIN);
	if (status == KVR_OK)
		CHECK(poll(&fd, 1, PATIENCE_MS) == 1);
	ops->disarm(endpoint);
}

static size_t block_bytes(uint32_t lane, uint32_t k)
{
	uint64_t seed = lane * 1000 + k;

	return 1 + test_random(&seed) % BLOCK_MAX;
}

struct sender {
	const struct stream *stream;
	uint8_t *source[LANES][SLOTS];
	void *key[LANES][SLOTS];
	struct kvr_piece piece[LANES][SLOTS];
	uint32_t block[LANES];	 /* being sent */
	uint32_t chunk[LANES];	 /* next of it */
	bool described[LANES];	 /* it is */
	uint32_t unsent[LANES];	 /* chunks posted, SENT not seen */
	uint32_t credits[LANES]; /* blocks that may be started */
};

static bool describe_block(struct sender *s, uint32_t lane)
{
	const struct stream *stream = s->stream;
	const uint32_t k = s->block[lane], slot = k % SLOTS;
	const size_t bytes = block_bytes(lane, k);
	const struct kvr_descriptor descriptor = {.sequence = k,
						  .bytes = bytes};

	test_fill(s->source[lane][slot], bytes, lane * 1000 + k);
	s->piece[lane][slot] = (struct kvr_piece){s->source[lane][slot], bytes,
						  s->key[lane][slot]};
	return stream->ops->describe(
		       stream->endpoint,
		       &(struct kvr_describe){
			       .lane = lane,
			       .slot = slot,
			       .descriptor = &descriptor,
			       .imm = kvr_imm_block(KVR_IMM_DESCRIPTOR, lane, k,
						    0)}) == KVR_OK;
}

static bool send_chunk(struct sender *s, uint32_t lane)
{
	const struct stream *stream = s->stream;
	const uint32_t k = s->block[lane], slot = k % SLOTS;
	const size_t bytes = block_bytes(lane, k),
		     at = s->chunk[lane] * stream->chunk_bytes;
	const size_t rest = bytes - at;
	const struct kvr_write write = {
		.lane = lane,
		.slot = slot,
		.offset = at,
		.bytes =
			rest < stream->chunk_bytes ? rest : stream->chunk_bytes,
		.pieces = &s->piece[lane][slot],
		.piece_count = 1,
		.skip = at,
		.imm = kvr_imm_block(KVR_IMM_CHUNK, lane, k, s->chunk[lane]),
		.cookie = lane};

	if (stream->ops->write(stream->endpoint, &write) != KVR_OK)
		return false;
	s->unsent[lane]++;
	s->chunk[lane]++;
	if (at + write.bytes == bytes) {
		s->chunk[lane] = 0;
		s->described[lane] = false;
		s->block[lane]++;
	}
	return true;
}

static void post_what_is_possible(struct sender *s)
{
	for (uint32_t lane = 0; lane < LANES; lane++) {
		while (s->block[lane] < s->stream->blocks &&
		       s->block[lane] < SLOTS + s->credits[lane]) {
			if (!s->described[lane])
				s->described[lane] = describe_block(s, lane);
			if (!s->described[lane] || !send_chunk(s, lane))
				break;
		}
	}
}

void *stream_send(void *arg)
{
	const struct stream *stream = arg;
	struct sender *s;
	struct kvr_event events[8];
	size_t count;

	if (stream_elsewhere && stream_elsewhere(stream, KVR_ROLE_OUT))
		return NULL;
	s = calloc(1, sizeof(*s));
	CHECK(s);
	s->stream = stream;
	for (uint32_t i = 0; i < LANES * SLOTS; i++) {
		s->source[i / SLOTS][i % SLOTS] = malloc(BLOCK_MAX + 8);
		CHECK(s->source[i / SLOTS][i % SLOTS]);
		CHECK_STATUS(stream->ops->memory_register(
				     stream->transport,
				     s->source[i / SLOTS][i % SLOTS],
				     BLOCK_MAX + 8,
				     &s->key[i / SLOTS][i % SLOTS]),
			     KVR_OK);
	}
	while (s->credits[0] < stream->blocks ||
	       s->credits[1] < stream->blocks) {
		post_what_is_possible(s);
		CHECK_STATUS(
			stream->ops->poll(stream->endpoint, events, 8, &count),
			KVR_OK);
		for (size_t i = 0; i < count; i++) {
			if (events[i].kind == KVR_EVENT_SENT)
				s->unsent[events[i].cookie]--;
			else
				s->credits[kvr_imm_decode(events[i].imm)
						   .lane]++;
		}
		if (count == 0)
			sleep_until_ready(stream->ops, stream->endpoint);
	}
	/* A credit comes after the bytes, so they were sent. */
	while (s->unsent[0] + s->unsent[1] > 0) {
		CHECK_STATUS(
			stream->ops->poll(stream->endpoint, events, 8, &count),
			KVR_OK);
		for (size_t i = 0; i < count; i++)
			s->unsent[events[i].cookie]--;
	}
	for (uint32_t i = 0; i < LANES * SLOTS; i++) {
		stream->ops->memory_deregister(stream->transport,
					       s->key[i / SLOTS][i % SLOTS]);
		free(s->source[i / SLOTS][i % SLOTS]);
	}
	free(s);
	return NULL;
}

struct receiver {
	const struct stream *stream;
	uint8_t *expected;
	uint32_t done[LANES], granted[LANES];
	uint32_t chunks[LANES][SLOTS];
	bool described[LANES][SLOTS];
};

static bool complete(struct receiver *r, uint32_t lane)
{
	const struct stream *stream = r->stream;
	const uint32_t k = r->done[lane], slot = k % SLOTS;
	const size_t bytes = block_bytes(lane, k);
	struct kvr_descriptor descriptor;
	const void *metadata;

	if (k == stream->blocks || !r->described[lane][slot] ||
	    r->chunks[lane][slot] * stream->chunk_bytes < bytes)
		return false;
	stream->ops->descriptor(stream->endpoint, lane, slot, &descriptor,
				&metadata);
	CHECK(descriptor.sequence == k && descriptor.bytes == bytes);
	test_fill(r->expected, bytes, lane * 1000 + k);
	CHECK(memcmp(stream->ops->slot(stream->endpoint, lane, slot),
		     r->expected, bytes) == 0);
	r->described[lane][slot] = false;
	r->chunks[lane][slot] = 0;
	r->done[lane]++;
	return true;
}

static void take_in(struct receiver *r, const struct kvr_event *event)
{
	const struct kvr_imm imm = kvr_imm_decode(event->imm);
	const uint32_t slot = imm.sequence % SLOTS;

	CHECK(event->kind == KVR_EVENT_ARRIVED);
	if (imm.type == KVR_IMM_CHUNK)
		r->chunks[imm.lane][slot]++;
	else
		r->described[imm.lane][slot] = true;
}

static void grant(const struct stream *stream, uint32_t lane, uint32_t k)
{
	CHECK_STATUS(
		stream->ops->signal(stream->endpoint,
				    kvr_imm_value(KVR_IMM_CREDIT, lane, k)),
		KVR_OK);
}

void *stream_receive(void *arg)
{
	const struct stream *stream = arg;
	struct receiver *r;
	struct kvr_event events[8];
	enum kvr_status status;
	size_t count;

	if (stream_elsewhere && stream_elsewhere(stream, KVR_ROLE_IN))
		return NULL;
	r = calloc(1, sizeof(*r));
	CHECK(r);
	r->stream = stream;
	r->expected = malloc(BLOCK_MAX + 8);
	CHECK(r->expected);
	while (r->granted[0] < stream->blocks ||
	       r->granted[1] < stream->blocks) {
		CHECK_STATUS(
			stream->ops->poll(stream->endpoint, events, 8, &count),
			KVR_OK);
		for (size_t i = 0; i < count; i++)
			take_in(r, &events[i]);
		for (uint32_t lane = 0; lane < LANES; lane++) {
			while (complete(r, lane))
				;
			for (; r->granted[lane] < r->done[lane];
			     r->granted[lane]++)
				grant(stream, lane, r->granted[lane]);
		}
		if (count == 0)
			sleep_until_ready(stream->ops, stream->endpoint);
	}
	/* A transport may move the last credits in poll only. */
	status = stream->ops->poll(stream->endpoint, events, 0, &count);
	CHECK(status == KVR_OK || status == KVR_ERR_PEER_LOST);
	free(r->expected);
	free(r);
	return NULL;
}
