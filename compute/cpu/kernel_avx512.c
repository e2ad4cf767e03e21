/* SPDX-License-Identifier: Apache-2.0 */
/* Compiled for AVX-512 F, BW, DQ, VL: 32 registers of 16 floats. */
#define KVR_KERNEL kvr_cpu_kernel_avx512
#define KVR_ROWS 12

#include "compute/cpu/flash.h"
