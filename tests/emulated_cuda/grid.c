/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a grid: block after block, each CUDA thread a fiber that runs until it
 * waits at a barrier or for its warp. One block of the process at a time: a
 * kernel's static shared variables are plain static ones.
 *
 * For the thread sanitizer blocks are concurrent all the same. The launching
 * stream S makes an identity B per block, B one per thread T; all T of a block
 * release to B, all B to S, and nothing orders one block after another.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/emulated_cuda/device_abi.h"
#include "tests/emulated_cuda/fiber.h"
#include "tests/emulated_cuda/internal.h"

#define WARP 32
#define CANARY_BYTES 256
#define CANARY 0xc5
#define SHARED_ALIGN 128

EMU_EXPORT _Thread_local uint3 threadIdx, blockIdx, blockDim, gridDim;

enum state { READY, AT_BARRIER, AT_WARP, LEFT };

struct thread {
	struct emu_fiber fiber;
	enum state state;
	unsigned index; /* linear */
	uint3 at;
	const char *file; /* where it waits */
	int line;
};

/* Lanes that exchange values under one mask. */
struct meeting {
	uint32_t mask, arrived;
	unsigned generation;
	char order[2]; /* for the sanitizer: this generation, the next */
	uint64_t brought[WARP], result[WARP];
};

struct warp {
	struct meeting *meetings;
	size_t count;
};

struct block {
	struct emu_fiber scheduler;
	const struct emu_launch *launch;
	void **args;
	struct thread *threads;
	struct warp *warps;
	unsigned count, waiting, left;
	unsigned phase;
	char order[2], end;
	long sum[2]; /* of __syncthreads_count and its like */
	unsigned char *shared;
	uint64_t random;
};

static pthread_mutex_t one_block = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local struct block *current;
static _Thread_local struct thread *self;

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* A permutation of 0 .. count-1 as the tests want it. */
static void arrange(unsigned *order, unsigned count, uint64_t *random)
{
	uint64_t seed;
	enum kvr_emulated_order kind = emu_order(&seed);

	for (unsigned i = 0; i < count; i++)
		order[i] = kind == KVR_EMULATED_REVERSE ? count - 1 - i : i;
	if (kind != KVR_EMULATED_RANDOM)
		return;
	for (unsigned i = count; i > 1; i--) {
		unsigned j = (unsigned)(next_random(random) % i);
		unsigned other = order[i - 1];

		order[i - 1] = order[j];
		order[j] = other;
	}
}

static void yield(enum state state, const char *file, int line)
{
	struct thread *mine = self;

	mine->state = state;
	mine->file = file;
	mine->line = line;
	emu_fiber_switch(&mine->fiber, &current->scheduler);
}

static void thread_main(void *argument)
{
	struct thread *thread = argument;
	struct block *block = current;

	emu_thread_began();
	block->launch->invoke(block->launch->function, block->args);
	thread->state = LEFT;
	block->left++;
	emu_release(&block->end);
	emu_fiber_leave(&thread->fiber, &block->scheduler);
}

static void barrier(long value, const char *file, int line)
{
	struct block *block = current;
	unsigned phase = block->phase;

	block->sum[phase & 1] += value;
	emu_release(&block->order[phase & 1]);
	block->waiting++;
	yield(AT_BARRIER, file, line);
	emu_acquire(&block->order[phase & 1]);
}

EMU_EXPORT void kvr_emulated_barrier(const char *file, int line)
{
	barrier(0, file, line);
}

EMU_EXPORT int kvr_emulated_barrier_count(int predicate, const char *file,
					  int line)
{
	unsigned phase = current->phase;

	barrier(predicate != 0, file, line);
	return (int)current->sum[phase & 1];
}

static struct meeting *meeting_of(struct warp *warp, uint32_t mask)
{
	struct meeting *found;

	for (size_t i = 0; i < warp->count; i++)
		if (warp->meetings[i].mask == mask)
			return &warp->meetings[i];
	if (warp->count == WARP)
		emu_abort("a warp used more than %d masks in one block", WARP);
	if (!warp->meetings)
		warp->meetings = emu_new(WARP, sizeof(*warp->meetings));
	if (!warp->count) /* no lane's: all read results in it */
		emu_forget(warp->meetings, WARP * sizeof(*warp->meetings));
	found = &warp->meetings[warp->count++];
	found->mask = mask;
	return found;
}

