/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/whole.h"

#include <math.h>
#include <string.h>

#include "runtime/element.h"

uint64_t whole_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* The sum of twelve uniforms is normal enough. */
float whole_normal(uint64_t *state)
{
	double sum = -6;

	for (int i = 0; i < 12; i++)
		sum += (double)(whole_random(state) >> 11) * 0x1p-53;
	return (float)sum;
}

static void *draw(enum kvr_dtype dtype, size_t count, float spread,
		  uint64_t *state)
{
	void *data = malloc(count * kvr_dtype_bytes(dtype) + 1);
	struct kvr_tensor all = kvr_tensor_dense(data, dtype, 1, 1, count);

	CHECK(data);
	for (size_t i = 0; i < count; i++)
		kvr_element_set(&all, i, whole_normal(state) * spread);
	return data;
}

void whole_init(struct whole *whole, const struct kvr_plan_desc *desc,
		size_t tokens, uint64_t seed, float spread)
{
	uint32_t value_dim = desc->value_dim ? desc->value_dim : desc->head_dim;
	size_t outputs = tokens * desc->q_heads * value_dim;

	*whole = (struct whole){
		.desc = *desc,
		.tokens = tokens,
		.threads = 1,
		.out_dtype = KVR_F32,
		.n = 1,
		.slots = 2,
		.chunk_bytes = 4096,
	};
	whole->desc.value_dim = value_dim;
	whole->q = draw(desc->dtype, tokens * desc->q_heads * desc->head_dim,
			spread, &seed);
	whole->k = draw(desc->dtype, tokens * desc->kv_heads * desc->head_dim,
			spread, &seed);
	whole->v = draw(desc->dtype, tokens * desc->kv_heads * value_dim, 1,
			&seed);
	whole->out = malloc(outputs * sizeof(float) + 1);
	whole->lse = malloc(tokens * desc->q_heads * sizeof(float) + 1);
	CHECK(whole->out && whole->lse);
}

void whole_fini(struct whole *whole)
{
	free(whole->q);
	free(whole->k);
	free(whole->v);
	free(whole->out);
	free(whole->lse);
}

/* --------------------------------------------------------- one rank */

struct shard {
	struct kvr_range *ranges; /* owned */
	const uint64_t *cu_seqlens;
	size_t count, tokens;
	struct kvr_tensor q, k, v, out;
	float *lse;
};

/* One sequence of all where nothing is packed; static for its lifetime. */
static const uint64_t *offsets_of(const struct whole *w, size_t *sequences)
{
	static _Thread_local uint64_t one[2];

	*sequences = w->cu_seqlens ? w->sequences : 1;
	one[1] = w->tokens;
	return w->cu_seqlens ? w->cu_seqlens : one;
}

static enum kvr_status list(const struct whole *w, uint32_t rank, uint32_t n,
			    struct kvr_range *out, size_t capacity,
			    size_t *count)
{
	size_t sequences;
	const uint64_t *at = offsets_of(w, &sequences);

	if (w->stripe)
		return kvr_ranges_packed_interleave(at, sequences, w->stripe,
						    rank, n, out, capacity,
						    count);
	if (!w->zigzag)
		return kvr_ranges_packed_contiguous(at, sequences, rank, n, out,
						    capacity, count);
	if (w->cu_seqlens)
		return kvr_ranges_packed_zigzag(at, sequences, rank, n, out,
						capacity, count);
	if (out)
		return kvr_ranges_zigzag(w->tokens, rank, n, out, count);
	*count = KVR_ZIGZAG_RANGES;
	return KVR_OK;
}

static void shard_ranges(const struct whole *whole, uint32_t rank, uint32_t n,
			 struct shard *shard)
{
	size_t room, sequences;

	CHECK_STATUS(list(whole, rank, n, NULL, 0, &room), KVR_OK);
	shard->ranges = calloc(room + 1, sizeof(*shard->ranges));
	CHECK(shard->ranges);
	CHECK_STATUS(list(whole, rank, n, shard->ranges, room, &shard->count),
		     KVR_OK);
	shard->cu_seqlens = offsets_of(whole, &sequences);
	shard->tokens = 0;
	for (size_t i = 0; i < shard->count; i++)
		shard->tokens += shard->ranges[i].length;
}

/* Copies rows between a full tensor and a shard's; `in`: into the shard. */
static void move_rows(const struct shard *shard, void *full, void *part,
		      size_t row_bytes, bool in)
{
	char *at = part;

	for (size_t i = 0; i < shard->count; i++) {
		const struct kvr_range *range = &shard->ranges[i];
		uint64_t row =
			shard->cu_seqlens[range->sequence] + range->start;
		char *rows = (char *)full + row * row_bytes;
		size_t bytes = range->length * row_bytes;

		memcpy(in ? at : rows, in ? rows : at, bytes);
		at += bytes;
	}
}

static struct kvr_tensor part(const struct shard *shard, void *full,
			      enum kvr_dtype dtype, uint32_t heads,
			      uint32_t dim, bool fill)
{
	size_t row_bytes = (size_t)heads * dim * kvr_dtype_bytes(dtype);
	void *data = malloc(shard->tokens * row_bytes + 1);

	CHECK(data);
	if (fill)
		move_rows(shard, full, data, row_bytes, true);
	return kvr_tensor_dense(data, dtype, shard->tokens, heads, dim);
}

static void shard_open(const struct whole *w, uint32_t rank, uint32_t n,
		       struct shard *shard)
{
	const struct kvr_plan_desc *d = &w->desc;

