/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The body over the CPU's kernels: compute_portable [KERNEL [threads]], the
 * latter for what the thread sanitizer has anything to say of.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "compute_test.h"

static const struct kvr_compute_ops *find(const char *name)
{
	const struct kvr_compute_ops *all[] = {&kvr_cpu_portable, &kvr_cpu_avx2,
					       &kvr_cpu_avx512};

	for (size_t i = 0; i < 3; i++)
		if (strcmp(all[i]->name, name) == 0)
			return all[i];
	return NULL;
}

int main(int argc, char **argv)
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
		cmocka_unit_test(kernel_windows_match_oracle),
		cmocka_unit_test(kernel_any_threads_same_bits),
		cmocka_unit_test(kernel_second_pass_same_bits),
		cmocka_unit_test(kernel_large_scores_match_oracle),
		cmocka_unit_test(kernel_softcap_matches_oracle),
		cmocka_unit_test(kernel_wide_heads_match_oracle),
		cmocka_unit_test(kernel_values_in_keys_same_bits_as_copied),
		cmocka_unit_test(kernel_sinks_match_oracle),
		cmocka_unit_test(kernel_sink_alone_is_the_lse),
		cmocka_unit_test(kernel_sink_counts_once),
		cmocka_unit_test(kernel_very_negative_scores_match_oracle),
		cmocka_unit_test(kernel_negative_scale_matches_oracle),
		cmocka_unit_test(kernel_negative_zeros_give_zero),
		cmocka_unit_test(kernel_nan_query_shows_in_its_row),
		cmocka_unit_test(kernel_half_out_is_f32_out_rounded),
		cmocka_unit_test(kernel_every_f16_value_comes_out),
		cmocka_unit_test(kernel_pages_of_any_range_same_bits),
		cmocka_unit_test(kernel_hundreds_of_pages_same_bits),
		cmocka_unit_test(kernel_queries_one_by_one_same_bits),
		cmocka_unit_test(kernel_e4m3_is_attention_of_the_codes),
		cmocka_unit_test(kernel_e4m3_scales_are_by_range_and_head),
		cmocka_unit_test(kernel_e4m3_every_code_comes_out),
		cmocka_unit_test(kernel_e4m3_empty_and_zero_blocks),
		cmocka_unit_test(kernel_e4m3_is_near_the_oracle),
		cmocka_unit_test(kernel_e4m3_block_is_a_quarter_of_f32),
		cmocka_unit_test(kernel_denormals_count_as_nothing_in_it_alone),
		cmocka_unit_test(kernel_strided_out_leaves_gaps_alone),
		cmocka_unit_test(kernel_4096_keys_are_accurate),
		cmocka_unit_test(kernel_131072_keys_are_accurate),
		cmocka_unit_test(kernel_error_does_not_grow_with_steps),
	};
	const struct CMUnitTest threads[] = {
		cmocka_unit_test(kernel_random_problem_matches_oracle),
		cmocka_unit_test(kernel_any_threads_same_bits),
		cmocka_unit_test(kernel_second_pass_same_bits),
		cmocka_unit_test(kernel_hundreds_of_pages_same_bits),
		cmocka_unit_test(kernel_e4m3_is_attention_of_the_codes),
		cmocka_unit_test(kernel_denormals_count_as_nothing_in_it_alone),
	};
	const struct kvr_compute_ops *ops;
	char reason[160];

	ops = find(argc > 1 ? argv[1] : "portable");
	if (!ops)
		return 2;
	if (ops->probe(reason, sizeof(reason))) {
		printf("skipped: kernel %s: %s\n", ops->name, reason);
		return 77;
	}
	compute_test_use(&(struct compute_under_test){.ops = ops});
	if (argc > 2 && strcmp(argv[2], "threads") == 0)
		return cmocka_run_group_tests_name(ops->name, threads, NULL,
						   NULL);
	return cmocka_run_group_tests_name(ops->name, tests, NULL, NULL);
}
