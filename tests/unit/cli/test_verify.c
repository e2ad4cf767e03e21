/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/attention.h"
#include "cli/random.h"
#include "cli/signals.h"

#define TOKENS 300
#define HEADS 4
#define DIM 8
#define OUT (TOKENS * HEADS * DIM)

static char directory[] = "/tmp/kvring-verify-XXXXXX";
static char input_path[64], output_path[64];

/* A job whose output file holds what the oracle says. */
struct fixture {
	struct attention_options options;
	struct attention_input input;
	struct attention_output output;
	struct attention_job job;
	float q[OUT], k[OUT / 2], v[OUT / 2], out[OUT], lse[TOKENS * HEADS];
};

static void make_input(struct fixture *f)
{
	struct safetensors_spec specs[] = {
		{"q", "F32", 3, {TOKENS, HEADS, DIM}, 0},
		{"k", "F32", 3, {TOKENS, HEADS / 2, DIM}, 0},
		{"v", "F32", 3, {TOKENS, HEADS / 2, DIM}, 0}};
	struct complaint why;
	size_t head_bytes;
	uint64_t total, i;
	void *head;
	FILE *file;

	for (i = 0; i < OUT; i++)
		f->q[i] = random_normal(1, 0, i);
	for (i = 0; i < OUT / 2; i++) {
		f->k[i] = random_normal(1, 1, i);
		f->v[i] = random_normal(1, 2, i);
	}
	assert_true(
		safetensors_head(specs, 3, &head, &head_bytes, &total, &why));
	file = fopen(input_path, "we");
	assert_int_equal(fwrite(head, 1, head_bytes, file), head_bytes);
	fwrite(f->q, sizeof(f->q), 1, file);
	fwrite(f->k, sizeof(f->k), 1, file);
	fwrite(f->v, sizeof(f->v), 1, file);
	assert_int_equal(fclose(file), 0);
	free(head);
	assert_true(attention_input_open(input_path, 0, &f->input, &why));
}

static void describe(struct fixture *f)
{
	f->job = (struct attention_job){.options = &f->options,
					.input = &f->input,
					.output = &f->output};
	kvr_plan_desc_init(&f->job.desc);
	f->job.desc.q_heads = HEADS;
	f->job.desc.kv_heads = HEADS / 2;
	f->job.desc.head_dim = f->job.desc.value_dim = DIM;
	f->job.desc.mask = KVR_MASK_CAUSAL;
}

static void compute(struct fixture *f)
{
	const struct kvr_range range = {.length = TOKENS};
	struct kvr_plan_desc desc = f->job.desc;
	struct kvr_tensor q =
		kvr_tensor_dense(f->q, KVR_F32, TOKENS, HEADS, DIM);
	struct kvr_tensor k =
		kvr_tensor_dense(f->k, KVR_F32, TOKENS, HEADS / 2, DIM);
	struct kvr_tensor v =
		kvr_tensor_dense(f->v, KVR_F32, TOKENS, HEADS / 2, DIM);
	struct kvr_tensor out =
		kvr_tensor_dense(f->out, KVR_F32, TOKENS, HEADS, DIM);

	desc.q_ranges = desc.kv_ranges = &range;
	desc.q_range_count = desc.kv_range_count = 1;
	assert_int_equal(kvr_attention_oracle(&desc, &q, &k, &v, NULL, TOKENS,
					      &out, f->lse, TOKENS),
			 KVR_OK);
}

static int open_fixture(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct complaint why;

	assert_non_null(f);
	f->options = (struct attention_options){.input_path = input_path,
						.output_path = output_path,
						.causal = true};
	make_input(f);
	describe(f);
	assert_true(attention_output_open(&f->options, &f->input, &f->output,
					  &why));
	compute(f);
	*state = f;
	return 0;
}

static int close_fixture(void **state)
{
	struct fixture *f = *state;

	output_abandon(&f->output.file);
	attention_input_close(&f->input);
	unlink(input_path);
	free(f);
	return 0;
}

