/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much memory does a rank need, and does it grow with the ring? Rings of
 * several sizes with the same shard on each rank. Measured is the proportional
 * set size (PSS: a page that m processes map counts 1/m in each, as the
 * landing slots that prev maps too): before the rank allocated anything of
 * the attention, which is the constant, after the last step, and when
 * everything is done. Every rank waits until all have looked.
 */
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/attention.h"
#include "bench/report.h"

#define SIZES_MAX 16
#define TIMEOUT_SECONDS 3600
#define TOLERANCE 0.05

struct options {
	struct attention_options attention; /* tokens: of one rank */
	uint32_t sizes[SIZES_MAX];
	size_t count;
	uint32_t passes, cpus;
};

/* Bytes of PSS. */
struct sample {
	double constant, last_step, finished;
};

struct stage {
	const struct options *options;
	uint32_t n;
	struct meeting *meeting;
	struct sample *samples; /* n, shared */
};

/* ------------------------------------------------------------- measure */

static double read_pss(void)
{
	int fd = open("/proc/self/smaps_rollup", O_RDONLY | O_CLOEXEC);
	char text[4096], *line;
	ssize_t bytes;

	if (fd < 0)
		report_die("no /proc/self/smaps_rollup");
	bytes = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[bytes < 0 ? 0 : bytes] = 0;
	line = strstr(text, "\nPss:");
	if (!line)
		report_die("no PSS in /proc/self/smaps_rollup");
	return strtod(line + 5, NULL) * 1024;
}

/* Nobody goes on, and nobody unmaps, while another looks. */
static double pss_of_all_at_once(struct meeting *meeting)
{
	double bytes;

	meeting_wait(meeting);
	bytes = read_pss();
	meeting_wait(meeting);
	return bytes;
}

struct rank {
	struct stage *stage;
	struct sample *sample;
};

static void on_step(void *arg, uint32_t step, uint32_t steps)
{
	struct rank *rank = arg;

	if (step == steps)
		rank->sample->last_step =
			pss_of_all_at_once(rank->stage->meeting);
}

static void process(void *arg, uint32_t index)
{
	struct stage *stage = arg;
	const struct options *o = stage->options;
	struct rank rank = {stage, &stage->samples[index]};
	struct attention_options whole = o->attention;
	struct attention_part part = {
		.rank = index,
		.n = stage->n,
		.threads = 1,
		.on_step = on_step,
		.on_step_arg = &rank,
	};
	struct seat seat = {stage->meeting, index};
	struct attention_sample times;
	struct attention *a;

	whole.tokens *= stage->n;
	rank.sample->constant = pss_of_all_at_once(stage->meeting);
	a = attention_open(&whole, &part, &seat);
	attention_give_up_kv(a);
	for (uint32_t i = 0; i < o->passes; i++)
		attention_run(a, &times);
	rank.sample->finished = pss_of_all_at_once(stage->meeting);
	attention_close(a);
}

static void measure(const struct options *o, uint32_t n, struct sample *samples)
{
	cpu_set_t cpus[256];
	struct stage stage = {
		.options = o,
		.n = n,
		.meeting = meeting_new(n),
		.samples = samples,
	};

	for (uint32_t i = 0; i < n; i++)
		cpus[i] = processes_cpus(i, 1, o->cpus);
	processes_run(&(struct processes){
		.count = n,
		.main = process,
		.arg = &stage,
		.cpus = cpus,
		.seconds = TIMEOUT_SECONDS,
	});
	meeting_free(stage.meeting);
}

/* ------------------------------------------------------------- formula */

/* Bytes of one rank; nothing but the shapes goes in. */
struct parts {
	double q, kv, slots, partial, lse, out;
};

static struct parts parts_of(const struct attention_options *o)
{
	double element = (double)kvr_dtype_bytes(o->dtype);
	double rows = (double)o->tokens * o->heads;
	double kv_heads = o->kv_heads ? o->kv_heads : o->heads;
	struct parts p = {
		.q = rows * o->dim * element,
		.kv = 2 * (double)o->tokens * kv_heads * o->dim * element,
		/* Output, and the maximum and the sum of each row. */
		.partial = rows * (o->dim + 2) * sizeof(float),
		.lse = rows * sizeof(float),
		.out = rows * o->dim * element,
	};

	p.slots = o->slots * p.kv;
	return p;
}

static double sum_of(const struct parts *p)
{
	return p->q + p->kv + p->slots + p->partial + p->lse + p->out;
}

static double mib(double bytes)
{
	return bytes / (1 << 20);
}