static uint32_t members(const struct block *block, unsigned warp, uint32_t mask)
{
	unsigned rest = block->count - warp * WARP;

	return rest < WARP ? mask & ((1U << rest) - 1) : mask;
}

static void meet(struct block *block, unsigned warp, struct meeting *meeting)
{
	for (unsigned lane = 0; lane < WARP; lane++)
		if (meeting->arrived >> lane & 1 &&
		    &block->threads[warp * WARP + lane] != self)
			block->threads[warp * WARP + lane].state = READY;
	memcpy(meeting->result, meeting->brought, sizeof(meeting->result));
	meeting->arrived = 0;
	meeting->generation++;
}

EMU_EXPORT const uint64_t *kvr_emulated_meet(uint32_t mask, uint64_t value,
					     int ordered, const char *file,
					     int line)
{
	unsigned index = self->index, warp = index / WARP, lane = index % WARP;
	struct meeting *meeting;
	unsigned generation;

	if (!(mask >> lane & 1))
		emu_abort("%s:%d: lane %u is not in its own mask 0x%x", file,
			  line, lane, mask);
	mask = members(current, warp, mask);
	meeting = meeting_of(&current->warps[warp], mask);
	generation = meeting->generation;
	if (ordered)
		emu_release(&meeting->order[generation & 1]);
	meeting->brought[lane] = value;
	meeting->arrived |= 1U << lane;
	if (meeting->arrived == mask)
		meet(current, warp, meeting);
	else
		yield(AT_WARP, file, line);
	if (ordered)
		emu_acquire(&meeting->order[generation & 1]);
	return meeting->result;
}

EMU_EXPORT void *kvr_emulated_shared(void)
{
	return current->shared;
}

EMU_EXPORT unsigned kvr_emulated_thread(void)
{
	return self->index;
}

static void describe(const struct thread *thread, char *out, size_t size)
{
	if (thread->state == LEFT)
		snprintf(out, size, "thread %u has left the kernel",
			 thread->index);
	else
		snprintf(out, size, "thread %u waits %s at %s:%d",
			 thread->index,
			 thread->state == AT_WARP ? "for its warp"
						  : "at a barrier",
			 thread->file, thread->line);
}

static bool same_place(const struct thread *a, const struct thread *b)
{
	return a->state == b->state &&
	       (a->state == LEFT ||
		(a->line == b->line && strcmp(a->file, b->file) == 0));
}

/* Nobody can go on: says who waits where. */
static _Noreturn void stuck(const struct block *block)
{
	const struct thread *one = block->threads, *other = one;
	char first[256], second[256];

	for (unsigned i = 0; i < block->count && same_place(one, other); i++)
		other = &block->threads[i];
	describe(one, first, sizeof(first));
	describe(other, second, sizeof(second));
	emu_abort("divergent barrier in block (%u,%u,%u): %s, %s", blockIdx.x,
		  blockIdx.y, blockIdx.z, first, second);
}

/* All wait at one barrier, or it is an error. */
static void open_barrier(struct block *block)
{
	if (block->waiting < block->count)
		stuck(block);
	for (unsigned i = 1; i < block->count; i++)
		if (!same_place(&block->threads[0], &block->threads[i]))
			stuck(block);
	for (unsigned i = 0; i < block->count; i++)
		block->threads[i].state = READY;
	block->waiting = 0;
	block->phase++;
	block->sum[block->phase & 1] = 0;
}

static void schedule(struct block *block, unsigned *order)
{
	while (block->left < block->count) {
		bool ran = false;

		arrange(order, block->count, &block->random);
		for (unsigned i = 0; i < block->count; i++) {
			struct thread *thread = &block->threads[order[i]];

			if (thread->state != READY)
				continue;
			self = thread;
			threadIdx = thread->at;
			emu_fiber_switch(&block->scheduler, &thread->fiber);
			ran = true;
		}
		if (!ran)
			open_barrier(block);
	}
}

/* Fresh for every block, never zero; with a guard where no sanitizer is. */
static void shared_open(struct block *block)
{
	size_t size = block->launch->shared;
	void *at;

#if defined(__SANITIZE_ADDRESS__)
	if (posix_memalign(&at, SHARED_ALIGN, size) != 0)
		emu_abort("no memory for shared memory");
	block->shared = at;
	memset(at, 0xff, size);
#else
	if (posix_memalign(&at, SHARED_ALIGN, size + CANARY_BYTES) != 0)
		emu_abort("no memory for shared memory");
	block->shared = at;
	memset(block->shared, 0xff, size);
	memset(block->shared + size, CANARY, CANARY_BYTES);
#endif
}

