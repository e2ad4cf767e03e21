/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/complaint.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool complain(struct complaint *why, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why->text, sizeof(why->text), format, args);
	va_end(args);
	return false;
}

void complaint_print(const struct complaint *why)
{
	say_error("%s", why->text);
}

/* One write per line: ranks and the command share standard error. */
void say_error(const char *format, ...)
{
	char line[1024], *at;
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	/* Names come from files: no escape sequence reaches the terminal. */
	for (at = line; *at; at++)
		if (iscntrl((unsigned char)*at))
			*at = '?';
	fprintf(stderr, "kvring: %s\n", line);
}

void say_output_error(void)
{
	static bool said;

	if (!said)
		say_error("standard output: cannot be written: %s; check where "
			  "it goes",
			  strerror(errno));
	said = true;
}