static void print_parts(const struct parts *p)
{
	printf("formula, MiB: q %.2f, local kv %.2f, slots %.2f, fp32 partial "
	       "%.2f, lse %.2f, out %.2f; together %.2f\n",
	       mib(p->q), mib(p->kv), mib(p->slots), mib(p->partial),
	       mib(p->lse), mib(p->out), mib(sum_of(p)));
}

/* -------------------------------------------------------------- report */

/* The largest of the ranks, each by itself. */
static struct sample largest(const struct sample *samples, uint32_t n)
{
	struct sample most = samples[0];

	for (uint32_t i = 1; i < n; i++) {
		most.constant = fmax(most.constant, samples[i].constant);
		most.last_step = fmax(most.last_step, samples[i].last_step);
		most.finished = fmax(most.finished, samples[i].finished);
	}
	return most;
}

static double peak_of(const struct sample *sample)
{
	return fmax(sample->last_step, sample->finished);
}

static void print_row(uint32_t n, const struct sample *s, double formula)
{
	double expected = formula + s->constant;

	printf("%5u %10.2f %10.2f %10.2f %10.2f %10.2f %8.3f\n", n,
	       mib(s->constant), mib(s->last_step), mib(s->finished),
	       mib(peak_of(s)), mib(expected), peak_of(s) / expected);
}

static void judge(const char *what, double deviation)
{
	printf("%s: %.2f %%; goal <= %.0f %%: %s\n", what, deviation * 100,
	       TOLERANCE * 100,
	       deviation <= TOLERANCE ? "reached" : "not reached");
}

static void run(const struct options *o)
{
	struct parts parts = parts_of(&o->attention);
	double least = INFINITY, most = 0, off = 0;

	print_parts(&parts);
	printf("PSS of the largest rank, MiB\n%5s %10s %10s %10s %10s %10s "
	       "%8s\n",
	       "n", "constant", "last step", "finished", "peak", "formula+c",
	       "ratio");
	for (size_t i = 0; i < o->count; i++) {
		uint32_t n = o->sizes[i];
		struct sample *samples = shared_new(n * sizeof(*samples));
		struct sample s;
		double peak;

		measure(o, n, samples);
		s = largest(samples, n);
		shared_free(samples, n * sizeof(*samples));
		peak = peak_of(&s);
		print_row(n, &s, sum_of(&parts));
		least = fmin(least, peak);
		most = fmax(most, peak);
		off = fmax(off, fabs(peak / (sum_of(&parts) + s.constant) - 1));
	}
	judge("largest peak over smallest", most / least - 1);
	judge("peak against formula and constant, worst", off);
}

/* ------------------------------------------------------------- options */

static const struct argp_option known[] = {
	{"ranks", 'n', "N,...", 0, "sizes of the ring (2,4,8,16)", 2},
	{"passes", 'p', "P", 0, "passes; >= slots, so that all are used", 2},
	{"cpus", 'c', "C", 0, "use the first C CPUs", 2},
	{0},
};

static void parse_sizes(const struct argp_state *state, char *arg,
			struct options *o)
{
	char *save = NULL;

	o->count = 0;
	for (char *word = strtok_r(arg, ",", &save); word;
	     word = strtok_r(NULL, ",", &save)) {
		if (o->count == SIZES_MAX)
			argp_error(state, "too many sizes");
		o->sizes[o->count++] =
			(uint32_t)attention_number(state, word, 256);
	}
	if (o->count == 0)
		argp_error(state, "no size");
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;

	switch (key) {
	case 'n':
		parse_sizes(state, arg, o);
		return 0;
	case 'p':
		o->passes = (uint32_t)attention_number(state, arg, 1000);
		return 0;
	case 'c':
		o->cpus = (uint32_t)attention_number(state, arg, CPU_SETSIZE);
		return 0;
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &o->attention;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int main(int argc, char **argv)
{
	static const struct argp_child children[] = {{.argp = &attention_argp},
						     {0}};
	static const struct argp argp = {
		.options = known,
		.parser = parse,
		.children = children,
		.doc = "Measures the memory of a rank at several sizes of the "
		       "ring; --tokens are those of one rank.",
	};
	struct options o = {
		.sizes = {2, 4, 8, 16}, .count = 4, .passes = 2, .cpus = 2};

	attention_options_init(&o.attention);
	/* Much memory, little compute: many heads, few tokens. */
	o.attention.tokens = 128;
	o.attention.heads = 256;
	argp_parse(&argp, argc, argv, 0, NULL, &o);
	report_print_machine();
	printf("of each rank, ");
	attention_options_print(&o.attention);
	run(&o);
	return 0;
}
