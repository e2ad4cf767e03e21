/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The GPU's attention behind the compute seam, for tensors of the host: each
 * is copied to the device and back. What runs is compute/cuda as it is, on a
 * GPU or as tests/emulated_cuda carries it out.
 */
#ifndef KVR_TESTS_CONFORMANCE_GPU_H
#define KVR_TESTS_CONFORMANCE_GPU_H

#include "runtime/compute.h"

extern const struct kvr_compute_ops gpu_compute;

/* What tiles may share from the next open on: how many tiles a problem has. */
void gpu_set_cache(size_t bytes);

/* Rows that step hands over one range after another go into a graph, which is
 * launched in place of the calls. */
void gpu_set_captured(bool captured);

/* Of gpu_test.c: tiles of 64 keys, of up to 128 rows; of 1024, and all rows. */
#define GPU_CACHE_SMALL ((size_t)128 << 10)
#define GPU_CACHE_LARGE ((size_t)8 << 20)

enum gpu_feature {
	GPU_PLAIN,
	GPU_CAUSAL,
	GPU_WINDOW,
	GPU_WINDOW_CAUSAL,
	GPU_SOFTCAP,
	GPU_SINKS,
	GPU_GROUPS,
	GPU_OTHER_VALUES,
	GPU_VALUES_IN_KEYS,
	GPU_INTERLEAVED,
	GPU_PACKED,
	GPU_FEATURES
};

struct problem;

/* 37 queries of 131 keys, of that feature. */
void gpu_problem(struct problem *p, enum gpu_feature feature);

/* By how much of itself a weight is rounded. */
double gpu_weight_error(enum kvr_dtype dtype);

void gpu_every_feature_of_every_type(void **state);
void gpu_captured_steps_match_oracle(void **state);
void gpu_large_tiles_match_oracle(void **state);
void gpu_rounded_weights_sum_to_one(void **state);
void gpu_tiles_do_not_race(void **state);

/* For both programs: the tests above but that of races, and what they take of
 * the body. */
#define GPU_TESTS                                                              \
	cmocka_unit_test(gpu_every_feature_of_every_type),                     \
		cmocka_unit_test(gpu_large_tiles_match_oracle),                \
		cmocka_unit_test(gpu_rounded_weights_sum_to_one),              \
		cmocka_unit_test(gpu_captured_steps_match_oracle)

#define GPU_BODY_TESTS                                                         \
	cmocka_unit_test(kernel_random_problem_matches_oracle),                \
		cmocka_unit_test(kernel_tails_match_oracle),                   \
		cmocka_unit_test(kernel_zigzag_matches_oracle),                \
		cmocka_unit_test(kernel_sequences_do_not_see_each_other),      \
		cmocka_unit_test(kernel_far_positions_match_oracle),           \
		cmocka_unit_test(kernel_rows_without_keys_give_zero),          \
		cmocka_unit_test(kernel_no_keys_give_zero),                    \
		cmocka_unit_test(kernel_no_queries_computes_nothing),          \
		cmocka_unit_test(kernel_second_pass_same_bits),                \
		cmocka_unit_test(kernel_large_scores_match_oracle),            \
		cmocka_unit_test(kernel_softcap_matches_oracle),               \
		cmocka_unit_test(kernel_sinks_match_oracle),                   \
		cmocka_unit_test(kernel_sink_alone_is_the_lse),                \
		cmocka_unit_test(kernel_sink_counts_once),                     \
		cmocka_unit_test(kernel_very_negative_scores_match_oracle),    \
		cmocka_unit_test(kernel_negative_scale_matches_oracle),        \
		cmocka_unit_test(kernel_negative_zeros_give_zero),             \
		cmocka_unit_test(kernel_nan_query_shows_in_its_row),           \
		cmocka_unit_test(kernel_half_out_is_f32_out_rounded),          \
		cmocka_unit_test(kernel_strided_out_leaves_gaps_alone)

#endif
