/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reader of safetensors files under any file. What it accepts lies in the
 * file, once and without gaps, and has the size of its shape; what it refuses
 * it names, with a remedy. The same of the cu_seqlens in it, whose last element
 * is taken to be right.
 *
 *	input: 0, then the file; or else any byte, then its header up to a 0,
 *	before which the true length is put, and its data
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cli/cu_seqlens.h"
#include "tests/fuzz/require.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void append(int fd, const void *data, size_t size)
{
	require(write(fd, data, size) == (ssize_t)size);
}

/* A file in memory that is opened by name like any other; its size. */
static size_t write_file(const uint8_t *data, size_t size, char path[64])
{
	static int fd = -1;
	const uint8_t *end;
	uint64_t length;

	if (fd < 0)
		fd = memfd_create("fuzz", MFD_CLOEXEC);
	require(fd >= 0 && ftruncate(fd, 0) == 0);
	require(lseek(fd, 0, SEEK_SET) == 0);
	snprintf(path, 64, "/proc/self/fd/%d", fd);
	if (size > 0 && *data++ != 0) {
		end = memchr(data, 0, size - 1);
		length = end ? (uint64_t)(end - data) : size - 1;
		append(fd, &length, sizeof(length));
		append(fd, data, length);
		data += length + (end != NULL);
		size -= length + (end != NULL);
	}
	append(fd, data, size ? size - 1 : 0);
	return (size_t)lseek(fd, 0, SEEK_CUR);
}

static void check_tensor(const struct safetensors *file,
			 const struct safetensors_tensor *t)
{
	size_t element = safetensors_dtype_bytes(t->dtype);
	uint64_t bytes;

	require(strlen(t->dtype) < sizeof(t->dtype));
	require(t->rank <= SAFETENSORS_RANK_MAX);
	require(safetensors_find(file, t->name) == t);
	if (element == 0)
		return;
	require(safetensors_bytes(t->shape, t->rank, element, &bytes));
	require(bytes == t->end - t->begin);
}

static void check_file(const struct safetensors *file, size_t size)
{
	uint64_t at = 0;

	require(file->data_start >= 8 &&
		file->data_start + file->data_bytes == size);
	for (size_t i = 0; i < file->count; i++) {
		const struct safetensors_tensor *t = &file->tensors[i];

		require(t->begin == at && t->end >= at);
		at = t->end;
		check_tensor(file, t);
	}
	require(at == file->data_bytes);
}

/* How many tokens there must be for the offsets; 0: there are none. */
static uint64_t tokens_of(const struct safetensors *file)
{
	const struct safetensors_tensor *t = safetensors_find(file, CU_SEQLENS);
	size_t element = t ? safetensors_dtype_bytes(t->dtype) : 0;
	int64_t tokens = 0;
	int32_t narrow = 0;

	if (element < 4 || t->end - t->begin < element)
		return 0;
	require(pread(file->fd, element == 4 ? (void *)&narrow : &tokens,
		      element, (off_t)(file->data_start + t->end - element)) ==
		(ssize_t)element);
	return (uint64_t)(element == 4 ? narrow : tokens);
}

static void check_complaint(const struct complaint *why, const char *path)
{
	require(strncmp(why->text, path, strlen(path)) == 0);
	/* A long name may push the remedy out of the line. */
	require(strstr(why->text, "; ") ||
		strlen(why->text) == sizeof(why->text) - 1);
}

static void check_cu_seqlens(const struct safetensors *file, const char *path)
{
	uint64_t tokens = tokens_of(file), *at;
	struct complaint why = {""};
	size_t sequences;

	if (!cu_seqlens_read(path, file, tokens, &at, &sequences, &why)) {
		check_complaint(&why, path);
		return;
	}
	require(sequences >= 1 && at[0] == 0 && at[sequences] == tokens);
	require(tokens <= INT64_MAX);
	for (size_t i = 0; i < sequences; i++)
		require(at[i] <= at[i + 1]);
	free(at);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct complaint why = {""};
	struct safetensors file;
	char path[64];

	size = write_file(data, size, path);
	if (safetensors_open(path, &file, &why)) {
		check_file(&file, size);
		check_cu_seqlens(&file, path);
		safetensors_close(&file);
		return 0;
	}
	check_complaint(&why, path);
	return 0;
}
