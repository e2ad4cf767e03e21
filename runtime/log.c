/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/log.h"

#include <stdarg.h>
#include <stdio.h>

void kvr_log(const struct kvr_log *log, enum kvr_log_level level,
	     const char *format, ...)
{
	char line[512];
	va_list args;

	if (!log || !log->sink || level > log->level)
		return;
	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	log->sink(log->arg, level, line);
}
