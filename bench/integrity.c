/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What does integrity cost? Passes of a ring of two processes that compute
 * nothing, without and with it, taken in turns: bytes that each receives by
 * second. With it each rank reads four blocks more in a pass: its own when the
 * pass begins and when it gives it back, the other when it is taken and when it
 * is given back. Beside it the CRC-32C alone, of memory and of the cache.
 */
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/processes.h"
#include "bench/report.h"
#include "kvring/kvring.h"
#include "runtime/crc32c.h"

#define RANKS 2
#define PAIRS_MAX 101
#define SIZES 4
#define BYTES_EACH ((size_t)64 << 20) /* of one sample, at least */

static const size_t sizes[SIZES] = {4096, 256 << 10, 4 << 20, 64 << 20};

struct bench {
	size_t pairs;
	struct meeting *meeting;
	struct sample {
		double without, with; /* GB/s */
	} * samples;		      /* [size][pair]; shared; of rank 0 */
};

static void must(enum kvr_status status, const char *what)
{
	if (status != KVR_OK)
		report_die(what);
}

/* ---------------------------------------------------------------- passes */

struct place {
	struct kvr_ring *ring;
	struct kvr_segment segment;
	uint64_t tag;
};

static void run_pass(struct place *p)
{
	struct kvr_pass_desc desc;
	struct kvr_block block;
	struct kvr_pass *pass;

	kvr_pass_desc_init(&desc);
	kvr_block_init(&block);
	desc.tag = ++p->tag;
	desc.lane[0].segments = &p->segment;
	desc.lane[0].segment_count = 1;
	must(kvr_pass_begin(p->ring, &desc, &pass), "kvr_pass_begin");
	while (kvr_pass_next(pass, 0, &block) == KVR_OK)
		must(kvr_pass_release(pass, 0, block.step), "kvr_pass_release");
	must(kvr_pass_end(pass), "kvr_pass_end");
}

/* GB/s that one rank receives. */
static double measure(struct place *p)
{
	size_t bytes = p->segment.bytes, count = BYTES_EACH / bytes;
	double begin, seconds;

	if (count > 2000)
		count = 2000;
	run_pass(p);
	begin = report_seconds();
	for (size_t i = 0; i < count; i++)
		run_pass(p);
	seconds = report_seconds() - begin;
	return (double)bytes * (double)count / seconds * 1e-9;
}

static struct kvr_ring *open_ring(struct kvr_context *context,
				  struct seat *seat, size_t bytes,
				  int32_t integrity)
{
	struct kvr_ring_options options;
	struct kvr_bootstrap who;
	struct kvr_ring *ring;

	kvr_bootstrap_init(&who);
	who.rank = seat->index;
	who.n = RANKS;
	who.allgather = meeting_allgather;
	who.arg = seat;
	kvr_ring_options_init(&options);
	options.transport = "shm";
	options.lane[0].slot_bytes = bytes;
	options.integrity = integrity;
	must(kvr_ring_open(context, &who, &options, &ring), "kvr_ring_open");
	return ring;
}

static void measure_size(struct bench *b, struct kvr_context *context,
			 struct seat *seat, size_t index)
{
	size_t bytes = sizes[index];
	char *memory = malloc(bytes);
	struct place without = {.segment = {.bytes = bytes}}, with;

	if (!memory)
		report_die("no memory");
	memset(memory, 1 + (int)seat->index, bytes);
	must(kvr_memory_register(context, memory, bytes,
				 &without.segment.memory),
	     "kvr_memory_register");
	with = without;
	without.ring = open_ring(context, seat, bytes, 0);
	with.ring = open_ring(context, seat, bytes, 1);
	for (size_t i = 0; i < b->pairs; i++) {
		struct sample sample = {
			.without = measure(&without),
			.with = measure(&with),
		};

		if (seat->index == 0)
			b->samples[index * PAIRS_MAX + i] = sample;
	}
	kvr_ring_close(without.ring);
	kvr_ring_close(with.ring);
	kvr_memory_deregister(without.segment.memory);
	free(memory);
}

