/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/reference/case.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct header {
	char magic[8];
	uint32_t dtype, mask;
	uint32_t q_tokens, kv_tokens;
	uint32_t q_start, kv_start;
	uint32_t q_heads, kv_heads;
	uint32_t head_dim, value_dim;
	float scale;
	uint32_t sequences;
	double products;
};

/* Follows the header in files of the second version. */
struct more {
	float softcap;
	uint32_t window[2]; /* left, right; each plus 1: 0 is without end */
	uint32_t flags;
};

#define FLAG_SINKS 1
#define FLAG_VALUES_IN_KEYS 2

_Static_assert(sizeof(struct header) == 64, "as generate.py writes it");
_Static_assert(sizeof(struct more) == 16, "as generate.py writes it");

static void *read_file(const char *path, size_t *bytes)
{
	FILE *file = fopen(path, "rb");
	struct stat st;
	char *data = NULL;

	if (file && fstat(fileno(file), &st) == 0)
		data = malloc((size_t)st.st_size + 1);
	if (!data || fread(data, 1, (size_t)st.st_size + 1, file) !=
			     (size_t)st.st_size) {
		fprintf(stderr, "cannot read %s\n", path);
		exit(1);
	}
	fclose(file);
	*bytes = (size_t)st.st_size;
	return data;
}

/* Takes the next piece of the file; pieces are padded to 8 bytes. */
static void *take(char **at, size_t bytes)
{
	void *piece = *at;

	*at += (bytes + 7) / 8 * 8;
	return piece;
}

static struct kvr_tensor take_tensor(char **at, enum kvr_dtype dtype,
				     size_t tokens, size_t heads, size_t dim)
{
	size_t bytes = tokens * heads * dim * kvr_dtype_bytes(dtype);

	return kvr_tensor_dense(take(at, bytes), dtype, tokens, heads, dim);
}

/* Finite ones: the cases have no others. */
static double f16_value(uint16_t bits)
{
	int exponent = bits >> 10 & 31;
	double size = exponent ? ldexp(0x400 + (bits & 0x3ff), exponent - 25)
			       : ldexp(bits & 0x3ff, -24);

	return bits & 0x8000 ? -size : size;
}

double reference_element(const struct kvr_tensor *t, size_t token, size_t head,
			 size_t i)
{
	size_t at = token * t->token_stride + head * t->head_stride + i;
	uint32_t bits;
	float value;

	if (t->dtype == KVR_F32)
		return ((const float *)t->data)[at];
	if (t->dtype == KVR_F16)
		return f16_value(((const uint16_t *)t->data)[at]);
	bits = (uint32_t)((const uint16_t *)t->data)[at] << 16;
	memcpy(&value, &bits, sizeof(value));
	return value;
}

static double max_of(const struct kvr_tensor *t)
{
	double max = 0;

	for (size_t token = 0; token < t->tokens; token++)
		for (size_t head = 0; head < t->heads; head++)
			for (size_t i = 0; i < t->dim; i++)
				max = fmax(max, fabs(reference_element(
							t, token, head, i)));
	return max;
}

void reference_case_read(const char *directory, const char *file,
			 struct reference_case *out)
{
	struct header h;
	struct more more = {0};
	char path[4096];
	size_t bytes;
	char *at;

	snprintf(path, sizeof(path), "%s/%s", directory, file);
	out->sinks = NULL;
	snprintf(out->name, sizeof(out->name), "%s", file);
	out->data = read_file(path, &bytes);
	at = out->data;
	if (bytes < sizeof(h) + sizeof(more) ||
	    (memcmp(at, "KVRREF1", 8) != 0 && memcmp(at, "KVRREF2", 8) != 0)) {
		fprintf(stderr, "%s is not a case\n", path);
		exit(1);
	}
	memcpy(&h, take(&at, sizeof(h)), sizeof(h));
	if (h.magic[6] == '2')
		memcpy(&more, take(&at, sizeof(more)), sizeof(more));
	out->mask = (enum kvr_mask)h.mask;
	out->scale = h.scale;
	out->softcap = more.softcap;
	out->values_in_keys = more.flags & FLAG_VALUES_IN_KEYS;
	out->window = (struct kvr_window){(int64_t)more.window[0] - 1,
					  (int64_t)more.window[1] - 1};
	out->q_start = h.q_start;
	out->kv_start = h.kv_start;
	out->products = h.products;
	out->q = take_tensor(&at, (enum kvr_dtype)h.dtype, h.q_tokens,
			     h.q_heads, h.head_dim);
	out->k = take_tensor(&at, (enum kvr_dtype)h.dtype, h.kv_tokens,
			     h.kv_heads, h.head_dim);
	out->v = take_tensor(&at, (enum kvr_dtype)h.dtype, h.kv_tokens,
			     h.kv_heads, h.value_dim);
	if (more.flags & FLAG_SINKS)
		out->sinks = take(&at, sizeof(float) * h.q_heads);
	out->out =
		take(&at, sizeof(float) * h.q_tokens * h.q_heads * h.value_dim);
	out->lse = take(&at, sizeof(double) * h.q_tokens * h.q_heads);
	out->sequences = h.sequences;
	out->cu_seqlens = NULL;
	if (h.sequences > 0)
		out->cu_seqlens =
			take(&at, sizeof(uint64_t) * (h.sequences + 1));
	if (at != (char *)out->data + bytes) {
		fprintf(stderr, "%s has the wrong length\n", path);
		exit(1);
	}
	out->v_max = max_of(&out->v);
}

void reference_case_free(struct reference_case *c)
{
	free(c->data);
	c->data = NULL;
}
