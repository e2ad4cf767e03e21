/* SPDX-License-Identifier: Apache-2.0 */
/* CRC-32C by its published values, and the checksums behind a block. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "runtime/crc32c.h"
#include "runtime/seal.h"

typedef uint32_t (*crc_fn)(uint32_t crc, const void *data, size_t bytes);

static const crc_fn functions[] = {kvr_crc32c, kvr_crc32c_table};

/* One bit at a time, as the polynomial is defined. */
static uint32_t bitwise(uint32_t crc, const uint8_t *data, size_t bytes)
{
	crc = ~crc;
	for (size_t i = 0; i < bytes; i++) {
		crc ^= data[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
	}
	return ~crc;
}

/* RFC 3720, appendix B.4, and the check value of the catalogues. */
static void crc32c_published_values(void **state)
{
	static const uint8_t read_pdu[48] = {
		0x01,	     0xc0,	  [16] = 0x14, [22] = 0x04,
		[27] = 0x14, [31] = 0x18, [32] = 0x28, [40] = 0x02,
	};
	uint8_t zeros[32] = {0}, ones[32], up[32], down[32];

	(void)state;
	for (uint8_t i = 0; i < 32; i++) {
		ones[i] = 0xff;
		up[i] = i;
		down[i] = (uint8_t)(31 - i);
	}
	for (size_t f = 0; f < 2; f++) {
		crc_fn crc = functions[f];

		assert_int_equal(crc(0, "", 0), 0);
		assert_int_equal(crc(0, "123456789", 9), 0xe3069283);
		assert_int_equal(crc(0, zeros, 32), 0x8a9136aa);
		assert_int_equal(crc(0, ones, 32), 0x62a8ab43);
		assert_int_equal(crc(0, up, 32), 0x46dd794e);
		assert_int_equal(crc(0, down, 32), 0x113fdb5c);
		assert_int_equal(crc(0, read_pdu, 48), 0xd9963a56);
	}
	assert_true(strlen(kvr_crc32c_name()) > 0);
}

static uint8_t noise[20000];

static void make_noise(void)
{
	uint32_t x = 1;

	for (size_t i = 0; i < sizeof(noise); i++) {
		x = x * 1664525u + 1013904223u;
		noise[i] = (uint8_t)(x >> 24);
	}
}

/* Lengths about the stretches of three, at any alignment. */
static void crc32c_any_length_any_place_is_bit_by_bit(void **state)
{
	static const size_t lengths[] = {1,    7,    8,	   9,	 63,
					 1023, 1024, 3071, 3072, 3073,
					 6144, 9223, 19990};

	(void)state;
	make_noise();
	for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
		for (size_t at = 0; at < 9; at++) {
			uint32_t right = bitwise(0, noise + at, lengths[i]);

			for (size_t f = 0; f < 2; f++)
				assert_int_equal(
					functions[f](0, noise + at, lengths[i]),
					right);
		}
	}
}

static void crc32c_in_parts_is_that_of_the_whole(void **state)
{
	uint32_t whole;

	(void)state;
	make_noise();
	whole = kvr_crc32c(0, noise, 10000);
	for (size_t cut = 0; cut <= 10000; cut += 77) {
		uint32_t first = kvr_crc32c(0, noise, cut);

		assert_int_equal(kvr_crc32c(first, noise + cut, 10000 - cut),
				 whole);
	}
}

/* ---------------------------------------------------------------- seals */

static void seal_payload_is_found_from_the_whole(void **state)
{
	static const size_t chunks[] = {1, 3, 4, 5, 64, 4096, SIZE_MAX};
	size_t payload;

	(void)state;
	for (size_t c = 0; c < sizeof(chunks) / sizeof(*chunks); c++) {
		size_t before = 0;

		for (size_t bytes = 0; bytes < 300; bytes++) {
			size_t whole = bytes + kvr_seal_bytes(bytes, chunks[c]);

			/* Lengths in between are nobody's. */
			for (size_t no = before; no < whole; no++)
				assert_false(kvr_seal_payload(no, chunks[c],
							      &payload));
			assert_true(
				kvr_seal_payload(whole, chunks[c], &payload));
			assert_int_equal(payload, bytes);
			before = whole + 1;
		}
	}
}

