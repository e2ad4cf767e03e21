/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much of the processor's arithmetic does attention use?
 *
 *	cpu_attention [--tokens N] [--heads H] [--threads T] [--pairs P]
 *		      [--kernel NAME] [--head-dim N] [--page-tokens N]
 *		      [--cpu-time]
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

#include "bench/cpu_case.h"
#include "bench/fma_peak.h"
#include "bench/report.h"
#include "compute/cpu/pool.h"

#define PAIRS_MAX 101
#define THREADS_MAX 256

struct options {
	size_t tokens, pairs, page_tokens; /* 0: no pages */
	uint32_t heads, threads, head_dim; /* 0: all */
	const char *kernel;
	bool cpu_time;
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
	double begun = cpu_case_seconds(), all = 0;

	kvr_cpu_pool_run(pool, peak_work, &peak);
	begun = cpu_case_seconds() - begun;
	for (uint32_t i = 0; i < kvr_cpu_pool_threads(pool); i++)
		all += peak.done[i];
	return all / begun * 1e-9;
}

/* -------------------------------------------------------------- report */

static void run_case(const struct options *o, const struct kernel *kernel,
		     struct kvr_cpu_pool *pool,
		     const struct kvr_compute_shape *shape)
{
	struct cpu_case a = {.ops = kernel->ops, .shape = *shape};
	double peak[PAIRS_MAX] = {0}, rate[PAIRS_MAX] = {0};
	double ratio[PAIRS_MAX] = {0};

	cpu_case_open(&a, o->tokens, o->threads, o->page_tokens);
	cpu_case_run(&a);
	for (size_t i = 0; i < o->pairs; i++) {
		peak[i] = measure_peak(pool, kernel->peak);
		rate[i] = cpu_case_flop(&a) / cpu_case_run(&a) * 1e-9;
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
	cpu_case_close(&a);
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
		if (!o->head_dim || o->head_dim == shape.head_dim)
			run_case(o, kernel, pool, &shape);
	}
}

static void parse(int argc, char **argv, struct options *o)
{
	static const struct option known[] = {
		{"tokens", required_argument, NULL, 'n'},
		{"heads", required_argument, NULL, 'h'},
		{"threads", required_argument, NULL, 't'},
		{"pairs", required_argument, NULL, 'p'},
		{"kernel", required_argument, NULL, 'k'},
		{"head-dim", required_argument, NULL, 'd'},
		{"cpu-time", no_argument, NULL, 'c'},
		{"page-tokens", required_argument, NULL, 'g'},
		{0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
		if (c == 'n')
			o->tokens = report_number(optarg, 1 << 24);
		else if (c == 'h')
			o->heads = (uint32_t)report_number(optarg, 1024);
		else if (c == 't')
			o->threads =
				(uint32_t)report_number(optarg, THREADS_MAX);
		else if (c == 'p')
			o->pairs = report_number(optarg, PAIRS_MAX);
		else if (c == 'g')
			o->page_tokens = report_number(optarg, 1 << 24);
		else if (c == 'd')
			o->head_dim = (uint32_t)report_number(optarg, 576);
		else if (c == 'k')
			o->kernel = optarg;
		else if (c == 'c')
			o->cpu_time = true;
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
	if (o.cpu_time) {
		cpu_case_use_cpu_time(o.threads);
		printf("seconds of the process's CPUs, by the thread\n");
	}
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
