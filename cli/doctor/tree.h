/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine's /sys, /proc and /dev: its own, or a recording of them below
 * some directory. A recording is plain files and relative links; a device
 * node is there a file that says what opening it gave: "opens" or the name of
 * an error, such as "EACCES".
 *
 * Paths are printf formats and begin with "/". What is read is cleaned:
 * anything but printable ASCII becomes '?'.
 */
#ifndef KVR_CLI_DOCTOR_TREE_H
#define KVR_CLI_DOCTOR_TREE_H

#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct tree {
	const char *root; /* "" is this machine */
};

#define TREE_FORMAT(a, b) __attribute__((format(printf, a, b)))

/* The first line; false and "" when there is none. */
TREE_FORMAT(4, 5)
bool tree_read(const struct tree *tree, char *out, size_t size,
	       const char *format, ...);

/* A number as C writes it; false and *out alone when there is none. */
TREE_FORMAT(3, 4)
bool tree_read_number(const struct tree *tree, int64_t *out, const char *format,
		      ...);

/* For longer files. NULL when it cannot be opened. */
TREE_FORMAT(2, 3)
FILE *tree_open(const struct tree *tree, const char *format, ...);

TREE_FORMAT(2, 3)
bool tree_exists(const struct tree *tree, const char *format, ...);

/* Where links lead, from the root of the tree: "/sys/devices/...". */
TREE_FORMAT(4, 5)
bool tree_resolve(const struct tree *tree, char *out, size_t size,
		  const char *format, ...);

/* What opening a device node gives: 0, or the errno. ENOENT: no such node. */
TREE_FORMAT(2, 3)
int tree_open_device(const struct tree *tree, const char *format, ...);

/* Entries but "." and "..", numbers in order; none when it is missing. */
struct tree_list {
	struct dirent **entry;
	int count;
};

TREE_FORMAT(3, 4)
void tree_list(const struct tree *tree, struct tree_list *out,
	       const char *format, ...);
void tree_list_free(struct tree_list *list);

/* The clean copy that the functions above make, cut where size is too small. */
void tree_clean(const char *text, char *out, size_t size);

#endif
