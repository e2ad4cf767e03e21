/* SPDX-License-Identifier: Apache-2.0 */
/* For the tests of the doctor: a machine of tests/machines, changed at will. */
#ifndef KVR_TESTS_DOCTOR_BED_H
#define KVR_TESTS_DOCTOR_BED_H

#include "cli/doctor/collect.h"
#include "cli/doctor/judge.h"

struct bed {
	char directory[64];
	struct fact_environment environment;
	const struct collect_live *live;
	struct facts facts;
	struct findings findings;
};

/* A fixture: the machine is unpacked; examine it when it is changed. */
void bed_open(struct bed *bed, const char *machine);
void bed_close(struct bed *bed);

/* A line of its text; a file is replaced. */
void bed_add(struct bed *bed, const char *line);
void bed_remove(struct bed *bed, const char *path);

/* May be called again after a change. */
void bed_examine(struct bed *bed);

/*
 * Exactly one finding of that check and subject, with these words in message
 * and remedy; what is good has no remedy, everything else has one.
 */
void bed_expect(struct bed *bed, enum level level, const char *check,
		const char *subject, const char *message, const char *remedy);
void bed_expect_none(struct bed *bed, const char *check);

#endif
