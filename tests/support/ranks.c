/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/ranks.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* An all-gather among threads: the last to arrive lets the others go. */
struct meeting {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint32_t n, arrived;
	uint64_t round;
	size_t bytes;
	char *gathered, *result;
	bool broken;
};

struct seat {
	struct meeting *meeting;
	uint32_t rank;
	struct rank state;
	const struct ranks *config;
};

static void finish_round(struct meeting *m)
{
	free(m->result);
	m->result = m->gathered;
	m->gathered = NULL;
	m->arrived = 0;
	m->round++;
	pthread_cond_broadcast(&m->changed);
}

static int meet(void *arg, const void *local, size_t bytes, void *all)
{
	struct seat *seat = arg;
	struct meeting *m = seat->meeting;
	uint64_t round;

	pthread_mutex_lock(&m->lock);
	round = m->round;
	if (m->arrived == 0) {
		m->bytes = bytes;
		m->gathered = calloc(m->n, bytes);
	}
	if (bytes != m->bytes || !m->gathered)
		m->broken = true;
	else
		memcpy(m->gathered + seat->rank * bytes, local, bytes);
	if (m->broken)
		pthread_cond_broadcast(&m->changed);
	else if (++m->arrived == m->n)
		finish_round(m);
	while (m->round == round && !m->broken)
		pthread_cond_wait(&m->changed, &m->lock);
	if (m->round != round)
		memcpy(all, m->result, bytes * m->n);
	round = m->round - round;
	pthread_mutex_unlock(&m->lock);
	return round == 1 ? 0 : -1;
}

/* A rank that leaves lets nobody wait for it. */
static void leave(struct meeting *m)
{
	pthread_mutex_lock(&m->lock);
	m->broken = true;
	pthread_cond_broadcast(&m->changed);
	pthread_mutex_unlock(&m->lock);
}

static void keep_line(void *arg, enum kvr_log_level level, const char *line)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	struct rank *rank = arg;
	size_t used;

	(void)level;
	if (getenv("KVR_TEST_LOG"))
		fprintf(stderr, "%s\n", line);
	pthread_mutex_lock(&lock);
	used = strlen(rank->log);
	snprintf(rank->log + used, sizeof(rank->log) - used, "%s\n", line);
	pthread_mutex_unlock(&lock);
}

static void *rank_main(void *arg)
{
	struct seat *seat = arg;
	struct rank *rank = &seat->state;
	const struct ranks *config = seat->config;
	struct kvr_ring_options options = config->options;
	struct kvr_context_options context;

	kvr_context_options_init(&context);
	context.progress = config->progress;
	context.log = keep_line;
	context.log_arg = rank;
	rank->opened = kvr_context_open(&context, &rank->context);
	if (rank->opened == KVR_OK) {
		options.transport = config->transport;
		if (config->adjust)
			config->adjust(seat->rank, &options);
		rank->opened = kvr_ring_open(rank->context, &rank->bootstrap,
					     &options, &rank->ring);
	}
	config->body(rank);
	kvr_ring_close(rank->ring);
	kvr_context_close(rank->context);
	leave(seat->meeting);
	return NULL;
}

void ranks_init(struct ranks *ranks, uint32_t n)
{
	*ranks = (struct ranks){.n = n};
	kvr_ring_options_init(&ranks->options);
	ranks->options.lane[0].slot_bytes = 64 << 10;
	ranks->options.chunk_bytes = 4096;
	ranks->options.peer_timeout_ms = 20000;
	ranks->options.wait_timeout_ms = 60000;
}

static void seat_init(struct seat *seat, struct meeting *meeting,
		      const struct ranks *config, uint32_t rank)
{
	seat->meeting = meeting;
	seat->rank = rank;
	seat->config = config;
	seat->state = (struct rank){
		.rank = rank,
		.n = config->n,
		.arg = config->arg,
	};
	kvr_bootstrap_init(&seat->state.bootstrap);
	seat->state.bootstrap.rank = rank;
	seat->state.bootstrap.n = config->n;
	seat->state.bootstrap.allgather = meet;
	seat->state.bootstrap.arg = seat;
}

void ranks_run(const struct ranks *ranks)
{
	struct meeting meeting = {
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.changed = PTHREAD_COND_INITIALIZER,
		.n = ranks->n,
	};
	struct seat *seats = calloc(ranks->n, sizeof(*seats));
	pthread_t *threads = calloc(ranks->n, sizeof(*threads));

	if (!seats || !threads)
		abort();
	for (uint32_t i = 0; i < ranks->n; i++) {
		seat_init(&seats[i], &meeting, ranks, i);
		if (pthread_create(&threads[i], NULL, rank_main, &seats[i]))
			abort();
	}
	for (uint32_t i = 0; i < ranks->n; i++)
		pthread_join(threads[i], NULL);
	free(meeting.result);
	free(meeting.gathered);
	free(threads);
	free(seats);
}
