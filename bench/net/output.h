/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One table, in three forms: for people (the settings first, then columns),
 * CSV (the settings as comments), and one JSON object. Every function takes
 * NULL for a rank that prints nothing.
 */
#ifndef KVR_BENCH_NET_OUTPUT_H
#define KVR_BENCH_NET_OUTPUT_H

#include <stddef.h>
#include <stdint.h>

enum output_format { OUTPUT_TEXT, OUTPUT_CSV, OUTPUT_JSON };

struct output_column {
	const char *key;   /* JSON */
	const char *title; /* for people, and CSV */
	int digits;	   /* after the point */
};

struct output;

/* columns are borrowed. Dies without memory. */
struct output *output_new(enum output_format format, const char *test,
			  const struct output_column *columns, size_t count);

/* Before the first row. */
void output_text(struct output *output, const char *key, const char *value);
void output_number(struct output *output, const char *key, double value);
void output_note(struct output *output, const char *note);

/* One value for each column; at once, except as JSON. */
void output_row(struct output *output, const double *values);

/*
 * Ends the table: the seconds of what was measured, beside the wall clock of
 * the whole command. Dies when standard output took not all of it.
 */
void output_finish(struct output *output, double measured_seconds,
		   double whole_seconds);

#endif
