/* SPDX-License-Identifier: Apache-2.0 */
/* The emulated products of cuBLAS against sums in double. */
#include <cublas_v2.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/bf16.h"
#include "runtime/f16.h"
#include "tests/emulated_cuda/emulated.h"

#define ROOM 4096 /* elements of each matrix */
#define PAD 3	  /* of leading dimensions */

struct fixture {
	cublasHandle_t handle;
	cudaStream_t stream;
	void *a, *b, *c; /* on the device */
	float host_a[ROOM], host_b[ROOM], host_c[ROOM];
};

static void ok(int error)
{
	assert_int_equal(error, 0);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	kvr_emulated_reset();
	ok(cudaStreamCreateWithFlags(&f->stream, cudaStreamNonBlocking));
	ok((int)cublasCreate(&f->handle));
	ok((int)cublasSetStream(f->handle, f->stream));
	ok(cudaMalloc(&f->a, ROOM * sizeof(float)));
	ok(cudaMalloc(&f->b, ROOM * sizeof(float)));
	ok(cudaMalloc(&f->c, ROOM * sizeof(float)));
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	ok((int)cublasDestroy(f->handle));
	ok(cudaFree(f->a));
	ok(cudaFree(f->b));
	ok(cudaFree(f->c));
	ok(cudaStreamDestroy(f->stream));
	free(f);
	return 0;
}

/* Multiples of 1/8 below 4, exact in every type. */
static void fill(float *list, uint32_t seed)
{
	for (size_t i = 0; i < ROOM; i++) {
		seed = seed * 1664525 + 1013904223;
		list[i] = (float)((int)(seed >> 26) - 32) / 8;
	}
}

static void put(struct fixture *f, void *device, const float *list,
		cudaDataType type)
{
	uint16_t narrow[ROOM];
	size_t size = type == CUDA_R_32F ? 4 : 2;

	for (size_t i = 0; i < ROOM; i++)
		narrow[i] = type == CUDA_R_16BF ? kvr_bf16_from_f32(list[i])
						: kvr_f16_from_f32(list[i]);
	ok(cudaMemcpyAsync(device,
			   type == CUDA_R_32F ? (const void *)list : narrow,
			   ROOM * size, cudaMemcpyHostToDevice, f->stream));
}

struct shape {
	int m, n, k, batch;
	bool ta, tb;
	float alpha, beta;
};

static double wanted(const struct fixture *f, const struct shape *s, int i,
		     int j, int batch, size_t stride)
{
	size_t lda = (size_t)(s->ta ? s->k : s->m) + PAD;
	size_t ldb = (size_t)(s->tb ? s->n : s->k) + PAD;
	const float *a = f->host_a + (size_t)batch * stride;
	const float *b = f->host_b + (size_t)batch * stride;
	double sum = 0;

	for (int p = 0; p < s->k; p++) {
		size_t at = s->ta ? (size_t)i * lda + (size_t)p
				  : (size_t)p * lda + (size_t)i;
		size_t bt = s->tb ? (size_t)p * ldb + (size_t)j
				  : (size_t)j * ldb + (size_t)p;

		sum += (double)a[at] * (double)b[bt];
	}
	return sum;
}

static void check(struct fixture *f, const struct shape *s, cudaDataType type)
{
	int lda = (s->ta ? s->k : s->m) + PAD;
	int ldb = (s->tb ? s->n : s->k) + PAD, ldc = s->m + PAD;
	size_t stride = ROOM / 4;
	float out[ROOM];

	fill(f->host_a, 1);
	fill(f->host_b, 2);
	fill(f->host_c, 3);
	put(f, f->a, f->host_a, type);
	put(f, f->b, f->host_b, type);
	put(f, f->c, f->host_c, CUDA_R_32F);
	ok((int)cublasGemmStridedBatchedEx(
		f->handle, s->ta ? CUBLAS_OP_T : CUBLAS_OP_N,
		s->tb ? CUBLAS_OP_T : CUBLAS_OP_N, s->m, s->n, s->k, &s->alpha,
		f->a, type, lda, (long long)stride, f->b, type, ldb,
		(long long)stride, &s->beta, f->c, CUDA_R_32F, ldc,
		(long long)stride, s->batch, CUBLAS_COMPUTE_32F,
		CUBLAS_GEMM_DEFAULT));
	ok(cudaMemcpyAsync(out, f->c, sizeof(out), cudaMemcpyDeviceToHost,
			   f->stream));
	for (int batch = 0; batch < s->batch; batch++)
		for (int j = 0; j < s->n; j++)
			for (int i = 0; i < s->m; i++) {
				size_t at = (size_t)batch * stride +
					    (size_t)(j * ldc + i);
				double sum =
					(double)s->alpha * wanted(f, s, i, j,
								  batch,
								  stride) +
					(double)s->beta * (double)f->host_c[at];

				/* exact inputs; sums below 2^24 / 64 */
				assert_true(fabs(sum - (double)out[at]) < 1e-3);
			}
	assert_true(out[s->m] == f->host_c[s->m]); /* the padding */
}

