/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of compute_test share. */
#ifndef KVR_TESTS_COMPUTE_TEST_H
#define KVR_TESTS_COMPUTE_TEST_H

#include "problem.h"

struct compute_under_test {
	const struct kvr_compute_ops *ops;
	size_t random_problems; /* 0: as many as usual */
	/* By how much of itself a weight is rounded; NULL: it is not. */
	double (*weight_error)(enum kvr_dtype dtype);
};

/* Before the first test. */
void compute_test_use(const struct compute_under_test *test);

/* One thread, one step, f32, by the kernel under test. */
struct manner plainly(void);

/* One range of queries, one of keys, from position 0. */
void problem_square(struct problem *p, size_t q_tokens, size_t kv_tokens,
		    uint32_t dim, enum kvr_mask mask);

/* The kernel's answer is the oracle's. */
void check(const struct problem *p, const struct manner *m);

/* Within what rounding in f32 allows. */
void assert_close(const struct problem *p, const struct answer *got,
		  const struct answer *want);

/* Of compute_test.c. */
void kernel_random_problem_matches_oracle(void **state);
void kernel_tails_match_oracle(void **state);
void kernel_zigzag_matches_oracle(void **state);
void kernel_sequences_do_not_see_each_other(void **state);
void kernel_far_positions_match_oracle(void **state);
void kernel_rows_without_keys_give_zero(void **state);
void kernel_no_keys_give_zero(void **state);
void kernel_no_queries_computes_nothing(void **state);
void kernel_any_threads_same_bits(void **state);
void kernel_second_pass_same_bits(void **state);
void kernel_large_scores_match_oracle(void **state);
void kernel_very_negative_scores_match_oracle(void **state);
void kernel_negative_scale_matches_oracle(void **state);
void kernel_negative_zeros_give_zero(void **state);
void kernel_nan_query_shows_in_its_row(void **state);
void kernel_strided_out_leaves_gaps_alone(void **state);
void kernel_error_does_not_grow_with_steps(void **state);

/* Of feature_test.c. */
void kernel_softcap_matches_oracle(void **state);
void kernel_wide_heads_match_oracle(void **state);
void kernel_values_in_keys_same_bits_as_copied(void **state);
void kernel_sinks_match_oracle(void **state);
void kernel_sink_alone_is_the_lse(void **state);
void kernel_sink_counts_once(void **state);
void kernel_windows_match_oracle(void **state);
void kernel_half_out_is_f32_out_rounded(void **state);
void kernel_every_f16_value_comes_out(void **state);

/* Of accuracy_test.c. */
void kernel_4096_keys_are_accurate(void **state);
void kernel_131072_keys_are_accurate(void **state);
void kernel_denormals_count_as_nothing_in_it_alone(void **state);

/* Of pages_test.c. */
void kernel_pages_of_any_range_same_bits(void **state);
void kernel_hundreds_of_pages_same_bits(void **state);
void kernel_queries_one_by_one_same_bits(void **state);

/* Of e4m3_test.c. */
void kernel_e4m3_is_attention_of_the_codes(void **state);
void kernel_e4m3_scales_are_by_range_and_head(void **state);
void kernel_e4m3_every_code_comes_out(void **state);
void kernel_e4m3_empty_and_zero_blocks(void **state);
void kernel_e4m3_is_near_the_oracle(void **state);
void kernel_e4m3_block_is_a_quarter_of_f32(void **state);

#endif
