/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Receives are posted for all that can be under way, so that a write that
 * finds none is a bug, and counted. A prev that sends what no credit covers
 * provokes it: the count of both ends goes up, they say so when they close,
 * and nothing is lost. A ring that keeps the rules counts none.
 */
#include <pthread.h>
#include <string.h>

#include "runtime/clock.h"
#include "runtime/ring.h"
#include "tests/conformance/transport/pair.h"
#include "tests/support/stamped.h"

#define PASSES 30
#define PATIENCE_NS (20 * KVR_NS_PER_S)

static pthread_barrier_t barrier;

static uint64_t naks(struct rank *rank)
{
	struct kvr_ring_stats stats;

	kvr_ring_stats_init(&stats);
	CHECK_STATUS(kvr_ring_get_stats(rank->ring, &stats), KVR_OK);
	return stats.rnr_naks;
}

/* Reports what is done, so that there is room to send more. */
static void poll_sends(struct kvr_endpoint *out)
{
	struct kvr_event events[16];
	size_t count;

	CHECK_STATUS(out->ops->poll(out, events, 16, &count), KVR_OK);
}

/*
 * Heartbeats, more than there are receives, to one that takes none in
 * meanwhile: the bodies are the progress of their rings.
 */
static void flood(struct rank *rank)
{
	struct kvr_endpoint *out = rank->ring->edge[KVR_NEXT].endpoint;
	const uint32_t beat = kvr_imm_value(KVR_IMM_HEARTBEAT, 0, 0);
	const uint64_t end = kvr_clock_ns() + PATIENCE_NS;

	while (naks(rank) == 0) {
		while (out->ops->signal(out, beat) == KVR_OK)
			;
		poll_sends(out);
		CHECK(kvr_clock_ns() < end);
	}
}

static void flooding(struct rank *rank)
{
	const uint64_t still = kvr_clock_ns() + KVR_NS_PER_S;

	CHECK_STATUS(rank->opened, KVR_OK);
	CHECK(naks(rank) == 0);
	pthread_barrier_wait(&barrier);
	if (rank->rank == 0)
		flood(rank);
	pthread_barrier_wait(&barrier);
	CHECK(naks(rank) > 0);
	/* What was turned away comes once there is room: nothing is lost. */
	while (kvr_clock_ns() < still) {
		enum kvr_status status = kvr_ring_progress(rank->ring);

		CHECK(status == KVR_OK || status == KVR_ERR_AGAIN);
	}
	pthread_barrier_wait(&barrier);
	kvr_ring_close(rank->ring);
	rank->ring = NULL;
	CHECK(strstr(rank->log, "found no receive posted (RNR NAKs)"));
}

static void orderly(struct rank *rank)
{
	struct sender sender;

	CHECK_STATUS(rank->opened, KVR_OK);
	sender_open(&sender, rank);
	for (uint64_t tag = 1; tag <= PASSES; tag++) {
		struct kvr_pass *pass = stamped_begin(rank, &sender, tag, 1);

		stamped_take(rank, pass, tag, rank->n, 0);
		CHECK_STATUS(kvr_pass_end(pass), KVR_OK);
	}
	CHECK(naks(rank) == 0);
	sender_close(&sender);
	kvr_ring_close(rank->ring);
	rank->ring = NULL;
	CHECK(!strstr(rank->log, "RNR"));
}

static void run(const char *transport, void (*body)(struct rank *),
		enum kvr_progress progress)
{
	struct ranks ranks;

	ranks_init(&ranks, 2);
	ranks.transport = transport;
	ranks.progress = progress;
	ranks.body = body;
	pthread_barrier_init(&barrier, NULL, 2);
	ranks_run(&ranks);
	pthread_barrier_destroy(&barrier);
}

static void ring_of_orderly_ranks_counts_none(void **state)
{
	(void)state;
	run("verbs", orderly, KVR_PROGRESS_THREAD);
	run("verbs-exchange", orderly, KVR_PROGRESS_THREAD);
}

static void ring_with_a_flooding_prev_counts_and_warns(void **state)
{
	(void)state;
	run("verbs", flooding, KVR_PROGRESS_CALLER);
	run("verbs-exchange", flooding, KVR_PROGRESS_CALLER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ring_of_orderly_ranks_counts_none),
		cmocka_unit_test(ring_with_a_flooding_prev_counts_and_warns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
