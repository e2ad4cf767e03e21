/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every system call and allocation of a shm edge's set-up fails once: a
 * status comes back, and no descriptor, mapping or memory stays.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "rdma/shm/shm.h"
#include "tests/conformance/transport/pair.h"

/* The call that fails, counted down; 0: none. */
static int countdown;
static int failure;
static const char *failed;

static bool fails(const char *call)
{
	if (countdown == 0 || --countdown > 0)
		return false;
	failed = call;
	errno = failure;
	return true;
}

#define WRAP(type, name, parameters, arguments, error)                         \
	type __real_##name parameters;                                         \
	type __wrap_##name parameters;                                         \
	type __wrap_##name parameters                                          \
	{                                                                      \
		return fails(#name) ? (error) : __real_##name arguments;       \
	}

WRAP(int, memfd_create, (const char *name, unsigned flags), (name, flags), -1)
WRAP(int, posix_fallocate, (int fd, off_t at, off_t bytes), (fd, at, bytes),
     failure)
WRAP(void *, mmap, (void *at, size_t n, int prot, int flags, int fd, off_t o),
     (at, n, prot, flags, fd, o), MAP_FAILED)
WRAP(int, epoll_create1, (int flags), (flags), -1)
WRAP(int, epoll_ctl, (int fd, int op, int who, struct epoll_event *event),
     (fd, op, who, event), -1)
WRAP(int, socket, (int domain, int type, int protocol),
     (domain, type, protocol), -1)
WRAP(int, bind, (int fd, const struct sockaddr *name, socklen_t bytes),
     (fd, name, bytes), -1)
WRAP(int, listen, (int fd, int backlog), (fd, backlog), -1)
WRAP(int, getsockname, (int fd, struct sockaddr *name, socklen_t *bytes),
     (fd, name, bytes), -1)
WRAP(int, connect, (int fd, const struct sockaddr *name, socklen_t bytes),
     (fd, name, bytes), -1)
WRAP(int, accept4, (int fd, struct sockaddr *name, socklen_t *bytes, int flags),
     (fd, name, bytes, flags), -1)
WRAP(ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags),
     (fd, message, flags), -1)
WRAP(ssize_t, getrandom, (void *to, size_t bytes, unsigned flags),
     (to, bytes, flags), -1)
WRAP(int, stat, (const char *path, struct stat *out), (path, out), -1)
WRAP(void *, calloc, (size_t count, size_t bytes), (count, bytes), NULL)

int __real_open(const char *path, int flags);
int __wrap_open(const char *path, int flags);
int __wrap_open(const char *path, int flags)
{
	return fails("open") ? -1 : __real_open(path, flags);
}

int __real_fcntl(int fd, int command, int argument);
int __wrap_fcntl(int fd, int command, int argument);
int __wrap_fcntl(int fd, int command, int argument)
{
	return fails("fcntl") ? -1 : __real_fcntl(fd, command, argument);
}

/* The first status that is no progress, or KVR_OK. */
static enum kvr_status begin(struct pair *pair)
{
	uint8_t in[KVR_ADDRESS_BYTES], out[KVR_ADDRESS_BYTES];
	enum kvr_status status, at_in, at_out;

	status = pair->ops->open(
		&(struct kvr_transport_config){.log = &pair->log},
		&pair->transport);
	if (status == KVR_OK)
		status = pair->ops->endpoint_open(pair->transport,
						  &pair->in_config, &pair->in);
	if (status == KVR_OK)
		status = pair->ops->endpoint_open(
			pair->transport, &pair->out_config, &pair->out);
	if (status != KVR_OK)
		return status;
	pair->ops->address(pair->in, in);
	pair->ops->address(pair->out, out);
	assert_int_equal(pair->ops->connect(pair->in, out), KVR_OK);
	assert_int_equal(pair->ops->connect(pair->out, in), KVR_OK);
	do {
		at_out = pair->ops->connect_poll(pair->out);
		at_in = pair->ops->connect_poll(pair->in);
		if (at_out != KVR_OK && at_out != KVR_ERR_AGAIN)
			return at_out;
		if (at_in != KVR_OK && at_in != KVR_ERR_AGAIN)
			return at_in;
	} while (at_in != KVR_OK || at_out != KVR_OK);
	return KVR_OK;
}

