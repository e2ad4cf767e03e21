/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Secrets, strangers and liars at the port of a host list: nobody gets in who
 * must not, and nobody keeps those out who may.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/tcp.h"
#include "tests/support/hosts.h"
#include "tests/support/ranks.h"

static struct member m[3];

static void assert_says(const struct member *member, const char *text)
{
	if (!strstr(member->log, text))
		fail_msg("'%s' is not in:\n%s", text, member->log);
}

static void give_secret(struct member *member, const char *secret)
{
	member->options.secret = secret;
	member->options.secret_bytes = strlen(secret);
}

/* --------------------------------------------------------------- secrets */

static void secret_shared_lets_in(void **state)
{
	(void)state;
	hosts_init(m, 3, hosts_free_port());
	for (int i = 0; i < 3; i++) {
		give_secret(&m[i], "open sesame");
		m[i].body = hosts_gather;
		m[i].bytes = 1000;
	}
	hosts_run(m, 3);
	for (int i = 0; i < 3; i++)
		assert_int_equal(m[i].gathered, 0);
}

/* Rank 1 has that secret or none, and so have the others. */
static void secrets(const char *others, const char *rank_1, const char *says)
{
	hosts_init(m, 3, hosts_free_port());
	for (int i = 0; i < 3; i++) {
		const char *secret = i == 1 ? rank_1 : others;

		if (secret)
			give_secret(&m[i], secret);
		m[i].options.join_timeout_ms = 1500;
	}
	hosts_run(m, 3);
	assert_int_equal(m[1].status, KVR_ERR_MISMATCH);
	assert_int_equal(m[0].status, KVR_ERR_TIMEOUT);
	assert_int_equal(m[2].status, KVR_ERR_PEER_LOST);
	for (int i = 0; i < 3; i++)
		assert_says(&m[i], says);
	assert_says(&m[0], "rank 1 (127.0.0.1) did not come");
}

static void secret_wrong_refused_on_both_sides(void **state)
{
	(void)state;
	secrets("open sesame", "open barley", "its secret is not that of");
	secrets("open sesame", "open sesame!", "its secret is not that of");
	secrets("open sesame", NULL, "it has no secret, rank 0 has");
	secrets(NULL, "open sesame", "it has a secret, rank 0 has none");
}

static enum kvr_status open_with(const char *secret, const char *file)
{
	struct kvr_bootstrap b;
	enum kvr_status status;

	if (secret)
		setenv("KVRING_SECRET", secret, 1);
	if (file)
		setenv("KVRING_SECRET_FILE", file, 1);
	hosts_init(m, 1, 1);
	status = kvr_bootstrap_open(&m[0].options, &b);
	unsetenv("KVRING_SECRET");
	unsetenv("KVRING_SECRET_FILE");
	if (status == KVR_OK)
		kvr_bootstrap_close(&b);
	return status;
}

static void write_file(const char *path, size_t bytes, const char *end)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	for (size_t i = 0; i < bytes; i++)
		fputc('x', file);
	fputs(end, file);
	fclose(file);
}

static void secret_of_environment_checked(void **state)
{
	char path[] = "/tmp/kvring-secret-XXXXXX";

	(void)state;
	close(mkstemp(path));
	assert_int_equal(open_with("one", NULL), KVR_OK);
	assert_int_equal(open_with("", NULL), KVR_ERR_INVALID);
	assert_says(&m[0], "the secret: is empty");
	assert_int_equal(open_with(NULL, path), KVR_ERR_INVALID);
	write_file(path, 4096, "\n");
	assert_int_equal(open_with(NULL, path), KVR_OK);
	write_file(path, 4097, "");
	assert_int_equal(open_with(NULL, path), KVR_ERR_INVALID);
	assert_says(&m[0], "over 4096 bytes");
	assert_int_equal(open_with("one", path), KVR_ERR_INVALID);
	assert_says(&m[0], "both are set");
	unlink(path);
	assert_int_equal(open_with(NULL, path), KVR_ERR_INVALID);
	assert_says(&m[0], "No such file");
	assert_int_equal(open_with(NULL, "/tmp"), KVR_ERR_INVALID);
}

