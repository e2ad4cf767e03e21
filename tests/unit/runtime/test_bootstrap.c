/* SPDX-License-Identifier: Apache-2.0 */
/* The environment of a rank, and what ranks agree on before a ring opens. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/bootstrap.h"

/* --------------------------------------------------------- environment */

static void set(const char *name, const char *value)
{
	if (value)
		setenv(name, value, 1);
	else
		unsetenv(name);
}

static enum kvr_status from(const char *rank, const char *size, const char *fd,
			    struct kvr_bootstrap *out)
{
	set("KVRING_RANK", rank);
	set("KVRING_SIZE", size);
	set("KVRING_BOOTSTRAP_FD", fd);
	return kvr_bootstrap_from_environment(out);
}

static void environment_empty_alone(void **state)
{
	struct kvr_bootstrap b;

	(void)state;
	assert_int_equal(from(NULL, NULL, NULL, &b), KVR_OK);
	assert_true(b.size == sizeof(b) && b.rank == 0 && b.n == 1);
	assert_null(b.allgather);
	assert_int_equal(from("0", "1", NULL, &b), KVR_OK);
	assert_true(b.rank == 0 && b.n == 1);
	assert_int_equal(kvr_bootstrap_from_environment(NULL), KVR_ERR_INVALID);
}

static void environment_contradicting_refused(void **state)
{
	static const struct {
		const char *rank, *size, *fd;
	} wrong[] = {
		{"0", NULL, NULL},     {NULL, "2", NULL},
		{"2", "2", "0"},       {"-1", "2", "0"},
		{" 1", "2", "0"},      {"+1", "2", "0"},
		{"1x", "2", "0"},      {"", "2", "0"},
		{"0", "", "0"},	       {"0", "0", "0"},
		{"0", "65536", "0"},   {"0", "99999999999999999999", "0"},
		{"0", "2", NULL},      {"0", "2", ""},
		{"0", "2", "x"},       {"0", "2", "-1"},
		{"0", "2", "1000000"}, {"0", "2", "4294967296"},
		{"0x0", "2", "0"},
	};
	struct kvr_bootstrap out, before;

	(void)state;
	memset(&out, 0x5a, sizeof(out));
	before = out;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		if (from(wrong[i].rank, wrong[i].size, wrong[i].fd, &out) !=
		    KVR_ERR_INVALID)
			fail_msg("row %zu is believed", i);
		assert_memory_equal(&out, &before, sizeof(out));
	}
}

/* The launcher of two ranks, of which one is this process. */
struct server {
	int fd;
	pthread_t thread;
	uint64_t announced;
	char got[8];
	bool hang_up; /* after half of the reply */
};

static void *serve(void *arg)
{
	struct server *s = arg;
	ssize_t moved = recv(s->fd, &s->announced, 8, MSG_WAITALL);

	moved += recv(s->fd, s->got, s->announced, MSG_WAITALL);
	moved += send(s->fd, s->got, s->announced, 0);
	/* In two parts: the rank has to wait for the second. */
	usleep(20000);
	if (!s->hang_up)
		moved += send(s->fd, "another!", s->announced, 0);
	close(s->fd);
	return moved > 0 ? s : NULL;
}

static void open_pair(struct server *s, char fd_text[16])
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	snprintf(fd_text, 16, "%d", pair[0]);
	s->fd = pair[1];
	assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void environment_allgather_moves_length_and_bytes(void **state)
{
	struct server s = {.hang_up = false};
	struct kvr_bootstrap b;
	char text[16], all[16];
	int fd;

	(void)state;
	open_pair(&s, text);
	fd = atoi(text);
	assert_int_equal(from("0", "2", text, &b), KVR_OK);
	assert_true(b.rank == 0 && b.n == 2 && b.allgather);
	/* No program that this one starts gets the launcher's socket. */
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(b.allgather(b.arg, "mine....", 8, all), 0);
	assert_memory_equal(all, "mine....another!", 16);
	pthread_join(s.thread, NULL);
	assert_int_equal(s.announced, 8);
	close(fd);
}

static void environment_launcher_hangs_up_gather_fails(void **state)
{
	struct server s = {.hang_up = true};
	struct kvr_bootstrap b;
	char text[16], all[16];

	(void)state;
	open_pair(&s, text);
	assert_int_equal(from("0", "2", text, &b), KVR_OK);
	assert_int_not_equal(b.allgather(b.arg, "mine....", 8, all), 0);
	pthread_join(s.thread, NULL);
	/* A launcher that is gone: neither a wait nor a SIGPIPE. */
	assert_int_not_equal(b.allgather(b.arg, "mine....", 8, all), 0);
	close(atoi(text));
}

