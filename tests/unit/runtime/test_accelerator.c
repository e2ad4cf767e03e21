/* SPDX-License-Identifier: Apache-2.0 */
/* How the GPU plug-in is found, refused and opened; each case in a process of
 * its own. The directories come from CMake. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kvring/gpu.h"

#define NAME "libkvring_cuda.so"

static char here[] = "/tmp/kvr-accelerator-XXXXXX";
static char said[4096];

/* Runs accelerator_ask; its output is said. environment: "NAME=value ...". */
static void ask_by(const char *program, const char *environment)
{
	char command[2 * PATH_MAX];
	size_t length;
	FILE *pipe;

	snprintf(command, sizeof(command),
		 "cd %s && env -u KVRING_CUDA_PLUGIN -u LD_LIBRARY_PATH %s %s",
		 here, environment, program);
	pipe = popen(command, "r");
	assert_non_null(pipe);
	length = fread(said, 1, sizeof(said) - 1, pipe);
	said[length] = '\0';
	assert_int_equal(pclose(pipe), 0);
}

static void ask(const char *environment)
{
	ask_by(PLUGINS "/accelerator_ask", environment);
}

static void assert_says(const char *start, const char *within)
{
	if (strncmp(said, start, strlen(start)) != 0 || !strstr(said, within))
		fail_msg("wanted %s and '%s', said %s", start, within, said);
}

