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

static void read_processor(char *out, size_t size)
{
	FILE *file = fopen("/proc/cpuinfo", "re");
	char line[256];

	snprintf(out, size, "unknown");
	while (file && fgets(line, sizeof(line), file))
		if (strncmp(line, "model name", 10) == 0) {
			line[strcspn(line, "\n")] = 0;
			snprintf(out, size, "%s", strchr(line, ':') + 2);
			break;
		}
	if (file)
		fclose(file);
}

void report_machine_read(struct report_machine *out)
{
	struct utsname system;

	read_processor(out->processor, sizeof(out->processor));
	uname(&system);
	snprintf(out->system, sizeof(out->system), "%s %s %s", system.sysname,
		 system.release, system.machine);
	out->cpus = sysconf(_SC_NPROCESSORS_ONLN);
}

void report_print_machine(void)
{
	struct report_machine machine;

	report_machine_read(&machine);
	printf("processor: %s; %s; %ld CPUs\n", machine.processor,
	       machine.system, machine.cpus);
}

void report_die(const char *what)
{
	fprintf(stderr, "%s: %s\n", program_invocation_short_name, what);
	exit(1);
}

size_t report_number(const char *text, size_t most)
{
	unsigned long value = strtoul(text, NULL, 10);

	if (value < 1 || value > most)
		report_die("a number is out of range");
	return value;
}
