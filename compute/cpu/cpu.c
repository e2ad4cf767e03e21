/* SPDX-License-Identifier: Apache-2.0 */
/* Which instruction set this processor has, and the ops table of each. */
#include <stdbool.h>
#include <stdio.h>

#include "compute/cpu/compute.h"
#include "compute/cpu/cpu.h"

static enum kvr_status report(bool usable, const char *what,
			      const char *why_not, char *reason,
			      size_t reason_bytes)
{
	snprintf(reason, reason_bytes, "%s", usable ? what : why_not);
	return usable ? KVR_OK : KVR_ERR_UNSUPPORTED;
}

static enum kvr_status portable_probe(char *reason, size_t reason_bytes)
{
	return report(true, "what any processor has, 4 floats at a time", "",
		      reason, reason_bytes);
}

static enum kvr_status portable_open(const struct kvr_compute_shape *shape,
				     struct kvr_ranges q, uint32_t threads,
				     struct kvr_compute **out)
{
	return kvr_cpu_open(&kvr_cpu_portable, &kvr_cpu_kernel_portable, shape,
			    q, threads, out);
}

#if defined(__x86_64__)

/* __builtin_cpu_supports asks the system, too: does it save the registers? */
static enum kvr_status avx2_probe(char *reason, size_t reason_bytes)
{
	return report(__builtin_cpu_supports("avx2") &&
			      __builtin_cpu_supports("fma"),
		      "8 floats at a time",
		      "the processor or the system lacks AVX2 or FMA", reason,
		      reason_bytes);
}

static enum kvr_status avx512_probe(char *reason, size_t reason_bytes)
{
	return report(__builtin_cpu_supports("avx512f") &&
			      __builtin_cpu_supports("avx512bw") &&
			      __builtin_cpu_supports("avx512dq") &&
			      __builtin_cpu_supports("avx512vl") &&
			      __builtin_cpu_supports("fma"),
		      "16 floats at a time",
		      "the processor or the system lacks AVX-512 F, BW, DQ, VL",
		      reason, reason_bytes);
}

static enum kvr_status avx2_open(const struct kvr_compute_shape *shape,
				 struct kvr_ranges q, uint32_t threads,
				 struct kvr_compute **out)
{
	return kvr_cpu_open(&kvr_cpu_avx2, &kvr_cpu_kernel_avx2, shape, q,
			    threads, out);
}

static enum kvr_status avx512_open(const struct kvr_compute_shape *shape,
				   struct kvr_ranges q, uint32_t threads,
				   struct kvr_compute **out)
{
	return kvr_cpu_open(&kvr_cpu_avx512, &kvr_cpu_kernel_avx512, shape, q,
			    threads, out);
}

#else

static enum kvr_status x86_probe(char *reason, size_t reason_bytes)
{
	return report(false, "", "this build is not for x86-64", reason,
		      reason_bytes);
}

static enum kvr_status x86_open(const struct kvr_compute_shape *shape,
				struct kvr_ranges q, uint32_t threads,
				struct kvr_compute **out)
{
	(void)shape;
	(void)q;
	(void)threads;
	(void)out;
	return KVR_ERR_UNSUPPORTED;
}

#define avx2_probe x86_probe
#define avx2_open x86_open
#define avx512_probe x86_probe
#define avx512_open x86_open

#endif

const struct kvr_compute_ops kvr_cpu_portable = {
	.name = "portable",
	.layout_id = KVR_CPU_LAYOUT_ID,
	.probe = portable_probe,
	.block_bytes = kvr_cpu_block_bytes,
	.open = portable_open,
	.close = kvr_cpu_close,
	.pack = kvr_cpu_pack,
	.begin = kvr_cpu_begin,
	.append = kvr_cpu_append,
	.reserve = kvr_cpu_reserve,
	.step = kvr_cpu_step,
	.step_pages = kvr_cpu_step_pages,
	.stop = kvr_cpu_stop,
	.set_pulse = kvr_cpu_set_pulse,
	.finish = kvr_cpu_finish,
	.failed = kvr_cpu_failed,
	.can_read = kvr_cpu_can_read,
	.paged = true,
};

const struct kvr_compute_ops kvr_cpu_avx2 = {
	.name = "avx2",
	.layout_id = KVR_CPU_LAYOUT_ID,
	.probe = avx2_probe,
	.block_bytes = kvr_cpu_block_bytes,
	.open = avx2_open,
	.close = kvr_cpu_close,
	.pack = kvr_cpu_pack,
	.begin = kvr_cpu_begin,
	.append = kvr_cpu_append,
	.reserve = kvr_cpu_reserve,
	.step = kvr_cpu_step,
	.step_pages = kvr_cpu_step_pages,
	.stop = kvr_cpu_stop,
	.set_pulse = kvr_cpu_set_pulse,
	.finish = kvr_cpu_finish,
	.failed = kvr_cpu_failed,
	.can_read = kvr_cpu_can_read,
	.paged = true,
};

const struct kvr_compute_ops kvr_cpu_avx512 = {
	.name = "avx512",
	.layout_id = KVR_CPU_LAYOUT_ID,
	.probe = avx512_probe,
	.block_bytes = kvr_cpu_block_bytes,
	.open = avx512_open,
	.close = kvr_cpu_close,
	.pack = kvr_cpu_pack,
	.begin = kvr_cpu_begin,
	.append = kvr_cpu_append,
	.reserve = kvr_cpu_reserve,
	.step = kvr_cpu_step,
	.step_pages = kvr_cpu_step_pages,
	.stop = kvr_cpu_stop,
	.set_pulse = kvr_cpu_set_pulse,
	.finish = kvr_cpu_finish,
	.failed = kvr_cpu_failed,
	.can_read = kvr_cpu_can_read,
	.paged = true,
};
