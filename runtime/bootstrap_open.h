/* SPDX-License-Identifier: Apache-2.0 */
/* The ways that kvr_bootstrap_open chooses from. */
#ifndef KVR_RUNTIME_BOOTSTRAP_OPEN_H
#define KVR_RUNTIME_BOOTSTRAP_OPEN_H

#include <stdbool.h>

#include "kvring/bootstrap.h"
#include "runtime/log.h"

/* As `kvring run` left it. Errors: INVALID, logged. */
enum kvr_status kvr_bootstrap_open_launcher(const struct kvr_log *log,
					    struct kvr_bootstrap *out);

/*
 * options->hosts is set, and all of it checked but the list. Errors: those of
 * kvr_bootstrap_open.
 */
enum kvr_status
kvr_bootstrap_open_hosts(const struct kvr_bootstrap_options *options,
			 struct kvr_bootstrap *out);

/* Errors: those of kvr_bootstrap_open. */
enum kvr_status
kvr_bootstrap_open_pmix(const struct kvr_bootstrap_options *options,
			struct kvr_bootstrap *out);

/* Can it be used here? reason says how, or why not. Errors: UNSUPPORTED. */
enum kvr_status kvr_bootstrap_probe_hosts(char *reason, size_t bytes);
enum kvr_status kvr_bootstrap_probe_pmix(char *reason, size_t bytes);

#endif
