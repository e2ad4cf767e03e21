/* SPDX-License-Identifier: Apache-2.0 */
/* The modelled device: does it see what it is there to see? */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bench/net/device.h"
#include "runtime/clock.h"

#define BYTES ((size_t)1 << 20)
#define ORIGIN 3
#define PASS 17

struct bench {
	struct device device;
	char *block;
	struct device_fault fault;
};

static int set_up(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));

	assert_non_null(b);
	b->block = aligned_alloc(4096, BYTES);
	assert_non_null(b->block);
	memset(b->block, 0x55, BYTES);
	device_init(&b->device, BYTES, 1);
	device_stamp(&b->device, b->block, ORIGIN, PASS);
	*state = b;
	return 0;
}

static int tear_down(void **state)
{
	struct bench *b = *state;

	free(b->block);
	free(b);
	return 0;
}

static bool compute(struct bench *b, uint64_t ns)
{
	return device_compute(&b->device, b->block, ORIGIN, PASS, ns,
			      &b->fault);
}

static uint64_t cpu_ns(void)
{
	struct timespec used;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
	return (uint64_t)used.tv_sec * KVR_NS_PER_S + (uint64_t)used.tv_nsec;
}

static void device_with_the_right_block_computes_without_the_cpu(void **state)
{
	const uint64_t ns = 200 * KVR_NS_PER_MS;
	uint64_t begin_ns = kvr_clock_ns(), cpu = cpu_ns();

	assert_true(compute(*state, ns));
	assert_true(kvr_clock_ns() - begin_ns >= ns);
	/* Some microseconds; the sanitizers make it more. */
	assert_true(cpu_ns() - cpu < ns / 4);
	assert_int_equal(((struct bench *)*state)->device.checks,
			 DEVICE_CHECKS);
}

static void device_with_another_block_says_so_when_it_begins(void **state)
{
	struct bench *b = *state;

	device_stamp(&b->device, b->block, ORIGIN, PASS - 1);
	assert_false(compute(b, 0));
	assert_int_equal(b->fault.check, 0);
	device_stamp(&b->device, b->block, ORIGIN + 1, PASS);
	assert_false(compute(b, KVR_NS_PER_MS));
	assert_int_equal(b->fault.check, 0);
}

/* Whichever of the 64 parts of a block it is that did not come. */
static void device_with_a_part_missing_says_so(void **state)
{
	struct bench *b = *state;
	const size_t part = BYTES / DEVICE_SAMPLES;
	char *kept = malloc(part);

	assert_non_null(kept);
	for (size_t i = 0; i < DEVICE_SAMPLES; i++) {
		memcpy(kept, b->block + i * part, part);
		memset(b->block + i * part, 0, part);
		assert_false(compute(b, 0));
		memcpy(b->block + i * part, kept, part);
		assert_true(compute(b, 0));
	}
	free(kept);
}

struct writer {
	struct bench *bench;
	uint64_t at_ns;
};

/* A prev without a credit: it writes its next block, from the front. */
static void *write_next_block(void *arg)
{
	const struct writer *w = arg;
	struct timespec at = kvr_clock_timespec(w->at_ns);
	uint64_t *words = (uint64_t *)(void *)w->bench->block;

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
	for (size_t i = 0; i < BYTES / 8; i++)
		__atomic_store_n(&words[i], i, __ATOMIC_RELAXED);
	return NULL;
}

static void device_overwritten_by_another_thread_says_when(void **state)
{
	struct bench *b = *state;
	struct writer w = {b, kvr_clock_ns() + 50 * KVR_NS_PER_MS};
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, write_next_block, &w),
			 0);
	assert_false(compute(b, 600 * KVR_NS_PER_MS));
	pthread_join(thread, NULL);
	assert_true(b->fault.check > 0);
}

static void device_planted_overwrite_is_found_while_it_computes(void **state)
{
	struct bench *b = *state;

	b->device.plant = true;
	assert_false(compute(b, KVR_NS_PER_MS));
	assert_int_equal(b->fault.check, 1);
}

static void device_samples_lie_in_the_block_whatever_its_size(void **state)
{
	static const size_t sizes[] = {64, 65, 72, 511, 4096, 1000003};
	struct device device;

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		device_init(&device, sizes[i], 0);
		assert_true(device.samples > 0);
		for (size_t j = 0; j < device.samples; j++) {
			assert_true(device.place[j] + 8 <= sizes[i]);
			assert_int_equal(device.place[j] % 8, 0);
			assert_true(j == 0 ||
				    device.place[j] > device.place[j - 1]);
		}
	}
}

static void device_jitter_stays_within_its_part(void **state)
{
	struct bench *b = *state;
	uint64_t least = UINT64_MAX, most = 0;

	for (int i = 0; i < 10000; i++) {
		uint64_t ns = device_vary(&b->device, 1000000, 0.25);

		least = ns < least ? ns : least;
		most = ns > most ? ns : most;
	}
	assert_in_range(least, 750000, 760000);
	assert_in_range(most, 1240000, 1250000);
	assert_int_equal(device_vary(&b->device, 1000000, 0), 1000000);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(device_with_the_right_block_computes_without_the_cpu),
		TEST(device_with_another_block_says_so_when_it_begins),
		TEST(device_with_a_part_missing_says_so),
		TEST(device_overwritten_by_another_thread_says_when),
		TEST(device_planted_overwrite_is_found_while_it_computes),
		TEST(device_samples_lie_in_the_block_whatever_its_size),
		TEST(device_jitter_stays_within_its_part),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
