/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/ring/kill_tally.h"

#include <stdio.h>
#include <stdlib.h>

void tally_run(struct tally *tally, bool stopped)
{
	tally->runs[stopped]++;
}

void tally_add(struct tally *tally, bool stopped, bool open, uint64_t ns)
{
	struct tally_column *column = &tally->column[stopped][open];

	if (column->count < TALLY_MAX)
		column->ns[column->count++] = ns;
}

bool tally_fastest(const struct tally *tally, bool stopped, bool open,
		   uint64_t *ns)
{
	const struct tally_column *column = &tally->column[stopped][open];
	uint64_t fastest = UINT64_MAX;

	for (uint32_t i = 0; i < column->count; i++)
		if (column->ns[i] < fastest)
			fastest = column->ns[i];
	if (column->count < 4)
		return false;
	*ns = fastest;
	return true;
}

static int compare(const void *a, const void *b)
{
	uint64_t x, y;

	x = *(const uint64_t *)a;
	y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

/* The p-th percentile in milliseconds; sorted. */
static double percentile(const struct tally_column *c, uint32_t p)
{
	return c->count ? (double)c->ns[(c->count - 1) * p / 100] / 1e6 : 0;
}

static uint32_t between(const struct tally_column *c, double from, double to)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < c->count; i++) {
		double ms = (double)c->ns[i] / 1e6;

		count += ms >= from && ms < to;
	}
	return count;
}

void tally_print(struct tally *tally)
{
	static const double edges[TALLY_BINS + 1] = {
		0, 0.1, 0.2, 0.5, 1, 2, 5, 10, 100, 900, 1000, 1100, 1e9};
	static const int percents[] = {0, 50, 90, 100};
	struct tally_column *columns[] = {
		&tally->column[0][0], &tally->column[0][1],
		&tally->column[1][0], &tally->column[1][1]};

	printf("%u runs with a rank killed, %u stopped; %u made again\n"
	       "from the signal to the return of a survivor's call:\n"
	       "%18s %10s %10s %10s %10s\n%18s %10s %10s %10s %10s\n",
	       tally->runs[0], tally->runs[1], tally->again, "ms", "killed",
	       "killed", "stopped", "stopped", "", "opening", "open", "opening",
	       "open");
	for (int bin = 0; bin < TALLY_BINS; bin++) {
		if (bin + 1 < TALLY_BINS)
			printf("%8g to %6g", edges[bin], edges[bin + 1]);
		else
			printf("%8g and more", edges[bin]);
		for (int i = 0; i < 4; i++)
			printf(" %10u",
			       between(columns[i], edges[bin], edges[bin + 1]));
		printf("\n");
	}
	for (int i = 0; i < 4; i++)
		qsort(columns[i]->ns, columns[i]->count, sizeof(uint64_t),
		      compare);
	for (int p = 0; p < 4; p++) {
		printf("%16d %%", percents[p]);
		for (int i = 0; i < 4; i++)
			printf(" %10.3f",
			       percentile(columns[i], (uint32_t)percents[p]));
		printf("\n");
	}
}
