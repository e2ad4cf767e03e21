/* SPDX-License-Identifier: Apache-2.0 */
/* What limits memory, read from files of our own below another root. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "cli/memory.h"

#define MIB (UINT64_C(1) << 20)

static char root[64];

static int make_root(void **state)
{
	(void)state;
	strcpy(root, "/tmp/kvring-memory-XXXXXX");
	return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -r %s", root);
	return system(command);
}

static void put(const char *name, const char *text)
{
	char path[256], *slash;
	FILE *file;

	snprintf(path, sizeof(path), "%s%s", root, name);
	for (slash = strchr(path + strlen(root) + 1, '/'); slash;
	     slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		mkdir(path, 0700);
		*slash = '/';
	}
	file = fopen(path, "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static void put_machine(const char *groups)
{
	put("/proc/meminfo", "MemTotal:       900000 kB\n"
			     "MemFree:            10 kB\n"
			     "MemAvailable:   409600 kB\n"
			     "SwapFree:       102400 kB\n");
	put("/proc/self/cgroup", groups);
}

static void expect(uint64_t mib, const char *of)
{
	struct memory_room room;

	assert_true(memory_room(root, &room));
	assert_int_equal(room.bytes, mib * MIB);
	assert_string_equal(room.of, of);
}

static void room_without_groups_is_what_is_free(void **state)
{
	(void)state;
	put_machine("");
	expect(500, "free on this machine");
}

static void room_of_version_2_is_the_least_up_to_the_root(void **state)
{
	(void)state;
	put_machine("0::/job/step\n");
	put("/sys/fs/cgroup/job/step/memory.max", "max\n");
	put("/sys/fs/cgroup/job/step/memory.current", "1048576\n");
	expect(500, "free on this machine");
	put("/sys/fs/cgroup/job/memory.max", "314572800\n");	 /* 300 */
	put("/sys/fs/cgroup/job/memory.current", "209715200\n"); /* 200 */
	expect(100, "left by the limit of control group /job");
	put("/sys/fs/cgroup/job/memory.stat",
	    "anon 5\ninactive_file 31457280\nactive_file 20971520\n"
	    "total_inactive_file 7\n");
	expect(150, "left by the limit of control group /job");
	put("/sys/fs/cgroup/job/step/memory.max", "10485760\n");
	expect(9, "left by the limit of control group /job/step");
}

static void room_of_version_1_is_that_of_its_memory_group(void **state)
{
	(void)state;
	put_machine("4:cpu,cpuacct:/other\n3:hugetlb,memory:/job\n0::/\n");
	put("/sys/fs/cgroup/memory/other/memory.limit_in_bytes", "1\n");
	put("/sys/fs/cgroup/memory/other/memory.usage_in_bytes", "1\n");
	put("/sys/fs/cgroup/memory/job/memory.limit_in_bytes",
	    "9223372036854771712\n");
	put("/sys/fs/cgroup/memory/job/memory.usage_in_bytes", "1048576\n");
	expect(500, "free on this machine");
	put("/sys/fs/cgroup/memory/job/memory.limit_in_bytes", "104857600\n");
	put("/sys/fs/cgroup/memory/job/memory.stat",
	    "inactive_file 9\ntotal_inactive_file 524288\n"
	    "total_active_file 524288\n");
	expect(100, "left by the limit of control group /job");
}

/* The path of the host, where only the container's own root is mounted. */
static void room_in_a_container_is_that_of_its_root(void **state)
{
	(void)state;
	put_machine("0::/host/of/it\n");
	put("/sys/fs/cgroup/memory.max", "10485760\n");
	put("/sys/fs/cgroup/memory.current", "20971520\n");
	expect(0, "left by the limit of control group /");
}

static void room_that_nobody_tells_is_unknown(void **state)
{
	struct memory_room room;

	(void)state;
	assert_false(memory_room(root, &room));
	put("/proc/self/cgroup", "\nrubbish\n0:\n0::/x\n1:memory:/y\n");
	put("/sys/fs/cgroup/x/memory.max", "much\n");
	assert_false(memory_room(root, &room));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_root, remove_root)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(room_without_groups_is_what_is_free),
		TEST(room_of_version_2_is_the_least_up_to_the_root),
		TEST(room_of_version_1_is_that_of_its_memory_group),
		TEST(room_in_a_container_is_that_of_its_root),
		TEST(room_that_nobody_tells_is_unknown),
	};

	return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
