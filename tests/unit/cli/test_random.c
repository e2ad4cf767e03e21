/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "cli/random.h"

#define COUNT 200000

/*
 * A change of these bits would change every file of a seed. From the formula
 * in random.h, computed apart from this code with Python's integers.
 */
static void bits_of_known_arguments_never_change(void **state)
{
	(void)state;
	assert_true(random_bits(0, 0, 0) == 0xe220a8397b1dcdafu);
	assert_true(random_bits(1, 2, 3) == 0x22d3fa2967812fefu);
	assert_true(random_bits(UINT64_MAX, 1, 1ull << 40) ==
		    0x930e0e87b4562344u);
}

static void normal_has_mean_0_and_variance_1(void **state)
{
	double sum = 0, squares = 0, largest = 0, value;
	uint64_t i;

	(void)state;
	for (i = 0; i < COUNT; i++) {
		value = random_normal(7, 1, i);
		sum += value;
		squares += value * value;
		if (fabs(value) > largest)
			largest = fabs(value);
	}
	/* Five standard deviations of each estimate. */
	assert_true(fabs(sum / COUNT) < 5 / sqrt(COUNT));
	assert_true(fabs(squares / COUNT - 1) < 5 * sqrt(2.0 / COUNT));
	assert_true(largest > 3 && largest < 3.47);
}

static void streams_and_seeds_are_unrelated(void **state)
{
	double streams = 0, seeds = 0, neighbours = 0, a;
	uint64_t i;

	(void)state;
	for (i = 0; i < COUNT; i++) {
		a = random_normal(7, 0, i);
		streams += a * random_normal(7, 1, i);
		seeds += a * random_normal(8, 0, i);
		neighbours += a * random_normal(7, 0, i + 1);
	}
	assert_true(fabs(streams / COUNT) < 5 / sqrt(COUNT));
	assert_true(fabs(seeds / COUNT) < 5 / sqrt(COUNT));
	assert_true(fabs(neighbours / COUNT) < 5 / sqrt(COUNT));
}

static void bf16_rounds_to_nearest_even(void **state)
{
	(void)state;
	assert_int_equal(random_to_bf16(1.0f), 0x3f80);
	/* Halfway between 1 and 1 + 2^-7: down, to even. */
	assert_int_equal(random_to_bf16(1.00390625f), 0x3f80);
	assert_int_equal(random_to_bf16(1.00390637f), 0x3f81);
	/* Halfway between 1 + 2^-7 and 1 + 2^-6: up, to even. */
	assert_int_equal(random_to_bf16(1.01171875f), 0x3f82);
	assert_int_equal(random_to_bf16(-2.0f), 0xc000);
}

static void f16_rounds_to_nearest_even(void **state)
{
	(void)state;
	assert_int_equal(random_to_f16(1.0f), 0x3c00);
	assert_int_equal(random_to_f16(-2.0f), 0xc000);
	/* Halfway between 1 and 1 + 2^-10: down; the next half: up. */
	assert_int_equal(random_to_f16(1 + 0x1p-11f), 0x3c00);
	assert_int_equal(random_to_f16(1 + 0x1p-11f + 0x1p-23f), 0x3c01);
	assert_int_equal(random_to_f16(1 + 0x3p-11f), 0x3c02);
	/* Subnormal, and rounded up to the first that is not. */
	assert_int_equal(random_to_f16(0x1p-24f), 0x0001);
	assert_int_equal(random_to_f16(0x3p-25f), 0x0002);
	assert_int_equal(random_to_f16(-0x1p-25f), 0x8000);
	assert_int_equal(random_to_f16(0x1.fffp-15f), 0x0400);
	assert_int_equal(random_to_f16(0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bits_of_known_arguments_never_change),
		cmocka_unit_test(normal_has_mean_0_and_variance_1),
		cmocka_unit_test(streams_and_seeds_are_unrelated),
		cmocka_unit_test(bf16_rounds_to_nearest_even),
		cmocka_unit_test(f16_rounds_to_nearest_even),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
