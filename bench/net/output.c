/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/net/output.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/report.h"

struct output {
	enum output_format format;
	const struct output_column *columns;
	size_t count;
	json_t *root, *settings, *notes, *rows;
	int header_done;
};

/* --------------------------------------------------------------- begin */

static void add_machine(struct output *o)
{
	struct report_machine machine;

	report_machine_read(&machine);
	output_text(o, "processor", machine.processor);
	output_text(o, "system", machine.system);
	output_number(o, "cpus", (double)machine.cpus);
}

struct output *output_new(enum output_format format, const char *test,
			  const struct output_column *columns, size_t count)
{
	struct output *o = calloc(1, sizeof(*o));

	if (!o)
		report_die("out of memory");
	o->format = format;
	o->columns = columns;
	o->count = count;
	o->settings = json_object();
	o->notes = json_array();
	o->rows = json_array();
	o->root = json_pack("{s:s, s:s, s:o, s:o, s:o}", "benchmark", test,
			    "version", KVR_VERSION, "settings", o->settings,
			    "notes", o->notes, "rows", o->rows);
	if (!o->root)
		report_die("out of memory");
	/* Also into a pipe each line comes when it is known. */
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (format != OUTPUT_JSON)
		printf("# kvring %s, bench %s\n", KVR_VERSION, test);
	add_machine(o);
	return o;
}

void output_text(struct output *o, const char *key, const char *value)
{
	if (!o)
		return;
	if (o->format == OUTPUT_JSON)
		json_object_set_new(o->settings, key, json_string(value));
	else
		printf("# %s: %s\n", key, value);
}

void output_number(struct output *o, const char *key, double value)
{
	if (!o)
		return;
	if (o->format == OUTPUT_JSON)
		json_object_set_new(o->settings, key, json_real(value));
	else
		printf("# %s: %.15g\n", key, value);
}

void output_note(struct output *o, const char *note)
{
	if (!o)
		return;
	if (o->format == OUTPUT_JSON)
		json_array_append_new(o->notes, json_string(note));
	else
		printf("# note: %s\n", note);
}

/* ---------------------------------------------------------------- rows */

static int width(const struct output_column *column)
{
	int title = (int)strlen(column->title);

	return title < 8 ? 8 : title;
}

static void print_header(struct output *o)
{
	size_t i;

	if (o->header_done)
		return;
	o->header_done = 1;
	for (i = 0; i < o->count; i++)
		if (o->format == OUTPUT_CSV)
			printf("%s%s", i ? "," : "", o->columns[i].title);
		else
			printf("%s%*s", i ? "  " : " ", width(&o->columns[i]),
			       o->columns[i].title);
	putchar('\n');
}

static void print_row(const struct output *o, const double *values)
{
	size_t i;

	for (i = 0; i < o->count; i++)
		if (o->format == OUTPUT_CSV)
			printf("%s%.*f", i ? "," : "", o->columns[i].digits,
			       values[i]);
		else
			printf("%s%*.*f", i ? "  " : " ", width(&o->columns[i]),
			       o->columns[i].digits, values[i]);
	putchar('\n');
}

static void add_row(struct output *o, const double *values)
{
	json_t *row = json_object();
	size_t i;

	for (i = 0; i < o->count; i++)
		json_object_set_new(
			row, o->columns[i].key,
			o->columns[i].digits
				? json_real(values[i])
				: json_integer((json_int_t)values[i]));
	json_array_append_new(o->rows, row);
}

void output_row(struct output *o, const double *values)
{
	if (!o)
		return;
	if (o->format == OUTPUT_JSON) {
		add_row(o, values);
		return;
	}
	print_header(o);
	print_row(o, values);
}

/* -------------------------------------------------------------- finish */

static void print_end(const struct output *o, double measured, double whole)
{
	if (o->format == OUTPUT_JSON) {
		json_object_set_new(o->root, "measured_seconds",
				    json_real(measured));
		json_object_set_new(o->root, "whole_seconds", json_real(whole));
		json_dumpf(o->root, stdout, JSON_INDENT(2));
		putchar('\n');
		return;
	}
	printf("# measured %.3f s in all; the whole command took %.3f s\n",
	       measured, whole);
}

void output_finish(struct output *o, double measured_seconds,
		   double whole_seconds)
{
	if (!o)
		return;
	print_end(o, measured_seconds, whole_seconds);
	json_decref(o->root);
	free(o);
	if (fflush(stdout) || ferror(stdout))
		report_die("standard output: cannot be written; check where "
			   "it goes");
}
