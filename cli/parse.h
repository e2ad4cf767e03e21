/* SPDX-License-Identifier: Apache-2.0 */
/* Values of options. All return false and leave *out alone on nonsense. */
#ifndef KVR_CLI_PARSE_H
#define KVR_CLI_PARSE_H

#include <stdbool.h>
#include <stdint.h>

/* A whole decimal number in min .. max, nothing before or after it. */
bool parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *out);

/* The same, optionally followed by K, M or G (powers of 1024). */
bool parse_bytes(const char *text, uint64_t min, uint64_t max, uint64_t *out);

/* A finite decimal fraction in min .. max; "." whatever the locale says. */
bool parse_real(const char *text, double min, double max, double *out);

#endif
