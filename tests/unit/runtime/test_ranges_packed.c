/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The builders of lists of ranges, as partitions: thousands of drawn batches,
 * what their contracts say of each, and huge ones.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "kvring/attention.h"

#define SEQUENCES_MAX 40
#define TOKENS_MAX 4000
#define RANKS 9

enum how { CONTIGUOUS, ZIGZAG, INTERLEAVE, HOWS };

struct batch {
	uint64_t cu_seqlens[SEQUENCES_MAX + 1];
	size_t sequences;
	uint64_t stripe;
};

struct shard {
	struct kvr_range range[TOKENS_MAX];
	size_t count;
};

static enum kvr_status call(enum how how, const struct batch *b, uint32_t rank,
			    uint32_t n, struct kvr_range *out, size_t capacity,
			    size_t *count)
{
	switch (how) {
	case CONTIGUOUS:
		return kvr_ranges_packed_contiguous(b->cu_seqlens, b->sequences,
						    rank, n, out, capacity,
						    count);
	case ZIGZAG:
		return kvr_ranges_packed_zigzag(b->cu_seqlens, b->sequences,
						rank, n, out, capacity, count);
	default:
		return kvr_ranges_packed_interleave(b->cu_seqlens, b->sequences,
						    b->stripe, rank, n, out,
						    capacity, count);
	}
}

/* Counted first, then listed into exactly as much room. */
static void build(enum how how, const struct batch *b, uint32_t rank,
		  uint32_t n, struct shard *s)
{
	size_t count = 99;

	assert_int_equal(call(how, b, rank, n, NULL, 0, &count), KVR_OK);
	assert_true(count <= TOKENS_MAX);
	assert_int_equal(call(how, b, rank, n, s->range, count, &s->count),
			 KVR_OK);
	assert_int_equal(s->count, count);
}

static uint64_t state = 1;

/* splitmix64 */
static uint64_t below(uint64_t limit)
{
	uint64_t z = state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return (z ^ z >> 31) % limit;
}

static void draw(struct batch *b)
{
	static const uint64_t longest[] = {1, 2, 7, 40, 99};
	uint64_t limit = longest[below(5)] + 1;

	b->sequences = (size_t)below(SEQUENCES_MAX + 1);
	b->stripe = 1 + below(below(2) ? 5 : 60);
	b->cu_seqlens[0] = 0;
	for (size_t i = 0; i < b->sequences; i++)
		b->cu_seqlens[i + 1] = b->cu_seqlens[i] + below(limit);
}

static uint64_t length_of(const struct batch *b, size_t sequence)
{
	return b->cu_seqlens[sequence + 1] - b->cu_seqlens[sequence];
}

/* Ranges lie in their sequences, in order, apart, and are not empty. */
static void check_order(const struct batch *b, const struct shard *s)
{
	for (size_t i = 0; i < s->count; i++) {
		const struct kvr_range *r = &s->range[i];

		assert_true(r->sequence < b->sequences && r->length > 0);
		assert_true(r->start + r->length <= length_of(b, r->sequence));
		if (i == 0)
			continue;
		assert_true(r->sequence >= r[-1].sequence);
		if (r->sequence == r[-1].sequence)
			assert_true(r->start > r[-1].start + r[-1].length - 1);
	}
}

struct extremes {
	uint64_t least, most;
};

static void widen(struct extremes *e, uint64_t value)
{
	e->least = value < e->least ? value : e->least;
	e->most = value > e->most ? value : e->most;
}

/* Tokens and causal work of a shard, in one sequence or (its number) all. */
static uint64_t size_of(const struct batch *b, const struct shard *s,
			size_t sequence, bool work)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < s->count; i++) {
		const struct kvr_range *r = &s->range[i];

		if (sequence < b->sequences && r->sequence != sequence)
			continue;
		for (uint64_t t = 0; t < r->length; t++)
			sum += work ? r->start + t + 1 : 1;
	}
	return sum;
}

