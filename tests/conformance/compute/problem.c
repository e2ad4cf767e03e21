/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "problem.h"
#include "runtime/element.h"
#include "runtime/tensor.h"

#define SENTINEL 12345.0f

/* -------------------------------------------------------------- random */

/* splitmix64: Steele, Lea, Flood, 2014. */
uint64_t random_next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

size_t random_below(uint64_t *state, size_t limit)
{
	return (size_t)(random_next(state) % limit);
}

float random_unit(uint64_t *state)
{
	return (float)((double)(random_next(state) >> 11) * 0x1p-52 - 1);
}

static size_t random_choice(uint64_t *state, const size_t *list, size_t count)
{
	return list[random_below(state, count)];
}

/* -------------------------------------------------------------- memory */

static void *memory(size_t bytes)
{
	void *p = aligned_alloc(64, (bytes + 64) / 64 * 64);

	assert_non_null(p);
	return p;
}

float problem_get(const struct kvr_tensor *t, size_t token, size_t head,
		  size_t i)
{
	return kvr_element_get(t, kvr_element_at(t, token, head) + i);
}

void problem_set(const struct kvr_tensor *t, size_t token, size_t head,
		 size_t i, float value)
{
	kvr_element_set(t, kvr_element_at(t, token, head) + i, value);
}

static void fill(const struct kvr_tensor *t, uint64_t *state)
{
	for (size_t token = 0; token < t->tokens; token++)
		for (size_t head = 0; head < t->heads; head++)
			for (size_t i = 0; i < t->dim; i++)
				problem_set(t, token, head, i,
					    random_unit(state));
}

/* Gaps hold NaN: who reads one shows it. */
static struct kvr_tensor make(const struct problem *p, size_t tokens,
			      size_t heads, size_t dim, uint64_t *state)
{
	struct kvr_tensor t =
		kvr_tensor_dense(NULL, p->desc.dtype, tokens, heads, dim);
	size_t count;

	if (p->strided && random_below(state, 2)) {
		t.head_stride = dim + random_below(state, 5);
		t.token_stride = heads * t.head_stride + random_below(state, 5);
		count = tokens * t.token_stride;
	} else if (p->strided) {
		t.token_stride = dim + random_below(state, 5);
		t.head_stride =
			tokens * t.token_stride + random_below(state, 5);
		count = heads * t.head_stride;
	} else {
		count = tokens * t.token_stride;
	}
	t.data = memory(count * kvr_dtype_bytes(t.dtype));
	for (size_t i = 0; i < count; i++)
		kvr_element_set(&t, i, NAN);
	fill(&t, state);
	return t;
}

static size_t value_dim(const struct problem *p)
{
	return p->desc.value_dim ? p->desc.value_dim : p->desc.head_dim;
}

static size_t tokens_of(const struct kvr_range *range, size_t count)
{
	size_t tokens = 0;

	for (size_t i = 0; i < count; i++)
		tokens += (size_t)range[i].length;
	return tokens;
}

void problem_fill(struct problem *p, uint64_t seed)
{
	p->desc.size = sizeof(p->desc);
	p->desc.q_ranges = p->q_range;
	p->desc.kv_ranges = p->kv_range;
	p->q_tokens = tokens_of(p->q_range, p->desc.q_range_count);
	p->kv_tokens = tokens_of(p->kv_range, p->desc.kv_range_count);
	p->q = make(p, p->q_tokens, p->desc.q_heads, p->desc.head_dim, &seed);
	p->k = make(p, p->kv_tokens, p->desc.kv_heads, p->desc.head_dim, &seed);
	if (p->desc.values_in_keys)
		return;
	p->v = make(p, p->kv_tokens, p->desc.kv_heads, value_dim(p), &seed);
}

static void random_ranges(struct kvr_range *range, size_t count,
			  uint64_t *state)
{
	static const size_t lengths[] = {0,  1,	 2,  5,	 15, 16, 17,
					 31, 33, 47, 64, 65, 97, 130};

	for (size_t i = 0; i < count; i++) {
		range[i].sequence = random_below(state, 2);
		range[i].start = random_below(state, 300);
		range[i].length = random_choice(state, lengths, 14);
	}
	/* Now and then more than one tile of keys. */
	if (count > 0 && random_below(state, 8) == 0)
		range[0].length = 257 + random_below(state, 300);
}

