/* SPDX-License-Identifier: Apache-2.0 */
/*
 * K and V on the wire as e4m3, against PyTorch: its float8_e4m3fn made codes of
 * them, one range with a scale for each head, and float64 attention of what
 * the codes stand for is what every kernel must give, to the rounding of f32.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "runtime/tensor.h"
#include "tests/reference/check.h"

static struct kvr_compute_shape shape_of(const struct reference_case *c)
{
	struct kvr_compute_shape shape;
	struct kvr_plan_desc desc;

	kvr_plan_desc_init(&desc);
	desc.q_heads = (uint32_t)c->q.heads;
	desc.kv_heads = (uint32_t)c->k.heads;
	desc.head_dim = (uint32_t)c->q.dim;
	desc.value_dim = (uint32_t)c->v.dim;
	desc.dtype = c->q.dtype;
	desc.mask = c->mask;
	desc.window = &c->window;
	desc.scale = c->scale;
	desc.softcap = c->softcap;
	desc.kv_wire = KVR_KV_E4M3;
	assert_int_equal(kvr_shape_from_desc(&desc, &shape), KVR_OK);
	return shape;
}

static void kernel_check(const struct reference_case *c,
			 const struct kvr_compute_ops *ops)
{
	const struct kvr_range q = {0, c->q_start, c->q.tokens};
	const struct kvr_range kv = {0, c->kv_start, c->k.tokens};
	const struct kvr_ranges block_of = {&kv, 1};
	struct kvr_compute_shape shape = shape_of(c);
	struct shard all =
		shard_of(&partitions[0], c, c->q.tokens, c->q_start, 0, 1);
	struct result r = result_new(c, KVR_F32, c->q.tokens);
	void *block =
		aligned_alloc(64, ops->block_bytes(&shape, block_of) + 64);
	struct kvr_compute *compute;

	assert_non_null(block);
	assert_int_equal(
		ops->open(&shape, (struct kvr_ranges){&q, 1}, 2, &compute),
		KVR_OK);
	ops->pack(compute, block_of, &c->k, &c->v, block);
	ops->begin(compute, &c->q);
	ops->step(compute, block_of, block);
	ops->finish(compute, &r.out, r.lse, c->q.tokens);
	ops->close(compute);
	result_check(c, &r, &all, kernel_tolerance(c), ops->name);
	result_free(&r);
	free(block);
}

static void e4m3_every_case_matches_pytorch(void **state)
{
	(void)state;
	assert_true(case_count >= 10);
	kernels_check(kernel_check);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(e4m3_every_case_matches_pytorch),
	};
	int failed;

	if (argc != 2) {
		fprintf(stderr, "usage: test_e4m3 DIRECTORY\n");
		return 2;
	}
	cases_read(argv[1]);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	cases_free();
	return failed ? 1 : 0;
}