static const char metadata[] = "metadata";

static struct kvr_sealed sealed(const struct kvr_piece *pieces, size_t bytes)
{
	return (struct kvr_sealed){
		.pass = 7,
		.origin = 2,
		.lane = 1,
		.pieces = pieces,
		.bytes = bytes,
		.metadata = metadata,
		.metadata_bytes = sizeof(metadata),
		.chunk_bytes = 100,
	};
}

/* In one piece where it arrives, in several where it comes from. */
static void seal_of_pieces_is_that_of_the_whole(void **state)
{
	const struct kvr_piece whole = {.address = noise, .bytes = 1234};
	const struct kvr_piece pieces[] = {
		{.address = noise, .bytes = 1},
		{.address = noise + 1, .bytes = 0},
		{.address = noise + 1, .bytes = 333},
		{.address = noise + 334, .bytes = 900},
	};
	struct kvr_sealed from = sealed(pieces, 1234),
			  to = sealed(&whole, 1234);
	uint8_t seal[60];
	struct kvr_seal_fault fault;

	(void)state;
	make_noise();
	assert_int_equal(kvr_seal_bytes(1234, 100), 60);
	kvr_seal_make(&from, seal);
	assert_true(kvr_seal_check(&to, seal, &fault));
	assert_true(kvr_seal_check(&from, seal, &fault));
}

static void seal_any_bit_is_found_where_it_is(void **state)
{
	static uint8_t block[1234 + 60];
	const struct kvr_piece piece = {.address = block, .bytes = 1234};
	struct kvr_sealed what = sealed(&piece, 1234);
	struct kvr_seal_fault fault;

	(void)state;
	make_noise();
	memcpy(block, noise, 1234);
	kvr_seal_make(&what, block + 1234);
	for (size_t bit = 0; bit < 8 * sizeof(block); bit += 3) {
		block[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_false(kvr_seal_check(&what, block + 1234, &fault));
		if (bit / 8 < 1234) {
			assert_int_equal(fault.part, KVR_SEAL_CHUNK);
			assert_int_equal(fault.chunk, bit / 800);
		} else {
			assert_int_equal(fault.part, KVR_SEAL_SELF);
		}
		block[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	assert_true(kvr_seal_check(&what, block + 1234, &fault));
	what.metadata = "metadatA";
	assert_false(kvr_seal_check(&what, block + 1234, &fault));
	assert_int_equal(fault.part, KVR_SEAL_METADATA);
}

static void seal_of_another_block_is_refused(void **state)
{
	const struct kvr_piece piece = {.address = noise, .bytes = 50};
	struct kvr_sealed right = sealed(&piece, 50), other[4];
	struct kvr_seal_fault fault;
	uint8_t seal[12];

	(void)state;
	kvr_seal_make(&right, seal);
	for (size_t i = 0; i < 4; i++)
		other[i] = right;
	other[0].pass = 8;
	other[1].origin = 1;
	other[2].lane = 0;
	other[3].metadata_bytes--;
	for (size_t i = 0; i < 4; i++) {
		assert_false(kvr_seal_check(&other[i], seal, &fault));
		assert_int_equal(fault.part, KVR_SEAL_SELF);
	}
	assert_true(kvr_seal_check(&right, seal, &fault));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(crc32c_published_values),
		cmocka_unit_test(crc32c_any_length_any_place_is_bit_by_bit),
		cmocka_unit_test(crc32c_in_parts_is_that_of_the_whole),
		cmocka_unit_test(seal_payload_is_found_from_the_whole),
		cmocka_unit_test(seal_of_pieces_is_that_of_the_whole),
		cmocka_unit_test(seal_any_bit_is_found_where_it_is),
		cmocka_unit_test(seal_of_another_block_is_refused),
	};

	return cmocka_run_group_tests_name("seal", tests, NULL, NULL);
}
