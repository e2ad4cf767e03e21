/* SPDX-License-Identifier: Apache-2.0 */
/* The two ends as two processes, and what the death of one does. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/conformance/transport/pair.h"
#include "tests/conformance/transport/stream.h"
#include "tests/conformance/transport/suite.h"
#include "tests/support/ranks.h"

/* A machine with more processes than cores schedules late. */
#define DETECTION_MAX_NS UINT64_C(5000000000)

struct edge {
	pid_t pid[2];  /* by role */
	int report[2]; /* read end: what each child wrote */
};

/* ------------------------------------------------------------- children */

struct child {
	const struct kvr_transport_ops *ops;
	struct kvr_transport *transport;
	struct kvr_endpoint *endpoint;
	int report; /* write end */
};

typedef void (*child_fn)(struct child *child);

static void tell(const struct child *child, uint64_t value)
{
	CHECK(write(child->report, &value, sizeof(value)) == sizeof(value));
}

static void child_connect(struct child *child, enum kvr_role role, int peer)
{
	uint8_t local[KVR_ADDRESS_BYTES], remote[KVR_ADDRESS_BYTES];
	const struct kvr_endpoint_config config = {
		.role = role,
		.rank = role == KVR_ROLE_IN,
		.peer = role != KVR_ROLE_IN,
		.n = 2,
		.ring_id = 1,
		.lanes = STREAM_LANES,
		.slots = STREAM_SLOTS,
		.slot_bytes = {STREAM_BLOCK_MAX, STREAM_BLOCK_MAX},
		.chunk_bytes = 10000,
	};
	enum kvr_status status;

	CHECK_STATUS(
		child->ops->open(&(struct kvr_transport_config){.log = NULL},
				 &child->transport),
		KVR_OK);
	CHECK_STATUS(child->ops->endpoint_open(child->transport, &config,
					       &child->endpoint),
		     KVR_OK);
	child->ops->address(child->endpoint, local);
	CHECK(send(peer, local, sizeof(local), 0) == sizeof(local));
	CHECK(recv(peer, remote, sizeof(remote), MSG_WAITALL) ==
	      sizeof(remote));
	CHECK_STATUS(child->ops->connect(child->endpoint, remote), KVR_OK);
	do {
		status = child->ops->connect_poll(child->endpoint);
	} while (status == KVR_ERR_AGAIN);
	CHECK_STATUS(status, KVR_OK);
}

static void child_close(struct child *child)
{
	child->ops->endpoint_close(child->endpoint);
	child->ops->close(child->transport);
}

/* Polls until the peer is lost; tells when that was. */
static void watch_awake(struct child *child)
{
	struct kvr_event events[16];
	enum kvr_status status;
	size_t count;

	do {
		status = child->ops->poll(child->endpoint, events, 16, &count);
	} while (status == KVR_OK);
	CHECK_STATUS(status, KVR_ERR_PEER_LOST);
	tell(child, test_now_ns());
}

static void watch_asleep(struct child *child)
{
	struct kvr_event events[16];
	enum kvr_status status;
	size_t count;

	for (;;) {
		status = child->ops->poll(child->endpoint, events, 16, &count);
		if (status != KVR_OK)
			break;
		if (count == 0)
			sleep_until_ready(child->ops, child->endpoint);
	}
	CHECK_STATUS(status, KVR_ERR_PEER_LOST);
	tell(child, test_now_ns());
}

/* Writes without end, as if it had all credits. */
static void send_until_lost(struct child *child)
{
	static uint8_t source[10000];
	struct kvr_piece piece = {source, sizeof(source), NULL};
	const struct kvr_write write = {
		.bytes = sizeof(source), .pieces = &piece, .piece_count = 1};
	struct kvr_event events[16];
	enum kvr_status status = KVR_OK;
	uint64_t sent = 0;
	size_t count;

	CHECK_STATUS(child->ops->memory_register(child->transport, source,
						 sizeof(source), &piece.key),
		     KVR_OK);
	while (status == KVR_OK) {
		status = child->ops->write(child->endpoint, &write);
		CHECK(status == KVR_OK || status == KVR_ERR_AGAIN);
		status = child->ops->poll(child->endpoint, events, 16, &count);
		sent += count;
		/* The first report: data flow. */
		if (count > 0 && sent == count)
			tell(child, 0);
	}
	CHECK_STATUS(status, KVR_ERR_PEER_LOST);
	tell(child, test_now_ns());
}

static void stream_out(struct child *child)
{
	stream_send(&(struct stream){child->ops, child->transport,
				     child->endpoint, 10000, pair_rounds(300)});
	child_close(child);
}

static void stream_in(struct child *child)
{
	stream_receive(&(struct stream){child->ops, child->transport,
					child->endpoint, 10000,
					pair_rounds(300)});
	/* Else the sender could see us go before our last credit. */
	watch_asleep(child);
	child_close(child);
}

/* --------------------------------------------------------------- parent */

static pid_t start(enum kvr_role role, child_fn run, int peer, int *report)
{
	int ends[2];
	pid_t pid;

	assert_int_equal(pipe(ends), 0);
	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct child child = {.ops = pair_ops, .report = ends[1]};

		alarm(60); /* never outlives a test that failed */
		close(ends[0]);
		child_connect(&child, role, peer);
		run(&child);
		_exit(0);
	}
	close(ends[1]);
	*report = ends[0];
	return pid;
}