/* About as large as scores; none, far below or far above for some heads. */
void problem_sink(struct problem *p, uint64_t *state)
{
	static const float special[] = {-INFINITY, -1e30f, 1e30f, -200, 200};

	assert_true(p->desc.q_heads <= PROBLEM_HEADS_MAX);
	for (size_t h = 0; h < p->desc.q_heads; h++) {
		p->sinks[h] = 4 * random_unit(state);
		if (random_below(state, 4) == 0)
			p->sinks[h] = special[random_below(state, 5)];
	}
	p->desc.sinks = p->sinks;
}

void problem_random(struct problem *p, uint64_t seed)
{
	static const size_t dims[] = {1, 3, 8, 16, 17, 32, 64, 80, 128, 256};
	static const size_t groups[] = {1, 2, 3, 8};
	uint64_t state = seed;

	memset(p, 0, sizeof(*p));
	p->desc.kv_heads = (uint32_t)(1 + random_below(&state, 3));
	p->desc.q_heads =
		p->desc.kv_heads * (uint32_t)random_choice(&state, groups, 4);
	p->desc.head_dim = (uint32_t)random_choice(&state, dims, 10);
	if (random_below(&state, 2))
		p->desc.value_dim = (uint32_t)random_choice(&state, dims, 10);
	if (random_below(&state, 16) == 0)
		p->desc.head_dim = 257 + (uint32_t)random_below(&state, 320);
	if (random_below(&state, 4) == 0) {
		p->desc.values_in_keys = 1;
		p->desc.value_dim =
			1 + (uint32_t)random_below(&state, p->desc.head_dim);
	}
	p->desc.dtype = (enum kvr_dtype)random_below(&state, 3);
	p->desc.mask =
		random_below(&state, 3) ? KVR_MASK_CAUSAL : KVR_MASK_FULL;
	if (random_below(&state, 3) == 0)
		p->desc.scale = random_unit(&state);
	if (random_below(&state, 3) == 0) {
		p->window = (struct kvr_window){
			(int64_t)random_below(&state, 400) - 1,
			(int64_t)random_below(&state, 100) - 1};
		p->desc.window = &p->window;
	}
	if (random_below(&state, 3) == 0)
		p->desc.softcap = 0.05f + fabsf(random_unit(&state));
	if (random_below(&state, 3) == 0)
		problem_sink(p, &state);
	p->strided = (int)random_below(&state, 2);
	p->desc.q_range_count = random_below(&state, 4);
	p->desc.kv_range_count = random_below(&state, 6);
	random_ranges(p->q_range, p->desc.q_range_count, &state);
	random_ranges(p->kv_range, p->desc.kv_range_count, &state);
	problem_fill(p, random_next(&state));
}

void problem_free(struct problem *p)
{
	free(p->q.data);
	free(p->k.data);
	free(p->v.data);
}

/* The largest norm of a row. */
static double largest_norm(const struct kvr_tensor *t)
{
	double largest = 0;

	for (size_t token = 0; token < t->tokens; token++)
		for (size_t head = 0; head < t->heads; head++) {
			double square = 0;

			for (size_t i = 0; i < t->dim; i++) {
				double x = problem_get(t, token, head, i);

				square += x * x;
			}
			largest = fmax(largest, sqrt(square));
		}
	return largest;
}

double problem_largest_score(const struct problem *p)
{
	double scale = p->desc.scale != 0 ? fabs((double)p->desc.scale)
					  : 1 / sqrt(p->desc.head_dim);

	return scale * largest_norm(&p->q) * largest_norm(&p->k);
}

double problem_largest_value(const struct problem *p)
{
	return largest_norm(p->desc.values_in_keys ? &p->k : &p->v);
}

/* ------------------------------------------------------------- answers */

static struct answer answer_make(const struct problem *p, enum kvr_dtype dtype)
{
	struct answer a = {
		.tokens = p->q_tokens,
		.heads = p->desc.q_heads,
		.dim = value_dim(p),
	};
	size_t rows = a.tokens * a.heads;
	void *data = memory(rows * a.dim * kvr_dtype_bytes(dtype));

	a.out = kvr_tensor_dense(data, dtype, a.tokens, a.heads, a.dim);
	a.lse = memory(rows * sizeof(*a.lse));
	for (size_t i = 0; i < rows * a.dim; i++)
		kvr_element_set(&a.out, i, SENTINEL);
	for (size_t i = 0; i < rows; i++)
		a.lse[i] = SENTINEL;
	return a;
}

struct answer answer_of_oracle(const struct problem *p)
{
	struct answer a = answer_make(p, KVR_F32);

	assert_int_equal(
		kvr_attention_oracle(&p->desc, &p->q, &p->k,
				     p->desc.values_in_keys ? NULL : &p->v,
				     NULL, 0, &a.out, a.lse, a.tokens),
		KVR_OK);
	return a;
}

