/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One item against one block: rectangles (run by run of keys), in them tiles
 * of keys, in them tiles of rows. What the mask hides is left out at each
 * level.
 */
#include <math.h>
#include <string.h>

#include "compute/cpu/denormals.h"
#include "compute/cpu/state.h"
#include "runtime/element.h"

struct rectangle {
	const struct kvr_cpu *cpu;
	const struct kvr_cpu_item *item;
	struct kvr_cpu_scratch scratch;
	size_t kv_head, tiles;	       /* tiles of the item */
	const struct kvr_range *range; /* of keys, a run */
	size_t first;		       /* the run's panel 0 in all pieces */
};

static uint64_t position_of(const struct kvr_cpu *cpu,
			    const struct kvr_cpu_item *item, size_t row)
{
	return item->range->start + row / cpu->group;
}

/* Keys first .. end - 1 of a range; first <= end. */
struct span {
	uint64_t first, end;
};

/* The first `count` positions from `start` that end with `last`, or before. */
static uint64_t up_to(uint64_t last, uint64_t start, uint64_t count)
{
	if (last < start)
		return 0;
	return last - start < count ? last - start + 1 : count;
}

/* Which of the keys from position `start` a query at `position` sees. */
static struct span seen_from(const struct kvr_cpu *cpu, uint64_t position,
			     uint64_t start, uint64_t keys)
{
	const struct kvr_compute_shape *s = &cpu->shape;
	struct span span = {0, keys};
	uint64_t last;

	if (s->windowed) {
		/* Before the window: what ends one position short of it. */
		if (position > s->left)
			span.first = up_to(position - s->left - 1, start, keys);
		if (!__builtin_add_overflow(position, s->right, &last))
			span.end = up_to(last, start, keys);
	} else if (s->mask == KVR_MASK_CAUSAL) {
		span.end = up_to(position, start, keys);
	}
	return span;
}

/* What any row of the item sees: from its first row's to its last row's. */
static struct span seen_by_item(const struct kvr_cpu *cpu,
				const struct kvr_cpu_item *item,
				const struct kvr_range *range)
{
	struct span first, last;

	if (item->range->sequence != range->sequence)
		return (struct span){0, 0};
	first = seen_from(cpu, position_of(cpu, item, item->row), range->start,
			  range->length);
	last = seen_from(cpu,
			 position_of(cpu, item, item->row + item->rows - 1),
			 range->start, range->length);
	return (struct span){first.first, last.end};
}

/* Scores come out in base 2: the factor is in double, in two parts. */
static void pack_tile(const struct kvr_cpu *cpu,
		      const struct kvr_cpu_item *item, size_t kv_head,
		      size_t first, float *to)
{
	const double cap = (double)cpu->shape.softcap;
	const double scale =
		(double)cpu->shape.scale * (cap > 0 ? 1 / cap : M_LOG2E);
	const char *data = cpu->q.data;
	struct kvr_cpu_rows rows = {
		.dtype = cpu->q.dtype,
		.dim = cpu->shape.head_dim,
		.scale = (float)scale,
		.rest = (float)(scale - (double)(float)scale),
	};

	for (size_t i = 0; i < cpu->kernel->rows && first + i < item->rows;
	     i++) {
		size_t row = item->row + first + i;
		size_t at =
			kvr_element_at(&cpu->q, item->token + row / cpu->group,
				       kv_head * cpu->group + row % cpu->group);

		rows.row[i] = data + at * kvr_dtype_bytes(cpu->q.dtype);
	}
	cpu->kernel->pack_q(&rows, to);
}

/* Rows past the end of the range are 0: finite, and nobody reads them. */
static void pack_q(const struct kvr_cpu *cpu, const struct kvr_cpu_item *item,
		   size_t kv_head, float *q)
{
	for (size_t first = 0; first < item->rows; first += cpu->kernel->rows)
		pack_tile(cpu, item, kv_head, first,
			  q + first * cpu->shape.head_dim);
}

/* Which keys of a tile each row sees, counted from panel `skip` of it. */
struct view {
	size_t skip;
	uint32_t before[KVR_CPU_ROWS_MAX], visible[KVR_CPU_ROWS_MAX];
};

/* What row `row` of the item sees of `keys` keys from `key` of the range. */
static struct span seen_by_row(const struct rectangle *r, size_t row,
			       uint64_t key, uint64_t keys)
{
	return seen_from(r->cpu,
			 position_of(r->cpu, r->item, r->item->row + row),
			 r->range->start + key, keys);
}

/* Of a tile that the mask or the end of the range cuts, or may. */
static void look_closely(const struct rectangle *r, size_t first, uint64_t key,
			 uint64_t keys, struct view *view,
			 struct kvr_cpu_tile *tile)
{
	const size_t skipped = view->skip * KVR_CPU_PANEL;
	size_t last = r->item->rows - 1;
	bool cut = false;

