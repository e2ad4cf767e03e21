/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the C library's memcpy moves from one buffer of a process to another,
 * the same two again and again: the working set of `kvring bench bw --slots 1`
 * without anybody to tell. The floor beside bandwidths over shared memory.
 *
 *	memory_copy BYTES ITERATIONS
 *
 * Prints MB (2^20 bytes) a second, after a tenth as many that do not count.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/report.h"

#define BYTES_MAX (1l << 30)
#define PAGE 4096

/* The compiler must not see that nobody reads it. */
static void keep(void *memory)
{
	__asm__ volatile("" : : "r"(memory) : "memory");
}

static void copy(char *to, const char *from, size_t bytes, long count)
{
	for (long i = 0; i < count; i++) {
		memcpy(to, from, bytes);
		keep(to);
	}
}

static char *allocate(size_t bytes, int fill)
{
	char *memory = aligned_alloc(PAGE, (bytes + PAGE - 1) / PAGE * PAGE);

	if (!memory)
		report_die("out of memory");
	memset(memory, fill, bytes);
	return memory;
}

int main(int argc, char **argv)
{
	long bytes = argc == 3 ? strtol(argv[1], NULL, 10) : 0;
	long count = argc == 3 ? strtol(argv[2], NULL, 10) : 0;
	char *from, *to;
	double begun;

	if (bytes < 1 || bytes > BYTES_MAX || count < 1) {
		fprintf(stderr, "usage: memory_copy BYTES ITERATIONS\n");
		return 2;
	}
	from = allocate((size_t)bytes, 1);
	to = allocate((size_t)bytes, 2);
	copy(to, from, (size_t)bytes, (count + 9) / 10);
	begun = report_seconds();
	copy(to, from, (size_t)bytes, count);
	printf("%.2f\n", (double)bytes * (double)count /
				 (report_seconds() - begun) / (1 << 20));
	free(to);
	free(from);
	return 0;
}
