/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DAMAGED "the file is damaged; copy or write it again"

static const struct {
	const char *name;
	size_t bytes;
} dtypes[] = {
	{"F32", 4},  {"BF16", 2}, {"F16", 2},	  {"F64", 8},
	{"I64", 8},  {"I32", 4},  {"I16", 2},	  {"I8", 1},
	{"U64", 8},  {"U32", 4},  {"U16", 2},	  {"U8", 1},
	{"BOOL", 1}, {"C64", 8},  {"F8_E4M3", 1}, {"F8_E5M2", 1},
};

size_t safetensors_dtype_bytes(const char *dtype)
{
	size_t i;

	for (i = 0; i < sizeof(dtypes) / sizeof(*dtypes); i++)
		if (!strcmp(dtypes[i].name, dtype))
			return dtypes[i].bytes;
	return 0;
}

bool safetensors_bytes(const uint64_t *shape, size_t rank, size_t element,
		       uint64_t *out)
{
	uint64_t bytes = element;
	size_t i;

	for (i = 0; i < rank; i++)
		if (__builtin_mul_overflow(bytes, shape[i], &bytes))
			return false;
	*out = bytes;
	return true;
}

/* ------------------------------------------------------------- one tensor */

/* What the checks below need to name. */
struct where {
	const char *path;
	const char *tensor;
	struct complaint *why;
};

static bool wrong(const struct where *w, const char *what)
{
	return complain(w->why, "%s: tensor '%s' %s; " DAMAGED, w->path,
			w->tensor, what);
}

static bool read_shape(const struct where *w, const json_t *json,
		       struct safetensors_tensor *t)
{
	const json_t *value;
	size_t i;

	if (!json_is_array(json))
		return wrong(w, "has no shape");
	t->rank = json_array_size(json);
	if (t->rank > SAFETENSORS_RANK_MAX)
		return wrong(w, "has more than 8 axes");
	for (i = 0; i < t->rank; i++) {
		value = json_array_get(json, i);
		if (!json_is_integer(value) || json_integer_value(value) < 0)
			return wrong(w, "has a shape that is not made of "
					"whole numbers");
		t->shape[i] = (uint64_t)json_integer_value(value);
	}
	return true;
}

static bool read_offsets(const struct where *w, const json_t *json,
			 struct safetensors_tensor *t)
{
	const json_t *begin = json_array_get(json, 0);
	const json_t *end = json_array_get(json, 1);

	if (json_array_size(json) != 2 || !json_is_integer(begin) ||
	    !json_is_integer(end) || json_integer_value(begin) < 0 ||
	    json_integer_value(end) < 0)
		return wrong(w, "has no data_offsets of two whole numbers");
	t->begin = (uint64_t)json_integer_value(begin);
	t->end = (uint64_t)json_integer_value(end);
	if (t->begin > t->end)
		return wrong(w, "begins after its end");
	return true;
}

/* A type of a later version of the format is nobody's size to check. */
static bool check_size(const struct where *w,
		       const struct safetensors_tensor *t)
{
	size_t element = safetensors_dtype_bytes(t->dtype);
	uint64_t bytes;

	if (element == 0)
		return true;
	if (!safetensors_bytes(t->shape, t->rank, element, &bytes))
		return wrong(w, "has a shape larger than any file");
	if (bytes != t->end - t->begin)
		return wrong(w, "has data_offsets that do not fit its shape "
				"and dtype");
	return true;
}

static bool read_tensor(const struct where *w, const json_t *json,
			struct safetensors_tensor *t)
{
	const char *dtype = json_string_value(json_object_get(json, "dtype"));

	if (!json_is_object(json))
		return wrong(w, "is not described by an object");
	if (!dtype || strlen(dtype) >= sizeof(t->dtype))
		return wrong(w, "has no dtype");
	memcpy(t->dtype, dtype, strlen(dtype) + 1);
	t->name = strdup(w->tensor);
	if (!t->name)
		return complain(w->why,
				"%s: no memory for its header; "
				"free some",
				w->path);
	return read_shape(w, json_object_get(json, "shape"), t) &&
	       read_offsets(w, json_object_get(json, "data_offsets"), t) &&
	       check_size(w, t);
}

/* ------------------------------------------------------------- the layout */

static int by_position(const void *a, const void *b)
{
	const struct safetensors_tensor *x = a, *y = b;

	if (x->begin != y->begin)
		return x->begin < y->begin ? -1 : 1;
	return x->end < y->end ? -1 : x->end > y->end;
}

static bool check_inside(const char *path, const struct safetensors *file,
			 struct complaint *why)
{
	const struct safetensors_tensor *t;
	size_t i;

	for (i = 0; i < file->count; i++) {
		t = &file->tensors[i];
		if (t->end > file->data_bytes)
			return complain(
				why,
				"%s: tensor '%s' ends at byte %" PRIu64
				" of the data, of which there are %" PRIu64
				"; the file is truncated or lies, copy it "
				"again",
				path, t->name, t->end, file->data_bytes);
	}
	return true;
}

static bool check_neighbours(const char *path, const struct safetensors *file,
			     struct complaint *why)
{
	const struct safetensors_tensor *t;
	uint64_t at = 0;
	size_t i;

