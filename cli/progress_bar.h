/* SPDX-License-Identifier: Apache-2.0 */
/* One line on a terminal that shows how far a command is. */
#ifndef KVR_CLI_PROGRESS_BAR_H
#define KVR_CLI_PROGRESS_BAR_H

#include <stdbool.h>

struct progress_bar {
	const char *label;
	bool visible;
};

/* Visible only where standard error is a terminal. */
struct progress_bar progress_bar_begin(const char *label);

/* fraction: 0 .. 1. */
void progress_bar_show(const struct progress_bar *bar, double fraction);

/* Wipes the line. */
void progress_bar_end(const struct progress_bar *bar);

#endif
