/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <ftw.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/machine.h"
#include "tests/unit/cli/doctor_bed.h"

void bed_open(struct bed *bed, const char *machine)
{
	char file[PATH_MAX];

	*bed = (struct bed){.directory = "/tmp/kvring-doctor-XXXXXX"};
	assert_non_null(mkdtemp(bed->directory));
	snprintf(file, sizeof(file), "%s/tests/machines/%s.tree",
		 getenv("KVRING_SOURCE"), machine);
	assert_true(machine_unpack(file, bed->directory));
}

static int remove_entry(const char *path, const struct stat *info, int type,
			struct FTW *place)
{
	(void)info;
	(void)type;
	(void)place;
	return remove(path);
}

static void forget(struct bed *bed)
{
	findings_free(&bed->findings);
	facts_free(&bed->facts);
}

void bed_close(struct bed *bed)
{
	forget(bed);
	nftw(bed->directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

void bed_add(struct bed *bed, const char *line)
{
	assert_true(machine_add(bed->directory, line));
}

void bed_remove(struct bed *bed, const char *path)
{
	char full[PATH_MAX];

	snprintf(full, sizeof(full), "%s%s", bed->directory, path);
	assert_int_equal(nftw(full, remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
}

void bed_examine(struct bed *bed)
{
	const struct tree tree = {bed->directory};

	forget(bed);
	assert_true(collect(&tree, bed->live, &bed->environment, &bed->facts));
	assert_true(judge(&bed->facts, &bed->findings));
}

void bed_expect(struct bed *bed, enum level level, const char *check,
		const char *subject, const char *message, const char *remedy)
{
	const struct finding *found = NULL;
	size_t i;

	for (i = 0; i < bed->findings.count; i++) {
		const struct finding *f = &bed->findings.list[i];

		if (strcmp(f->check, check) || strcmp(f->subject, subject))
			continue;
		if (found)
			fail_msg("%s of %s twice", check, subject);
		found = f;
	}
	if (!found)
		fail_msg("no %s of %s", check, subject);
	if (found->level != level || !strstr(found->message, message) ||
	    !strstr(found->remedy, remedy) ||
	    (level == LEVEL_GOOD) != !found->remedy[0])
		fail_msg("%s of %s: level %d, '%s', remedy '%s'; wanted: level "
			 "%d, '%s', remedy '%s'",
			 check, subject, (int)found->level, found->message,
			 found->remedy, (int)level, message, remedy);
}

void bed_expect_none(struct bed *bed, const char *check)
{
	size_t i;

	for (i = 0; i < bed->findings.count; i++)
		if (!strcmp(bed->findings.list[i].check, check))
			fail_msg("%s: %s", check,
				 bed->findings.list[i].message);
}
