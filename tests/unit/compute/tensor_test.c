/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/bf16.h"
#include "runtime/f16.h"
#include "runtime/tensor.h"

static uint16_t round_bits(uint32_t bits)
{
	float value;

	memcpy(&value, &bits, sizeof(value));
	return kvr_bf16_from_f32(value);
}

static void bf16_ties_round_to_even(void **state)
{
	(void)state;
	assert_int_equal(round_bits(0x3f808000), 0x3f80);
	assert_int_equal(round_bits(0x3f818000), 0x3f82);
	assert_int_equal(round_bits(0x3f808001), 0x3f81);
	assert_int_equal(round_bits(0x3f807fff), 0x3f80);
	assert_int_equal(round_bits(0xbf818000), 0xbf82);
	assert_int_equal(round_bits(0x80000000), 0x8000);
	/* The carry runs into the exponent, and at the end into infinity. */
	assert_int_equal(round_bits(0x3fffffff), 0x4000);
	assert_int_equal(round_bits(0x7f7fffff), 0x7f80);
	assert_int_equal(round_bits(0xff800000), 0xff80);
}

static void bf16_nan_stays_nan(void **state)
{
	static const uint32_t nans[] = {0x7fc00000, 0x7f800001, 0x7fffffff,
					0xff800001, 0xffffffff};

	(void)state;
	for (size_t i = 0; i < 5; i++) {
		uint16_t bits = round_bits(nans[i]);

		assert_true(isnan(kvr_bf16_to_f32(bits)));
		assert_int_equal(bits >> 15, nans[i] >> 31);
	}
}

static void bf16_every_value_survives(void **state)
{
	(void)state;
	for (uint32_t bits = 0; bits < 0x10000; bits++) {
		float value = kvr_bf16_to_f32((uint16_t)bits);

		if (!isnan(value))
			assert_int_equal(kvr_bf16_from_f32(value), bits);
	}
}

/* As the standard defines it; exact in double. */
static double f16_by_definition(uint16_t bits)
{
	int exponent = bits >> 10 & 31;
	double size = exponent ? ldexp(0x400 + (bits & 0x3ff), exponent - 25)
			       : ldexp(bits & 0x3ff, -24);

	return bits & 0x8000 ? -size : size;
}

static void f16_every_value_survives(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 0x10000; i++) {
		uint16_t bits = (uint16_t)i;
		float value = kvr_f16_to_f32(bits);

		if ((bits & 0x7c00) != 0x7c00)
			assert_true((double)value == f16_by_definition(bits));
		else if (bits & 0x3ff)
			assert_true(isnan(value));
		else
			assert_true(value ==
				    (bits >> 15 ? -INFINITY : INFINITY));
		if (!isnan(value))
			assert_int_equal(kvr_f16_from_f32(value), bits);
	}
}

/* Between any two neighbours: below the middle, on it, above. */
static void f16_rounds_to_nearest_ties_to_even(void **state)
{
	(void)state;
	for (uint16_t bits = 0; bits < 0x7bff; bits++) {
		float middle = (float)((f16_by_definition(bits) +
					f16_by_definition(bits + 1)) /
				       2);

		assert_int_equal(kvr_f16_from_f32(middle), bits + (bits & 1));
		assert_int_equal(kvr_f16_from_f32(nextafterf(middle, 0)), bits);
		assert_int_equal(kvr_f16_from_f32(nextafterf(middle, 1e9f)),
				 bits + 1);
		assert_int_equal(kvr_f16_from_f32(-middle),
				 0x8000 | (bits + (bits & 1)));
	}
	assert_int_equal(kvr_f16_from_f32(nextafterf(65520, 0)), 0x7bff);
	assert_int_equal(kvr_f16_from_f32(65520), 0x7c00);
	assert_int_equal(kvr_f16_from_f32(-1e30f), 0xfc00);
	assert_int_equal(kvr_f16_from_f32(NAN) & 0x7e00, 0x7e00);
	assert_int_equal(kvr_f16_from_f32(-NAN) >> 9, 0x7f);
	assert_int_equal(kvr_f16_from_f32(1e-30f), 0);
}

