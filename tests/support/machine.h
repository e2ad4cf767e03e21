/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Machines as text (tests/machines/NAME.tree): what scripts/record_machine.sh
 * prints, one line each, "#" a comment.
 *
 *	cd /sys/devices/...	where the paths below begin that have no "/"
 *	PATH: TEXT		a line of a file; the same path again, the next
 *	PATH -> TARGET		a link
 *	PATH/			a directory
 */
#ifndef KVR_TESTS_MACHINE_H
#define KVR_TESTS_MACHINE_H

#include <stdbool.h>

/* Below directory, which exists. False, with a line on stderr: a bad line. */
bool machine_unpack(const char *file, const char *directory);

/* One line of that kind, after the others. */
bool machine_add(const char *directory, const char *line);

#endif
