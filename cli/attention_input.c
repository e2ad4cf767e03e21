/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/attention.h"
#include "cli/cu_seqlens.h"
#include "cli/element.h"

static const char *const dtype_names[] = {
	[KVR_F32] = "F32",
	[KVR_BF16] = "BF16",
	[KVR_F16] = "F16",
};

static bool dtype_of(const char *name, enum kvr_dtype *out)
{
	size_t i;

	for (i = 0; i < sizeof(dtype_names) / sizeof(*dtype_names); i++)
		if (!strcmp(dtype_names[i], name)) {
			*out = (enum kvr_dtype)i;
			return true;
		}
	return false;
}

/* Of a type we compute with, three axes, not empty. */
static bool check_tensor(const char *path, const struct safetensors_tensor *t,
			 struct complaint *why)
{
	enum kvr_dtype dtype;
	size_t i;

	if (!dtype_of(t->dtype, &dtype))
		return complain(why,
				"%s: tensor '%s' is %s; convert it to F32, "
				"BF16 or F16",
				path, t->name, t->dtype);
	if (t->rank != 3)
		return complain(why,
				"%s: tensor '%s' has %zu axes; make it "
				"[tokens, heads, dim]",
				path, t->name, t->rank);
	for (i = 0; i < 3; i++)
		if (t->shape[i] == 0)
			return complain(why,
					"%s: tensor '%s' is empty; give "
					"at least one token, head and "
					"element",
					path, t->name);
	if (t->shape[1] > UINT32_MAX)
		return complain(why,
				"%s: tensor '%s' has %" PRIu64 " heads; "
				"make it [tokens, heads, dim]",
				path, t->name, t->shape[1]);
	if (t->shape[2] > KVR_DIM_MAX)
		return complain(why,
				"%s: tensor '%s' has a head dimension of "
				"%" PRIu64 "; at most %d is supported",
				path, t->name, t->shape[2], KVR_DIM_MAX);
	return true;
}

/* One of q, k, v; NULL with *why filled in. */
static const struct safetensors_tensor *find(const char *path,
					     const struct safetensors *file,
					     const char *name,
					     struct complaint *why)
{
	const struct safetensors_tensor *t = safetensors_find(file, name);

	if (!t)
		complain(why,
			 "%s: has no tensor '%s'; it must hold q, k and v, or "
			 "v be --values-in-keys",
			 path, name);
	return t && check_tensor(path, t, why) ? t : NULL;
}

static bool same(const char *path, const struct safetensors_tensor *a,
		 const struct safetensors_tensor *b, size_t axis,
		 const char *what, struct complaint *why)
{
	return a->shape[axis] == b->shape[axis] ||
	       complain(why,
			"%s: '%s' has %" PRIu64 " %s, '%s' %" PRIu64
			"; they must be equal",
			path, a->name, a->shape[axis], what, b->name,
			b->shape[axis]);
}

static bool check_together(const char *path, const struct safetensors_tensor *q,
			   const struct safetensors_tensor *k,
			   const struct safetensors_tensor *v,
			   struct complaint *why)
{
	if (strcmp(q->dtype, k->dtype) || strcmp(q->dtype, v->dtype))
		return complain(why,
				"%s: q is %s, k %s, v %s; convert them to "
				"one type",
				path, q->dtype, k->dtype, v->dtype);
	if (!same(path, q, k, 0, "tokens", why) ||
	    !same(path, k, v, 0, "tokens", why) ||
	    !same(path, k, v, 1, "heads", why) ||
	    !same(path, q, k, 2, "elements per head", why))
		return false;
	if (q->shape[1] % k->shape[1] != 0)
		return complain(why,
				"%s: q's %" PRIu64 " heads cannot share "
				"k's %" PRIu64 "; make the former a "
				"multiple of the latter",
				path, q->shape[1], k->shape[1]);
	return true;
}

static bool check_sinks(const char *path, const struct safetensors_tensor *t,
			const struct safetensors_tensor *q,
			enum kvr_dtype *dtype, struct complaint *why)
{
	if (!dtype_of(t->dtype, dtype))
		return complain(why,
				"%s: tensor 'sinks' is %s; convert it to F32, "
				"BF16 or F16",
				path, t->dtype);
	return (t->rank == 1 && t->shape[0] == q->shape[1]) ||
	       complain(why,
			"%s: tensor 'sinks' is not [%" PRIu64 "], one of each "
			"head of q; make it so",
			path, q->shape[1]);
}

static bool read_sinks(const char *path, const struct safetensors *file,
		       const struct safetensors_tensor *t, enum kvr_dtype dtype,
		       float *to, struct complaint *why)
{
	const uint64_t heads = t->shape[0];
	struct piece all = {.rows = heads};
	struct shard whole = {
		.pieces = &all, .piece_count = 1, .tokens = heads};
	size_t element = kvr_dtype_bytes(dtype);
	uint64_t bad = heads;
	struct rows rows;
	int error = rows_open(file->fd, file->data_start + t->begin, element,
			      element, &whole, &rows);

	if (error)
		return complain(why, "%s: reading 'sinks': %s; check the disk",
				path, strerror(error));
	for (uint64_t i = 0; i < heads; i++) {
		to[i] = (float)element_value(dtype, rows.data, i);
		if (!(to[i] < INFINITY))
			bad = i;
	}
	rows_close(&rows);
	return bad == heads ||
	       complain(why,
			"%s: tensor 'sinks' has NaN or infinity for head "
			"%" PRIu64 "; make it finite, or -inf for none",
			path, bad);
}

