/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both ends at once, each driven by its own thread, sleeping whenever arm
 * allows it: a lost wake-up ends in a time-out of the test.
 */
#include <poll.h>
#include <pthread.h>
#include <time.h>

#include "tests/conformance/transport/pair.h"
#include "tests/conformance/transport/stream.h"
#include "tests/conformance/transport/suite.h"
#include "tests/support/ranks.h"

static void post_signal(const struct kvr_transport_ops *ops,
			struct kvr_endpoint *endpoint, uint32_t imm)
{
	CHECK_STATUS(ops->signal(endpoint, imm), KVR_OK);
}

/* ------------------------------------------------------------ ping-pong */

#ifdef __SANITIZE_THREAD__
#define ROUNDS 20000u
#else
#define ROUNDS 100000u
#endif

/* Fewer where one takes long. */
#define ENOUGH_NS UINT64_C(10000000000)

/* Ends the game; no round has this number, nor is it a transport's own. */
#define LAST 0xfffffffu

struct player {
	const struct kvr_transport_ops *ops;
	struct kvr_endpoint *endpoint;
	bool serves;
	uint64_t begin_ns;
};

/* What comes after that round. */
static uint32_t answer(const struct player *player, uint32_t round)
{
	if (!player->serves)
		return round;
	if (round + 1 == pair_rounds(ROUNDS) ||
	    test_now_ns() - player->begin_ns > ENOUGH_NS)
		return LAST;
	return round + 1;
}

static void *play(void *arg)
{
	const struct player *player = arg;
	struct kvr_event events[4];
	uint32_t round = 0, next = 0;
	size_t count;

	if (player->serves)
		post_signal(player->ops, player->endpoint, 0);
	while (next != LAST) {
		CHECK_STATUS(
			player->ops->poll(player->endpoint, events, 4, &count),
			KVR_OK);
		CHECK(count <= 1);
		if (count == 0) {
			sleep_until_ready(player->ops, player->endpoint);
			continue;
		}
		if (events[0].imm == LAST)
			break;
		CHECK(events[0].imm == round);
		next = answer(player, round++);
		post_signal(player->ops, player->endpoint, next);
		/* A transport may move signals in poll only. */
		CHECK_STATUS(
			player->ops->poll(player->endpoint, events, 0, &count),
			KVR_OK);
	}
	return NULL;
}

static void ping_pong_with_sleeping_loses_no_wake_up(void **state)
{
	struct pair *pair = pair_new(1, 1, 64, 64);
	struct player out = {pair->ops, pair->out, true, test_now_ns()};
	struct player in = {pair->ops, pair->in, false, 0};
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, play, &in), 0);
	play(&out);
	pthread_join(thread, NULL);
	pair_free(pair);
}

/* -------------------------------------------------------------- blocks */

static void stream_blocks(size_t chunk_bytes)
{
	struct pair *pair = pair_new(STREAM_LANES, STREAM_SLOTS,
				     STREAM_BLOCK_MAX, chunk_bytes);
	struct stream out = {pair->ops, pair->transport, pair->out, chunk_bytes,
			     pair_rounds(300)};
	struct stream in = {pair->ops, pair->transport, pair->in, chunk_bytes,
			    pair_rounds(300)};
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, stream_receive, &in), 0);
	stream_send(&out);
	pthread_join(thread, NULL);
	pair_free(pair);
}

static void blocks_between_threads_arrive_intact(void **state)
{
	(void)state;
	stream_blocks(STREAM_BLOCK_MAX);
	stream_blocks(1000);
	stream_blocks(77);
}

/* ---------------------------------------------------------------- idle */

static void sleeping_endpoint_uses_no_processor(void **state)
{
	struct pair *pair = pair_new(1, 1, 64, 64);
	struct pollfd fd = {.fd = pair->ops->event_fd(pair->in),
			    .events = POLLIN};
	struct timespec before, after;

	(void)state;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
	assert_int_equal(pair->ops->arm(pair->in), KVR_OK);
	assert_int_equal(poll(&fd, 1, 300), 0);
	pair->ops->disarm(pair->in);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
	/* A tenth of the time slept: far below a thread that spins. */
	assert_true((after.tv_sec - before.tv_sec) * 1000000000 +
			    (after.tv_nsec - before.tv_nsec) <
		    30000000);
	pair_free(pair);
}

int suite_threads(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ping_pong_with_sleeping_loses_no_wake_up),
		cmocka_unit_test(blocks_between_threads_arrive_intact),
		cmocka_unit_test(sleeping_endpoint_uses_no_processor),
	};

	return cmocka_run_group_tests_name("transport: threads", tests, NULL,
					   NULL);
}