/* Tokens first .. last - 1 of the keys, as ranges. */
static size_t slice(const struct problem *p, size_t first, size_t last,
		    struct kvr_range *out)
{
	size_t base = 0, count = 0;

	for (size_t i = 0; i < p->desc.kv_range_count; i++) {
		const struct kvr_range *range = &p->kv_range[i];
		size_t length = (size_t)range->length;
		size_t from = first > base ? first - base : 0;
		size_t to = last > base ? last - base : 0;

		to = to < length ? to : length;
		if (from < to)
			out[count++] = (struct kvr_range){range->sequence,
							  range->start + from,
							  to - from};
		base += length;
	}
	return count;
}

static struct kvr_tensor view(const struct kvr_tensor *t, size_t first,
			      size_t tokens)
{
	struct kvr_tensor part = *t;

	part.data = (char *)t->data +
		    first * t->token_stride * kvr_dtype_bytes(t->dtype);
	part.tokens = tokens;
	return part;
}

static void step(const struct problem *p, const struct kvr_compute_shape *shape,
		 struct kvr_compute *compute, size_t first, size_t last)
{
	struct kvr_range range[PROBLEM_RANGES_MAX];
	struct kvr_ranges kv = {range, slice(p, first, last, range)};
	struct kvr_tensor k = view(&p->k, first, last - first);
	struct kvr_tensor v;
	size_t bytes = compute->ops->block_bytes(shape, kv);
	void *block = memory(bytes);

	assert_int_equal(bytes % 64, 0);
	assert_int_equal(bytes == 0, first == last);
	memset(block, 0xff, bytes);
	if (shape->values_in_keys) {
		compute->ops->pack(compute, kv, &k, NULL, block);
	} else {
		v = view(&p->v, first, last - first);
		compute->ops->pack(compute, kv, &k, &v, block);
	}
	compute->ops->step(compute, kv, block);
	free(block);
}

struct answer answer_of_kernel(const struct problem *p, const struct manner *m)
{
	struct answer a = answer_make(p, m->out);
	struct kvr_ranges q = {p->q_range, p->desc.q_range_count};
	struct kvr_compute_shape shape;
	struct kvr_compute *compute;

	assert_int_equal(kvr_shape_from_desc(&p->desc, &shape), KVR_OK);
	assert_int_equal(m->ops->open(&shape, q, m->threads, &compute), KVR_OK);
	m->ops->begin(compute, &p->q);
	for (size_t i = 0; i < m->steps; i++)
		step(p, &shape, compute, p->kv_tokens * i / m->steps,
		     p->kv_tokens * (i + 1) / m->steps);
	m->ops->finish(compute, &a.out, a.lse, a.tokens);
	m->ops->close(compute);
	return a;
}

void answer_free(struct answer *a)
{
	free(a->out.data);
	free(a->lse);
}

double answer_error(const struct answer *a, const struct answer *b)
{
	double difference = 0, size = 0;

	for (size_t t = 0; t < a->tokens; t++)
		for (size_t h = 0; h < a->heads; h++)
			for (size_t i = 0; i < a->dim; i++) {
				double x = problem_get(&a->out, t, h, i);
				double y = problem_get(&b->out, t, h, i);

				difference += (x - y) * (x - y);
				size += y * y;
			}
	return difference == 0 ? 0 : sqrt(difference / size);
}

double answer_size(const struct answer *a)
{
	double size = 0;

	for (size_t t = 0; t < a->tokens; t++)
		for (size_t h = 0; h < a->heads; h++)
			for (size_t i = 0; i < a->dim; i++) {
				double x = problem_get(&a->out, t, h, i);

				size += x * x;
			}
	return sqrt(size);
}

double answer_lse_error(const struct answer *a, const struct answer *b)
{
	double worst = 0;

	for (size_t i = 0; i < a->tokens * a->heads; i++) {
		double x = a->lse[i], y = b->lse[i];

		if (x == y)
			continue;
		/* NaN counts: fmax would drop it. */
		if (!(fabs(x - y) / fmax(1, fabs(y)) <= worst))
			worst = isfinite(x) && isfinite(y)
					? fabs(x - y) / fmax(1, fabs(y))
					: INFINITY;
	}
	return worst;
}

int answer_same_bits(const struct answer *a, const struct answer *b)
{
	size_t rows = a->tokens * a->heads;
	size_t bytes = rows * a->dim * kvr_dtype_bytes(a->out.dtype);

	return memcmp(a->out.data, b->out.data, bytes) == 0 &&
	       memcmp(a->lse, b->lse, rows * sizeof(*a->lse)) == 0;
}
