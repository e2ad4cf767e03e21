/* SPDX-License-Identifier: Apache-2.0 */
/* What a ring may leave behind on a machine; ring_kill counts it. */
#ifndef KVR_TESTS_KILL_PLACE_H
#define KVR_TESTS_KILL_PLACE_H

#include <stdbool.h>
#include <stddef.h>

#define PLACE_TEXT 1200

struct place {
	size_t shm, fds, files, sockets;
	char rdma[512]; /* of every device, as rdma(8) counts; "": none */
};

/* alone: nobody else makes sockets here. */
struct place place_look(bool alone);

/*
 * Is it as before, if need be a second later? The kernel may put its things
 * away a moment after a process is gone. False: what[PLACE_TEXT] says it.
 */
bool place_as_before(const struct place *before, bool alone, char *what);

#endif
