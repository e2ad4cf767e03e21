/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/attention.h"

#define ROW 24
#define TOKENS 3000 /* over several pages */
#define OFFSET 40

static int fd;

static uint8_t byte_of(uint64_t row, size_t at)
{
	return (uint8_t)(row * 31 + at * 7 + row / 256);
}

static int make_file(void **state)
{
	FILE *file = tmpfile();
	uint64_t row;
	size_t at;

	(void)state;
	if (!file)
		return -1;
	for (at = 0; at < OFFSET; at++)
		fputc(0xee, file);
	for (row = 0; row < TOKENS; row++)
		for (at = 0; at < ROW; at++)
			fputc(byte_of(row, at), file);
	fflush(file);
	fd = dup(fileno(file));
	return fclose(file);
}

static uint64_t one[2]; /* sequence */

static struct shard shard_of(enum partition partition, uint64_t tokens,
			     uint32_t rank, uint32_t n)
{
	const struct cut cut = {
		.partition = partition, .cu_seqlens = one, .sequences = 1};
	struct shard shard;

	one[1] = tokens;
	assert_true(shard_open(&cut, rank, n, &shard));
	return shard;
}

/* The rows are those of the ranges, in their order. */
static void check_rows(const struct shard *shard, const uint64_t *cu_seqlens,
		       const struct rows *rows)
{
	const uint8_t *at = rows->data;
	uint64_t row, first;
	size_t i, j;

	for (i = 0; i < shard->count; i++) {
		first = cu_seqlens[shard->ranges[i].sequence] +
			shard->ranges[i].start;
		for (row = 0; row < shard->ranges[i].length; row++)
			for (j = 0; j < ROW; j++)
				assert_int_equal(*at++,
						 byte_of(first + row, j));
	}
}

static void check_cut(const struct cut *cut, uint64_t offset_error, uint32_t n)
{
	uint64_t total = 0;
	struct shard shard;
	struct rows rows;
	uint32_t i;

	for (i = 0; i < n; i++) {
		assert_true(shard_open(cut, i, n, &shard));
		total += shard.tokens;
		/* An element size that OFFSET divides, or not. */
		assert_int_equal(rows_open(fd, OFFSET, ROW, 4 + offset_error,
					   &shard, &rows),
				 0);
		check_rows(&shard, cut->cu_seqlens, &rows);
		rows_close(&rows);
		shard_close(&shard);
	}
	assert_int_equal(total, cut->cu_seqlens[cut->sequences]);
}

static void check(enum partition partition, uint64_t offset_error,
		  uint64_t tokens, uint32_t n)
{
	const struct cut cut = {
		.partition = partition, .cu_seqlens = one, .sequences = 1};

	one[1] = tokens;
	check_cut(&cut, offset_error, n);
}

static void rows_of_every_shard_are_those_of_its_ranges(void **state)
{
	(void)state;
	check(PARTITION_CONTIGUOUS, 0, TOKENS, 1);
	check(PARTITION_CONTIGUOUS, 0, TOKENS, 7);
	check(PARTITION_ZIGZAG, 0, TOKENS, 4);
	check(PARTITION_ZIGZAG, 0, TOKENS, 1);
}

/* Sequences of 0, 1 and many tokens; each shard cut at their ends. */
static void rows_of_packed_sequences_are_the_files(void **state)
{
	static const uint64_t cu_seqlens[] = {0,   0,	 1,    2,     900,
					      900, 1000, 1003, TOKENS};
	struct cut cut = {.cu_seqlens = cu_seqlens, .sequences = 8};
	uint32_t n;

	(void)state;
	for (n = 1; n < 9; n++) {
		cut.partition = PARTITION_CONTIGUOUS;
		check_cut(&cut, n % 2 * 3, n);
		cut.partition = PARTITION_ZIGZAG;
		check_cut(&cut, 0, n);
		cut.partition = PARTITION_INTERLEAVE;
		for (cut.stripe = 1; cut.stripe < 10000; cut.stripe *= 9)
			check_cut(&cut, 0, n);
	}
}

