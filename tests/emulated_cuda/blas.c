/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The products of cuBLAS that kvring calls: inputs f32, bf16 or f16, sums and
 * outputs in f32 (or rounded once into the type of C). Plain loops.
 */
#include <cublas_v2.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/bf16.h"
#include "runtime/f16.h"
#include "tests/emulated_cuda/internal.h"

struct cublasContext {
	cudaStream_t stream;
	cublasMath_t math;
	cublasPointerMode_t mode;
	void *workspace;
	size_t workspace_bytes;
};

enum how { STRIDED, POINTERS };

struct matrix {
	const void *at; /* or the array of pointers, on the device */
	cudaDataType type;
	int ld;
	long long stride;
	bool transposed;
};

struct product {
	struct matrix a, b, c;
	enum how how;
	int m, n, k, batch;
	float alpha, beta;
	bool tf32;
};

static size_t size_of(cudaDataType type)
{
	return type == CUDA_R_32F ? 4 : 2;
}

static const char *part(const struct product *product,
			const struct matrix *matrix, int index)
{
	const void *at;

	if (product->how == STRIDED)
		return (const char *)matrix->at +
		       index * matrix->stride *
			       (long long)size_of(matrix->type);
	emu_touch_read((const void *const *)matrix->at + index, sizeof(at));
	at = ((const void *const *)matrix->at)[index];
	return at;
}

static float load(const char *at, cudaDataType type, bool tf32)
{
	uint32_t bits;
	uint16_t half;

	if (type != CUDA_R_32F) {
		memcpy(&half, at, sizeof(half));
		return type == CUDA_R_16BF ? kvr_bf16_to_f32(half)
					   : kvr_f16_to_f32(half);
	}
	memcpy(&bits, at, sizeof(bits));
	if (tf32 && (bits & 0x7f800000) != 0x7f800000)
		bits = (bits + 0x1000) & ~(uint32_t)0x1fff;
	return kvr_f16_from_bits(bits);
}

static void store(char *at, cudaDataType type, float value)
{
	uint16_t half = type == CUDA_R_16BF ? kvr_bf16_from_f32(value)
					    : kvr_f16_from_f32(value);

	if (type == CUDA_R_32F)
		memcpy(at, &value, sizeof(value));
	else
		memcpy(at, &half, sizeof(half));
}

/* Columns of rows elements, column-major, as cuBLAS has them. */
static void touch(const struct matrix *matrix, const char *at, int rows,
		  int columns, bool written)
{
	size_t size = size_of(matrix->type);

	for (int j = 0; j < columns; j++) {
		const char *column = at + (size_t)j * (size_t)matrix->ld * size;

		if (written)
			emu_touch_write((char *)column, (size_t)rows * size);
		else
			emu_touch_read(column, (size_t)rows * size);
	}
}

/* op(matrix) as rows x columns, row-major if by_row, else column-major. */
static float *unpack(const struct matrix *matrix, const char *at, int rows,
		     int columns, bool by_row, bool tf32)
{
	size_t size = size_of(matrix->type), ld = (size_t)matrix->ld;
	size_t r = (size_t)rows, c = (size_t)columns;
	float *out = malloc((r * c + 1) * sizeof(*out));

	if (!out)
		emu_abort("no memory for a product");
	for (size_t i = 0; i < r; i++)
		for (size_t j = 0; j < c; j++) {
			size_t from =
				matrix->transposed ? i * ld + j : j * ld + i;

			out[by_row ? i * c + j : j * r + i] =
				load(at + from * size, matrix->type, tf32);
		}
	return out;
}

static float dot(const float *a, const float *b, size_t count)
{
	float sum[16] = {0}, all = 0;
	size_t i = 0;

	for (; i + 16 <= count; i += 16)
		for (size_t j = 0; j < 16; j++)
			sum[j] += a[i + j] * b[i + j];
	for (; i < count; i++)
		all += a[i] * b[i];
	for (size_t j = 0; j < 16; j++)
		all += sum[j];
	return all;
}

static void multiply(const struct product *product, const char *a_at,
		     const char *b_at, char *c_at)
{
	size_t m = (size_t)product->m, n = (size_t)product->n;
	size_t k = (size_t)product->k, size = size_of(product->c.type);
	float *a = unpack(&product->a, a_at, product->m, product->k, true,
			  product->tf32);
	float *b = unpack(&product->b, b_at, product->k, product->n, false,
			  product->tf32);

	for (size_t j = 0; j < n; j++)
		for (size_t i = 0; i < m; i++) {
			char *at =
				c_at + (j * (size_t)product->c.ld + i) * size;
			float value =
				product->alpha * dot(a + i * k, b + j * k, k);

			if (product->beta != 0.0f)
				value += product->beta *
					 load(at, product->c.type, false);
			store(at, product->c.type, value);
		}
	free(a);
	free(b);
}

