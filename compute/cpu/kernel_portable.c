/* SPDX-License-Identifier: Apache-2.0 */
/* The baseline of the architecture; 128-bit vectors, which every 64-bit one
 * has. */
#define KVR_KERNEL kvr_cpu_kernel_portable
#define KVR_ROWS 6

#include "compute/cpu/flash.h"
