/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/parse.h"

static void number_in_range_is_read(void **state)
{
	uint64_t out = 0;

	(void)state;
	assert_true(parse_number("0", 0, 9, &out));
	assert_int_equal(out, 0);
	assert_true(parse_number("18446744073709551615", 0, UINT64_MAX, &out));
	assert_true(out == UINT64_MAX);
}

static void number_of_nonsense_is_refused(void **state)
{
	static const char *const bad[] = {"",
					  "-1",
					  "+1",
					  " 1",
					  "1 ",
					  "1x",
					  "0x10",
					  "1.5",
					  "ten",
					  "11",
					  "0",
					  "1e3",
					  "18446744073709551616"};
	uint64_t out = 77;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_false(parse_number(bad[i], 1, 10, &out));
	assert_int_equal(out, 77);
}

static void bytes_with_suffix_are_multiplied(void **state)
{
	uint64_t out;

	(void)state;
	assert_true(parse_bytes("3", 1, 1 << 30, &out));
	assert_int_equal(out, 3);
	assert_true(parse_bytes("64K", 1, 1 << 30, &out));
	assert_int_equal(out, 65536);
	assert_true(parse_bytes("2m", 1, 1 << 30, &out));
	assert_int_equal(out, 2 << 20);
	assert_true(parse_bytes("1G", 1, 1 << 30, &out));
	assert_int_equal(out, 1 << 30);
}

static void bytes_of_nonsense_are_refused(void **state)
{
	static const char *const bad[] = {"K",	 "1KB", "1T",
					  "1 K", "0K",	"2G",
					  "",	 "-1K", "18014398509481984K"};
	uint64_t out;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_false(parse_bytes(bad[i], 1, 1 << 30, &out));
}

static void real_in_range_is_read(void **state)
{
	double out;

	(void)state;
	assert_true(parse_real("-0.125", -1, 1, &out));
	assert_true(out == -0.125);
	assert_true(parse_real("1e2", 0, 100, &out));
	assert_true(out == 100);
}

static void real_of_nonsense_is_refused(void **state)
{
	static const char *const bad[] = {"",	  "nan", "inf", "0x1p3", "1,5",
					  "1.5s", " 1",	 "101", "1e999"};
	double out;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_false(parse_real(bad[i], 0, 100, &out));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(number_in_range_is_read),
		cmocka_unit_test(number_of_nonsense_is_refused),
		cmocka_unit_test(bytes_with_suffix_are_multiplied),
		cmocka_unit_test(bytes_of_nonsense_are_refused),
		cmocka_unit_test(real_in_range_is_read),
		cmocka_unit_test(real_of_nonsense_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
