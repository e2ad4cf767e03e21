/* SPDX-License-Identifier: Apache-2.0 */
/* The driver that the three ops tables of cpu.c share; see kvr_compute_ops. */
#ifndef KVR_COMPUTE_COMPUTE_H
#define KVR_COMPUTE_COMPUTE_H

#include "compute/cpu/kernel.h"

enum kvr_status kvr_cpu_open(const struct kvr_compute_ops *ops,
			     const struct kvr_cpu_kernel *kernel,
			     const struct kvr_compute_shape *shape,
			     struct kvr_ranges q, uint32_t threads,
			     struct kvr_compute **out);
void kvr_cpu_close(struct kvr_compute *compute);
void kvr_cpu_pack(struct kvr_compute *compute, struct kvr_ranges kv,
		  const struct kvr_tensor *k, const struct kvr_tensor *v,
		  void *block);
void kvr_cpu_begin(struct kvr_compute *compute, const struct kvr_tensor *q);
void kvr_cpu_step(struct kvr_compute *compute, struct kvr_ranges kv,
		  const void *block);
void kvr_cpu_step_pages(struct kvr_compute *compute, struct kvr_ranges kv,
			const void *const *page);
enum kvr_status kvr_cpu_reserve(struct kvr_compute *compute, size_t ranges,
				size_t bytes);
void kvr_cpu_stop(struct kvr_compute *compute);
void kvr_cpu_set_pulse(struct kvr_compute *compute, void (*pulse)(void *arg),
		       void *arg);
void kvr_cpu_finish(struct kvr_compute *compute, const struct kvr_tensor *out,
		    float *lse, size_t lse_head_stride);
const char *kvr_cpu_failed(const struct kvr_compute *compute);
bool kvr_cpu_can_read(const void *address);

#endif
