/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/reference/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/registry.h"

#define UNIT 0x1p-24

struct reference_case cases[CASES_MAX];
size_t case_count;

/* ---------------------------------------------------------------- cases */

static int is_case(const struct dirent *entry)
{
	const char *dot = strrchr(entry->d_name, '.');

	return dot && strcmp(dot, ".kvref") == 0;
}

void cases_read(const char *directory)
{
	struct dirent **entries;
	int count = scandir(directory, &entries, is_case, alphasort);

	if (count < 0 || count > CASES_MAX) {
		fprintf(stderr, "%s: %d cases\n", directory, count);
		exit(1);
	}
	for (int i = 0; i < count; i++) {
		reference_case_read(directory, entries[i]->d_name,
				    &cases[case_count++]);
		free(entries[i]);
	}
	free(entries);
}

void cases_free(void)
{
	while (case_count > 0)
		reference_case_free(&cases[--case_count]);
}

/* ------------------------------------------------------------ tolerances */

static struct tolerance tolerance_of(const struct reference_case *c, double e,
				     double sums)
{
	return (struct tolerance){
		.out = c->v_max * (2 * e + (2 + sums) * UNIT),
		.lse = e + (2 + sums) * UNIT,
	};
}

struct tolerance oracle_tolerance(const struct reference_case *c)
{
	return tolerance_of(c, UNIT * c->products, 0);
}

struct tolerance kernel_tolerance(const struct reference_case *c)
{
	/* 3 ulp of tanh, and the rounding of two factors */
	double terms = (double)c->q.dim + (c->softcap > 0 ? 11 : 3);

	return tolerance_of(c, terms * UNIT * c->products,
			    (double)c->k.tokens + 16);
}

/* ---------------------------------------------------------------- shards */

static enum kvr_status interleave(const uint64_t *cu_seqlens, size_t sequences,
				  uint32_t rank, uint32_t n,
				  struct kvr_range *out, size_t capacity,
				  size_t *count)
{
	return kvr_ranges_packed_interleave(cu_seqlens, sequences, STRIPE, rank,
					    n, out, capacity, count);
}

const struct partition partitions[PARTITIONS] = {
	{"contiguous", kvr_ranges_packed_contiguous},
	{"zigzag", kvr_ranges_packed_zigzag},
	{"interleave", interleave},
};

struct shard shard_of(const struct partition *p, const struct reference_case *c,
		      uint64_t tokens, uint64_t start, uint32_t rank,
		      uint32_t n)
{
	const uint64_t one[] = {0, tokens};
	const uint64_t *at = c->cu_seqlens ? c->cu_seqlens : one;
	struct shard s = {.tokens = 0};

	assert_int_equal(p->ranges(at, c->cu_seqlens ? c->sequences : 1, rank,
				   n, s.range, RANGES_MAX, &s.count),
			 KVR_OK);
	for (size_t i = 0; i < s.count; i++) {
		s.row[i] = at[s.range[i].sequence] + s.range[i].start;
		s.range[i].start += start;
		s.tokens += s.range[i].length;
	}
	return s;
}

/* The index, in the whole, of the shard's row `token`. */
static uint64_t shard_row(const struct shard *s, size_t token)
{
	size_t i = 0;

	while (token >= s->range[i].length)
		token -= s->range[i++].length;
	return s->row[i] + token;
}

struct kvr_tensor shard_gather(const struct kvr_tensor *whole,
			       const struct shard *s)
{
	size_t row = whole->heads * whole->dim * kvr_dtype_bytes(whole->dtype);
	char *data = malloc(s->tokens * row + 1);

	assert_non_null(data);
	for (size_t t = 0; t < s->tokens; t++)
		memcpy(data + t * row,
		       (const char *)whole->data + shard_row(s, t) * row, row);
	return kvr_tensor_dense(data, whole->dtype, s->tokens, whole->heads,
				whole->dim);
}

/* --------------------------------------------------------------- results */

struct result result_new(const struct reference_case *c, enum kvr_dtype dtype,
			 size_t tokens)
{
	size_t count = tokens * c->q.heads;
	void *out = calloc(count * c->v.dim + 1, sizeof(float));
	float *lse = calloc(count + 1, sizeof(float));

	assert_non_null(out);
	assert_non_null(lse);
	return (struct result){
		.out = kvr_tensor_dense(out, dtype, tokens, c->q.heads,
					c->v.dim),
		.lse = lse,
	};
}

void result_free(struct result *r)
{
	free(r->out.data);
	free(r->lse);
}

/* -inf equals -inf; an lse is also rounded to f32. NaN is never close. */
static bool lse_close(double got, double want, double tolerance)
{
	if (isinf(want))
		return got == want;
	return fabs(got - want) <= tolerance + UNIT * fabs(want);
}

/* bf16 results are rounded to 8 bits, f16 to 11 or 2^-24. */
static double last_place(enum kvr_dtype dtype, double value)
{
	if (dtype == KVR_BF16)
		return 0x1p-8 * fabs(value);
	return dtype == KVR_F16 ? fmax(0x1p-11 * fabs(value), 0x1p-25) : 0;
}

/* Row `token` of the result against row `row` of what is expected. */
static void row_check(const struct reference_case *c, const struct result *r,
		      size_t token, uint64_t row, struct tolerance t,
		      const char *what)
{
	size_t dim = c->v.dim, heads = c->q.heads;

	for (size_t h = 0; h < heads; h++) {
		double lse = r->lse[h * r->out.tokens + token];
		double want = c->lse[h * c->q.tokens + row];

		if (!lse_close(lse, want, t.lse))
			fail_msg("%s %s: lse[%zu, %zu] %.9g, expected %.9g, "
				 "tolerance %.3g",
				 c->name, what, h, (size_t)row, lse, want,
				 t.lse);
		for (size_t i = 0; i < dim; i++) {
			double got = reference_element(&r->out, token, h, i);
			double out = c->out[(row * heads + h) * dim + i];
			double ulp = last_place(r->out.dtype, out);

			if (!(fabs(got - out) <= t.out + ulp))
				fail_msg("%s %s: out[%zu, %zu, %zu] %.9g, "
					 "expected %.9g, tolerance %.3g",
					 c->name, what, (size_t)row, h, i, got,
					 out, t.out + ulp);
		}
	}
}

void result_check(const struct reference_case *c, const struct result *r,
		  const struct shard *shard, struct tolerance t,
		  const char *what)
{
	for (size_t token = 0; token < shard->tokens; token++)
		row_check(c, r, token, shard_row(shard, token), t, what);
}

void kernels_check(void (*check)(const struct reference_case *c,
				 const struct kvr_compute_ops *ops))
{
	const struct kvr_compute_ops *ops;
	size_t usable = 0;

	for (size_t k = 0; (ops = kvr_registry_compute(k)); k++) {
		char reason[160] = "";

		if (ops->probe(reason, sizeof(reason)) != KVR_OK) {
			print_message("%s left out: %s\n", ops->name, reason);
			continue;
		}
		usable++;
		for (size_t i = 0; i < case_count; i++)
			check(&cases[i], ops);
	}
	assert_true(usable > 0);
}
