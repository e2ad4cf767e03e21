/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/net/samples.h"

#include <math.h>

#include "bench/report.h"

static double percentile(const double *sorted, size_t count, double part)
{
	size_t rank = (size_t)ceil(part * (double)count);

	return sorted[rank ? rank - 1 : 0];
}

struct samples samples_of(double *values, size_t count)
{
	struct spread spread = report_spread(values, count);
	double sum = 0, squares = 0, average;
	size_t i;

	for (i = 0; i < count; i++)
		sum += values[i];
	average = sum / (double)count;
	for (i = 0; i < count; i++)
		squares += (values[i] - average) * (values[i] - average);
	return (struct samples){
		.min = spread.least,
		.max = spread.most,
		.average = average,
		.deviation =
			count > 1 ? sqrt(squares / (double)(count - 1)) : 0,
		.typical = spread.median,
		.p99 = percentile(values, count, 0.99),
		.p999 = percentile(values, count, 0.999),
	};
}

static const struct output_column columns[] = {
	{"bytes", "#bytes", 0},
	{"iterations", "#iterations", 0},
	{"min_usec", "t_min[usec]", 2},
	{"max_usec", "t_max[usec]", 2},
	{"typical_usec", "t_typical[usec]", 2},
	{"average_usec", "t_avg[usec]", 2},
	{"deviation_usec", "t_stdev[usec]", 2},
	{"p99_usec", "99% percentile[usec]", 2},
	{"p999_usec", "99.9% percentile[usec]", 2},
};

#define COLUMNS (sizeof(columns) / sizeof(*columns))

struct output *samples_output(enum output_format format, const char *test)
{
	return output_new(format, test, columns, COLUMNS);
}

void samples_print(size_t bytes, uint64_t count, const struct samples *s,
		   struct output *output)
{
	output_row(output,
		   (const double[COLUMNS]){(double)bytes, (double)count, s->min,
					   s->max, s->typical, s->average,
					   s->deviation, s->p99, s->p999});
}