/* ----------------------------------------------------------- agreement */

/* An all-gather of two: what the other said was recorded before. */
struct other {
	uint32_t rank; /* ours */
	char said[512];
	size_t bytes;
	bool record, fail;
};

static int gather_two(void *arg, const void *local, size_t bytes, void *all)
{
	struct other *o = arg;
	char *out = all;

	assert_true(bytes <= sizeof(o->said));
	if (o->record) {
		memcpy(o->said, local, bytes);
		o->bytes = bytes;
		return -1;
	}
	assert_int_equal(bytes, o->bytes);
	memcpy(out + o->rank * bytes, local, bytes);
	memcpy(out + !o->rank * bytes, o->said, bytes);
	return o->fail ? -1 : 0;
}

static char log_text[1024];

static void keep_line(void *arg, enum kvr_log_level level, const char *line)
{
	(void)arg, (void)level;
	snprintf(log_text, sizeof(log_text), "%s", line);
}

static const struct kvr_log log_sink = {.sink = keep_line,
					.level = KVR_LOG_ERROR};

struct side {
	struct kvr_bootstrap bootstrap;
	struct kvr_ring_options options;
	uint32_t generation;
};

static struct side side_of(uint32_t rank)
{
	struct side s = {.generation = 0};

	kvr_bootstrap_init(&s.bootstrap);
	s.bootstrap.rank = rank;
	s.bootstrap.n = 2;
	s.bootstrap.allgather = gather_two;
	kvr_ring_options_init(&s.options);
	return s;
}

/* What `ours` learns when it meets `theirs`. */
static enum kvr_status meet(struct side *ours, struct side *theirs,
			    struct kvr_draw *draw)
{
	struct other o = {.rank = ours->bootstrap.rank, .record = true};

	log_text[0] = '\0';
	theirs->bootstrap.arg = &o;
	(void)kvr_bootstrap_agree(&theirs->bootstrap, &theirs->options, NULL,
				  KVR_OK, &theirs->generation, draw);
	o.record = false;
	ours->bootstrap.arg = &o;
	return kvr_bootstrap_agree(&ours->bootstrap, &ours->options, &log_sink,
				   KVR_OK, &ours->generation, draw);
}

static void agree_alike_ring_has_rank_zeros_draw(void **state)
{
	struct side zero = side_of(0), one = side_of(1);
	struct kvr_draw draws[3] = {{.ring_id = 0}};

	(void)state;
	for (int i = 0; i < 2; i++) {
		zero.generation = one.generation = 0;
		assert_int_equal(meet(&one, &zero, &draws[i]), KVR_OK);
		assert_int_equal(one.generation, 1);
	}
	assert_true(draws[0].ring_id != 0 &&
		    draws[0].ring_id != draws[1].ring_id);
	assert_memory_not_equal(draws[0].entropy, draws[1].entropy,
				KVR_ENTROPY_BYTES);
	/* Rank 0 itself takes its own draw, not rank 1's. */
	zero.generation = one.generation = 0;
	assert_int_equal(meet(&zero, &one, &draws[2]), KVR_OK);
	assert_true(draws[2].ring_id != draws[0].ring_id &&
		    draws[2].ring_id != draws[1].ring_id);
}

static void agree_fresh_rank_follows_generation(void **state)
{
	struct side zero = side_of(0), one = side_of(1);
	struct kvr_draw id;

	(void)state;
	zero.generation = 7;
	assert_int_equal(meet(&one, &zero, &id), KVR_OK);
	assert_int_equal(one.generation, 7);
	one.generation = 6;
	zero.generation = 7;
	assert_int_equal(meet(&one, &zero, &id), KVR_ERR_MISMATCH);
	assert_non_null(strstr(log_text, "generation differs: 7 on rank 0, 6"));
}

static void refused(struct side *one, const char *line)
{
	struct side zero = side_of(0);
	struct kvr_draw id;

	assert_int_equal(meet(one, &zero, &id), KVR_ERR_MISMATCH);
	if (!strstr(log_text, line))
		fail_msg("the log says '%s', not '%s'", log_text, line);
	*one = side_of(1);
}

