/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "compute/cpu/layout.h"
#include "compute/cpu/simd.h"

size_t kvr_cpu_panels(uint64_t tokens)
{
	return (size_t)(tokens / KVR_CPU_PANEL + (tokens % KVR_CPU_PANEL != 0));
}

size_t kvr_cpu_groups(uint32_t value_dim)
{
	return (value_dim + KVR_CPU_PANEL - 1) / KVR_CPU_PANEL;
}

size_t kvr_cpu_tile_panel_elements(const struct kvr_compute_shape *shape)
{
	size_t columns = kvr_cpu_groups(shape->value_dim) * KVR_CPU_PANEL;

	return KVR_CPU_PANEL * (shape->head_dim + columns);
}

size_t kvr_cpu_panel_elements(const struct kvr_compute_shape *shape)
{
	if (shape->values_in_keys)
		return (size_t)KVR_CPU_PANEL * shape->head_dim;
	return kvr_cpu_tile_panel_elements(shape);
}

size_t kvr_cpu_head_panels(struct kvr_ranges kv)
{
	size_t panels = 0;

	for (size_t i = 0; i < kv.count; i++)
		panels += kvr_cpu_panels(kv.range[i].length);
	return panels;
}

size_t kvr_cpu_element_bytes(const struct kvr_compute_shape *shape)
{
	return shape->kv_wire == KVR_KV_E4M3 ? 1
					     : kvr_dtype_bytes(shape->dtype);
}

size_t kvr_cpu_scales_bytes(const struct kvr_compute_shape *shape,
			    uint64_t tokens)
{
	if (shape->kv_wire != KVR_KV_E4M3 || tokens == 0)
		return 0;
	return shape->kv_heads * sizeof(struct kvr_cpu_scales);
}

size_t kvr_cpu_range_bytes(const struct kvr_compute_shape *shape,
			   uint64_t tokens)
{
	size_t panel =
		kvr_cpu_panel_elements(shape) * kvr_cpu_element_bytes(shape);
	size_t bytes;

	if (__builtin_mul_overflow(panel, shape->kv_heads, &bytes) ||
	    __builtin_mul_overflow(bytes, kvr_cpu_panels(tokens), &bytes) ||
	    __builtin_add_overflow(bytes, kvr_cpu_scales_bytes(shape, tokens),
				   &bytes) ||
	    bytes > KVR_BLOCK_BYTES_MOST)
		return KVR_BLOCK_BYTES_MOST;
	return (bytes + KVR_BLOCK_ALIGN - 1) / KVR_BLOCK_ALIGN *
	       KVR_BLOCK_ALIGN;
}

size_t kvr_cpu_block_bytes(const struct kvr_compute_shape *shape,
			   struct kvr_ranges kv)
{
	size_t bytes = 0;

	for (size_t i = 0; i < kv.count; i++)
		if (__builtin_add_overflow(
			    bytes,
			    kvr_cpu_range_bytes(shape, kv.range[i].length),
			    &bytes))
			return KVR_BLOCK_BYTES_MOST;
	return bytes;
}

/* Where a row of a head begins. */
static const char *row_of(const struct kvr_tensor *t, size_t token, size_t head,
			  size_t size)
{
	return (const char *)t->data +
	       (token * t->token_stride + head * t->head_stride) * size;
}

/*
 * `size` is a constant where these are inlined: each memcpy is one move, and
 * both types share the code, for packing only moves bits.
 */
static inline __attribute__((always_inline)) void
pack_keys(const struct kvr_tensor *k, size_t head, size_t token, size_t count,
	  size_t from_dim, char *to, const size_t size)
{
	for (size_t key = 0; key < count; key++) {
		const char *from = row_of(k, token + key, head, size);

		for (size_t i = from_dim; i < k->dim; i++)
			memcpy(to + (i * KVR_CPU_PANEL + key) * size,
			       from + i * size, size);
	}
}

