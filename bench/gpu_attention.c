/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast is attention on the GPU (compute/cuda)?
 *
 *	gpu_attention [--tokens N] [--heads H] [--kv-heads H] [--head-dim D]
 *		      [--dtype bf16|f16|f32] [--causal] [--pairs P]
 *
 * In turns, a moment apart, every other round backwards, after one that is not
 * counted, by the device's own events:
 *
 *	attention	begin, step and finish on a block of all keys
 *	products	the same calls, whose kernels are left out: what
 *			cuBLAS alone takes for the same tiles
 *	beside copies	attention while the copy engines move pinned memory
 *			both ways, as an RDMA card would: their time is theirs,
 *			but for the memory's bandwidth
 *
 * Counted are 4 * head_dim operations for each query head and key that see each
 * other. Exit 77 where there is no GPU.
 */
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cuda_runtime_api.h>

#include "bench/report.h"
#include "compute/cuda/attention.h"
#include "runtime/accelerator.h"

#define PAIRS_MAX 101
#define COPY_BYTES ((size_t)32 << 20)

extern const struct kvr_accelerator_ops kvr_accelerator_plugin;

struct options {
	size_t tokens, pairs;
	struct kvr_compute_shape shape;
};

struct bench {
	struct options options;
	struct kvr_range range;
	struct kvr_accelerator_attention *attention;
	struct kvr_tensor q, k, v, out;
	void *block;
	float *lse;
	cudaStream_t stream, copies;
	cudaEvent_t begun, ended;
	char *pinned, *there; /* COPY_BYTES twice: to the device, and back */
	double copied;	      /* bytes, in the last run beside copies */
};

static void cuda(cudaError_t error)
{
	if (error != cudaSuccess)
		report_die(cudaGetErrorString(error));
}

static void well(const struct bench *b, enum kvr_status status)
{
	if (status != KVR_OK)
		report_die(kvr_cuda_attention.failure(b->attention));
}

/* --------------------------------------------- products without kernels */

static bool bare;

cudaError_t __real_kvr_cuda_softmax(const struct kvr_cuda_tile *tile,
				    enum kvr_cuda_type type,
				    cudaStream_t stream);
cudaError_t __wrap_kvr_cuda_softmax(const struct kvr_cuda_tile *tile,
				    enum kvr_cuda_type type,
				    cudaStream_t stream);
cudaError_t __real_kvr_cuda_pack_q(const struct kvr_cuda_rows *rows,
				   cudaStream_t stream);
cudaError_t __wrap_kvr_cuda_pack_q(const struct kvr_cuda_rows *rows,
				   cudaStream_t stream);

cudaError_t __wrap_kvr_cuda_softmax(const struct kvr_cuda_tile *tile,
				    enum kvr_cuda_type type,
				    cudaStream_t stream)
{
	return bare ? cudaSuccess : __real_kvr_cuda_softmax(tile, type, stream);
}

cudaError_t __wrap_kvr_cuda_pack_q(const struct kvr_cuda_rows *rows,
				   cudaStream_t stream)
{
	return bare ? cudaSuccess : __real_kvr_cuda_pack_q(rows, stream);
}

/* ------------------------------------------------------------ measuring */

static void enqueue(struct bench *b)
{
	const struct kvr_ranges all = {&b->range, 1};

	cuda(cudaEventRecord(b->begun, b->stream));
	if (!bare)
		well(b,
		     kvr_cuda_attention.begin(b->attention, &b->q, b->stream));
	well(b,
	     kvr_cuda_attention.step(b->attention, all, b->block, b->stream));
	if (!bare)
		well(b,
		     kvr_cuda_attention.finish(b->attention, &b->out, b->lse,
					       b->options.tokens, b->stream));
	cuda(cudaEventRecord(b->ended, b->stream));
}

static double seconds(struct bench *b)
{
	float ms;

	cuda(cudaEventSynchronize(b->ended));
	cuda(cudaEventElapsedTime(&ms, b->begun, b->ended));
	return (double)ms * 1e-3;
}

static double attention(struct bench *b)
{
	enqueue(b);
	return seconds(b);
}

static double products(struct bench *b)
{
	double took;

	bare = true;
	took = attention(b);
	bare = false;
	return took;
}

/* One each way, two of them under way. */
static void copy(struct bench *b)
{
	cuda(cudaMemcpyAsync(b->there, b->pinned, COPY_BYTES,
			     cudaMemcpyHostToDevice, b->copies));
	cuda(cudaMemcpyAsync(b->pinned + COPY_BYTES, b->there + COPY_BYTES,
			     COPY_BYTES, cudaMemcpyDeviceToHost, b->copies));
	b->copied += 2 * (double)COPY_BYTES;
}

