/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The body over compute/cuda on the GPU of this machine, by NVIDIA's runtime:
 * gpu_compute. Exit 77, a skip, where there is none. scripts/gpu-check.sh runs
 * it under compute-sanitizer too, with "quick", which is less of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "compute_test.h"
#include "gpu.h"
#include "runtime/accelerator.h"

extern const struct kvr_accelerator_ops kvr_accelerator_plugin;

#define OWN GPU_TESTS, cmocka_unit_test(gpu_tiles_do_not_race)

int main(int argc, char **argv)
{
	const struct CMUnitTest quick[] = {OWN};
	const struct CMUnitTest all[] = {
		OWN,
		GPU_BODY_TESTS,
		cmocka_unit_test(kernel_windows_match_oracle),
		cmocka_unit_test(kernel_wide_heads_match_oracle),
		cmocka_unit_test(kernel_every_f16_value_comes_out),
		cmocka_unit_test(kernel_error_does_not_grow_with_steps),
	};
	char reason[256];

	if (kvr_accelerator_plugin.probe(reason, sizeof(reason)) != KVR_OK ||
	    gpu_compute.probe(reason, sizeof(reason)) != KVR_OK) {
		printf("skipped: no attention on a GPU here: %s\n", reason);
		return 77;
	}
	gpu_set_cache(GPU_CACHE_SMALL);
	compute_test_use(&(struct compute_under_test){
		.ops = &gpu_compute,
		.weight_error = gpu_weight_error,
	});
	if (argc > 1 && strcmp(argv[1], "quick") == 0)
		return cmocka_run_group_tests_name("cuda, quick", quick, NULL,
						   NULL);
	return cmocka_run_group_tests_name("cuda", all, NULL, NULL);
}
