/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signals as events: while a command has something to undo, those that would
 * end it are blocked and read from a descriptor instead.
 */
#ifndef KVR_CLI_SIGNALS_H
#define KVR_CLI_SIGNALS_H

#include "cli/complaint.h"

/*
 * Blocks CHLD, and INT, TERM and HUP but where they were ignored already, for
 * the rest of the process, and ignores XFSZ, so that a file that grew too
 * large is an error of write. Once.
 */
bool signals_block(struct complaint *why);

/* Readable when one is waiting. */
int signals_fd(void);

/* The next that waits: its number, or 0. Never blocks. */
int signals_next(void);

/* INT, TERM or HUP if one came, else 0; for plain loops. */
int signals_interrupted(void);

/* In a child: as before signals_block. */
void signals_restore(void);

#endif