/* The newline that an editor adds is no part of it. */
static void secret_of_file_equals_that_of_variable(void **state)
{
	char path[] = "/tmp/kvring-secret-XXXXXX";

	(void)state;
	close(mkstemp(path));
	write_file(path, 3, "\n");
	hosts_init(m, 2, hosts_free_port());
	give_secret(&m[1], "xxx");
	setenv("KVRING_SECRET_FILE", path, 1);
	hosts_run(m, 2);
	unsetenv("KVRING_SECRET_FILE");
	unlink(path);
	assert_int_equal(m[0].status, KVR_OK);
	assert_int_equal(m[1].status, KVR_OK);
}

/* ------------------------------------------------------- hostile clients */

static uint16_t port;

static int dial(void)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons(port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK(fd >= 0);
	for (int i = 0; connect(fd, (struct sockaddr *)&to, sizeof(to)); i++) {
		CHECK(i < 500);
		usleep(10000);
	}
	return fd;
}

static void say(int fd, const void *data, size_t bytes)
{
	CHECK(send(fd, data, bytes, MSG_NOSIGNAL) == (ssize_t)bytes);
}

static bool hear(int fd, void *data, size_t bytes)
{
	return recv(fd, data, bytes, MSG_WAITALL) == (ssize_t)bytes;
}

static struct kvr_tcp_hello hello_of(uint32_t rank, uint32_t n)
{
	return (struct kvr_tcp_hello){.magic = KVR_TCP_MAGIC,
				      .version = KVR_TCP_VERSION,
				      .n = n,
				      .rank = rank};
}

/* Rank 0 of two waits, with that secret or none. */
static void begin(const char *secret)
{
	port = hosts_free_port();
	hosts_init(m, 2, port);
	for (int i = 0; i < 2; i++) {
		m[i].body = hosts_gather;
		m[i].bytes = 100;
		if (secret)
			give_secret(&m[i], secret);
	}
	hosts_start(&m[0]);
}

/* The true rank 1 comes, and finds rank 0 in order. */
static void end_well(void)
{
	hosts_start(&m[1]);
	hosts_end(&m[1]);
	hosts_end(&m[0]);
	assert_int_equal(m[0].status, KVR_OK);
	assert_int_equal(m[1].status, KVR_OK);
	assert_int_equal(m[0].gathered, 0);
	assert_int_equal(m[1].gathered, 0);
}

static void assert_dropped(int fd)
{
	char byte;

	assert_true(recv(fd, &byte, 1, 0) <= 0);
	close(fd);
}

static void stranger_dropped_unanswered(void **state)
{
	static const char http[] = "GET / HTTP/1.1\r\nHost: 127.0.0.1:17850\r\n"
				   "User-Agent: a browser\r\n\r\n";
	struct kvr_tcp_hello hello = hello_of(1, 2);
	int fd;

	(void)state;
	begin(NULL);
	/* Another protocol, a lost connection, a slow one. */
	fd = dial();
	say(fd, http, sizeof(http));
	assert_dropped(fd);
	close(dial());
	fd = dial();
	say(fd, &hello, sizeof(hello) - 1);
	close(fd);
	fd = dial();
	say(fd, &hello, sizeof(hello) - 1);
	end_well();
	close(fd);
	assert_says(&m[0], "dropped a stranger from 127.0.0.1");
}

static void strangers_many_and_silent_only_delay(void **state)
{
	enum { MANY = KVR_TCP_CANDIDATES + 8 };
	int fds[MANY];

	(void)state;
	begin(NULL);
	for (int i = 0; i < MANY; i++)
		fds[i] = dial();
	end_well();
	for (int i = 0; i < MANY; i++)
		close(fds[i]);
}

