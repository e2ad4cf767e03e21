/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/parse.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* strtoull alone takes "-1" and leading blanks. */
static bool digits(const char *text, uint64_t *out, const char **end)
{
	char *stop;

	if (!isdigit((unsigned char)text[0]))
		return false;
	errno = 0;
	*out = strtoull(text, &stop, 10);
	*end = stop;
	return errno == 0;
}

bool parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
	const char *end;
	uint64_t value;

	if (!digits(text, &value, &end) || *end != '\0' || value < min ||
	    value > max)
		return false;
	*out = value;
	return true;
}

static int suffix_shift(char suffix)
{
	switch (suffix) {
	case 'K':
	case 'k':
		return 10;
	case 'M':
	case 'm':
		return 20;
	case 'G':
	case 'g':
		return 30;
	default:
		return -1;
	}
}

bool parse_bytes(const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
	const char *end;
	uint64_t value;
	int shift = 0;

	if (!digits(text, &value, &end))
		return false;
	if (*end != '\0') {
		shift = suffix_shift(*end);
		if (shift < 0 || end[1] != '\0')
			return false;
	}
	if (value > UINT64_MAX >> shift)
		return false;
	value <<= shift;
	if (value < min || value > max)
		return false;
	*out = value;
	return true;
}

bool parse_real(const char *text, double min, double max, double *out)
{
	double value;
	char *end;

	/* No blanks, "nan", "inf" or hexadecimal. */
	if (text[0] == '\0' || strspn(text, "0123456789+-.eE") != strlen(text))
		return false;
	errno = 0;
	value = strtod(text, &end);
	if (errno != 0 || *end != '\0' || !isfinite(value) || value < min ||
	    value > max)
		return false;
	*out = value;
	return true;
}
