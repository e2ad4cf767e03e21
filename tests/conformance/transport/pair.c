/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/conformance/transport/pair.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PATIENCE_NS UINT64_C(10000000000)

const struct kvr_transport_ops *pair_ops;
bool pair_adaptive_routing;
bool pair_brief;

uint32_t pair_rounds(uint32_t rounds)
{
	return pair_brief ? rounds / 10 : rounds;
}

static void keep_line(void *arg, enum kvr_log_level level, const char *line)
{
	struct pair *pair = arg;
	size_t used = strlen(pair->lines);

	(void)level;
	snprintf(pair->lines + used, sizeof(pair->lines) - used, "%s\n", line);
	if (getenv("KVR_TEST_LOG"))
		fprintf(stderr, "%s\n", line);
}

void pair_init(struct pair *pair, uint32_t lanes, uint32_t slots,
	       size_t slot_bytes, size_t chunk_bytes)
{
	static uint64_t ring_id;

	ring_id++;
	memset(pair, 0, sizeof(*pair));
	pair->ops = pair_ops;
	pair->log = (struct kvr_log){keep_line, pair, KVR_LOG_DEBUG};
	pair->in_config = (struct kvr_endpoint_config){
		.role = KVR_ROLE_IN,
		.rank = 1,
		.peer = 0,
		.n = 2,
		.ring_id = ring_id,
		.generation = 1,
		.lanes = lanes,
		.slots = slots,
		.chunk_bytes = chunk_bytes,
		.log = &pair->log,
	};
	for (uint32_t lane = 0; lane < lanes; lane++)
		pair->in_config.slot_bytes[lane] = slot_bytes;
	pair->out_config = pair->in_config;
	pair->out_config.role = KVR_ROLE_OUT;
	pair->out_config.rank = 0;
	pair->out_config.peer = 1;
}

void pair_open(struct pair *pair)
{
	assert_int_equal(
		pair->ops->open(
			&(struct kvr_transport_config){
				.log = &pair->log,
				.adaptive_routing = pair_adaptive_routing,
			},
			&pair->transport),
		KVR_OK);
	assert_int_equal(pair->ops->endpoint_open(pair->transport,
						  &pair->in_config, &pair->in),
			 KVR_OK);
	assert_int_equal(pair->ops->endpoint_open(pair->transport,
						  &pair->out_config,
						  &pair->out),
			 KVR_OK);
}

void pair_introduce(struct pair *pair)
{
	uint8_t in[KVR_ADDRESS_BYTES], out[KVR_ADDRESS_BYTES];

	pair->ops->address(pair->in, in);
	pair->ops->address(pair->out, out);
	assert_true(pair->ops->reaches(out, in));
	assert_int_equal(pair->ops->connect(pair->in, out), KVR_OK);
	assert_int_equal(pair->ops->connect(pair->out, in), KVR_OK);
}

void pair_connect(struct pair *pair, enum kvr_status *in, enum kvr_status *out)
{
	const uint64_t end = test_now_ns() + PATIENCE_NS;

	*in = *out = KVR_ERR_AGAIN;
	while (*in == KVR_ERR_AGAIN || *out == KVR_ERR_AGAIN) {
		if (*in == KVR_ERR_AGAIN)
			*in = pair->ops->connect_poll(pair->in);
		if (*out == KVR_ERR_AGAIN)
			*out = pair->ops->connect_poll(pair->out);
		assert_true(test_now_ns() < end);
	}
}

struct pair *pair_new(uint32_t lanes, uint32_t slots, size_t slot_bytes,
		      size_t chunk_bytes)
{
	struct pair *pair = malloc(sizeof(*pair));
	enum kvr_status in, out;

	assert_non_null(pair);
	pair_init(pair, lanes, slots, slot_bytes, chunk_bytes);
	pair_open(pair);
	pair_introduce(pair);
	pair_connect(pair, &in, &out);
	assert_int_equal(in, KVR_OK);
	assert_int_equal(out, KVR_OK);
	return pair;
}

