/* SPDX-License-Identifier: Apache-2.0 */
/* What the ranks' flight recorders leave, and what it comes to. */
#ifndef KVR_CLI_RECORDINGS_H
#define KVR_CLI_RECORDINGS_H

#include <stddef.h>

#include "cli/complaint.h"

/* A file without a name that all ranks append to; -1: none to be had. */
int recordings_create(void);

/* What follows the bytes already in *data. On failure they stay. */
bool recordings_read(int fd, const char *name, char **data, size_t *bytes,
		     struct complaint *why);

/*
 * "cause: ..." on standard error, if the ranks left anything; that a rank gave
 * up only if wanted. Closes fd.
 */
void recordings_say_cause(int fd, bool gave_up);

#endif