static void edge_start(struct edge *edge, child_fn in, child_fn out)
{
	int peers[2];

	assert_int_equal(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, peers), 0);
	edge->pid[KVR_ROLE_IN] =
		start(KVR_ROLE_IN, in, peers[0], &edge->report[KVR_ROLE_IN]);
	edge->pid[KVR_ROLE_OUT] =
		start(KVR_ROLE_OUT, out, peers[1], &edge->report[KVR_ROLE_OUT]);
	close(peers[0]);
	close(peers[1]);
}

static uint64_t hear(const struct edge *edge, enum kvr_role role)
{
	uint64_t value = 0;

	assert_int_equal(read(edge->report[role], &value, sizeof(value)),
			 sizeof(value));
	return value;
}

static void edge_end(struct edge *edge, enum kvr_role role, int expected)
{
	int status;

	assert_int_equal(waitpid(edge->pid[role], &status, 0), edge->pid[role]);
	assert_int_equal(status, expected);
	close(edge->report[role]);
}

static void blocks_between_processes_arrive_intact(void **state)
{
	struct edge edge;

	(void)state;
	edge_start(&edge, stream_in, stream_out);
	edge_end(&edge, KVR_ROLE_OUT, 0);
	edge_end(&edge, KVR_ROLE_IN, 0);
}

static void peer_that_was_stopped_goes_on_unharmed(void **state)
{
	const struct timespec pause = {.tv_nsec = 100000000};

	(void)state;
	for (int role = 0; role < 2; role++) {
		struct edge edge;

		edge_start(&edge, stream_in, stream_out);
		for (int i = 0; i < 3; i++) {
			nanosleep(&(struct timespec){.tv_nsec = 3000000}, NULL);
			kill(edge.pid[role], SIGSTOP);
			nanosleep(&pause, NULL);
			kill(edge.pid[role], SIGCONT);
		}
		edge_end(&edge, KVR_ROLE_OUT, 0);
		edge_end(&edge, KVR_ROLE_IN, 0);
	}
}

static void kill_and_time(child_fn in, enum kvr_role victim)
{
	const enum kvr_role other = !victim;
	struct edge edge;
	uint64_t killed, noticed;

	edge_start(&edge, in, send_until_lost);
	hear(&edge, KVR_ROLE_OUT);
	nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
	killed = test_now_ns();
	kill(edge.pid[victim], SIGKILL);
	noticed = hear(&edge, other);
	edge_end(&edge, victim, SIGKILL);
	edge_end(&edge, other, 0);
	assert_true(noticed >= killed);
	assert_true(noticed - killed < DETECTION_MAX_NS);
}

static void peer_killed_amid_transfer_is_lost_at_once(void **state)
{
	(void)state;
	/* Elsewhere the heartbeats of the engine find it out. */
	if (!pair_ops->sees_death)
		skip();
	for (int i = 0; i < 5; i++) {
		kill_and_time(watch_awake, KVR_ROLE_OUT);
		kill_and_time(watch_asleep, KVR_ROLE_OUT);
		kill_and_time(watch_asleep, KVR_ROLE_IN);
	}
}

/* A child made by fork owns copies of everything; its end is not ours. */
static void forked_child_that_closes_leaves_the_edge_alone(void **state)
{
	struct pair *pair = pair_new(1, 2, 64, 64);
	int status;

	(void)state;
	for (int closes = 0; closes < 2; closes++) {
		fflush(NULL);
		pid_t pid = fork();
		assert_true(pid >= 0);
		if (pid == 0) {
			if (closes)
				pair_close(pair);
			_exit(0);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
		assert_int_equal(pair->ops->signal(pair->out, 1), KVR_OK);
		/* Longer than it takes to notice the death of a peer. */
		nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
		pair_run(pair, (size_t)closes + 1, 0);
	}
	pair_free(pair);
}

static int count_before[2];

static int count_descriptors(void **state)
{
	(void)state;
	count_before[0] = test_fd_count();
	count_before[1] = test_map_count();
	return 0;
}

/* The libraries below open some once, for as long as the process lives. */
static int count_when_warm(void **state)
{
	pair_free(pair_new(1, 2, 64, 64));
	return count_descriptors(state);
}

static int expect_no_leak(void **state)
{
	(void)state;
	return test_fd_count() != count_before[0] ||
	       test_map_count() != count_before[1];
}

#define LEAKLESS(test)                                                         \
	cmocka_unit_test_setup_teardown(test, count_descriptors, expect_no_leak)

int suite_processes(void)
{
	const struct CMUnitTest tests[] = {
		LEAKLESS(blocks_between_processes_arrive_intact),
		LEAKLESS(peer_that_was_stopped_goes_on_unharmed),
		LEAKLESS(peer_killed_amid_transfer_is_lost_at_once),
		cmocka_unit_test_setup_teardown(
			forked_child_that_closes_leaves_the_edge_alone,
			count_when_warm, expect_no_leak),
	};

	if (!pair_ops->between_processes)
		return 0;
	return cmocka_run_group_tests_name("transport: processes", tests, NULL,
					   NULL);
}