static void product_each_layout_and_type_is_the_sum(void **state)
{
	static const cudaDataType types[] = {CUDA_R_32F, CUDA_R_16BF,
					     CUDA_R_16F};

	for (int layout = 0; layout < 4; layout++)
		for (size_t type = 0; type < 3; type++)
			check(*state,
			      &(struct shape){.m = 7,
					      .n = 5,
					      .k = 33,
					      .batch = 3,
					      .ta = layout & 1,
					      .tb = layout & 2,
					      .alpha = 0.5f,
					      .beta = 2.0f},
			      types[type]);
}

static void product_of_pointers_takes_each_pair(void **state)
{
	struct fixture *f = *state;
	float *parts[4], one = 1, zero = 0, out[8], in[8] = {2, 3, 5, 7};
	void *array;

	put(f, f->a,
	    (fill(f->host_a, 1), memcpy(f->host_a, in, sizeof(in)), f->host_a),
	    CUDA_R_32F);
	for (size_t i = 0; i < 2; i++) {
		parts[i] = (float *)f->a + i;
		parts[2 + i] = (float *)f->c + i;
	}
	ok(cudaMalloc(&array, sizeof(parts)));
	ok(cudaMemcpy(array, parts, sizeof(parts), cudaMemcpyHostToDevice));
	ok((int)cublasGemmBatchedEx(f->handle, CUBLAS_OP_N, CUBLAS_OP_N, 1, 1,
				    1, &one, (const void *const *)array,
				    CUDA_R_32F, 1, (const void *const *)array,
				    CUDA_R_32F, 1, &zero,
				    (void *const *)array + 2, CUDA_R_32F, 1, 2,
				    CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT));
	ok(cudaMemcpyAsync(out, f->c, sizeof(out), cudaMemcpyDeviceToHost,
			   f->stream));
	assert_true(out[0] == 4 && out[1] == 9);
	ok(cudaFree(array));
}

static float square(struct fixture *f, float value, cublasComputeType_t how)
{
	float one = 1, zero = 0, out[1];

	ok(cudaMemcpy(f->a, &value, sizeof(value), cudaMemcpyHostToDevice));
	ok((int)cublasGemmEx(f->handle, CUBLAS_OP_N, CUBLAS_OP_N, 1, 1, 1, &one,
			     f->a, CUDA_R_32F, 1, f->a, CUDA_R_32F, 1, &zero,
			     f->c, CUDA_R_32F, 1, how, CUBLAS_GEMM_DEFAULT));
	ok(cudaMemcpyAsync(out, f->c, sizeof(out), cudaMemcpyDeviceToHost,
			   f->stream));
	return out[0];
}

/* 1 + 2^-12 has one bit more than TF32 keeps. */
static void product_tf32_only_where_asked(void **state)
{
	struct fixture *f = *state;
	float value = 1.0f + 0x1p-12f;

	assert_true(square(f, value, CUBLAS_COMPUTE_32F) != 1.0f);
	assert_true(square(f, value, CUBLAS_COMPUTE_32F_FAST_TF32) == 1.0f);
	ok((int)cublasSetMathMode(f->handle, CUBLAS_TF32_TENSOR_OP_MATH));
	assert_true(square(f, value, CUBLAS_COMPUTE_32F) == 1.0f);
}

static void product_impossible_is_refused(void **state)
{
	struct fixture *f = *state;
	float one = 1, zero = 0;

	assert_int_equal(cublasGemmEx(f->handle, CUBLAS_OP_N, CUBLAS_OP_N, 4, 4,
				      4, &one, f->a, CUDA_R_32F, 3, f->b,
				      CUDA_R_32F, 4, &zero, f->c, CUDA_R_32F, 4,
				      CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
			 CUBLAS_STATUS_INVALID_VALUE);
	assert_int_equal(cublasGemmEx(f->handle, CUBLAS_OP_N, CUBLAS_OP_N, 4, 4,
				      4, &one, f->a, CUDA_R_64F, 4, f->b,
				      CUDA_R_64F, 4, &zero, f->c, CUDA_R_64F, 4,
				      CUBLAS_COMPUTE_64F, CUBLAS_GEMM_DEFAULT),
			 CUBLAS_STATUS_NOT_SUPPORTED);
	kvr_emulated_fail_named("cublasGemm", 1, cudaErrorUnknown);
	assert_int_equal(cublasGemmEx(f->handle, CUBLAS_OP_N, CUBLAS_OP_N, 4, 4,
				      4, &one, f->a, CUDA_R_32F, 4, f->b,
				      CUDA_R_32F, 4, &zero, f->c, CUDA_R_32F, 4,
				      CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
			 CUBLAS_STATUS_EXECUTION_FAILED);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(product_each_layout_and_type_is_the_sum),
		TEST(product_of_pointers_takes_each_pair),
		TEST(product_tf32_only_where_asked),
		TEST(product_impossible_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
