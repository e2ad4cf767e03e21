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
