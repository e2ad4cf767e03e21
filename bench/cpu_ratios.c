/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What do masks, shared heads, peaked scores and packing cost?
 *
 *	cpu_ratios [--tokens N] [--heads H] [--threads T] [--pairs P]
 *		   [--kernel NAME] [--head-dim 64|128] [--cpu-time]
 *
 * Each figure is a ratio of two times, measured in pairs a moment apart, every
 * other pair the other way round, after one that is not counted:
 *
 *	causal / full		the same shape under both masks
 *	GQA / MHA		an eighth of the heads of keys, all of queries
 *	range 80 / flat		scores that rise from -80 to 80 with the keys:
 *				maxima change in every tile, and what was summed
 *				before comes to nothing
 *	packing / run		of the block that the run is on
 */
#include <getopt.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/cpu_case.h"
#include "bench/report.h"

#define PAIRS_MAX 101

struct options {
	size_t tokens, pairs;
	uint32_t heads, threads, head_dim; /* 0: both */
	const char *kernel;
	bool cpu_time;
};

typedef double (*measure_fn)(struct cpu_case *a);

static const struct kvr_compute_ops *const kernels[] = {
	&kvr_cpu_avx512, &kvr_cpu_avx2, &kvr_cpu_portable};

/* The named one, or the first that this processor has. */
static const struct kvr_compute_ops *find_kernel(const char *name)
{
	char reason[160];

	for (size_t i = 0; i < sizeof(kernels) / sizeof(kernels[0]); i++) {
		if (name && strcmp(name, kernels[i]->name) != 0)
			continue;
		if (!kernels[i]->probe(reason, sizeof(reason)))
			return kernels[i];
	}
	report_die("no such kernel here");
}

static struct cpu_case make(const struct options *o, uint32_t dim,
			    enum kvr_dtype dtype)
{
	return (struct cpu_case){.ops = find_kernel(o->kernel),
				 .shape = {.q_heads = o->heads,
					   .kv_heads = o->heads,
					   .head_dim = dim,
					   .value_dim = dim,
					   .dtype = dtype,
					   .scale = 1 / sqrtf((float)dim)}};
}

/* Only the first column counts: 1 in the queries, rising in the keys. */
static void make_scores_rise(struct cpu_case *a)
{
	size_t dim = a->shape.head_dim, heads = a->shape.kv_heads;
	double last = (double)a->range.length - 1;
	float *q = a->q.data, *k = a->k.data;

	memset(q, 0, a->range.length * a->shape.q_heads * dim * sizeof(*q));
	for (size_t i = 0; i < a->range.length * a->shape.q_heads; i++)
		q[i * dim] = 1;
	for (size_t i = 0; i < a->range.length * heads; i++) {
		size_t token = i / heads;
		double at = (double)token / last;

		k[i * dim] = (float)((160 * at - 80) / (double)a->shape.scale);
	}
	cpu_case_pack(a);
}

static void compare(const struct options *o, const char *what, double goal,
		    struct cpu_case *a, measure_fn measure_a,
		    struct cpu_case *b)
{
	double of_a[PAIRS_MAX] = {0}, of_b[PAIRS_MAX] = {0};
	double ratio[PAIRS_MAX] = {0};

	measure_a(a);
	cpu_case_run(b);
	for (size_t i = 0; i < o->pairs; i++) {
		if (i % 2)
			of_b[i] = cpu_case_run(b);
		of_a[i] = measure_a(a);
		if (i % 2 == 0)
			of_b[i] = cpu_case_run(b);
		ratio[i] = of_a[i] / of_b[i];
		of_a[i] *= 1e3;
		of_b[i] *= 1e3;
	}
	printf("%-8s %-4s d=%3u  %-15s", a->ops->name,
	       a->shape.dtype == KVR_F32 ? "f32" : "bf16", a->shape.head_dim,
	       what);
	report_print_spread("ms", report_spread(of_a, o->pairs), 1);
	report_print_spread("to", report_spread(of_b, o->pairs), 1);
	report_print_spread("ratio", report_spread(ratio, o->pairs), 3);
	printf("  goal <= %g\n", goal);
	fflush(stdout);
}

static void run_dim(const struct options *o, uint32_t dim, enum kvr_dtype dtype)
{
	struct cpu_case full = make(o, dim, dtype), other = full;

	cpu_case_open(&full, o->tokens, o->threads, 0);
	other.shape.mask = KVR_MASK_CAUSAL;
	cpu_case_open(&other, o->tokens, o->threads, 0);
	compare(o, "causal / full", 0.55, &other, cpu_case_run, &full);
	cpu_case_close(&other);

	other = make(o, dim, dtype);
	other.shape.kv_heads = o->heads / 8;
	cpu_case_open(&other, o->tokens, o->threads, 0);
	compare(o, "GQA / MHA", 1.0, &other, cpu_case_run, &full);
	cpu_case_close(&other);

	if (dtype == KVR_F32) {
		other = make(o, dim, dtype);
		cpu_case_open(&other, o->tokens, o->threads, 0);
		make_scores_rise(&other);
		compare(o, "range 80 / flat", 1.3, &other, cpu_case_run, &full);
		cpu_case_close(&other);
	}
	compare(o, "packing / run", 0.03, &full, cpu_case_pack, &full);
	cpu_case_close(&full);
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
		{0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
		if (c == 'n')
			o->tokens = report_number(optarg, 1 << 24);
		else if (c == 'h')
			o->heads = (uint32_t)report_number(optarg, 1024);
		else if (c == 't')
			o->threads = (uint32_t)report_number(optarg, 256);
		else if (c == 'p')
			o->pairs = report_number(optarg, PAIRS_MAX);
		else if (c == 'd')
			o->head_dim = (uint32_t)report_number(optarg, 128);
		else if (c == 'k')
			o->kernel = optarg;
		else if (c == 'c')
			o->cpu_time = true;
		else
			exit(2);
	}
	if (o->heads % 8)
		report_die("--heads is a multiple of 8");
}

int main(int argc, char **argv)
{
	struct options o = {
		.tokens = 4096, .heads = 8, .threads = 2, .pairs = 9};

	parse(argc, argv, &o);
	report_print_machine();
	if (o.cpu_time) {
		cpu_case_use_cpu_time(o.threads);
		printf("seconds of the process's CPUs, by the thread\n");
	}
	printf("tokens %zu x %zu, heads %u, threads %u, %zu pairs; "
	       "median (min..max)\n",
	       o.tokens, o.tokens, o.heads, o.threads, o.pairs);
	for (uint32_t dim = 64; dim <= 128; dim *= 2) {
		if (o.head_dim && o.head_dim != dim)
			continue;
		run_dim(&o, dim, KVR_F32);
		run_dim(&o, dim, KVR_BF16);
	}
	return 0;
}
