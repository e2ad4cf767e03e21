/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each machine of tests/machines gives exactly the findings, with the
 * remedies, of its .expected file, and JSON that a parser takes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "cli/doctor/print.h"
#include "tests/unit/cli/doctor_bed.h"

/* The caller frees it. */
static char *read_expected(const char *machine)
{
	char path[PATH_MAX], *text = NULL;
	size_t size = 0;
	FILE *file;

	snprintf(path, sizeof(path), "%s/tests/machines/%s.expected",
		 getenv("KVRING_SOURCE"), machine);
	file = fopen(path, "re");
	if (!file)
		fail_msg("%s is missing", path);
	assert_true(getdelim(&text, &size, '\0', file) > 0);
	fclose(file);
	return text;
}

static char *printed(const struct bed *bed)
{
	char *text = NULL;
	size_t size;
	FILE *to = open_memstream(&text, &size);

	assert_non_null(to);
	print_findings(to, &bed->findings);
	fclose(to);
	return text;
}

static void expect_json(const struct bed *bed)
{
	char *text = NULL;
	size_t size;
	FILE *to = open_memstream(&text, &size);
	json_t *root;

	assert_non_null(to);
	assert_true(print_findings_json(to, &bed->facts, &bed->findings));
	fclose(to);
	root = json_loads(text, 0, NULL);
	assert_non_null(root);
	assert_int_equal(json_array_size(json_object_get(root, "findings")),
			 bed->findings.count);
	assert_int_equal(json_array_size(json_object_get(root, "devices")),
			 bed->facts.device_count);
	json_decref(root);
	free(text);
}

static void machine_gives_its_findings(void **state)
{
	const char *machine = *state;
	char *expected = read_expected(machine), *text;
	struct bed bed;

	bed_open(&bed, machine);
	bed_examine(&bed);
	text = printed(&bed);
	assert_string_equal(text, expected);
	expect_json(&bed);
	free(text);
	free(expected);
	bed_close(&bed);
}

#define MACHINE(name)                                                          \
	cmocka_unit_test_prestate(machine_gives_its_findings, (char[]){name})

int main(void)
{
	const struct CMUnitTest tests[] = {
		MACHINE("h100-infiniband"), MACHINE("roce"),
		MACHINE("down-port"),	    MACHINE("two-ports"),
		MACHINE("no-rdma"),	    MACHINE("no-driver"),
		MACHINE("rxe-guest"),	    MACHINE("low-memlock"),
		MACHINE("uverbs-denied"),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
