/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "compute/cpu/cpu.h"
#include "compute/cpu/kernel.h"

/* Every element of k and v names its place. */
static float name_of(size_t is_value, size_t token, size_t head, size_t i)
{
	return (float)(1 + is_value + 2 * (i + 576 * (head + 4 * token)));
}

static struct kvr_tensor named(size_t is_value, size_t tokens, size_t heads,
			       size_t dim)
{
	size_t token_stride = heads * (dim + 1) + 3;
	float *data = calloc(tokens * token_stride + 1, sizeof(*data));
	struct kvr_tensor t = {data, KVR_F32,	   tokens, heads,
			       dim,  token_stride, dim + 1};

	assert_non_null(data);
	for (size_t token = 0; token < tokens; token++)
		for (size_t head = 0; head < heads; head++)
			for (size_t i = 0; i < dim; i++)
				data[token * token_stride + head * (dim + 1) +
				     i] = name_of(is_value, token, head, i);
	return t;
}

/* One panel against the picture in layout.h. */
static void assert_panel(const struct kvr_compute_shape *shape,
			 const float *panel, size_t head, size_t token,
			 size_t count)
{
	const float *values = panel + (size_t)16 * shape->head_dim;

	for (size_t i = 0; i < shape->head_dim; i++)
		for (size_t key = 0; key < 16; key++)
			assert_true(panel[i * 16 + key] ==
				    (key < count
					     ? name_of(0, token + key, head, i)
					     : 0));
	for (size_t i = 0; i < kvr_cpu_groups(shape->value_dim) * 16; i++)
		for (size_t key = 0; key < 16; key++)
			assert_true(values[i / 16 * 256 + key * 16 + i % 16] ==
				    (key < count && i < shape->value_dim
					     ? name_of(1, token + key, head, i)
					     : 0));
}

static float *pack(const struct kvr_compute_shape *shape, struct kvr_ranges kv,
		   size_t tokens, uint32_t threads)
{
	struct kvr_tensor k =
		named(0, tokens, shape->kv_heads, shape->head_dim);
	struct kvr_tensor v =
		named(1, tokens, shape->kv_heads, shape->value_dim);
	size_t bytes = kvr_cpu_block_bytes(shape, kv);
	float *block = aligned_alloc(64, bytes);
	struct kvr_compute *compute;

	assert_non_null(block);
	memset(block, 0xff, bytes);
	assert_int_equal(kvr_cpu_portable.open(shape, (struct kvr_ranges){0},
					       threads, &compute),
			 KVR_OK);
	kvr_cpu_portable.pack(compute, kv, &k, &v, block);
	kvr_cpu_portable.close(compute);
	free(k.data);
	free(v.data);
	return block;
}

static void layout_ranges_begin_panels(void **state)
{
	const struct kvr_compute_shape shape = {.q_heads = 6,
						.kv_heads = 3,
						.head_dim = 5,
						.value_dim = 19,
						.scale = 1};
	const struct kvr_range range[] = {
		{0, 0, 33}, {1, 7, 0}, {0, 50, 16}, {2, 0, 1}};
	const size_t panel = kvr_cpu_panel_elements(&shape);
	float *block = pack(&shape, (struct kvr_ranges){range, 4}, 50, 2);
	float *at = block;
	size_t token = 0;

	(void)state;
	assert_int_equal(panel, 16 * (5 + 32));
	for (size_t i = 0; i < 4; token += range[i].length, i++)
		for (size_t from = 0; from < range[i].length; from += 16)
			for (size_t head = 0; head < 3; head++, at += panel) {
				size_t left = range[i].length - from;

				assert_panel(&shape, at, head, token + from,
					     left < 16 ? left : 16);
			}
	assert_ptr_equal(at, block + 3 * 5 * panel);
	free(block);
}

/* Pages of a cache, packed one by one, make the block that all make. */
static void layout_block_is_its_ranges_one_after_the_other(void **state)
{
	const struct kvr_compute_shape shape = {.q_heads = 2,
						.kv_heads = 1,
						.head_dim = 3,
						.value_dim = 3,
						.dtype = KVR_BF16,
						.scale = 1};
	const struct kvr_range range[] = {{0, 0, 16}, {0, 16, 5}, {0, 40, 1}};
	size_t bytes = 0;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct kvr_ranges one = {&range[i], 1};

		assert_int_equal(kvr_cpu_block_bytes(&shape, one) % 64, 0);
		bytes += kvr_cpu_block_bytes(&shape, one);
	}
	assert_int_equal(
		kvr_cpu_block_bytes(&shape, (struct kvr_ranges){range, 3}),
		bytes);
}

/* Of one token, wherever its panel is. */
static void assert_token(const struct kvr_compute_shape *shape,
			 const float *panel, size_t head, size_t token,
			 size_t place)
{
	const float *values = panel + (size_t)16 * shape->head_dim + place * 16;

	for (size_t i = 0; i < shape->head_dim; i++)
		assert_true(panel[i * 16 + place] ==
			    name_of(0, token, head, i));
	for (size_t i = 0; i < shape->value_dim; i++)
		assert_true(values[i] == name_of(1, token, head, i));
}