static uint64_t spread(enum how how, const struct batch *b, uint32_t n,
		       size_t sequence, bool work)
{
	static struct shard s;
	struct extremes e = {UINT64_MAX, 0};

	for (uint32_t rank = 0; rank < n; rank++) {
		build(how, b, rank, n, &s);
		widen(&e, size_of(b, &s, sequence, work));
	}
	return e.most - e.least;
}

static void check_partition(enum how how, const struct batch *b, uint32_t n)
{
	static uint8_t owners[TOKENS_MAX];
	static struct shard s;

	memset(owners, 0, sizeof(owners));
	for (uint32_t rank = 0; rank < n; rank++) {
		build(how, b, rank, n, &s);
		check_order(b, &s);
		for (size_t i = 0; i < s.count; i++)
			for (uint64_t t = 0; t < s.range[i].length; t++)
				owners[b->cu_seqlens[s.range[i].sequence] +
				       s.range[i].start + t]++;
	}
	for (uint64_t t = 0; t < b->cu_seqlens[b->sequences]; t++)
		assert_int_equal(owners[t], 1);
}

static void packed_any_batch_is_partitioned(void **unused)
{
	struct batch b;

	(void)unused;
	for (int i = 0; i < 400; i++) {
		draw(&b);
		for (uint32_t n = 1; n <= RANKS; n++)
			for (int how = 0; how < HOWS; how++)
				check_partition((enum how)how, &b, n);
	}
}

static void packed_sizes_are_balanced(void **unused)
{
	struct batch b;

	(void)unused;
	for (int i = 0; i < 400; i++) {
		draw(&b);
		for (uint32_t n = 1; n <= RANKS; n++) {
			assert_true(spread(CONTIGUOUS, &b, n, b.sequences,
					   false) <= 1);
			assert_true(spread(ZIGZAG, &b, n, b.sequences, false) <=
				    1);
			assert_true(spread(INTERLEAVE, &b, n, b.sequences,
					   false) <= b.stripe);
		}
	}
}

static void packed_each_sequence_is_balanced(void **unused)
{
	struct batch b;

	(void)unused;
	for (int i = 0; i < 60; i++) {
		draw(&b);
		for (uint32_t n = 1; n <= RANKS; n += 2)
			for (size_t s = 0; s < b.sequences; s++) {
				uint64_t tokens = length_of(&b, s);

				assert_true(spread(ZIGZAG, &b, n, s, true) <=
					    2 * tokens);
				assert_true(spread(INTERLEAVE, &b, n, s,
						   false) <= b.stripe);
				assert_true(spread(INTERLEAVE, &b, n, s,
						   true) <= b.stripe * tokens);
			}
	}
}

/* As many ranges as pieces, or fewer; never more. */
static void packed_zigzag_at_most_two_ranges_a_sequence(void **unused)
{
	static struct shard s;
	struct batch b = {.cu_seqlens = {0, 10, 10, 17}, .sequences = 3};

	(void)unused;
	for (uint32_t rank = 0; rank < 3; rank++) {
		build(ZIGZAG, &b, rank, 3, &s);
		assert_true(s.count <= 4);
	}
	/* 10 tokens: pieces of 2, 2, 2, 2, 1, 1; the middle ones are joined. */
	build(ZIGZAG, &b, 2, 3, &s);
	assert_true(s.range[0].start == 4 && s.range[0].length == 4);
	build(ZIGZAG, &b, 0, 1, &s);
	assert_int_equal(s.count, 2);
}