/* Whatever sequences they are of: one read, or one mapping. */
static void pieces_of_neighbouring_ranges_are_one(void **state)
{
	static const uint64_t cu_seqlens[] = {0, 10, 10, 20, 30};
	struct cut cut = {.partition = PARTITION_CONTIGUOUS,
			  .cu_seqlens = cu_seqlens,
			  .sequences = 4};
	struct shard shard;

	(void)state;
	assert_true(shard_open(&cut, 1, 2, &shard));
	assert_int_equal(shard.count, 2);
	assert_int_equal(shard.piece_count, 1);
	assert_true(shard.pieces[0].row == 15 && shard.pieces[0].rows == 15);
	shard_close(&shard);
	cut.partition = PARTITION_ZIGZAG;
	assert_true(shard_open(&cut, 0, 2, &shard));
	/* Ends of sequences that meet in the file. */
	assert_int_equal(shard.count, 6);
	assert_int_equal(shard.piece_count, 4);
	assert_true(shard.pieces[1].before == shard.pieces[0].rows);
	shard_close(&shard);
}

static void rows_of_unaligned_tensor_are_the_same(void **state)
{
	(void)state;
	check(PARTITION_CONTIGUOUS, 3, TOKENS, 3);
}

static void rows_of_more_ranks_than_tokens_are_empty(void **state)
{
	(void)state;
	check(PARTITION_CONTIGUOUS, 0, 3, 8);
	check(PARTITION_ZIGZAG, 0, 3, 8);
}

static void rows_of_shortened_file_are_an_error(void **state)
{
	struct shard shard = shard_of(PARTITION_ZIGZAG, TOKENS * 2, 0, 2);
	struct rows rows;

	(void)state;
	assert_int_equal(rows_open(fd, OFFSET, ROW, 4, &shard, &rows), ENODATA);
	shard_close(&shard);
}

/* Where a byte of the whole goes, each by itself. */
static void check_place(const struct shard *shard)
{
	uint64_t at = 0, run, place;
	size_t i, j;

	for (i = 0; i < shard->piece_count; i++)
		for (j = 0; j < shard->pieces[i].rows * ROW; j++, at++) {
			place = shard_place(shard, ROW, at, &run);
			assert_int_equal(place, shard->pieces[i].row * ROW + j);
			assert_int_equal(run, shard->pieces[i].rows * ROW - j);
		}
	assert_int_equal(at, shard->tokens * ROW);
}

static void place_of_every_byte_is_that_of_its_row(void **state)
{
	static const uint64_t cu_seqlens[] = {0, 7, 8, 8, 31};
	const struct cut cut = {.partition = PARTITION_INTERLEAVE,
				.stripe = 2,
				.cu_seqlens = cu_seqlens,
				.sequences = 4};
	struct shard shard;
	uint32_t rank;

	(void)state;
	for (rank = 0; rank < 3; rank++) {
		shard = shard_of(PARTITION_ZIGZAG, 20, rank, 3);
		check_place(&shard);
		shard_close(&shard);
		shard = shard_of(PARTITION_CONTIGUOUS, 20, rank, 3);
		check_place(&shard);
		shard_close(&shard);
		assert_true(shard_open(&cut, rank, 3, &shard));
		check_place(&shard);
		shard_close(&shard);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_of_every_shard_are_those_of_its_ranges),
		cmocka_unit_test(rows_of_packed_sequences_are_the_files),
		cmocka_unit_test(pieces_of_neighbouring_ranges_are_one),
		cmocka_unit_test(rows_of_unaligned_tensor_are_the_same),
		cmocka_unit_test(rows_of_more_ranks_than_tokens_are_empty),
		cmocka_unit_test(rows_of_shortened_file_are_an_error),
		cmocka_unit_test(place_of_every_byte_is_that_of_its_row),
	};

	return cmocka_run_group_tests(tests, make_file, NULL);
}
