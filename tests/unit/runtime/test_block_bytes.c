/* SPDX-License-Identifier: Apache-2.0 */
/* The block of many ranges: how large it is, exactly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kvring/attention.h"

static void init(struct kvr_plan_desc *desc)
{
	kvr_plan_desc_init(desc);
	desc->q_heads = 4;
	desc->kv_heads = 2;
	desc->head_dim = 24;
}

/* Panels of 16 tokens: exact, and never above what must be allowed for. */
static void desc_block_bytes_counts_each_range(void **state)
{
	struct kvr_range ranges[40];
	size_t panel, bytes, bound;
	struct kvr_plan_desc desc;

	(void)state;
	init(&desc);
	desc.kv_ranges = ranges;
	for (size_t i = 0; i < 40; i++)
		ranges[i] = (struct kvr_range){.sequence = i, .length = 16};
	desc.kv_range_count = 1;
	assert_int_equal(kvr_plan_desc_block_bytes(&desc, &panel), KVR_OK);
	desc.kv_range_count = 40;
	assert_int_equal(kvr_plan_desc_block_bytes(&desc, &bytes), KVR_OK);
	assert_int_equal(bytes, 40 * panel);
	assert_int_equal(kvr_attention_block_bytes(&desc, 40 * 16, 40, &bound),
			 KVR_OK);
	assert_true(bound >= bytes && bound < 2 * bytes);
	ranges[7].length = 17;
	assert_int_equal(kvr_plan_desc_block_bytes(&desc, &bytes), KVR_OK);
	assert_int_equal(bytes, 41 * panel);
	desc.kv_range_count = 0;
	assert_int_equal(kvr_plan_desc_block_bytes(&desc, &bytes), KVR_OK);
	assert_int_equal(bytes, 0);
}

/* Empty ranges have no keys, but travel as part of the list. */
static void desc_block_bytes_holds_the_list(void **state)
{
	static const struct kvr_range empty[1000];
	struct kvr_plan_desc desc;
	size_t bytes;

	(void)state;
	init(&desc);
	desc.kv_ranges = empty;
	desc.kv_range_count = 1000;
	assert_int_equal(kvr_plan_desc_block_bytes(&desc, &bytes), KVR_OK);
	assert_int_equal(bytes, sizeof(empty));
}

static void desc_block_bytes_wrong_arguments_refused(void **state)
{
	const struct kvr_range wraps = {.start = 2, .length = UINT64_MAX};
	const struct kvr_range huge = {.length = SIZE_MAX / 4};
	struct kvr_plan_desc desc;
	size_t bytes = 7;

	(void)state;
	init(&desc);
	assert_int_equal(kvr_plan_desc_block_bytes(NULL, &bytes),
			 KVR_ERR_INVALID);
	assert_int_equal(kvr_plan_desc_block_bytes(&desc, NULL),
			 KVR_ERR_INVALID);
	desc.kv_range_count = 1;
	desc.kv_ranges = NULL;
	assert_int_equal(kvr_plan_desc_block_bytes(&desc, &bytes),
			 KVR_ERR_INVALID);
	desc.kv_ranges = &wraps;
	assert_int_equal(kvr_plan_desc_block_bytes(&desc, &bytes),
			 KVR_ERR_INVALID);
	desc.kv_ranges = &huge;
	assert_int_equal(kvr_plan_desc_block_bytes(&desc, &bytes),
			 KVR_ERR_LIMIT);
	desc.kernel = "abacus";
	assert_int_equal(kvr_plan_desc_block_bytes(&desc, &bytes),
			 KVR_ERR_UNSUPPORTED);
	desc.size = 0;
	assert_int_equal(kvr_plan_desc_block_bytes(&desc, &bytes),
			 KVR_ERR_INVALID);
	assert_int_equal(bytes, 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(desc_block_bytes_counts_each_range),
		cmocka_unit_test(desc_block_bytes_holds_the_list),
		cmocka_unit_test(desc_block_bytes_wrong_arguments_refused),
	};

	return cmocka_run_group_tests_name("block_bytes", tests, NULL, NULL);
}
