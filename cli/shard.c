/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cli/attention.h"

static enum kvr_status list(const struct cut *cut, uint32_t rank, uint32_t n,
			    struct kvr_range *out, size_t capacity,
			    size_t *count)
{
	if (cut->partition == PARTITION_INTERLEAVE)
		return kvr_ranges_packed_interleave(
			cut->cu_seqlens, cut->sequences, cut->stripe, rank, n,
			out, capacity, count);
	if (cut->partition == PARTITION_ZIGZAG)
		return kvr_ranges_packed_zigzag(cut->cu_seqlens, cut->sequences,
						rank, n, out, capacity, count);
	return kvr_ranges_packed_contiguous(cut->cu_seqlens, cut->sequences,
					    rank, n, out, capacity, count);
}

/* Ranges that follow each other in the file are one piece of it. */
static void find_pieces(const struct cut *cut, struct shard *shard)
{
	struct piece *last = shard->pieces;
	size_t i;

	for (i = 0; i < shard->count; i++) {
		const struct kvr_range *range = &shard->ranges[i];
		uint64_t row = cut->cu_seqlens[range->sequence] + range->start;

		if (shard->piece_count > 0 && last->row + last->rows == row) {
			last->rows += range->length;
		} else {
			last = &shard->pieces[shard->piece_count++];
			*last = (struct piece){row, range->length,
					       shard->tokens};
		}
		shard->tokens += range->length;
	}
}

bool shard_open(const struct cut *cut, uint32_t rank, uint32_t n,
		struct shard *out)
{
	struct shard shard = {.count = 0};
	size_t room;

	/* They refuse what was checked before: offsets, stripe, ranks. */
	if (list(cut, rank, n, NULL, 0, &room) != KVR_OK)
		return false;
	/* + 1: NULL must mean failure. */
	shard.ranges = calloc(room + 1, sizeof(*shard.ranges));
	shard.pieces = calloc(room + 1, sizeof(*shard.pieces));
	if (!shard.ranges || !shard.pieces ||
	    list(cut, rank, n, shard.ranges, room, &shard.count) != KVR_OK) {
		shard_close(&shard);
		return false;
	}
	find_pieces(cut, &shard);
	*out = shard;
	return true;
}

void shard_close(struct shard *shard)
{
	free(shard->ranges);
	free(shard->pieces);
	*shard = (struct shard){.count = 0};
}

struct shard *shards_open(const struct cut *cut, uint32_t n)
{
	struct shard *shards = calloc(n, sizeof(*shards));
	uint32_t i;

	for (i = 0; shards && i < n; i++)
		if (!shard_open(cut, i, n, &shards[i])) {
			shards_close(shards, i);
			return NULL;
		}
	return shards;
}

void shards_close(struct shard *shards, uint32_t n)
{
	uint32_t i;

	for (i = 0; shards && i < n; i++)
		shard_close(&shards[i]);
	free(shards);
}

uint64_t shard_place(const struct shard *shard, size_t row_bytes, uint64_t at,
		     uint64_t *run)
{
	const struct piece *pieces = shard->pieces, *piece;
	size_t low = 0, high = shard->piece_count - 1, middle;

	/* The last piece that begins at or before `at`. */
	while (low < high) {
		middle = high - (high - low) / 2;
		if (pieces[middle].before * row_bytes <= at)
			low = middle;
		else
			high = middle - 1;
	}
	piece = &pieces[low];
	at -= piece->before * row_bytes;
	*run = piece->rows * row_bytes - at;
	return piece->row * row_bytes + at;
}

int rows_allocate(size_t bytes, struct rows *out)
{
	void *memory = NULL;

	if (bytes > 0) {
		memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (memory == MAP_FAILED)
			return errno;
	}
	*out = (struct rows){
		.data = memory, .mapping = memory, .mapped = bytes};
	return 0;
}

/* The pages that hold one piece of the file, and no others. */
static int map_piece(int fd, uint64_t offset, size_t bytes, struct rows *out)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t lead = offset % page;
	void *memory = mmap(NULL, lead + bytes, PROT_READ, MAP_PRIVATE, fd,
			    (off_t)(offset - lead));

	if (memory == MAP_FAILED)
		return errno;
	*out = (struct rows){.data = (uint8_t *)memory + lead,
			     .mapping = memory,
			     .mapped = lead + bytes};
	return 0;
}

static int read_pieces(int fd, uint64_t offset, size_t row_bytes,
		       const struct shard *shard, uint8_t *to)
{
	const struct piece *piece = shard->pieces;
	size_t i, bytes;

	for (i = 0; i < shard->piece_count; i++, piece++) {
		bytes = piece->rows * row_bytes;
		if (!safetensors_read(fd, to, bytes,
				      offset + piece->row * row_bytes))
			return errno;
		to += bytes;
	}
	return 0;
}

int rows_open(int fd, uint64_t offset, size_t row_bytes, size_t element,
	      const struct shard *shard, struct rows *out)
{
	size_t bytes = shard->tokens * row_bytes;
	struct rows rows = {.data = NULL};
	int error;

	if (shard->piece_count == 1 && offset % element == 0)
		return map_piece(fd, offset + shard->pieces->row * row_bytes,
				 bytes, out);
	error = rows_allocate(bytes, &rows);
	if (error)
		return error;
	error = read_pieces(fd, offset, row_bytes, shard, rows.data);
	if (error)
		rows_close(&rows);
	else
		*out = rows;
	return error;
}

void rows_close(struct rows *rows)
{
	if (rows->mapped > 0)
		munmap(rows->mapping, rows->mapped);
	*rows = (struct rows){.data = NULL};
}
