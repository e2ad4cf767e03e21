/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The oracle: softmax attention as it is written in a paper, in double.
 *
 *	s_j = scale * <q[t, h], k[j, g]>	g = h / (q_heads / kv_heads)
 *	m   = max_j s_j
 *	l   = sum_j exp(s_j - m)
 *	out = sum_j exp(s_j - m) v[j, g] / l
 *	lse = m + log(l)
 *
 * where m and l count the head's sink z as one more s_j, if it has one, and
 * with s_j = softcap * tanh(s_j / softcap) in its place where there is one,
 * over the keys j that token t sees: of its own sequence, under a causal
 * mask of no later position, and within the window. Two passes, the maximum
 * and then the sums, so that nothing of it is shared with the online softmax of
 * the kernels.
 *
 * Source: Vaswani et al., 2017, arXiv 1706.03762, section 3.2.1.
 */
#include <math.h>

#include "runtime/element.h"
#include "runtime/tensor.h"

struct oracle {
	struct kvr_compute_shape shape;
	struct kvr_ranges q_ranges, kv_ranges;
	size_t q_tokens, kv_tokens;
	const struct kvr_tensor *q, *k, *v;
};

struct place {
	uint64_t sequence, position;
};

/* One row of one head: what its keys are compared with, and the result. */
struct row {
	size_t token, q_head, kv_head;
	struct place place;
	double max, sum;
	double out[KVR_DIM_MAX];
};

static double element(const struct kvr_tensor *t, size_t token, size_t head,
		      size_t i)
{
	return kvr_element_get(t, kvr_element_at(t, token, head) + i);
}

static struct place place_of(struct kvr_ranges ranges, size_t token)
{
	const struct kvr_range *range = ranges.range;

	for (; token >= range->length; range++)
		token -= (size_t)range->length;
	return (struct place){range->sequence, range->start + token};
}

static bool sees(const struct oracle *o, struct place q, struct place k)
{
	if (q.sequence != k.sequence)
		return false;
	if (o->shape.mask == KVR_MASK_CAUSAL && k.position > q.position)
		return false;
	if (!o->shape.windowed)
		return true;
	return k.position > q.position
		       ? k.position - q.position <= o->shape.right
		       : q.position - k.position <= o->shape.left;
}

static double score(const struct oracle *o, const struct row *row, size_t key)
{
	double cap = (double)o->shape.softcap, dot = 0;

	for (size_t i = 0; i < o->shape.head_dim; i++)
		dot += element(o->q, row->token, row->q_head, i) *
		       element(o->k, key, row->kv_head, i);
	dot *= (double)o->shape.scale;
	return cap > 0 ? cap * tanh(dot / cap) : dot;
}

static void find_max(const struct oracle *o, struct row *row, size_t key)
{
	double s = score(o, row, key);

	if (s > row->max)
		row->max = s;
}

static void add_key(const struct oracle *o, struct row *row, size_t key)
{
	double p = exp(score(o, row, key) - row->max);

	row->sum += p;
	for (size_t i = 0; i < o->shape.value_dim; i++)
		row->out[i] += p * element(o->v, key, row->kv_head, i);
}

static void each_key(const struct oracle *o, struct row *row,
		     void (*visit)(const struct oracle *o, struct row *row,
				   size_t key))
{
	size_t key = 0;

	for (size_t r = 0; r < o->kv_ranges.count; r++) {
		const struct kvr_range *range = &o->kv_ranges.range[r];

		for (uint64_t i = 0; i < range->length; i++, key++) {
			struct place k = {range->sequence, range->start + i};

			if (sees(o, row->place, k))
				visit(o, row, key);
		}
	}
}

static void attend(const struct oracle *o, struct row *row)
{
	double sink = o->shape.sinks ? (double)o->shape.sinks[row->q_head]
				     : -INFINITY;

	row->max = sink;
	for (size_t i = 0; i < o->shape.value_dim; i++)
		row->out[i] = 0;
	each_key(o, row, find_max);
	row->sum = sink > -INFINITY ? exp(sink - row->max) : 0;
	each_key(o, row, add_key);
}

