/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every system call and allocation of opening a host list fails once, on rank
 * 0 and on another: a status comes back, on both sides, and no descriptor or
 * memory stays. What may pass is tried again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "tests/support/hosts.h"

/* The call that fails, counted down, of this thread alone; 0: none. */
static _Thread_local int countdown;
static const char *failed;

static bool fails(const char *call)
{
	if (countdown == 0 || --countdown > 0)
		return false;
	failed = call;
	errno = strcmp(call, "calloc") && strcmp(call, "strdup") ? EMFILE
								 : ENOMEM;
	return true;
}

#define WRAP(type, name, parameters, arguments, error)                         \
	type __real_##name parameters;                                         \
	type __wrap_##name parameters;                                         \
	type __wrap_##name parameters                                          \
	{                                                                      \
		return fails(#name) ? (error) : __real_##name arguments;       \
	}

WRAP(int, socket, (int domain, int type, int protocol),
     (domain, type, protocol), -1)
WRAP(int, bind, (int fd, const struct sockaddr *name, socklen_t bytes),
     (fd, name, bytes), -1)
WRAP(int, listen, (int fd, int backlog), (fd, backlog), -1)
WRAP(int, connect, (int fd, const struct sockaddr *name, socklen_t bytes),
     (fd, name, bytes), -1)
WRAP(int, accept4, (int fd, struct sockaddr *name, socklen_t *bytes, int flags),
     (fd, name, bytes, flags), -1)
WRAP(ssize_t, send, (int fd, const void *data, size_t bytes, int flags),
     (fd, data, bytes, flags), -1)
WRAP(ssize_t, getrandom, (void *to, size_t bytes, unsigned int flags),
     (to, bytes, flags), -1)
WRAP(void *, calloc, (size_t count, size_t bytes), (count, bytes), NULL)
WRAP(char *, strdup, (const char *text), (text), NULL)

static int fd_count(void)
{
	DIR *directory = opendir("/proc/self/fd");
	int count = 0;

	assert_non_null(directory);
	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

static void assert_fits(enum kvr_status status, const struct member *me)
{
	bool memory = !strcmp(failed, "calloc") || !strcmp(failed, "strdup");
	/* The other is not there yet, as far as this one can know. */
	bool again = !strcmp(failed, "connect") ||
		     (me->options.rank == 1 &&
		      (!strcmp(failed, "socket") || !strcmp(failed, "send")));

	if (memory)
		assert_int_equal(status, KVR_ERR_NO_MEMORY);
	else if (again)
		assert_int_equal(status, KVR_OK);
	else if (!strcmp(failed, "send")) /* rank 0's hello, or its go */
		assert_true(status == KVR_OK || status == KVR_ERR_PEER_LOST);
	else
		assert_int_equal(status, KVR_ERR_SYSTEM);
	if (status != KVR_OK && !memory)
		assert_true(me->log[0] != '\0');
}

/* Returns how many calls one opening makes. */
static int fail_each(uint32_t rank)
{
	const int fds = fd_count();
	static struct member m[2];

	for (int n = 1;; n++) {
		struct member *me = &m[rank], *other = &m[!rank];

		hosts_init(m, 2, hosts_free_port());
		other->options.join_timeout_ms = 400;
		other->options.gather_timeout_ms = 400;
		me->options.join_timeout_ms = 2000;
		m[0].options.secret = m[1].options.secret = "sesame";
		m[0].options.secret_bytes = m[1].options.secret_bytes = 6;
		hosts_start(other);
		failed = NULL;
		countdown = n;
		me->status = kvr_bootstrap_open(&me->options, &me->bootstrap);
		countdown = 0;
		if (me->status == KVR_OK)
			kvr_bootstrap_close(&me->bootstrap);
		hosts_end(other);
		assert_int_equal(fd_count(), fds);
		if (!failed) {
			assert_int_equal(me->status, KVR_OK);
			return n - 1;
		}
		assert_fits(me->status, me);
		if (me->status != KVR_OK)
			assert_int_not_equal(other->status, KVR_OK);
	}
}

static void opening_failing_call_leaves_nothing(void **state)
{
	int of_0, of_1;

	(void)state;
	of_0 = fail_each(0);
	of_1 = fail_each(1);
	printf("%d calls of rank 0 and %d of rank 1 failed\n", of_0, of_1);
	assert_true(of_0 >= 9 && of_1 >= 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(opening_failing_call_leaves_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
