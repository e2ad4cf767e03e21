/* SPDX-License-Identifier: Apache-2.0 */
/* One element of a tensor, whatever its type, as f32. */
#ifndef KVR_RUNTIME_ELEMENT_H
#define KVR_RUNTIME_ELEMENT_H

#include "kvring/attention.h"
#include "runtime/bf16.h"
#include "runtime/f16.h"

/* Where [token, head, 0] is, in elements. */
static inline size_t kvr_element_at(const struct kvr_tensor *tensor,
				    size_t token, size_t head)
{
	return token * tensor->token_stride + head * tensor->head_stride;
}

static inline float kvr_element_get(const struct kvr_tensor *tensor, size_t at)
{
	if (tensor->dtype == KVR_BF16)
		return kvr_bf16_to_f32(((const uint16_t *)tensor->data)[at]);
	if (tensor->dtype == KVR_F16)
		return kvr_f16_to_f32(((const uint16_t *)tensor->data)[at]);
	return ((const float *)tensor->data)[at];
}

/* Rounds to nearest, ties to even. */
static inline void kvr_element_set(const struct kvr_tensor *tensor, size_t at,
				   float value)
{
	if (tensor->dtype == KVR_BF16)
		((uint16_t *)tensor->data)[at] = kvr_bf16_from_f32(value);
	else if (tensor->dtype == KVR_F16)
		((uint16_t *)tensor->data)[at] = kvr_f16_from_f32(value);
	else
		((float *)tensor->data)[at] = value;
}

#endif