struct kvr_piece pair_piece(struct pair *pair, const void *address,
			    size_t bytes)
{
	struct kvr_piece piece = {.address = address, .bytes = bytes};
	const uint8_t *from = address;
	struct pair_source *s;

	for (size_t i = 0; i < pair->source_count; i++) {
		s = &pair->source[i];
		if (from < s->address || from + bytes > s->address + s->bytes)
			continue;
		piece.key = s->key;
		return piece;
	}
	assert_true(pair->source_count < PAIR_SOURCES);
	s = &pair->source[pair->source_count++];
	*s = (struct pair_source){.address = from, .bytes = bytes};
	assert_int_equal(pair->ops->memory_register(pair->transport,
						    (void *)(uintptr_t)from,
						    bytes, &s->key),
			 KVR_OK);
	piece.key = s->key;
	return piece;
}

void pair_close(struct pair *pair)
{
	if (pair->out)
		pair->ops->endpoint_close(pair->out);
	if (pair->in)
		pair->ops->endpoint_close(pair->in);
	for (size_t i = 0; i < pair->source_count; i++)
		pair->ops->memory_deregister(pair->transport,
					     pair->source[i].key);
	pair->source_count = 0;
	if (pair->transport)
		pair->ops->close(pair->transport);
	pair->in = pair->out = NULL;
	pair->transport = NULL;
}

void pair_free(struct pair *pair)
{
	pair_close(pair);
	free(pair);
}

static void poll_one(const struct kvr_transport_ops *ops,
		     struct kvr_endpoint *endpoint, struct seen *seen)
{
	struct kvr_event events[16];
	size_t count = 99;

	seen->status = ops->poll(endpoint, events, 16, &count);
	assert_true(count <= 16);
	for (size_t i = 0; i < count; i++) {
		if (events[i].kind == KVR_EVENT_SENT) {
			assert_true(seen->cookie_count < SEEN_MAX);
			seen->cookies[seen->cookie_count++] = events[i].cookie;
		} else {
			assert_true(seen->imm_count < SEEN_MAX);
			seen->imms[seen->imm_count++] = events[i].imm;
		}
	}
}

void pair_poll_in(struct pair *pair)
{
	poll_one(pair->ops, pair->in, &pair->at_in);
}

void pair_poll_out(struct pair *pair)
{
	poll_one(pair->ops, pair->out, &pair->at_out);
}

void pair_run(struct pair *pair, size_t imms_at_in, size_t imms_at_out)
{
	const uint64_t end = test_now_ns() + PATIENCE_NS;

	while (pair->at_in.imm_count < imms_at_in ||
	       pair->at_out.imm_count < imms_at_out) {
		pair_poll_out(pair);
		assert_int_equal(pair->at_out.status, KVR_OK);
		pair_poll_in(pair);
		assert_int_equal(pair->at_in.status, KVR_OK);
		assert_true(test_now_ns() < end);
	}
	/* And no more than that. */
	pair_poll_out(pair);
	pair_poll_in(pair);
	assert_int_equal(pair->at_in.imm_count, imms_at_in);
	assert_int_equal(pair->at_out.imm_count, imms_at_out);
}

static void await(const struct kvr_transport_ops *ops,
		  struct kvr_endpoint *endpoint, struct seen *seen,
		  enum kvr_status status)
{
	const uint64_t end = test_now_ns() + PATIENCE_NS;

	do {
		poll_one(ops, endpoint, seen);
		assert_true(test_now_ns() < end);
	} while (seen->status == KVR_OK);
	assert_int_equal(seen->status, status);
}

void pair_await_in(struct pair *pair, enum kvr_status status)
{
	await(pair->ops, pair->in, &pair->at_in, status);
}

void pair_await_out(struct pair *pair, enum kvr_status status)
{
	await(pair->ops, pair->out, &pair->at_out, status);
}

uint64_t test_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* splitmix64, as in rdma/fake: any generator would do. */
uint64_t test_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

void test_fill(void *to, size_t bytes, uint64_t seed)
{
	uint8_t *target = to;

	for (size_t i = 0; i < bytes; i += sizeof(uint64_t)) {
		uint64_t word = test_random(&seed);
		size_t part =
			bytes - i < sizeof(word) ? bytes - i : sizeof(word);

		memcpy(target + i, &word, part);
	}
}

int test_fd_count(void)
{
	DIR *directory = opendir("/proc/self/fd");
	int count = 0;

	assert_non_null(directory);
	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

int test_map_count(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];
	int count = 0;

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps))
		count += strstr(line, "memfd:kvring") != NULL;
	fclose(maps);
	return count;
}