static void hello_wrong_answered_and_dropped(void **state)
{
	static const struct {
		uint32_t version, n, rank, secret;
		enum kvr_tcp_verdict verdict;
	} rows[] = {
		{2, 2, 1, 0, KVR_TCP_OTHER_VERSION},
		{1, 3, 1, 0, KVR_TCP_OTHER_SIZE},
		{1, 2, 0, 0, KVR_TCP_NO_SUCH_RANK},
		{1, 2, 2, 0, KVR_TCP_NO_SUCH_RANK},
		{1, 2, UINT32_MAX, 0, KVR_TCP_NO_SUCH_RANK},
		{1, 2, 1, 1, KVR_TCP_SECRET_UNASKED},
	};

	(void)state;
	begin(NULL);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct kvr_tcp_hello hello = hello_of(rows[i].rank, rows[i].n);
		int fd = dial();

		hello.version = rows[i].version;
		hello.has_secret = rows[i].secret;
		say(fd, &hello, sizeof(hello));
		assert_true(hear(fd, &hello, sizeof(hello)));
		assert_int_equal(hello.verdict, rows[i].verdict);
		assert_dropped(fd);
	}
	end_well();
}

/* Without the secret: whatever is tried, no data are exchanged. */
static void proof_guessed_or_reflected_refused(void **state)
{
	struct kvr_tcp_proof proof = {0}, answer;
	struct kvr_tcp_hello mine = hello_of(1, 2), theirs;
	struct kvr_tcp tcp = {.secret = "guess", .secret_bytes = 5};

	(void)state;
	mine.has_secret = 1;
	begin("open sesame");
	for (int i = 0; i < 3; i++) {
		int fd = dial();

		say(fd, &mine, sizeof(mine));
		assert_true(hear(fd, &theirs, sizeof(theirs)));
		assert_int_equal(theirs.verdict, KVR_TCP_WELCOME);
		if (i == 1)
			assert_int_equal(kvr_tcp_prove(&tcp, false, &mine,
						       &theirs, proof.mac),
					 KVR_OK);
		say(fd, &proof, sizeof(proof));
		assert_true(hear(fd, &answer, sizeof(answer)));
		assert_int_equal(answer.verdict, KVR_TCP_SECRET_WRONG);
		/* Nothing to learn from, and nothing to send back. */
		for (int b = 0; b < KVR_MAC_BYTES; b++)
			assert_int_equal(answer.mac[b], 0);
		assert_dropped(fd);
	}
	end_well();
}

static void proof_of_other_connection_refused(void **state)
{
	struct kvr_tcp_proof proof = {0};
	struct kvr_tcp_hello mine = hello_of(1, 2), first, second;
	struct kvr_tcp tcp = {.secret = "open sesame", .secret_bytes = 11};
	int fd;

	(void)state;
	mine.has_secret = 1;
	begin("open sesame");
	fd = dial();
	say(fd, &mine, sizeof(mine));
	assert_true(hear(fd, &first, sizeof(first)));
	assert_int_equal(kvr_tcp_prove(&tcp, false, &mine, &first, proof.mac),
			 KVR_OK);
	close(fd);
	/* As overheard: right then, and for that nonce. */
	fd = dial();
	say(fd, &mine, sizeof(mine));
	assert_true(hear(fd, &second, sizeof(second)));
	say(fd, &proof, sizeof(proof));
	assert_true(hear(fd, &proof, sizeof(proof)));
	assert_int_equal(proof.verdict, KVR_TCP_SECRET_WRONG);
	assert_dropped(fd);
	end_well();
}

