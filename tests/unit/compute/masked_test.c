/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the mask hides costs nothing: the block is memory that nobody may
 * touch.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "runtime/registry.h"

#define START 1000
#define TOKENS 50
#define HEADS 2
#define DIM 16

static void step_on_forbidden_block(const struct kvr_compute_ops *ops,
				    struct kvr_ranges kv, bool windowed,
				    enum kvr_dtype dtype)
{
	const struct kvr_range mine = {.start = START, .length = TOKENS};
	const struct kvr_compute_shape shape = {
		.q_heads = HEADS,
		.kv_heads = HEADS,
		.head_dim = DIM,
		.value_dim = DIM,
		.dtype = dtype,
		.mask = windowed ? KVR_MASK_FULL : KVR_MASK_CAUSAL,
		.windowed = windowed,
		.left = 30,
		.right = 7,
		.scale = 0.25f,
	};
	float q[TOKENS * HEADS * DIM] = {0}, out[TOKENS * HEADS * DIM];
	float lse[TOKENS * HEADS];
	struct kvr_tensor tq = kvr_tensor_dense(q, dtype, TOKENS, HEADS, DIM);
	struct kvr_tensor to =
		kvr_tensor_dense(out, KVR_F32, TOKENS, HEADS, DIM);
	size_t bytes = ops->block_bytes(&shape, kv);
	void *block = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
			   -1, 0);
	struct kvr_compute *compute;

	assert_true(block != MAP_FAILED);
	assert_int_equal(
		ops->open(&shape, (struct kvr_ranges){&mine, 1}, 2, &compute),
		KVR_OK);
	ops->begin(compute, &tq);
	ops->step(compute, kv, block);
	ops->finish(compute, &to, lse, TOKENS);
	ops->close(compute);
	munmap(block, bytes);
	for (size_t i = 0; i < TOKENS * HEADS * DIM; i++)
		assert_true(out[i] == 0.0f);
	for (size_t i = 0; i < TOKENS * HEADS; i++)
		assert_true(isinf(lse[i]) && lse[i] < 0);
}

static void each_kernel(struct kvr_ranges kv, bool windowed)
{
	const struct kvr_compute_ops *ops;
	char reason[160];

	for (size_t i = 0; (ops = kvr_registry_compute(i)); i++) {
		if (ops->probe(reason, sizeof(reason)) != KVR_OK)
			continue;
		for (int dtype = KVR_F32; dtype <= KVR_F16; dtype++)
			step_on_forbidden_block(ops, kv, windowed,
						(enum kvr_dtype)dtype);
	}
}

static void step_block_of_the_future_is_not_read(void **state)
{
	const struct kvr_range later = {.start = START + TOKENS, .length = 70};

	(void)state;
	each_kernel((struct kvr_ranges){&later, 1}, false);
}

static void step_block_of_another_sequence_is_not_read(void **state)
{
	const struct kvr_range other = {.sequence = 1, .length = 70};

	(void)state;
	each_kernel((struct kvr_ranges){&other, 1}, false);
}

/* On either side of the window, by one position; in any order. */
static void step_block_outside_the_window_is_not_read(void **state)
{
	const struct kvr_range sides[3] = {
		{.start = 0, .length = START - 30},
		{.start = START + TOKENS + 7, .length = 300},
		{.start = 0, .length = START - 30},
	};

	(void)state;
	each_kernel((struct kvr_ranges){sides, 2}, true);
	each_kernel((struct kvr_ranges){sides + 1, 2}, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(step_block_of_the_future_is_not_read),
		cmocka_unit_test(step_block_of_another_sequence_is_not_read),
		cmocka_unit_test(step_block_outside_the_window_is_not_read),
	};

	return cmocka_run_group_tests_name("masked", tests, NULL, NULL);
}
