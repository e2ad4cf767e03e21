/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rings on the GPU of this machine, all ranks on one:
 *	gpu_ring [TRANSPORT]
 * Exit 77, a skip, where there is none. emulated_gpu_ring is the same on
 * emulated CUDA.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "runtime/accelerator.h"
#include "runtime/accelerator_attention.h"
#include "tests/ring/gpu_ring.h"

static const char *transport = "shm";

static void gpu_ring_of_one_is_the_oracles(void **state)
{
	(void)state;
	gpu_ring_check(1, transport, KVR_PROGRESS_THREAD);
}

static void gpu_ring_of_four_is_the_oracles(void **state)
{
	(void)state;
	gpu_ring_check(4, transport, KVR_PROGRESS_THREAD);
}

/* Progress is made while the host waits for the GPU. */
static void gpu_ring_of_callers_is_the_oracles(void **state)
{
	(void)state;
	gpu_ring_check(3, transport, KVR_PROGRESS_CALLER);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gpu_ring_of_one_is_the_oracles),
		cmocka_unit_test(gpu_ring_of_four_is_the_oracles),
		cmocka_unit_test(gpu_ring_of_callers_is_the_oracles),
	};
	const struct kvr_accelerator_ops *ops;
	char reason[256];

	if (argc > 1)
		transport = argv[1];
	if (kvr_accelerator_open(&ops, reason, sizeof(reason)) != KVR_OK ||
	    ops->attention->probe(reason, sizeof(reason)) != KVR_OK) {
		printf("skipped: no attention on a GPU here: %s\n", reason);
		return 77;
	}
	return cmocka_run_group_tests_name("GPU ring", tests, NULL, NULL);
}
