/* SPDX-License-Identifier: Apache-2.0 */
/* pack, begin, step and finish, each spread over the threads of the pool. */
#include <math.h>
#include <string.h>

#include "compute/cpu/state.h"
#include "runtime/element.h"

bool kvr_cpu_take(struct kvr_cpu *cpu, size_t count, size_t *out)
{
	/* Relaxed: the pool orders the work itself; this only hands it out. */
	*out = atomic_fetch_add_explicit(&cpu->next, 1, memory_order_relaxed);
	return *out < count;
}

static void run(struct kvr_cpu *cpu, kvr_cpu_work_fn work, void *arg)
{
	/* Relaxed: kvr_cpu_pool_run makes it visible. */
	atomic_store_explicit(&cpu->next, 0, memory_order_relaxed);
	kvr_cpu_pool_run(cpu->pool, work, arg);
}

/* ---------------------------------------------------------------- pack */

/* Panels that one thread takes at a time. */
#define PACK_PANELS 64

struct pack {
	struct kvr_cpu *cpu;
	struct kvr_ranges kv;
	const struct kvr_tensor *k, *v;
	char *block;
	size_t panels, bytes; /* of a kv head; of a panel */
};

/* Panels first .. last - 1 of a range that begins at `to` and with token. */
static void pack_range(const struct pack *p, size_t head,
		       const struct kvr_range *range, size_t token,
		       size_t first, size_t last, char *to)
{
	const struct kvr_compute_shape *shape = &p->cpu->shape;
	bool quantise = shape->kv_wire == KVR_KV_E4M3;
	struct kvr_cpu_scales scales = {0};

	if (quantise)
		scales = kvr_cpu_get_scales(shape, range->length, head, to);
	for (size_t i = first; i < last; i++) {
		size_t at = i * KVR_CPU_PANEL;
		size_t left = (size_t)range->length - at;
		size_t count = left < KVR_CPU_PANEL ? left : KVR_CPU_PANEL;
		char *panel = to + (i * shape->kv_heads + head) * p->bytes;

		if (quantise)
			kvr_cpu_quantise_panel(shape, p->k, p->v, head,
					       token + at, count, scales,
					       panel);
		else
			kvr_cpu_pack_panel(shape, p->k, p->v, head, token + at,
					   count, panel);
	}
}

/* Panels first .. last - 1 of a head, counted over the ranges. */
static void pack_panels(const struct pack *p, size_t head, size_t first,
			size_t last)
{
	char *at = p->block;
	size_t token = 0, base = 0;

	for (size_t i = 0; i < p->kv.count && base < last; i++) {
		const struct kvr_range *range = &p->kv.range[i];
		size_t count = kvr_cpu_panels(range->length);
		size_t from = first > base ? first - base : 0;
		size_t to = last - base < count ? last - base : count;

		pack_range(p, head, range, token, from, to, at);
		token += (size_t)range->length;
		base += count;
		at += kvr_cpu_range_bytes(&p->cpu->shape, range->length);
	}
}

static void scale_head(const struct pack *p, size_t head)
{
	const struct kvr_compute_shape *shape = &p->cpu->shape;
	char *at = p->block;
	size_t token = 0;

	for (size_t i = 0; i < p->kv.count; i++) {
		size_t tokens = (size_t)p->kv.range[i].length;

		if (tokens)
			kvr_cpu_set_scales(shape, tokens, head,
					   kvr_cpu_find_scales(p->k, p->v, head,
							       token, tokens),
					   at);
		token += tokens;
		at += kvr_cpu_range_bytes(shape, tokens);
	}
}

/* Before the panels, which are divided by them. */
static void scale_work(void *arg, uint32_t thread)
{
	const struct pack *p = arg;
	size_t head;

	(void)thread;
	while (kvr_cpu_take(p->cpu, p->cpu->shape.kv_heads, &head))
		scale_head(p, head);
}

static void pack_work(void *arg, uint32_t thread)
{
	const struct pack *p = arg;
	size_t shares = (p->panels + PACK_PANELS - 1) / PACK_PANELS;
	size_t i;

	(void)thread;
	while (kvr_cpu_take(p->cpu, shares * p->cpu->shape.kv_heads, &i)) {
		size_t first = i % shares * PACK_PANELS;

		pack_panels(p, i / shares, first, first + PACK_PANELS);
	}
}

