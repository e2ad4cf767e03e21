/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/attention.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/report.h"

struct attention {
	struct attention_part part;
	struct kvr_range ranges[KVR_ZIGZAG_RANGES];
	size_t range_count, tokens; /* of this rank */
	struct kvr_context *context;
	struct kvr_ring *ring;
	struct kvr_plan *plan;
	struct kvr_tensor q, k, v, out;
	float *lse;
};

static void check(enum kvr_status status, const char *what)
{
	char text[256];

	if (status == KVR_OK)
		return;
	snprintf(text, sizeof(text), "%s: %s: %s", what,
		 kvr_status_name(status), kvr_status_text(status));
	report_die(text);
}

static void to_stderr(void *arg, enum kvr_log_level level, const char *line)
{
	(void)arg;
	(void)level;
	fprintf(stderr, "%s\n", line);
}

/* ---------------------------------------------------------------- data */

/* In -1 .. 1; the same number wherever the element is computed. */
static float value_of(uint64_t index, uint64_t tensor)
{
	uint64_t z = (index + 1) * 0x9e3779b97f4a7c15u + tensor;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return (float)(int32_t)(z >> 32) * 0x1p-31f;
}

/* Cut off instead of rounded: it is random. */
static uint16_t to_bf16(float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return (uint16_t)(bits >> 16);
}

static void *allocate(size_t bytes)
{
	void *p = aligned_alloc(64, (bytes + 64) / 64 * 64);

	if (!p)
		report_die("out of memory");
	return p;
}

static struct kvr_tensor empty_tensor(const struct attention *a,
				      enum kvr_dtype dtype, uint32_t heads,
				      uint32_t dim)
{
	size_t bytes = a->tokens * heads * dim * kvr_dtype_bytes(dtype);

	return kvr_tensor_dense(allocate(bytes), dtype, a->tokens, heads, dim);
}

/* Rows of one range; returns where the next range's begin. */
static size_t fill(const struct kvr_tensor *t, const struct kvr_range *range,
		   size_t at, uint64_t tensor)
{
	size_t row = t->heads * t->dim;
	size_t count = (size_t)range->length * row;

	for (size_t i = 0; i < count; i++) {
		float value = value_of(range->start * row + i, tensor);

		if (t->dtype == KVR_F32)
			((float *)t->data)[at + i] = value;
		else
			((uint16_t *)t->data)[at + i] = to_bf16(value);
	}
	return at + count;
}

static struct kvr_tensor random_tensor(const struct attention *a,
				       const struct attention_options *o,
				       uint32_t heads, uint64_t tensor)
{
	struct kvr_tensor t = empty_tensor(a, o->dtype, heads, o->dim);
	size_t at = 0;

	for (size_t i = 0; i < a->range_count; i++)
		at = fill(&t, &a->ranges[i], at, tensor);
	return t;
}

static uint32_t kv_heads(const struct attention_options *o)
{
	return o->kv_heads ? o->kv_heads : o->heads;
}

static void open_tensors(struct attention *a, const struct attention_options *o)
{
	a->q = random_tensor(a, o, o->heads, 1);
	a->k = random_tensor(a, o, kv_heads(o), 2);
	a->v = random_tensor(a, o, kv_heads(o), 3);
	a->out = empty_tensor(a, o->dtype, o->heads, o->dim);
	a->lse = allocate(a->tokens * o->heads * sizeof(*a->lse));
}

/* ---------------------------------------------------------------- open */

static void cut(struct attention *a, const struct attention_options *o,
		uint32_t rank)
{
	const struct attention_part *p = &a->part;

	check(p->zigzag ? kvr_ranges_zigzag(o->tokens, rank, p->n, a->ranges,
					    &a->range_count)
			: kvr_ranges_contiguous(o->tokens, rank, p->n,
						a->ranges, &a->range_count),
	      "cutting the sequence");
	a->tokens = 0;
	for (size_t i = 0; i < a->range_count; i++)
		a->tokens += (size_t)a->ranges[i].length;
}

static struct kvr_plan_desc describe(const struct attention *a,
				     const struct attention_options *o)
{
	struct kvr_plan_desc desc;

	kvr_plan_desc_init(&desc);
	desc.q_heads = o->heads;
	desc.kv_heads = kv_heads(o);
	desc.head_dim = o->dim;
	desc.dtype = o->dtype;
	desc.mask = o->causal ? KVR_MASK_CAUSAL : KVR_MASK_FULL;
	desc.q_ranges = desc.kv_ranges = a->ranges;
	desc.q_range_count = desc.kv_range_count = a->range_count;
	desc.threads = a->part.threads;
	desc.kernel = o->kernel;
	desc.on_step = a->part.on_step;
	desc.on_step_arg = a->part.on_step_arg;
	return desc;
}

