/* SPDX-License-Identifier: Apache-2.0 */
/* Whole messages over a stream socket, within a deadline (kvr_clock_ns). */
#ifndef KVR_RUNTIME_STREAM_H
#define KVR_RUNTIME_STREAM_H

#include <stddef.h>
#include <stdint.h>

/*
 * 0, or -1 with errno: ETIMEDOUT when the deadline passed, ECONNRESET when
 * the peer hung up.
 */
int kvr_stream_send(int fd, const void *data, size_t bytes,
		    uint64_t deadline_ns);
int kvr_stream_receive(int fd, void *data, size_t bytes, uint64_t deadline_ns);

/* Until fd has one of the poll events, or is in error: as above. */
int kvr_stream_wait(int fd, short events, uint64_t deadline_ns);

/* For poll: until the deadline, at least 0, at most a minute. */
int kvr_stream_wait_ms(uint64_t deadline_ns);

#endif
