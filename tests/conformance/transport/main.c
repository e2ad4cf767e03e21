/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What runtime/transport.h promises, over any back end: one body, the back
 * end's name as argument. A back end that is not usable here is a skip. With
 * --far the ends of one role are on another host, where --serve runs; --brief
 * does a tenth of what is done hundreds of times, for where that takes long;
 * with KVRING_ADAPTIVE_ROUTING set, writes are as that would have them.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rdma/fake/fake.h"
#include "rdma/shm/shm.h"
#ifdef KVR_HAVE_VERBS
#include "rdma/verbs/verbs.h"
#endif
#include "tests/conformance/transport/far/far.h"
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

struct arguments {
	const struct kvr_transport_ops *ops;
	const char *serve; /* a port: be the agent */
	const char *agent; /* of the far end, HOST:PORT */
	enum kvr_role far;
	const char *tests; /* such as "arm_*"; NULL: all */
};

static int usage(const char *program)
{
	fprintf(stderr,
		"usage: %s NAME [--brief] [--far in|out --agent HOST:PORT] "
		"[TESTS]\n"
		"       %s NAME --serve PORT\n"
		"NAME one of",
		program, program);
	for (size_t i = 0; i < COUNT; i++)
		fprintf(stderr, " %s", back_ends[i]->name);
	fprintf(stderr, "\n");
	return 2;
}

static bool parse(int argc, char **argv, struct arguments *out)
{
	static const struct option options[] = {
		{"brief", no_argument, NULL, 'b'},
		{"far", required_argument, NULL, 'f'},
		{"agent", required_argument, NULL, 'a'},
		{"serve", required_argument, NULL, 's'},
		{0}};
	const char *far = NULL;

	*out = (struct arguments){0};
	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;)
		switch (c) {
		case 'b':
			pair_brief = true;
			break;
		case 'f':
			far = optarg;
			break;
		case 'a':
			out->agent = optarg;
			break;
		case 's':
			out->serve = optarg;
			break;
		default:
			return false;
		}
	for (size_t i = 0; i < COUNT && optind < argc; i++)
		if (strcmp(argv[optind], back_ends[i]->name) == 0)
			out->ops = back_ends[i];
	if (!out->ops || !far != !out->agent)
		return false;
	if (far && (!out->ops->between_processes ||
		    (strcmp(far, "in") && strcmp(far, "out"))))
		return false;
	out->far = far && strcmp(far, "in") == 0 ? KVR_ROLE_IN : KVR_ROLE_OUT;
	out->tests = argv[optind + 1];
	return true;
}

int main(int argc, char **argv)
{
	char reason[160] = "";
	struct arguments arguments;
	int failed;

	if (!parse(argc, argv, &arguments))
		return usage(argv[0]);
	if (arguments.serve)
		return far_serve(arguments.ops, arguments.serve);
	pair_ops = arguments.ops;
	if (arguments.agent)
		pair_ops =
			far_transport(pair_ops, arguments.far, arguments.agent);
	if (pair_ops->probe(reason, sizeof(reason)) != KVR_OK) {
		printf("skipped: %s: %s\n", pair_ops->name, reason);
		return 77;
	}
	pair_adaptive_routing = getenv("KVRING_ADAPTIVE_ROUTING") != NULL;
	if (arguments.tests)
		cmocka_set_test_filter(arguments.tests);
	/* First: a process that forks has opened no device yet. */
	failed = suite_processes();
	failed += suite_data();
	failed += suite_connect();
	/* Chunks too many for a round trip each. */
	stream_elsewhere = arguments.agent ? far_stream : NULL;
	return failed + suite_threads();
}
