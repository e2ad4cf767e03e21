/* SPDX-License-Identifier: Apache-2.0 */
/* Cutting the queries into items; memory. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compute/cpu/state.h"

#define ALIGN 64
#define TILE_BYTES (512 * 1024)
#define PAGE_FLOATS (4096 / sizeof(float))

/* Items per thread and kv head that keep the threads evenly busy. */
#define ITEMS_PER_THREAD 8

/* Of a block, without kvr_compute_ops' reserve. */
#define RANGES_LEAST 64

static size_t round_up(size_t value, size_t to)
{
	return (value + to - 1) / to * to;
}

/* count * size floats; NULL also when no address space holds them. */
static float *floats_alloc(size_t count, size_t size)
{
	if (__builtin_mul_overflow(count, size, &count) ||
	    count > SIZE_MAX / 2 / sizeof(float))
		return NULL;
	/* Never 0 bytes: NULL must mean failure. */
	return aligned_alloc(ALIGN, round_up(count * sizeof(float) + 1, ALIGN));
}

/*
 * Keys of a tile: as many as leave half of an L2 cache of 1 MiB to queries and
 * sums, all KVR_CPU_KEYS up to dims of 256; whole pairs of panels, as the
 * kernel takes them.
 */
static size_t tile_keys(const struct kvr_compute_shape *shape)
{
	size_t panel = kvr_cpu_tile_panel_elements(shape) * sizeof(float);
	size_t pairs = TILE_BYTES / (2 * panel);
	const size_t most = KVR_CPU_KEYS / KVR_CPU_PANEL / 2;

	return 2 * KVR_CPU_PANEL * (pairs < most ? pairs : most);
}

static size_t q_floats(const struct kvr_cpu *cpu)
{
	return round_up(KVR_CPU_ITEM_TILES * cpu->kernel->rows *
					cpu->shape.head_dim +
				KVR_CPU_Q_SLACK,
			KVR_CPU_PANEL);
}

static size_t kv_floats(const struct kvr_cpu *cpu)
{
	return cpu->keys / KVR_CPU_PANEL *
	       kvr_cpu_tile_panel_elements(&cpu->shape);
}

struct kvr_cpu_scratch kvr_cpu_scratch_of(const struct kvr_cpu *cpu,
					  uint32_t thread)
{
	float *base = cpu->scratch + thread * cpu->scratch_floats;

	return (struct kvr_cpu_scratch){
		.q = base,
		.kv = base + q_floats(cpu),
		.scores = base + q_floats(cpu) + kv_floats(cpu),
	};
}

struct kvr_cpu_tile kvr_cpu_partial(const struct kvr_cpu *cpu, size_t kv_head,
				    size_t tile)
{
	size_t index = kv_head * cpu->tiles + tile;
	size_t stride = KVR_CPU_ROWS_STRIDE(cpu->kernel->rows);

	return (struct kvr_cpu_tile){
		.out = cpu->out + index * kvr_cpu_tile_floats(cpu),
		.max = cpu->max + index * stride,
		.sum = cpu->sum + index * stride,
		.groups = kvr_cpu_groups(cpu->shape.value_dim),
		.dim = cpu->shape.head_dim,
		.cap = (float)((double)cpu->shape.softcap * M_LOG2E),
	};
}

static size_t count_tiles(const struct kvr_cpu *cpu, struct kvr_ranges q)
{
	size_t tiles = 0;

	for (size_t i = 0; i < q.count; i++)
		tiles += kvr_cpu_tiles_of(cpu, (size_t)q.range[i].length *
						       cpu->group);
	return tiles;
}

static size_t item_tiles(const struct kvr_cpu *cpu)
{
	size_t work = cpu->tiles * cpu->shape.kv_heads;
	size_t share = work / (kvr_cpu_pool_threads(cpu->pool) *
			       (size_t)ITEMS_PER_THREAD);

	if (share < 1)
		return 1;
	return share < KVR_CPU_ITEM_TILES ? share : KVR_CPU_ITEM_TILES;
}

static size_t range_items(const struct kvr_cpu *cpu,
			  const struct kvr_range *range)
{
	size_t tiles =
		kvr_cpu_tiles_of(cpu, (size_t)range->length * cpu->group);
	size_t step = item_tiles(cpu);

	return (tiles + step - 1) / step;
}

static void cut_range(const struct kvr_cpu *cpu, const struct kvr_range *range,
		      size_t token, size_t tile, struct kvr_cpu_item *item)
{
	size_t rows = (size_t)range->length * cpu->group;
	size_t step = item_tiles(cpu) * cpu->kernel->rows;

	for (size_t row = 0; row < rows; row += step)
		*item++ = (struct kvr_cpu_item){
			.range = range,
			.token = token,
			.row = row,
			.rows = rows - row < step ? rows - row : step,
			.tile = tile + row / cpu->kernel->rows,
		};
}

static enum kvr_status make_items(struct kvr_cpu *cpu, size_t ranges)
{
	struct kvr_cpu_item *item;
	size_t token = 0, tile = 0;