/* Tokens taken back and others decoded: those that stay are where they were. */
static void layout_page_is_cut_short_in_place(void **state)
{
	const struct kvr_compute_shape shape = {.q_heads = 3,
						.kv_heads = 3,
						.head_dim = 5,
						.value_dim = 16,
						.scale = 1};
	const size_t panel = kvr_cpu_panel_elements(&shape);
	float *page = aligned_alloc(64, kvr_cpu_range_bytes(&shape, 80));
	struct kvr_tensor k = named(0, 70, 3, 5), v = named(1, 70, 3, 16);
	struct kvr_tensor more_k = k, more_v = v;

	(void)state;
	assert_non_null(page);
	kvr_cpu_append(&shape, 0, &k, &v, page);
	page[3 * panel + 15] = page[3 * panel + 5 * 16 + 15 * 16] = NAN;
	/* Tokens 60 .. 69 follow 20 of the 70. */
	more_k.data = (float *)k.data + 60 * k.token_stride;
	more_v.data = (float *)v.data + 60 * v.token_stride;
	more_k.tokens = more_v.tokens = 10;
	kvr_cpu_append(&shape, 20, &more_k, &more_v, page);
	for (size_t place = 0; place < 30; place++)
		for (size_t head = 0; head < 3; head++)
			assert_token(&shape,
				     page + (place / 16 * 3 + head) * panel,
				     head, place < 20 ? place : place + 40,
				     place % 16);
	/* Nothing is left of the last two places. */
	for (size_t i = 0; i < 2 * 3 * panel; i++)
		assert_false(isnan(page[i]));
	free(page);
	free(k.data);
	free(v.data);
}

/* More panels than a thread takes at a time, cut in the middle of ranges. */
static void layout_many_panels_packed_once(void **state)
{
	const struct kvr_compute_shape shape = {.q_heads = 2,
						.kv_heads = 2,
						.head_dim = 1,
						.value_dim = 16,
						.scale = 1};
	const struct kvr_range range[] = {{0, 0, 1000}, {1, 0, 1200}};
	const size_t panel = kvr_cpu_panel_elements(&shape);
	const size_t first = kvr_cpu_panels(1000);
	float *block = pack(&shape, (struct kvr_ranges){range, 2}, 2200, 3);

	(void)state;
	for (size_t head = 0; head < 2; head++)
		for (size_t i = 0; i < first + 75; i++) {
			size_t local = i < first ? i : i - first;
			size_t base = i < first ? 0 : 1000;
			size_t left = range[i >= first].length - local * 16;
			size_t at = i * 2 + head;

			assert_panel(&shape, block + at * panel, head,
				     base + local * 16, left < 16 ? left : 16);
		}
	free(block);
}

/* Values that are columns of the keys are not in it. */
static void layout_values_in_keys_is_keys_alone(void **state)
{
	const struct kvr_compute_shape shape = {.q_heads = 1,
						.kv_heads = 1,
						.head_dim = 3,
						.value_dim = 2,
						.values_in_keys = true,
						.scale = 1};
	const struct kvr_range range = {0, 0, 18};
	struct kvr_tensor k = named(0, 18, 1, 3);
	float panel[16 * 3];

	(void)state;
	assert_int_equal(
		kvr_cpu_block_bytes(&shape, (struct kvr_ranges){&range, 1}),
		2 * sizeof(panel));
	memset(panel, 0xff, sizeof(panel));
	kvr_cpu_pack_panel(&shape, &k, NULL, 0, 16, 2, panel);
	for (size_t i = 0; i < 3; i++)
		for (size_t key = 0; key < 16; key++)
			assert_true(panel[i * 16 + key] ==
				    (key < 2 ? name_of(0, 16 + key, 0, i) : 0));
	free(k.data);
}

/* What a kernel turns out of K is the V of a copy, zeros included. */
static void layout_turned_keys_are_packed_values(void **state)
{
	static const uint32_t columns[] = {1, 15, 16, 17, 33};
	struct kvr_compute_shape shape = {
		.q_heads = 1, .kv_heads = 1, .head_dim = 33, .scale = 1};
	struct kvr_tensor k = named(0, 16, 1, 33), v = k;
	float panel[16 * (33 + 48)], values[16 * 48];

	(void)state;
	for (size_t i = 0; i < 5; i++) {
		shape.value_dim = columns[i];
		v.dim = columns[i];
		kvr_cpu_pack_panel(&shape, &k, &v, 0, 0, 16, panel);
		memset(values, 0xff, sizeof(values));
		kvr_cpu_kernel_portable.turn(panel, values, columns[i]);
		assert_memory_equal(values, panel + 16 * 33,
				    kvr_cpu_groups(columns[i]) * 16 * 16 *
					    sizeof(float));
	}
	free(k.data);
}