/* What travels is defined to the last byte. */
static void pack_ends(const struct pack *p)
{
	const struct kvr_compute_shape *shape = &p->cpu->shape;
	char *at = p->block;

	for (size_t i = 0; i < p->kv.count; i++) {
		uint64_t tokens = p->kv.range[i].length;
		size_t used =
			kvr_cpu_panels(tokens) * p->bytes * shape->kv_heads +
			kvr_cpu_scales_bytes(shape, tokens);
		size_t bytes = kvr_cpu_range_bytes(shape, tokens);

		memset(at + used, 0, bytes - used);
		at += bytes;
	}
}

void kvr_cpu_pack(struct kvr_compute *compute, struct kvr_ranges kv,
		  const struct kvr_tensor *k, const struct kvr_tensor *v,
		  void *block)
{
	struct kvr_cpu *cpu = (struct kvr_cpu *)compute;
	struct pack p = {
		.cpu = cpu,
		.kv = kv,
		.k = k,
		.v = v,
		.block = block,
		.panels = kvr_cpu_head_panels(kv),
		.bytes = kvr_cpu_panel_elements(&cpu->shape) *
			 kvr_cpu_element_bytes(&cpu->shape),
	};

	if (cpu->shape.kv_wire == KVR_KV_E4M3)
		run(cpu, scale_work, &p);
	run(cpu, pack_work, &p);
	pack_ends(&p);
}

/* --------------------------------------------------------------- begin */

static void begin_work(void *arg, uint32_t thread)
{
	struct kvr_cpu *cpu = arg;
	size_t stride = KVR_CPU_ROWS_STRIDE(cpu->kernel->rows);
	size_t tile;

	(void)thread;
	while (kvr_cpu_take(cpu, cpu->tiles * cpu->shape.kv_heads, &tile)) {
		struct kvr_cpu_tile t = kvr_cpu_partial(cpu, 0, tile);

		for (size_t r = 0; r < stride; r++) {
			t.max[r] = -INFINITY;
			t.sum[r] = 0;
		}
		memset(t.out, 0, kvr_cpu_tile_floats(cpu) * sizeof(*t.out));
	}
}

void kvr_cpu_begin(struct kvr_compute *compute, const struct kvr_tensor *q)
{
	struct kvr_cpu *cpu = (struct kvr_cpu *)compute;

	cpu->q = *q;
	atomic_store_explicit(&cpu->stopped, false, memory_order_relaxed);
	run(cpu, begin_work, cpu);
}

/* ---------------------------------------------------------------- step */

static void step_work(void *arg, uint32_t thread)
{
	struct kvr_cpu *cpu = arg;
	size_t i;

	/* Relaxed: it carries nothing but itself. */
	while (!atomic_load_explicit(&cpu->stopped, memory_order_relaxed) &&
	       kvr_cpu_take(cpu, cpu->items * cpu->shape.kv_heads, &i)) {
		/* The last first: under a causal mask they see most. */
		size_t item = cpu->items - 1 - i % cpu->items;

		kvr_cpu_step_item(cpu, thread, &cpu->item[item],
				  i / cpu->items);
		if (thread == 0 && cpu->pulse)
			cpu->pulse(cpu->pulse_arg);
	}
}

void kvr_cpu_step(struct kvr_compute *compute, struct kvr_ranges kv,
		  const void *block)
{
	struct kvr_cpu *cpu = (struct kvr_cpu *)compute;

	kvr_cpu_runs_fill(&cpu->runs, &cpu->shape, kv, block, NULL);
	run(cpu, step_work, cpu);
}

void kvr_cpu_step_pages(struct kvr_compute *compute, struct kvr_ranges kv,
			const void *const *page)
{
	struct kvr_cpu *cpu = (struct kvr_cpu *)compute;

	kvr_cpu_runs_fill(&cpu->runs, &cpu->shape, kv, NULL, page);
	run(cpu, step_work, cpu);
}

void kvr_cpu_stop(struct kvr_compute *compute)
{
	struct kvr_cpu *cpu = (struct kvr_cpu *)compute;

	atomic_store_explicit(&cpu->stopped, true, memory_order_relaxed);
}

