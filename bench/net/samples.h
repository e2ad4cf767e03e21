/* SPDX-License-Identifier: Apache-2.0 */
/* What is said of many measurements of the same thing. */
#ifndef KVR_BENCH_NET_SAMPLES_H
#define KVR_BENCH_NET_SAMPLES_H

#include <stddef.h>

struct samples {
	double min, max, average, deviation;
	double typical; /* the median */
	double p99, p999;
};

/* Sorts values; count > 0. A percentile is the value at its nearest rank. */
struct samples samples_of(double *values, size_t count);

#endif
