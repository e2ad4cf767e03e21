/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "rdma/edge.h"

static char last_line[512];

static void keep(void *arg, enum kvr_log_level level, const char *line)
{
	(void)arg, (void)level;
	snprintf(last_line, sizeof(last_line), "%s", line);
}

static struct kvr_log test_log = {keep, NULL, KVR_LOG_ERROR};

static struct kvr_endpoint_config receiver(void)
{
	return (struct kvr_endpoint_config){
		.role = KVR_ROLE_IN,
		.rank = 2,
		.peer = 1,
		.n = 4,
		.ring_id = 99,
		.generation = 3,
		.lanes = 2,
		.slots = 2,
		.slot_bytes = {1000, 2000},
		.chunk_bytes = 300,
		.log = &test_log,
	};
}

/* What the sender on the other side of receiver() would say. */
static struct kvr_hello sender_hello(void)
{
	struct kvr_endpoint_config config = receiver();
	struct kvr_hello hello;
	const uint8_t nonce[KVR_NONCE_BYTES] = {1, 2, 3};

	config.role = KVR_ROLE_OUT;
	config.rank = 1;
	config.peer = 2;
	kvr_hello_init(&config, nonce, &hello);
	return hello;
}

/* --------------------------------------------------------------- gather */

static const uint8_t a[] = "abcdefg", c[] = "hij", e[] = "klmnop";
static const struct kvr_piece pieces[] = {
	{a, 7, NULL},	 {NULL, 0, NULL}, {c, 3, NULL},
	{NULL, 0, NULL}, {e, 6, NULL},
};

static struct kvr_write whole(size_t skip, size_t bytes)
{
	return (struct kvr_write){.bytes = bytes,
				  .skip = skip,
				  .pieces = pieces,
				  .piece_count = 5};
}

static void gather_of_every_range_copies_those_bytes(void **state)
{
	const struct kvr_endpoint_config config = receiver();
	struct kvr_gather gather;

	(void)state;
	for (size_t skip = 0; skip < 16; skip++) {
		for (size_t bytes = 1; bytes <= 16 - skip; bytes++) {
			const struct kvr_write write = whole(skip, bytes);
			char got[17] = {0};

			assert_int_equal(
				kvr_gather_begin(&config, &write, &gather),
				KVR_OK);
			kvr_gather_copy(&gather, got, bytes);
			assert_memory_equal(got, &"abcdefghijklmnop"[skip],
					    bytes);
		}
	}
}

static void gather_in_small_steps_loses_no_byte(void **state)
{
	const struct kvr_endpoint_config config = receiver();
	const struct kvr_write write = whole(0, 16);

	(void)state;
	for (size_t step = 1; step <= 16; step++) {
		struct kvr_gather gather;
		char got[17] = {0};

		assert_int_equal(kvr_gather_begin(&config, &write, &gather),
				 KVR_OK);
		for (size_t at = 0; at < 16; at += step) {
			size_t part = 16 - at < step ? 16 - at : step;

			kvr_gather_copy(&gather, got + at, part);
		}
		assert_string_equal(got, "abcdefghijklmnop");
	}
}

static void gather_beyond_its_pieces_is_invalid(void **state)
{
	const struct kvr_endpoint_config config = receiver();
	struct kvr_gather gather;

	(void)state;
	for (size_t skip = 0; skip < 20; skip++) {
		const size_t left = skip < 16 ? 16 - skip : 0;
		const struct kvr_write write = whole(skip, left + 1);

		assert_int_equal(kvr_gather_begin(&config, &write, &gather),
				 KVR_ERR_INVALID);
	}
}

static void gather_past_the_slot_is_invalid(void **state)
{
	const struct kvr_endpoint_config config = receiver();
	struct kvr_write write = whole(0, 16);
	struct kvr_gather gather;

	(void)state;
	write.offset = 1000 - 16;
	assert_int_equal(kvr_gather_begin(&config, &write, &gather), KVR_OK);
	write.offset++;
	assert_int_equal(kvr_gather_begin(&config, &write, &gather),
			 KVR_ERR_INVALID);
	write.lane = 1;
	assert_int_equal(kvr_gather_begin(&config, &write, &gather), KVR_OK);
	write.lane = 2;
	assert_int_equal(kvr_gather_begin(&config, &write, &gather),
			 KVR_ERR_INVALID);
}

/* ---------------------------------------------------------------- hello */

static void hello_of_the_peer_is_accepted(void **state)
{
	const struct kvr_endpoint_config config = receiver();
	const struct kvr_hello hello = sender_hello();

	(void)state;
	assert_int_equal(kvr_hello_check(&config, &hello), KVR_OK);
}

#define CHANGED(member, name)                                                  \
	do {                                                                   \
		struct kvr_hello hello = sender_hello();                       \
		char text[64];                                                 \
                                                                               \
		snprintf(text, sizeof(text), "%s is %llu here, %llu there",    \
			 name, (unsigned long long)hello.member,               \
			 (unsigned long long)(hello.member ^ 1));              \
		hello.member ^= 1;                                             \
		assert_int_equal(kvr_hello_check(&config, &hello),             \
				 KVR_ERR_MISMATCH);                            \
		assert_non_null(strstr(last_line, text));                      \
	} while (0)

