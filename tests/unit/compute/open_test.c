/* SPDX-License-Identifier: Apache-2.0 */
/* The n-th allocation of open fails: nothing may stay behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "compute/cpu/cpu.h"
#include "compute/cpu/state.h"

/* While armed, allocation number `left` fails. */
static int armed;
static int left;
static int made;

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_aligned_alloc(size_t align, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_aligned_alloc(size_t align, size_t bytes);

static int fails(void)
{
	if (!armed)
		return 0;
	made++;
	return left-- == 0;
}

void *__wrap_malloc(size_t bytes)
{
	return fails() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
	return fails() ? NULL : __real_calloc(count, bytes);
}

void *__wrap_aligned_alloc(size_t align, size_t bytes)
{
	return fails() ? NULL : __real_aligned_alloc(align, bytes);
}

static const struct kvr_compute_shape shape = {.q_heads = 2,
					       .kv_heads = 1,
					       .head_dim = 16,
					       .value_dim = 16,
					       .dtype = KVR_BF16,
					       .scale = 1};
static const struct kvr_range range = {0, 0, 100};

static enum kvr_status open_failing(int n, struct kvr_compute **out)
{
	enum kvr_status status;

	left = n;
	made = 0;
	armed = 1;
	status = kvr_cpu_portable.open(&shape, (struct kvr_ranges){&range, 1},
				       2, out);
	armed = 0;
	return status;
}

/* Leaks show under the address sanitizer. */
static void open_nth_allocation_fails_no_memory(void **state)
{
	struct kvr_compute *compute = NULL;
	int calls;

	(void)state;
	assert_int_equal(open_failing(-1, &compute), KVR_OK);
	calls = made;
	assert_true(calls >= 7);
	kvr_cpu_portable.close(compute);
	compute = NULL;
	for (int n = 0; n < calls; n++) {
		assert_int_equal(open_failing(n, &compute), KVR_ERR_NO_MEMORY);
		assert_null(compute);
	}
}

/* Partials that no address space holds. */
static void open_too_many_rows_no_memory(void **state)
{
	const struct kvr_range far = {0, 0, SIZE_MAX / 8};
	struct kvr_compute *compute = NULL;

	(void)state;
	assert_int_equal(kvr_cpu_portable.open(&shape,
					       (struct kvr_ranges){&far, 1}, 1,
					       &compute),
			 KVR_ERR_NO_MEMORY);
	assert_null(compute);
}

/* A tile's keys and values, widened, take half of 1 MiB at most. */
static void open_wide_heads_take_fewer_keys(void **state)
{
	static const uint32_t dims[][3] = {
		{1, 1, 256},	 {128, 128, 256}, {256, 256, 256},
		{256, 272, 224}, {576, 512, 96},  {576, 576, 96},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(dims) / sizeof(dims[0]); i++) {
		struct kvr_compute_shape wide = shape;
		struct kvr_compute *compute;

		wide.head_dim = dims[i][0];
		wide.value_dim = dims[i][1];
		assert_int_equal(kvr_cpu_portable.open(
					 &wide, (struct kvr_ranges){&range, 1},
					 1, &compute),
				 KVR_OK);
		assert_int_equal(((struct kvr_cpu *)compute)->keys, dims[i][2]);
		kvr_cpu_portable.close(compute);
	}
}

static void close_null_ignored(void **state)
{
	(void)state;
	kvr_cpu_portable.close(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(open_nth_allocation_fails_no_memory),
		cmocka_unit_test(open_too_many_rows_no_memory),
		cmocka_unit_test(open_wide_heads_take_fewer_keys),
		cmocka_unit_test(close_null_ignored),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
