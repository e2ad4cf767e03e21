/* SPDX-License-Identifier: Apache-2.0 */
/* CUDA's errors in ours: the one place that translates them. */
#ifndef KVR_COMPUTE_CUDA_ERROR_H
#define KVR_COMPUTE_CUDA_ERROR_H

#include <cuda_runtime_api.h>

#include "kvring/status.h"

/*
 * Of a call that failed. reason: "call: what CUDA says (number)". The driver's
 * CUresult has the runtime's numbers and may be cast.
 */
enum kvr_status kvr_cuda_failed(const char *call, cudaError_t error,
				char *reason, size_t bytes);

/*
 * Of the first call of a process, which starts the driver: which of the ways
 * not to have a GPU this is, and what to do. driver: as cudaDriverGetVersion
 * says, 0 where none loads.
 */
enum kvr_status kvr_cuda_not_started(cudaError_t error, int driver,
				     char *reason, size_t bytes);

#endif