/* *out: NULL where there are none. */
static bool take_sinks(const char *path, const struct safetensors *file,
		       const struct safetensors_tensor *q, float **out,
		       struct complaint *why)
{
	const struct safetensors_tensor *t = safetensors_find(file, "sinks");
	enum kvr_dtype dtype = KVR_F32;
	float *sinks;

	*out = NULL;
	if (!t)
		return true;
	if (!check_sinks(path, t, q, &dtype, why))
		return false;
	sinks = malloc(q->shape[1] * sizeof(*sinks));
	if (!sinks)
		return complain(why, "%s: no memory for 'sinks'; free some",
				path);
	if (!read_sinks(path, file, t, dtype, sinks, why)) {
		free(sinks);
		return false;
	}
	*out = sinks;
	return true;
}

/* The tensor that the values are columns of: v, or k. */
static const struct safetensors_tensor *
find_values(const char *path, const struct safetensors *file,
	    const struct safetensors_tensor *k, uint32_t dim,
	    struct complaint *why)
{
	if (!dim)
		return find(path, file, "v", why);
	if (safetensors_find(file, "v")) {
		complain(why,
			 "%s: has a tensor 'v', and --values-in-keys says that "
			 "it has none; leave one of them out",
			 path);
		return NULL;
	}
	if (dim > k->shape[2]) {
		complain(why,
			 "--values-in-keys: %" PRIu32 " columns are more than "
			 "the %" PRIu64 " of %s's k; use at most that",
			 dim, k->shape[2], path);
		return NULL;
	}
	return k;
}

bool attention_input_open(const char *path, uint32_t values_in_keys,
			  struct attention_input *out, struct complaint *why)
{
	const struct safetensors_tensor *q, *k = NULL, *v = NULL;
	enum kvr_dtype dtype = KVR_F32;
	struct safetensors file;
	uint64_t *cu_seqlens = NULL;
	size_t sequences = 0;
	float *sinks = NULL;

	if (!safetensors_open(path, &file, why))
		return false;
	q = find(path, &file, "q", why);
	if (q)
		k = find(path, &file, "k", why);
	if (k)
		v = find_values(path, &file, k, values_in_keys, why);
	if (!v || !check_together(path, q, k, v, why) ||
	    !dtype_of(q->dtype, &dtype) ||
	    !take_sinks(path, &file, q, &sinks, why)) {
		safetensors_close(&file);
		return false;
	}
	if (!cu_seqlens_read(path, &file, q->shape[0], &cu_seqlens, &sequences,
			     why)) {
		free(sinks);
		safetensors_close(&file);
		return false;
	}
	*out = (struct attention_input){
		.file = file,
		.dtype = dtype,
		.tokens = q->shape[0],
		.q_heads = (uint32_t)q->shape[1],
		.kv_heads = (uint32_t)k->shape[1],
		.head_dim = (uint32_t)q->shape[2],
		.value_dim =
			values_in_keys ? values_in_keys : (uint32_t)v->shape[2],
		.values_in_keys = values_in_keys > 0,
		.q_offset = file.data_start + q->begin,
		.k_offset = file.data_start + k->begin,
		.v_offset = file.data_start + v->begin,
		.cu_seqlens = cu_seqlens,
		.sequences = sequences,
		.sinks = sinks,
	};
	return true;
}

void attention_input_close(struct attention_input *input)
{
	free(input->cu_seqlens);
	safetensors_close(&input->file);
	free(input->sinks);
}

enum kvr_dtype attention_output_dtype(const struct attention_options *options,
				      const struct attention_input *input)
{
	return options->f32_output ? KVR_F32 : input->dtype;
}

bool attention_output_open(const struct attention_options *options,
			   const struct attention_input *in,
			   struct attention_output *out, struct complaint *why)
{
	enum kvr_dtype dtype = attention_output_dtype(options, in);
	/* lse first: both are then aligned whatever their sizes. */
	struct safetensors_spec specs[2] = {
		{.name = "lse",
		 .dtype = "F32",
		 .rank = 2,
		 .shape = {in->q_heads, in->tokens}},
		{.name = "out",
		 .dtype = dtype_names[dtype],
		 .rank = 3,
		 .shape = {in->tokens, in->q_heads, in->value_dim}}};
	size_t head_bytes;
	uint64_t total;
	bool ok = false;
	void *head;

	if (!safetensors_head(specs, 2, &head, &head_bytes, &total, why))
		return false;
	if (!output_open(options->output_path, total, in->file.fd, &out->file,
			 why))
		goto out_free;
	if (!write_all(out->file.fd, head, head_bytes, 0)) {
		complain(why, "%s: cannot be written; check the disk",
			 options->output_path);
		output_abandon(&out->file);
		goto out_free;
	}
	out->dtype = dtype;
	out->lse_offset = specs[0].offset;
	out->out_offset = specs[1].offset;
	out->bytes = total;
	ok = true;
out_free:
	free(head);
	return ok;
}
