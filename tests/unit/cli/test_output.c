/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/output.h"

static char directory[] = "/tmp/kvring-output-XXXXXX";
static char path[64];

static int entries(void)
{
	DIR *dir = opendir(directory);
	int count = -2; /* "." and ".." */

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static void write_file(const char *name, const char *text)
{
	FILE *file = fopen(name, "we");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static bool holds(const char *text)
{
	char got[64] = "";
	FILE *file = fopen(path, "re");

	assert_non_null(file);
	got[fread(got, 1, sizeof(got) - 1, file)] = '\0';
	fclose(file);
	return !strcmp(got, text);
}

static void output_committed_replaces_the_old_file(void **state)
{
	struct output output;
	struct complaint why;

	(void)state;
	write_file(path, "old");
	assert_true(output_open(path, 5, -1, &output, &why));
	assert_true(write_all(output.fd, "fresh", 5, 0));
	assert_true(holds("old"));
	assert_true(output_commit(&output, &why));
	assert_true(holds("fresh"));
	assert_int_equal(entries(), 1);
	unlink(path);
}

static void output_abandoned_leaves_nothing(void **state)
{
	struct output output;
	struct complaint why;

	(void)state;
	assert_true(output_open(path, 5, -1, &output, &why));
	output_abandon(&output);
	assert_int_equal(entries(), 0);
}

static void output_takes_the_umask(void **state)
{
	mode_t before = umask(027);
	struct output output;
	struct complaint why;
	struct stat st;

	(void)state;
	assert_true(output_open(path, 5, -1, &output, &why));
	assert_true(output_commit(&output, &why));
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0640);
	umask(before);
	unlink(path);
}

static void output_of_symbolic_link_replaces_its_target(void **state)
{
	struct output output;
	struct complaint why;
	char alias[80];
	struct stat st;

	(void)state;
	snprintf(alias, sizeof(alias), "%s/alias", directory);
	write_file(path, "old");
	assert_int_equal(symlink(path, alias), 0);
	assert_true(output_open(alias, 5, -1, &output, &why));
	assert_true(write_all(output.fd, "fresh", 5, 0));
	assert_true(output_commit(&output, &why));
	assert_true(holds("fresh"));
	assert_int_equal(lstat(alias, &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	unlink(alias);
	unlink(path);
}

static void refused(const char *name, int not_fd, const char *says)
{
	struct output output;
	struct complaint why;

	assert_false(output_open(name, 5, not_fd, &output, &why));
	if (!strstr(why.text, says))
		fail_msg("\"%s\" does not say \"%s\"", why.text, says);
	assert_int_equal(entries(), 0);
}

static void output_that_cannot_be_is_refused(void **state)
{
	(void)state;
	refused(directory, -1, "not a regular file");
	refused("/dev/null", -1, "not a regular file");
	refused("/nowhere/file", -1, "cannot be written");
	refused("/proc/file", -1, "cannot be written");
	refused("", -1, "empty");
}

static void output_that_is_the_input_is_refused(void **state)
{
	struct output output;
	struct complaint why;
	int fd;

	(void)state;
	write_file(path, "input");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_false(output_open(path, 5, fd, &output, &why));
	assert_non_null(strstr(why.text, "is the input"));
	assert_true(holds("input"));
	close(fd);
	unlink(path);
}

static void output_without_room_is_refused_at_once(void **state)
{
	const struct rlimit small = {1000, RLIM_INFINITY};
	const struct rlimit before = {RLIM_INFINITY, RLIM_INFINITY};
	struct output output;
	struct complaint why;

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	assert_false(output_open(path, 1001, -1, &output, &why));
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_non_null(strstr(why.text, "no room for 1001 bytes"));
	assert_int_equal(entries(), 0);
}

static void output_whose_directory_vanished_leaves_nothing(void **state)
{
	char inner[48], file[64];
	struct output output;
	struct complaint why;

	(void)state;
	snprintf(inner, sizeof(inner), "%s/inner", directory);
	snprintf(file, sizeof(file), "%s/file", inner);
	assert_int_equal(mkdir(inner, 0700), 0);
	assert_true(output_open(file, 5, -1, &output, &why));
	if (output.named) { /* no O_TMPFILE here: the name holds it */
		output_abandon(&output);
		rmdir(inner);
		skip();
	}
	assert_int_equal(rmdir(inner), 0);
	assert_false(output_commit(&output, &why));
	assert_non_null(strstr(why.text, "cannot be put in place"));
	assert_int_equal(entries(), 0);
}

static int make(void **state)
{
	(void)state;
	if (!mkdtemp(directory))
		return -1;
	snprintf(path, sizeof(path), "%s/file", directory);
	return 0;
}

static int clear(void **state)
{
	(void)state;
	return rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(output_committed_replaces_the_old_file),
		cmocka_unit_test(output_abandoned_leaves_nothing),
		cmocka_unit_test(output_takes_the_umask),
		cmocka_unit_test(output_of_symbolic_link_replaces_its_target),
		cmocka_unit_test(output_that_cannot_be_is_refused),
		cmocka_unit_test(output_that_is_the_input_is_refused),
		cmocka_unit_test(output_without_room_is_refused_at_once),
		cmocka_unit_test(
			output_whose_directory_vanished_leaves_nothing),
	};

	return cmocka_run_group_tests(tests, make, clear);
}
