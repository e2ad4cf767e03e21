/* SPDX-License-Identifier: Apache-2.0 */
/* Conversions from and to e4m3, one by one and by every kernel: same bits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "compute/cpu/cpu.h"
#include "compute/cpu/kernel.h"
#include "runtime/e4m3.h"

/* As the specification has it: bias 7, three bits of mantissa. */
static double value_of(uint8_t code)
{
	int exponent = code >> 3 & 15, mantissa = code & 7;
	double size = exponent ? ldexp(8 + mantissa, exponent - 10)
			       : ldexp(mantissa, -9);

	return code & 0x80 ? -size : size;
}

static uint32_t bits_of(float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

static void e4m3_every_code_there_and_back(void **state)
{
	(void)state;
	for (int i = 0; i < 256; i++) {
		uint8_t code = (uint8_t)i;
		float value = kvr_e4m3_to_f32(code);

		if ((code & 0x7f) == 0x7f)
			assert_true(isnan(value));
		else
			assert_true((double)value == value_of(code));
		assert_int_equal(kvr_e4m3_from_f32(value), code);
		assert_int_equal(signbit(value) != 0, code >> 7);
	}
}

/* On either side of each middle, and on it. */
static void e4m3_rounds_to_nearest_even(void **state)
{
	(void)state;
	for (uint8_t code = 0; code < 0x7e; code++) {
		double middle = (value_of(code) + value_of(code + 1)) / 2;
		float at = (float)middle;
		uint8_t even = code % 2 ? code + 1 : code;

		assert_true((double)at == middle);
		assert_int_equal(kvr_e4m3_from_f32(at), even);
		assert_int_equal(kvr_e4m3_from_f32(-at), even | 0x80);
		assert_int_equal(kvr_e4m3_from_f32(nextafterf(at, 0)), code);
		assert_int_equal(kvr_e4m3_from_f32(nextafterf(at, 1000)),
				 code + 1);
	}
}

static void e4m3_beyond_448_is_448_and_no_number_stays_none(void **state)
{
	static const float large[] = {448, 464, 480, 1e9f, 0x1.fffffep127f};

	(void)state;
	for (size_t i = 0; i < 5; i++) {
		assert_int_equal(kvr_e4m3_from_f32(large[i]), 0x7e);
		assert_int_equal(kvr_e4m3_from_f32(-large[i]), 0xfe);
	}
	assert_int_equal(kvr_e4m3_from_f32(INFINITY), 0x7f);
	assert_int_equal(kvr_e4m3_from_f32(-INFINITY), 0xff);
	assert_int_equal(kvr_e4m3_from_f32(NAN) & 0x7f, 0x7f);
	assert_int_equal(kvr_e4m3_from_f32(0x1p-149f), 0);
	assert_int_equal(kvr_e4m3_from_f32(-0.0f), 0x80);
}

static void e4m3_scale_of_nothing_is_1(void **state)
{
	(void)state;
	assert_true(kvr_e4m3_scale(0) == 1);
	assert_true(kvr_e4m3_scale(0x1p-149f) == 1);
	assert_true(kvr_e4m3_scale(448) == 1);
	assert_true(kvr_e4m3_scale(-0.0f) == 1);
	assert_true(kvr_e4m3_scale(1) == 1 / 448.0f);
}

static void check_kernel(const struct kvr_compute_ops *ops,
			 const struct kvr_cpu_kernel *kernel)
{
	static const float scales[] = {1, 0x1.234566p-3f, 3.1415927e20f,
				       0x1p-140f};
	uint8_t codes[257];
	float out[256];
	char reason[160];

	if (ops->probe(reason, sizeof(reason)) != KVR_OK) {
		print_message("%s left out: %s\n", ops->name, reason);
		return;
	}
	/* At an odd address, as panels of a block may not be. */
	for (int i = 0; i < 256; i++)
		codes[i + 1] = (uint8_t)i;
	for (size_t s = 0; s < 4; s++) {
		kernel->widen_e4m3(codes + 1, scales[s], out, 256);
		for (int i = 0; i < 256; i++) {
			float one = kvr_e4m3_to_f32((uint8_t)i) * scales[s];

			if (isnan(one))
				assert_true(isnan(out[i]));
			else
				assert_int_equal(bits_of(out[i]), bits_of(one));
		}
	}
}

static void e4m3_every_kernel_widens_alike(void **state)
{
	(void)state;
	check_kernel(&kvr_cpu_portable, &kvr_cpu_kernel_portable);
#if defined(__x86_64__)
	check_kernel(&kvr_cpu_avx2, &kvr_cpu_kernel_avx2);
	check_kernel(&kvr_cpu_avx512, &kvr_cpu_kernel_avx512);
#endif
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(e4m3_every_code_there_and_back),
		cmocka_unit_test(e4m3_rounds_to_nearest_even),
		cmocka_unit_test(
			e4m3_beyond_448_is_448_and_no_number_stays_none),
		cmocka_unit_test(e4m3_scale_of_nothing_is_1),
		cmocka_unit_test(e4m3_every_kernel_widens_alike),
	};

	return cmocka_run_group_tests_name("e4m3", tests, NULL, NULL);
}