static double beside_copies(struct bench *b)
{
	cudaError_t error;

	b->copied = 0;
	copy(b);
	enqueue(b);
	while ((error = cudaEventQuery(b->ended)) == cudaErrorNotReady) {
		copy(b);
		cuda(cudaStreamSynchronize(b->copies));
	}
	cuda(error);
	return seconds(b);
}

static double flop(const struct options *o)
{
	double n = (double)o->tokens;
	double seen =
		o->shape.mask == KVR_MASK_CAUSAL ? n * (n + 1) / 2 : n * n;

	return 4 * seen * o->shape.head_dim * o->shape.q_heads;
}

enum { SIDES = 3 };

static void run(struct bench *b)
{
	static double (*const side[SIDES])(struct bench *) = {
		attention, products, beside_copies};
	static const char *const name[SIDES] = {"attention", "products",
						"beside copies"};
	double rate[SIDES][PAIRS_MAX], ratio[SIDES][PAIRS_MAX];
	double copied[PAIRS_MAX];
	const size_t pairs = b->options.pairs;

	for (int s = 0; s < SIDES; s++)
		side[s](b);
	for (size_t i = 0; i < pairs; i++) {
		for (int j = 0; j < SIDES; j++) {
			int s = i % 2 ? SIDES - 1 - j : j;
			double took = side[s](b);

			rate[s][i] = flop(&b->options) / took * 1e-12;
			if (side[s] == beside_copies)
				copied[i] = b->copied / took * 1e-9;
		}
		for (int s = 1; s < SIDES; s++)
			ratio[s][i] = s == 1 ? rate[0][i] / rate[s][i]
					     : rate[s][i] / rate[0][i];
	}
	for (int s = 0; s < SIDES; s++) {
		printf("%-14s", name[s]);
		report_print_spread("TFLOP/s", report_spread(rate[s], pairs),
				    1);
		if (s == 1)
			report_print_spread("attention / products",
					    report_spread(ratio[s], pairs), 3);
		if (s == 2) {
			report_print_spread("of alone",
					    report_spread(ratio[s], pairs), 3);
			report_print_spread("copied GB/s",
					    report_spread(copied, pairs), 1);
		}
		printf("\n");
	}
}

/* ---------------------------------------------------------------- setup */

static void *on_device(size_t bytes)
{
	void *at;

	cuda(cudaMalloc(&at, bytes));
	return at;
}

/* In [-1, 1): zeros would run faster. */
static float number(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return (float)(int32_t)*seed * 0x1p-31f;
}

/* bf16 has the upper half of f32; f16 gets numbers between 0.5 and 1. */
static struct kvr_tensor tensor(const struct options *o, uint32_t heads,
				uint32_t seed)
{
	const size_t bytes = kvr_dtype_bytes(o->shape.dtype);
	const size_t count = o->tokens * heads * o->shape.head_dim;
	char *host = malloc(count * bytes);
	void *at = on_device(count * bytes);

	if (!host)
		report_die("no memory");
	for (size_t i = 0; i < count; i++) {
		float value = number(&seed);
		uint32_t bits;

		memcpy(&bits, &value, sizeof(bits));
		if (o->shape.dtype == KVR_F16)
			bits = (bits & 0x83ff0000) | 0x38000000;
		if (bytes == 2)
			memcpy(host + i * 2, (char *)&bits + 2, 2);
		else
			memcpy(host + i * 4, &bits, 4);
	}
	cuda(cudaMemcpy(at, host, count * bytes, cudaMemcpyHostToDevice));
	free(host);
	return kvr_tensor_dense(at, o->shape.dtype, o->tokens, heads,
				o->shape.head_dim);
}

static void bench_open(struct bench *b)
{
	const struct kvr_accelerator_attention_options plain = {0};
	const struct options *o = &b->options;
	struct kvr_ranges all = {&b->range, 1};
	char reason[256];

	b->range = (struct kvr_range){0, 0, o->tokens};
	if (kvr_cuda_attention.open(&o->shape, all, &plain, &b->attention,
				    reason, sizeof(reason)) != KVR_OK)
		report_die(reason);
	b->q = tensor(o, o->shape.q_heads, 1);
	b->k = tensor(o, o->shape.kv_heads, 2);
	b->v = tensor(o, o->shape.kv_heads, 3);
	b->out = tensor(o, o->shape.q_heads, 4);
	b->lse = on_device(o->tokens * o->shape.q_heads * sizeof(float));
	b->block = on_device(kvr_cuda_attention.block_bytes(&o->shape, all));
	cuda(cudaStreamCreateWithFlags(&b->stream, cudaStreamNonBlocking));
	cuda(cudaStreamCreateWithFlags(&b->copies, cudaStreamNonBlocking));
	cuda(cudaEventCreate(&b->begun));
	cuda(cudaEventCreate(&b->ended));
	cuda(cudaHostAlloc((void **)&b->pinned, 2 * COPY_BYTES, 0));
	memset(b->pinned, 1, 2 * COPY_BYTES);
	b->there = on_device(2 * COPY_BYTES);
	well(b, kvr_cuda_attention.pack(b->attention, all, &b->k, &b->v,
					b->block, b->stream));
	cuda(cudaStreamSynchronize(b->stream));
}