static void agree_field_differs_named_with_both_values(void **state)
{
	struct side one = side_of(1);

	(void)state;
	one.options.slots = 5;
	refused(&one, "slots differs: 2 on rank 0, 5 on rank 1");
	one.options.chunk_bytes = 4097;
	refused(&one, "chunk_bytes differs: 1048576 on rank 0, 4097 on rank 1");
	one.options.lanes = 2;
	refused(&one, "lanes differs: 1 on rank 0, 2 on rank 1");
	one.options.layout_id = 9;
	refused(&one, "layout_id differs: 0 on rank 0, 9 on rank 1");
	one.options.lane[0].slot_bytes = 64;
	refused(&one, "lane[0].slot_bytes differs: 0 on rank 0, 64 on rank 1");
	one.options.lane[1].slot_bytes = 65;
	refused(&one, "lane[1].slot_bytes differs: 0 on rank 0, 65 on rank 1");
	one.options.lane[0].kind = KVR_LANE_ACCUMULATING;
	refused(&one, "lane[0].kind differs: 0 on rank 0, 1 on rank 1");
	one.options.lane[1].kind = KVR_LANE_ACCUMULATING;
	refused(&one, "lane[1].kind differs: 0 on rank 0, 1 on rank 1");
	/* Time-outs are everybody's own. */
	one.options.peer_timeout_ms = 1;
	one.options.wait_timeout_ms = 1;
	one.options.heartbeat_ms = 1;
	struct side zero = side_of(0);
	struct kvr_draw id;

	assert_int_equal(meet(&one, &zero, &id), KVR_OK);
}

static void agree_two_of_one_number_refused(void **state)
{
	struct side zero = side_of(0), twin = side_of(0);
	struct kvr_draw id;

	(void)state;
	/* The twin's contribution arrives in place 1. */
	assert_int_equal(meet(&zero, &twin, &id), KVR_ERR_MISMATCH);
	assert_non_null(
		strstr(log_text, "place 1 of the all-gather holds rank 0"));
}

static void gather_fails_peer_lost(void **state)
{
	struct other o = {.record = true};
	struct side one = side_of(1);
	struct kvr_draw id = {.ring_id = 5};
	void *all = &o;

	(void)state;
	log_text[0] = '\0';
	one.bootstrap.arg = &o;
	assert_int_equal(kvr_bootstrap_agree(&one.bootstrap, &one.options,
					     &log_sink, KVR_OK, &one.generation,
					     &id),
			 KVR_ERR_PEER_LOST);
	assert_int_equal(id.ring_id, 5);
	assert_non_null(strstr(log_text, "rank 1: the all-gather of the "));
	assert_int_equal(
		kvr_bootstrap_gather(&one.bootstrap, &log_sink, "x", 1, &all),
		KVR_ERR_PEER_LOST);
	assert_ptr_equal(all, &o);
}

static enum kvr_status join(int32_t theirs, enum kvr_status ours, bool fail)
{
	struct other o = {.rank = 1, .bytes = sizeof(theirs), .fail = fail};
	struct side one = side_of(1);

	memcpy(o.said, &theirs, sizeof(theirs));
	one.bootstrap.arg = &o;
	log_text[0] = '\0';
	return kvr_bootstrap_join(&one.bootstrap, &log_sink, ours);
}

static void join_one_fails_everybody_does(void **state)
{
	(void)state;
	assert_int_equal(join(KVR_OK, KVR_OK, false), KVR_OK);
	assert_int_equal(join(KVR_ERR_NO_MEMORY, KVR_OK, false),
			 KVR_ERR_NO_MEMORY);
	assert_non_null(strstr(log_text, "rank 1: rank 0 could not join"));
	/* The own reason is the better one. */
	assert_int_equal(join(KVR_ERR_NO_MEMORY, KVR_ERR_LIMIT, false),
			 KVR_ERR_LIMIT);
	assert_int_equal(join(KVR_OK, KVR_ERR_LIMIT, true), KVR_ERR_LIMIT);
	assert_int_equal(join(KVR_OK, KVR_OK, true), KVR_ERR_PEER_LOST);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(environment_empty_alone),
		cmocka_unit_test(environment_contradicting_refused),
		cmocka_unit_test(environment_allgather_moves_length_and_bytes),
		cmocka_unit_test(environment_launcher_hangs_up_gather_fails),
		cmocka_unit_test(agree_alike_ring_has_rank_zeros_draw),
		cmocka_unit_test(agree_fresh_rank_follows_generation),
		cmocka_unit_test(agree_field_differs_named_with_both_values),
		cmocka_unit_test(agree_two_of_one_number_refused),
		cmocka_unit_test(gather_fails_peer_lost),
		cmocka_unit_test(join_one_fails_everybody_does),
	};

	return cmocka_run_group_tests_name("bootstrap", tests, NULL, NULL);
}