	for (i = 0; i < file->count; i++, at = t->end) {
		t = &file->tensors[i];
		if (t->begin < at)
			return complain(why,
					"%s: tensor '%s' overlaps tensor "
					"'%s'; " DAMAGED,
					path, t->name, t[-1].name);
		if (t->begin > at)
			return complain(why,
					"%s: a hole of %" PRIu64 " bytes lies "
					"before tensor '%s'; " DAMAGED,
					path, t->begin - at, t->name);
	}
	if (at != file->data_bytes)
		return complain(why,
				"%s: %" PRIu64 " bytes follow the last tensor"
				"; " DAMAGED,
				path, file->data_bytes - at);
	return true;
}

static bool check_layout(const char *path, struct safetensors *file,
			 struct complaint *why)
{
	qsort(file->tensors, file->count, sizeof(*file->tensors), by_position);
	return check_inside(path, file, why) &&
	       check_neighbours(path, file, why);
}

/* ------------------------------------------------------------- the header */

static bool read_tensors(const char *path, json_t *root,
			 struct safetensors *file, struct complaint *why)
{
	struct where w = {.path = path, .why = why};
	json_t *value;

	/* One more than needed: calloc(0) may be NULL. */
	file->tensors =
		calloc(json_object_size(root) + 1, sizeof(*file->tensors));
	if (!file->tensors)
		return complain(why, "%s: no memory for its header; free some",
				path);
	json_object_foreach(root, w.tensor, value)
	{
		if (!strcmp(w.tensor, "__metadata__"))
			continue;
		if (!read_tensor(&w, value, &file->tensors[file->count++]))
			return false;
	}
	return check_layout(path, file, why);
}

static bool parse_header(const char *path, const char *text, size_t bytes,
			 struct safetensors *file, struct complaint *why)
{
	json_error_t error;
	json_t *root;
	bool ok;

	root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &error);
	if (!root && json_error_code(&error) == json_error_duplicate_key)
		return complain(why,
				"%s: a name occurs twice in its header "
				"(%s); write each tensor once",
				path, error.text);
	if (!root)
		return complain(why,
				"%s: its header is not JSON (%s); give a "
				"safetensors file",
				path, error.text);
	if (!json_is_object(root))
		ok = complain(why,
			      "%s: its header is not a JSON object; give "
			      "a safetensors file",
			      path);
	else
		ok = read_tensors(path, root, file, why);
	json_decref(root);
	return ok;
}

bool safetensors_read(int fd, void *to, size_t bytes, uint64_t offset)
{
	uint8_t *at = to;
	ssize_t got;

	while (bytes > 0) {
		got = pread(fd, at, bytes, (off_t)offset);
		if (got < 0 && errno == EINTR)
			continue;
		if (got == 0) /* shorter than when it was opened */
			errno = ENODATA;
		if (got <= 0)
			return false;
		at += got;
		offset += (uint64_t)got;
		bytes -= (size_t)got;
	}
	return true;
}

static bool read_header(const char *path, uint64_t file_bytes,
			struct safetensors *file, struct complaint *why)
{
	uint64_t length = 0;
	uint8_t raw[8];
	char *text;
	bool ok;
	int i;

	if (file_bytes == 0)
		return complain(why, "%s: is empty; give a safetensors file",
				path);
	if (file_bytes < 8 || !safetensors_read(file->fd, raw, 8, 0))
		return complain(why,
				"%s: is shorter than a safetensors header;"
				" copy it again",
				path);
	for (i = 7; i >= 0; i--)
		length = length << 8 | raw[i];
	if (length > SAFETENSORS_HEADER_MAX)
		return complain(why,
				"%s: claims a header of %" PRIu64 " bytes,"
				" over the format's 100 MB; give a "
				"safetensors file",
				path, length);
	if (length > file_bytes - 8)
		return complain(why,
				"%s: claims a header of %" PRIu64 " bytes,"
				" longer than the file; it is truncated, "
				"copy it again",
				path, length);
	file->data_start = 8 + length;
	file->data_bytes = file_bytes - 8 - length;
	text = malloc(length + 1);
	if (!text)
		return complain(why, "%s: no memory for its header; free some",
				path);
	ok = safetensors_read(file->fd, text, length, 8) ||
	     complain(why, "%s: cannot be read: %s; check the disk", path,
		      strerror(errno));
	ok = ok && parse_header(path, text, length, file, why);
	free(text);
	return ok;
}

bool safetensors_open(const char *path, struct safetensors *out,
		      struct complaint *why)
{
	struct safetensors file = {0};
	struct stat st;

	/* NONBLOCK: a pipe of that name must not make us wait. */
	file.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (file.fd < 0)
		return complain(why, "%s: cannot be opened: %s; check the name",
				path, strerror(errno));
	if (fstat(file.fd, &st) || !S_ISREG(st.st_mode)) {
		complain(why,
			 "%s: is not a regular file; give a safetensors "
			 "file",
			 path);
		goto err_close;
	}
	if (!read_header(path, (uint64_t)st.st_size, &file, why))
		goto err_close;
	*out = file;
	return true;

err_close:
	safetensors_close(&file);
	return false;
}

void safetensors_close(struct safetensors *file)
{
	size_t i;

	for (i = 0; i < file->count; i++)
		free(file->tensors[i].name);
	free(file->tensors);
	close(file->fd);
}

const struct safetensors_tensor *
safetensors_find(const struct safetensors *file, const char *name)
{
	size_t i;

	for (i = 0; i < file->count; i++)
		if (!strcmp(file->tensors[i].name, name))
			return &file->tensors[i];
	return NULL;
}
