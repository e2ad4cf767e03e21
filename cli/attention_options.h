/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KVR_CLI_ATTENTION_OPTIONS_H
#define KVR_CLI_ATTENTION_OPTIONS_H

#include "cli/attention.h"

/*
 * Ends the process where the arguments are wrong. *place is the caller's to
 * free.
 */
struct attention_options attention_options_parse(int argc, char **argv,
						 struct place *place);

#endif
