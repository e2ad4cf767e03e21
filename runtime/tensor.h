/* SPDX-License-Identifier: Apache-2.0 */
/* What every user of a plan's description checks alike. */
#ifndef KVR_RUNTIME_TENSOR_H
#define KVR_RUNTIME_TENSOR_H

#include <stdbool.h>

#include "runtime/compute.h"

/*
 * The shape that desc asks for, defaults filled in. Errors: INVALID (heads,
 * dims, dtype, mask or softcap out of range; scale not finite; a sink NaN or
 * +inf; values wider than the keys that they are in). Sinks are borrowed from
 * desc.
 */
enum kvr_status kvr_shape_from_desc(const struct kvr_plan_desc *desc,
				    struct kvr_compute_shape *out);

/*
 * Tokens in all ranges. Errors: INVALID (a NULL list that is not empty, or
 * positions or the sum beyond SIZE_MAX / 2).
 */
enum kvr_status kvr_ranges_tokens(struct kvr_ranges ranges, size_t *out);

/* Is tensor [tokens, heads, dim] of dtype, without overlapping rows? */
bool kvr_tensor_is(const struct kvr_tensor *tensor, enum kvr_dtype dtype,
		   size_t tokens, size_t heads, size_t dim);

#endif