static void hello_with_any_change_names_field_and_values(void **state)
{
	const struct kvr_endpoint_config config = receiver();

	(void)state;
	CHANGED(version, "hello version");
	CHANGED(role, "role of the peer");
	CHANGED(ring_id, "ring id");
	CHANGED(generation, "generation");
	CHANGED(n, "ring size");
	CHANGED(from, "rank of the peer");
	CHANGED(to, "rank here");
	CHANGED(lanes, "lanes");
	CHANGED(slots, "slots");
	CHANGED(slot_bytes[0], "slot_bytes of lane 0");
	CHANGED(slot_bytes[1], "slot_bytes of lane 1");
	CHANGED(chunk_bytes, "chunk_bytes");
}

/* Whatever was left in the configuration past the lanes is not compared. */
static void hello_of_one_lane_ignores_the_second(void **state)
{
	struct kvr_endpoint_config config = receiver();
	struct kvr_hello hello = sender_hello();

	(void)state;
	config.lanes = hello.lanes = 1;
	hello.slot_bytes[1] = 0;
	assert_int_equal(kvr_hello_check(&config, &hello), KVR_OK);
}

static void hello_carries_the_nonce(void **state)
{
	const uint8_t nonce[KVR_NONCE_BYTES] = {1, 2, 3};
	const struct kvr_hello hello = sender_hello();

	(void)state;
	assert_memory_equal(hello.nonce, nonce, sizeof(nonce));
}

/* -------------------------------------------------------------- landing */

/* Descriptors, then the slots of each lane: pages of their own, no overlap. */
static void landing_places_do_not_overlap(void **state)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct kvr_endpoint_config config = receiver();
	struct kvr_landing l;
	size_t end;

	(void)state;
	config.slots = 5;
	config.slot_bytes[1] = page + 1;
	kvr_landing_init(&config, 100, &l);
	assert_int_equal(l.described, 100);
	end = 100 + sizeof(struct kvr_described) * config.lanes * config.slots;
	for (uint32_t lane = 0; lane < config.lanes; lane++) {
		assert_true(l.slots[lane] >= end);
		assert_int_equal(l.slots[lane] % page, 0);
		assert_int_equal(l.stride[lane] % page, 0);
		assert_true(l.stride[lane] >= config.slot_bytes[lane]);
		end = l.slots[lane] + l.stride[lane] * config.slots;
	}
	assert_true(l.bytes >= end);
}

static void config_of_impossible_sizes_is_refused(void **state)
{
	struct kvr_endpoint_config bad;

	(void)state;
	bad = receiver();
	assert_int_equal(kvr_edge_check_config(&bad), KVR_OK);
	bad.lanes = 0;
	assert_int_equal(kvr_edge_check_config(&bad), KVR_ERR_INVALID);
	bad.lanes = KVR_LANES_MAX + 1;
	assert_int_equal(kvr_edge_check_config(&bad), KVR_ERR_INVALID);
	bad = receiver(), bad.slots = 0;
	assert_int_equal(kvr_edge_check_config(&bad), KVR_ERR_INVALID);
	bad = receiver(), bad.chunk_bytes = 0;
	assert_int_equal(kvr_edge_check_config(&bad), KVR_ERR_INVALID);
	/* Each of them alone wraps, or both only together. */
	bad = receiver(), bad.slot_bytes[1] = SIZE_MAX;
	assert_int_equal(kvr_edge_check_config(&bad), KVR_ERR_INVALID);
	bad = receiver(),
	bad.slot_bytes[0] = bad.slot_bytes[1] = SIZE_MAX / 4 + 1;
	assert_int_equal(kvr_edge_check_config(&bad), KVR_ERR_INVALID);
	bad = receiver(), bad.slots = (1u << 20) + 1;
	assert_int_equal(kvr_edge_check_config(&bad), KVR_ERR_INVALID);
}

static void describe_out_of_bounds_is_invalid(void **state)
{
	const struct kvr_endpoint_config config = receiver();
	struct kvr_descriptor d = {.metadata_bytes = KVR_METADATA_MAX};
	struct kvr_describe describe = {.lane = 1, .slot = 1, .descriptor = &d};

	(void)state;
	assert_int_equal(kvr_describe_check(&config, &describe), KVR_OK);
	d.metadata_bytes++;
	assert_int_equal(kvr_describe_check(&config, &describe),
			 KVR_ERR_INVALID);
	d.metadata_bytes = 0;
	describe.slot = 2;
	assert_int_equal(kvr_describe_check(&config, &describe),
			 KVR_ERR_INVALID);
	describe.slot = 0;
	describe.lane = 2;
	assert_int_equal(kvr_describe_check(&config, &describe),
			 KVR_ERR_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gather_of_every_range_copies_those_bytes),
		cmocka_unit_test(gather_in_small_steps_loses_no_byte),
		cmocka_unit_test(gather_beyond_its_pieces_is_invalid),
		cmocka_unit_test(gather_past_the_slot_is_invalid),
		cmocka_unit_test(hello_of_the_peer_is_accepted),
		cmocka_unit_test(hello_with_any_change_names_field_and_values),
		cmocka_unit_test(hello_of_one_lane_ignores_the_second),
		cmocka_unit_test(hello_carries_the_nonce),
		cmocka_unit_test(landing_places_do_not_overlap),
		cmocka_unit_test(config_of_impossible_sizes_is_refused),
		cmocka_unit_test(describe_out_of_bounds_is_invalid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
