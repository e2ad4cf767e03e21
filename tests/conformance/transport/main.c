/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What runtime/transport.h promises, over any back end: one body, the back
 * end's name as argument. A back end that is not usable here is a skip.
 */
#include <stdio.h>
#include <string.h>

#include "rdma/fake/fake.h"
#include "rdma/shm/shm.h"
#include "tests/conformance/transport/pair.h"
#include "tests/conformance/transport/suite.h"

static const struct kvr_transport_ops *const back_ends[] = {
	&kvr_fake_transport,
	&kvr_shm_transport,
};

int main(int argc, char **argv)
{
	char reason[128] = "";

	for (size_t i = 0; i < sizeof(back_ends) / sizeof(back_ends[0]); i++)
		if (argc == 2 && strcmp(argv[1], back_ends[i]->name) == 0)
			pair_ops = back_ends[i];
	if (!pair_ops) {
		fprintf(stderr, "usage: %s fake|shm\n", argv[0]);
		return 2;
	}
	if (pair_ops->probe(reason, sizeof(reason)) != KVR_OK) {
		printf("skipped: %s: %s\n", pair_ops->name, reason);
		return 77;
	}
	return suite_data() + suite_connect() + suite_threads() +
	       suite_processes();
}
