/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file that appears under its name whole or not at all. Until
 * output_commit it has no name (O_TMPFILE), or where the file system cannot
 * do that, a hidden one that output_abandon removes. A signal that ends the
 * process must be blocked meanwhile (signals.h).
 */
#ifndef KVR_CLI_OUTPUT_H
#define KVR_CLI_OUTPUT_H

#include <stddef.h>
#include <stdint.h>

#include "cli/complaint.h"

struct output {
	int fd;		 /* for reading and writing */
	char *path;	 /* the final name */
	char *temporary; /* in the same directory */
	bool named;	 /* temporary exists */
};

/*
 * Reserves `bytes` on the disk at once. not_fd: an open input that path must
 * not be, or -1.
 */
bool output_open(const char *path, uint64_t bytes, int not_fd,
		 struct output *out, struct complaint *why);

/* Gives the file its name, replacing what was there, and closes it. */
bool output_commit(struct output *output, struct complaint *why);

/* Leaves nothing. */
void output_abandon(struct output *output);

/* pwrite of everything; false with errno. */
bool write_all(int fd, const void *from, size_t bytes, uint64_t offset);

#endif
