/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/versus.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Longer than any sensible run. */
#define TIMEOUT_SECONDS (6 * 3600u)

/* Written by the processes. */
struct record {
	char kernel[2][32], transport[2][32]; /* of each way */
	/* Run 0, the unmeasured one, is stored first. */
	struct attention_sample samples[];
};

struct versus_result {
	struct versus v;
	struct record *record;
	size_t bytes;
};

/* What the processes share. */
struct stage {
	const struct versus *v;
	struct versus_result *result;
	struct meeting *all, *way[2];
};

/* ------------------------------------------------------------- options */

static const struct argp_option known[] = {
	{"pairs", 'p', "P", 0, "measurements of both ways", 2},
	{"cpus", 'c', "C", 0, "use the first C CPUs", 2},
	{0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct versus *v = state->input;

	switch (key) {
	case 'p':
		v->pairs = attention_number(state, arg, VERSUS_PAIRS_MAX);
		return 0;
	case 'c':
		v->cpus = (uint32_t)attention_number(state, arg, CPU_SETSIZE);
		return 0;
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &v->attention;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_child children[] = {{.argp = &attention_argp}, {0}};

const struct argp versus_argp = {
	.options = known, .parser = parse, .children = children};

/* ------------------------------------------------------------- results */

static size_t index_of(const struct versus *v, int way, size_t run,
		       uint32_t rank)
{
	size_t ranks = v->way[0].n + v->way[1].n;

	return run * ranks + (way ? v->way[0].n : 0) + rank;
}

const struct attention_sample *versus_sample(const struct versus_result *result,
					     int way, size_t pair,
					     uint32_t rank)
{
	size_t index = index_of(&result->v, way, pair + 1, rank);

	return &result->record->samples[index];
}

static struct versus_result *result_new(const struct versus *v)
{
	struct versus_result *result = calloc(1, sizeof(*result));

	if (!result)
		report_die("out of memory");
	result->v = *v;
	result->bytes =
		sizeof(struct record) + index_of(v, 0, v->pairs + 1, 0) *
						sizeof(struct attention_sample);
	result->record = shared_new(result->bytes);
	return result;
}

void versus_result_free(struct versus_result *result)
{
	shared_free(result->record, result->bytes);
	free(result);
}

double versus_wall(const struct versus_result *result, int way, size_t pair)
{
	double begun = INFINITY, ended = 0;

	for (uint32_t i = 0; i < result->v.way[way].n; i++) {
		const struct attention_sample *s =
			versus_sample(result, way, pair, i);

		begun = fmin(begun, s->begun);
		ended = fmax(ended, s->ended);
	}
	return ended - begun;
}

double versus_slowest_cpu(const struct versus_result *result, int way,
			  size_t pair)
{
	double most = 0;

	for (uint32_t i = 0; i < result->v.way[way].n; i++)
		most = fmax(most, versus_sample(result, way, pair, i)->cpu);
	return most;
}

double versus_all_cpu(const struct versus_result *result, int way, size_t pair)
{
	double sum = 0;

	for (uint32_t i = 0; i < result->v.way[way].n; i++)
		sum += versus_sample(result, way, pair, i)->cpu_all;
	return sum;
}

struct spread versus_ratio(const struct versus_result *result,
			   versus_measure measure)
{
	double ratio[VERSUS_PAIRS_MAX];

	for (size_t i = 0; i < result->v.pairs; i++)
		ratio[i] = measure(result, 0, i) / measure(result, 1, i);
	return report_spread(ratio, result->v.pairs);
}

/* The same numbers in another order: float32's rounding, and no more. */
static void compare_results(const struct versus_result *result)
{
	double sum[2] = {0, 0};

	for (int way = 0; way < 2; way++)
		for (uint32_t i = 0; i < result->v.way[way].n; i++)
			sum[way] += versus_sample(result, way, 0, i)->lse_sum;
	if (!(fabs(sum[0] - sum[1]) <= 1e-5 * fabs(sum[1])))
		report_die("the two ways do not compute the same");
}

/* ----------------------------------------------------------- processes */

/* On a terminal only: it is no result. */
static void print_progress(const struct versus *v, uint32_t index, size_t run)
{
	if (index == 0 && isatty(STDERR_FILENO))
		fprintf(stderr, "\rpair %zu of %zu%s", run, v->pairs,
			run == v->pairs ? "\r\033[K" : "");
}

static void run_pairs(const struct stage *stage, uint32_t index, int way,
		      uint32_t rank, struct attention *a)
{
	struct record *record = stage->result->record;
	const struct versus *v = stage->v;

	for (size_t run = 0; run <= v->pairs; run++) {
		for (int turn = 0; turn < 2; turn++) {
			meeting_wait(stage->all);
			if ((turn ^ (int)(run & 1)) != way)
				continue;
			attention_run(
				a,
				&record->samples[index_of(v, way, run, rank)]);
		}
		print_progress(v, index, run);
	}
	meeting_wait(stage->all);
}

static void process(void *arg, uint32_t index)
{
	const struct stage *stage = arg;
	const struct versus *v = stage->v;
	int way = index >= v->way[0].n;
	uint32_t rank = way ? index - v->way[0].n : index;
	struct attention_part part = {
		.rank = rank,
		.n = v->way[way].n,
		.threads = v->way[way].threads,
		.zigzag = v->way[way].zigzag,
	};
	struct seat seat = {stage->way[way], rank};
	struct attention *a = attention_open(&v->attention, &part, &seat);
	struct record *record = stage->result->record;

	if (rank == 0) {
		snprintf(record->kernel[way], sizeof(record->kernel[way]), "%s",
			 attention_kernel(a));
		snprintf(record->transport[way], sizeof(record->transport[way]),
			 "%s", attention_transport(a));
	}
	run_pairs(stage, index, way, rank, a);
	attention_close(a);
}

static void choose_cpus(const struct versus *v, cpu_set_t *cpus)
{
	for (int way = 0; way < 2; way++)
		for (uint32_t i = 0; i < v->way[way].n; i++)
			cpus[index_of(v, way, 0, i)] =
				processes_cpus(i, v->way[way].threads, v->cpus);
}

struct versus_result *versus_run(const struct versus *v)
{
	uint32_t count = v->way[0].n + v->way[1].n;
	cpu_set_t *cpus = calloc(count, sizeof(*cpus));
	struct stage stage = {
		.v = v,
		.result = result_new(v),
		.all = meeting_new(count),
		.way = {meeting_new(v->way[0].n), meeting_new(v->way[1].n)},
	};

	if (!cpus)
		report_die("out of memory");
	report_print_machine();
	attention_options_print(&v->attention);
	choose_cpus(v, cpus);
	processes_run(&(struct processes){
		.count = count,
		.main = process,
		.arg = &stage,
		.cpus = cpus,
		.seconds = TIMEOUT_SECONDS,
	});
	free(cpus);
	meeting_free(stage.way[1]);
	meeting_free(stage.way[0]);
	meeting_free(stage.all);
	compare_results(stage.result);
	return stage.result;
}

/* -------------------------------------------------------------- report */

void versus_print_ways(const struct versus_result *result)
{
	const struct versus *v = &result->v;

	for (int i = 0; i < 2; i++)
		printf("%s: %u ranks x %u threads, %s, kernel %s, transport "
		       "%s\n",
		       v->way[i].name, v->way[i].n, v->way[i].threads,
		       v->way[i].zigzag ? "zigzag" : "contiguous",
		       result->record->kernel[i], result->record->transport[i]);
	printf("%zu pairs, at most %u CPUs; median (least..most)\n", v->pairs,
	       v->cpus);
}

void versus_print_seconds(const struct versus_result *result, const char *what,
			  versus_measure measure)
{
	const struct versus *v = &result->v;
	double seconds[VERSUS_PAIRS_MAX];

	for (int way = 0; way < 2; way++) {
		struct spread spread;

		for (size_t i = 0; i < v->pairs; i++)
			seconds[i] = measure(result, way, i);
		spread = report_spread(seconds, v->pairs);
		printf("  %-12s", v->way[way].name);
		report_print_spread(what, spread, 4);
		printf("\n");
	}
	printf("  %-12s", "ratio");
	report_print_spread(what, versus_ratio(result, measure), 4);
	printf("\n");
}

void versus_print_exposed(const struct versus_result *result, int way)
{
	double ms[VERSUS_PAIRS_MAX];

	for (uint32_t rank = 0; rank < result->v.way[way].n; rank++) {
		for (size_t i = 0; i < result->v.pairs; i++)
			ms[i] = versus_sample(result, way, i, rank)->exposed *
				1e3;
		printf("  rank %-7u", rank);
		report_print_spread("exposed ms",
				    report_spread(ms, result->v.pairs), 3);
		printf("\n");
	}
}
