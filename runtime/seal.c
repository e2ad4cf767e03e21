/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/seal.h"

#include <string.h>

#include "runtime/crc32c.h"

#define WORD sizeof(uint32_t)
#define WORDS_MORE 2 /* metadata, self */

static size_t chunks_of(size_t payload, size_t chunk_bytes)
{
	return payload / chunk_bytes + (payload % chunk_bytes != 0);
}

size_t kvr_seal_bytes(size_t payload, size_t chunk_bytes)
{
	return (chunks_of(payload, chunk_bytes) + WORDS_MORE) * WORD;
}

bool kvr_seal_payload(size_t bytes, size_t chunk_bytes, size_t *payload)
{
	size_t chunks, rest;

	if (bytes < WORDS_MORE * WORD)
		return false;
	/* Each chunk, but for the last, takes its bytes and a word. */
	rest = bytes - WORDS_MORE * WORD;
	if (__builtin_add_overflow(chunk_bytes, WORD, &chunks))
		chunks = SIZE_MAX;
	chunks = chunks_of(rest, chunks);
	if (rest < chunks * WORD)
		return false;
	*payload = rest - chunks * WORD;
	return chunks_of(*payload, chunk_bytes) == chunks;
}

static uint32_t word_of(const void *seal, size_t index)
{
	uint32_t word;

	memcpy(&word, (const char *)seal + index * WORD, WORD);
	return word;
}

static void set_word(void *seal, size_t index, uint32_t word)
{
	memcpy((char *)seal + index * WORD, &word, WORD);
}

/* Of the next chunk; moves *piece and *skip behind it. */
static uint32_t next_chunk(const struct kvr_piece **piece, size_t *skip,
			   size_t left)
{
	uint32_t crc = 0;

	while (left > 0) {
		size_t part = (*piece)->bytes - *skip;

		if (part > left)
			part = left;
		crc = kvr_crc32c(crc, (const char *)(*piece)->address + *skip,
				 part);
		left -= part;
		*skip += part;
		if (*skip == (*piece)->bytes) {
			++*piece;
			*skip = 0;
		}
	}
	return crc;
}

static size_t chunk_length(const struct kvr_sealed *block, size_t chunk)
{
	size_t left = block->bytes - chunk * block->chunk_bytes;

	return left < block->chunk_bytes ? left : block->chunk_bytes;
}

static uint32_t metadata_crc(const struct kvr_sealed *block)
{
	return kvr_crc32c(0, block->metadata, block->metadata_bytes);
}

/* Over what the block is and all words before this one. */
static uint32_t self_crc(const struct kvr_sealed *block, const void *seal,
			 size_t words)
{
	const uint64_t what[] = {
		block->pass,
		(uint64_t)block->origin << 32 | block->lane,
		block->bytes,
		block->metadata_bytes,
	};

	return kvr_crc32c(kvr_crc32c(0, what, sizeof(what)), seal,
			  words * WORD);
}

void kvr_seal_make(const struct kvr_sealed *block, void *seal)
{
	size_t chunks = chunks_of(block->bytes, block->chunk_bytes);
	const struct kvr_piece *piece = block->pieces;
	size_t skip = 0;

	for (size_t i = 0; i < chunks; i++)
		set_word(seal, i,
			 next_chunk(&piece, &skip, chunk_length(block, i)));
	set_word(seal, chunks, metadata_crc(block));
	set_word(seal, chunks + 1, self_crc(block, seal, chunks + 1));
}

bool kvr_seal_check(const struct kvr_sealed *block, const void *seal,
		    struct kvr_seal_fault *fault)
{
	size_t chunks = chunks_of(block->bytes, block->chunk_bytes);
	const struct kvr_piece *piece = block->pieces;
	size_t skip = 0;

	*fault = (struct kvr_seal_fault){.part = KVR_SEAL_SELF};
	if (word_of(seal, chunks + 1) != self_crc(block, seal, chunks + 1))
		return false;
	fault->part = KVR_SEAL_METADATA;
	if (word_of(seal, chunks) != metadata_crc(block))
		return false;
	fault->part = KVR_SEAL_CHUNK;
	for (; fault->chunk < chunks; fault->chunk++)
		if (word_of(seal, fault->chunk) !=
		    next_chunk(&piece, &skip,
			       chunk_length(block, fault->chunk)))
			return false;
	return true;
}
