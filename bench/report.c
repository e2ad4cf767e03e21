/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/report.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

double report_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

struct spread report_spread(double *values, size_t count)
{
	qsort(values, count, sizeof(*values), compare);
	return (struct spread){
		.median = (values[(count - 1) / 2] + values[count / 2]) / 2,
		.least = values[0],
		.most = values[count - 1],
	};
}

void report_print_spread(const char *name, struct spread spread, int digits)
{
	printf("  %s %.*f (%.*f..%.*f)", name, digits, spread.median, digits,
	       spread.least, digits, spread.most);
}

static void print_processor(void)
{
	FILE *file = fopen("/proc/cpuinfo", "re");
	char line[256];

	while (file && fgets(line, sizeof(line), file))
		if (strncmp(line, "model name", 10) == 0) {
			line[strcspn(line, "\n")] = 0;
			printf("processor: %s; ", strchr(line, ':') + 2);
			break;
		}
	if (file)
		fclose(file);
}

void report_print_machine(void)
{
	struct utsname system;

	print_processor();
	if (uname(&system) == 0)
		printf("%s %s %s; ", system.sysname, system.release,
		       system.machine);
	printf("%ld CPUs\n", sysconf(_SC_NPROCESSORS_ONLN));
}

void report_die(const char *what)
{
	fprintf(stderr, "%s: %s\n", program_invocation_short_name, what);
	exit(1);
}