static void shared_close(struct block *block)
{
#if !defined(__SANITIZE_ADDRESS__)
	size_t size = block->launch->shared;

	for (size_t i = size; i < size + CANARY_BYTES; i++)
		if (block->shared[i] != CANARY)
			emu_abort("block (%u,%u,%u) wrote at byte %zu of %zu "
				  "bytes of dynamic shared memory",
				  blockIdx.x, blockIdx.y, blockIdx.z, i, size);
#endif
	free(block->shared);
}

static struct block *block_new(const struct emu_launch *launch, void **args)
{
	struct block *block = emu_new(1, sizeof(*block));
	uint3 dim = launch->block;

	block->launch = launch;
	block->args = args;
	block->count = dim.x * dim.y * dim.z;
	block->threads = emu_new(block->count, sizeof(*block->threads));
	block->warps = emu_new((block->count + WARP - 1) / WARP,
			       sizeof(*block->warps));
	emu_fiber_adopt(&block->scheduler);
	shared_open(block); /* before its users are made */
	for (unsigned i = 0; i < block->count; i++) {
		struct thread *thread = &block->threads[i];

		thread->index = i;
		thread->at.x = i % dim.x;
		thread->at.y = i / dim.x % dim.y;
		thread->at.z = i / dim.x / dim.y;
		emu_fiber_open(&thread->fiber, thread_main, thread);
	}
	return block;
}

static void block_free(struct block *block)
{
	emu_acquire(&block->end);
	shared_close(block);
	for (unsigned i = 0; i < block->count; i++)
		emu_fiber_close(&block->threads[i].fiber);
	emu_fiber_disown(&block->scheduler);
	for (unsigned i = 0; i < (block->count + WARP - 1) / WARP; i++)
		free(block->warps[i].meetings);
	free(block->warps);
	free(block->threads);
	free(block);
}

static void block_run(const struct emu_launch *launch, void **args,
		      uint64_t random)
{
	unsigned *order;

	current = block_new(launch, args);
	current->random = random;
	order = emu_new(current->count, sizeof(*order));
	schedule(current, order);
	free(order);
	block_free(current);
	current = NULL;
}

static void lock_block(void)
{
	emu_identity_leave();
	pthread_mutex_lock(&one_block);
	emu_identity_enter();
}

static void unlock_block(void)
{
	emu_identity_leave();
	pthread_mutex_unlock(&one_block);
	emu_identity_enter();
}

static void run_at(const struct emu_launch *launch, void **args, unsigned index,
		   char *end)
{
	void *stream = emu_identity_now(), *identity = emu_identity_new();
	uint64_t seed;

	emu_order(&seed);
	blockDim = launch->block;
	gridDim = launch->grid;
	blockIdx.x = index % gridDim.x;
	blockIdx.y = index / gridDim.x % gridDim.y;
	blockIdx.z = index / gridDim.x / gridDim.y;
	lock_block();
	emu_identity_switch(identity);
	emu_statics_forget(launch->function);
	block_run(launch, args, (seed + index + 1) * 0x9e3779b97f4a7c15U | 1);
	emu_release(end);
	emu_identity_switch(stream);
	emu_identity_free(identity);
	unlock_block();
}

/*
 * The arguments are copied once more, by this identity: the kernel's reads
 * must not be seen to race with whoever frees the operation.
 */
static void **arguments_new(const struct emu_launch *launch)
{
	void **args = emu_new(1, (launch->count + 1) * sizeof(void *) +
					 launch->bytes + 16);
	unsigned char *data;

	data = (unsigned char *)(args + launch->count);
	data += -(uintptr_t)data & 15;
	emu_copy_quiet(data, launch->data, launch->bytes);
	for (size_t i = 0; i < launch->count; i++)
		args[i] = data + launch->at[i];
	return args;
}

void emu_grid_run(const struct emu_launch *launch)
{
	unsigned count = launch->grid.x * launch->grid.y * launch->grid.z;
	unsigned *order = emu_new(count, sizeof(*order));
	void **args = arguments_new(launch);
	char *end = emu_new(1, 1);
	uint64_t random;

	emu_order(&random);
	random = random * 0x9e3779b97f4a7c15U | 1;
	arrange(order, count, &random);
	for (unsigned i = 0; i < count; i++)
		run_at(launch, args, order[i], end);
	emu_acquire(end);
	free(end);
	free(args);
	free(order);
}
