/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For scripts/bench-cpu.py: attention, timed when told to.
 *
 *	cpu_serve f32|bf16 DIM full|causal TOKENS HEADS THREADS wall|cpu
 *
 * For each line of standard input one run, the packing of keys and values
 * included, and its seconds on a line of standard output. The kernel is the
 * best one of this processor.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/cpu_case.h"
#include "bench/report.h"

static const struct kvr_compute_ops *best_kernel(void)
{
	char reason[160];

	if (!kvr_cpu_avx512.probe(reason, sizeof(reason)))
		return &kvr_cpu_avx512;
	if (!kvr_cpu_avx2.probe(reason, sizeof(reason)))
		return &kvr_cpu_avx2;
	return &kvr_cpu_portable;
}

static uint32_t number(const char *text)
{
	return (uint32_t)report_number(text, 1 << 24);
}

int main(int argc, char **argv)
{
	struct cpu_case a = {.ops = best_kernel()};
	char line[16];

	if (argc != 8)
		report_die("seven arguments, please");
	a.shape.dtype = strcmp(argv[1], "bf16") == 0 ? KVR_BF16 : KVR_F32;
	a.shape.head_dim = a.shape.value_dim = number(argv[2]);
	a.shape.mask = strcmp(argv[3], "causal") == 0 ? KVR_MASK_CAUSAL
						      : KVR_MASK_FULL;
	a.shape.q_heads = a.shape.kv_heads = number(argv[5]);
	a.shape.scale = 1 / sqrtf((float)a.shape.head_dim);
	if (strcmp(argv[7], "cpu") == 0)
		cpu_case_use_cpu_time(number(argv[6]));
	cpu_case_open(&a, number(argv[4]), number(argv[6]), 0);
	printf("%s\n", a.ops->name);
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		double seconds = cpu_case_pack(&a);

		printf("%.9f\n", seconds + cpu_case_run(&a));
		fflush(stdout);
	}
	cpu_case_close(&a);
	return 0;
}