	for (size_t i = 0; i < ranges; i++)
		cpu->items += range_items(cpu, &cpu->q_range[i]);
	/* + 1: NULL must mean failure. */
	item = cpu->item = calloc(cpu->items + 1, sizeof(*item));
	if (!item)
		return KVR_ERR_NO_MEMORY;
	for (size_t i = 0; i < ranges; i++) {
		const struct kvr_range *range = &cpu->q_range[i];

		cut_range(cpu, range, token, tile, item);
		item += range_items(cpu, range);
		token += (size_t)range->length;
		tile += kvr_cpu_tiles_of(cpu,
					 (size_t)range->length * cpu->group);
	}
	return KVR_OK;
}

static enum kvr_status copy_ranges(struct kvr_cpu *cpu, struct kvr_ranges q)
{
	/* + 1: NULL must mean failure. */
	cpu->q_range = calloc(q.count + 1, sizeof(*cpu->q_range));
	if (!cpu->q_range)
		return KVR_ERR_NO_MEMORY;
	if (q.count > 0)
		memcpy(cpu->q_range, q.range, q.count * sizeof(*cpu->q_range));
	cpu->tiles = count_tiles(cpu, q);
	return KVR_OK;
}

static enum kvr_status make_partials(struct kvr_cpu *cpu)
{
	size_t tiles = cpu->tiles * cpu->shape.kv_heads;
	size_t stride = KVR_CPU_ROWS_STRIDE(cpu->kernel->rows);

	cpu->out = floats_alloc(tiles, kvr_cpu_tile_floats(cpu));
	if (!cpu->out)
		return KVR_ERR_NO_MEMORY;
	cpu->max = floats_alloc(tiles, stride);
	if (!cpu->max)
		goto err_out;
	cpu->sum = floats_alloc(tiles, stride);
	if (!cpu->sum)
		goto err_max;
	return KVR_OK;

err_max:
	free(cpu->max);
err_out:
	free(cpu->out);
	return KVR_ERR_NO_MEMORY;
}

static void free_partials(struct kvr_cpu *cpu)
{
	free(cpu->sum);
	free(cpu->max);
	free(cpu->out);
}

static enum kvr_status make_scratch(struct kvr_cpu *cpu)
{
	size_t floats = q_floats(cpu) + kv_floats(cpu) +
			(size_t)cpu->kernel->rows * KVR_CPU_SCORE_STRIDE;

	/* Whole pages: each thread touches its own first. */
	cpu->scratch_floats = round_up(floats, PAGE_FLOATS);
	cpu->scratch = floats_alloc(cpu->scratch_floats,
				    kvr_cpu_pool_threads(cpu->pool));
	return cpu->scratch ? KVR_OK : KVR_ERR_NO_MEMORY;
}

enum kvr_status kvr_cpu_open(const struct kvr_compute_ops *ops,
			     const struct kvr_cpu_kernel *kernel,
			     const struct kvr_compute_shape *shape,
			     struct kvr_ranges q, uint32_t threads,
			     struct kvr_compute **out)
{
	struct kvr_cpu *cpu = calloc(1, sizeof(*cpu));
	enum kvr_status status;

	if (!cpu)
		return KVR_ERR_NO_MEMORY;
	cpu->base.ops = ops;
	cpu->kernel = kernel;
	cpu->shape = *shape;
	cpu->group = shape->q_heads / shape->kv_heads;
	cpu->keys = tile_keys(shape);
	status = kvr_cpu_pool_open(threads, &cpu->pool);
	if (status != KVR_OK)
		goto err_free;
	status = copy_ranges(cpu, q);
	if (status != KVR_OK)
		goto err_pool;
	status = make_partials(cpu);
	if (status != KVR_OK)
		goto err_ranges;
	status = make_items(cpu, q.count);
	if (status != KVR_OK)
		goto err_partials;
	status = make_scratch(cpu);
	if (status != KVR_OK)
		goto err_items;
	status = kvr_cpu_runs_reserve(&cpu->runs, RANGES_LEAST);
	if (status != KVR_OK)
		goto err_scratch;
	*out = &cpu->base;
	return KVR_OK;

err_scratch:
	free(cpu->scratch);
err_items:
	free(cpu->item);
err_partials:
	free_partials(cpu);
err_ranges:
	free(cpu->q_range);
err_pool:
	kvr_cpu_pool_close(cpu->pool);
err_free:
	free(cpu);
	return status;
}

enum kvr_status kvr_cpu_reserve(struct kvr_compute *compute, size_t ranges,
				size_t bytes)
{
	struct kvr_cpu *cpu = (struct kvr_cpu *)compute;

	(void)bytes; /* blocks are read where they are */
	return kvr_cpu_runs_reserve(&cpu->runs, ranges);
}

void kvr_cpu_close(struct kvr_compute *compute)
{
	struct kvr_cpu *cpu = (struct kvr_cpu *)compute;

	if (!cpu)
		return;
	kvr_cpu_pool_close(cpu->pool);
	kvr_cpu_runs_fini(&cpu->runs);
	free(cpu->scratch);
	free(cpu->item);
	free_partials(cpu);
	free(cpu->q_range);
	free(cpu);
}
