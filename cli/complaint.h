/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What went wrong, in one line for a person: "<thing>: <what>; <remedy>".
 * Functions that can fail fill one in and return false; only the commands
 * print it.
 */
#ifndef KVR_CLI_COMPLAINT_H
#define KVR_CLI_COMPLAINT_H

#include <stdbool.h>

/* How the command ends. 128 + signal when interrupted. */
enum cli_exit { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

struct complaint {
	char text[768];
};

/* Always false, so that a check can return it. */
__attribute__((format(printf, 2, 3))) bool complain(struct complaint *why,
						    const char *format, ...);

/* "kvring: <text>" on standard error. */
void complaint_print(const struct complaint *why);

/* The same for a line made on the spot. */
__attribute__((format(printf, 1, 2))) void say_error(const char *format, ...);

/* That standard output did not take everything; errno says why. Once. */
void say_output_error(void);

#endif
