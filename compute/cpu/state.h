/* SPDX-License-Identifier: Apache-2.0 */
/* What open allocates and the calls of the driver share. */
#ifndef KVR_COMPUTE_STATE_H
#define KVR_COMPUTE_STATE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "compute/cpu/compute.h"
#include "compute/cpu/pool.h"
#include "compute/cpu/runs.h"

/* Tiles of an item: what one conversion of bf16 keys to f32 is shared by. */
#define KVR_CPU_ITEM_TILES 16

/*
 * Up to KVR_CPU_ITEM_TILES tiles of query rows of one range, for every kv
 * head alike: what one thread takes at a time. Row r of a range is query
 * head r % group (of the kv head's group) of token r / group, so that the
 * heads of a group share tiles, and positions ascend with rows.
 *
 * Which tiles an item has may depend on the number of threads; what a tile
 * has does not, and tiles do not see each other.
 */
struct kvr_cpu_item {
	const struct kvr_range *range;
	size_t token;	  /* where the range begins in q */
	size_t row, rows; /* of the range */
	size_t tile;	  /* the first; counted over the ranges of a kv head */
};

/* One thread's own. */
struct kvr_cpu_scratch {
	float *q;  /* [tile][dim][rows] */
	float *kv; /* panels of one tile of keys, as the kernel wants them */
	float *scores; /* see struct kvr_cpu_tile */
};

struct kvr_cpu {
	struct kvr_compute base;
	const struct kvr_cpu_kernel *kernel;
	struct kvr_compute_shape shape;
	struct kvr_cpu_pool *pool;
	size_t group; /* query heads per kv head */
	size_t keys;  /* that a tile takes at once */

	struct kvr_range *q_range;
	struct kvr_cpu_item *item;
	size_t items, tiles; /* per kv head */

	/* Partials, by kv head and tile. */
	float *out, *max, *sum;

	/* Scratch of thread t begins at scratch + t * scratch_floats. */
	float *scratch;
	size_t scratch_floats;

	/* The call under way. */
	struct kvr_tensor q;
	struct kvr_cpu_runs runs; /* of the block */
	_Atomic size_t next;	  /* work handed out */
	atomic_bool stopped;	  /* steps hand out no more */

	void (*pulse)(void *arg); /* by thread 0, the caller's; or NULL */
	void *pulse_arg;
};

/* Are panels in a block as the kernel wants them? */
static inline bool kvr_cpu_as_packed(const struct kvr_cpu *cpu)
{
	return kvr_cpu_element_bytes(&cpu->shape) == sizeof(float) &&
	       !cpu->shape.values_in_keys;
}

static inline size_t kvr_cpu_tiles_of(const struct kvr_cpu *cpu, size_t rows)
{
	return (rows + cpu->kernel->rows - 1) / cpu->kernel->rows;
}

/* Floats of a tile's partial output. */
static inline size_t kvr_cpu_tile_floats(const struct kvr_cpu *cpu)
{
	return kvr_cpu_groups(cpu->shape.value_dim) * cpu->kernel->rows *
	       KVR_CPU_PANEL;
}

struct kvr_cpu_scratch kvr_cpu_scratch_of(const struct kvr_cpu *cpu,
					  uint32_t thread);

/* The tile's rows, kernel->rows of them, with its partials and no keys yet. */
struct kvr_cpu_tile kvr_cpu_partial(const struct kvr_cpu *cpu, size_t kv_head,
				    size_t tile);

/*
 * Hands out 0 .. count - 1, each once, to whichever thread asks; false when
 * none is left. Reset before the pool runs.
 */
bool kvr_cpu_take(struct kvr_cpu *cpu, size_t count, size_t *out);

/* One item of one kv head against the block, cpu->runs. */
void kvr_cpu_step_item(const struct kvr_cpu *cpu, uint32_t thread,
		       const struct kvr_cpu_item *item, size_t kv_head);

#endif
