/* SPDX-License-Identifier: Apache-2.0 */
/* How much memory this process and its children may still take. */
#ifndef KVR_CLI_MEMORY_H
#define KVR_CLI_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

struct memory_room {
	uint64_t bytes;
	char of[192]; /* who sets the limit, for a message */
};

/*
 * The least of what the machine has free (swap and caches included) and what
 * the control groups, of either version, leave. root: where /proc and /sys
 * are looked for, "" but in tests. False: nothing could be read.
 */
bool memory_room(const char *root, struct memory_room *out);

/*
 * What is short of memory is to end this process, not its parent: shared
 * memory counts for nobody when the kernel chooses whom to kill.
 */
void memory_volunteer(void);

#endif