	for (size_t i = 0; i < r->cpu->kernel->rows; i++) {
		size_t row = first + i < last ? first + i : last;
		struct span span = seen_by_row(r, row, key, keys);

		view->before[i] = (uint32_t)(span.first - skipped);
		view->visible[i] = (uint32_t)(span.end - skipped);
		cut |= view->before[i] > 0 ||
		       view->visible[i] < tile->panels * KVR_CPU_PANEL;
	}
	tile->visible = cut ? view->visible : NULL;
	tile->before = cut && r->cpu->shape.windowed ? view->before : NULL;
}

/*
 * Fills in panels and, where the mask or the end of the range cuts the tile,
 * before and visible; the panels that no row sees yet are skipped. False: no
 * row sees a key.
 */
static bool look(const struct rectangle *r, size_t first, uint64_t key,
		 struct view *view, struct kvr_cpu_tile *tile)
{
	uint64_t left = r->range->length - key;
	uint64_t keys = left < r->cpu->keys ? left : r->cpu->keys;
	size_t width = r->cpu->kernel->rows, rows = r->item->rows - first;
	struct span top = seen_by_row(r, first, key, keys);
	struct span bottom = seen_by_row(
		r, first + (rows < width ? rows : width) - 1, key, keys);

	/* Positions ascend: row 0 sees the first key, the last row the last. */
	if (bottom.end <= top.first)
		return false;
	view->skip = (size_t)top.first / KVR_CPU_PANEL;
	tile->panels = kvr_cpu_panels(bottom.end) - view->skip;
	if (bottom.first > 0 || top.end < keys || keys % KVR_CPU_PANEL)
		look_closely(r, first, key, keys, view, tile);
	return true;
}

/* Panels of one head in f32; floats from one to the next. */
struct panels {
	const float *first;
	size_t stride;
};

/* The tile of keys after this one, if any: panels of the run. */
struct ahead {
	size_t panel, count;
};

/*
 * Where in memory begins what tile `tile` of the item's asks for meanwhile:
 * each its part of those panels, so that they are in a cache when their turn
 * comes. Without any, its own queries, which are there already.
 */
static const char *ahead_of(const struct rectangle *r, struct ahead ahead,
			    size_t tile)
{
	const struct kvr_compute_shape *s = &r->cpu->shape;
	const size_t bytes =
		kvr_cpu_panel_elements(s) * kvr_cpu_element_bytes(s);
	const size_t part = tile * ahead.count;
	const struct kvr_cpu_piece *piece;
	size_t at = r->first + ahead.panel + part / r->tiles;

	if (!ahead.count)
		return (const char *)r->scratch.q;
	piece = kvr_cpu_runs_piece(&r->cpu->runs, at);
	at = (at - piece->first) * s->kv_heads + r->kv_head;
	return piece->data + at * bytes + part % r->tiles * bytes / r->tiles;
}

/* All tiles of the item against one tile of keys, in f32 at kv. */
static void step_keys(const struct rectangle *r, uint64_t key, struct panels kv,
		      struct ahead ahead)
{
	const struct kvr_cpu *cpu = r->cpu;
	size_t width = cpu->kernel->rows;
	struct view view;

	for (size_t first = 0; first < r->item->rows; first += width) {
		size_t i = first / width;
		struct kvr_cpu_tile tile =
			kvr_cpu_partial(cpu, r->kv_head, r->item->tile + i);

		if (!look(r, first, key, &view, &tile))
			continue;
		tile.q = r->scratch.q + first * cpu->shape.head_dim;
		tile.panel_stride = kv.stride;
		tile.kv = kv.first + view.skip * kv.stride;
		tile.ahead = ahead_of(r, ahead, i);
		tile.scores = r->scratch.scores;
		cpu->kernel->tile(&tile);
	}
}

/* `count` elements that are no codes. */
static void to_f32(const struct kvr_cpu *cpu, const char *from, size_t count,
		   float *to)
{
	const uint16_t *half = (const uint16_t *)(const void *)from;

	if (cpu->shape.dtype == KVR_F32)
		memcpy(to, from, count * sizeof(*to));
	else if (cpu->shape.dtype == KVR_BF16)
		cpu->kernel->widen_bf16(half, to, count);
	else
		cpu->kernel->widen_f16(half, to, count);
}

/* A panel of a block: keys by one scale, values, where any, by the other. */
static void codes_to_f32(const struct kvr_cpu *cpu, const char *from,
			 struct kvr_cpu_scales scales, float *to)
{
	const size_t all = kvr_cpu_panel_elements(&cpu->shape);
	const size_t keys = cpu->shape.head_dim * (size_t)KVR_CPU_PANEL;
	const uint8_t *codes = (const uint8_t *)from;

	cpu->kernel->widen_e4m3(codes, scales.k, to, keys);
	cpu->kernel->widen_e4m3(codes + keys, scales.v, to + keys, all - keys);
}