/* One sequence, and the builders of one: the same tokens. */
static void packed_one_sequence_is_the_plain_builders(void **unused)
{
	static struct shard s;
	struct kvr_range plain[2];
	struct batch b = {.sequences = 1};
	size_t count;

	(void)unused;
	for (b.cu_seqlens[1] = 0; b.cu_seqlens[1] < 70; b.cu_seqlens[1]++)
		for (uint32_t n = 1; n <= RANKS; n++)
			for (uint32_t rank = 0; rank < n; rank++) {
				build(CONTIGUOUS, &b, rank, n, &s);
				assert_int_equal(kvr_ranges_contiguous(
							 b.cu_seqlens[1], rank,
							 n, plain, &count),
						 KVR_OK);
				assert_int_equal(s.count, count);
				assert_memory_equal(s.range, plain,
						    count * sizeof(*plain));
				build(ZIGZAG, &b, rank, n, &s);
				assert_int_equal(
					kvr_ranges_zigzag(b.cu_seqlens[1], rank,
							  n, plain, &count),
					KVR_OK);
				if (count == 2 &&
				    plain[0].start + plain[0].length ==
					    plain[1].start) {
					plain[0].length += plain[1].length;
					count = 1;
				}
				assert_int_equal(s.count, count);
				assert_memory_equal(s.range, plain,
						    count * sizeof(*plain));
			}
}

static void interleave_stripes_are_dealt_in_turn(void **unused)
{
	struct kvr_range out[4];
	size_t count;

	(void)unused;
	/* 0 1 2 | 3 4 5 | 6 7 8 | 9 10 over two ranks. */
	assert_int_equal(kvr_ranges_interleave(11, 3, 1, 2, out, 4, &count),
			 KVR_OK);
	assert_int_equal(count, 2);
	assert_true(out[0].start == 3 && out[0].length == 3);
	assert_true(out[1].start == 9 && out[1].length == 2);
	assert_true(out[0].sequence == 0 && out[1].sequence == 0);
	/* A stripe beyond all tokens is rank 0's alone. */
	assert_int_equal(kvr_ranges_interleave(11, 12, 0, 2, out, 4, &count),
			 KVR_OK);
	assert_true(count == 1 && out[0].start == 0 && out[0].length == 11);
	assert_int_equal(kvr_ranges_interleave(11, 12, 1, 2, out, 4, &count),
			 KVR_OK);
	assert_int_equal(count, 0);
	/* One rank needs no stripes. */
	assert_int_equal(kvr_ranges_interleave(11, 3, 0, 1, out, 1, &count),
			 KVR_OK);
	assert_true(count == 1 && out[0].length == 11);
}

/* Sequences of 4, 0, 3 and 5 tokens in stripes of 3 over two ranks. */
static void packed_interleave_cuts_stripes_at_sequences(void **unused)
{
	static const struct kvr_range expected[] = {
		{0, 0, 3}, {2, 2, 1}, {3, 0, 2}};
	struct batch b = {
		.cu_seqlens = {0, 4, 4, 7, 12}, .sequences = 4, .stripe = 3};
	static struct shard s;

	(void)unused;
	build(INTERLEAVE, &b, 0, 2, &s);
	assert_int_equal(s.count, 3);
	assert_memory_equal(s.range, expected, sizeof(expected));
}

/* All 64 bits of tokens over the most ranks, without a wrap. */
static void packed_huge_tokens_do_not_overflow(void **unused)
{
	const struct batch b = {
		.cu_seqlens = {0, UINT64_MAX - 5, UINT64_MAX},
		.sequences = 2,
		.stripe = UINT64_MAX / KVR_RANKS_MAX + 1,
	};
	struct kvr_range out[4];
	uint64_t sum[HOWS] = {0};
	size_t count;

	(void)unused;
	for (uint32_t rank = 0; rank < KVR_RANKS_MAX; rank++)
		for (int how = 0; how < HOWS; how++) {
			assert_int_equal(call((enum how)how, &b, rank,
					      KVR_RANKS_MAX, out, 4, &count),
					 KVR_OK);
			for (size_t i = 0; i < count; i++)
				sum[how] += out[i].length;
		}
	for (int how = 0; how < HOWS; how++)
		assert_true(sum[how] == UINT64_MAX);
}

