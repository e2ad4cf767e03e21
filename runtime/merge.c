/* SPDX-License-Identifier: Apache-2.0 */
/* Two partial results of disjoint keys made one. */
#include <math.h>

#include "runtime/accelerator.h"
#include "runtime/accelerator_attention.h"
#include "runtime/element.h"
#include "runtime/tensor.h"

static bool base_valid(enum kvr_lse_base base)
{
	return base == KVR_LSE_NATURAL || base == KVR_LSE_LOG2;
}

static bool partial_is(const struct kvr_partial *p,
		       const struct kvr_tensor *like)
{
	size_t rows = like->tokens * like->heads;

	return kvr_dtype_bytes(p->out.dtype) > 0 && base_valid(p->base) &&
	       kvr_tensor_is(&p->out, p->out.dtype, like->tokens, like->heads,
			     like->dim) &&
	       (p->lse || rows == 0) &&
	       (like->heads < 2 || p->lse_head_stride >= like->tokens);
}

static double natural(const struct kvr_partial *p, size_t token, size_t head)
{
	double lse = (double)p->lse[head * p->lse_head_stride + token];

	return p->base == KVR_LSE_LOG2 ? lse * M_LN2 : lse;
}

static void set_lse(const struct kvr_partial *p, size_t token, size_t head,
		    double lse)
{
	p->lse[head * p->lse_head_stride + token] =
		(float)(p->base == KVR_LSE_LOG2 ? lse / M_LN2 : lse);
}

/* A side without weight counts for nothing, even where it holds NaN. */
static double weighted(const struct kvr_partial *p, size_t at, double weight)
{
	return weight == 0 ? 0 : weight * (double)kvr_element_get(&p->out, at);
}

static void merge_row(const struct kvr_partial *a, const struct kvr_partial *b,
		      const struct kvr_partial *out, size_t token, size_t head)
{
	double x = natural(a, token, head), y = natural(b, token, head);
	double max = x > y ? x : y;
	/* Neither saw a key: -inf - -inf would be NaN. */
	double base = max == -INFINITY ? 0 : max;
	double weight_a = exp(x - base), weight_b = exp(y - base);
	double sum = weight_a + weight_b;
	size_t at_a = kvr_element_at(&a->out, token, head);
	size_t at_b = kvr_element_at(&b->out, token, head);
	size_t at = kvr_element_at(&out->out, token, head);

	for (size_t i = 0; i < out->out.dim; i++) {
		double value = weighted(a, at_a + i, weight_a) +
			       weighted(b, at_b + i, weight_b);

		kvr_element_set(&out->out, at + i,
				sum == 0 ? 0 : (float)(value / sum));
	}
	set_lse(out, token, head, base + log(sum));
}

static bool mergeable(const struct kvr_partial *a, const struct kvr_partial *b,
		      const struct kvr_partial *out)
{
	return a && b && out && partial_is(out, &out->out) &&
	       partial_is(a, &out->out) && partial_is(b, &out->out);
}

enum kvr_status kvr_attention_merge(const struct kvr_partial *a,
				    const struct kvr_partial *b,
				    const struct kvr_partial *out)
{
	if (!mergeable(a, b, out))
		return KVR_ERR_INVALID;
	for (size_t token = 0; token < out->out.tokens; token++)
		for (size_t head = 0; head < out->out.heads; head++)
			merge_row(a, b, out, token, head);
	return KVR_OK;
}

enum kvr_status kvr_attention_merge_on_stream(const struct kvr_partial *a,
					      const struct kvr_partial *b,
					      const struct kvr_partial *out,
					      void *stream)
{
	const struct kvr_accelerator_ops *ops;
	enum kvr_status status;
	char reason[160];

	if (!mergeable(a, b, out))
		return KVR_ERR_INVALID;
	status = kvr_accelerator_open(&ops, reason, sizeof(reason));
	if (status != KVR_OK)
		return status;
	return ops->attention->merge(a, b, out, stream);
}
