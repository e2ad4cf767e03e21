/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "runtime/tensor.h"

size_t kvr_dtype_bytes(enum kvr_dtype dtype)
{
	switch (dtype) {
	case KVR_F32:
		return 4;
	case KVR_BF16:
	case KVR_F16:
		return 2;
	}
	return 0;
}

struct kvr_tensor kvr_tensor_dense(void *data, enum kvr_dtype dtype,
				   size_t tokens, size_t heads, size_t dim)
{
	return (struct kvr_tensor){
		.data = data,
		.dtype = dtype,
		.tokens = tokens,
		.heads = heads,
		.dim = dim,
		.token_stride = heads * dim,
		.head_stride = dim,
	};
}

static bool dim_valid(uint32_t dim)
{
	return dim >= 1 && dim <= KVR_DIM_MAX;
}

static bool heads_valid(uint32_t q_heads, uint32_t kv_heads)
{
	return kv_heads > 0 && q_heads > 0 && q_heads % kv_heads == 0;
}

/* False for NaN and infinity, too. */
static bool numbers_valid(const struct kvr_plan_desc *desc)
{
	return isfinite(desc->scale) && isfinite(desc->softcap) &&
	       desc->softcap >= 0;
}

/* Neither NaN nor +inf. */
static bool sinks_valid(const struct kvr_plan_desc *desc)
{
	for (uint32_t h = 0; desc->sinks && h < desc->q_heads; h++)
		if (!(desc->sinks[h] < INFINITY))
			return false;
	return true;
}

static uint64_t reach(int64_t side)
{
	return side < 0 ? UINT64_MAX : (uint64_t)side;
}

/* Full and causal masks are windows, too, and have cheaper code. */
static enum kvr_status resolve_window(const struct kvr_window *window,
				      struct kvr_compute_shape *shape)
{
	bool causal = shape->mask == KVR_MASK_CAUSAL;

	shape->left = shape->right = UINT64_MAX;
	if (!window)
		return KVR_OK;
	if (window->left < -1 || window->right < -1)
		return KVR_ERR_INVALID;
	shape->left = reach(window->left);
	shape->right = causal ? 0 : reach(window->right);
	shape->windowed = shape->left != UINT64_MAX ||
			  (shape->right != UINT64_MAX && !causal);
	return KVR_OK;
}

enum kvr_status kvr_shape_from_desc(const struct kvr_plan_desc *desc,
				    struct kvr_compute_shape *out)
{
	uint32_t value_dim = desc->value_dim ? desc->value_dim : desc->head_dim;

	if (!heads_valid(desc->q_heads, desc->kv_heads))
		return KVR_ERR_INVALID;
	if (!dim_valid(desc->head_dim) || !dim_valid(value_dim))
		return KVR_ERR_INVALID;
	if (desc->values_in_keys && value_dim > desc->head_dim)
		return KVR_ERR_INVALID;
	if (kvr_dtype_bytes(desc->dtype) == 0 || !numbers_valid(desc) ||
	    !sinks_valid(desc))
		return KVR_ERR_INVALID;
	if (desc->mask != KVR_MASK_FULL && desc->mask != KVR_MASK_CAUSAL)
		return KVR_ERR_INVALID;
	if (desc->kv_wire != KVR_KV_PLAIN && desc->kv_wire != KVR_KV_E4M3)
		return KVR_ERR_INVALID;

	*out = (struct kvr_compute_shape){
		.q_heads = desc->q_heads,
		.kv_heads = desc->kv_heads,
		.head_dim = desc->head_dim,
		.value_dim = value_dim,
		.values_in_keys = desc->values_in_keys != 0,
		.dtype = desc->dtype,
		.mask = desc->mask,
		.scale = desc->scale,
		.softcap = desc->softcap,
		.sinks = desc->sinks,
		.kv_wire = desc->kv_wire,
	};
	if (out->scale == 0)
		out->scale = (float)(1 / sqrt((double)desc->head_dim));
	return resolve_window(desc->window, out);
}

enum kvr_status kvr_ranges_tokens(struct kvr_ranges ranges, size_t *out)
{
	const size_t most = SIZE_MAX / 2;
	size_t tokens = 0;

	if (ranges.count > 0 && !ranges.range)
		return KVR_ERR_INVALID;
	for (size_t i = 0; i < ranges.count; i++) {
		const struct kvr_range *range = &ranges.range[i];

		if (range->start > most || range->length > most - range->start)
			return KVR_ERR_INVALID;
		if (range->length > most - tokens)
			return KVR_ERR_INVALID;
		tokens += (size_t)range->length;
	}
	*out = tokens;
	return KVR_OK;
}

bool kvr_tensor_is(const struct kvr_tensor *tensor, enum kvr_dtype dtype,
		   size_t tokens, size_t heads, size_t dim)
{
	if (!tensor || tensor->dtype != dtype || tensor->tokens != tokens ||
	    tensor->heads != heads || tensor->dim != dim)
		return false;
	if (tokens == 0)
		return true;
	if (!tensor->data || (heads > 1 && tensor->head_stride < dim))
		return false;
	/* Either axis may be the outer one. */
	return tokens == 1 || tensor->token_stride >= dim;
}
