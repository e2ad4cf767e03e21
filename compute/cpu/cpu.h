/* SPDX-License-Identifier: Apache-2.0 */
/* The CPU kernels: one blocked algorithm, three instruction sets. */
#ifndef KVR_COMPUTE_CPU_H
#define KVR_COMPUTE_CPU_H

#include "runtime/compute.h"

extern const struct kvr_compute_ops kvr_cpu_portable;
extern const struct kvr_compute_ops kvr_cpu_avx2;
extern const struct kvr_compute_ops kvr_cpu_avx512;

#endif
