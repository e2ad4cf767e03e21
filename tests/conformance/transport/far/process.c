/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/conformance/transport/far/process.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tests/conformance/transport/pair.h"
#include "tests/support/ranks.h"

/* Until the agent listens. */
#define DIAL_NS UINT64_C(60000000000)

/* An answer; the longest call is a whole stream. */
#define ANSWER_S 300

static int dial_once(const struct addrinfo *to)
{
	const struct timeval patience = {.tv_sec = ANSWER_S};
	const int fd = socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK(fd >= 0);
	if (connect(fd, to->ai_addr, to->ai_addrlen)) {
		close(fd);
		return -1;
	}
	CHECK(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1},
			 sizeof(int)) == 0);
	CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience,
			 sizeof(patience)) == 0);
	return fd;
}

static int dial(const char *agent)
{
	const struct timespec pause = {.tv_nsec = 100000000};
	const uint64_t end = test_now_ns() + DIAL_NS;
	const char *colon = strrchr(agent, ':');
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *to = NULL;
	char host[256];
	int fd;

	if (!colon)
		return -1;
	snprintf(host, sizeof(host), "%.*s", (int)(colon - agent), agent);
	if (getaddrinfo(host, colon + 1, &hints, &to))
		return -1;
	for (fd = dial_once(to); fd < 0 && test_now_ns() < end;
	     fd = dial_once(to))
		nanosleep(&pause, NULL);
	freeaddrinfo(to);
	return fd;
}

void far_process_open(struct far_process *process, const char *agent)
{
	const int fd = dial(agent);

	if (fd < 0)
		fprintf(stderr, "no agent at %s\n", agent);
	CHECK(fd >= 0);
	*process = (struct far_process){
		.fd = fd, .owner = getpid(), .woken_fd = -1};
}

void far_process_close(struct far_process *process)
{
	close(process->fd);
	parcel_free(&process->call);
	parcel_free(&process->answer);
}

bool far_process_is_ours(const struct far_process *process)
{
	return process->owner == getpid();
}

struct parcel *far_call_begin(struct far_process *process, enum far_kind kind)
{
	parcel_begin(&process->call, kind);
	return &process->call;
}

static void hear_line(struct far_process *process)
{
	struct parcel *line = &process->answer;
	enum kvr_log_level level;

	TAKE(line, level);
	kvr_log(process->log, level, "%s",
		(const char *)parcel_take(line, line->used - line->taken));
}

/* Ends the program when the agent's process has: a mistake there. */
enum kvr_status far_call(struct far_process *process)
{
	enum kvr_status status;

	CHECK(parcel_send(process->fd, &process->call));
	for (;;) {
		CHECK(parcel_receive(process->fd, &process->answer));
		if (process->answer.kind == FAR_ANSWER)
			break;
		if (process->answer.kind == FAR_LINE)
			hear_line(process);
		else
			CHECK(process->answer.kind == FAR_WAKE &&
			      write(process->woken_fd, &(uint64_t){1}, 8) == 8);
	}
	TAKE(&process->answer, status);
	return status;
}
