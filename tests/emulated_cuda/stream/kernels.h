/* SPDX-License-Identifier: Apache-2.0 */
/* What the stream tests compute: blocks that say whose they are, and when. */
#ifndef KVR_TESTS_EMULATED_CUDA_STREAM_KERNELS_H
#define KVR_TESTS_EMULATED_CUDA_STREAM_KERNELS_H

#include <cuda_runtime_api.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define STAMPED_BYTES 9000

/* Mapped host memory that the kernels of one rank's stream count in. */
struct stamped_counts {
	uint32_t pass;	       /* whose local block was written last, from 1 */
	uint32_t right, wrong; /* blocks */
};

/* The rank's local block of the next pass. */
cudaError_t stamped_fill(uint8_t *local, uint32_t rank,
			 struct stamped_counts *counts, cudaStream_t stream);

/* Is it origin's block of this pass? */
cudaError_t stamped_compare(const uint8_t *block, uint32_t origin,
			    struct stamped_counts *counts, cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
