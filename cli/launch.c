/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli/gather.h"
#include "cli/memory.h"
#include "cli/signals.h"

#define TICK_MS 100
#define NOBODY UINT32_MAX
#define TERM_SECONDS 2.0 /* from SIGTERM to SIGKILL, for programs */

struct launcher {
	const struct launch_job *job;
	struct launch_fate *fates;
	struct launch_result result;
	struct gather *gather;
	struct pollfd *polls; /* the ranks', then the signals' */
	pid_t *pids;	      /* 0: not running */
	uint32_t running, stopped;
	uint32_t suspect; /* stopped when the first one failed, or NOBODY */
	double kill_at;	  /* when the grace ends; 0: nothing failed yet */
	struct complaint *why;
	bool broken; /* *why is filled in */
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* -------------------------------------------------------------- a child */

static void set_number(const char *name, long value)
{
	char text[24];

	snprintf(text, sizeof(text), "%ld", value);
	setenv(name, text, 1);
}

static void set_environment(const struct launch_job *job, uint32_t rank, int fd)
{
	char title[32];

	if (!job->apart) {
		set_number("KVRING_RANK", rank);
		set_number("KVRING_SIZE", job->n);
		set_number("KVRING_BOOTSTRAP_FD", fd);
	}
	snprintf(title, sizeof(title), "kvring rank %u", rank);
	prctl(PR_SET_NAME, title);
}

/*
 * The keyboard's signals go to the whole group: the parent alone acts on
 * them, unless the rank is a program with its own mind.
 */
static void set_signals(const struct launch_job *job)
{
	signals_restore();
	if (job->program)
		return;
	signal(SIGINT, SIG_IGN);
	signal(SIGQUIT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGTSTP, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
}

_Noreturn static void child(struct launcher *l, uint32_t index, int fd,
			    pid_t parent)
{
	const uint32_t *numbers = l->job->numbers;
	uint32_t rank = numbers ? numbers[index] : index;

	/* The parent may have died before prctl: then nobody would tell. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(CLI_FAILED);
	/* Also our copies of the other ranks' ends. */
	gather_close(l->gather);
	set_signals(l->job);
	/* Ours alone: a program may think otherwise of itself. */
	if (!l->job->program)
		memory_volunteer();
	set_environment(l->job, rank, fd);
	exit(l->job->rank(l->job->arg, rank));
}

static bool start(struct launcher *l, uint32_t rank)
{
	pid_t parent = getpid(), pid;
	int pair[2];

	/* The child's end alone survives exec. */
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		return complain(l->why,
				"rank %u: no socket for it: %s; raise "
				"the limit of open files or start "
				"fewer ranks",
				rank, strerror(errno));
	fcntl(pair[0], F_SETFD, FD_CLOEXEC);
	fcntl(pair[0], F_SETFL, O_NONBLOCK);
	gather_attach(l->gather, rank, pair[0]);
	pid = fork();
	if (pid == 0)
		child(l, rank, pair[1], parent);
	close(pair[1]);
	if (pid < 0)
		return complain(l->why,
				"rank %u: cannot be started: %s; start "
				"fewer ranks",
				rank, strerror(errno));
	l->pids[rank] = pid;
	l->running++;
	return true;
}

/* -------------------------------------------------------------- endings */

static void kill_rank(struct launcher *l, uint32_t rank, int signo)
{
	if (l->pids[rank] == 0)
		return;
	/* A stopped process takes no signal but this. */
	if (l->fates[rank].end == LAUNCH_STOPPED)
		signo = SIGKILL;
	else if (signo == SIGKILL && l->result.interrupted == 0)
		l->fates[rank].end = LAUNCH_ENDED;
	kill(l->pids[rank], signo);
}

static void kill_all(struct launcher *l, int signo)
{
	uint32_t i;

	for (i = 0; i < l->job->n; i++)
		kill_rank(l, i, signo);
}

static uint32_t first_stopped(const struct launcher *l)
{
	uint32_t i;

	for (i = 0; i < l->job->n; i++)
		if (l->fates[i].end == LAUNCH_STOPPED)
			return i;
	return NOBODY;
}

/* The others learn of it, and have the grace to say so themselves. */
static void failed(struct launcher *l, uint32_t rank)
{
	gather_close(l->gather);
	if (l->kill_at != 0 || l->result.interrupted)
		return;
	l->kill_at = now() + l->job->grace_seconds;
	l->result.first_failed = rank;
	l->suspect = first_stopped(l);
}

static void interrupted(struct launcher *l, int signo)
{
	l->result.interrupted = signo;
	gather_close(l->gather);
	if (l->job->program) {
		kill_all(l, SIGTERM);
		l->kill_at = now() + TERM_SECONDS;
	} else {
		kill_all(l, SIGKILL);
	}
}

static void ended(struct launcher *l, uint32_t rank, int status)
{
	struct launch_fate *fate = &l->fates[rank];

	l->pids[rank] = 0;
	l->running--;
	if (fate->end == LAUNCH_STOPPED) {
		l->stopped--;
		/* By anything else it ended after it was continued. */
		if (!l->job->program ||
		    (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL))
			return;
	}
	if (fate->end == LAUNCH_ENDED && WIFSIGNALED(status))
		return;
	fate->end = WIFSIGNALED(status) ? LAUNCH_KILLED : LAUNCH_EXITED;
	fate->code =
		WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
	if (fate->code != 0)
		failed(l, rank);
}

/*
 * A stop by the keyboard (SIGTSTP) is the user's, and stops us as well. A
 * program may be continued, which is no failure where no rank made it one.
 */
static void stopped(struct launcher *l, uint32_t rank, int signo)
{
	struct launch_fate *fate = &l->fates[rank];

	if (signo == SIGTSTP || fate->end == LAUNCH_STOPPED)
		return;
	fate->end = LAUNCH_STOPPED;
	fate->code = signo;
	l->stopped++;
	if (!l->job->program)
		failed(l, rank);
}

static void continued(struct launcher *l, uint32_t rank)
{
	if (!l->job->program || l->fates[rank].end != LAUNCH_STOPPED)
		return;
	l->fates[rank].end = LAUNCH_RUNNING;
	l->stopped--;
}

static void reap(struct launcher *l)
{
	uint32_t i;
	int status;

	for (i = 0; i < l->job->n; i++) {
		if (l->pids[i] == 0 ||
		    waitpid(l->pids[i], &status,
			    WNOHANG | WUNTRACED | WCONTINUED) <= 0)
			continue;
		if (WIFSTOPPED(status))
			stopped(l, i, WSTOPSIG(status));
		else if (WIFCONTINUED(status))
			continued(l, i);
		else
			ended(l, i, status);
	}
}

/* ----------------------------------------------------------------- loop */

static void wait_for_events(struct launcher *l)
{
	uint32_t n = l->job->n, i;

	for (i = 0; i < n; i++) {
		l->polls[i].fd = gather_fd(l->gather, i);
		l->polls[i].events = gather_events(l->gather, i);
	}
	l->polls[n].fd = signals_fd();
	l->polls[n].events = POLLIN;
	if (poll(l->polls, n + 1, TICK_MS) < 0)
		for (i = 0; i <= n; i++)
			l->polls[i].revents = 0;
}

static void serve(struct launcher *l)
{
	struct complaint why;
	uint32_t i;

	for (i = 0; i < l->job->n; i++) {
		if (!l->polls[i].revents || gather_serve(l->gather, i, &why))
			continue;
		*l->why = why;
		l->broken = true;
		failed(l, i);
	}
}

static void take_signals(struct launcher *l)
{
	int signo;

	while ((signo = signals_next()) != 0) {
		/* A death comes first: we may be ended because of it. */
		reap(l);
		if (signo != SIGCHLD && l->result.interrupted == 0)
			interrupted(l, signo);
	}
}

static void loop(struct launcher *l)
{
	while (l->running > 0) {
		wait_for_events(l);
		serve(l);
		take_signals(l);
		if (l->job->tick)
			l->job->tick(l->job->arg);
		/* Nobody but stopped ranks left: nothing to wait for. */
		if (l->kill_at != 0 &&
		    (now() >= l->kill_at || l->running == l->stopped))
			kill_all(l, SIGKILL);
	}
	/* The others failed for want of it. */
	if (l->suspect != NOBODY && l->fates[l->suspect].end == LAUNCH_STOPPED)
		l->result.first_failed = l->suspect;
}

static void start_all(struct launcher *l)
{
	uint32_t i;

	/* What is buffered now would be written once by each child. */
	fflush(NULL);
	for (i = 0; i < l->job->n; i++) {
		if (start(l, i))
			continue;
		l->broken = true;
		kill_all(l, SIGKILL);
		gather_close(l->gather);
		return;
	}
}

bool launch(const struct launch_job *job, struct launch_fate *fates,
	    struct launch_result *out, struct complaint *why)
{
	struct launcher l = {
		.job = job, .fates = fates, .why = why, .suspect = NOBODY};

	memset(fates, 0, job->n * sizeof(*fates));
	l.result.first_failed = NOBODY;
	l.gather = gather_new(job->n);
	l.polls = calloc(job->n + 1, sizeof(*l.polls));
	l.pids = calloc(job->n, sizeof(*l.pids));
	if (!l.gather || !l.polls || !l.pids) {
		l.broken = true;
		complain(why, "no memory for %u ranks; start fewer", job->n);
	} else {
		start_all(&l);
		loop(&l);
		*out = l.result;
	}
	gather_free(l.gather);
	free(l.polls);
	free(l.pids);
	return !l.broken;
}

static const char *signal_hint(int signo)
{
	switch (signo) {
	case SIGKILL:
		return "; by somebody, or for lack of memory: see dmesg";
	case SIGBUS:
		return "; the input changed meanwhile, or the disk failed";
	default:
		return "";
	}
}

void launch_describe(const struct launch_fate *fate, char *out, size_t bytes)
{
	const char *name = sigabbrev_np(fate->code);

	if (!name)
		name = "?";
	switch (fate->end) {
	case LAUNCH_KILLED:
		snprintf(out, bytes, "was killed by SIG%s%s", name,
			 signal_hint(fate->code));
		break;
	case LAUNCH_STOPPED:
		snprintf(out, bytes,
			 "was stopped by SIG%s, and then ended; "
			 "stop no rank",
			 name);
		break;
	case LAUNCH_ENDED:
		snprintf(out, bytes,
			 "did not end by itself after another "
			 "rank failed, and was killed; see the other rank");
		break;
	default:
		snprintf(out, bytes,
			 "exited with status %d; see its own "
			 "messages",
			 fate->code);
	}
}