static void dtype_bytes_of_each_type(void **state)
{
	(void)state;
	assert_int_equal(kvr_dtype_bytes(KVR_F32), 4);
	assert_int_equal(kvr_dtype_bytes(KVR_BF16), 2);
	assert_int_equal(kvr_dtype_bytes(KVR_F16), 2);
	assert_int_equal(kvr_dtype_bytes((enum kvr_dtype)3), 0);
}

static void tensor_dense_strides(void **state)
{
	float data[24];
	struct kvr_tensor t = kvr_tensor_dense(data, KVR_F32, 2, 3, 4);

	(void)state;
	assert_ptr_equal(t.data, data);
	assert_int_equal(t.token_stride, 12);
	assert_int_equal(t.head_stride, 4);
	assert_true(kvr_tensor_is(&t, KVR_F32, 2, 3, 4));
}

static void tensor_other_shape_refused(void **state)
{
	float data[24];
	struct kvr_tensor t = kvr_tensor_dense(data, KVR_F32, 2, 3, 4);

	(void)state;
	assert_false(kvr_tensor_is(NULL, KVR_F32, 2, 3, 4));
	assert_false(kvr_tensor_is(&t, KVR_BF16, 2, 3, 4));
	assert_false(kvr_tensor_is(&t, KVR_F32, 1, 3, 4));
	assert_false(kvr_tensor_is(&t, KVR_F32, 2, 2, 4));
	assert_false(kvr_tensor_is(&t, KVR_F32, 2, 3, 3));
	t.token_stride = 3;
	assert_false(kvr_tensor_is(&t, KVR_F32, 2, 3, 4));
	t.token_stride = 12;
	t.head_stride = 3;
	assert_false(kvr_tensor_is(&t, KVR_F32, 2, 3, 4));
	t.head_stride = 4;
	t.data = NULL;
	assert_false(kvr_tensor_is(&t, KVR_F32, 2, 3, 4));
	t.tokens = 0;
	assert_true(kvr_tensor_is(&t, KVR_F32, 0, 3, 4));
}

/* An axis of one has no next: its stride is nobody's to check. */
static void tensor_axis_of_one_needs_no_stride(void **state)
{
	float data[8];
	struct kvr_tensor t = kvr_tensor_dense(data, KVR_F32, 2, 1, 4);

	(void)state;
	t.head_stride = 0;
	assert_true(kvr_tensor_is(&t, KVR_F32, 2, 1, 4));
	t = kvr_tensor_dense(data, KVR_F32, 1, 2, 4);
	t.token_stride = 0;
	assert_true(kvr_tensor_is(&t, KVR_F32, 1, 2, 4));
}

static const struct kvr_plan_desc good = {.q_heads = 4,
					  .kv_heads = 2,
					  .head_dim = 16,
					  .dtype = KVR_BF16,
					  .mask = KVR_MASK_CAUSAL};

static void shape_defaults_filled_in(void **state)
{
	struct kvr_plan_desc desc = good;
	struct kvr_compute_shape shape;

	(void)state;
	assert_int_equal(kvr_shape_from_desc(&desc, &shape), KVR_OK);
	assert_int_equal(shape.value_dim, 16);
	assert_true(shape.scale == 0.25f);
	assert_int_equal(shape.q_heads, 4);
	assert_int_equal(shape.kv_heads, 2);
	assert_int_equal(shape.dtype, KVR_BF16);
	assert_int_equal(shape.mask, KVR_MASK_CAUSAL);
	desc.value_dim = 576;
	desc.scale = -2;
	assert_int_equal(kvr_shape_from_desc(&desc, &shape), KVR_OK);
	assert_int_equal(shape.value_dim, 576);
	assert_true(shape.scale == -2);
}

static void assert_refused(const struct kvr_plan_desc *desc)
{
	struct kvr_compute_shape shape;

	assert_int_equal(kvr_shape_from_desc(desc, &shape), KVR_ERR_INVALID);
}

