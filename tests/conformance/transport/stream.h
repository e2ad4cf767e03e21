/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A miniature of the engine's work, for threads and processes: blocks of
 * random size on two lanes, a credit for each slot, a descriptor that tells
 * the size. Sleeps whenever arm allows it. Ends the program when something
 * is wrong: cmocka's asserts work in one thread of one process only.
 */
#ifndef TESTS_CONFORMANCE_TRANSPORT_STREAM_H
#define TESTS_CONFORMANCE_TRANSPORT_STREAM_H

#include "runtime/transport.h"

enum { STREAM_LANES = 2, STREAM_SLOTS = 3, STREAM_BLOCK_MAX = 60000 };

struct stream {
	const struct kvr_transport_ops *ops;
	struct kvr_transport *transport;
	struct kvr_endpoint *endpoint;
	size_t chunk_bytes;
	uint32_t blocks; /* on each lane */
};

/*
 * Drives the stream where its endpoint lives and returns true, when that is in
 * another process. NULL: each call of the endpoint is made from here.
 */
extern bool (*stream_elsewhere)(const struct stream *stream,
				enum kvr_role role);

/* Of pthread_create's type; arg is a struct stream; return NULL. */
void *stream_send(void *arg);
void *stream_receive(void *arg);

/* Ends the program when nothing wakes it within 20 s. */
void sleep_until_ready(const struct kvr_transport_ops *ops,
		       struct kvr_endpoint *endpoint);

#endif