static struct verification verify(struct fixture *f)
{
	struct verification result;
	struct complaint why;
	int interrupted;

	assert_true(write_all(f->output.file.fd, f->out, sizeof(f->out),
			      f->output.out_offset));
	assert_true(write_all(f->output.file.fd, f->lse, sizeof(f->lse),
			      f->output.lse_offset));
	assert_true(verify_attention(&f->job, &result, &interrupted, &why));
	assert_int_equal(interrupted, 0);
	assert_int_equal(result.rows, TOKENS);
	assert_int_equal(result.of_rows, TOKENS);
	return result;
}

static void verify_of_the_oracle_itself_passes(void **state)
{
	struct verification v = verify(*state);

	assert_true(v.passed);
	assert_true(v.out_max == 0 && v.lse_max == 0 && v.out_relative == 0);
}

static void verify_of_noise_below_the_limit_passes(void **state)
{
	struct fixture *f = *state;
	struct verification v;
	size_t i;

	for (i = 0; i < OUT; i++)
		f->out[i] *= 1 + 2e-6f * random_normal(2, 0, i);
	v = verify(f);
	assert_true(v.passed);
	assert_true(v.out_relative > 1e-6 && v.out_relative < 4e-6);
}

static void verify_of_noise_above_the_limit_fails(void **state)
{
	struct fixture *f = *state;
	struct verification v;
	size_t i;

	for (i = 0; i < OUT; i++)
		f->out[i] *= 1 + 2e-5f * random_normal(2, 0, i);
	v = verify(f);
	assert_false(v.passed);
	assert_true(v.out_worst_row < v.row_limit);
}

/* Too little to raise the error of the whole, in the last row of all. */
static void verify_of_one_wrong_row_fails(void **state)
{
	struct fixture *f = *state;
	struct verification v;
	size_t i;

	for (i = OUT - HEADS * DIM; i < OUT; i++)
		f->out[i] *= 1.00015f;
	v = verify(f);
	assert_false(v.passed);
	assert_true(v.out_relative < v.out_limit);
	assert_true(v.out_worst_row > 1e-4 && v.out_worst_row < 2e-4);
}

static void verify_of_swapped_heads_fails(void **state)
{
	struct fixture *f = *state;
	float head[DIM];

	memcpy(head, f->out + OUT / 2, sizeof(head));
	memcpy(f->out + OUT / 2, f->out + OUT / 2 + DIM, sizeof(head));
	memcpy(f->out + OUT / 2 + DIM, head, sizeof(head));
	assert_false(verify(f).passed);
}

static void verify_of_wrong_lse_fails(void **state)
{
	struct fixture *f = *state;

	f->lse[TOKENS * HEADS - 1] += 1e-3f;
	assert_false(verify(f).passed);
}

static void verify_of_values_not_finite_fails(void **state)
{
	struct fixture *f = *state;
	struct verification v;

	f->out[7] = NAN;
	f->out[OUT - 1] = INFINITY;
	f->lse[11] = -INFINITY;
	v = verify(f);
	assert_false(v.passed);
	assert_int_equal(v.not_finite, 3);
}

static int make(void **state)
{
	struct complaint why;

	(void)state;
	if (!mkdtemp(directory))
		return -1;
	snprintf(input_path, sizeof(input_path), "%s/in", directory);
	snprintf(output_path, sizeof(output_path), "%s/out", directory);
	return !signals_block(&why);
}

static int clear(void **state)
{
	(void)state;
	return rmdir(directory);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, open_fixture, close_fixture)
	const struct CMUnitTest tests[] = {
		TEST(verify_of_the_oracle_itself_passes),
		TEST(verify_of_noise_below_the_limit_passes),
		TEST(verify_of_noise_above_the_limit_fails),
		TEST(verify_of_one_wrong_row_fails),
		TEST(verify_of_swapped_heads_fails),
		TEST(verify_of_wrong_lse_fails),
		TEST(verify_of_values_not_finite_fails),
	};

	return cmocka_run_group_tests(tests, make, clear);
}
