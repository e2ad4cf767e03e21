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
	struct shm_copier copier = {.cost = {2, 2}};
	struct kvr_piece pieces[3];
	struct kvr_gather gather = {.piece = pieces};

	assert_true(source && target);
	for (size_t i = 0; i < BYTES + ROOM; i++)
		source[i] = byte_at(i);
	memset(target, 0xee, BYTES + ROOM);
	pieces[0] = (struct kvr_piece){source + from, 33, NULL};
	pieces[1] = (struct kvr_piece){source + from + 33, 100, NULL};
	pieces[2] = (struct kvr_piece){source + from + 133, BYTES - 133, NULL};
	copier.cost[way] = 1;
	shm_copier_copy(&copier, &gather, target + to, BYTES);
	for (size_t i = 0; i < BYTES + ROOM; i++)
		assert_int_equal(target[i], i >= to && i < to + BYTES
						    ? byte_at(i - to + from)
						    : 0xee);
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

/* Runs n copies on a machine where the ways take so long. */
static uint32_t streams(struct shm_copier *copier, uint32_t n,
			const uint64_t ns[SHM_WAYS])
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < n; i++) {
		enum shm_way way = shm_copier_choose(copier);

		shm_copier_note(copier, way, 65536, ns[way]);
		count += way == SHM_STREAM;
	}
	return count;
}

static void choose_after_one_copy_each_takes_the_faster(void **state)
{
	struct shm_copier plain = {.left = 0}, stream = {.left = 0};

	(void)state;
	assert_int_equal(streams(&plain, 2, (uint64_t[]){3000, 4000}), 1);
	assert_in_range(streams(&plain, 2000, (uint64_t[]){3000, 4000}), 1, 12);
	assert_int_equal(streams(&stream, 2, (uint64_t[]){4000, 3000}), 1);
	assert_in_range(streams(&stream, 2000, (uint64_t[]){4000, 3000}), 1988,
			1999);
}

static void choose_when_the_machine_changes_follows(void **state)
{
	struct shm_copier copier = {.left = 0};

	(void)state;
	streams(&copier, 200, (uint64_t[]){3000, 4000});
	assert_true(streams(&copier, 1000, (uint64_t[]){9000, 4000}) > 700);
	assert_true(streams(&copier, 1000, (uint64_t[]){3000, 4000}) < 300);
}

/* A copy that the scheduler cut in two says little. */
static void note_one_interruption_changes_nothing(void **state)
{
	struct shm_copier copier = {.left = 0};

	(void)state;
	streams(&copier, 200, (uint64_t[]){3000, 4000});
	shm_copier_note(&copier, SHM_PLAIN, 65536, 10000000);
	assert_in_range(streams(&copier, 100, (uint64_t[]){3000, 4000}), 0, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(copy_at_any_place_is_exact),
		cmocka_unit_test(choose_after_one_copy_each_takes_the_faster),
		cmocka_unit_test(choose_when_the_machine_changes_follows),
		cmocka_unit_test(note_one_interruption_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
