/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mistakes of planted.cu: each must be caught, in each build by what is
 * written here, and its healthy twin must pass. planted.cu lies beside us.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define TEXT_MAX 65536
#define SANITIZER 99 /* the exit status asked of it */
#define WRONG 3

enum { PLAIN, ASAN, TSAN };
#if defined(EMU_TSAN)
#define BUILD TSAN
#elif defined(__SANITIZE_ADDRESS__)
#define BUILD ASAN
#else
#define BUILD PLAIN
#endif

struct catch
{
	int status;	  /* exit status, or minus the signal; 0: not caught */
	const char *says; /* part of what is on stderr */
};

#define NOT_CAUGHT                                                             \
	{                                                                      \
		0, NULL                                                        \
	}
#define WRONG_RESULT                                                           \
	{                                                                      \
		WRONG, "the result is wrong"                                   \
	}
#define RACE                                                                   \
	{                                                                      \
		SANITIZER, "ThreadSanitizer: data race"                        \
	}
#define STOPPED(text)                                                          \
	{                                                                      \
		-SIGABRT, "emulated CUDA: " text                               \
	}

/* One mistake: the order of threads it needs, who catches it. */
struct planted {
	const char *name, *order;
	struct catch by[3]; /* PLAIN, ASAN, TSAN */
};

static struct planted all[] = {
	{"missing_barrier", "forward", {WRONG_RESULT, WRONG_RESULT, RACE}},
	{"missing_barrier", "random:1", {WRONG_RESULT, WRONG_RESULT, RACE}},
	{"missing_syncwarp", "forward", {NOT_CAUGHT, NOT_CAUGHT, RACE}},
	{"between_blocks", "forward", {NOT_CAUGHT, NOT_CAUGHT, RACE}},
	{"between_blocks", "reverse", {WRONG_RESULT, WRONG_RESULT, RACE}},
	{"missing_event", "forward", {WRONG_RESULT, WRONG_RESULT, RACE}},
	{"missing_synchronize", "forward", {WRONG_RESULT, WRONG_RESULT, RACE}},
	{"host_dereference",
	 "forward",
	 {{-SIGSEGV, ""},
	  {SANITIZER, "AddressSanitizer: SEGV"},
	  {SANITIZER, "ThreadSanitizer: SEGV"}}},
	{"shared_too_small",
	 "forward",
	 {STOPPED("block (0,0,0) wrote at byte 256 of 256 bytes of dynamic"),
	  {SANITIZER, "AddressSanitizer: heap-buffer-overflow"},
	  STOPPED("block (0,0,0) wrote at byte 256 of 256 bytes of dynamic")}},
	/* Only what is instrumented sees the end of one static variable. */
	{"static_shared_overrun",
	 "forward",
	 {NOT_CAUGHT, {1, "out of bounds"}, NOT_CAUGHT}},
	{"buffer_overrun",
	 "forward",
	 {STOPPED("behind an area of 256 bytes, byte 0 was written"),
	  {SANITIZER, "AddressSanitizer: use-after-poison"},
	  STOPPED("behind an area of 256 bytes, byte 0 was written")}},
	{"copy_overrun",
	 "forward",
	 {STOPPED("a fill writes 260 bytes at 0 of an area of 256"),
	  STOPPED("a fill writes 260 bytes at 0 of an area of 256"),
	  STOPPED("a fill writes 260 bytes at 0 of an area of 256")}},
	{"use_after_free",
	 "forward",
	 {NOT_CAUGHT,
	  {SANITIZER, "AddressSanitizer: use-after-poison"},
	  NOT_CAUGHT}},
	{"divergent_barrier",
	 "random:7",
	 {STOPPED("divergent barrier in block (0,0,0): thread 0 waits"),
	  STOPPED("divergent barrier in block (0,0,0): thread 0 waits"),
	  STOPPED("divergent barrier in block (0,0,0): thread 0 waits")}},
	{"different_barriers",
	 "forward",
	 {STOPPED("divergent barrier in block (0,0,0): thread 0 waits"),
	  STOPPED("divergent barrier in block (0,0,0): thread 0 waits"),
	  STOPPED("divergent barrier in block (0,0,0): thread 0 waits")}},
	{"divergent_warp",
	 "forward",
	 {STOPPED("divergent barrier in block (0,0,0): thread 0 waits for its"),
	  STOPPED("divergent barrier in block (0,0,0): thread 0 waits for its"),
	  STOPPED("divergent barrier in block (0,0,0): thread 0 waits for "
		  "its")}},
	{"stale_replay", "forward", {WRONG_RESULT, WRONG_RESULT, WRONG_RESULT}},
	{"missing_flush",
	 "forward",
	 {WRONG_RESULT, WRONG_RESULT, WRONG_RESULT}},
	{"credit_before_release",
	 "forward",
	 {WRONG_RESULT, WRONG_RESULT, RACE}},
};

static const char *program; /* planted */

static void child(const struct planted *planted, const char *which, int to)
{
	const struct rlimit no_core = {0, 0};

	setrlimit(RLIMIT_CORE, &no_core);
	dup2(to, STDERR_FILENO);
	setenv("KVR_EMULATED_ORDER", planted->order, 1);
	setenv("ASAN_OPTIONS", "exitcode=99:detect_stack_use_after_return=0",
	       1);
	setenv("TSAN_OPTIONS", "exitcode=99:halt_on_error=1:atexit_sleep_ms=0",
	       1);
	execl(program, program, planted->name, which, (char *)NULL);
	_exit(127);
}

/* Its exit status, or minus its signal; what it said, cut where too long. */
static int run(const struct planted *planted, const char *which, char *text)
{
	size_t length = 0;
	int ends[2], status;
	char rest[4096];
	ssize_t got;
	pid_t pid;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		child(planted, which, ends[1]);
	close(ends[1]);
	while ((got = read(ends[0], rest, sizeof(rest))) > 0) {
		size_t room = TEXT_MAX - 1 - length;
		size_t kept = (size_t)got < room ? (size_t)got : room;

		memcpy(text + length, rest, kept);
		length += kept;
	}
	text[length] = '\0';
	close(ends[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static void planted_mistake_runs_is_caught(void **state)
{
	const struct planted *planted = *state;
	const struct catch *by = &planted->by[BUILD];
	static char text[TEXT_MAX];
	int status = run(planted, "faulty", text);

	if (status != by->status || (by->says && !strstr(text, by->says)))
		fail_msg("%s, %s: ended with %d, not %d; it said:\n%s",
			 planted->name, planted->order, status, by->status,
			 text);
}

static void planted_healthy_twin_runs_passes(void **state)
{
	const struct planted *planted = *state;
	static char text[TEXT_MAX];
	int status = run(planted, "healthy", text);

	if (status != 0)
		fail_msg("%s, %s: ended with %d; it said:\n%s", planted->name,
			 planted->order, status, text);
}

#define COUNT (sizeof(all) / sizeof(*all))

int main(int argc, char **argv)
{
	struct CMUnitTest tests[2 * COUNT];

	if (argc != 2)
		return 2;
	program = argv[1];
	for (size_t i = 0; i < COUNT; i++) {
		tests[2 * i] = (struct CMUnitTest){
			.name = all[i].name,
			.test_func = planted_mistake_runs_is_caught,
			.initial_state = &all[i],
		};
		tests[2 * i + 1] = (struct CMUnitTest){
			.name = all[i].name,
			.test_func = planted_healthy_twin_runs_passes,
			.initial_state = &all[i],
		};
	}
	return _cmocka_run_group_tests("planted", tests, 2 * COUNT, NULL, NULL);
}
