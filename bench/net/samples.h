/* SPDX-License-Identifier: Apache-2.0 */
/* What is said of many measurements of the same thing. */
#ifndef KVR_BENCH_NET_SAMPLES_H
#define KVR_BENCH_NET_SAMPLES_H

#include "bench/net/output.h"

struct samples {
	double min, max, average, deviation;
	double typical; /* the median */
	double p99, p999;
};

/* Sorts values; count > 0. A percentile is the value at its nearest rank. */
struct samples samples_of(double *values, size_t count);

/* A table of them, in the columns of ib_write_lat and ib_send_lat; and a row.
 */
struct output *samples_output(enum output_format format, const char *test);
void samples_print(size_t bytes, uint64_t count, const struct samples *s,
		   struct output *output);

#endif
