/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One rank that does nothing but meet the others: for places that a ring
 * cannot reach yet, and ends that a ring would not show.
 *
 *	meet COUNT [END]	COUNT all-gathers; END: kill itself before
 *				that one, counted from 1
 *
 * Prints "rank R of N gathered", or what went wrong and exits with 1.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "kvring/bootstrap.h"

#define BYTES 96

static void say(void *arg, enum kvr_log_level level, const char *line)
{
	(void)arg;
	(void)level;
	fprintf(stderr, "%s\n", line);
}

/* Everybody's bytes, each of its own kind. */
static int gather(const struct kvr_bootstrap *b, uint32_t round)
{
	unsigned char mine[BYTES], *all = malloc((size_t)b->n * BYTES);
	uint32_t i;
	int wrong = !all;

	for (i = 0; i < BYTES; i++)
		mine[i] = (unsigned char)(b->rank * 31 + round * 7 + i);
	if (!wrong)
		wrong = b->allgather(b->arg, mine, sizeof(mine), all);
	for (i = 0; i < b->n * BYTES && !wrong; i++)
		wrong = all[i] !=
			(unsigned char)(i / BYTES * 31 + round * 7 + i % BYTES);
	free(all);
	return wrong;
}

static int meet(uint32_t count, uint32_t end)
{
	struct kvr_bootstrap_options options;
	struct kvr_bootstrap b;
	enum kvr_status status;
	int wrong = 0;

	kvr_bootstrap_options_init(&options);
	options.log = say;
	options.join_timeout_ms = 10000;
	options.gather_timeout_ms = 5000;
	status = kvr_bootstrap_open(&options, &b);
	if (status != KVR_OK) {
		fprintf(stderr, "%s\n", kvr_status_name(status));
		return 1;
	}
	for (uint32_t i = 1; i <= count && b.n > 1 && !wrong; i++) {
		if (i == end)
			kill(getpid(), SIGKILL);
		wrong = gather(&b, i);
	}
	if (!wrong)
		printf("rank %u of %u gathered\n", b.rank, b.n);
	kvr_bootstrap_close(&b);
	return wrong ? 1 : 0;
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	return meet((uint32_t)atoi(argv[1]),
		    argc > 2 ? (uint32_t)atoi(argv[2]) : 0);
}
