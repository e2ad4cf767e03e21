/* SPDX-License-Identifier: Apache-2.0 */
#include "compute/cuda/layout.h"

static uint32_t pad(uint32_t dim, uint32_t bytes)
{
	uint32_t unit = 16 / bytes;

	return (dim + unit - 1) / unit * unit;
}

struct kvr_cuda_layout kvr_cuda_layout_of(const struct kvr_compute_shape *shape)
{
	struct kvr_cuda_layout l = {
		.bytes = shape->dtype == KVR_F32 ? 4 : 2,
	};

	l.k = pad(shape->head_dim, l.bytes);
	l.out = pad(shape->value_dim, l.bytes);
	l.v = shape->values_in_keys ? 0 : l.out;
	l.head = (size_t)l.k + l.v;
	l.row = l.head * shape->kv_heads;
	return l;
}

static bool add_rows(uint64_t tokens, size_t row_bytes, size_t *bytes)
{
	uint64_t rows = tokens / KVR_CUDA_RANGE_ROWS +
			(tokens % KVR_CUDA_RANGE_ROWS != 0);
	size_t more;

	return !__builtin_mul_overflow(rows, KVR_CUDA_RANGE_ROWS * row_bytes,
				       &more) &&
	       !__builtin_add_overflow(*bytes, more, bytes) &&
	       *bytes <= KVR_BLOCK_BYTES_MOST;
}

size_t kvr_cuda_block_bytes(const struct kvr_compute_shape *shape,
			    struct kvr_ranges kv)
{
	struct kvr_cuda_layout l = kvr_cuda_layout_of(shape);
	size_t bytes = 0;

	for (size_t i = 0; i < kv.count; i++)
		if (!add_rows(kv.range[i].length, l.row * l.bytes, &bytes))
			return KVR_BLOCK_BYTES_MOST;
	return bytes;
}

/* ---------------------------------------------------------------- runs */

static bool goes_on(const struct kvr_cuda_run *last,
		    const struct kvr_range *next, size_t row)
{
	return next->sequence == last->range.sequence &&
	       next->start == last->range.start + last->range.length &&
	       row == last->row + last->range.length;
}

size_t kvr_cuda_runs(struct kvr_ranges ranges, size_t align,
		     struct kvr_cuda_run *runs)
{
	size_t count = 0, row = 0;

	for (size_t i = 0; i < ranges.count; i++) {
		const struct kvr_range *range = &ranges.range[i];

		if (!range->length)
			continue;
		if (count && goes_on(&runs[count - 1], range, row))
			runs[count - 1].range.length += range->length;
		else
			runs[count++] = (struct kvr_cuda_run){*range, row};
		row += (range->length + align - 1) / align * align;
	}
	return count;
}

bool kvr_cuda_cut_next(struct kvr_cuda_cutter *c, struct kvr_cuda_cut *out)
{
	out->count = out->rows = 0;
	while (c->at < c->count && out->count < c->segments) {
		const struct kvr_cuda_run *run = &c->run[c->at];
		size_t row = run->row + c->done;
		uint64_t left = run->range.length - c->done;
		uint32_t room;

		if (!out->count)
			out->row = row;
		if (row - out->row >= c->rows)
			break;
		room = c->rows - (uint32_t)(row - out->row);
		if (left > room)
			left = room;
		out->segment[out->count++] = (struct kvr_cuda_segment){
			.sequence = run->range.sequence,
			.start = run->range.start + c->done,
			.first = (uint32_t)(row - out->row),
			.end = (uint32_t)(row - out->row + left),
		};
		out->rows = out->segment[out->count - 1].end;
		c->done += left;
		if (c->done < run->range.length)
			break;
		c->at++;
		c->done = 0;
	}
	return out->count > 0;
}

/* ---------------------------------------------------------------- look */

/* Trimmed tiles begin and end at multiples of so many keys. */
#define TRIM 16

static uint64_t below(uint64_t position, uint64_t by)
{
	return position > by ? position - by : 0;
}

static uint64_t above(uint64_t position, uint64_t by)
{
	return position > UINT64_MAX - by ? UINT64_MAX : position + by;
}

static uint64_t last_of(const struct kvr_cuda_segment *s)
{
	return s->start + (s->end - s->first) - 1;
}

