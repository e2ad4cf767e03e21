/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The body over compute/cuda, emulated; of it what fibers can carry out in
 * seconds. Left out are windows, wide heads and values in keys as the body has
 * them, hundreds of problems each: gpu_every_feature_of_every_type has them
 * too. Tiles are made small, so that such problems have many.
 *
 * Arguments: "quick", what planted mistakes are shown to; "race", what the
 * thread sanitizer carries out in seconds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "compute_test.h"
#include "gpu.h"
#include "tests/emulated_cuda/emulated.h"

/* Of blocks, threads and streams: none of it may show. */
static void emulated_any_order_same_bits(void **state)
{
	struct manner m = plainly();
	struct answer want, got;
	struct problem p;

	(void)state;
	gpu_problem(&p, GPU_GROUPS);
	p.desc.dtype = KVR_BF16;
	m.steps = 2;
	problem_fill(&p, 5);
	kvr_emulated_set_order(KVR_EMULATED_FORWARD, 0);
	want = answer_of_kernel(&p, &m);
	for (int i = 0; i < 3; i++) {
		kvr_emulated_set_order(i ? KVR_EMULATED_RANDOM
					 : KVR_EMULATED_REVERSE,
				       (uint64_t)i);
		got = answer_of_kernel(&p, &m);
		assert_true(answer_same_bits(&got, &want));
		answer_free(&got);
	}
	kvr_emulated_set_order(KVR_EMULATED_FORWARD, 0);
	answer_free(&want);
	problem_free(&p);
}

#define OWN GPU_TESTS, cmocka_unit_test(emulated_any_order_same_bits)

int main(int argc, char **argv)
{
	const struct CMUnitTest race[] = {
		cmocka_unit_test(gpu_tiles_do_not_race),
	};
	const struct CMUnitTest quick[] = {OWN};
	const struct CMUnitTest all[] = {
		OWN,
		cmocka_unit_test(gpu_tiles_do_not_race),
		GPU_BODY_TESTS,
	};

	if (!kvr_emulated_cuda_marker[0])
		return 1;
	gpu_set_cache(GPU_CACHE_SMALL);
	compute_test_use(&(struct compute_under_test){
		.ops = &gpu_compute,
		.random_problems = 15,
		.weight_error = gpu_weight_error,
	});
	if (argc > 1 && strcmp(argv[1], "quick") == 0)
		return cmocka_run_group_tests_name("cuda, emulated", quick,
						   NULL, NULL);
	if (argc > 1 && strcmp(argv[1], "race") == 0)
		return cmocka_run_group_tests_name("cuda, emulated", race, NULL,
						   NULL);
	return cmocka_run_group_tests_name("cuda, emulated", all, NULL, NULL);
}
