/* SPDX-License-Identifier: Apache-2.0 */
/* What the builders of ranges share. */
#ifndef KVR_RUNTIME_RANGES_H
#define KVR_RUNTIME_RANGES_H

#include <stdint.h>

/*
 * Where piece i of `pieces` begins, i <= pieces: the first are a token longer
 * where they must. Without overflow for any number of tokens.
 */
static inline uint64_t kvr_piece_start(uint64_t tokens, uint64_t i,
				       uint64_t pieces)
{
	uint64_t base = tokens / pieces;
	uint64_t extra = tokens % pieces;

	return i * base + (i < extra ? i : extra);
}

#endif
