/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams of a GPU, played by threads: words, work and graphs in order, each
 * queue by a thread of its own. Constants are baked when captured, as a driver
 * does.
 */
#ifndef KVR_TESTS_PLAYED_H
#define KVR_TESTS_PLAYED_H

#include "runtime/accelerator_stream.h"

struct played_queue;
struct played_stream;
struct played_graph;

#define PLAYED_ARG 64

struct played_queue *played_queue_open(void);
/* Ends when all that is on it is done. */
void played_queue_close(struct played_queue *queue);

/* Several streams on one queue: a device with one hardware queue. */
struct played_stream *played_stream_open(struct played_queue *queue);
void played_stream_close(struct played_stream *stream);

/* Work: arg is copied, up to PLAYED_ARG bytes. */
void played_call(struct played_stream *stream, void (*call)(const void *arg),
		 const void *arg, size_t bytes);
void played_sync(struct played_stream *stream);

void played_capture(struct played_stream *stream);
struct played_graph *played_capture_end(struct played_stream *stream);
void played_launch(struct played_stream *stream,
		   const struct played_graph *graph);
void played_graph_free(struct played_graph *graph);

/* Mistakes, for tests that they are caught; of the whole program. */
enum played_mistake {
	PLAYED_RIGHT,
	/* Waits for at least the value, and consumes nothing. */
	PLAYED_KEEPS_WORDS
};
void played_set_mistake(enum played_mistake mistake);

/* From now on the n-th call of the table fails, once; 0: none. */
void played_fail_at(unsigned n);
/* Did it? */
bool played_failed(void);

/* Mappings that are there. */
unsigned played_mapped(void);

/* Words of 32 bits, or of 64. */
void played_set_wide(bool wide);

extern const struct kvr_accelerator_stream_ops played_ops;

#endif
