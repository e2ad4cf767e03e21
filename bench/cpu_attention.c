/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much of the processor's arithmetic does attention use?
 *
 *	cpu_attention [--tokens N] [--heads H] [--threads T] [--pairs P]
 *		      [--kernel NAME] [--page-tokens N]
 *
 * Each pair measures the processor's peak, multiply-adds between registers on
 * the same number of threads with the same instruction set, and right after
 * it one attention (begin, step, finish; the keys are packed before; with
 * --page-tokens in pages, which lie in memory from the last to the first).
 * Counted are 2 * (head_dim + value_dim) operations for each query and key that
 * see each other. The widest heads are those of latent attention, where all
 * query heads have one of keys, and v/k are its columns.
 */
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/fma_peak.h"
#include "bench/report.h"
#include "compute/cpu/cpu.h"
#include "compute/cpu/pool.h"
#include "runtime/bf16.h"

#define PAIRS_MAX 101
#define THREADS_MAX 256

struct options {
	size_t tokens, pairs, page_tokens; /* 0: no pages */
	uint32_t heads, threads;
	const char *kernel;
};

struct kernel {
	const struct kvr_compute_ops *ops;
	fma_peak_fn peak;
};

static const struct kernel kernels[] = {
#if defined(__x86_64__)
	{&kvr_cpu_avx512, fma_peak_avx512},
	{&kvr_cpu_avx2, fma_peak_avx2},
#endif
	{&kvr_cpu_portable, fma_peak_portable},
};

/* ---------------------------------------------------------------- peak */

struct peak {
	fma_peak_fn fn;
	size_t rounds;
	double done[THREADS_MAX];
	float sink[THREADS_MAX];
};

static void peak_work(void *arg, uint32_t thread)
{
	struct peak *peak = arg;

	peak->done[thread] =
		peak->fn(peak->rounds, thread + 1, &peak->sink[thread]);
}

/* GFLOP/s of all threads together. */
static double measure_peak(struct kvr_cpu_pool *pool, fma_peak_fn fn)
{
	struct peak peak = {.fn = fn, .rounds = 20000000};
	double begun = report_seconds(), all = 0;

	kvr_cpu_pool_run(pool, peak_work, &peak);
	begun = report_seconds() - begun;
	for (uint32_t i = 0; i < kvr_cpu_pool_threads(pool); i++)
		all += peak.done[i];
	return all / begun * 1e-9;
}

/* ----------------------------------------------------------- attention */

struct attention {
	const struct kvr_compute_ops *ops;
	struct kvr_compute *compute;
	struct kvr_compute_shape shape;
	struct kvr_range range;
	struct kvr_tensor q, k, v, out;
	float *lse;
	void *block;
	struct kvr_range *pages; /* NULL: one range */
	const void **page;
	size_t page_count;
};

static void *memory(size_t bytes)
{
	void *p = aligned_alloc(64, (bytes + 63) / 64 * 64);

	if (!p)
		report_die("out of memory");
	return p;
}

static struct kvr_tensor random_tensor(const struct options *o,
				       enum kvr_dtype dtype, size_t heads,
				       size_t dim)
{
	size_t count = o->tokens * heads * dim;
	void *data = memory(count * kvr_dtype_bytes(dtype));
	unsigned seed = 1;

	for (size_t i = 0; i < count; i++) {
		float value = (float)rand_r(&seed) / (float)RAND_MAX * 2 - 1;

		if (dtype == KVR_F32)
			((float *)data)[i] = value;
		else
			((uint16_t *)data)[i] = kvr_bf16_from_f32(value);
	}
	return kvr_tensor_dense(data, dtype, o->tokens, heads, dim);
}

static struct kvr_ranges ranges(const struct attention *a)
{
	return (struct kvr_ranges){&a->range, 1};
}

