/* SPDX-License-Identifier: Apache-2.0 */
/* The commands of `kvring`: each parses its own arguments. */
#ifndef KVR_CLI_COMMAND_H
#define KVR_CLI_COMMAND_H

#include <argp.h>
#include <stdint.h>

#include "cli/complaint.h"

/* argv[0] is "kvring <name>". Return the exit code. */
int cmd_attention(int argc, char **argv);
int cmd_random(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_explain(int argc, char **argv);
int cmd_info(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_bench(int argc, char **argv);

/* For the parsers: the value of an option is wrong. Does not return. */
_Noreturn void usage_error(const struct argp_state *state, const char *option,
			   const char *value, const char *wanted);

/* The same for a missing one. */
_Noreturn void usage_missing(const struct argp_state *state, const char *what);

/* A number of an option, or usage_error. */
uint64_t usage_number(const struct argp_state *state, const char *option,
		      const char *value, uint64_t min, uint64_t max);

/* Seconds of a time-out, or usage_error. */
double usage_seconds(const struct argp_state *state, const char *option,
		     const char *value);

/* What the others get after the first failure: to notice it, and to say so. */
#define GRACE_SECONDS 2.0

#endif