/* What keys of kv any position of q sees: grows *first .. *end - 1. */
static void reach(const struct kvr_cuda_tile *t,
		  const struct kvr_cuda_segment *q,
		  const struct kvr_cuda_segment *kv, uint32_t *first,
		  uint32_t *end)
{
	uint64_t from = below(q->start, t->left);
	uint64_t to = above(last_of(q), t->right);
	uint32_t a = kv->first, b = kv->end;

	if (q->sequence != kv->sequence || to < kv->start || from > last_of(kv))
		return;
	if (from > kv->start)
		a += (uint32_t)(from - kv->start);
	if (to < last_of(kv))
		b -= (uint32_t)(last_of(kv) - to);
	if (a < *first)
		*first = a;
	if (b > *end)
		*end = b;
}

/* Segments of kv within first .. end - 1, counted from first. */
static void take(const struct kvr_cuda_cut *kv, uint32_t first, uint32_t end,
		 struct kvr_cuda_tile *tile)
{
	tile->kv_count = 0;
	for (uint32_t i = 0; i < kv->count; i++) {
		struct kvr_cuda_segment s = kv->segment[i];

		if (s.end <= first || s.first >= end)
			continue;
		if (s.first < first) {
			s.start += first - s.first;
			s.first = first;
		}
		if (s.end > end)
			s.end = end;
		s.first -= first;
		s.end -= first;
		tile->kv[tile->kv_count++] = s;
	}
}

static bool sees_all(const struct kvr_cuda_tile *t)
{
	const struct kvr_cuda_segment *q = t->q, *kv = t->kv;

	return t->q_count == 1 && t->kv_count == 1 &&
	       q->sequence == kv->sequence && kv->first == 0 &&
	       kv->end == t->keys && below(last_of(q), t->left) <= kv->start &&
	       above(q->start, t->right) >= last_of(kv);
}

static void set_window(const struct kvr_compute_shape *shape,
		       struct kvr_cuda_tile *tile)
{
	tile->left = shape->windowed ? shape->left : UINT64_MAX;
	tile->right = shape->windowed		       ? shape->right
		      : shape->mask == KVR_MASK_CAUSAL ? 0
						       : UINT64_MAX;
}

bool kvr_cuda_look(const struct kvr_compute_shape *shape,
		   const struct kvr_cuda_cut *q, const struct kvr_cuda_cut *kv,
		   struct kvr_cuda_tile *tile, uint32_t *out)
{
	uint32_t first = UINT32_MAX, end = 0;

	set_window(shape, tile);
	tile->q_count = q->count;
	for (uint32_t i = 0; i < q->count; i++) {
		tile->q[i] = q->segment[i];
		for (uint32_t j = 0; j < kv->count; j++)
			reach(tile, &q->segment[i], &kv->segment[j], &first,
			      &end);
	}
	if (first >= end)
		return false;
	first = first / TRIM * TRIM;
	end = (end + TRIM - 1) / TRIM * TRIM;
	if (end > kv->rows)
		end = kv->rows;
	tile->keys = end - first;
	take(kv, first, end, tile);
	tile->masked = !sees_all(tile);
	*out = first;
	return true;
}

/* -------------------------------------------------------------- tiling */

/* Of one kv head: more rows read keys less often; cuBLAS is as fast at this. */
#define ROWS_MOST 512
#define ROWS_GOOD 128
#define KEYS_LEAST 16

static size_t at_least(size_t value, size_t least)
{
	return value > least ? value : least;
}

static size_t at_most(size_t value, size_t most)
{
	return value < most ? value : most;
}

struct kvr_cuda_tiling
kvr_cuda_choose_tiling(const struct kvr_compute_shape *shape, size_t tokens,
		       size_t cache_bytes)
{
	size_t group = shape->q_heads / shape->kv_heads;
	/* Of one of two tiles, in half of the cache. */
	size_t scores = cache_bytes / 2 / 2 / sizeof(float);
	size_t keys = KVR_CUDA_KEYS, most, rows, heads, turns;

	while (keys > KEYS_LEAST && scores / keys < ROWS_GOOD)
		keys /= 2;
	most = at_least(scores / keys, 1);
	rows = at_most(at_most(most, ROWS_MOST), at_least(tokens, 1) * group);
	rows = at_least(rows / group, 1) * group;
	heads = at_most(at_least(most / rows, 1), shape->kv_heads);
	/* As many turns, of as equal numbers of heads. */
	turns = (shape->kv_heads + heads - 1) / heads;
	heads = (shape->kv_heads + turns - 1) / turns;
	return (struct kvr_cuda_tiling){
		.keys = (uint32_t)keys,
		.rows = (uint32_t)rows,
		.tokens = (uint32_t)(rows / group),
		.heads = (uint32_t)heads,
	};
}
