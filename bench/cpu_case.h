/* SPDX-License-Identifier: Apache-2.0 */
/* One attention on this machine's processor, to be timed again and again. */
#ifndef KVR_BENCH_CPU_CASE_H
#define KVR_BENCH_CPU_CASE_H

#include "compute/cpu/cpu.h"

/* The caller fills in ops and shape, and nothing else. */
struct cpu_case {
	const struct kvr_compute_ops *ops;
	struct kvr_compute_shape shape;
	struct kvr_compute *compute;
	struct kvr_range range;
	struct kvr_tensor q, k, v, out;
	float *lse;
	void *block;
	struct kvr_range *pages; /* NULL: one range */
	const void **page;
	size_t page_count;
};

/*
 * As many queries as keys, at random between -1 and 1, packed; page_tokens 0:
 * no pages. Ends the program when memory is short.
 */
void cpu_case_open(struct cpu_case *a, size_t tokens, uint32_t threads,
		   size_t page_tokens);
void cpu_case_close(struct cpu_case *a);

/*
 * From then on seconds are those of this process's processors, divided by so
 * many threads: a busy machine distorts them less, but they do not show threads
 * that wait for each other.
 */
void cpu_case_use_cpu_time(uint32_t threads);

/* The clock of both below. */
double cpu_case_seconds(void);

/* Seconds that packing all keys and values takes. */
double cpu_case_pack(struct cpu_case *a);

/* Seconds of begin, step and finish on keys that are packed. */
double cpu_case_run(struct cpu_case *a);

/* Of one run: what queries and keys that see each other take. */
double cpu_case_flop(const struct cpu_case *a);

#endif