/* The largest block of any rank. */
static size_t slot_bytes(struct attention *a, const struct attention_options *o)
{
	struct kvr_plan_desc desc = describe(a, o);
	size_t most = 0, bytes;

	for (uint32_t rank = 0; rank < a->part.n; rank++) {
		cut(a, o, rank);
		check(kvr_attention_block_bytes(&desc, a->tokens,
						a->range_count, &bytes),
		      "describing the attention");
		most = bytes > most ? bytes : most;
	}
	return most;
}

static void open_ring(struct attention *a, const struct attention_options *o,
		      struct seat *seat)
{
	struct kvr_context_options context;
	struct kvr_bootstrap bootstrap;
	struct kvr_ring_options ring;

	kvr_context_options_init(&context);
	context.log = to_stderr;
	context.log_level = KVR_LOG_WARNING;
	check(kvr_context_open(&context, &a->context), "opening the context");
	kvr_bootstrap_init(&bootstrap);
	bootstrap.rank = a->part.rank;
	bootstrap.n = a->part.n;
	bootstrap.allgather = meeting_allgather;
	bootstrap.arg = seat;
	kvr_ring_options_init(&ring);
	ring.transport = o->transport;
	ring.slots = o->slots;
	ring.chunk_bytes = o->chunk_bytes;
	ring.lane[0].slot_bytes = slot_bytes(a, o);
	check(kvr_ring_open(a->context, &bootstrap, &ring, &a->ring),
	      "opening the ring");
}

struct attention *attention_open(const struct attention_options *options,
				 const struct attention_part *part,
				 struct seat *seat)
{
	struct attention *a = calloc(1, sizeof(*a));
	struct kvr_plan_desc desc;

	if (!a)
		report_die("out of memory");
	a->part = *part;
	open_ring(a, options, seat);
	cut(a, options, part->rank);
	desc = describe(a, options);
	check(kvr_plan_create(a->ring, &desc, &a->plan), "making a plan");
	open_tensors(a, options);
	return a;
}

void attention_close(struct attention *a)
{
	kvr_plan_destroy(a->plan);
	kvr_ring_close(a->ring);
	kvr_context_close(a->context);
	free(a->lse);
	free(a->out.data);
	free(a->v.data);
	free(a->k.data);
	free(a->q.data);
	free(a);
}

/* ----------------------------------------------------------------- run */

void attention_give_up_kv(struct attention *a)
{
	check(kvr_attention_pack(a->plan, &a->k, &a->v), "packing");
	free(a->k.data);
	free(a->v.data);
	a->k.data = a->v.data = NULL;
}

static double cpu_seconds(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static double exposed_seconds(const struct attention *a)
{
	struct kvr_pass_stats stats;

	kvr_pass_stats_init(&stats);
	check(kvr_pass_get_stats(kvr_plan_pass(a->plan), &stats),
	      "reading the statistics");
	return (double)stats.exposed_ns * 1e-9;
}

static double lse_sum(const struct attention *a)
{
	double sum = 0;

	for (size_t i = 0; i < a->tokens * a->q.heads; i++)
		sum += (double)a->lse[i];
	return sum;
}

void attention_run(struct attention *a, struct attention_sample *out)
{
	bool kv = a->k.data;
	enum kvr_status status;
	double cpu, cpu_all;

	out->begun = report_seconds();
	cpu_all = cpu_seconds(CLOCK_PROCESS_CPUTIME_ID);
	cpu = cpu_seconds(CLOCK_THREAD_CPUTIME_ID);
	status = kvr_attention_run(a->plan, &a->q, kv ? &a->k : NULL,
				   kv ? &a->v : NULL, &a->out, a->lse,
				   a->tokens);
	out->cpu = cpu_seconds(CLOCK_THREAD_CPUTIME_ID) - cpu;
	out->cpu_all = cpu_seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu_all;
	out->ended = report_seconds();
	check(status, "running");
	out->exposed = exposed_seconds(a);
	out->lse_sum = lse_sum(a);
}

const char *attention_kernel(const struct attention *a)
{
	return kvr_plan_kernel(a->plan);
}

const char *attention_transport(const struct attention *a)
{
	struct kvr_ring_stats stats;

	kvr_ring_stats_init(&stats);
	check(kvr_ring_get_stats(a->ring, &stats), "reading the statistics");
	return stats.transport_out ? stats.transport_out : "none";
}