static void layout_bf16_keeps_bits(void **state)
{
	const struct kvr_compute_shape shape = {.q_heads = 1,
						.kv_heads = 1,
						.head_dim = 2,
						.value_dim = 3,
						.dtype = KVR_BF16,
						.scale = 1};
	uint16_t k[2 * 2] = {0x7fc1, 0x8000, 0x0001, 0xff80};
	uint16_t v[2 * 3] = {1, 2, 3, 4, 5, 6};
	struct kvr_tensor kt = kvr_tensor_dense(k, KVR_BF16, 2, 1, 2);
	struct kvr_tensor vt = kvr_tensor_dense(v, KVR_BF16, 2, 1, 3);
	uint16_t panel[16 * 18];

	(void)state;
	memset(panel, 0xff, sizeof(panel));
	kvr_cpu_pack_panel(&shape, &kt, &vt, 0, 0, 2, panel);
	assert_int_equal(panel[0], 0x7fc1);
	assert_int_equal(panel[1], 0x0001);
	assert_int_equal(panel[2], 0);
	assert_int_equal(panel[16], 0x8000);
	assert_int_equal(panel[17], 0xff80);
	for (size_t i = 0; i < 16; i++) {
		assert_int_equal(panel[32 + i], i < 3 ? i + 1 : 0);
		assert_int_equal(panel[48 + i], i < 3 ? i + 4 : 0);
		assert_int_equal(panel[64 + i], 0);
	}
}

static void layout_block_bytes_multiple_of_64(void **state)
{
	struct kvr_compute_shape shape = {.q_heads = 1,
					  .kv_heads = 1,
					  .head_dim = 3,
					  .value_dim = 3,
					  .dtype = KVR_BF16};
	struct kvr_range range = {0, 0, 17};
	struct kvr_ranges kv = {&range, 1};

	(void)state;
	/* Two panels of 16 * (3 + 16) * 2 bytes. */
	assert_int_equal(kvr_cpu_block_bytes(&shape, kv), 1216);
	shape.kv_heads = 5;
	assert_int_equal(kvr_cpu_block_bytes(&shape, kv), 6080);
	range.length = 1;
	assert_int_equal(kvr_cpu_block_bytes(&shape, kv), 3072);
	range.length = 0;
	assert_int_equal(kvr_cpu_block_bytes(&shape, kv), 0);
	kv.count = 0;
	assert_int_equal(kvr_cpu_block_bytes(&shape, kv), 0);
}

/* A panel of 16 * (1 + 16) * 2 bytes ends 32 bytes before the block does. */
static void layout_rest_of_the_block_is_zero(void **state)
{
	const struct kvr_compute_shape shape = {.q_heads = 1,
						.kv_heads = 1,
						.head_dim = 1,
						.value_dim = 16,
						.dtype = KVR_BF16,
						.scale = 1};
	const struct kvr_range range = {0, 0, 16};
	const struct kvr_ranges kv = {&range, 1};
	uint16_t k[16], v[16 * 16];
	struct kvr_tensor kt = kvr_tensor_dense(k, KVR_BF16, 16, 1, 1);
	struct kvr_tensor vt = kvr_tensor_dense(v, KVR_BF16, 16, 1, 16);
	_Alignas(64) uint8_t block[576], zero[32] = {0};
	struct kvr_compute *compute;

	(void)state;
	assert_int_equal(kvr_cpu_block_bytes(&shape, kv), sizeof(block));
	memset(k, 0xff, sizeof(k));
	memset(v, 0xff, sizeof(v));
	memset(block, 0xff, sizeof(block));
	assert_int_equal(kvr_cpu_portable.open(&shape, (struct kvr_ranges){0},
					       1, &compute),
			 KVR_OK);
	kvr_cpu_portable.pack(compute, kv, &kt, &vt, block);
	kvr_cpu_portable.close(compute);
	assert_int_equal(block[543], 0xff);
	assert_memory_equal(block + 544, zero, sizeof(zero));
}

static void layout_block_bytes_saturates(void **state)
{
	struct kvr_compute_shape shape = {
		.q_heads = 1, .kv_heads = 1, .head_dim = 64, .value_dim = 64};
	struct kvr_range range = {0, 0, UINT64_MAX / 2};

	(void)state;
	assert_true(
		kvr_cpu_block_bytes(&shape, (struct kvr_ranges){&range, 1}) ==
		SIZE_MAX / 64 * 64);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(layout_ranges_begin_panels),
		cmocka_unit_test(layout_page_is_cut_short_in_place),
		cmocka_unit_test(layout_many_panels_packed_once),
		cmocka_unit_test(layout_values_in_keys_is_keys_alone),
		cmocka_unit_test(layout_turned_keys_are_packed_values),
		cmocka_unit_test(layout_bf16_keeps_bits),
		cmocka_unit_test(
			layout_block_is_its_ranges_one_after_the_other),
		cmocka_unit_test(layout_block_bytes_multiple_of_64),
		cmocka_unit_test(layout_rest_of_the_block_is_zero),
		cmocka_unit_test(layout_block_bytes_saturates),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
