/* SPDX-License-Identifier: Apache-2.0 */
/* Findings for people, and with the facts for programs. */
#ifndef KVR_CLI_DOCTOR_PRINT_H
#define KVR_CLI_DOCTOR_PRINT_H

#include <stdio.h>

#include "cli/doctor/judge.h"

void print_findings(FILE *to, const struct findings *findings);

/* One JSON object. False: no memory, or to cannot be written. */
bool print_findings_json(FILE *to, const struct facts *facts,
			 const struct findings *findings);

/* "good", "warning", "fatal". */
const char *print_level(enum level level);

#endif
