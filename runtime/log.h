/* SPDX-License-Identifier: Apache-2.0 */
/* One sink for what the library has to say. The first detector logs, once. */
#ifndef KVR_RUNTIME_LOG_H
#define KVR_RUNTIME_LOG_H

#include "kvring/kvring.h"

struct kvr_log {
	kvr_log_fn sink; /* NULL: dropped */
	void *arg;
	enum kvr_log_level level;
};

/* log may be NULL. One line of at most 511 bytes, no newline. */
__attribute__((format(printf, 3, 4))) void kvr_log(const struct kvr_log *log,
						   enum kvr_log_level level,
						   const char *format, ...);

#endif
