/* SPDX-License-Identifier: Apache-2.0 */
/* The accelerator behind the compute seam: "cuda". */
#ifndef KVR_RUNTIME_ACCELERATOR_COMPUTE_H
#define KVR_RUNTIME_ACCELERATOR_COMPUTE_H

#include "runtime/compute.h"

/*
 * Tensors, out and lse are memory that the GPU reads: ready in the order of
 * the legacy default stream, and so of every stream that is not made
 * non-blocking. Blocks may be in host memory, where they are staged, or on the
 * device. Calls return when the GPU is done, as the seam wants it.
 */
extern const struct kvr_compute_ops kvr_accelerator_compute;

#endif
