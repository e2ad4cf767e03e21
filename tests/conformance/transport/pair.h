/* SPDX-License-Identifier: Apache-2.0 */
/* Two endpoints of one edge and what their polls reported. */
#ifndef TESTS_CONFORMANCE_TRANSPORT_PAIR_H
#define TESTS_CONFORMANCE_TRANSPORT_PAIR_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "runtime/transport.h"

#define SEEN_MAX 8192

struct seen {
	enum kvr_status status; /* of the last poll */
	uint32_t imms[SEEN_MAX];
	size_t imm_count;
	uint64_t cookies[SEEN_MAX];
	size_t cookie_count;
};

/* Source memory that is registered. */
struct pair_source {
	const uint8_t *address;
	size_t bytes;
	void *key;
};

#define PAIR_SOURCES 64

struct pair {
	const struct kvr_transport_ops *ops;
	struct kvr_transport *transport;
	struct kvr_log log;
	char lines[8192]; /* logged so far */
	struct kvr_endpoint_config in_config, out_config;
	struct kvr_endpoint *in, *out;
	struct pair_source source[PAIR_SOURCES];
	size_t source_count;
	struct seen at_in, at_out;
};

/* The back end under test, chosen by the program's argument. */
extern const struct kvr_transport_ops *pair_ops;
extern bool pair_adaptive_routing; /* of the transports that open */
/* --brief: a tenth of what is done many times, where each takes long. */
extern bool pair_brief;
uint32_t pair_rounds(uint32_t rounds);

/* Two ranks of a ring; change the configs before opening. */
void pair_init(struct pair *pair, uint32_t lanes, uint32_t slots,
	       size_t slot_bytes, size_t chunk_bytes);
void pair_open(struct pair *pair);
void pair_introduce(struct pair *pair);

/* Polls both until neither says AGAIN; asserts that this comes to an end. */
void pair_connect(struct pair *pair, enum kvr_status *in, enum kvr_status *out);

/* init, open, introduce and connect; asserts success. */
struct pair *pair_new(uint32_t lanes, uint32_t slots, size_t slot_bytes,
		      size_t chunk_bytes);

/* Closes what is open, OUT first, then the transport. */
void pair_close(struct pair *pair);
void pair_free(struct pair *pair);

/*
 * A piece of source memory, registered until the pair closes; once for what
 * lies within a piece that was.
 */
struct kvr_piece pair_piece(struct pair *pair, const void *address,
			    size_t bytes);

/* One poll; what it reports is appended. */
void pair_poll_in(struct pair *pair);
void pair_poll_out(struct pair *pair);

/* Polls both until in has seen so many immediates, or fails after 10 s. */
void pair_run(struct pair *pair, size_t imms_at_in, size_t imms_at_out);

/* Polls until the status comes, or fails after 10 s. */
void pair_await_in(struct pair *pair, enum kvr_status status);
void pair_await_out(struct pair *pair, enum kvr_status status);

uint64_t test_now_ns(void);
uint64_t test_random(uint64_t *state);
void test_fill(void *to, size_t bytes, uint64_t seed);

/* Entries of /proc/self/fd. */
int test_fd_count(void);

/* Lines of /proc/self/maps that are landing memory. */
int test_map_count(void);

#endif
