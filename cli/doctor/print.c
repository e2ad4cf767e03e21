/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/doctor/print.h"

#include <string.h>

const char *print_level(enum level level)
{
	static const char *const names[] = {"good", "warning", "fatal"};

	return names[level];
}

static size_t count(const struct findings *findings, enum level level)
{
	size_t i, found = 0;

	for (i = 0; i < findings->count; i++)
		found += findings->list[i].level == level;
	return found;
}

/* Columns as wide as their widest word. */
struct widths {
	int subject, check;
};

static int larger(int width, const char *word)
{
	int length = (int)strlen(word);

	return length > width ? length : width;
}

static struct widths measure(const struct findings *findings)
{
	struct widths w = {0, 0};
	size_t i;

	for (i = 0; i < findings->count; i++) {
		w.subject = larger(w.subject, findings->list[i].subject);
		w.check = larger(w.check, findings->list[i].check);
	}
	return w;
}

void print_findings(FILE *to, const struct findings *findings)
{
	const struct widths w = measure(findings);
	size_t i, fatal = count(findings, LEVEL_FATAL);
	size_t warnings = count(findings, LEVEL_WARNING);

	for (i = 0; i < findings->count; i++) {
		const struct finding *f = &findings->list[i];

		fprintf(to, "%-7s  %-*s  %-*s  %s\n", print_level(f->level),
			w.subject, f->subject, w.check, f->check, f->message);
		if (f->remedy[0])
			fprintf(to, "         remedy: %s\n", f->remedy);
	}
	fprintf(to, "%zu fatal, %zu warning%s, %zu good\n", fatal, warnings,
		warnings == 1 ? "" : "s", findings->count - fatal - warnings);
}
