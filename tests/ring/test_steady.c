/* SPDX-License-Identifier: Apache-2.0 */
/*
 * After the ring is open and the plan is made, passes and attention allocate
 * nothing, register nothing and start no thread: every such call of the
 * process is counted.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "tests/support/streamed.h"

#define RANKS 3
#define PASSES 200
#define TOKENS 96

static atomic_uint calls;

/* The linker sends the library's calls here (--wrap). */
void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
void *__real_mmap(void *at, size_t bytes, int protection, int flags, int fd,
		  off_t offset);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
			  void *(*body)(void *), void *arg);

void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);
void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd,
		  off_t offset);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
			  void *(*body)(void *), void *arg);

void *__wrap_malloc(size_t bytes)
{
	atomic_fetch_add(&calls, 1);
	return __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
	atomic_fetch_add(&calls, 1);
	return __real_calloc(count, bytes);
}

void *__wrap_realloc(void *old, size_t bytes)
{
	atomic_fetch_add(&calls, 1);
	return __real_realloc(old, bytes);
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
	atomic_fetch_add(&calls, 1);
	return __real_aligned_alloc(alignment, bytes);
}

void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd,
		  off_t offset)
{
	atomic_fetch_add(&calls, 1);
	return __real_mmap(at, bytes, protection, flags, fd, offset);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
			  void *(*body)(void *), void *arg)
{
	atomic_fetch_add(&calls, 1);
	return __real_pthread_create(thread, attr, body, arg);
}

/* ------------------------------------------------------------- bodies */

struct shared {
	pthread_barrier_t barrier;
	bool planted;
	unsigned counted;
};

/* All ranks are past their set-up, then past their passes. */
static unsigned mark(struct shared *shared)
{
	unsigned now;

	pthread_barrier_wait(&shared->barrier);
	now = atomic_load(&calls);
	pthread_barrier_wait(&shared->barrier);
	return now;
}

static void one_pass(struct rank *rank, struct kvr_memory *memory, uint64_t tag)
{
	struct kvr_segment segment = {memory, 0, 20000 + tag % 7};
	struct kvr_pass_desc desc;
	struct kvr_block block;
	struct kvr_pass *pass;

	kvr_pass_desc_init(&desc);
	kvr_block_init(&block);
	desc.tag = tag;
	desc.lane[0].segments = &segment;
	desc.lane[0].segment_count = 1;
	CHECK_STATUS(kvr_pass_begin(rank->ring, &desc, &pass), KVR_OK);
	while (kvr_pass_next(pass, 0, &block) == KVR_OK)
		CHECK_STATUS(kvr_pass_release(pass, 0, block.step), KVR_OK);
	CHECK_STATUS(kvr_pass_end(pass), KVR_OK);
}

/* What a careless caller does every pass. */
static void register_again(struct rank *rank)
{
	struct kvr_memory *memory;

	CHECK_STATUS(kvr_memory_register(rank->context, rank, sizeof(*rank),
					 &memory),
		     KVR_OK);
	kvr_memory_deregister(memory);
}

static void passes(struct rank *rank)
{
	struct shared *shared = rank->arg;
	struct kvr_memory *memory;
	static char buffer[RANKS][32768];
	unsigned before;

	CHECK_STATUS(rank->opened, KVR_OK);
	CHECK_STATUS(kvr_memory_register(rank->context, buffer[rank->rank],
					 sizeof(buffer[0]), &memory),
		     KVR_OK);
	before = mark(shared);
	for (uint64_t tag = 1; tag <= PASSES; tag++) {
		one_pass(rank, memory, tag);
		if (shared->planted && rank->rank == 1 && tag == 9)
			register_again(rank);
	}
	before = mark(shared) - before;
	if (rank->rank == 0)
		shared->counted = before;
	kvr_memory_deregister(memory);
}

static void attention(struct rank *rank)
{
	static float q[RANKS][TOKENS * 2 * 16], k[RANKS][TOKENS * 16];
	static float out[RANKS][TOKENS * 2 * 16], lse[RANKS][TOKENS * 2];
	struct shared *shared = rank->arg;
	struct kvr_plan_desc desc;
	struct kvr_range range;
	struct kvr_plan *plan;
	struct kvr_tensor tq, tk, to;
	unsigned before;
	size_t count;

	CHECK_STATUS(rank->opened, KVR_OK);
	CHECK_STATUS(kvr_ranges_contiguous(TOKENS * RANKS, rank->rank, RANKS,
					   &range, &count),
		     KVR_OK);
	kvr_plan_desc_init(&desc);
	desc.q_heads = 2;
	desc.kv_heads = 1;
	desc.head_dim = 16;
	desc.threads = 2;
	desc.q_ranges = desc.kv_ranges = &range;
	desc.q_range_count = desc.kv_range_count = 1;
	CHECK_STATUS(kvr_plan_create(rank->ring, &desc, &plan), KVR_OK);
	tq = kvr_tensor_dense(q[rank->rank], KVR_F32, TOKENS, 2, 16);
	tk = kvr_tensor_dense(k[rank->rank], KVR_F32, TOKENS, 1, 16);
	to = kvr_tensor_dense(out[rank->rank], KVR_F32, TOKENS, 2, 16);
	before = mark(shared);
	for (int i = 0; i < PASSES; i++)
		CHECK_STATUS(kvr_attention_run(plan, &tq, &tk, &tk, &to,
					       lse[rank->rank], TOKENS),
			     KVR_OK);
	before = mark(shared) - before;
	if (rank->rank == 0)
		shared->counted = before;
	kvr_plan_destroy(plan);
}

/* Put on the stream before: what progress does for it is counted. */
static void on_stream(struct rank *rank)
{
	struct gate gate = {false, false};
	struct shared *shared = rank->arg;
	struct streamed s;
	unsigned before;

	streamed_open(&s, rank);
	streamed_gate(&s, &gate);
	for (uint32_t i = 0; i < PASSES; i++)
		streamed_pass(&s, i % 2, rank->n);
	gate_await(&gate);
	before = mark(shared);
	atomic_store(&gate.open, true);
	streamed_sync(&s);
	before = mark(shared) - before;
	if (rank->rank == 0)
		shared->counted = before;
	streamed_close(&s, true);
}

static unsigned count(void (*body)(struct rank *), bool planted)
{
	struct shared shared = {.planted = planted, .counted = ~0u};
	struct ranks ranks;

	pthread_barrier_init(&shared.barrier, NULL, RANKS);
	ranks_init(&ranks, RANKS);
	ranks.transport = "shm";
	ranks.body = body;
	ranks.arg = &shared;
	ranks_run(&ranks);
	pthread_barrier_destroy(&shared.barrier);
	return shared.counted;
}

/* -------------------------------------------------------------- tests */

static void passes_back_to_back_allocate_nothing(void **state)
{
	(void)state;
	assert_int_equal(count(passes, false), 0);
}

static void attention_back_to_back_allocates_nothing(void **state)
{
	(void)state;
	assert_int_equal(count(attention, false), 0);
}

static void streams_back_to_back_allocate_nothing(void **state)
{
	(void)state;
	assert_int_equal(count(on_stream, false), 0);
}

static void counter_planted_allocation_is_seen(void **state)
{
	(void)state;
	assert_int_equal(count(passes, true), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(passes_back_to_back_allocate_nothing),
		cmocka_unit_test(attention_back_to_back_allocates_nothing),
		cmocka_unit_test(streams_back_to_back_allocate_nothing),
		cmocka_unit_test(counter_planted_allocation_is_seen),
	};

	return cmocka_run_group_tests_name("steady", tests, NULL, NULL);
}
