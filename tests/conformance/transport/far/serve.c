/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/conformance/transport/far/far.h"
#include "tests/conformance/transport/far/process.h"
#include "tests/support/ranks.h"

struct server {
	const struct kvr_transport_ops *ops;
	int listen_fd, child_fd; /* a signalfd */
	pid_t first;
	int processes; /* not yet ended */
	bool over;     /* the first has */
	int status;    /* to exit with */
};

static int open_port(const char *port)
{
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)strtoul(port, NULL, 10))};
	socklen_t bytes = sizeof(address);

	CHECK(fd >= 0);
	CHECK(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1},
			 sizeof(int)) == 0);
	CHECK(bind(fd, (struct sockaddr *)&address, bytes) == 0);
	CHECK(listen(fd, 64) == 0);
	CHECK(getsockname(fd, (struct sockaddr *)&address, &bytes) == 0);
	printf("port %u\n", ntohs(address.sin_port));
	fflush(stdout);
	return fd;
}

/* Before there is any process: none may end unnoticed. */
static int open_child_fd(void)
{
	sigset_t child;
	int fd;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	CHECK(sigprocmask(SIG_BLOCK, &child, NULL) == 0);
	fd = signalfd(-1, &child, SFD_CLOEXEC);
	CHECK(fd >= 0);
	return fd;
}

static void let_in(struct server *server)
{
	const int fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	pid_t pid;

	CHECK(fd >= 0);
	CHECK(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1},
			 sizeof(int)) == 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
		close(server->listen_fd);
		close(server->child_fd);
		far_agent_run(server->ops, fd);
	}
	close(fd);
	server->processes++;
	if (!server->first)
		server->first = pid;
}

static void bury(struct server *server)
{
	struct signalfd_siginfo info;
	int status;
	pid_t pid;

	CHECK(read(server->child_fd, &info, sizeof(info)) == sizeof(info));
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		server->processes--;
		server->over |= pid == server->first;
		if (status == 0)
			continue;
		fprintf(stderr, "a process of the agent ended with %#x\n",
			(unsigned int)status);
		server->status = 1;
	}
}

int far_serve(const struct kvr_transport_ops *ops, const char *port)
{
	struct server server = {.ops = ops,
				.listen_fd = open_port(port),
				.child_fd = open_child_fd()};

	while (!server.over || server.processes > 0) {
		struct pollfd fds[2] = {
			{.fd = server.listen_fd, .events = POLLIN},
			{.fd = server.child_fd, .events = POLLIN}};

		CHECK(poll(fds, 2, -1) > 0);
		if (fds[0].revents)
			let_in(&server);
		if (fds[1].revents)
			bury(&server);
	}
	close(server.listen_fd);
	close(server.child_fd);
	return server.status;
}
