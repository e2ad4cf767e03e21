/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cu_seqlens.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define WHAT "'" CU_SEQLENS "'"

static bool check_shape(const char *path, const struct safetensors_tensor *t,
			struct complaint *why)
{
	if (strcmp(t->dtype, "I32") && strcmp(t->dtype, "I64"))
		return complain(why,
				"%s: tensor " WHAT " is %s; convert it to I32 "
				"or I64",
				path, t->dtype);
	if (t->rank != 1)
		return complain(why,
				"%s: tensor " WHAT " has %zu axes; make it "
				"[sequences + 1]",
				path, t->rank);
	if (t->shape[0] < 2)
		return complain(why,
				"%s: tensor " WHAT " has %" PRIu64 " elements; "
				"make it one more than there are sequences",
				path, t->shape[0]);
	return true;
}

static int64_t value_at(const uint8_t *from, size_t element)
{
	int64_t wide;
	int32_t narrow;

	if (element == sizeof(narrow)) {
		memcpy(&narrow, from, sizeof(narrow));
		return narrow;
	}
	memcpy(&wide, from, sizeof(wide));
	return wide;
}

/* In place, from the end, for the elements read may be the narrower ones. */
static void widen(uint64_t *values, size_t count, size_t element)
{
	const uint8_t *from = (const uint8_t *)values;
	size_t i;

	for (i = count; i-- > 0;)
		values[i] = (uint64_t)value_at(from + i * element, element);
}

static bool check_values(const char *path, const uint64_t *values, size_t count,
			 uint64_t tokens, struct complaint *why)
{
	size_t i;

	if (values[0] != 0)
		return complain(why,
				"%s: " WHAT " begins with %" PRId64 "; it must "
				"begin with 0",
				path, (int64_t)values[0]);
	for (i = 1; i < count; i++)
		if ((int64_t)values[i] < (int64_t)values[i - 1])
			return complain(why,
					"%s: " WHAT "[%zu] is %" PRId64
					" after %" PRId64 "; it must not "
					"descend",
					path, i, (int64_t)values[i],
					(int64_t)values[i - 1]);
	if (values[count - 1] != tokens)
		return complain(why,
				"%s: " WHAT " ends with %" PRIu64 ", but there "
				"are %" PRIu64 " tokens; it must end with "
				"their number",
				path, values[count - 1], tokens);
	return true;
}

static bool take(const char *path, const struct safetensors *file,
		 const struct safetensors_tensor *t, uint64_t tokens,
		 uint64_t *values, struct complaint *why)
{
	size_t count = (size_t)t->shape[0];
	size_t element = safetensors_dtype_bytes(t->dtype);

	if (!safetensors_read(file->fd, values, count * element,
			      file->data_start + t->begin))
		return complain(why, "%s: cannot be read: %s; check the disk",
				path, strerror(errno));
	widen(values, count, element);
	return check_values(path, values, count, tokens, why);
}

static bool complain_memory(const char *path, struct complaint *why)
{
	return complain(why, "%s: no memory for " WHAT "; free some", path);
}

static bool one_sequence(const char *path, uint64_t tokens, uint64_t **out,
			 size_t *sequences, struct complaint *why)
{
	uint64_t *values = calloc(2, sizeof(*values));

	if (!values)
		return complain_memory(path, why);
	values[1] = tokens;
	*out = values;
	*sequences = 1;
	return true;
}

bool cu_seqlens_read(const char *path, const struct safetensors *file,
		     uint64_t tokens, uint64_t **out, size_t *sequences,
		     struct complaint *why)
{
	const struct safetensors_tensor *t = safetensors_find(file, CU_SEQLENS);
	uint64_t *values;

	if (!t)
		return one_sequence(path, tokens, out, sequences, why);
	if (!check_shape(path, t, why))
		return false;
	values = calloc(t->shape[0], sizeof(*values));
	if (!values)
		return complain_memory(path, why);
	if (!take(path, file, t, tokens, values, why)) {
		free(values);
		return false;
	}
	*out = values;
	*sequences = (size_t)t->shape[0] - 1;
	return true;
}
