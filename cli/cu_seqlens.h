/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the sequences of a packed batch lie: the tensor `cu_seqlens` of a
 * safetensors file, I32 or I64, [sequences + 1]; sequence i is the tokens
 * cu_seqlens[i] .. cu_seqlens[i + 1] - 1, and may be empty.
 */
#ifndef KVR_CLI_CU_SEQLENS_H
#define KVR_CLI_CU_SEQLENS_H

#include "cli/safetensors.h"

#define CU_SEQLENS "cu_seqlens"

/*
 * As the file has them, checked against its tokens; where it has none, one
 * sequence of all. *out is to be freed.
 */
bool cu_seqlens_read(const char *path, const struct safetensors *file,
		     uint64_t tokens, uint64_t **out, size_t *sequences,
		     struct complaint *why);

#endif
