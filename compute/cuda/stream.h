/* SPDX-License-Identifier: Apache-2.0 */
/* Words in the order of streams; the contract is the seam's. */
#ifndef KVR_COMPUTE_CUDA_STREAM_H
#define KVR_COMPUTE_CUDA_STREAM_H

#include "runtime/accelerator_stream.h"

extern const struct kvr_accelerator_stream_ops kvr_cuda_stream_ops;

#endif
