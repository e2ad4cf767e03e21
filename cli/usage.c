/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/command.h"
#include "cli/parse.h"

void usage_error(const struct argp_state *state, const char *option,
		 const char *value, const char *wanted)
{
	say_error("%s: '%s' is not %s; see '%s --help'", option, value, wanted,
		  state->name);
	exit(CLI_USAGE);
}

void usage_missing(const struct argp_state *state, const char *what)
{
	say_error("%s is missing; see '%s --help'", what, state->name);
	exit(CLI_USAGE);
}

uint64_t usage_number(const struct argp_state *state, const char *option,
		      const char *value, uint64_t min, uint64_t max)
{
	char wanted[80];
	uint64_t number;

	if (parse_number(value, min, max, &number))
		return number;
	snprintf(wanted, sizeof(wanted),
		 "a whole number from %" PRIu64 " to %" PRIu64, min, max);
	usage_error(state, option, value, wanted);
}

double usage_seconds(const struct argp_state *state, const char *option,
		     const char *value)
{
	double seconds;

	if (!parse_real(value, 0.1, 3600, &seconds))
		usage_error(state, option, value,
			    "a number of seconds from 0.1 to 3600");
	return seconds;
}
