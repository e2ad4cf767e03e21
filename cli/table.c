/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/table.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS_LEFT 68 /* of the bar */
#define CELLS_MIN 16

void table_bytes(uint64_t bytes, char *out, size_t size)
{
	static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
	double value = (double)bytes / 1024;
	size_t unit = 0;

	if (bytes < 1024) {
		snprintf(out, size, "%" PRIu64 " B", bytes);
		return;
	}
	for (; value >= 1024 && unit < 3; unit++)
		value /= 1024;
	snprintf(out, size, "%.1f %s", value, units[unit]);
}

void table_time(double seconds, char *out, size_t size)
{
	if (seconds < 1e-3)
		snprintf(out, size, "%.1f us", seconds * 1e6);
	else if (seconds < 1)
		snprintf(out, size, "%.1f ms", seconds * 1e3);
	else
		snprintf(out, size, "%.2f s", seconds);
}

/* How much of from .. to lies in begin .. end. */
static uint64_t common(uint64_t from, uint64_t to, uint64_t begin, uint64_t end)
{
	uint64_t low = from > begin ? from : begin;
	uint64_t high = to < end ? to : end;

	return high > low ? high - low : 0;
}

static enum table_cell cell(const struct rank_step *steps, uint32_t count,
			    uint64_t from, uint64_t to)
{
	uint64_t compute = 0, exposed = 0, idle;
	uint32_t i;

	for (i = 0; i < count; i++) {
		exposed +=
			common(from, to, steps[i].asked_ns, steps[i].ready_ns);
		compute += common(from, to, steps[i].ready_ns,
				  steps[i].released_ns);
	}
	idle = compute + exposed < to - from ? to - from - compute - exposed
					     : 0;
	if (idle > compute && idle > exposed)
		return TABLE_IDLE;
	return exposed > compute ? TABLE_EXPOSED : TABLE_COMPUTE;
}

void table_timeline(const struct rank_step *steps, uint32_t count,
		    uint64_t span_ns, uint32_t cells, enum table_cell *out)
{
	uint32_t i;

	for (i = 0; i < cells; i++)
		out[i] = cell(steps, count, span_ns * i / cells,
			      span_ns * (i + 1) / cells);
}

static void print_bar(FILE *to, const struct rank_step *steps, uint32_t count,
		      uint64_t span_ns, uint32_t cells, bool utf8)
{
	static const char *const marks[2][3] = {{" ", "#", "."},
						{" ", "\u2588", "\u2591"}};
	enum table_cell line[TABLE_CELLS_MAX];
	uint32_t i;

	table_timeline(steps, count, span_ns, cells, line);
	for (i = 0; i < cells; i++)
		fputs(marks[utf8][line[i]], to);
}

static void print_rank(FILE *to, const struct attention_job *job, uint32_t rank,
		       uint32_t cells, bool utf8)
{
	const struct rank_report *r = &job->reports[rank];
	uint32_t n = job->n;
	char received[24], compute[24], exposed[24], pss[24], overlap[24];
	double percent = attention_overlap(r);

	table_bytes(r->bytes_received, received, sizeof(received));
	table_time((double)r->compute_ns * 1e-9, compute, sizeof(compute));
	table_time((double)r->exposed_ns * 1e-9, exposed, sizeof(exposed));
	table_bytes(r->pss_bytes, pss, sizeof(pss));
	if (percent < 0)
		snprintf(overlap, sizeof(overlap), "-");
	else
		snprintf(overlap, sizeof(overlap), "%.1f %%", percent);
	fprintf(to, "%4u %5u %10s %10s %10s %9s %10s  ", rank, r->steps,
		received, compute, exposed, overlap, pss);
	print_bar(to, job->steps + (size_t)rank * n,
		  r->steps < n ? r->steps : n,
		  (uint64_t)(attention_ring_seconds(job) * 1e9), cells, utf8);
	fputc('\n', to);
}

/* What the times are of. */
static void describe_time(const struct attention_job *job, char *out,
			  size_t size)
{
	uint64_t chunks = job->options->chunks;

	if (chunks > job->input->tokens)
		chunks = job->input->tokens;
	if (chunks > 0)
		snprintf(out, size, "%" PRIu64 " chunks", chunks);
	else
		snprintf(out, size, "the pass");
}

static void print_summary(FILE *to, const struct attention_result *result)
{
	const struct attention_job *job = result->job;
	double ring = attention_ring_seconds(job);
	size_t sequences = job->input->sequences;
	char wall[24], pass[24], what[32], packed[48] = "";

	if (sequences > 1)
		snprintf(packed, sizeof(packed), " of %zu sequences",
			 sequences);
	describe_time(job, what, sizeof(what));
	table_time(result->wall_seconds, wall, sizeof(wall));
	table_time(ring, pass, sizeof(pass));
	fprintf(to,
		"%" PRIu64 " tokens%s in %s (%s: %s), %.1f GFLOP/s, "
		"%s kernel, %u thread%s per rank, %s\n",
		job->input->tokens, packed, wall, what, pass,
		ring > 0 ? attention_gflop(job) / ring : 0,
		job->reports[0].kernel, job->threads,
		job->threads == 1 ? "" : "s", job->reports[0].transport_in);
}

static void print_verification(FILE *to, const struct verification *v)
{
	if (v->rows < v->of_rows)
		fprintf(to,
			"sampled %" PRIu64 " of %" PRIu64 " rows: all of them "
			"would take over a minute\n",
			v->rows, v->of_rows);
	fprintf(to,
		"error against the oracle over %" PRIu64 " rows: out max %.2e,"
		" relative %.2e (limit %.0e),\n"
		"  worst row %.2e (limit %.0e), lse max %.2e (limit %.1e)\n",
		v->rows, v->out_max, v->out_relative, v->out_limit,
		v->out_worst_row, v->row_limit, v->lse_max, v->lse_limit);
	if (v->undefined > 0)
		fprintf(to,
			"%" PRIu64 " values are not finite by the oracle "
			"either\n",
			v->undefined);
	if (v->not_finite > 0)
		fprintf(to, "%" PRIu64 " values are not finite\n",
			v->not_finite);
	fputs(v->passed ? "verified\n" : "FAILED\n", to);
}

static uint32_t cells_for(unsigned int width)
{
	if (width < COLUMNS_LEFT + CELLS_MIN)
		return CELLS_MIN;
	if (width > COLUMNS_LEFT + TABLE_CELLS_MAX)
		return TABLE_CELLS_MAX;
	return width - COLUMNS_LEFT;
}

void table_print(FILE *to, const struct attention_result *result, bool utf8,
		 unsigned int width)
{
	const struct attention_job *job = result->job;
	uint32_t cells = cells_for(width), i;

	fprintf(to, "%4s %5s %10s %10s %10s %9s %10s  timeline\n", "rank",
		"steps", "received", "compute", "exposed", "overlap",
		"peak PSS");
	for (i = 0; i < job->n; i++)
		print_rank(to, job, i, cells, utf8);
	if (job->options->chunks > 0)
		fprintf(to, "sums over all passes, without a timeline; ");
	else
		fprintf(to, "timeline: %s computing, %s waiting for a block; ",
			utf8 ? "\u2588" : "#", utf8 ? "\u2591" : ".");
	fprintf(to, "overlap = compute / (compute + exposed)\n");
	print_summary(to, result);
	if (result->verification)
		print_verification(to, result->verification);
}
