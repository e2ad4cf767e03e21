/* SPDX-License-Identifier: Apache-2.0 */
/* What the driver says of a GPU and of an address; contracts in the seam. */
#ifndef KVR_COMPUTE_CUDA_DEVICE_H
#define KVR_COMPUTE_CUDA_DEVICE_H

#include "runtime/accelerator.h"

enum kvr_status kvr_cuda_device_info(uint32_t index, struct kvr_gpu_info *out,
				     char *reason, size_t reason_bytes);
enum kvr_status kvr_cuda_pointer_query(const void *address,
				       struct kvr_pointer_info *out);

#endif