static void shape_out_of_range_refused(void **state)
{
	struct kvr_plan_desc desc;

	(void)state;
	desc = good, desc.q_heads = 3, assert_refused(&desc);
	desc = good, desc.q_heads = 0, assert_refused(&desc);
	desc = good, desc.kv_heads = 0, assert_refused(&desc);
	desc = good, desc.head_dim = 0, assert_refused(&desc);
	desc = good, desc.head_dim = 577, assert_refused(&desc);
	desc = good, desc.value_dim = 577, assert_refused(&desc);
	desc = good, desc.dtype = (enum kvr_dtype)7, assert_refused(&desc);
	desc = good, desc.mask = (enum kvr_mask)2, assert_refused(&desc);
	desc = good, desc.scale = NAN, assert_refused(&desc);
	desc = good, desc.values_in_keys = 1;
	desc.value_dim = desc.head_dim + 1, assert_refused(&desc);
	desc = good, desc.scale = INFINITY, assert_refused(&desc);
}

/* Of any head; -inf is no sink, and finite ones may be as large as they are. */
static void shape_wrong_sink_refused(void **state)
{
	float sinks[4] = {0, -INFINITY, 3e38f, -3e38f};
	struct kvr_plan_desc desc = good;
	struct kvr_compute_shape shape;

	(void)state;
	assert_int_equal(kvr_shape_from_desc(&desc, &shape), KVR_OK);
	assert_null(shape.sinks);
	desc.sinks = sinks;
	assert_int_equal(kvr_shape_from_desc(&desc, &shape), KVR_OK);
	assert_ptr_equal(shape.sinks, sinks);
	for (size_t h = 0; h < 4; h++) {
		float kept = sinks[h];

		sinks[h] = NAN, assert_refused(&desc);
		sinks[h] = INFINITY, assert_refused(&desc);
		sinks[h] = kept;
	}
}

static void ranges_tokens_added_up(void **state)
{
	const struct kvr_range range[] = {{0, 5, 3}, {1, 0, 0}, {9, 1, 4}};
	size_t tokens = 99;

	(void)state;
	assert_int_equal(
		kvr_ranges_tokens((struct kvr_ranges){range, 3}, &tokens),
		KVR_OK);
	assert_int_equal(tokens, 7);
	assert_int_equal(
		kvr_ranges_tokens((struct kvr_ranges){NULL, 0}, &tokens),
		KVR_OK);
	assert_int_equal(tokens, 0);
}

static void ranges_overflow_refused(void **state)
{
	const struct kvr_range end[] = {{0, UINT64_MAX, 1}};
	const struct kvr_range last[] = {{0, SIZE_MAX / 2, 1}};
	const struct kvr_range sum[] = {{0, 0, SIZE_MAX / 2}, {1, 0, 1}};
	size_t tokens;

	(void)state;
	assert_int_equal(
		kvr_ranges_tokens((struct kvr_ranges){end, 1}, &tokens),
		KVR_ERR_INVALID);
	assert_int_equal(
		kvr_ranges_tokens((struct kvr_ranges){last, 1}, &tokens),
		KVR_ERR_INVALID);
	assert_int_equal(
		kvr_ranges_tokens((struct kvr_ranges){sum, 2}, &tokens),
		KVR_ERR_INVALID);
	assert_int_equal(
		kvr_ranges_tokens((struct kvr_ranges){NULL, 1}, &tokens),
		KVR_ERR_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bf16_ties_round_to_even),
		cmocka_unit_test(bf16_nan_stays_nan),
		cmocka_unit_test(bf16_every_value_survives),
		cmocka_unit_test(f16_every_value_survives),
		cmocka_unit_test(f16_rounds_to_nearest_ties_to_even),
		cmocka_unit_test(dtype_bytes_of_each_type),
		cmocka_unit_test(tensor_dense_strides),
		cmocka_unit_test(tensor_other_shape_refused),
		cmocka_unit_test(tensor_axis_of_one_needs_no_stride),
		cmocka_unit_test(shape_defaults_filled_in),
		cmocka_unit_test(shape_out_of_range_refused),
		cmocka_unit_test(shape_wrong_sink_refused),
		cmocka_unit_test(ranges_tokens_added_up),
		cmocka_unit_test(ranges_overflow_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
