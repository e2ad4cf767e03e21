/* SPDX-License-Identifier: Apache-2.0 */
/* The builders of ranges as partitions, for every small case and huge ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "kvring/attention.h"

typedef enum kvr_status (*builder)(uint64_t tokens, uint32_t rank, uint32_t n,
				   struct kvr_range *out, size_t *count);

struct shard {
	struct kvr_range range[KVR_ZIGZAG_RANGES];
	size_t count;
	uint64_t tokens;
};

static struct shard build(builder ranges, uint64_t tokens, uint32_t rank,
			  uint32_t n)
{
	struct shard s = {.count = 99};

	assert_int_equal(ranges(tokens, rank, n, s.range, &s.count), KVR_OK);
	for (size_t i = 0; i < s.count; i++) {
		assert_true(s.range[i].length > 0);
		assert_true(s.range[i].sequence == 0);
		s.tokens += s.range[i].length;
	}
	return s;
}

#define TOKENS_MAX 70

/* Every token on exactly one rank, and no rank has much more than another. */
static void is_partition(builder ranges, uint64_t tokens, uint32_t n,
			 uint64_t spread)
{
	uint8_t owners[TOKENS_MAX] = {0};
	uint64_t least = UINT64_MAX, most = 0;

	for (uint32_t rank = 0; rank < n; rank++) {
		struct shard s = build(ranges, tokens, rank, n);

		for (size_t i = 0; i < s.count; i++)
			for (uint64_t t = 0; t < s.range[i].length; t++)
				owners[s.range[i].start + t]++;
		least = s.tokens < least ? s.tokens : least;
		most = s.tokens > most ? s.tokens : most;
	}
	for (uint64_t t = 0; t < tokens; t++)
		assert_int_equal(owners[t], 1);
	assert_true(most - least <= spread);
}

static void over_small(builder ranges, uint64_t spread)
{
	for (uint64_t tokens = 0; tokens <= TOKENS_MAX; tokens++)
		for (uint32_t n = 1; n <= 9; n++)
			is_partition(ranges, tokens, n, spread);
}

static void contiguous_any_tokens_partition(void **state)
{
	(void)state;
	over_small(kvr_ranges_contiguous, 1);
}

/* Two pieces each, of which either may be one token longer. */
static void zigzag_any_tokens_partition(void **state)
{
	(void)state;
	over_small(kvr_ranges_zigzag, 2);
}

static void contiguous_neighbours_are_in_order(void **state)
{
	uint64_t next = 0;

	(void)state;
	for (uint32_t rank = 0; rank < 7; rank++) {
		struct shard s = build(kvr_ranges_contiguous, 100, rank, 7);

		assert_int_equal(s.count, 1);
		assert_int_equal(s.range[0].start, next);
		next += s.tokens;
	}
	assert_int_equal(next, 100);
}

/* Keys that the rows of a shard see under a causal mask. */
static uint64_t causal_work(const struct shard *s)
{
	uint64_t work = 0;

	for (size_t i = 0; i < s->count; i++)
		for (uint64_t t = 0; t < s->range[i].length; t++)
			work += s->range[i].start + t + 1;
	return work;
}

static uint64_t work_spread(builder ranges, uint64_t tokens, uint32_t n)
{
	uint64_t least = UINT64_MAX, most = 0;

	for (uint32_t rank = 0; rank < n; rank++) {
		struct shard s = build(ranges, tokens, rank, n);
		uint64_t work = causal_work(&s);

		least = work < least ? work : least;
		most = work > most ? work : most;
	}
	return most - least;
}

static void zigzag_causal_work_is_balanced(void **state)
{
	(void)state;
	for (uint32_t n = 1; n <= 9; n++) {
		/* 2n pieces of one length: to the key. */
		assert_int_equal(work_spread(kvr_ranges_zigzag, 2 * n * 10, n),
				 0);
		/* Else at most a row more in each of the two pieces. */
		for (uint64_t tokens = 1; tokens < 300; tokens += 7)
			assert_true(work_spread(kvr_ranges_zigzag, tokens, n) <=
				    2 * tokens);
	}
	/* What it is for. */
	assert_true(work_spread(kvr_ranges_contiguous, 160, 8) > 160 * 10);
}

static void ranges_fewer_tokens_than_ranks_empty_shards(void **state)
{
	uint32_t with = 0;

	(void)state;
	for (uint32_t rank = 0; rank < 9; rank++) {
		with += build(kvr_ranges_contiguous, 3, rank, 9).count;
		assert_true(build(kvr_ranges_contiguous, 0, rank, 9).count ==
			    0);
		assert_true(build(kvr_ranges_zigzag, 0, rank, 9).count == 0);
	}
	assert_int_equal(with, 3);
}

/* All 64 bits of tokens over the most ranks, without a wrap. */
static void ranges_huge_tokens_do_not_overflow(void **state)
{
	const uint32_t n = KVR_RANKS_MAX;
	uint64_t next = 0, sum = 0;

	(void)state;
	for (uint32_t rank = 0; rank < n; rank++) {
		struct shard s =
			build(kvr_ranges_contiguous, UINT64_MAX, rank, n);

		assert_true(s.count == 1 && s.range[0].start == next);
		assert_true(s.tokens - UINT64_MAX / n <= 1);
		next += s.tokens;
		s = build(kvr_ranges_zigzag, UINT64_MAX, rank, n);
		sum += s.tokens;
	}
	assert_true(next == UINT64_MAX && sum == UINT64_MAX);
	assert_true(
		build(kvr_ranges_zigzag, UINT64_MAX, n - 1, n).range[1].start >
		UINT64_MAX / 2);
}

static void ranges_wrong_arguments_refused_untouched(void **state)
{
	static const builder builders[] = {kvr_ranges_contiguous,
					   kvr_ranges_zigzag};
	struct kvr_range out[2], before[2];
	size_t count = 77;

	(void)state;
	memset(out, 0x5a, sizeof(out));
	memcpy(before, out, sizeof(out));
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(builders[i](10, 3, 3, out, &count),
				 KVR_ERR_INVALID);
		assert_int_equal(builders[i](10, 0, 0, out, &count),
				 KVR_ERR_INVALID);
		assert_int_equal(builders[i](10, 0, 1, NULL, &count),
				 KVR_ERR_INVALID);
		assert_int_equal(builders[i](10, 0, 1, out, NULL),
				 KVR_ERR_INVALID);
	}
	assert_int_equal(count, 77);
	assert_memory_equal(out, before, sizeof(out));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(contiguous_any_tokens_partition),
		cmocka_unit_test(zigzag_any_tokens_partition),
		cmocka_unit_test(contiguous_neighbours_are_in_order),
		cmocka_unit_test(zigzag_causal_work_is_balanced),
		cmocka_unit_test(ranges_fewer_tokens_than_ranks_empty_shards),
		cmocka_unit_test(ranges_huge_tokens_do_not_overflow),
		cmocka_unit_test(ranges_wrong_arguments_refused_untouched),
	};

	return cmocka_run_group_tests_name("ranges", tests, NULL, NULL);
}