static void rank_main(void *arg, uint32_t index)
{
	struct bench *b = arg;
	struct seat seat = {.meeting = b->meeting, .index = index};
	struct kvr_context *context;

	must(kvr_context_open(NULL, &context), "kvr_context_open");
	for (size_t i = 0; i < SIZES; i++)
		measure_size(b, context, &seat, i);
	kvr_context_close(context);
}

static void print_sizes(const struct bench *b)
{
	double values[3][PAIRS_MAX];

	for (size_t s = 0; s < SIZES; s++) {
		for (size_t i = 0; i < b->pairs; i++) {
			struct sample p = b->samples[s * PAIRS_MAX + i];

			values[0][i] = p.without;
			values[1][i] = p.with;
			values[2][i] = p.with / p.without;
		}
		printf("  %8zu KiB", sizes[s] >> 10);
		report_print_spread("without",
				    report_spread(values[0], b->pairs), 3);
		report_print_spread("with", report_spread(values[1], b->pairs),
				    3);
		report_print_spread("ratio", report_spread(values[2], b->pairs),
				    2);
		printf("\n");
	}
}

/* ----------------------------------------------------------- CRC alone */

typedef uint32_t (*crc_fn)(uint32_t crc, const void *data, size_t bytes);

static double crc_speed(crc_fn crc, const char *data, size_t bytes)
{
	double begin = report_seconds(), seconds;
	volatile uint32_t sum = 0;
	size_t done = 0;

	do {
		sum = crc(sum, data, bytes);
		done += bytes;
		seconds = report_seconds() - begin;
	} while (seconds < 0.05);
	return (double)done / seconds * 1e-9;
}

static void print_crc(const char *name, crc_fn crc, size_t pairs)
{
	static const size_t parts[2] = {16 << 10, 256 << 20};
	char *data = malloc(parts[1]);
	double values[PAIRS_MAX];

	if (!data)
		report_die("no memory");
	memset(data, 3, parts[1]);
	printf("  %-10s", name);
	for (int i = 0; i < 2; i++) {
		for (size_t p = 0; p < pairs; p++)
			values[p] = crc_speed(crc, data, parts[i]);
		report_print_spread(i ? "of 256 MiB" : "of 16 KiB",
				    report_spread(values, pairs), 1);
	}
	printf("\n");
	free(data);
}

/* ----------------------------------------------------------------- main */

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct bench *b = state->input;
	char *end;

	if (key != 'p')
		return ARGP_ERR_UNKNOWN;
	b->pairs = strtoul(arg, &end, 10);
	if (*end || b->pairs < 1 || b->pairs > PAIRS_MAX)
		argp_error(state, "--pairs: 1 to %d", PAIRS_MAX);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct argp_option options[] = {
		{"pairs", 'p', "N", 0, "Measure N pairs (default 9)", 0}, {0}};
	static const struct argp argp = {
		.options = options,
		.parser = parse,
		.doc = "Passes of two ranks over shm without and with "
		       "integrity, and its CRC-32C alone.",
	};
	struct bench b = {.pairs = 9};
	size_t bytes = SIZES * PAIRS_MAX * sizeof(*b.samples);
	cpu_set_t cpus[RANKS];

	argp_parse(&argp, argc, argv, 0, NULL, &b);
	report_print_machine();
	b.meeting = meeting_new(RANKS);
	b.samples = shared_new(bytes);
	for (uint32_t i = 0; i < RANKS; i++)
		cpus[i] = processes_cpus(i, 1, RANKS);
	processes_run(&(struct processes){.count = RANKS,
					  .main = rank_main,
					  .arg = &b,
					  .cpus = cpus,
					  .seconds = 600});
	printf("GB/s that each of %d ranks receives, %zu pairs\n", RANKS,
	       b.pairs);
	print_sizes(&b);
	printf("GB/s of CRC-32C alone, one thread, in use: %s\n",
	       kvr_crc32c_name());
	print_crc(kvr_crc32c_name(), kvr_crc32c, b.pairs);
	print_crc("table", kvr_crc32c_table, b.pairs);
	shared_free(b.samples, bytes);
	meeting_free(b.meeting);
	return 0;
}
