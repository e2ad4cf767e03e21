/* SPDX-License-Identifier: Apache-2.0 */
/* The GPUs in `kvring info`. */
#ifndef CLI_INFO_GPU_H
#define CLI_INFO_GPU_H

#include <jansson.h>

/* A line that says whether GPUs are usable, or which way they are not; then
 * two for each. */
void info_gpu_print(void);

/* {status, usable, reason, devices: [...]} */
json_t *info_gpu_json(void);

#endif