static void open_pages(struct attention *a, size_t most)
{
	const struct kvr_range one = {.length = most};
	size_t bytes =
		a->ops->block_bytes(&a->shape, (struct kvr_ranges){&one, 1});
	size_t count = (a->range.length + most - 1) / most;

	free(a->block);
	a->block = memory(count * bytes);
	a->pages = memory(count * sizeof(*a->pages));
	a->page = memory(count * sizeof(*a->page));
	a->page_count = count;
	for (size_t i = 0; i < count; i++) {
		size_t at = i * most, left = a->range.length - at;
		size_t row = a->k.token_stride * kvr_dtype_bytes(a->k.dtype);
		char *page = (char *)a->block + (count - 1 - i) * bytes;
		struct kvr_tensor k = a->k, v = a->v;

		k.tokens = v.tokens = left < most ? left : most;
		k.data = (char *)a->k.data + at * row;
		v.data = (char *)a->v.data + at * row;
		a->pages[i] = (struct kvr_range){0, at, k.tokens};
		a->page[i] = page;
		a->ops->append(&a->shape, 0, &k, &v, page);
	}
	if (a->ops->reserve(a->compute, count, 0))
		report_die("out of memory");
}

static void attention_open(struct attention *a, const struct options *o)
{
	const struct kvr_compute_shape *s = &a->shape;

	a->range = (struct kvr_range){.length = o->tokens};
	a->q = random_tensor(o, s->dtype, s->q_heads, s->head_dim);
	a->k = random_tensor(o, s->dtype, s->kv_heads, s->head_dim);
	if (!s->values_in_keys)
		a->v = random_tensor(o, s->dtype, s->kv_heads, s->value_dim);
	a->out = random_tensor(o, KVR_F32, s->q_heads, s->value_dim);
	a->lse = memory(o->tokens * o->heads * sizeof(*a->lse));
	a->block = memory(a->ops->block_bytes(&a->shape, ranges(a)));
	if (a->ops->open(&a->shape, ranges(a), o->threads, &a->compute))
		report_die("cannot open the kernel");
	a->ops->pack(a->compute, ranges(a), &a->k, &a->v, a->block);
	if (o->page_tokens)
		open_pages(a, o->page_tokens);
}

static void attention_close(struct attention *a)
{
	a->ops->close(a->compute);
	free(a->page);
	free(a->pages);
	free(a->block);
	free(a->lse);
	free(a->out.data);
	free(a->v.data);
	free(a->k.data);
	free(a->q.data);
}

static double visible_pairs(const struct attention *a)
{
	double n = (double)a->range.length;

	return a->shape.mask == KVR_MASK_FULL ? n * n : n * (n + 1) / 2;
}

/* GFLOP/s. */
static double measure_attention(const struct attention *a)
{
	double begun = report_seconds(), flop;

	a->ops->begin(a->compute, &a->q);
	if (a->pages)
		a->ops->step_pages(a->compute,
				   (struct kvr_ranges){a->pages, a->page_count},
				   a->page);
	else
		a->ops->step(a->compute, ranges(a), a->block);
	a->ops->finish(a->compute, &a->out, a->lse, a->range.length);
	begun = report_seconds() - begun;
	flop = 2.0 * (a->shape.head_dim + a->shape.value_dim) *
	       a->shape.q_heads * visible_pairs(a);
	return flop / begun * 1e-9;
}

/* -------------------------------------------------------------- report */

static void run_case(const struct options *o, const struct kernel *kernel,
		     struct kvr_cpu_pool *pool,
		     const struct kvr_compute_shape *shape)
{
	struct attention a = {.ops = kernel->ops, .shape = *shape};
	double peak[PAIRS_MAX] = {0}, rate[PAIRS_MAX] = {0};
	double ratio[PAIRS_MAX] = {0};

	attention_open(&a, o);
	measure_attention(&a);
	for (size_t i = 0; i < o->pairs; i++) {
		peak[i] = measure_peak(pool, kernel->peak);
		rate[i] = measure_attention(&a);
		ratio[i] = rate[i] / peak[i];
	}
	printf("%-8s %-4s d=%3u/%3u%s %-6s", kernel->ops->name,
	       shape->dtype == KVR_F32 ? "f32" : "bf16", shape->head_dim,
	       shape->value_dim, shape->values_in_keys ? " v/k" : "    ",
	       shape->mask == KVR_MASK_FULL ? "full" : "causal");
	report_print_spread("GFLOP/s", report_spread(rate, o->pairs), 1);
	report_print_spread("peak", report_spread(peak, o->pairs), 1);
	report_print_spread("ratio", report_spread(ratio, o->pairs), 3);
	printf("\n");
	fflush(stdout);
	attention_close(&a);
}

