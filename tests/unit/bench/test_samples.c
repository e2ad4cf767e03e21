/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bench/net/samples.h"

static void samples_of_one_value_are_that_value(void **state)
{
	double one[] = {7};
	struct samples s = samples_of(one, 1);

	(void)state;
	assert_true(s.min == 7 && s.max == 7 && s.average == 7);
	assert_true(s.typical == 7 && s.p99 == 7 && s.p999 == 7);
	assert_true(s.deviation == 0);
}

static void samples_of_known_values_are_those_of_the_formula(void **state)
{
	double some[] = {9, 2, 4, 5, 4, 4, 5, 7};
	struct samples s = samples_of(some, 8);

	(void)state;
	assert_true(s.min == 2 && s.max == 9 && s.average == 5);
	assert_true(s.typical == 4.5);
	/* Squares of the distances: 32; of a sample: by 7. */
	assert_true(s.deviation > 2.1380 && s.deviation < 2.1381);
}

static void samples_percentile_is_the_nearest_rank(void **state)
{
	double many[2000];
	struct samples s;

	(void)state;
	/* 1 .. 2000, backwards. */
	for (int i = 0; i < 2000; i++)
		many[i] = 2000 - i;
	s = samples_of(many, 2000);
	assert_true(s.typical == 1000.5);
	assert_true(s.p99 == 1980);
	assert_true(s.p999 == 1998);
	/* Too few for it: the largest. */
	s = samples_of(many, 50);
	assert_true(s.p999 == 50 && s.p99 == 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(samples_of_one_value_are_that_value),
		cmocka_unit_test(
			samples_of_known_values_are_those_of_the_formula),
		cmocka_unit_test(samples_percentile_is_the_nearest_rank),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
