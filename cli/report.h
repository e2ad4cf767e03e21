/* SPDX-License-Identifier: Apache-2.0 */
/* The same as the table, as one JSON object. */
#ifndef KVR_CLI_REPORT_H
#define KVR_CLI_REPORT_H

#include <stdio.h>

#include "cli/attention.h"

/* False: no memory, or to cannot be written. */
bool report_print(FILE *to, const struct attention_result *result);

#endif