/* A whole panel; returns the dims done, what a vector does not hold is left. */
static size_t pack_keys_f32(const struct kvr_tensor *k, size_t head,
			    size_t token, float *to)
{
	const size_t dims = k->dim / KVR_LANES * KVR_LANES;

	for (size_t key = 0; key < KVR_CPU_PANEL; key += KVR_LANES) {
		const float *from[KVR_LANES];

		for (size_t i = 0; i < KVR_LANES; i++)
			from[i] = (const void *)row_of(k, token + key + i, head,
						       sizeof(float));
		for (size_t at = 0; at < dims; at += KVR_LANES) {
			kvr_vf v[KVR_LANES];

			KVR_UNROLL
			for (size_t i = 0; i < KVR_LANES; i++)
				v[i] = kvr_load(from[i] + at);
			kvr_transpose(v);
			KVR_UNROLL
			for (size_t i = 0; i < KVR_LANES; i++)
				kvr_store(to + (at + i) * KVR_CPU_PANEL + key,
					  v[i]);
		}
	}
	return dims;
}

typedef uint16_t halves __attribute__((vector_size(16)));
typedef halves halves_memory __attribute__((aligned(2), may_alias));

/* As kvr_zip. */
KVR_INLINE void zip_halves(halves a, halves b, halves *low, halves *high)
{
#if defined(__clang__)
	*low = __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
	*high = __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
#else
	*low = __builtin_shuffle(a, b, (halves){0, 8, 1, 9, 2, 10, 3, 11});
	*high = __builtin_shuffle(a, b, (halves){4, 12, 5, 13, 6, 14, 7, 15});
#endif
}

/* As kvr_transpose. */
KVR_INLINE void transpose_halves(halves row[8])
{
	halves old[8];

	KVR_UNROLL
	for (size_t n = 1; n < 8; n *= 2) {
		KVR_UNROLL
		for (size_t i = 0; i < 8; i++)
			old[i] = row[i];
		KVR_UNROLL
		for (size_t i = 0; i < 4; i++)
			zip_halves(old[i], old[i + 4], &row[2 * i],
				   &row[2 * i + 1]);
	}
}

/* As pack_keys_f32, of elements of two bytes. */
static size_t pack_keys_16(const struct kvr_tensor *k, size_t head,
			   size_t token, char *to)
{
	const size_t dims = k->dim / 8 * 8;

	for (size_t key = 0; key < KVR_CPU_PANEL; key += 8) {
		const char *from[8];

		for (size_t i = 0; i < 8; i++)
			from[i] = row_of(k, token + key + i, head, 2);
		for (size_t at = 0; at < dims; at += 8) {
			halves v[8];

			KVR_UNROLL
			for (size_t i = 0; i < 8; i++)
				v[i] = *(const halves_memory *)(from[i] +
								at * 2);
			transpose_halves(v);
			KVR_UNROLL
			for (size_t i = 0; i < 8; i++)
				memcpy(to + ((at + i) * KVR_CPU_PANEL + key) *
						       2,
				       &v[i], sizeof(v[i]));
		}
	}
	return dims;
}

static inline __attribute__((always_inline)) void
pack_values(const struct kvr_tensor *v, size_t head, size_t token, size_t count,
	    char *to, const size_t size)
{
	const size_t row = KVR_CPU_PANEL * size;

	for (size_t key = 0; key < count; key++) {
		const char *from = row_of(v, token + key, head, size);
		size_t left = v->dim * size;

		for (; left >= row; left -= row, from += row) {
			memcpy(to + key * row, from, row);
			to += KVR_CPU_PANEL * row;
		}
		memcpy(to + key * row, from, left);
		to -= (v->dim * size - left) / row * KVR_CPU_PANEL * row;
	}
}

