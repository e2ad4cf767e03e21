/* SPDX-License-Identifier: Apache-2.0 */
/* The closing table of `kvring attention`, for people. */
#ifndef KVR_CLI_TABLE_H
#define KVR_CLI_TABLE_H

#include <stdio.h>

#include "cli/attention.h"

#define TABLE_CELLS_MAX 64

enum table_cell { TABLE_IDLE, TABLE_COMPUTE, TABLE_EXPOSED };

/*
 * What a rank mostly did in each of `cells` equal parts of span_ns, which
 * begin with its pass.
 */
void table_timeline(const struct rank_step *steps, uint32_t count,
		    uint64_t span_ns, uint32_t cells, enum table_cell *out);

/* "1.5 MiB", "12 B"; "1.50 s", "2.00 ms". */
void table_bytes(uint64_t bytes, char *out, size_t size);
void table_time(double seconds, char *out, size_t size);

/* utf8: draw with block characters. width: of the terminal, in columns. */
void table_print(FILE *to, const struct attention_result *result, bool utf8,
		 unsigned int width);

#endif
