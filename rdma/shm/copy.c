/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two ways to copy a large piece, and which is better is found by doing both.
 *
 * memcpy first fetches each line that it overwrites, unless this CPU's cache
 * owns it. Streaming stores do not, but leave nothing in the cache. A landing
 * slot that its receiver has read is in the other CPU's cache, and streaming
 * is several times as fast; one that nobody has read since the last write is
 * still in ours, and memcpy is. How much either costs depends on the machine
 * as well, so the endpoint keeps the time of both and now and then tries the
 * one that lost.
 */
#include <string.h>
#include <time.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "rdma/shm/endpoint.h"

/* Nothing smaller is worth two looks at the clock. */
#define MEASURED_BYTES ((size_t)64 << 10)

/*
 * The way that lost is tried again after so many copies: soon after it lost,
 * which may have been by chance, later ever more rarely. A trial is long
 * enough to come back to the same memory, for what streaming has written is
 * in nobody's cache, and the first memcpy over it is slow.
 */
#define TRIAL_COPIES 16
#define TRIAL_FIRST 32
#define TRIAL_LAST 4096

#ifdef __SSE2__

#define LINE 64

static void stream_line(uint8_t *to, const uint8_t *from)
{
	for (int i = 0; i < LINE; i += 16)
		_mm_stream_si128(
			(__m128i *)(void *)(to + i),
			_mm_loadu_si128(
				(const __m128i *)(const void *)(from + i)));
}

static void stream(void *to, const void *from, size_t bytes)
{
	const uint8_t *source = from;
	uint8_t *target = to;
	size_t head = -(uintptr_t)target % LINE;

	if (head > bytes)
		head = bytes;
	memcpy(target, source, head);
	for (; head + LINE <= bytes; head += LINE)
		stream_line(target + head, source + head);
	memcpy(target + head, source + head, bytes - head);
	/* Before the immediate: later stores do not wait for these. */
	_mm_sfence();
}

#else

static void stream(void *to, const void *from, size_t bytes)
{
	memcpy(to, from, bytes);
}

#endif

static void copy_plain(void *to, const void *from, size_t bytes)
{
	memcpy(to, from, bytes);
}

static uint64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void end_trial(struct shm_copier *copier)
{
	uint64_t *cost = copier->cost;

	copier->trying = false;
	if (cost[!copier->best] < cost[copier->best]) {
		copier->best = !copier->best;
		copier->interval = TRIAL_FIRST;
	} else {
		/* From here on anew: the machine may have changed. */
		cost[copier->best] = 0;
		if (copier->interval < TRIAL_LAST)
			copier->interval *= 2;
	}
	copier->left = copier->interval;
}

enum shm_way shm_copier_choose(struct shm_copier *copier)
{
	if (copier->interval == 0) {
		copier->interval = copier->left = TRIAL_FIRST;
	} else if (copier->left == 0 && copier->trying) {
		end_trial(copier);
	} else if (copier->left == 0) {
		copier->trying = true;
		copier->left = TRIAL_COPIES;
		copier->cost[!copier->best] = 0;
	}
	copier->left--;
	return copier->trying ? !copier->best : copier->best;
}

/*
 * The least, of a trial or of the time between two: whatever else the machine
 * does only ever adds. Averages of a busy one would send us to and fro.
 */
void shm_copier_note(struct shm_copier *copier, enum shm_way way, size_t bytes,
		     uint64_t ns)
{
	uint64_t *cost = &copier->cost[way];
	uint64_t now = ns * 1024 / bytes + 1;

	if (*cost == 0 || now < *cost)
		*cost = now;
}

void shm_copier_copy(struct shm_copier *copier, struct kvr_gather *gather,
		     void *to, size_t bytes)
{
	static const kvr_copy_fn ways[SHM_WAYS] = {
		[SHM_PLAIN] = copy_plain, [SHM_STREAM] = stream};
	enum shm_way way;
	uint64_t begin_ns;

	if (bytes < MEASURED_BYTES) {
		kvr_gather_copy(gather, to, bytes);
		return;
	}
	way = shm_copier_choose(copier);
	begin_ns = clock_ns();
	kvr_gather_copy_by(gather, to, bytes, ways[way]);
	shm_copier_note(copier, way, bytes, clock_ns() - begin_ns);
}