/* `count` panels from one piece, `skip` panels in, as the kernel wants them. */
static void widen(const struct rectangle *r, const struct kvr_cpu_piece *piece,
		  size_t skip, size_t count, float *to)
{
	const struct kvr_compute_shape *s = &r->cpu->shape;
	const size_t packed = kvr_cpu_panel_elements(s);
	const size_t bytes = packed * kvr_cpu_element_bytes(s);
	const bool coded = s->kv_wire == KVR_KV_E4M3;
	const char *from =
		piece->data + (skip * s->kv_heads + r->kv_head) * bytes;
	struct kvr_cpu_scales scales = {0};

	if (coded)
		scales = kvr_cpu_get_scales(s, piece->panels * KVR_CPU_PANEL,
					    r->kv_head, piece->data);
	for (size_t i = 0; i < count; i++, from += s->kv_heads * bytes) {
		if (coded)
			codes_to_f32(r->cpu, from, scales, to);
		else
			to_f32(r->cpu, from, packed, to);
		if (s->values_in_keys)
			r->cpu->kernel->turn(to, to + packed, s->value_dim);
		to += kvr_cpu_tile_panel_elements(s);
	}
}

/*
 * Panels panel .. panel + count - 1 of the run, as the kernel wants them: where
 * they are, if they are so already.
 */
static struct panels gather(const struct rectangle *r, size_t panel,
			    size_t count)
{
	const struct kvr_cpu *cpu = r->cpu;
	size_t heads = cpu->shape.kv_heads;
	size_t elements = kvr_cpu_tile_panel_elements(&cpu->shape);
	const struct kvr_cpu_piece *piece;
	size_t at = r->first + panel, end = at + count, some;
	float *to = r->scratch.kv;

	piece = kvr_cpu_runs_piece(&cpu->runs, at);
	for (; at < end; at += some, piece++) {
		size_t skip = at - piece->first;

		some = piece->panels - skip;
		if (some > end - at)
			some = end - at;
		if (some == count && kvr_cpu_as_packed(cpu)) {
			const float *data =
				(const float *)(const void *)piece->data;

			return (struct panels){
				data + (skip * heads + r->kv_head) * elements,
				heads * elements};
		}
		widen(r, piece, skip, some, to);
		to += some * elements;
	}
	return (struct panels){r->scratch.kv, elements};
}

/* Panels of the tile of keys from `key`, as far as they are seen. */
static size_t panels_seen(const struct rectangle *r, struct span seen,
			  uint64_t key)
{
	const size_t keys = r->cpu->keys;
	uint64_t left = key < seen.end ? seen.end - key : 0;

	return kvr_cpu_panels(left < keys ? left : keys);
}

/* Tiles of keys begin where they do for every item: results must agree. */
static void step_run(const struct rectangle *r, struct span seen)
{
	const size_t keys = r->cpu->keys;

	for (uint64_t key = seen.first / keys * keys; key < seen.end;
	     key += keys) {
		size_t panel = (size_t)(key / KVR_CPU_PANEL);
		size_t count = panels_seen(r, seen, key);
		struct ahead ahead = {panel + keys / KVR_CPU_PANEL,
				      panels_seen(r, seen, key + keys)};

		step_keys(r, key, gather(r, panel, count), ahead);
	}
}

/* The first run of which the item may see a key; later ones follow. */
static size_t first_run(const struct kvr_cpu *cpu,
			const struct kvr_cpu_item *item)
{
	uint64_t position = position_of(cpu, item, item->row);

	if (!cpu->runs.ascending)
		return 0;
	if (!cpu->shape.windowed || position <= cpu->shape.left)
		position = 0;
	else
		position -= cpu->shape.left;
	return kvr_cpu_runs_behind(&cpu->runs, item->range->sequence, position);
}

static void step_runs(const struct kvr_cpu *cpu, uint32_t thread,
		      const struct kvr_cpu_item *item, size_t kv_head)
{
	struct rectangle r = {
		.cpu = cpu,
		.item = item,
		.scratch = kvr_cpu_scratch_of(cpu, thread),
		.kv_head = kv_head,
		.tiles = kvr_cpu_tiles_of(cpu, item->rows),
	};
	bool packed = false;

	for (size_t i = first_run(cpu, item); i < cpu->runs.count; i++) {
		struct span seen;

		r.range = &cpu->runs.run[i].range;
		r.first = cpu->runs.run[i].first;
		seen = seen_by_item(cpu, item, r.range);
		if (seen.first < seen.end && !packed) {
			pack_q(cpu, item, kv_head, r.scratch.q);
			packed = true;
		}
		if (seen.first < seen.end)
			step_run(&r, seen);
		else if (cpu->runs.ascending)
			break; /* those behind are further off */
	}
}

/* Here and not for the whole step: what the caller is called back with is his.
 */
void kvr_cpu_step_item(const struct kvr_cpu *cpu, uint32_t thread,
		       const struct kvr_cpu_item *item, size_t kv_head)
{
	uint64_t before = kvr_denormals_drop();

	step_runs(cpu, thread, item, kv_head);
	kvr_denormals_restore(before);
}
