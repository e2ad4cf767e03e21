/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A benchmark of several processes: forked, each on its own CPUs, meeting in
 * shared memory. No meeting can hang: when one process fails, the others are
 * killed, wherever they wait.
 */
#ifndef KVR_BENCH_PROCESSES_H
#define KVR_BENCH_PROCESSES_H

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zeroed memory that children made later share. Dies when there is none. */
void *shared_new(size_t bytes);
void shared_free(void *shared, size_t bytes);

/* ------------------------------------------------------------- meeting */

/* Where n processes wait for each other; made before they are. */
struct meeting;

struct meeting *meeting_new(uint32_t n);
void meeting_free(struct meeting *meeting);

/* Returns when all n have called it. */
void meeting_wait(struct meeting *meeting);

struct seat {
	struct meeting *meeting;
	uint32_t index; /* 0 .. n - 1 */
};

/* A kvr_allgather_fn; seat is a struct seat. */
int meeting_allgather(void *seat, const void *local, size_t bytes, void *all);

/* ----------------------------------------------------------- processes */

#define PROCESSES_MAX 256

struct processes {
	uint32_t count; /* <= PROCESSES_MAX */
	/* Runs in child `index`; exits otherwise than 0 by report_die. */
	void (*main)(void *arg, uint32_t index);
	void *arg;
	const cpu_set_t *cpus; /* of each, for all of its threads */
	unsigned seconds;      /* after so many all are killed */
};

/* Dies, naming the process, unless all of them end well. */
void processes_run(const struct processes *job);

/*
 * The CPUs of the index-th of several processes with `threads` threads each,
 * dealt in turn from the first `limit` CPUs that this process may use.
 */
cpu_set_t processes_cpus(uint32_t index, uint32_t threads, uint32_t limit);

#endif
