/* SPDX-License-Identifier: Apache-2.0 */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "compute/cpu/cpu.h"
#include "exp2_vector.h"

struct variant {
	const struct kvr_compute_ops *ops;
	exp2_array_fn fn, tanh;
	double ulps; /* that fn may be off by */
};

static const struct variant variants[] = {
	{&kvr_cpu_portable, exp2_array_portable, tanh_array_portable, 1.3},
#if defined(__x86_64__)
	{&kvr_cpu_avx2, exp2_array_avx2, tanh_array_avx2, 1.02},
	{&kvr_cpu_avx512, exp2_array_avx512, tanh_array_avx512, 1.02},
#endif
};

#define VARIANTS (sizeof(variants) / sizeof(variants[0]))

static int usable_here(size_t i)
{
	char reason[160];

	if (variants[i].ops->probe(reason, sizeof(reason)) == KVR_OK)
		return 1;
	print_message("skipped: %s: %s\n", variants[i].ops->name, reason);
	return 0;
}

static exp2_array_fn usable(size_t i)
{
	return usable_here(i) ? variants[i].fn : NULL;
}

static float from_bits(uint32_t bits)
{
	float value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

/* In units of the last place of the exact result. */
static double ulps(float got, float x)
{
	double want = exp2((double)x);
	double ulp = exp2(floor((double)x) - 23);

	return fabs((double)got - want) / ulp;
}

/* One in STRIDE of all floats from -125 to -0, every binade of them. */
#define STRIDE 61

static double worst_ulps(exp2_array_fn fn)
{
	const uint32_t first = 0x80000000, last = 0xc2fa0000;
	double worst = 0;
	float x[16], out[16];

	for (uint32_t bits = first; bits <= last - 16 * STRIDE;
	     bits += 16 * STRIDE) {
		for (uint32_t i = 0; i < 16; i++)
			x[i] = from_bits(bits + i * STRIDE);
		fn(x, out, 16);
		for (uint32_t i = 0; i < 16; i++)
			worst = fmax(worst, ulps(out[i], x[i]));
	}
	return worst;
}

static void exp2_whole_range_accurate(void **state)
{
	(void)state;
	for (size_t i = 0; i < VARIANTS; i++) {
		exp2_array_fn fn = usable(i);
		double worst;

		if (!fn)
			continue;
		worst = worst_ulps(fn);
		print_message("%s: %.3f ulp\n", variants[i].ops->name, worst);
		assert_true(worst <= variants[i].ulps);
	}
}

static void exp2_special_values_exact(void **state)
{
	const float x[16] = {0,	     -0.0f,	-1,   -125,    -126, -1000,
			     -1e30f, -INFINITY, NAN,  -125.5f, -2,   -3,
			     -124,   -FLT_MAX,	-127, -150};
	const float want[16] = {1,   1, 0.5f,  0x1p-125f, 0,	     0, 0, 0,
				NAN, 0, 0.25f, 0.125f,	  0x1p-124f, 0, 0, 0};
	float out[16];

	(void)state;
	for (size_t i = 0; i < VARIANTS; i++) {
		exp2_array_fn fn = usable(i);

		if (!fn)
			continue;
		fn(x, out, 16);
		for (size_t j = 0; j < 16; j++)
			if (isnan(want[j]))
				assert_true(isnan(out[j]));
			else
				assert_true(out[j] == want[j]);
	}
}

/* One in 61 of all positive floats to 16, and each negative of it. */
static double worst_tanh(exp2_array_fn fn)
{
	float x[16], out[16];
	double worst = 0;

	for (uint32_t bits = 0x00800000; bits < 0x41800000;
	     bits += 8 * STRIDE) {
		for (uint32_t i = 0; i < 16; i++)
			x[i] = from_bits((bits + i / 2 * STRIDE) | i << 31);
		fn(x, out, 16);
		for (uint32_t i = 0; i < 16; i++) {
			double want = tanh((double)x[i]);
			double ulp = exp2(floor(log2(fabs(want))) - 23);

			worst = fmax(worst, fabs((double)out[i] - want) / ulp);
		}
	}
	return worst;
}

static void tanh_whole_range_accurate(void **state)
{
	(void)state;
	for (size_t i = 0; i < VARIANTS; i++) {
		double worst;

		if (!usable_here(i))
			continue;
		worst = worst_tanh(variants[i].tanh);
		print_message("%s: %.3f ulp\n", variants[i].ops->name, worst);
		assert_true(worst <= 3);
	}
}

static void tanh_special_values_exact(void **state)
{
	const float x[16] = {0,	 -0.0f,	   NAN,	     INFINITY, -INFINITY,
			     20, -FLT_MAX, 0x1p-90f, -1e-30f};
	const float want[9] = {0, -0.0f, NAN, 1, -1, 1, -1, 0x1p-90f, -1e-30f};
	float out[16];

	(void)state;
	for (size_t i = 0; i < VARIANTS; i++) {
		if (!usable_here(i))
			continue;
		variants[i].tanh(x, out, 16);
		for (size_t j = 0; j < 9; j++) {
			assert_int_equal(isnan(out[j]) != 0,
					 isnan(want[j]) != 0);
			assert_true(isnan(want[j]) || out[j] == want[j]);
			assert_true(isnan(want[j]) ||
				    !signbit(out[j]) == !signbit(want[j]));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(exp2_whole_range_accurate),
		cmocka_unit_test(exp2_special_values_exact),
		cmocka_unit_test(tanh_whole_range_accurate),
		cmocka_unit_test(tanh_special_values_exact),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