static bool fits(enum kvr_status status, enum kvr_status expected)
{
	/* fcntl also asks for the seals of what the peer passed. */
	if (strcmp(failed, "fcntl") == 0 && status == KVR_ERR_PROTOCOL)
		return true;
	if (strcmp(failed, "calloc") == 0)
		return status == KVR_ERR_NO_MEMORY;
	return status == expected;
}

/* Returns how many calls a set-up makes: each of them failed once. */
static int fail_each(int error, enum kvr_status expected)
{
	const int fds = test_fd_count(), maps = test_map_count();

	for (int n = 1;; n++) {
		struct pair pair;
		enum kvr_status status;

		pair_init(&pair, 2, 2, 5000, 1000);
		failure = error;
		failed = NULL;
		countdown = n;
		status = begin(&pair);
		countdown = 0;
		pair_close(&pair);
		assert_int_equal(test_fd_count(), fds);
		assert_int_equal(test_map_count(), maps);
		if (!failed) {
			assert_int_equal(status, KVR_OK);
			return n - 1;
		}
		if (!fits(status, expected))
			fail_msg("%s: %s", failed, kvr_status_name(status));
		/* Named in the log; an allocation needs no explanation. */
		if (strcmp(failed, "calloc") != 0 && pair.lines[0] == '\0')
			fail_msg("%s was not logged", failed);
	}
}

/* open, stat, getrandom, memfd, fallocate, seal, map, ... of two ends. */
#define CALLS_MIN 30

static void open_without_descriptors_is_system_and_leaves_nothing(void **state)
{
	(void)state;
	assert_true(fail_each(EMFILE, KVR_ERR_SYSTEM) >= CALLS_MIN);
}

static void open_without_memory_is_no_memory_and_leaves_nothing(void **state)
{
	(void)state;
	assert_true(fail_each(ENOMEM, KVR_ERR_NO_MEMORY) >= CALLS_MIN);
	assert_true(fail_each(ENOSPC, KVR_ERR_NO_MEMORY) >= CALLS_MIN);
}

/* A signal that comes amid a long allocation does not end it. */
static void open_when_interrupted_goes_on(void **state)
{
	struct pair pair;
	int calls = 0;

	(void)state;
	do {
		pair_init(&pair, 1, 2, 64, 64);
		failure = EINTR;
		failed = NULL;
		countdown = ++calls;
		if (begin(&pair) == KVR_OK && failed &&
		    strcmp(failed, "posix_fallocate") == 0)
			calls = 0;
		countdown = 0;
		pair_close(&pair);
	} while (calls > 0 && failed);
	assert_int_equal(calls, 0);
}

/* A peer that cannot be talked to is not there: the caller keeps waiting. */
static void connect_refused_once_is_tried_again(void **state)
{
	struct pair pair;

	(void)state;
	for (int n = 1; n < 100; n++) {
		pair_init(&pair, 1, 2, 64, 64);
		failure = ECONNREFUSED;
		failed = NULL;
		countdown = n;
		enum kvr_status status = begin(&pair);
		countdown = 0;
		pair_close(&pair);
		if (failed && strcmp(failed, "connect") == 0) {
			assert_int_equal(status, KVR_OK);
			return;
		}
	}
	fail();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			open_without_descriptors_is_system_and_leaves_nothing),
		cmocka_unit_test(
			open_without_memory_is_no_memory_and_leaves_nothing),
		cmocka_unit_test(open_when_interrupted_goes_on),
		cmocka_unit_test(connect_refused_once_is_tried_again),
	};

	pair_ops = &kvr_shm_transport;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
