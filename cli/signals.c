/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/signals.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

static int fd = -1;
static sigset_t before;

/* What nohup, or a shell for its background, told us to ignore stays so. */
static void add(sigset_t *set, int signo)
{
	struct sigaction inherited;

	if (sigaction(signo, NULL, &inherited) == 0 &&
	    inherited.sa_handler != SIG_IGN)
		sigaddset(set, signo);
}

bool signals_block(struct complaint *why)
{
	sigset_t set;

	sigemptyset(&set);
	add(&set, SIGINT);
	add(&set, SIGTERM);
	add(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, &before);
	/* An inherited "ignore" would reap the ranks behind our back. */
	signal(SIGCHLD, SIG_DFL);
	signal(SIGXFSZ, SIG_IGN);
	fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	return fd >= 0 || complain(why,
				   "signals: no descriptor for them: %s; "
				   "raise the limit of open files",
				   strerror(errno));
}

int signals_fd(void)
{
	return fd;
}

int signals_next(void)
{
	struct signalfd_siginfo info;

	if (read(fd, &info, sizeof(info)) != sizeof(info))
		return 0;
	return (int)info.ssi_signo;
}

int signals_interrupted(void)
{
	int signo;

	while ((signo = signals_next()) != 0)
		if (signo != SIGCHLD)
			return signo;
	return 0;
}

void signals_restore(void)
{
	close(fd);
	signal(SIGXFSZ, SIG_DFL);
	sigprocmask(SIG_SETMASK, &before, NULL);
}
