/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One item against one block: rectangles (range by range), in them tiles of
 * keys, in them tiles of rows. What the mask hides is left out at each level.
 */
#include <math.h>

#include "compute/cpu/state.h"
#include "runtime/element.h"

struct rectangle {
	const struct kvr_cpu *cpu;
	const struct kvr_cpu_item *item;
	struct kvr_cpu_scratch scratch;
	size_t kv_head;
	const struct kvr_range *range; /* of keys */
	const char *panels;	       /* of range */
};

static uint64_t position_of(const struct kvr_cpu *cpu,
			    const struct kvr_cpu_item *item, size_t row)
{
	return item->range->start + row / cpu->group;
}

/* How many of the keys from position `start` a query at `position` sees. */
static uint64_t seen_from(const struct kvr_cpu *cpu, uint64_t position,
			  uint64_t start, uint64_t keys)
{
	if (cpu->shape.mask == KVR_MASK_FULL)
		return keys;
	if (position < start)
		return 0;
	return position - start < keys ? position - start + 1 : keys;
}

/* The most that any row of the item sees: its last row's. */
static uint64_t seen_by_item(const struct kvr_cpu *cpu,
			     const struct kvr_cpu_item *item,
			     const struct kvr_range *range)
{
	if (item->range->sequence != range->sequence)
		return 0;
	return seen_from(cpu,
			 position_of(cpu, item, item->row + item->rows - 1),
			 range->start, range->length);
}

/* Scores come out in base 2: one rounding, of the product in double. */
static void pack_row(const struct kvr_cpu *cpu, size_t token, size_t head,
		     float *to)
{
	const double cap = (double)cpu->shape.softcap;
	const double scale =
		(double)cpu->shape.scale * (cap > 0 ? 1 / cap : M_LOG2E);
	size_t at = kvr_element_at(&cpu->q, token, head);

	for (size_t i = 0; i < cpu->shape.head_dim; i++)
		to[i * cpu->kernel->rows] =
			(float)(kvr_element_get(&cpu->q, at + i) * scale);
}

/* Rows past the end of the range are 0: finite, and nobody reads them. */
static void pack_no_row(const struct kvr_cpu *cpu, float *to)
{
	for (size_t i = 0; i < cpu->shape.head_dim; i++)
		to[i * cpu->kernel->rows] = 0;
}

static void pack_q(const struct kvr_cpu *cpu, const struct kvr_cpu_item *item,
		   size_t kv_head, float *q)
{
	size_t width = cpu->kernel->rows;
	size_t rows = kvr_cpu_tiles_of(cpu, item->rows) * width;

	for (size_t i = 0; i < rows; i++) {
		size_t row = item->row + i;
		float *to =
			q + i / width * width * cpu->shape.head_dim + i % width;

		if (i < item->rows)
			pack_row(cpu, item->token + row / cpu->group,
				 kv_head * cpu->group + row % cpu->group, to);
		else
			pack_no_row(cpu, to);
	}
}

/*
 * Fills in panels and, where the mask or the end of the range cuts the tile,
 * visible. False: no row sees a key.
 */
static bool look(const struct rectangle *r, size_t first, uint64_t key,
		 uint32_t visible[KVR_CPU_ROWS_MAX], struct kvr_cpu_tile *tile)
{
	uint64_t left = r->range->length - key;
	uint64_t keys = left < KVR_CPU_KEYS ? left : KVR_CPU_KEYS;
	size_t last = r->item->rows - 1;
	uint32_t most = 0;
	bool cut = false;

	for (size_t i = 0; i < r->cpu->kernel->rows; i++) {
		size_t row = first + i < last ? first + i : last;

		visible[i] = (uint32_t)seen_from(
			r->cpu,
			position_of(r->cpu, r->item, r->item->row + row),
			r->range->start + key, keys);
		/* Positions ascend: the last row sees most. */
		most = visible[i];
	}
	tile->panels = kvr_cpu_panels(most);
	for (size_t i = 0; i < r->cpu->kernel->rows; i++)
		cut |= visible[i] < tile->panels * KVR_CPU_PANEL;
	tile->visible = cut ? visible : NULL;
	return tile->panels > 0;
}

/* All tiles of the item against one tile of keys, in f32 at kv. */
static void step_keys(const struct rectangle *r, uint64_t key, const float *kv)
{
	const struct kvr_cpu *cpu = r->cpu;
	size_t width = cpu->kernel->rows;
	uint32_t visible[KVR_CPU_ROWS_MAX];

	for (size_t first = 0; first < r->item->rows; first += width) {
		struct kvr_cpu_tile tile = kvr_cpu_partial(
			cpu, r->kv_head, r->item->tile + first / width);

		if (!look(r, first, key, visible, &tile))
			continue;
		tile.q = r->scratch.q + first * cpu->shape.head_dim;
		tile.kv = kv;
		tile.panel_stride = kvr_cpu_panel_elements(&cpu->shape);
		tile.scores = r->scratch.scores;
		cpu->kernel->tile(&tile);
	}
}

/* The panels of a tile of keys as f32, which they may be already. */
static const float *widen(const struct rectangle *r, const char *from,
			  size_t count)
{
	const struct kvr_cpu *cpu = r->cpu;
	const uint16_t *half = (const uint16_t *)(const void *)from;

	if (cpu->shape.dtype == KVR_F32)
		return (const float *)(const void *)from;
	if (cpu->shape.dtype == KVR_BF16)
		cpu->kernel->widen_bf16(half, r->scratch.kv, count);
	else
		cpu->kernel->widen_f16(half, r->scratch.kv, count);
	return r->scratch.kv;
}

static void step_range(const struct rectangle *r, uint64_t seen)
{
	const struct kvr_cpu *cpu = r->cpu;
	size_t panel = kvr_cpu_panel_elements(&cpu->shape);
	size_t bytes = panel * kvr_dtype_bytes(cpu->shape.dtype);

	for (uint64_t key = 0; key < seen; key += KVR_CPU_KEYS) {
		const char *from =
			r->panels + (size_t)(key / KVR_CPU_PANEL) * bytes;
		uint64_t left = seen - key;
		size_t count = kvr_cpu_panels(
			left < KVR_CPU_KEYS ? left : KVR_CPU_KEYS);

		step_keys(r, key, widen(r, from, count * panel));
	}
}

void kvr_cpu_step_item(const struct kvr_cpu *cpu, uint32_t thread,
		       const struct kvr_cpu_item *item, size_t kv_head,
		       struct kvr_ranges kv, const void *block)
{
	size_t bytes = kvr_cpu_panel_elements(&cpu->shape) *
		       kvr_dtype_bytes(cpu->shape.dtype);
	struct rectangle r = {
		.cpu = cpu,
		.item = item,
		.scratch = kvr_cpu_scratch_of(cpu, thread),
		.kv_head = kv_head,
		.panels = (const char *)block +
			  kv_head * kvr_cpu_head_panels(kv) * bytes,
	};
	bool packed = false;

	for (size_t i = 0; i < kv.count; i++) {
		uint64_t seen = seen_by_item(cpu, item, &kv.range[i]);

		r.range = &kv.range[i];
		if (seen > 0 && !packed) {
			pack_q(cpu, item, kv_head, r.scratch.q);
			packed = true;
		}
		step_range(&r, seen);
		r.panels += kvr_cpu_panels(r.range->length) * bytes;
	}
}
