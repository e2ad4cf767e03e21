/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/played.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/clock.h"
#include "tests/support/ranks.h"

/* A wait that is never over ends the program, not the patience of a suite. */
#define PATIENCE_NS (UINT64_C(60) * 1000000000)

enum kind { WAIT, WRITE, CALL };

struct op {
	enum kind kind;
	void *word;
	bool wide;
	uint32_t value;
	void (*call)(const void *arg);
	_Alignas(16) char arg[PLAYED_ARG];
};

struct list {
	struct op *op;
	size_t count, room;
};

struct played_queue {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct list list;
	size_t done;
	bool closing;
};

struct played_stream {
	struct played_queue *queue;
	struct played_graph *capturing;
};

struct played_graph {
	struct list list;
};

static _Atomic enum played_mistake mistake;
static atomic_uint fail_in, mapped;
static atomic_bool failed, narrow;

void played_set_mistake(enum played_mistake which)
{
	atomic_store(&mistake, which);
}

void played_set_wide(bool wide)
{
	atomic_store(&narrow, !wide);
}

void played_fail_at(unsigned n)
{
	atomic_store(&failed, false);
	atomic_store(&fail_in, n);
}

unsigned played_mapped(void)
{
	return atomic_load(&mapped);
}

bool played_failed(void)
{
	return atomic_load(&failed);
}

static bool fails(char *reason, size_t bytes)
{
	unsigned left = atomic_load(&fail_in);

	if (!left)
		return false;
	atomic_store(&fail_in, left - 1);
	if (left > 1)
		return false;
	atomic_store(&failed, true);
	snprintf(reason, bytes, "played: it fails, as told");
	return true;
}

static void append(struct list *list, const struct op *op)
{
	if (list->count == list->room) {
		list->room = list->room ? 2 * list->room : 64;
		list->op = realloc(list->op, list->room * sizeof(*op));
		CHECK(list->op);
	}
	list->op[list->count++] = *op;
}

/* ---------------------------------------------------------------- queue */

static uint64_t load(const struct op *op)
{
	if (op->wide)
		return atomic_load_explicit((_Atomic uint64_t *)op->word,
					    memory_order_acquire);
	return atomic_load_explicit((_Atomic uint32_t *)op->word,
				    memory_order_acquire);
}

static void store(const struct op *op)
{
	if (op->wide)
		atomic_store_explicit((_Atomic uint64_t *)op->word, op->value,
				      memory_order_release);
	else
		atomic_store_explicit((_Atomic uint32_t *)op->word, op->value,
				      memory_order_release);
}

static bool satisfied(const struct op *op)
{
	if (atomic_load(&mistake) == PLAYED_KEEPS_WORDS)
		return load(op) >= op->value;
	return load(op) == op->value;
}

static void run(const struct op *op)
{
	const struct timespec pause = {.tv_nsec = 20000};
	uint64_t deadline_ns = kvr_clock_ns() + PATIENCE_NS;

	switch (op->kind) {
	case WAIT:
		while (!satisfied(op)) {
			CHECK(kvr_clock_ns() < deadline_ns);
			nanosleep(&pause, NULL);
		}
		break;
	case WRITE:
		if (op->value || atomic_load(&mistake) != PLAYED_KEEPS_WORDS)
			store(op);
		break;
	case CALL:
		op->call(op->arg);
		break;
	}
}

static void *queue_main(void *arg)
{
	struct played_queue *queue = arg;

	pthread_mutex_lock(&queue->lock);
	for (;;) {
		struct op op;

		if (queue->done < queue->list.count) {
			op = queue->list.op[queue->done];
			pthread_mutex_unlock(&queue->lock);
			run(&op);
			pthread_mutex_lock(&queue->lock);
			queue->done++;
			pthread_cond_broadcast(&queue->changed);
		} else if (queue->closing) {
			break;
		} else {
			pthread_cond_wait(&queue->changed, &queue->lock);
		}
	}
	pthread_mutex_unlock(&queue->lock);
	return NULL;
}

struct played_queue *played_queue_open(void)
{
	struct played_queue *queue = calloc(1, sizeof(*queue));

	CHECK(queue);
	pthread_mutex_init(&queue->lock, NULL);
	pthread_cond_init(&queue->changed, NULL);
	CHECK(!pthread_create(&queue->thread, NULL, queue_main, queue));
	return queue;
}

void played_queue_close(struct played_queue *queue)
{
	pthread_mutex_lock(&queue->lock);
	queue->closing = true;
	pthread_cond_broadcast(&queue->changed);
	pthread_mutex_unlock(&queue->lock);
	pthread_join(queue->thread, NULL);
	pthread_cond_destroy(&queue->changed);
	pthread_mutex_destroy(&queue->lock);
	free(queue->list.op);
	free(queue);
}

/* --------------------------------------------------------------- stream */