/* Counted without being made, in no time; and of every rank together all. */
static void interleave_huge_count_is_counted(void **unused)
{
	size_t count, sum = 0;

	(void)unused;
	for (uint32_t rank = 0; rank < 7; rank++) {
		assert_int_equal(kvr_ranges_interleave(UINT64_MAX, 1, rank, 7,
						       NULL, 0, &count),
				 KVR_OK);
		sum += count;
	}
	assert_true(sum == UINT64_MAX);
}

static void packed_too_little_room_is_a_limit(void **unused)
{
	struct batch b = {
		.cu_seqlens = {0, 40, 80, 120}, .sequences = 3, .stripe = 5};

	(void)unused;
	for (int how = 0; how < HOWS; how++) {
		struct kvr_range out[64], guard = {7, 7, 7};
		size_t needed, count = 77;

		assert_int_equal(
			call((enum how)how, &b, 0, 2, NULL, 0, &needed),
			KVR_OK);
		out[needed - 1] = guard;
		assert_int_equal(
			call((enum how)how, &b, 0, 2, out, needed - 1, &count),
			KVR_ERR_LIMIT);
		assert_int_equal(count, 77);
		assert_memory_equal(&out[needed - 1], &guard, sizeof(guard));
	}
}

static void refused(enum how how, const struct batch *b, uint32_t rank,
		    uint32_t n)
{
	struct kvr_range out[64], before[64];
	size_t count = 77;

	memset(out, 0x5a, sizeof(out));
	memcpy(before, out, sizeof(out));
	assert_int_equal(call(how, b, rank, n, out, 64, &count),
			 KVR_ERR_INVALID);
	assert_int_equal(call(how, b, rank, n, NULL, 0, &count),
			 KVR_ERR_INVALID);
	assert_int_equal(call(how, b, 0, 1, out, 64, NULL), KVR_ERR_INVALID);
	assert_int_equal(count, 77);
	assert_memory_equal(out, before, sizeof(out));
}

static void packed_wrong_arguments_refused_untouched(void **unused)
{
	static const struct batch good = {
		.cu_seqlens = {0, 4, 9}, .sequences = 2, .stripe = 2};
	static const struct batch late = {
		.cu_seqlens = {1, 4, 9}, .sequences = 2, .stripe = 2};
	static const struct batch falling = {
		.cu_seqlens = {0, 4, 3}, .sequences = 2, .stripe = 2};
	static const struct batch no_stripe = {
		.cu_seqlens = {0, 4, 9}, .sequences = 2, .stripe = 0};
	size_t count = 77;

	(void)unused;
	for (int how = 0; how < HOWS; how++) {
		refused((enum how)how, &good, 3, 3);
		refused((enum how)how, &good, 0, 0);
		refused((enum how)how, &late, 0, 2);
		refused((enum how)how, &falling, 0, 2);
	}
	refused(INTERLEAVE, &no_stripe, 0, 2);
	assert_int_equal(kvr_ranges_interleave(9, 0, 0, 2, NULL, 0, &count),
			 KVR_ERR_INVALID);
	assert_int_equal(
		kvr_ranges_packed_zigzag(NULL, 1, 0, 2, NULL, 0, &count),
		KVR_ERR_INVALID);
	assert_int_equal(count, 77);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(packed_any_batch_is_partitioned),
		cmocka_unit_test(packed_sizes_are_balanced),
		cmocka_unit_test(packed_each_sequence_is_balanced),
		cmocka_unit_test(packed_zigzag_at_most_two_ranges_a_sequence),
		cmocka_unit_test(packed_one_sequence_is_the_plain_builders),
		cmocka_unit_test(interleave_stripes_are_dealt_in_turn),
		cmocka_unit_test(packed_interleave_cuts_stripes_at_sequences),
		cmocka_unit_test(packed_huge_tokens_do_not_overflow),
		cmocka_unit_test(interleave_huge_count_is_counted),
		cmocka_unit_test(packed_too_little_room_is_a_limit),
		cmocka_unit_test(packed_wrong_arguments_refused_untouched),
	};

	return cmocka_run_group_tests_name("ranges_packed", tests, NULL, NULL);
}
