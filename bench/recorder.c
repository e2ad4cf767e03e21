/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What does the flight recorder cost? The time of one note, in a log that is
 * in the cache and in one of many that are not.
 */
#include <stdio.h>
#include <stdlib.h>

#include <time.h>

#include "runtime/recorder.h"

#define RUNS 9
#define NOTES (1 << 22)
#define LOGS_COLD                                                              \
	1024 /* 96 MiB of logs, each of which gets one note in turn            \
	      */

/* About so many for each block that a rank receives and forwards. */
#define NOTES_PER_STEP 9

static int by_size(const void *left, const void *right)
{
	const double a = *(const double *)left, b = *(const double *)right;

	return a < b ? -1 : a > b;
}

/* Processor time: others may want the processor, too. */
static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* Nanoseconds for each. */
static double one_run(struct kvr_recorder *logs, uint32_t count)
{
	double begin_ns = now_ns();

	for (uint32_t i = 0; i < NOTES; i++) {
		kvr_recorder_note(&logs[i % count], i, KVR_NOTE_LANDED, i & 1,
				  i, i);
		/* Each is stored, as between two events of a ring. */
		__asm__ volatile("" ::: "memory");
	}
	return (now_ns() - begin_ns) / NOTES;
}

static double measure(const char *name, uint32_t count)
{
	struct kvr_recorder *logs =
		aligned_alloc(64, count * ((sizeof(*logs) + 63) / 64 * 64));
	double ns[RUNS];

	if (!logs) {
		fprintf(stderr, "no memory for %u logs\n", count);
		exit(1);
	}
	for (uint32_t i = 0; i < count; i++)
		kvr_recorder_init(&logs[i]);
	for (int i = 0; i < RUNS; i++)
		ns[i] = one_run(logs, count);
	free(logs);
	qsort(ns, RUNS, sizeof(*ns), by_size);
	printf("%-28s %6.2f ns a note (%.2f to %.2f), %5.1f ns a step\n", name,
	       ns[RUNS / 2], ns[0], ns[RUNS - 1],
	       ns[RUNS / 2] * NOTES_PER_STEP);
	return ns[RUNS / 2];
}

int main(void)
{
	double warm;

	printf("%d runs of %d notes of %zu bytes, logs of %d\n", RUNS, NOTES,
	       sizeof(struct kvr_recorder_event), KVR_RECORDER_EVENTS);
	warm = measure("one log, of a ring at work", 1);
	(void)measure("1024 logs in turn, cold", LOGS_COLD);
	printf("a note of a ring at work, goal < 10 ns: %s\n",
	       warm < 10 ? "reached" : "not reached");
	return 0;
}
