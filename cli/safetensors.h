/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The safetensors format: 8 bytes little-endian length of a JSON header, the
 * header, the data. The header maps names to {dtype, shape, data_offsets}
 * (begin, end; relative to the data), and "__metadata__" to strings.
 * https://github.com/huggingface/safetensors#format
 *
 * The reader trusts nothing: what it accepts lies inside the file, once, and
 * without gaps.
 */
#ifndef KVR_CLI_SAFETENSORS_H
#define KVR_CLI_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "cli/complaint.h"

#define SAFETENSORS_RANK_MAX 8
#define SAFETENSORS_HEADER_MAX (100ull * 1000 * 1000)

struct safetensors_tensor {
	char *name;
	char dtype[16];
	size_t rank;
	uint64_t shape[SAFETENSORS_RANK_MAX];
	uint64_t begin, end; /* bytes from data_start */
};

struct safetensors {
	int fd;
	uint64_t data_start, data_bytes;
	struct safetensors_tensor *tensors; /* in the order of the data */
	size_t count;
};

/* Closed with safetensors_close. */
bool safetensors_open(const char *path, struct safetensors *out,
		      struct complaint *why);
void safetensors_close(struct safetensors *file);

/* NULL: no such tensor. */
const struct safetensors_tensor *
safetensors_find(const struct safetensors *file, const char *name);

/* Bytes of one element; 0 for a type that is not of this format. */
size_t safetensors_dtype_bytes(const char *dtype);

/* Adds up in *out; false on overflow. */
bool safetensors_bytes(const uint64_t *shape, size_t rank, size_t element,
		       uint64_t *out);

/* All of them; false: errno says why, ENODATA when the file is shorter. */
bool safetensors_read(int fd, void *to, size_t bytes, uint64_t offset);

/* ------------------------------------------------------------- writing */

struct safetensors_spec {
	const char *name;
	const char *dtype;
	size_t rank;
	uint64_t shape[SAFETENSORS_RANK_MAX];
	uint64_t offset; /* filled in: bytes from the start of the file */
};

/*
 * The head of a file with these tensors, in this order, without gaps; padded
 * with blanks so that the data is 8-aligned. *head is to be freed; *total is
 * the size of the whole file.
 */
bool safetensors_head(struct safetensors_spec *specs, size_t count, void **head,
		      size_t *head_bytes, uint64_t *total,
		      struct complaint *why);

#endif
