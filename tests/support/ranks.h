/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ring whose ranks are threads of the test, each with a context of its own,
 * as if it were a process. The bootstrap is an all-gather in memory.
 */
#ifndef KVR_TESTS_RANKS_H
#define KVR_TESTS_RANKS_H

#include <stdio.h>
#include <stdlib.h>

#include "kvring/attention.h"

/* cmocka cannot assert outside its own thread: ends the program. */
#define CHECK(condition)                                                       \
	do {                                                                   \
		if (!(condition)) {                                            \
			fprintf(stderr, "%s:%d: CHECK(%s)\n", __FILE__,        \
				__LINE__, #condition);                         \
			abort();                                               \
		}                                                              \
	} while (0)

/* The same for a status, which is printed. */
#define CHECK_STATUS(call, expected)                                           \
	do {                                                                   \
		enum kvr_status got_ = (call);                                 \
		if (got_ != (expected)) {                                      \
			fprintf(stderr, "%s:%d: %s is %s\n", __FILE__,         \
				__LINE__, #call, kvr_status_name(got_));       \
			abort();                                               \
		}                                                              \
	} while (0)

struct rank {
	uint32_t rank, n;
	struct kvr_context *context;
	struct kvr_bootstrap bootstrap;
	enum kvr_status opened; /* what kvr_ring_open returned */
	struct kvr_ring *ring;	/* NULL unless opened == KVR_OK */
	void *arg;		/* of the config */
	char log[4096];		/* every line, joined by newlines */
};

struct ranks {
	uint32_t n;
	const char *transport; /* NULL: best */
	enum kvr_progress progress;
	struct kvr_ring_options options;

	/* May change one rank's options before it opens; may be NULL. */
	void (*adjust)(uint32_t rank, struct kvr_ring_options *options);

	/* Runs in the rank's thread; closes nothing. */
	void (*body)(struct rank *rank);
	void *arg;
};

/* Defaults: n ranks, small slots. */
void ranks_init(struct ranks *ranks, uint32_t n);

/* Opens, runs the bodies, closes; returns when every thread has ended. */
void ranks_run(const struct ranks *ranks);

#endif
