/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/cpu_case.h"

#include <stdlib.h>
#include <time.h>

#include "bench/report.h"
#include "runtime/bf16.h"

static uint32_t cpu_time_threads; /* 0: the clock on the wall */

void cpu_case_use_cpu_time(uint32_t threads)
{
	cpu_time_threads = threads;
}

double cpu_case_seconds(void)
{
	struct timespec now;

	if (!cpu_time_threads)
		return report_seconds();
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return ((double)now.tv_sec + (double)now.tv_nsec * 1e-9) /
	       cpu_time_threads;
}

static void *memory(size_t bytes)
{
	void *p = aligned_alloc(64, (bytes + 63) / 64 * 64);

	if (!p)
		report_die("out of memory");
	return p;
}

static struct kvr_tensor random_tensor(size_t tokens, enum kvr_dtype dtype,
				       size_t heads, size_t dim)
{
	size_t count = tokens * heads * dim;
	void *data = memory(count * kvr_dtype_bytes(dtype));
	unsigned seed = 1;

	for (size_t i = 0; i < count; i++) {
		float value = (float)rand_r(&seed) / (float)RAND_MAX * 2 - 1;

		if (dtype == KVR_F32)
			((float *)data)[i] = value;
		else
			((uint16_t *)data)[i] = kvr_bf16_from_f32(value);
	}
	return kvr_tensor_dense(data, dtype, tokens, heads, dim);
}

static struct kvr_ranges ranges(const struct cpu_case *a)
{
	return (struct kvr_ranges){&a->range, 1};
}

static void open_pages(struct cpu_case *a, size_t most)
{
	const struct kvr_range one = {.length = most};
	size_t bytes =
		a->ops->block_bytes(&a->shape, (struct kvr_ranges){&one, 1});
	size_t count = (a->range.length + most - 1) / most;

	free(a->block);
	a->block = memory(count * bytes);
	a->pages = memory(count * sizeof(*a->pages));
	a->page = memory(count * sizeof(*a->page));
	a->page_count = count;
	for (size_t i = 0; i < count; i++) {
		size_t at = i * most, left = a->range.length - at;
		size_t row = a->k.token_stride * kvr_dtype_bytes(a->k.dtype);
		char *page = (char *)a->block + (count - 1 - i) * bytes;
		struct kvr_tensor k = a->k, v = a->v;

		k.tokens = v.tokens = left < most ? left : most;
		k.data = (char *)a->k.data + at * row;
		v.data = (char *)a->v.data + at * row;
		a->pages[i] = (struct kvr_range){0, at, k.tokens};
		a->page[i] = page;
		a->ops->append(&a->shape, 0, &k, &v, page);
	}
	if (a->ops->reserve(a->compute, count, 0))
		report_die("out of memory");
}

void cpu_case_open(struct cpu_case *a, size_t tokens, uint32_t threads,
		   size_t page_tokens)
{
	const struct kvr_compute_shape *s = &a->shape;

	a->range = (struct kvr_range){.length = tokens};
	a->q = random_tensor(tokens, s->dtype, s->q_heads, s->head_dim);
	a->k = random_tensor(tokens, s->dtype, s->kv_heads, s->head_dim);
	if (!s->values_in_keys)
		a->v = random_tensor(tokens, s->dtype, s->kv_heads,
				     s->value_dim);
	a->out = random_tensor(tokens, KVR_F32, s->q_heads, s->value_dim);
	a->lse = memory(tokens * s->q_heads * sizeof(*a->lse));
	a->block = memory(a->ops->block_bytes(s, ranges(a)));
	if (a->ops->open(s, ranges(a), threads, &a->compute))
		report_die("cannot open the kernel");
	cpu_case_pack(a);
	if (page_tokens)
		open_pages(a, page_tokens);
}

double cpu_case_pack(struct cpu_case *a)
{
	double begun = cpu_case_seconds();

	a->ops->pack(a->compute, ranges(a), &a->k, &a->v, a->block);
	return cpu_case_seconds() - begun;
}

void cpu_case_close(struct cpu_case *a)
{
	a->ops->close(a->compute);
	free(a->page);
	free(a->pages);
	free(a->block);
	free(a->lse);
	free(a->out.data);
	free(a->v.data);
	free(a->k.data);
	free(a->q.data);
}

double cpu_case_flop(const struct cpu_case *a)
{
	double n = (double)a->range.length;
	double pairs = a->shape.mask == KVR_MASK_FULL ? n * n : n * (n + 1) / 2;

	return 2.0 * (a->shape.head_dim + a->shape.value_dim) *
	       a->shape.q_heads * pairs;
}

double cpu_case_run(struct cpu_case *a)
{
	double begun = cpu_case_seconds();

	a->ops->begin(a->compute, &a->q);
	if (a->pages)
		a->ops->step_pages(a->compute,
				   (struct kvr_ranges){a->pages, a->page_count},
				   a->page);
	else
		a->ops->step(a->compute, ranges(a), a->block);
	a->ops->finish(a->compute, &a->out, a->lse, a->range.length);
	return cpu_case_seconds() - begun;
}
