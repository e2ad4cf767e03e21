/* SPDX-License-Identifier: Apache-2.0 */
/* Compiled for AVX2 and FMA: 16 registers of 8 floats. */
#define KVR_KERNEL kvr_cpu_kernel_avx2
#define KVR_ROWS 6

#include "compute/cpu/flash.h"