	shard_ranges(w, rank, n, shard);
	shard->q = part(shard, w->q, d->dtype, d->q_heads, d->head_dim, true);
	shard->k = part(shard, w->k, d->dtype, d->kv_heads, d->head_dim, true);
	shard->v = part(shard, w->v, d->dtype, d->kv_heads, d->value_dim, true);
	shard->out = part(shard, NULL, w->out_dtype, d->q_heads, d->value_dim,
			  false);
	shard->lse = malloc(shard->tokens * d->q_heads * sizeof(float) + 1);
	CHECK(shard->lse);
}

static void shard_close(struct shard *shard)
{
	free(shard->ranges);
	free(shard->q.data);
	free(shard->k.data);
	free(shard->v.data);
	free(shard->out.data);
	free(shard->lse);
}

static void shard_collect(struct whole *w, struct shard *shard)
{
	size_t row_bytes = (size_t)w->desc.q_heads * w->desc.value_dim *
			   kvr_dtype_bytes(w->out_dtype);

	move_rows(shard, w->out, shard->out.data, row_bytes, false);
	for (uint32_t h = 0; h < w->desc.q_heads; h++)
		move_rows(shard, w->lse + h * w->tokens,
			  shard->lse + h * shard->tokens, sizeof(float), false);
}

static void rank_body(struct rank *rank)
{
	struct whole *w = rank->arg;
	struct kvr_plan_desc desc = w->desc;
	const struct kvr_tensor *v;
	struct kvr_plan *plan;
	struct shard shard;

	CHECK_STATUS(rank->opened, KVR_OK);
	shard_open(w, rank->rank, rank->n, &shard);
	desc.q_ranges = desc.kv_ranges = shard.ranges;
	desc.q_range_count = desc.kv_range_count = shard.count;
	desc.threads = w->threads;
	v = desc.values_in_keys ? NULL : &shard.v;
	CHECK_STATUS(kvr_plan_create(rank->ring, &desc, &plan), KVR_OK);
	for (uint32_t i = 0; i < (w->repeats ? w->repeats : 1); i++)
		CHECK_STATUS(kvr_attention_run(plan, &shard.q, &shard.k, v,
					       &shard.out, shard.lse,
					       shard.tokens),
			     KVR_OK);
	shard_collect(w, &shard);
	kvr_plan_destroy(plan);
	shard_close(&shard);
}

static size_t slot_bytes(const struct whole *w)
{
	size_t most = 0;

	for (uint32_t i = 0; i < w->n; i++) {
		struct kvr_plan_desc desc = w->desc;
		struct shard shard;
		size_t bytes;

		shard_ranges(w, i, w->n, &shard);
		desc.kv_ranges = shard.ranges;
		desc.kv_range_count = shard.count;
		CHECK_STATUS(kvr_plan_desc_block_bytes(&desc, &bytes), KVR_OK);
		free(shard.ranges);
		most = bytes > most ? bytes : most;
	}
	return most;
}

void whole_run(struct whole *whole)
{
	struct ranks ranks;

	ranks_init(&ranks, whole->n);
	ranks.transport = whole->transport;
	ranks.options.slots = whole->slots;
	ranks.options.chunk_bytes = whole->chunk_bytes;
	ranks.options.lane[0].slot_bytes = slot_bytes(whole);
	ranks.body = rank_body;
	ranks.arg = whole;
	ranks_run(&ranks);
}

/* -------------------------------------------------------- references */

void whole_oracle(const struct whole *whole, float *out, float *lse)
{
	struct kvr_plan_desc desc = whole->desc;
	size_t n = whole->tokens, sequences;
	const uint64_t *at = offsets_of(whole, &sequences);
	struct kvr_range *all = calloc(sequences, sizeof(*all));
	struct kvr_tensor q, k, v, o;

	CHECK(all);
	/* Not by a builder: sequence after sequence, whole. */
	for (size_t i = 0; i < sequences; i++)
		all[i] = (struct kvr_range){i, 0, at[i + 1] - at[i]};
	desc.q_ranges = desc.kv_ranges = all;
	desc.q_range_count = desc.kv_range_count = sequences;
	q = kvr_tensor_dense(whole->q, desc.dtype, n, desc.q_heads,
			     desc.head_dim);
	k = kvr_tensor_dense(whole->k, desc.dtype, n, desc.kv_heads,
			     desc.head_dim);
	v = kvr_tensor_dense(whole->v, desc.dtype, n, desc.kv_heads,
			     desc.value_dim);
	o = kvr_tensor_dense(out, KVR_F32, n, desc.q_heads, desc.value_dim);
	CHECK_STATUS(kvr_attention_oracle(&desc, &q, &k,
					  desc.values_in_keys ? NULL : &v, NULL,
					  n, &o, lse, n),
		     KVR_OK);
	free(all);
}

float whole_out(const struct whole *whole, size_t i)
{
	struct kvr_tensor out =
		kvr_tensor_dense(whole->out, whole->out_dtype, 1, 1, 1);

	return kvr_element_get(&out, i);
}

double whole_error(const struct whole *whole, const float *expected)
{
	size_t count =
		whole->tokens * whole->desc.q_heads * whole->desc.value_dim;
	double error = 0, norm = 0;

	for (size_t i = 0; i < count; i++) {
		double e = expected[i];
		double d = whole_out(whole, i) - e;

		error += d * d;
		norm += e * e;
	}
	return norm > 0 ? sqrt(error / norm) : sqrt(error);
}

double whole_lse_error(const struct whole *whole, const float *expected)
{
	size_t count = whole->tokens * whole->desc.q_heads;
	double most = 0;

	for (size_t i = 0; i < count; i++) {
		double d = fabs((double)whole->lse[i] - expected[i]);

		/* Equal infinities are no error; NaN is the worst. */
		if (whole->lse[i] == expected[i])
			continue;
		d /= fmax(1, fabs(expected[i]));
		if (!(d <= most))
			most = isnan(d) ? INFINITY : d;
	}
	return most;
}
