/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli/launch.h"
#include "cli/signals.h"

#define N 3

/* What rank 1 does; the others sleep for ever, or gather first. */
enum act { ACT_END, ACT_FAIL, ACT_KILL, ACT_STOP, ACT_PARENT };

struct script {
	enum act act;
	bool others_gather;
};

static void sleep_for_ever(void)
{
	for (;;)
		pause();
}

/* The library's side of the all-gather, with one byte. */
static int gather_byte(void)
{
	int fd = atoi(getenv("KVRING_BOOTSTRAP_FD"));
	struct {
		uint64_t bytes;
		char byte;
	} __attribute__((packed)) frame = {1, 'a'};
	char all[N];

	frame.byte = (char)('a' + atoi(getenv("KVRING_RANK")));
	if (send(fd, &frame, sizeof(frame), MSG_NOSIGNAL) != sizeof(frame))
		return 9;
	if (read(fd, all, N) != N || memcmp(all, "abc", N))
		return 8;
	return strcmp(getenv("KVRING_SIZE"), "3") ? 7 : 0;
}

static int play(void *arg, uint32_t rank)
{
	const struct script *script = arg;

	if (rank != 1) {
		if (script->others_gather)
			return gather_byte();
		sleep_for_ever();
	}
	if (script->act == ACT_END)
		return gather_byte();
	if (script->act == ACT_FAIL)
		return 5;
	if (script->act == ACT_PARENT) {
		kill(getppid(), SIGTERM);
		sleep_for_ever();
	}
	raise(script->act == ACT_KILL ? SIGKILL : SIGSTOP);
	return 0;
}

struct run {
	struct launch_fate fates[N];
	struct launch_result result;
	double seconds;
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* After every launch: no child is left. */
static struct run run(enum act act, bool others_gather, double grace)
{
	struct script script = {act, others_gather};
	const struct launch_job job = {
		.n = N, .rank = play, .arg = &script, .grace_seconds = grace};
	struct run run;
	struct complaint why;
	double begin = now();

	assert_true(launch(&job, run.fates, &run.result, &why));
	run.seconds = now() - begin;
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
	return run;
}

static void assert_fate(const struct launch_fate *fate, enum launch_end end,
			int code)
{
	assert_int_equal(fate->end, end);
	assert_int_equal(fate->code, code);
}

static void launch_of_good_ranks_gathers_and_ends(void **state)
{
	struct run r = run(ACT_END, true, 5);
	int i;

	(void)state;
	for (i = 0; i < N; i++)
		assert_fate(&r.fates[i], LAUNCH_EXITED, 0);
	assert_int_equal(r.result.first_failed, UINT32_MAX);
	assert_int_equal(r.result.interrupted, 0);
}

static void launch_of_failing_rank_ends_the_others_after_grace(void **state)
{
	struct run r = run(ACT_FAIL, false, 0.5);

	(void)state;
	assert_fate(&r.fates[1], LAUNCH_EXITED, 5);
	assert_int_equal(r.result.first_failed, 1);
	assert_int_equal(r.fates[0].end, LAUNCH_ENDED);
	assert_int_equal(r.fates[2].end, LAUNCH_ENDED);
	assert_true(r.seconds >= 0.5 && r.seconds < 5);
}

static void launch_of_killed_rank_names_the_signal(void **state)
{
	struct run r = run(ACT_KILL, false, 0);
	char text[160];

	(void)state;
	assert_fate(&r.fates[1], LAUNCH_KILLED, SIGKILL);
	launch_describe(&r.fates[1], text, sizeof(text));
	assert_non_null(strstr(text, "was killed by SIGKILL"));
}

static void launch_of_stopped_rank_is_a_failure(void **state)
{
	struct run r = run(ACT_STOP, false, 0.2);
	char text[160];

	(void)state;
	assert_fate(&r.fates[1], LAUNCH_STOPPED, SIGSTOP);
	assert_int_equal(r.result.first_failed, 1);
	launch_describe(&r.fates[1], text, sizeof(text));
	assert_non_null(strstr(text, "was stopped by SIGSTOP"));
}

static void launch_of_dead_rank_fails_the_gather_at_once(void **state)
{
	struct run r = run(ACT_KILL, true, 30);

	(void)state;
	assert_fate(&r.fates[1], LAUNCH_KILLED, SIGKILL);
	assert_int_equal(r.fates[0].end, LAUNCH_EXITED);
	assert_int_not_equal(r.fates[0].code, 0);
	assert_true(r.seconds < 10);
}

static void launch_of_stopped_rank_alone_does_not_wait(void **state)
{
	struct run r = run(ACT_STOP, true, 30);

	(void)state;
	assert_fate(&r.fates[1], LAUNCH_STOPPED, SIGSTOP);
	assert_true(r.seconds < 10);
}

static void launch_interrupted_ends_all_at_once(void **state)
{
	struct run r = run(ACT_PARENT, false, 30);

	(void)state;
	assert_int_equal(r.result.interrupted, SIGTERM);
	assert_true(r.seconds < 10);
}

static int block(void **state)
{
	struct complaint why;

	(void)state;
	return !signals_block(&why);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(launch_of_good_ranks_gathers_and_ends),
		cmocka_unit_test(
			launch_of_failing_rank_ends_the_others_after_grace),
		cmocka_unit_test(launch_of_killed_rank_names_the_signal),
		cmocka_unit_test(launch_of_stopped_rank_is_a_failure),
		cmocka_unit_test(launch_of_dead_rank_fails_the_gather_at_once),
		cmocka_unit_test(launch_of_stopped_rank_alone_does_not_wait),
		cmocka_unit_test(launch_interrupted_ends_all_at_once),
	};

	return cmocka_run_group_tests(tests, block, NULL);
}