/* A row that saw neither key nor sink has sum 0: out 0, lse -inf. */
static void put(const struct oracle *o, const struct row *row, size_t index,
		const struct kvr_tensor *out, float *lse)
{
	float *to = (float *)out->data + index * out->token_stride +
		    row->q_head * out->head_stride;

	for (size_t i = 0; i < o->shape.value_dim; i++)
		to[i] = row->sum == 0 ? 0 : (float)(row->out[i] / row->sum);
	if (lse)
		*lse = row->sum == 0 ? -INFINITY
				     : (float)(row->max + log(row->sum));
}

static enum kvr_status check(struct oracle *o, const struct kvr_plan_desc *desc)
{
	enum kvr_status status = kvr_shape_from_desc(desc, &o->shape);

	if (status == KVR_OK)
		status = kvr_ranges_tokens(o->q_ranges, &o->q_tokens);
	if (status == KVR_OK)
		status = kvr_ranges_tokens(o->kv_ranges, &o->kv_tokens);
	if (status != KVR_OK)
		return status;
	if (!kvr_tensor_is(o->q, o->shape.dtype, o->q_tokens, o->shape.q_heads,
			   o->shape.head_dim) ||
	    !kvr_tensor_is(o->k, o->shape.dtype, o->kv_tokens,
			   o->shape.kv_heads, o->shape.head_dim) ||
	    !kvr_tensor_is(o->v, o->shape.dtype, o->kv_tokens,
			   o->shape.kv_heads, o->shape.value_dim))
		return KVR_ERR_INVALID;
	return KVR_OK;
}

/* Values in keys: their first columns. */
static const struct kvr_tensor *values_of(const struct kvr_plan_desc *desc,
					  const struct kvr_tensor *k,
					  const struct kvr_tensor *v,
					  struct kvr_tensor *columns)
{
	if (!desc->values_in_keys || !k || v)
		return desc->values_in_keys ? NULL : v;
	*columns = *k;
	columns->dim = desc->value_dim ? desc->value_dim : desc->head_dim;
	return columns;
}

static bool rows_valid(const uint64_t *rows, size_t count, size_t tokens)
{
	for (size_t i = 0; rows && i < count; i++)
		if (rows[i] >= tokens)
			return false;
	return true;
}

enum kvr_status kvr_attention_oracle(const struct kvr_plan_desc *desc,
				     const struct kvr_tensor *q,
				     const struct kvr_tensor *k,
				     const struct kvr_tensor *v,
				     const uint64_t *rows, size_t row_count,
				     const struct kvr_tensor *out, float *lse,
				     size_t lse_head_stride)
{
	struct oracle o = {.q = q, .k = k};
	struct kvr_tensor columns;
	struct row row;
	enum kvr_status status;

	if (!desc)
		return KVR_ERR_INVALID;
	o.q_ranges = (struct kvr_ranges){desc->q_ranges, desc->q_range_count};
	o.kv_ranges =
		(struct kvr_ranges){desc->kv_ranges, desc->kv_range_count};
	o.v = values_of(desc, k, v, &columns);
	status = check(&o, desc);
	if (status != KVR_OK)
		return status;
	/* "All rows" needs no count. */
	if (!rows)
		row_count = o.q_tokens;
	if (!rows_valid(rows, row_count, o.q_tokens) ||
	    !kvr_tensor_is(out, KVR_F32, row_count, o.shape.q_heads,
			   o.shape.value_dim))
		return KVR_ERR_INVALID;

	for (size_t i = 0; i < row_count; i++) {
		row.token = rows ? (size_t)rows[i] : i;
		row.place = place_of(o.q_ranges, row.token);
		for (size_t h = 0; h < o.shape.q_heads; h++) {
			row.q_head = h;
			row.kv_head = h / (o.shape.q_heads / o.shape.kv_heads);
			attend(&o, &row);
			put(&o, &row, i, out,
			    lse ? &lse[h * lse_head_stride + i] : NULL);
		}
	}
	return KVR_OK;
}
