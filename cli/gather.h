/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The other end of KVRING_BOOTSTRAP_FD: an all-gather among n ranks over one
 * stream socket each. A rank sends a uint64_t (host order; same machine) with
 * a number of bytes and so many bytes; when all n have, each receives n times
 * as many, in rank order. May be repeated with another size.
 */
#ifndef KVR_CLI_GATHER_H
#define KVR_CLI_GATHER_H

#include <stddef.h>
#include <stdint.h>

#include "cli/complaint.h"

#define GATHER_BYTES_MAX (1u << 20) /* of one rank */

struct gather;

struct gather *gather_new(uint32_t n); /* NULL: no memory */
void gather_free(struct gather *gather);

/* The gather owns fd (non-blocking) from now on. */
void gather_attach(struct gather *gather, uint32_t rank, int fd);

/* -1 once closed. */
int gather_fd(const struct gather *gather, uint32_t rank);

/* The poll events that this rank's fd waits for. */
short gather_events(const struct gather *gather, uint32_t rank);

/*
 * fd is ready: moves bytes. False: the rank broke the protocol, *why says
 * how, and every socket is closed.
 */
bool gather_serve(struct gather *gather, uint32_t rank, struct complaint *why);

/* Every rank that gathers, now or later, fails at once. */
void gather_close(struct gather *gather);

#endif
