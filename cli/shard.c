/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cli/attention.h"

struct shard shard_of(enum partition partition, uint64_t tokens, uint32_t rank,
		      uint32_t n)
{
	struct shard shard = {.count = 0};
	enum kvr_status status;
	size_t i;

	if (partition == PARTITION_ZIGZAG)
		status = kvr_ranges_zigzag(tokens, rank, n, shard.ranges,
					   &shard.count);
	else
		status = kvr_ranges_contiguous(tokens, rank, n, shard.ranges,
					       &shard.count);
	/* They refuse rank >= n only: a shard that stays empty is caught. */
	if (status != KVR_OK)
		shard.count = 0;
	for (i = 0; i < shard.count; i++)
		shard.tokens += shard.ranges[i].length;
	return shard;
}

uint64_t shard_place(const struct shard *shard, size_t row_bytes, uint64_t at,
		     uint64_t *run)
{
	const struct kvr_range *range = shard->ranges;

	while (at >= range->length * row_bytes) {
		at -= range->length * row_bytes;
		range++;
	}
	*run = range->length * row_bytes - at;
	return range->start * row_bytes + at;
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

static int read_piece(int fd, uint64_t offset, size_t bytes, uint8_t *to)
{
	ssize_t got;

	while (bytes > 0) {
		got = pread(fd, to, bytes, (off_t)offset);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) /* shorter than when it was opened */
			return got < 0 ? errno : ENODATA;
		to += got;
		offset += (uint64_t)got;
		bytes -= (size_t)got;
	}
	return 0;
}

static int read_pieces(int fd, uint64_t offset, size_t row_bytes,
		       const struct shard *shard, uint8_t *to)
{
	const struct kvr_range *range = shard->ranges;
	size_t i, bytes;
	int error;

	for (i = 0; i < shard->count; i++, range++) {
		bytes = range->length * row_bytes;
		error = read_piece(fd, offset + range->start * row_bytes, bytes,
				   to);
		if (error)
			return error;
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

	if (shard->count == 1 && offset % element == 0)
		return map_piece(fd,
				 offset + shard->ranges[0].start * row_bytes,
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