void kvr_cpu_set_pulse(struct kvr_compute *compute, void (*pulse)(void *arg),
		       void *arg)
{
	struct kvr_cpu *cpu = (struct kvr_cpu *)compute;

	cpu->pulse = pulse;
	cpu->pulse_arg = arg;
}

/* -------------------------------------------------------------- finish */

struct finish {
	struct kvr_cpu *cpu;
	const struct kvr_tensor *out;
	float *lse;
	size_t lse_head_stride;
};

/*
 * Divides row r's sums: out, and *lse. The sink is counted here, once a run
 * whatever the ring, and in double: a float may not hold exp(sink - max).
 */
static float divisor(const struct kvr_cpu_tile *tile, size_t r, double sink,
		     double *lse)
{
	double max = (double)tile->max[r] * M_LN2, sum = (double)tile->sum[r];
	double total;

	*lse = sink;
	if (sum == 0)
		return 0;
	if (sink == -INFINITY) {
		*lse = max + log(sum);
		return tile->sum[r];
	}
	total = sum + exp(sink - max);
	*lse = sink > max ? sink + log1p(sum * exp(max - sink))
			  : max + log(total);
	return (float)total;
}

/* `count` <= 16 sums of a row, divided; 0, not 0 / 0, where no key was seen. */
static void finish_group(const struct kvr_tensor *out, size_t at,
			 const float *from, size_t count, float sum)
{
	if (out->dtype == KVR_F32) {
		float *to = (float *)out->data + at;

		for (size_t i = 0; i < count; i++)
			to[i] = sum == 0 ? 0 : from[i] / sum;
		return;
	}
	for (size_t i = 0; i < count; i++)
		kvr_element_set(out, at + i, sum == 0 ? 0 : from[i] / sum);
}

/* Row r of a tile's partials to head `head` of `token`. */
static void finish_row(const struct finish *f, const struct kvr_cpu_tile *tile,
		       size_t r, size_t token, size_t head)
{
	const struct kvr_cpu *cpu = f->cpu;
	const size_t group = (size_t)cpu->kernel->rows * KVR_CPU_PANEL;
	const float *sinks = cpu->shape.sinks;
	const float *from = tile->out + r * KVR_CPU_PANEL;
	size_t at = kvr_element_at(f->out, token, head);
	double lse;
	float sum =
		divisor(tile, r, sinks ? (double)sinks[head] : -INFINITY, &lse);

	for (size_t i = 0; i < cpu->shape.value_dim; i += KVR_CPU_PANEL) {
		size_t left = cpu->shape.value_dim - i;

		finish_group(f->out, at + i, from,
			     left < KVR_CPU_PANEL ? left : KVR_CPU_PANEL, sum);
		from += group;
	}
	if (f->lse)
		f->lse[head * f->lse_head_stride + token] = (float)lse;
}

static void finish_item(const struct finish *f, const struct kvr_cpu_item *item,
			size_t kv_head)
{
	const struct kvr_cpu *cpu = f->cpu;
	size_t width = cpu->kernel->rows;

	for (size_t i = 0; i < item->rows; i++) {
		size_t row = item->row + i;
		struct kvr_cpu_tile tile =
			kvr_cpu_partial(cpu, kv_head, item->tile + i / width);

		finish_row(f, &tile, i % width, item->token + row / cpu->group,
			   kv_head * cpu->group + row % cpu->group);
	}
}

static void finish_work(void *arg, uint32_t thread)
{
	const struct finish *f = arg;
	struct kvr_cpu *cpu = f->cpu;
	size_t i;

	(void)thread;
	while (kvr_cpu_take(cpu, cpu->items * cpu->shape.kv_heads, &i))
		finish_item(f, &cpu->item[i % cpu->items], i / cpu->items);
}

void kvr_cpu_finish(struct kvr_compute *compute, const struct kvr_tensor *out,
		    float *lse, size_t lse_head_stride)
{
	struct kvr_cpu *cpu = (struct kvr_cpu *)compute;
	struct finish f = {
		.cpu = cpu,
		.out = out,
		.lse = lse,
		.lse_head_stride = lse_head_stride,
	};

	run(cpu, finish_work, &f);
}

const char *kvr_cpu_failed(const struct kvr_compute *compute)
{
	(void)compute;
	return NULL;
}

/* The caller's memory, whatever it is: asking would start a GPU's driver. */
bool kvr_cpu_can_read(const void *address)
{
	(void)address;
	return true;
}