struct played_stream *played_stream_open(struct played_queue *queue)
{
	struct played_stream *stream = calloc(1, sizeof(*stream));

	CHECK(stream);
	stream->queue = queue;
	return stream;
}

void played_stream_close(struct played_stream *stream)
{
	CHECK(!stream->capturing);
	free(stream);
}

static void put(struct played_stream *stream, const struct op *op)
{
	struct played_queue *queue = stream->queue;

	if (stream->capturing) {
		append(&stream->capturing->list, op);
		return;
	}
	pthread_mutex_lock(&queue->lock);
	append(&queue->list, op);
	pthread_cond_broadcast(&queue->changed);
	pthread_mutex_unlock(&queue->lock);
}

void played_call(struct played_stream *stream, void (*call)(const void *arg),
		 const void *arg, size_t bytes)
{
	struct op op = {.kind = CALL, .call = call};

	CHECK(bytes <= sizeof(op.arg));
	memcpy(op.arg, arg, bytes);
	put(stream, &op);
}

/* All that was on the queue by now. */
void played_sync(struct played_stream *stream)
{
	struct played_queue *queue = stream->queue;
	size_t count;

	pthread_mutex_lock(&queue->lock);
	count = queue->list.count;
	while (queue->done < count)
		pthread_cond_wait(&queue->changed, &queue->lock);
	pthread_mutex_unlock(&queue->lock);
}

void played_capture(struct played_stream *stream)
{
	CHECK(!stream->capturing);
	stream->capturing = calloc(1, sizeof(*stream->capturing));
	CHECK(stream->capturing);
}

struct played_graph *played_capture_end(struct played_stream *stream)
{
	struct played_graph *graph = stream->capturing;

	stream->capturing = NULL;
	return graph;
}

void played_launch(struct played_stream *stream,
		   const struct played_graph *graph)
{
	for (size_t i = 0; i < graph->list.count; i++)
		put(stream, &graph->list.op[i]);
}

void played_graph_free(struct played_graph *graph)
{
	free(graph->list.op);
	free(graph);
}

/* ---------------------------------------------------------------- table */

static enum kvr_status words_open(size_t bytes,
				  struct kvr_accelerator_words *out,
				  char *reason, size_t reason_bytes)
{
	void *host;

	if (fails(reason, reason_bytes))
		return KVR_ERR_DEVICE;
	host = aligned_alloc(64, (bytes + 63) / 64 * 64);
	CHECK(host);
	memset(host, 0, bytes);
	*out = (struct kvr_accelerator_words){
		.host = host,
		.device = (uint64_t)(uintptr_t)host,
		.wide = !atomic_load(&narrow),
	};
	return KVR_OK;
}

static void words_close(struct kvr_accelerator_words *words)
{
	free(words->host);
}

/* Threads reach all that the process does. */
static enum kvr_status map(void *host, size_t bytes,
			   struct kvr_accelerator_mapping *out, char *reason,
			   size_t reason_bytes)
{
	(void)bytes;
	if (fails(reason, reason_bytes))
		return KVR_ERR_DEVICE;
	*out = (struct kvr_accelerator_mapping){host, host, true};
	atomic_fetch_add(&mapped, 1);
	return KVR_OK;
}

static void unmap(struct kvr_accelerator_mapping *mapping)
{
	if (mapping->ours)
		atomic_fetch_sub(&mapped, 1);
}

static enum kvr_status put_word(enum kind kind,
				const struct kvr_accelerator_words *words,
				size_t offset, uint32_t value, void *stream,
				char *reason, size_t reason_bytes)
{
	const struct op op = {
		.kind = kind,
		.word = (char *)(uintptr_t)words->device + offset,
		.wide = words->wide,
		.value = value,
	};

	if (fails(reason, reason_bytes))
		return KVR_ERR_DEVICE;
	put(stream, &op);
	return KVR_OK;
}

static enum kvr_status word_wait(const struct kvr_accelerator_words *words,
				 size_t offset, uint32_t value, void *stream,
				 char *reason, size_t reason_bytes)
{
	return put_word(WAIT, words, offset, value, stream, reason,
			reason_bytes);
}

static enum kvr_status word_write(const struct kvr_accelerator_words *words,
				  size_t offset, uint32_t value, void *stream,
				  char *reason, size_t reason_bytes)
{
	return put_word(WRITE, words, offset, value, stream, reason,
			reason_bytes);
}

static enum kvr_status capturing(void *stream, bool *out, char *reason,
				 size_t reason_bytes)
{
	const struct played_stream *s = stream;

	if (fails(reason, reason_bytes))
		return KVR_ERR_DEVICE;
	*out = s->capturing != NULL;
	return KVR_OK;
}

const struct kvr_accelerator_stream_ops played_ops = {
	.words_open = words_open,
	.words_close = words_close,
	.map = map,
	.unmap = unmap,
	.wait = word_wait,
	.write = word_write,
	.capturing = capturing,
};
