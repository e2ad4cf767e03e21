/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cuBLAS, loaded when the first attention is opened: what the program has
 * brought already, else libcublas.so of this toolkit's major version. The
 * plug-in does all else without it.
 */
#ifndef KVR_COMPUTE_CUDA_BLAS_H
#define KVR_COMPUTE_CUDA_BLAS_H

#include <cublas_v2.h>
#include <stddef.h>

#include "kvring/status.h"

/* By their names in cublas_v2.h, which defines them to versions. */
struct kvr_cuda_blas {
	__typeof__(cublasCreate) *create;
	__typeof__(cublasDestroy) *destroy;
	__typeof__(cublasSetStream) *set_stream;
	__typeof__(cublasSetWorkspace) *set_workspace;
	__typeof__(cublasGemmStridedBatchedEx) *gemm;
	__typeof__(cublasGetStatusString) *status_string;
};

/*
 * Once a process; read-only afterwards. Errors: UNSUPPORTED, with the reason.
 */
enum kvr_status kvr_cuda_blas_load(const struct kvr_cuda_blas **out,
				   char *reason, size_t reason_bytes);

#endif
