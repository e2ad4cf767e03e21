/* SPDX-License-Identifier: Apache-2.0 */
/* Shards of several sequences, and of stripes: lists of ranges. */
#include <stdbool.h>

#include "kvring/attention.h"
#include "runtime/ranges.h"

/* A caller's memory for ranges; NULL: they are counted. */
struct list {
	struct kvr_range *out;
	size_t capacity, count;
};

/* False: there is no room. */
static bool add(struct list *list, uint64_t sequence, uint64_t start,
		uint64_t end)
{
	if (start == end)
		return true;
	if (list->out) {
		if (list->count == list->capacity)
			return false;
		list->out[list->count] = (struct kvr_range){
			.sequence = sequence,
			.start = start,
			.length = end - start,
		};
	}
	list->count++;
	return true;
}

static bool offsets_valid(const uint64_t *cu_seqlens, size_t sequences)
{
	if (!cu_seqlens || cu_seqlens[0] != 0)
		return false;
	for (size_t s = 0; s < sequences; s++)
		if (cu_seqlens[s + 1] < cu_seqlens[s])
			return false;
	return true;
}

/* Gives the caller what was listed, if all of it was. */
static enum kvr_status finish(const struct list *list, bool fits, size_t *count)
{
	if (!fits)
		return KVR_ERR_LIMIT;
	*count = list->count;
	return KVR_OK;
}

/* ---------------------------------------------------------- contiguous */

static uint64_t max(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint64_t min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

enum kvr_status kvr_ranges_packed_contiguous(const uint64_t *cu_seqlens,
					     size_t sequences, uint32_t rank,
					     uint32_t n, struct kvr_range *out,
					     size_t capacity, size_t *count)
{
	struct list list = {.out = out, .capacity = capacity};
	uint64_t first, end;
	bool fits = true;

	if (rank >= n || !count || !offsets_valid(cu_seqlens, sequences))
		return KVR_ERR_INVALID;
	first = kvr_piece_start(cu_seqlens[sequences], rank, n);
	end = kvr_piece_start(cu_seqlens[sequences], (uint64_t)rank + 1, n);
	for (size_t s = 0; s < sequences && fits; s++) {
		uint64_t from = max(first, cu_seqlens[s]);
		uint64_t to = min(end, cu_seqlens[s + 1]);

		if (from < to)
			fits = add(&list, s, from - cu_seqlens[s],
				   to - cu_seqlens[s]);
	}
	return finish(&list, fits, count);
}

/* -------------------------------------------------------------- zigzag */

/*
 * Ranks that hold a token more than the others: low .. high - 1, modulo n.
 * Pieces 0 .. rest - 1 of a sequence are a token longer. If these are of
 * ranks 0 .. rest - 1 of it, these go on where the longer ranks end; if all
 * ranks have one and the last (n - 1, n - 2 ...) another, these go before.
 */
struct longer {
	uint64_t low, high;
};

/* Which rank takes the part of rank 0 in a sequence. */
static uint64_t deal(struct longer *longer, uint64_t tokens, uint64_t n)
{
	uint64_t rest = tokens % (2 * n), first;

	if (rest < n) {
		first = longer->high;
		longer->high = (longer->high + rest) % n;
	} else {
		first = longer->low;
		longer->low = (longer->low + 2 * n - rest) % n;
	}
	return first;
}

static bool add_zigzag(struct list *list, uint64_t sequence, uint64_t tokens,
		       uint64_t part, uint64_t n)
{
	uint64_t back = 2 * n - 1 - part;
	uint64_t front_end = kvr_piece_start(tokens, part + 1, 2 * n);
	uint64_t back_start = kvr_piece_start(tokens, back, 2 * n);
	uint64_t back_end = kvr_piece_start(tokens, back + 1, 2 * n);
	uint64_t front_start = kvr_piece_start(tokens, part, 2 * n);

	if (front_end == back_start)
		return add(list, sequence, front_start, back_end);
	return add(list, sequence, front_start, front_end) &&
	       add(list, sequence, back_start, back_end);
}

enum kvr_status kvr_ranges_packed_zigzag(const uint64_t *cu_seqlens,
					 size_t sequences, uint32_t rank,
					 uint32_t n, struct kvr_range *out,
					 size_t capacity, size_t *count)
{
	struct list list = {.out = out, .capacity = capacity};
	struct longer longer = {0, 0};
	bool fits = true;

	if (rank >= n || !count || !offsets_valid(cu_seqlens, sequences))
		return KVR_ERR_INVALID;
	for (size_t s = 0; s < sequences && fits; s++) {
		uint64_t tokens = cu_seqlens[s + 1] - cu_seqlens[s];
		uint64_t first = deal(&longer, tokens, n);

		fits = add_zigzag(&list, s, tokens,
				  ((uint64_t)rank + n - first) % n, n);
	}
	return finish(&list, fits, count);
}

/* ---------------------------------------------------------- interleave */

/* How many of stripes 0 .. stripes - 1 are the rank's. */
static uint64_t owned(uint64_t stripes, uint64_t rank, uint64_t n)
{
	return stripes / n + (stripes % n > rank);
}

/* Tokens first .. end - 1 of all, first < end, are a sequence. */
static bool add_stripes(struct list *list, uint64_t sequence, uint64_t first,
			uint64_t end, uint64_t stripe, uint64_t rank,
			uint64_t n)
{
	uint64_t before = owned(first / stripe, rank, n);
	uint64_t until = owned((end - 1) / stripe + 1, rank, n);

	if (!list->out) {
		list->count += (size_t)(until - before);
		return true;
	}
	for (uint64_t i = before; i < until; i++) {
		uint64_t at = (rank + i * n) * stripe;
		uint64_t from = max(at, first);
		/* The last stripe may end beyond all numbers. */
		uint64_t to = end - at < stripe ? end : at + stripe;

		if (!add(list, sequence, from - first, to - first))
			return false;
	}
	return true;
}

enum kvr_status kvr_ranges_packed_interleave(const uint64_t *cu_seqlens,
					     size_t sequences, uint64_t stripe,
					     uint32_t rank, uint32_t n,
					     struct kvr_range *out,
					     size_t capacity, size_t *count)
{
	struct list list = {.out = out, .capacity = capacity};
	bool fits = true;

	if (rank >= n || !count || stripe == 0 ||
	    !offsets_valid(cu_seqlens, sequences))
		return KVR_ERR_INVALID;
	/* Alone, a rank has all stripes: one without end. */
	if (n == 1)
		stripe = UINT64_MAX;
	for (size_t s = 0; s < sequences && fits; s++)
		if (cu_seqlens[s] < cu_seqlens[s + 1])
			fits = add_stripes(&list, s, cu_seqlens[s],
					   cu_seqlens[s + 1], stripe, rank, n);
	return finish(&list, fits, count);
}

enum kvr_status kvr_ranges_interleave(uint64_t tokens, uint64_t stripe,
				      uint32_t rank, uint32_t n,
				      struct kvr_range *out, size_t capacity,
				      size_t *count)
{
	const uint64_t cu_seqlens[] = {0, tokens};

	return kvr_ranges_packed_interleave(cu_seqlens, 1, stripe, rank, n, out,
					    capacity, count);
}