static void touch_all(const struct product *product, const char *a,
		      const char *b, const char *c)
{
	bool ta = product->a.transposed, tb = product->b.transposed;

	touch(&product->a, a, ta ? product->k : product->m,
	      ta ? product->m : product->k, false);
	touch(&product->b, b, tb ? product->n : product->k,
	      tb ? product->k : product->n, false);
	touch(&product->c, c, product->m, product->n, true);
}

static void run_product(struct emu_op *op)
{
	const struct product *product = emu_payload(op);

	for (int i = 0; i < product->batch; i++) {
		const char *a = part(product, &product->a, i);
		const char *b = part(product, &product->b, i);
		const char *c = part(product, &product->c, i);

		touch_all(product, a, b, c);
		multiply(product, a, b, (char *)c);
	}
}

static bool known_type(cudaDataType type)
{
	return type == CUDA_R_32F || type == CUDA_R_16BF || type == CUDA_R_16F;
}

static cublasStatus_t problem(const struct product *product,
			      cublasComputeType_t compute)
{
	const struct matrix *a = &product->a, *b = &product->b;

	if (product->m < 0 || product->n < 0 || product->k < 0 ||
	    product->batch < 0 ||
	    a->ld < (a->transposed ? product->k : product->m) ||
	    b->ld < (b->transposed ? product->n : product->k) ||
	    product->c.ld < product->m)
		return CUBLAS_STATUS_INVALID_VALUE;
	if (!known_type(a->type) || a->type != b->type ||
	    !known_type(product->c.type) ||
	    (product->c.type != CUDA_R_32F && product->c.type != a->type) ||
	    (compute != CUBLAS_COMPUTE_32F &&
	     compute != CUBLAS_COMPUTE_32F_PEDANTIC &&
	     compute != CUBLAS_COMPUTE_32F_FAST_TF32))
		return CUBLAS_STATUS_NOT_SUPPORTED;
	return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t submit(cublasHandle_t handle, struct product *product,
			     const void *alpha, const void *beta,
			     cublasComputeType_t compute)
{
	cublasStatus_t status;

	if (!handle)
		return CUBLAS_STATUS_NOT_INITIALIZED;
	if (emu_call("cublasGemm") != cudaSuccess)
		return CUBLAS_STATUS_EXECUTION_FAILED;
	status = problem(product, compute);
	if (status != CUBLAS_STATUS_SUCCESS)
		return status;
	if (handle->mode != CUBLAS_POINTER_MODE_HOST)
		return CUBLAS_STATUS_NOT_SUPPORTED;
	memcpy(&product->alpha, alpha, sizeof(product->alpha));
	memcpy(&product->beta, beta, sizeof(product->beta));
	product->tf32 = compute == CUBLAS_COMPUTE_32F_FAST_TF32 ||
			(compute == CUBLAS_COMPUTE_32F &&
			 handle->math == CUBLAS_TF32_TENSOR_OP_MATH);
	if (!product->m || !product->n || !product->batch)
		return CUBLAS_STATUS_SUCCESS;
	if (emu_submit(handle->stream,
		       emu_op_new(run_product, product, sizeof(*product))) !=
	    cudaSuccess)
		return CUBLAS_STATUS_EXECUTION_FAILED;
	return CUBLAS_STATUS_SUCCESS;
}

EMU_EXPORT cublasStatus_t cublasGemmStridedBatchedEx(
	cublasHandle_t handle, cublasOperation_t ta, cublasOperation_t tb,
	int m, int n, int k, const void *alpha, const void *a,
	cudaDataType a_type, int lda, long long stride_a, const void *b,
	cudaDataType b_type, int ldb, long long stride_b, const void *beta,
	void *c, cudaDataType c_type, int ldc, long long stride_c, int batch,
	cublasComputeType_t compute, cublasGemmAlgo_t algo)
{
	struct product product = {
		.a = {a, a_type, lda, stride_a, ta != CUBLAS_OP_N},
		.b = {b, b_type, ldb, stride_b, tb != CUBLAS_OP_N},
		.c = {c, c_type, ldc, stride_c, false},
		.how = STRIDED,
		.m = m,
		.n = n,
		.k = k,
		.batch = batch,
	};

	(void)algo;
	return submit(handle, &product, alpha, beta, compute);
}

EMU_EXPORT cublasStatus_t
cublasGemmEx(cublasHandle_t handle, cublasOperation_t ta, cublasOperation_t tb,
	     int m, int n, int k, const void *alpha, const void *a,
	     cudaDataType a_type, int lda, const void *b, cudaDataType b_type,
	     int ldb, const void *beta, void *c, cudaDataType c_type, int ldc,
	     cublasComputeType_t compute, cublasGemmAlgo_t algo)
{
	return cublasGemmStridedBatchedEx(
		handle, ta, tb, m, n, k, alpha, a, a_type, lda, 0, b, b_type,
		ldb, 0, beta, c, c_type, ldc, 0, 1, compute, algo);
}

EMU_EXPORT cublasStatus_t cublasGemmBatchedEx(
	cublasHandle_t handle, cublasOperation_t ta, cublasOperation_t tb,
	int m, int n, int k, const void *alpha, const void *const a[],
	cudaDataType a_type, int lda, const void *const b[],
	cudaDataType b_type, int ldb, const void *beta, void *const c[],
	cudaDataType c_type, int ldc, int batch, cublasComputeType_t compute,
	cublasGemmAlgo_t algo)
{
	struct product product = {
		.a = {a, a_type, lda, 0, ta != CUBLAS_OP_N},
		.b = {b, b_type, ldb, 0, tb != CUBLAS_OP_N},
		.c = {c, c_type, ldc, 0, false},
		.how = POINTERS,
		.m = m,
		.n = n,
		.k = k,
		.batch = batch,
	};

	(void)algo;
	return submit(handle, &product, alpha, beta, compute);
}

EMU_EXPORT cublasStatus_t cublasCreate_v2(cublasHandle_t *handle)
{
	if (emu_call("cublasCreate") != cudaSuccess || !emu_device_count())
		return CUBLAS_STATUS_NOT_INITIALIZED;
	*handle = calloc(1, sizeof(**handle));
	return *handle ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_ALLOC_FAILED;
}

EMU_EXPORT cublasStatus_t cublasDestroy_v2(cublasHandle_t handle)
{
	free(handle);
	return CUBLAS_STATUS_SUCCESS;
}

EMU_EXPORT cublasStatus_t cublasSetStream_v2(cublasHandle_t handle,
					     cudaStream_t stream)
{
	if (emu_call("cublasSetStream") != cudaSuccess)
		return CUBLAS_STATUS_EXECUTION_FAILED;
	handle->stream = stream;
	return CUBLAS_STATUS_SUCCESS;
}

EMU_EXPORT cublasStatus_t cublasGetStream_v2(cublasHandle_t handle,
					     cudaStream_t *stream)
{
	*stream = handle->stream;
	return CUBLAS_STATUS_SUCCESS;
}

EMU_EXPORT cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t handle,
						void *workspace, size_t bytes)
{
	if (emu_call("cublasSetWorkspace") != cudaSuccess)
		return CUBLAS_STATUS_EXECUTION_FAILED;
	if (workspace && !emu_area_find(workspace, NULL))
		return CUBLAS_STATUS_INVALID_VALUE;
	handle->workspace = workspace;
	handle->workspace_bytes = bytes;
	return CUBLAS_STATUS_SUCCESS;
}

