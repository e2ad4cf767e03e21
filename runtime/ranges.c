/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/ranges.h"
#include "kvring/attention.h"

static void add_piece(uint64_t tokens, uint64_t i, uint64_t pieces,
		      struct kvr_range *out, size_t *count)
{
	uint64_t start = kvr_piece_start(tokens, i, pieces);
	uint64_t end = kvr_piece_start(tokens, i + 1, pieces);

	if (start == end)
		return;
	out[(*count)++] = (struct kvr_range){
		.start = start,
		.length = end - start,
	};
}

enum kvr_status kvr_ranges_contiguous(uint64_t tokens, uint32_t rank,
				      uint32_t n, struct kvr_range out[1],
				      size_t *count)
{
	if (rank >= n || !out || !count)
		return KVR_ERR_INVALID;
	*count = 0;
	add_piece(tokens, rank, n, out, count);
	return KVR_OK;
}

enum kvr_status kvr_ranges_zigzag(uint64_t tokens, uint32_t rank, uint32_t n,
				  struct kvr_range out[KVR_ZIGZAG_RANGES],
				  size_t *count)
{
	uint64_t pieces = 2 * (uint64_t)n;

	if (rank >= n || !out || !count)
		return KVR_ERR_INVALID;
	*count = 0;
	add_piece(tokens, rank, pieces, out, count);
	add_piece(tokens, pieces - 1 - rank, pieces, out, count);
	return KVR_OK;
}
