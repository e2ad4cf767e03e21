/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two ranks joined both ways by one transport, as in a ring of two: each
 * writes messages of one size into the other's landing slots. A message is one
 * block: a write with an immediate for each of its chunks, or, of size 0, one
 * immediate alone. Its receiver grants the slot again by a credit.
 *
 * The transport is driven through its seam alone. Whatever fails ends the
 * program: a measurement has nothing to save.
 */
#ifndef KVR_BENCH_NET_LINK_H
#define KVR_BENCH_NET_LINK_H

#include "bench/net/options.h"
#include "kvring/kvring.h"
#include "runtime/settings.h"
#include "runtime/transport.h"

struct link_config {
	const char *transport; /* NULL: the best that joins both ranks */
	size_t message_bytes;
	size_t chunk_bytes;
	uint32_t slots;
	bool event; /* sleep until an event, else poll all the time */
	double timeout_seconds;
};

struct link {
	const struct kvr_bootstrap *who;
	struct link_config config;
	struct kvr_log log;
	struct kvr_transport_config settings; /* devices is ours */
	struct kvr_secret secret;
	const struct kvr_transport_ops *ops;
	struct kvr_transport *transport;
	struct kvr_endpoint *out, *in;
	int epoll_fd; /* -1 unless event */
	uint32_t chunks;
	struct kvr_piece source; /* of every message */

	/* Messages: posted, granted by the peer, arrived, granted by us. */
	uint64_t posted, credited, arrived, granted;
	uint32_t next_chunk; /* of the message being posted */
	uint64_t writes, sent;
	uint32_t landed[KVR_SLOTS_MAX]; /* chunks of the slot's message */

	uint64_t meets, met;  /* of link_meet: said, heard */
	bool bye_in, bye_out; /* the peer's, by endpoint */
	uint64_t idle;	      /* polls in vain */
	uint64_t silent_ns;   /* since when, at least; 0: it was not looked */
};

/* Collective over the two ranks. */
void link_open(const struct kvr_bootstrap *who,
	       const struct link_config *config, struct link *out);
void link_close(struct link *link);

/* Posts what it can of the next message; true: all of it. */
bool link_send(struct link *link);

/* Polls both endpoints once; after a poll in vain sleeps, if so configured. */
void link_progress(struct link *link);

/* Grants what arrived since the last time; false: once more, later. */
bool link_grant(struct link *link);

/* The memory of all own messages may be changed. */
static inline bool link_all_sent(const struct link *link)
{
	return link->sent == link->writes;
}

/* Returns when the other rank calls it; messages go on arriving meanwhile. */
void link_meet(struct link *link);

#endif
