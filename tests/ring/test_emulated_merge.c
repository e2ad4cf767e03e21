/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvr_attention_merge_on_stream, through the plug-in as it is loaded, over the
 * emulated CUDA: what kvr_attention_merge gives for the same partials.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <cuda_runtime_api.h>

#include "kvring/attention.h"
#include "tests/emulated_cuda/emulated.h"

#define TOKENS 37
#define HEADS 3
#define DIM 20
#define VALUES (TOKENS * HEADS * DIM)
#define SUMS (HEADS * TOKENS)

/* Both in double and rounded once; the order of operations differs. */
#define CLOSE 1e-6f

struct side {
	float out[VALUES], lse[SUMS];
};

static struct side left, right, want, got;

static void fill(struct side *side, uint32_t seed)
{
	uint32_t random = seed;

	for (size_t i = 0; i < VALUES + SUMS; i++) {
		float *at = i < VALUES ? &side->out[i] : &side->lse[i - VALUES];

		random = random * 1664525 + 1013904223;
		*at = (float)(random >> 8) * 0x1p-23f - 1;
		if (i >= VALUES)
			*at *= 20;
	}
}

static struct kvr_partial partial(struct side *side, enum kvr_lse_base base)
{
	return (struct kvr_partial){
		.out = kvr_tensor_dense(side->out, KVR_F32, TOKENS, HEADS, DIM),
		.lse = side->lse,
		.lse_head_stride = TOKENS,
		.base = base,
	};
}

/* Rows that one of the two, or neither, has seen a key of. */
static void make_sides(void)
{
	fill(&left, 1);
	fill(&right, 2);
	memset(&want, 0xff, sizeof(want));
	memset(&got, 0xff, sizeof(got));
	left.lse[0] = right.lse[1] = -INFINITY;
	left.lse[2] = right.lse[2] = -INFINITY;
	left.out[0] = NAN;
}

static struct side *on_device(const struct side *side)
{
	void *at;

	assert_int_equal(cudaMalloc(&at, sizeof(*side)), cudaSuccess);
	assert_int_equal(
		cudaMemcpy(at, side, sizeof(*side), cudaMemcpyHostToDevice),
		cudaSuccess);
	return at;
}

static void merge_on_device(enum kvr_lse_base a, enum kvr_lse_base b,
			    enum kvr_lse_base out)
{
	struct side *at[3] = {on_device(&left), on_device(&right),
			      on_device(&got)};
	struct kvr_partial pa = partial(at[0], a), pb = partial(at[1], b);
	struct kvr_partial po = partial(at[2], out);
	cudaStream_t stream;

	assert_int_equal(cudaStreamCreate(&stream), cudaSuccess);
	assert_int_equal(kvr_attention_merge_on_stream(&pa, &pb, &po, stream),
			 KVR_OK);
	assert_int_equal(cudaStreamSynchronize(stream), cudaSuccess);
	assert_int_equal(cudaStreamDestroy(stream), cudaSuccess);
	assert_int_equal(
		cudaMemcpy(&got, at[2], sizeof(got), cudaMemcpyDeviceToHost),
		cudaSuccess);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(cudaFree(at[i]), cudaSuccess);
}

static void assert_near(const float *a, const float *b, size_t count,
			float scale)
{
	for (size_t i = 0; i < count; i++)
		assert_true(a[i] == b[i] ||
			    fabsf(a[i] - b[i]) <= CLOSE * scale);
}

static void emulated_merge_of_any_bases_is_the_hosts(void **state)
{
	(void)state;
	for (int i = 0; i < 8; i++) {
		enum kvr_lse_base a = i & 1, b = i >> 1 & 1, out = i >> 2;
		struct kvr_partial pa, pb, po;

		make_sides();
		pa = partial(&left, a);
		pb = partial(&right, b);
		po = partial(&want, out);
		assert_int_equal(kvr_attention_merge(&pa, &pb, &po), KVR_OK);
		merge_on_device(a, b, out);
		assert_near(got.out, want.out, VALUES, 1);
		/* lse is up to 30 in size. */
		assert_near(got.lse, want.lse, SUMS, 32);
	}
	assert_int_equal(kvr_emulated_allocations(), 0);
}

static void emulated_merge_of_unequal_shapes_is_invalid(void **state)
{
	struct kvr_partial a, b, out;

	(void)state;
	make_sides();
	a = partial(&left, KVR_LSE_NATURAL);
	b = partial(&right, KVR_LSE_NATURAL);
	out = partial(&got, KVR_LSE_NATURAL);
	b.out.tokens--;
	assert_int_equal(kvr_attention_merge_on_stream(&a, &b, &out, NULL),
			 KVR_ERR_INVALID);
	assert_int_equal(kvr_attention_merge_on_stream(&a, NULL, &out, NULL),
			 KVR_ERR_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(emulated_merge_of_any_bases_is_the_hosts),
		cmocka_unit_test(emulated_merge_of_unequal_shapes_is_invalid),
	};

	return cmocka_run_group_tests_name("emulated merge", tests, NULL, NULL);
}
