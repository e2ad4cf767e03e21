/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CRC-32C: polynomial 0x1edc6f41, reflected, first and last complement; what
 * iSCSI (RFC 3720, appendix B.4) and NVMe call so.
 *
 * Not a library's: Debian's libisal has it as one function of many, with the
 * length as an int, and would be the only thing that a program must install
 * to embed kvring.
 */
#ifndef KVR_RUNTIME_CRC32C_H
#define KVR_RUNTIME_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Of what crc is of (nothing: 0) followed by bytes at data. */
uint32_t kvr_crc32c(uint32_t crc, const void *data, size_t bytes);

/* What this processor does it with: "sse4.2", "armv8-crc", "table"; static. */
const char *kvr_crc32c_name(void);

/* For tests and benchmarks: by the table alone. */
uint32_t kvr_crc32c_table(uint32_t crc, const void *data, size_t bytes);

#endif
