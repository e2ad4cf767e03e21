/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/stamped.h"

#include <string.h>

/* Sizes differ by rank and pass, are odd, and now and then nothing. */
static size_t block_bytes(uint32_t origin, uint64_t pass)
{
	uint64_t h = (origin * 2654435761u + pass * 40503u) % 97;

	return h % 11 == 0 ? 0 : (size_t)(h * 641 + 1);
}

static uint8_t stamp(uint32_t origin, uint64_t pass, size_t offset)
{
	return (uint8_t)(origin * 31 + pass * 17 + offset * 7 + (offset >> 8));
}

static void fill(uint8_t *block, uint32_t origin, uint64_t pass)
{
	for (size_t i = 0; i < block_bytes(origin, pass); i++)
		block[i] = stamp(origin, pass, i);
}

void stamped_check(const struct kvr_block *block, uint64_t pass)
{
	const uint8_t *data = block->data;

	CHECK(block->bytes == block_bytes(block->origin, pass));
	for (size_t i = 0; i < block->bytes; i++)
		CHECK(data[i] == stamp(block->origin, pass, i));
}

static void check_metadata(const struct kvr_block *block, uint64_t pass)
{
	uint64_t expected[2] = {block->origin, pass};

	CHECK(block->metadata_bytes == sizeof(expected));
	CHECK(memcmp(block->metadata, expected, sizeof(expected)) == 0);
}

void sender_open(struct sender *sender, struct rank *rank)
{
	sender->buffer = calloc(1, BLOCK_MAX);
	CHECK(sender->buffer);
	CHECK_STATUS(kvr_memory_register(rank->context, sender->buffer,
					 BLOCK_MAX, &sender->memory),
		     KVR_OK);
}

void sender_close(struct sender *sender)
{
	kvr_memory_deregister(sender->memory);
	free(sender->buffer);
}

/* Begins a pass with the stamped local block, split into `pieces`. */
enum kvr_status stamped_try_begin(struct rank *rank,
				  const struct sender *sender, uint64_t tag,
				  size_t pieces, struct kvr_pass **out)
{
	uint64_t metadata[2] = {rank->rank, tag};
	size_t bytes = block_bytes(rank->rank, tag);
	struct kvr_segment segments[8];
	struct kvr_pass_desc desc;
	size_t done = 0;

	fill(sender->buffer, rank->rank, tag);
	for (size_t i = 0; i < pieces; i++) {
		size_t part =
			i + 1 == pieces ? bytes - done : (bytes - done) / 3;

		segments[i] = (struct kvr_segment){sender->memory, done, part};
		done += part;
	}
	kvr_pass_desc_init(&desc);
	desc.tag = tag;
	desc.lane[0].segments = segments;
	desc.lane[0].segment_count = pieces;
	desc.lane[0].metadata = metadata;
	desc.lane[0].metadata_bytes = sizeof(metadata);
	return kvr_pass_begin(rank->ring, &desc, out);
}

struct kvr_pass *stamped_begin(struct rank *rank, const struct sender *sender,
			       uint64_t tag, size_t pieces)
{
	struct kvr_pass *pass;

	CHECK_STATUS(stamped_try_begin(rank, sender, tag, pieces, &pass),
		     KVR_OK);
	return pass;
}

/* Takes `steps` blocks, releasing each `lag` steps late. */
void stamped_take(struct rank *rank, struct kvr_pass *pass, uint64_t tag,
		  uint32_t steps, uint32_t lag)
{
	struct kvr_block block;

	kvr_block_init(&block);
	for (uint32_t s = 0; s < steps; s++) {
		CHECK_STATUS(kvr_pass_next(pass, 0, &block), KVR_OK);
		CHECK(block.step == s);
		CHECK(block.origin == (rank->rank + rank->n - s) % rank->n);
		check_metadata(&block, tag);
		if (s > 0)
			stamped_check(&block, tag);
		if (s >= lag)
			CHECK_STATUS(kvr_pass_release(pass, 0, s - lag),
				     KVR_OK);
	}
}
