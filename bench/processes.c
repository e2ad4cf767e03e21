/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/processes.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/report.h"

/* What one process brings to an all-gather. Untouched pages cost nothing. */
#define GATHER_BYTES (1u << 20)

struct meeting {
	uint32_t n;
	pthread_barrier_t barrier;
	unsigned char gathered[]; /* n x GATHER_BYTES */
};

void *shared_new(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		report_die("no shared memory");
	return p;
}

void shared_free(void *shared, size_t bytes)
{
	munmap(shared, bytes);
}

/* ------------------------------------------------------------- meeting */

static size_t meeting_bytes(uint32_t n)
{
	return sizeof(struct meeting) + (size_t)n * GATHER_BYTES;
}

struct meeting *meeting_new(uint32_t n)
{
	struct meeting *meeting = shared_new(meeting_bytes(n));
	pthread_barrierattr_t attr;

	meeting->n = n;
	pthread_barrierattr_init(&attr);
	pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	if (pthread_barrier_init(&meeting->barrier, &attr, n))
		report_die("no barrier between processes");
	pthread_barrierattr_destroy(&attr);
	return meeting;
}

/* Not destroyed: that would wait for processes that were killed inside. */
void meeting_free(struct meeting *meeting)
{
	shared_free(meeting, meeting_bytes(meeting->n));
}

void meeting_wait(struct meeting *meeting)
{
	pthread_barrier_wait(&meeting->barrier);
}

int meeting_allgather(void *arg, const void *local, size_t bytes, void *all)
{
	const struct seat *seat = arg;
	struct meeting *meeting = seat->meeting;

	if (bytes > GATHER_BYTES)
		return -1;
	memcpy(meeting->gathered + seat->index * bytes, local, bytes);
	meeting_wait(meeting);
	memcpy(all, meeting->gathered, meeting->n * bytes);
	/* Nobody writes the next before everybody has read this one. */
	meeting_wait(meeting);
	return 0;
}

/* ------------------------------------------------------------ children */

__attribute__((noreturn)) static void child(const struct processes *job,
					    uint32_t index, pid_t parent,
					    const sigset_t *signals)
{
	/* The parent may have died before the call: it kills only later. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	sigprocmask(SIG_SETMASK, signals, NULL);
	if (sched_setaffinity(0, sizeof(job->cpus[index]), &job->cpus[index]))
		report_die("cannot choose the CPUs of a process");
	job->main(job->arg, index);
	exit(0);
}

static void kill_all(pid_t *pids, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		if (pids[i] > 0)
			kill(pids[i], SIGKILL);
	for (uint32_t i = 0; i < count; i++)
		if (pids[i] > 0)
			waitpid(pids[i], NULL, 0);
}

static void start(const struct processes *job, pid_t *pids,
		  const sigset_t *signals)
{
	pid_t parent = getpid();

	/* What is buffered is printed once, by us. */
	fflush(NULL);
	for (uint32_t i = 0; i < job->count; i++) {
		pids[i] = fork();
		if (pids[i] == 0)
			child(job, i, parent, signals);
		if (pids[i] < 0) {
			kill_all(pids, i);
			report_die("cannot start so many processes");
		}
	}
}

/* Its number if a child ended badly, -1 if none did so far. */
static int reap(pid_t *pids, uint32_t count, uint32_t *left)
{
	int state;

	for (uint32_t i = 0; i < count; i++) {
		if (pids[i] <= 0 || waitpid(pids[i], &state, WNOHANG) <= 0)
			continue;
		pids[i] = 0;
		--*left;
		if (!WIFEXITED(state) || WEXITSTATUS(state))
			return (int)i;
	}
	return -1;
}

/* Sleeps between ends of children: the CPUs are theirs. */
static void wait_all(const struct processes *job, pid_t *pids,
		     const sigset_t *child_signal)
{
	double deadline = report_seconds() + job->seconds;
	uint32_t left = job->count;
	char what[80];

	while (left) {
		double remaining = deadline - report_seconds();
		struct timespec nap = {.tv_sec = (time_t)remaining + 1};
		int failed = reap(pids, job->count, &left);

		if (failed < 0 && remaining > 0) {
			if (left)
				sigtimedwait(child_signal, NULL, &nap);
			continue;
		}
		kill_all(pids, job->count);
		if (failed < 0)
			report_die("out of time; all processes killed");
		snprintf(what, sizeof(what),
			 "process %d failed; all others killed", failed);
		report_die(what);
	}
}

void processes_run(const struct processes *job)
{
	pid_t pids[PROCESSES_MAX];
	sigset_t child_signal, before;

	if (job->count > PROCESSES_MAX)
		report_die("cannot start so many processes");
	sigemptyset(&child_signal);
	sigaddset(&child_signal, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child_signal, &before);
	start(job, pids, &before);
	wait_all(job, pids, &child_signal);
	sigprocmask(SIG_SETMASK, &before, NULL);
}

/* ---------------------------------------------------------------- CPUs */

/* The index-th set bit, counted round. */
static int pick(const cpu_set_t *from, uint32_t index, uint32_t limit)
{
	uint32_t count = (uint32_t)CPU_COUNT(from);

	index %= limit && limit < count ? limit : count;
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, from) && index-- == 0)
			return cpu;
	return 0;
}

cpu_set_t processes_cpus(uint32_t index, uint32_t threads, uint32_t limit)
{
	cpu_set_t usable, chosen;

	CPU_ZERO(&chosen);
	if (sched_getaffinity(0, sizeof(usable), &usable))
		report_die("cannot see which CPUs are usable");
	for (uint32_t i = 0; i < threads; i++)
		CPU_SET(pick(&usable, index * threads + i, limit), &chosen);
	return chosen;
}