static void run_kernel(const struct options *o, const struct kernel *kernel,
		       struct kvr_cpu_pool *pool)
{
	static const uint32_t dims[][3] = {{64, 64, 0},
					   {128, 128, 0},
					   {192, 128, 0},
					   {576, 512, 0},
					   {576, 512, 1}};
	struct kvr_compute_shape shape = {.q_heads = o->heads};

	for (int i = 0; i < 20; i++) {
		shape.dtype = i & 1 ? KVR_BF16 : KVR_F32;
		shape.mask = i & 2 ? KVR_MASK_CAUSAL : KVR_MASK_FULL;
		shape.head_dim = dims[i / 4][0];
		shape.value_dim = dims[i / 4][1];
		shape.values_in_keys = dims[i / 4][2];
		shape.kv_heads = shape.head_dim > 256 ? 1 : o->heads;
		shape.scale = 0.125f;
		run_case(o, kernel, pool, &shape);
	}
}

static size_t number(const char *text, size_t most)
{
	unsigned long value = strtoul(text, NULL, 10);

	if (value < 1 || value > most)
		report_die("a number is out of range");
	return value;
}

static void parse(int argc, char **argv, struct options *o)
{
	static const struct option known[] = {
		{"tokens", required_argument, NULL, 'n'},
		{"heads", required_argument, NULL, 'h'},
		{"threads", required_argument, NULL, 't'},
		{"pairs", required_argument, NULL, 'p'},
		{"kernel", required_argument, NULL, 'k'},
		{"page-tokens", required_argument, NULL, 'g'},
		{0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
		if (c == 'n')
			o->tokens = number(optarg, 1 << 24);
		else if (c == 'h')
			o->heads = (uint32_t)number(optarg, 1024);
		else if (c == 't')
			o->threads = (uint32_t)number(optarg, THREADS_MAX);
		else if (c == 'p')
			o->pairs = number(optarg, PAIRS_MAX);
		else if (c == 'g')
			o->page_tokens = number(optarg, 1 << 24);
		else if (c == 'k')
			o->kernel = optarg;
		else
			exit(2);
	}
}

int main(int argc, char **argv)
{
	struct options o = {
		.tokens = 4096, .heads = 8, .threads = 2, .pairs = 9};
	struct kvr_cpu_pool *pool;
	char reason[160];

	parse(argc, argv, &o);
	report_print_machine();
	printf("tokens %zu x %zu, heads %u, threads %u, %zu pairs; "
	       "median (min..max)\n",
	       o.tokens, o.tokens, o.heads, o.threads, o.pairs);
	if (o.page_tokens)
		printf("keys in pages of %zu tokens\n", o.page_tokens);
	if (kvr_cpu_pool_open(o.threads, &pool))
		report_die("cannot start the threads");
	for (size_t i = 0; i < sizeof(kernels) / sizeof(kernels[0]); i++) {
		const struct kvr_compute_ops *ops = kernels[i].ops;

		if (o.kernel && strcmp(o.kernel, ops->name) != 0)
			continue;
		if (ops->probe(reason, sizeof(reason)))
			printf("%-8s skipped: %s\n", ops->name, reason);
		else
			run_kernel(&o, &kernels[i], pool);
	}
	kvr_cpu_pool_close(pool);
	return 0;
}
