/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/launch.h"
#include "cli/recordings.h"
#include "cli/signals.h"

struct run_options {
	uint32_t n;
	double timeout_seconds;
	char **program; /* ends with NULL */
};

/* Shared with the ranks: why exec failed, 0 where it did not. */
struct run {
	char **program;
	int *exec_errors;
};

enum key { KEY_TIMEOUT = 256 };

static const struct argp_option options[] = {
	{"ranks", 'n', "N", 0, "Start N ranks (required)", 0},
	{"timeout", KEY_TIMEOUT, "SECONDS", 0,
	 "After the first rank failed, let the others run on for SECONDS "
	 "(default 10), and 2 more",
	 0},
	{0}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct run_options *o = state->input;

	switch (key) {
	case 'n':
		o->n = (uint32_t)usage_number(state, "-n", arg, 1,
					      LAUNCH_RANKS_MAX);
		return 0;
	case KEY_TIMEOUT:
		o->timeout_seconds = usage_seconds(state, "--timeout", arg);
		return 0;
	case ARGP_KEY_ARGS:
		/* All that is left is the program's. */
		o->program = state->argv + state->next;
		return 0;
	case ARGP_KEY_SUCCESS:
		if (o->n == 0)
			usage_missing(state, "-n N, the number of ranks,");
		if (!o->program)
			usage_missing(state, "the program");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static int become(void *arg, uint32_t rank)
{
	const struct run *run = arg;

	execvp(run->program[0], run->program);
	run->exec_errors[rank] = errno;
	_exit(errno == ENOENT ? 127 : 126);
}

static int exit_code(const struct launch_fate *fate)
{
	if (fate->end == LAUNCH_EXITED)
		return fate->code;
	return 128 + fate->code;
}

static int say_failure(const struct run *run, const struct launch_fate *fates,
		       uint32_t rank)
{
	char what[160];

	if (run->exec_errors[rank] != 0) {
		say_error("%s: cannot be started: %s; check the name",
			  run->program[0], strerror(run->exec_errors[rank]));
	} else {
		launch_describe(&fates[rank], what, sizeof(what));
		say_error("rank %u %s", rank, what);
	}
	return exit_code(&fates[rank]);
}

/*
 * Where the ranks shall append their recordings: to a file of ours, under a
 * name that is good as long as we live, unless the user named one. -1: not to
 * us.
 */
static int provide_recorder(void)
{
	char path[64];
	int fd;

	if (getenv("KVRING_RECORDER"))
		return -1;
	fd = recordings_create();
	if (fd < 0)
		return -1;
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)getpid(), fd);
	setenv("KVRING_RECORDER", path, 1);
	return fd;
}

static int run_program(const struct run_options *o, struct run *run)
{
	const struct launch_job job = {.n = o->n,
				       .rank = become,
				       .program = true,
				       .arg = run,
				       .grace_seconds = o->timeout_seconds +
							GRACE_SECONDS};
	struct launch_fate fates[LAUNCH_RANKS_MAX];
	struct launch_result result;
	struct complaint why;
	int recorder = provide_recorder();

	if (!signals_block(&why) || !launch(&job, fates, &result, &why)) {
		complaint_print(&why);
		return CLI_FAILED;
	}
	if (result.interrupted) {
		say_error("interrupted by SIG%s; the ranks were ended",
			  sigabbrev_np(result.interrupted));
		return 128 + result.interrupted;
	}
	if (result.first_failed != UINT32_MAX) {
		recordings_say_cause(recorder, true);
		return say_failure(run, fates, result.first_failed);
	}
	return CLI_OK;
}

int cmd_run(int argc, char **argv)
{
	static const struct argp argp = {
		options,
		parse,
		"[--] PROGRAM [ARGUMENT...]",
		"Starts N processes of PROGRAM on this machine that find each "
		"other as the ranks of a ring: kvr_bootstrap_from_environment "
		"in PROGRAM reads KVRING_RANK, KVRING_SIZE and "
		"KVRING_BOOTSTRAP_FD.\v"
		"Exit status: 0 when every rank ended with 0, else that of the "
		"first rank that did not (128 + signal when it was killed), 1 "
		"failed, 2 wrong usage, 126 or 127 when PROGRAM cannot be "
		"started.",
		0,
		0,
		0};
	struct run_options o = {.timeout_seconds = 10};
	size_t bytes = LAUNCH_RANKS_MAX * sizeof(int);
	struct run run;
	int code;

	argp_parse(&argp, argc, argv, ARGP_IN_ORDER, 0, &o);
	run.program = o.program;
	run.exec_errors = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (run.exec_errors == MAP_FAILED) {
		say_error("no memory for the ranks: %s; free some",
			  strerror(errno));
		return CLI_FAILED;
	}
	code = run_program(&o, &run);
	munmap(run.exec_errors, bytes);
	return code;
}