/* The rows become those of the panel's tokens from `first`. */
static void pack_rows(const struct kvr_compute_shape *shape,
		      const struct kvr_tensor *k, const struct kvr_tensor *v,
		      size_t kv_head, size_t token, size_t count, size_t first,
		      char *panel)
{
	size_t size = kvr_dtype_bytes(shape->dtype);
	char *values = panel + shape->head_dim * KVR_CPU_PANEL * size;

	size_t done = 0;

	values += first * KVR_CPU_PANEL * size;
	if (size == 2) {
		if (count == KVR_CPU_PANEL)
			done = pack_keys_16(k, kv_head, token, panel);
		pack_keys(k, kv_head, token, count, done, panel + first * 2, 2);
		if (!shape->values_in_keys)
			pack_values(v, kv_head, token, count, values, 2);
		return;
	}
	if (count == KVR_CPU_PANEL)
		done = pack_keys_f32(k, kv_head, token, (float *)(void *)panel);
	pack_keys(k, kv_head, token, count, done, panel + first * 4, 4);
	if (!shape->values_in_keys)
		pack_values(v, kv_head, token, count, values, 4);
}

void kvr_cpu_pack_panel(const struct kvr_compute_shape *shape,
			const struct kvr_tensor *k, const struct kvr_tensor *v,
			size_t kv_head, size_t token, size_t count, void *panel)
{
	if (count < KVR_CPU_PANEL || shape->value_dim % KVR_CPU_PANEL)
		memset(panel, 0,
		       kvr_cpu_panel_elements(shape) *
			       kvr_dtype_bytes(shape->dtype));
	pack_rows(shape, k, v, kv_head, token, count, 0, panel);
}

/* -------------------------------------------------------------- append */

/* What was taken back may not even be finite. */
static void clear_rows(const struct kvr_compute_shape *shape, size_t first,
		       char *panel)
{
	size_t size = kvr_dtype_bytes(shape->dtype);
	size_t row = (KVR_CPU_PANEL - first) * size;
	char *values = panel + shape->head_dim * KVR_CPU_PANEL * size;
	char *end = panel + kvr_cpu_panel_elements(shape) * size;

	for (char *at = panel; at < values; at += KVR_CPU_PANEL * size)
		memset(at + first * size, 0, row);
	for (char *at = values; at < end;
	     at += (size_t)KVR_CPU_PANEL * KVR_CPU_PANEL * size)
		memset(at + first * KVR_CPU_PANEL * size, 0,
		       row * KVR_CPU_PANEL);
}

/* The `count` tokens of a panel from its `first`, of every head. */
static void append_panels(const struct kvr_compute_shape *shape,
			  const struct kvr_tensor *k,
			  const struct kvr_tensor *v, size_t token,
			  size_t count, size_t first, char *panels)
{
	size_t bytes =
		kvr_cpu_panel_elements(shape) * kvr_dtype_bytes(shape->dtype);

	for (size_t head = 0; head < shape->kv_heads; head++) {
		char *panel = panels + head * bytes;

		if (!first) {
			kvr_cpu_pack_panel(shape, k, v, head, token, count,
					   panel);
			continue;
		}
		clear_rows(shape, first, panel);
		pack_rows(shape, k, v, head, token, count, first, panel);
	}
}

void kvr_cpu_append(const struct kvr_compute_shape *shape, size_t held,
		    const struct kvr_tensor *k, const struct kvr_tensor *v,
		    void *page)
{
	size_t row = shape->kv_heads * kvr_cpu_panel_elements(shape) *
		     kvr_dtype_bytes(shape->dtype);
	size_t first = held % KVR_CPU_PANEL, count;
	size_t used = kvr_cpu_panels(held + k->tokens) * row;
	char *at = page, *panels = at + held / KVR_CPU_PANEL * row;

	for (size_t token = 0; token < k->tokens; token += count) {
		count = KVR_CPU_PANEL - first;
		if (count > k->tokens - token)
			count = k->tokens - token;
		append_panels(shape, k, v, token, count, first, panels);
		first = 0;
		panels += row;
	}
	memset(at + used, 0,
	       kvr_cpu_range_bytes(shape, held + k->tokens) - used);
}
