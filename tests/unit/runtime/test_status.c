/* SPDX-License-Identifier: Apache-2.0 */
/* Every status of the public header has its name and a text of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kvring/status.h"

#define STATUSES_MAX 64

struct listed {
	char name[64];
	int value;
};

/* What the header says, read as text: the table cannot fall behind it. */
static size_t read_header(struct listed out[STATUSES_MAX])
{
	const char *source = getenv("KVRING_SOURCE");
	char path[4096], line[256];
	size_t count = 0;
	FILE *file;

	snprintf(path, sizeof(path), "%s/include/kvring/status.h",
		 source ? source : ".");
	file = fopen(path, "r");
	assert_non_null(file);
	while (fgets(line, sizeof(line), file)) {
		struct listed *l = &out[count];

		if (sscanf(line, " KVR_%59[A-Z_] = %d", l->name, &l->value) !=
		    2)
			continue;
		memmove(l->name + 4, l->name, strlen(l->name) + 1);
		memcpy(l->name, "KVR_", 4);
		assert_true(++count < STATUSES_MAX);
	}
	fclose(file);
	return count;
}

static void status_every_one_has_name_and_text(void **state)
{
	struct listed all[STATUSES_MAX];
	size_t count = read_header(all);

	(void)state;
	assert_true(count >= 17);
	for (size_t i = 0; i < count; i++) {
		enum kvr_status status = (enum kvr_status)all[i].value;

		assert_string_equal(kvr_status_name(status), all[i].name);
		assert_true(strlen(kvr_status_text(status)) >= 7);
		assert_string_not_equal(
			kvr_status_text(status),
			kvr_status_text((enum kvr_status) - 999));
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(
				kvr_status_text(status),
				kvr_status_text((enum kvr_status)all[j].value));
	}
}

static void status_unknown_number_says_so(void **state)
{
	(void)state;
	assert_string_equal(kvr_status_name((enum kvr_status) - 999),
			    "KVR_ERR_UNKNOWN");
	assert_string_equal(kvr_status_name((enum kvr_status)1),
			    "KVR_ERR_UNKNOWN");
	assert_string_equal(kvr_status_text((enum kvr_status)1),
			    "unknown status");
}

static void version_is_the_builds(void **state)
{
	(void)state;
	assert_string_equal(kvr_version(), KVR_VERSION);
	assert_true(kvr_abi_version() > 0);
}

static void backends_listed_until_end(void **state)
{
	bool fake = false, shm = false, compute = false;
	struct kvr_backend_info info;
	enum kvr_status status;

	(void)state;
	kvr_backend_info_init(&info);
	for (uint32_t i = 0;
	     (status = kvr_backend_get_info(i, &info)) == KVR_OK; i++) {
		bool transport = strcmp(info.kind, "transport") == 0;

		assert_true(i < 100 && strlen(info.reason) > 0);
		fake |= transport && strcmp(info.name, "fake") == 0;
		shm |= transport && strcmp(info.name, "shm") == 0;
		compute |= strcmp(info.kind, "compute") == 0 && info.usable;
	}
	assert_int_equal(status, KVR_ERR_END);
	assert_true(fake && shm && compute);
	info.size--;
	assert_int_equal(kvr_backend_get_info(0, &info), KVR_ERR_INVALID);
	assert_int_equal(kvr_backend_get_info(0, NULL), KVR_ERR_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(status_every_one_has_name_and_text),
		cmocka_unit_test(status_unknown_number_says_so),
		cmocka_unit_test(version_is_the_builds),
		cmocka_unit_test(backends_listed_until_end),
	};

	return cmocka_run_group_tests_name("status", tests, NULL, NULL);
}
