/* SPDX-License-Identifier: Apache-2.0 */
/* Panels of e4m3 codes: see layout.h and enum kvr_kv_wire. */
#include <math.h>
#include <string.h>

#include "compute/cpu/layout.h"
#include "runtime/e4m3.h"
#include "runtime/element.h"

/* The largest finite |value| of a head in `tokens` rows from `token`. */
static float largest(const struct kvr_tensor *t, size_t head, size_t token,
		     size_t tokens)
{
	float most = 0;

	for (size_t i = 0; i < tokens; i++) {
		size_t at = kvr_element_at(t, token + i, head);

		for (size_t j = 0; j < t->dim; j++) {
			float size = fabsf(kvr_element_get(t, at + j));

			if (size > most && size < INFINITY)
				most = size;
		}
	}
	return most;
}

struct kvr_cpu_scales kvr_cpu_find_scales(const struct kvr_tensor *k,
					  const struct kvr_tensor *v,
					  size_t kv_head, size_t token,
					  size_t tokens)
{
	struct kvr_cpu_scales scales;

	scales.k = kvr_e4m3_scale(largest(k, kv_head, token, tokens));
	scales.v = v ? kvr_e4m3_scale(largest(v, kv_head, token, tokens))
		     : scales.k;
	return scales;
}

/* Row `token` of a head; code i to where(i). */
static void quantise_keys(const struct kvr_tensor *k, size_t head, size_t token,
			  float scale, uint8_t *to)
{
	size_t at = kvr_element_at(k, token, head);

	for (size_t i = 0; i < k->dim; i++)
		to[i * KVR_CPU_PANEL] =
			kvr_e4m3_from_f32(kvr_element_get(k, at + i) / scale);
}

static void quantise_values(const struct kvr_tensor *v, size_t head,
			    size_t token, float scale, uint8_t *to)
{
	const size_t group = KVR_CPU_PANEL * KVR_CPU_PANEL;
	size_t at = kvr_element_at(v, token, head);

	for (size_t i = 0; i < v->dim; i++)
		to[i / KVR_CPU_PANEL * group + i % KVR_CPU_PANEL] =
			kvr_e4m3_from_f32(kvr_element_get(v, at + i) / scale);
}

void kvr_cpu_quantise_panel(const struct kvr_compute_shape *shape,
			    const struct kvr_tensor *k,
			    const struct kvr_tensor *v, size_t kv_head,
			    size_t token, size_t count,
			    struct kvr_cpu_scales scales, void *panel)
{
	uint8_t *keys = panel;
	uint8_t *values = keys + shape->head_dim * KVR_CPU_PANEL;

	if (count < KVR_CPU_PANEL || shape->value_dim % KVR_CPU_PANEL)
		memset(panel, 0, kvr_cpu_panel_elements(shape));
	for (size_t i = 0; i < count; i++) {
		quantise_keys(k, kv_head, token + i, scales.k, keys + i);
		if (!shape->values_in_keys)
			quantise_values(v, kv_head, token + i, scales.v,
					values + i * KVR_CPU_PANEL);
	}
}

static size_t scales_at(const struct kvr_compute_shape *shape, uint64_t tokens,
			size_t kv_head)
{
	size_t panels = kvr_cpu_panels(tokens) * shape->kv_heads;

	return panels * kvr_cpu_panel_elements(shape) +
	       kv_head * sizeof(struct kvr_cpu_scales);
}

struct kvr_cpu_scales kvr_cpu_get_scales(const struct kvr_compute_shape *shape,
					 uint64_t tokens, size_t kv_head,
					 const char *range)
{
	struct kvr_cpu_scales scales;

	memcpy(&scales, range + scales_at(shape, tokens, kv_head),
	       sizeof(scales));
	return scales;
}

void kvr_cpu_set_scales(const struct kvr_compute_shape *shape, uint64_t tokens,
			size_t kv_head, struct kvr_cpu_scales scales,
			char *range)
{
	memcpy(range + scales_at(shape, tokens, kv_head), &scales,
	       sizeof(scales));
}
