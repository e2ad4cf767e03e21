/* SPDX-License-Identifier: Apache-2.0 */
/* Memory of a GPU for transports; contracts in the seam. */
#ifndef KVR_COMPUTE_CUDA_MEMORY_H
#define KVR_COMPUTE_CUDA_MEMORY_H

#include "runtime/accelerator_memory.h"

extern const struct kvr_accelerator_memory_ops kvr_cuda_memory;

#endif
