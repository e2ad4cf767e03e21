/* SPDX-License-Identifier: Apache-2.0 */
/* One element of a tensor in memory, whatever its type. */
#ifndef KVR_CLI_ELEMENT_H
#define KVR_CLI_ELEMENT_H

#include "kvring/attention.h"

double element_value(enum kvr_dtype dtype, const void *data, uint64_t index);

#endif
