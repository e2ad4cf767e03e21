/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "cli/safetensors.h"

static json_t *spec_json(const struct safetensors_spec *spec, uint64_t bytes)
{
	json_t *shape = json_array();
	size_t i;

	for (i = 0; i < spec->rank; i++)
		json_array_append_new(shape,
				      json_integer((json_int_t)spec->shape[i]));
	return json_pack("{s:s, s:o, s:[I, I]}", "dtype", spec->dtype, "shape",
			 shape, "data_offsets", (json_int_t)spec->offset,
			 (json_int_t)(spec->offset + bytes));
}

/* Offsets relative to the data; *total the bytes of the data. */
static bool specs_json(struct safetensors_spec *specs, size_t count,
		       json_t *root, uint64_t *total, struct complaint *why)
{
	uint64_t bytes;
	size_t i;

	*total = 0;
	for (i = 0; i < count; i++) {
		if (!safetensors_bytes(specs[i].shape, specs[i].rank,
				       safetensors_dtype_bytes(specs[i].dtype),
				       &bytes) ||
		    bytes > (uint64_t)INT64_MAX / 2 - *total)
			return complain(why,
					"tensor '%s': its size does not fit "
					"into a file; ask for less",
					specs[i].name);
		specs[i].offset = *total;
		if (json_object_set_new(root, specs[i].name,
					spec_json(&specs[i], bytes)))
			return complain(why, "no memory for a file header; "
					     "free some");
		*total += bytes;
	}
	return true;
}

/* Length, JSON, blanks up to a multiple of 8. */
static void *assemble(const char *json, size_t *bytes)
{
	size_t length = strlen(json), padded = (length + 7) / 8 * 8, i;
	uint8_t *head = malloc(8 + padded);

	if (!head)
		return NULL;
	for (i = 0; i < 8; i++)
		head[i] = (uint8_t)((uint64_t)padded >> (8 * i));
	memcpy(head + 8, json, length);
	memset(head + 8 + length, ' ', padded - length);
	*bytes = 8 + padded;
	return head;
}

bool safetensors_head(struct safetensors_spec *specs, size_t count, void **head,
		      size_t *head_bytes, uint64_t *total,
		      struct complaint *why)
{
	json_t *root = json_object();
	char *json = NULL;
	uint64_t data;
	bool ok = false;
	size_t i;

	if (!specs_json(specs, count, root, &data, why))
		goto out;
	json = json_dumps(root, JSON_COMPACT);
	*head = json ? assemble(json, head_bytes) : NULL;
	ok = *head != NULL;
	if (!ok) {
		complain(why, "no memory for a file header; free some");
		goto out;
	}
	for (i = 0; i < count; i++)
		specs[i].offset += *head_bytes;
	*total = *head_bytes + data;
out:
	free(json);
	json_decref(root);
	return ok;
}
