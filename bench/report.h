/* SPDX-License-Identifier: Apache-2.0 */
/* What every benchmark needs: a clock, medians, and the machine's name. */
#ifndef KVR_BENCH_REPORT_H
#define KVR_BENCH_REPORT_H

#include <stddef.h>

/* CLOCK_MONOTONIC: the same in all processes of a machine. */
double report_seconds(void);

struct spread {
	double median, least, most;
};

/* Sorts values. */
struct spread report_spread(double *values, size_t count);

/* "  NAME MEDIAN (LEAST..MOST)", no newline. */
void report_print_spread(const char *name, struct spread spread, int digits);

struct report_machine {
	char processor[128]; /* its name, or "unknown" */
	char system[256];    /* the kernel's name, version, architecture */
	long cpus;	     /* online */
};

void report_machine_read(struct report_machine *out);

/* One line of all that. */
void report_print_machine(void);

/* Prints "PROGRAM: WHAT" on stderr and exits 1. */
__attribute__((noreturn)) void report_die(const char *what);

/* The number that text is, 1 .. most; report_die where it is not. */
size_t report_number(const char *text, size_t most);

#endif
