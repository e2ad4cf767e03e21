/* SPDX-License-Identifier: Apache-2.0 */
/* Large copies: both ways copy the same, and the better one is found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "rdma/shm/endpoint.h"

#define BYTES ((size_t)70 << 10)
#define ROOM 256

static uint8_t byte_at(size_t i)
{
	return (uint8_t)(i * 7 + (i >> 8));
}

/* At every distance from a line's start, from pieces of an odd size. */
static void copy_at(enum shm_way way, size_t to, size_t from)
{
	uint8_t *source = malloc(BYTES + ROOM), *target = malloc(BYTES + ROOM);
	struct shm_copier copier = {
		.best = way, .interval = 1000, .left = 1000};
	struct kvr_piece pieces[3];
	struct kvr_gather gather = {.piece = pieces};

	assert_true(source && target);
	for (size_t i = 0; i < BYTES + ROOM; i++)
		source[i] = byte_at(i);
	memset(target, 0xee, BYTES + ROOM);
	pieces[0] = (struct kvr_piece){source + from, 33, NULL};
	pieces[1] = (struct kvr_piece){source + from + 33, 100, NULL};
	pieces[2] = (struct kvr_piece){source + from + 133, BYTES - 133, NULL};
	shm_copier_copy(&copier, &gather, target + to, BYTES);
	for (size_t i = 0; i < BYTES + ROOM; i++)
		assert_int_equal(target[i], i >= to && i < to + BYTES
						    ? byte_at(i - to + from)
						    : 0xee);
	assert_true(copier.cost[way] > 0 && copier.cost[!way] == 0);
	free(target);
	free(source);
}

static void copy_at_any_place_is_exact(void **state)
{
	(void)state;
	for (size_t to = 0; to < 130; to += 13) {
		copy_at(SHM_PLAIN, to, 130 - to);
		copy_at(SHM_STREAM, to, 130 - to);
	}
}

/*
 * Runs n copies on a machine where the ways take so long, memcpy more when
 * one of the last four copies was streamed.
 */
struct machine {
	uint64_t plain_ns, cold_ns, stream_ns;
};

static uint32_t streams(struct shm_copier *copier, uint32_t n,
			struct machine machine)
{
	uint32_t count = 0, cold = 4;

	for (uint32_t i = 0; i < n; i++) {
		uint64_t ns = machine.stream_ns;

		if (shm_copier_choose(copier) == SHM_STREAM) {
			shm_copier_note(copier, SHM_STREAM, 65536, ns);
			cold = 4;
			count++;
			continue;
		}
		ns = cold ? machine.cold_ns : machine.plain_ns;
		shm_copier_note(copier, SHM_PLAIN, 65536, ns);
		cold -= cold > 0;
	}
	return count;
}

static const struct machine plain_wins = {3000, 9000, 4000};
static const struct machine stream_wins = {9000, 9000, 4000};

static void choose_from_the_start_takes_the_faster(void **state)
{
	struct shm_copier plain = {.left = 0}, stream = {.left = 0};

	(void)state;
	assert_in_range(streams(&plain, 10000, plain_wins), 1, 200);
	assert_in_range(streams(&stream, 10000, stream_wins), 9700, 9999);
}

/* memcpy is slow at first where there was streaming: no reason to stay. */
static void choose_when_the_machine_changes_follows(void **state)
{
	struct shm_copier copier = {.left = 0};

	(void)state;
	streams(&copier, 10000, stream_wins);
	streams(&copier, 10000, plain_wins);
	assert_in_range(streams(&copier, 1000, plain_wins), 0, 50);
	streams(&copier, 10000, stream_wins);
	assert_in_range(streams(&copier, 1000, stream_wins), 950, 1000);
}

/* Half of the time everything takes twice as long, 200 copies at a stretch. */
static void note_while_the_machine_is_busy_changes_nothing(void **state)
{
	static const struct machine slow = {6000, 18000, 8000};
	struct shm_copier copier = {.left = 0};
	uint32_t count = 0;

	(void)state;
	for (uint32_t i = 0; i < 50; i++)
		count += streams(&copier, 200, i % 2 ? slow : plain_wins);
	assert_int_equal(copier.best, SHM_PLAIN);
	assert_in_range(count, 1, 400);
}

/* A copy that the scheduler cut in two says little. */
static void note_interruptions_changes_nothing(void **state)
{
	struct shm_copier copier = {.left = 0};

	(void)state;
	for (uint32_t i = 0; i < 200; i++) {
		streams(&copier, 50, plain_wins);
		shm_copier_note(&copier, SHM_PLAIN, 65536, 10000000);
	}
	assert_int_equal(copier.best, SHM_PLAIN);
	assert_in_range(copier.interval, 1024, UINT32_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(copy_at_any_place_is_exact),
		cmocka_unit_test(choose_from_the_start_takes_the_faster),
		cmocka_unit_test(choose_when_the_machine_changes_follows),
		cmocka_unit_test(
			note_while_the_machine_is_busy_changes_nothing),
		cmocka_unit_test(note_interruptions_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