EMU_EXPORT cublasStatus_t cublasSetMathMode(cublasHandle_t handle,
					    cublasMath_t mode)
{
	handle->math = mode;
	return CUBLAS_STATUS_SUCCESS;
}

EMU_EXPORT cublasStatus_t cublasGetMathMode(cublasHandle_t handle,
					    cublasMath_t *mode)
{
	*mode = handle->math;
	return CUBLAS_STATUS_SUCCESS;
}

EMU_EXPORT cublasStatus_t cublasSetPointerMode_v2(cublasHandle_t handle,
						  cublasPointerMode_t mode)
{
	handle->mode = mode;
	return CUBLAS_STATUS_SUCCESS;
}

EMU_EXPORT cublasStatus_t cublasGetVersion_v2(cublasHandle_t handle,
					      int *version)
{
	(void)handle;
	*version = CUBLAS_VERSION;
	return CUBLAS_STATUS_SUCCESS;
}

EMU_EXPORT const char *cublasGetStatusString(cublasStatus_t status)
{
	switch (status) {
	case CUBLAS_STATUS_SUCCESS:
		return "success";
	case CUBLAS_STATUS_NOT_INITIALIZED:
		return "the library was not initialized";
	case CUBLAS_STATUS_ALLOC_FAILED:
		return "an allocation failed";
	case CUBLAS_STATUS_INVALID_VALUE:
		return "an argument is invalid";
	case CUBLAS_STATUS_NOT_SUPPORTED:
		return "the functionality is not supported";
	default:
		return "the execution failed";
	}
}
