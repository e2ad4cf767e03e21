/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/crc32c.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#define POLYNOMIAL 0x82f63b78u /* reflected */

/*
 * The instruction takes 8 bytes in one cycle, but its result comes in three:
 * three stretches of so many bytes at once keep it busy.
 */
#define STRETCH ((size_t)1024)

/*
 * table[k][b]: byte b, followed by k zero bytes. skip[k][b]: the same with
 * byte k of a CRC and STRETCH zero bytes: what appending them makes of it.
 */
static uint32_t table[8][256], skip[4][256];
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Of a CRC as it is inside, and one zero byte after it. */
static uint32_t append_zero(uint32_t crc)
{
	return table[0][crc & 0xff] ^ crc >> 8;
}

static void make_table(void)
{
	for (uint32_t b = 0; b < 256; b++) {
		uint32_t crc = b;

		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? POLYNOMIAL : 0);
		table[0][b] = crc;
	}
	for (int k = 1; k < 8; k++)
		for (int b = 0; b < 256; b++)
			table[k][b] = append_zero(table[k - 1][b]);
}

/* Appending zeros is linear: what it makes of single bits says it all. */
static void make_skip(void)
{
	for (int bit = 0; bit < 32; bit++) {
		uint32_t crc = UINT32_C(1) << bit;

		for (size_t i = 0; i < STRETCH; i++)
			crc = append_zero(crc);
		for (int b = 0; b < 256; b++)
			if (b >> bit % 8 & 1)
				skip[bit / 8][b] ^= crc;
	}
}

static void make_tables(void)
{
	make_table();
	make_skip();
}

/* ---------------------------------------------------------------- table */

static uint32_t by_table(uint32_t crc, const uint8_t *at, size_t bytes)
{
	for (; bytes >= 8; at += 8, bytes -= 8) {
		uint64_t word;

		memcpy(&word, at, sizeof(word));
		word ^= crc;
		crc = 0;
		for (int k = 0; k < 8; k++)
			crc ^= table[7 - k][word >> 8 * k & 0xff];
	}
	for (; bytes; at++, bytes--)
		crc = table[0][(crc ^ *at) & 0xff] ^ crc >> 8;
	return crc;
}

uint32_t kvr_crc32c_table(uint32_t crc, const void *data, size_t bytes)
{
	pthread_once(&once, make_tables);
	return ~by_table(~crc, data, bytes);
}

/* ---------------------------------------------------------- instruction */

#if defined(__x86_64__)

#define INSTRUCTION "sse4.2"
#define TARGET __attribute__((target("sse4.2")))
#define TAKE_BYTE(crc, byte) __builtin_ia32_crc32qi(crc, byte)
#define TAKE_WORD(crc, word) ((uint32_t)__builtin_ia32_crc32di(crc, word))

static bool has_instruction(void)
{
	return __builtin_cpu_supports("sse4.2");
}

#elif defined(__aarch64__)

#include <sys/auxv.h>

#define INSTRUCTION "armv8-crc"
#define TARGET __attribute__((target("+crc")))
#define TAKE_BYTE(crc, byte) __builtin_aarch64_crc32cb(crc, byte)
#define TAKE_WORD(crc, word) __builtin_aarch64_crc32cx(crc, word)
#define HWCAP_CRC32_BIT (1UL << 7)

static bool has_instruction(void)
{
	return getauxval(AT_HWCAP) & HWCAP_CRC32_BIT;
}

#endif

#ifdef INSTRUCTION

static uint64_t word_at(const uint8_t *at)
{
	uint64_t word;

	memcpy(&word, at, sizeof(word));
	return word;
}

/* What STRETCH zero bytes make of it. */
static uint32_t skip_stretch(uint32_t crc)
{
	return skip[0][crc & 0xff] ^ skip[1][crc >> 8 & 0xff] ^
	       skip[2][crc >> 16 & 0xff] ^ skip[3][crc >> 24];
}

TARGET static uint32_t three_stretches(uint32_t crc, const uint8_t *at)
{
	uint32_t second = 0, third = 0;

	for (size_t i = 0; i < STRETCH; i += 8) {
		crc = TAKE_WORD(crc, word_at(at + i));
		second = TAKE_WORD(second, word_at(at + i + STRETCH));
		third = TAKE_WORD(third, word_at(at + i + 2 * STRETCH));
	}
	return skip_stretch(skip_stretch(crc) ^ second) ^ third;
}

TARGET static uint32_t by_instruction(uint32_t crc, const uint8_t *at,
				      size_t bytes)
{
	for (; bytes >= 3 * STRETCH; at += 3 * STRETCH, bytes -= 3 * STRETCH)
		crc = three_stretches(crc, at);
	for (; bytes >= 8; at += 8, bytes -= 8)
		crc = TAKE_WORD(crc, word_at(at));
	for (; bytes; at++, bytes--)
		crc = TAKE_BYTE(crc, *at);
	return crc;
}

uint32_t kvr_crc32c(uint32_t crc, const void *data, size_t bytes)
{
	pthread_once(&once, make_tables);
	if (has_instruction())
		return ~by_instruction(~crc, data, bytes);
	return ~by_table(~crc, data, bytes);
}

const char *kvr_crc32c_name(void)
{
	return has_instruction() ? INSTRUCTION : "table";
}

#else

uint32_t kvr_crc32c(uint32_t crc, const void *data, size_t bytes)
{
	return kvr_crc32c_table(crc, data, bytes);
}

const char *kvr_crc32c_name(void)
{
	return "table";
}

#endif