static void make(const char *path, const char *text)
{
	char name[PATH_MAX];
	FILE *file;

	snprintf(name, sizeof(name), "%s/%s", here, path);
	file = fopen(name, "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static void run(const char *command)
{
	char line[4 * PATH_MAX];

	snprintf(line, sizeof(line), "cd %s && %s", here, command);
	assert_int_equal(system(line), 0);
}

static void accelerator_absent_is_unsupported_and_says_how_to_get_it(void **s)
{
	(void)s;
	ask("");
	assert_says("KVR_ERR_UNSUPPORTED no " NAME, "-DKVRING_CUDA=ON");
	assert_non_null(strstr(said, "\nKVR_ERR_UNSUPPORTED [no " NAME));
}

static void accelerator_empty_setting_looks_nowhere(void **s)
{
	(void)s;
	ask("LD_LIBRARY_PATH=" PLUGINS "/good KVRING_CUDA_PLUGIN=");
	assert_says("KVR_ERR_UNSUPPORTED", "KVRING_CUDA_PLUGIN is empty");
}

static void accelerator_named_path_missing_is_plugin_and_names_it(void **s)
{
	(void)s;
	ask("LD_LIBRARY_PATH=" PLUGINS "/good "
	    "KVRING_CUDA_PLUGIN=/nowhere/plugin.so");
	assert_says("KVR_ERR_PLUGIN /nowhere/plugin.so", "No such file");
}

static void accelerator_corrupt_file_is_plugin(void **s)
{
	char setting[PATH_MAX];

	(void)s;
	make("corrupt.so", "\177ELF and so on, but no program at all; long "
			   "enough for a header, which it has not");
	snprintf(setting, sizeof(setting), "KVRING_CUDA_PLUGIN=%s/corrupt.so",
		 here);
	ask(setting);
	assert_says("KVR_ERR_PLUGIN", "corrupt.so: ");
	make("corrupt.so", "");
	ask(setting);
	assert_says("KVR_ERR_PLUGIN", "file too short");
}

static void accelerator_library_without_the_symbol_is_plugin(void **s)
{
	(void)s;
	ask("KVRING_CUDA_PLUGIN=libm.so.6");
	assert_says("KVR_ERR_PLUGIN libm.so.6", "no plug-in of kvring");
}

static void accelerator_wrong_abi_is_plugin_and_names_both(void **s)
{
	(void)s;
	ask("KVRING_CUDA_PLUGIN=" PLUGINS "/abi/" NAME);
	assert_says("KVR_ERR_PLUGIN " PLUGINS "/abi/" NAME, "(ABI 4711.");
	assert_non_null(strstr(said, "wanted 1."));
	ask("KVRING_CUDA_PLUGIN=" PLUGINS "/size/" NAME);
	assert_says("KVR_ERR_PLUGIN " PLUGINS "/size/" NAME, "ABI 1.8, wanted");
}

/* By its bare name too: what is missing is not the plug-in. */
static void
accelerator_needing_what_is_missing_is_plugin_and_says_what(void **s)
{
	(void)s;
	ask("LD_LIBRARY_PATH=" PLUGINS "/needs");
	assert_says("KVR_ERR_PLUGIN libkvr_needed.so", "No such file");
}

static void accelerator_good_is_opened_and_probed_once(void **s)
{
	(void)s;
	ask("KVRING_CUDA_PLUGIN=" PLUGINS "/good/" NAME);
	assert_string_equal(said, "KVR_OK probe 1\n"
				  "KVR_OK probe 1 same\n"
				  "KVR_OK [] a GPU\n"
				  "KVR_ERR_DEVICE [fell off the bus] \n"
				  "KVR_ERR_END [] \n"
				  "present: yes, in a child: no\n");
}

static void accelerator_failing_probe_is_passed_on(void **s)
{
	(void)s;
	ask("KVRING_CUDA_PLUGIN=" PLUGINS "/probe/" NAME);
	assert_string_equal(said, "KVR_ERR_DRIVER_OLD probe 1\n"
				  "KVR_ERR_DRIVER_OLD probe 1 same\n"
				  "KVR_ERR_DRIVER_OLD [probe 1] \n"
				  "KVR_ERR_DRIVER_OLD [probe 1] \n"
				  "KVR_ERR_DRIVER_OLD [probe 1] \n"
				  "present: no, in a child: no\n");
}

static void accelerator_loader_path_finds_it(void **s)
{
	(void)s;
	ask("LD_LIBRARY_PATH=" PLUGINS "/good");
	assert_says("KVR_OK probe 1", "a GPU");
}

static void accelerator_beside_the_program_comes_before_the_loader(void **s)
{
	char program[PATH_MAX];

	(void)s;
	run("mkdir beside && cp " PLUGINS "/accelerator_ask " PLUGINS
	    "/good/" NAME " beside");
	snprintf(program, sizeof(program), "%s/beside/accelerator_ask", here);
	ask_by(program, "LD_LIBRARY_PATH=" PLUGINS "/abi");
	assert_says("KVR_OK probe 1", "a GPU");
}

/* Found through PATH the program's name has no directory. */
static void accelerator_in_the_working_directory_is_not_taken(void **s)
{
	(void)s;
	run("cp " PLUGINS "/good/" NAME " .");
	ask_by("accelerator_ask", "PATH=" PLUGINS ":$PATH");
	assert_says("KVR_ERR_UNSUPPORTED", "no " NAME);
	/* and a name that it was given may lie */
	ask_by("bash -c 'exec -a ./accelerator_ask " PLUGINS
	       "/accelerator_ask'",
	       "");
	assert_says("KVR_ERR_UNSUPPORTED", "no " NAME);
}

static void gpu_get_info_wrong_arguments_are_invalid(void **s)
{
	struct kvr_gpu_info gpu;
	char reason[8];

	(void)s;
	kvr_gpu_info_init(&gpu);
	assert_int_equal(kvr_gpu_get_info(0, NULL, reason, 8), KVR_ERR_INVALID);
	assert_int_equal(kvr_gpu_get_info(0, &gpu, NULL, 8), KVR_ERR_INVALID);
	assert_int_equal(kvr_gpu_get_info(0, &gpu, reason, 0), KVR_ERR_INVALID);
	gpu.size--;
	assert_int_equal(kvr_gpu_get_info(0, &gpu, reason, 8), KVR_ERR_INVALID);
}

static int set_up(void **state)
{
	(void)state;
	return mkdtemp(here) ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	run("rm -rf -- \"$PWD\"");
	return 0;
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			accelerator_absent_is_unsupported_and_says_how_to_get_it),
		cmocka_unit_test(accelerator_empty_setting_looks_nowhere),
		cmocka_unit_test(
			accelerator_named_path_missing_is_plugin_and_names_it),
		cmocka_unit_test(accelerator_corrupt_file_is_plugin),
		cmocka_unit_test(
			accelerator_library_without_the_symbol_is_plugin),
		cmocka_unit_test(
			accelerator_wrong_abi_is_plugin_and_names_both),
		cmocka_unit_test(
			accelerator_needing_what_is_missing_is_plugin_and_says_what),
		cmocka_unit_test(accelerator_good_is_opened_and_probed_once),
		cmocka_unit_test(accelerator_failing_probe_is_passed_on),
		cmocka_unit_test(accelerator_loader_path_finds_it),
		cmocka_unit_test(
			accelerator_beside_the_program_comes_before_the_loader),
		cmocka_unit_test(
			accelerator_in_the_working_directory_is_not_taken),
		cmocka_unit_test(gpu_get_info_wrong_arguments_are_invalid),
	};

	return cmocka_run_group_tests_name("accelerator", tests, set_up,
					   tear_down);
}
