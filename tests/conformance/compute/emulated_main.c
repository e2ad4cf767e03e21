/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The body over compute/cuda, emulated. Tiles are made small, 16 keys and a
 * few rows, so that problems of the body's size have many; order of blocks
 * and threads as KVR_EMULATED_ORDER says.
 *
 * Tolerance. A weight is rounded by u' = 2^-9 (bf16) or 2^-12 (f16) of itself;
 * out = sum p v / sum p of the same rounded p is off by the mean of rounding
 * errors times v - out: less than 2 u' of out's size, since the values do not
 * cancel more than their mean does. The sum itself, and with it lse, is off by
 * u' at most.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "compute_test.h"
#include "emulated.h"
#include "tests/emulated_cuda/emulated.h"

static double weight_error(enum kvr_dtype dtype)
{
	if (dtype == KVR_BF16)
		return 4 * 0x1p-9;
	return dtype == KVR_F16 ? 4 * 0x1p-12 : 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kernel_random_problem_matches_oracle),
		cmocka_unit_test(kernel_tails_match_oracle),
		cmocka_unit_test(kernel_zigzag_matches_oracle),
		cmocka_unit_test(kernel_sequences_do_not_see_each_other),
		cmocka_unit_test(kernel_far_positions_match_oracle),
		cmocka_unit_test(kernel_rows_without_keys_give_zero),
		cmocka_unit_test(kernel_no_keys_give_zero),
		cmocka_unit_test(kernel_no_queries_computes_nothing),
		cmocka_unit_test(kernel_second_pass_same_bits),
		cmocka_unit_test(kernel_large_scores_match_oracle),
		cmocka_unit_test(kernel_softcap_matches_oracle),
		cmocka_unit_test(kernel_wide_heads_match_oracle),
		cmocka_unit_test(kernel_values_in_keys_same_bits_as_copied),
		cmocka_unit_test(kernel_sinks_match_oracle),
		cmocka_unit_test(kernel_sink_alone_is_the_lse),
		cmocka_unit_test(kernel_sink_counts_once),
		cmocka_unit_test(kernel_windows_match_oracle),
		cmocka_unit_test(kernel_very_negative_scores_match_oracle),
		cmocka_unit_test(kernel_negative_scale_matches_oracle),
		cmocka_unit_test(kernel_negative_zeros_give_zero),
		cmocka_unit_test(kernel_nan_query_shows_in_its_row),
		cmocka_unit_test(kernel_half_out_is_f32_out_rounded),
		cmocka_unit_test(kernel_every_f16_value_comes_out),
		cmocka_unit_test(kernel_strided_out_leaves_gaps_alone),
	};

	if (!kvr_emulated_cuda_marker[0])
		return 1;
	emulated_set_cache(128 << 10);
	compute_test_use(&(struct compute_under_test){
		.ops = &emulated_compute,
		.random_problems = 20,
		.weight_error = weight_error,
	});
	return cmocka_run_group_tests_name("cuda, emulated", tests, NULL, NULL);
}