static void bench_close(struct bench *b)
{
	cuda(cudaStreamSynchronize(b->copies));
	kvr_cuda_attention.close(b->attention);
	cuda(cudaFree(b->q.data));
	cuda(cudaFree(b->k.data));
	cuda(cudaFree(b->v.data));
	cuda(cudaFree(b->out.data));
	cuda(cudaFree(b->lse));
	cuda(cudaFree(b->block));
	cuda(cudaFree(b->there));
	cuda(cudaFreeHost(b->pinned));
	cuda(cudaEventDestroy(b->begun));
	cuda(cudaEventDestroy(b->ended));
	cuda(cudaStreamDestroy(b->stream));
	cuda(cudaStreamDestroy(b->copies));
}

static enum kvr_dtype dtype_of(const char *text)
{
	if (strcmp(text, "f32") == 0)
		return KVR_F32;
	if (strcmp(text, "f16") == 0)
		return KVR_F16;
	if (strcmp(text, "bf16") == 0)
		return KVR_BF16;
	report_die("--dtype: bf16, f16 or f32");
}

static void parse(int argc, char **argv, struct options *o)
{
	static const struct option known[] = {
		{"tokens", required_argument, NULL, 'n'},
		{"heads", required_argument, NULL, 'h'},
		{"kv-heads", required_argument, NULL, 'k'},
		{"head-dim", required_argument, NULL, 'd'},
		{"dtype", required_argument, NULL, 't'},
		{"pairs", required_argument, NULL, 'p'},
		{"causal", no_argument, NULL, 'c'},
		{0},
	};
	struct kvr_compute_shape *s = &o->shape;

	*o = (struct options){.tokens = 16384, .pairs = 9};
	*s = (struct kvr_compute_shape){.q_heads = 32,
					.kv_heads = 8,
					.head_dim = 128,
					.dtype = KVR_BF16};
	for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;)
		switch (c) {
		case 'n':
			o->tokens = report_number(optarg, 1 << 24);
			break;
		case 'h':
			s->q_heads = (uint32_t)report_number(optarg, 1024);
			break;
		case 'k':
			s->kv_heads = (uint32_t)report_number(optarg, 1024);
			break;
		case 'd':
			s->head_dim = (uint32_t)report_number(optarg, 576);
			break;
		case 't':
			s->dtype = dtype_of(optarg);
			break;
		case 'p':
			o->pairs = report_number(optarg, PAIRS_MAX);
			break;
		case 'c':
			s->mask = KVR_MASK_CAUSAL;
			break;
		default:
			exit(2);
		}
	if (optind < argc || s->q_heads % s->kv_heads)
		report_die("see the head of bench/gpu_attention.c");
	s->value_dim = s->head_dim;
	s->scale = 1 / sqrtf((float)s->head_dim);
}

int main(int argc, char **argv)
{
	static const char *const dtypes[] = {
		[KVR_F32] = "f32", [KVR_BF16] = "bf16", [KVR_F16] = "f16"};
	struct cudaDeviceProp device;
	struct bench b = {0};
	char reason[256];

	parse(argc, argv, &b.options);
	if (kvr_accelerator_plugin.probe(reason, sizeof(reason)) != KVR_OK ||
	    kvr_cuda_attention.probe(reason, sizeof(reason)) != KVR_OK) {
		printf("skipped: no attention on a GPU here: %s\n", reason);
		return 77;
	}
	cuda(cudaGetDeviceProperties(&device, 0));
	printf("%s: %zu tokens, %u heads on %u, d = %u, %s, %s\n", device.name,
	       b.options.tokens, b.options.shape.q_heads,
	       b.options.shape.kv_heads, b.options.shape.head_dim,
	       dtypes[b.options.shape.dtype],
	       b.options.shape.mask == KVR_MASK_CAUSAL ? "causal" : "full");
	bench_open(&b);
	run(&b);
	bench_close(&b);
	return 0;
}
