/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What runtime/transport.h promises, over any back end: one body, the back
 * end's name as argument. A back end that is not usable here is a skip.
 * With KVRING_ADAPTIVE_ROUTING set, as that would have it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rdma/fake/fake.h"
#include "rdma/shm/shm.h"
#ifdef KVR_HAVE_VERBS
#include "rdma/verbs/verbs.h"
#endif
#include "tests/conformance/transport/pair.h"
#include "tests/conformance/transport/suite.h"

static const struct kvr_transport_ops *const back_ends[] = {
	&kvr_fake_transport,
	&kvr_shm_transport,
#ifdef KVR_HAVE_VERBS
	&kvr_verbs_transport,
	&kvr_verbs_exchange_transport,
#endif
};

#define COUNT (sizeof(back_ends) / sizeof(back_ends[0]))

int main(int argc, char **argv)
{
	char reason[160] = "";
	int failed;

	for (size_t i = 0; i < COUNT; i++)
		if (argc >= 2 && strcmp(argv[1], back_ends[i]->name) == 0)
			pair_ops = back_ends[i];
	if (!pair_ops) {
		fprintf(stderr, "usage: %s NAME [TESTS], NAME one of", argv[0]);
		for (size_t i = 0; i < COUNT; i++)
			fprintf(stderr, " %s", back_ends[i]->name);
		fprintf(stderr, "\n");
		return 2;
	}
	if (pair_ops->probe(reason, sizeof(reason)) != KVR_OK) {
		printf("skipped: %s: %s\n", pair_ops->name, reason);
		return 77;
	}
	pair_adaptive_routing = getenv("KVRING_ADAPTIVE_ROUTING") != NULL;
	if (argc > 2)
		cmocka_set_test_filter(argv[2]); /* such as "arm_*" */
	/* First: a process that forks has opened no device yet. */
	failed = suite_processes();
	failed += suite_data();
	failed += suite_connect();
	return failed + suite_threads();
}