/* A rank that got in and lies in the all-gather. */
static void gather_with(const void *frame, size_t bytes, const char *says)
{
	struct kvr_tcp_hello hello = hello_of(1, 2);
	uint8_t go[16];
	int fd;

	begin(NULL);
	fd = dial();
	say(fd, &hello, sizeof(hello));
	assert_true(hear(fd, &hello, sizeof(hello)));
	assert_int_equal(hello.verdict, KVR_TCP_WELCOME);
	assert_true(hear(fd, go, sizeof(go)));
	say(fd, frame, bytes);
	shutdown(fd, SHUT_WR);
	hosts_end(&m[0]);
	assert_int_equal(m[0].status, KVR_OK);
	assert_int_equal(m[0].gathered, -1);
	assert_says(&m[0], says);
	close(fd);
}

static void frame_wrong_fails_gather(void **state)
{
	uint8_t huge[16] = {1,	  0,	0,    0,    0,	  0,	0,    0,
			    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	uint8_t kind[16 + 100] = {2, 0, 0, 0, 0, 0, 0, 0, 100};
	uint8_t cut[16 + 99] = {1, 0, 0, 0, 0, 0, 0, 0, 100};

	(void)state;
	gather_with(huge, sizeof(huge), "gathers 18446744073709551615 bytes");
	gather_with(kind, sizeof(kind), "rank 1 (127.0.0.1)");
	gather_with(cut, sizeof(cut), "rank 1 (127.0.0.1) ended");
	gather_with(huge, 15, "rank 1 (127.0.0.1) ended");
}

static void rank_ending_while_others_come_named(void **state)
{
	struct kvr_tcp_hello hello = hello_of(1, 3);
	int fd;

	(void)state;
	port = hosts_free_port();
	hosts_init(m, 3, port);
	hosts_start(&m[0]);
	fd = dial();
	say(fd, &hello, sizeof(hello));
	assert_true(hear(fd, &hello, sizeof(hello)));
	assert_int_equal(hello.verdict, KVR_TCP_WELCOME);
	close(fd);
	hosts_end(&m[0]);
	assert_int_equal(m[0].status, KVR_ERR_PEER_LOST);
	assert_says(&m[0], "rank 1 (127.0.0.1) ended while the others came");
}

/* -------------------------------------------------------- hostile rank 0 */

/* Answers one rank 1 as if it were rank 0. */
struct impostor {
	int listen_fd;
	pthread_t thread;
	const void *answer; /* to the hello */
	size_t answer_bytes;
	bool reflect; /* its proof */
	const void *then;
	size_t then_bytes;
};

static void *pretend(void *arg)
{
	struct impostor *i = arg;
	int fd = accept(i->listen_fd, NULL, NULL);
	struct kvr_tcp_proof proof = {0};
	struct kvr_tcp_hello hello;

	CHECK(fd >= 0 && hear(fd, &hello, sizeof(hello)));
	say(fd, i->answer, i->answer_bytes);
	if (i->reflect && hear(fd, &proof, sizeof(proof)))
		say(fd, &proof, sizeof(proof));
	if (i->then)
		say(fd, i->then, i->then_bytes);
	close(fd);
	return NULL;
}

static void listen_as_rank_0(struct impostor *i)
{
	struct sockaddr_in at = {.sin_family = AF_INET,
				 .sin_port = htons(port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	i->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(i->listen_fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, 4);
	CHECK(!bind(i->listen_fd, (struct sockaddr *)&at, sizeof(at)));
	CHECK(!listen(i->listen_fd, 8));
	CHECK(!pthread_create(&i->thread, NULL, pretend, i));
}

static void fall_for(struct impostor *i, const char *secret,
		     enum kvr_status status, const char *says)
{
	port = hosts_free_port();
	hosts_init(m, 2, port);
	m[1].options.join_timeout_ms = 500;
	if (secret)
		give_secret(&m[1], secret);
	listen_as_rank_0(i);
	hosts_start(&m[1]);
	CHECK(!pthread_join(i->thread, NULL));
	close(i->listen_fd);
	hosts_end(&m[1]);
	assert_int_equal(m[1].status, status);
	assert_says(&m[1], says);
}

static void impostor_without_secret_refused(void **state)
{
	static const uint8_t zeros[sizeof(struct kvr_tcp_proof)];
	struct kvr_tcp_hello hello = hello_of(0, 2);
	struct impostor reflecting = {.answer = &hello,
				      .answer_bytes = sizeof(hello),
				      .reflect = true};
	struct impostor skipping = {.answer = &hello,
				    .answer_bytes = sizeof(hello),
				    .then = zeros,
				    .then_bytes = sizeof(zeros)};

	(void)state;
	hello.has_secret = 1;
	fall_for(&reflecting, "open sesame", KVR_ERR_MISMATCH,
		 "does not know the secret");
	fall_for(&skipping, "open sesame", KVR_ERR_MISMATCH,
		 "does not know the secret");
}

static void impostor_talking_otherwise_tried_again(void **state)
{
	struct kvr_tcp_hello hello = hello_of(1, 2);
	static const char mail[] = "220 mail.example.com ESMTP, and so on, "
				   "for as long as a hello is";
	struct impostor other = {.answer = mail, .answer_bytes = sizeof(mail)};
	struct impostor self = {.answer = &hello,
				.answer_bytes = sizeof(hello)};

	(void)state;
	fall_for(&other, NULL, KVR_ERR_TIMEOUT, "no rank 0 at");
	fall_for(&self, NULL, KVR_ERR_TIMEOUT, "no rank 0 at");
}

static void rank_0_lying_fails_opening(void **state)
{
	static const uint8_t huge[16] = {2, 0, 0,    0,	   0,	 0,
					 0, 0, 0xff, 0xff, 0xff, 0xff};
	static const uint8_t flood[16 + 4096] = {2, 0, 0, 0, 0, 0, 0, 0, 0, 16};
	static const uint8_t data[16 + 5] = {1, 0, 0, 0, 0, 0, 0, 0, 5};
	static const uint8_t escape[16 + 4] = {2, 0, 0,	   0,	0,   0, 0,
					       0, 4, 0,	   0,	0,   0, 0,
					       0, 0, 0x1b, '[', 'm', 7};
	struct kvr_tcp_hello hello = hello_of(0, 2);
	struct impostor i = {.answer = &hello, .answer_bytes = sizeof(hello)};

	(void)state;
	i.then = huge;
	i.then_bytes = sizeof(huge);
	fall_for(&i, NULL, KVR_ERR_PEER_LOST, "failed");
	/* More than there is room for, and all of it comes. */
	i.then = flood;
	i.then_bytes = sizeof(flood);
	fall_for(&i, NULL, KVR_ERR_PEER_LOST, ": failed");
	i.then = data;
	i.then_bytes = sizeof(data);
	fall_for(&i, NULL, KVR_ERR_PEER_LOST, "another number of bytes");
	i.then = escape;
	i.then_bytes = sizeof(escape);
	fall_for(&i, NULL, KVR_ERR_PEER_LOST, ": ?[m?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(secret_shared_lets_in),
		cmocka_unit_test(secret_wrong_refused_on_both_sides),
		cmocka_unit_test(secret_of_environment_checked),
		cmocka_unit_test(secret_of_file_equals_that_of_variable),
		cmocka_unit_test(stranger_dropped_unanswered),
		cmocka_unit_test(strangers_many_and_silent_only_delay),
		cmocka_unit_test(hello_wrong_answered_and_dropped),
		cmocka_unit_test(proof_guessed_or_reflected_refused),
		cmocka_unit_test(proof_of_other_connection_refused),
		cmocka_unit_test(frame_wrong_fails_gather),
		cmocka_unit_test(rank_ending_while_others_come_named),
		cmocka_unit_test(impostor_without_secret_refused),
		cmocka_unit_test(impostor_talking_otherwise_tried_again),
		cmocka_unit_test(rank_0_lying_fails_opening),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
