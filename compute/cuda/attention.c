/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The calls of an attention, all of which only enqueue.
 *
 *	the caller's stream   -- fork ---------------- join --
 *	lane 0	                 `- tiles 0, 2, 4 ... -'
 *	lane 1	                 `- tiles 1, 3, 5 ... -'
 *
 *	a query tile          pack q, then for each tile of keys that it sees
 *	                      S = Q K^T, softmax, O += P V
 *
 * cuBLAS counts columns first: what is row by row here is its transpose there,
 * so that it is asked for S^T = K Q^T and O^T += V^T P^T.
 */
#include <math.h>
#include <stdio.h>

#include "compute/cuda/attention.h"
#include "compute/cuda/error.h"

static enum kvr_status check(struct kvr_accelerator_attention *a,
			     const char *call, cudaError_t error)
{
	return kvr_cuda_attention_check(a, call, error);
}

static enum kvr_status check_blas(struct kvr_accelerator_attention *a,
				  cublasStatus_t status)
{
	if (status == CUBLAS_STATUS_SUCCESS)
		return KVR_OK;
	snprintf(a->failure, sizeof(a->failure),
		 "cublasGemmStridedBatchedEx: %s",
		 a->calls->status_string(status));
	return KVR_ERR_DEVICE;
}

static enum kvr_cuda_type type_of(enum kvr_dtype dtype)
{
	return (enum kvr_cuda_type)dtype;
}

static cudaDataType blas_type(enum kvr_dtype dtype)
{
	if (dtype == KVR_BF16)
		return CUDA_R_16BF;
	return dtype == KVR_F16 ? CUDA_R_16F : CUDA_R_32F;
}

static enum kvr_status in_device_memory(struct kvr_accelerator_attention *a,
					const void *address, bool *out)
{
	struct cudaPointerAttributes at = {0};
	enum kvr_status status = check(a, "cudaPointerGetAttributes",
				       cudaPointerGetAttributes(&at, address));

	*out = at.type == cudaMemoryTypeDevice ||
	       at.type == cudaMemoryTypeManaged;
	return status;
}

/* A device that does not answer is no mistake of the caller's: begin tells. */
static bool can_read(const void *address)
{
	struct cudaPointerAttributes at;

	return cudaPointerGetAttributes(&at, address) != cudaSuccess ||
	       at.type != cudaMemoryTypeUnregistered;
}

/* ---------------------------------------------------------------- pack */

static enum kvr_status flush(struct kvr_accelerator_attention *a,
			     struct kvr_cuda_pack *pack, cudaStream_t stream)
{
	enum kvr_status status = KVR_OK;

	if (pack->count)
		status = check(a, "the pack kernel",
			       kvr_cuda_pack_kv(pack, stream));
	pack->count = 0;
	return status;
}

static enum kvr_status pack_ranges(struct kvr_accelerator_attention *a,
				   struct kvr_ranges kv,
				   struct kvr_cuda_pack *pack,
				   cudaStream_t stream)
{
	const size_t align = KVR_CUDA_RANGE_ROWS;
	size_t row = 0, token = 0;
	enum kvr_status status;

	for (size_t i = 0; i < kv.count; i++) {
		size_t tokens = (size_t)kv.range[i].length;
		size_t end = row + (tokens + align - 1) / align * align;

		if (!tokens)
			continue;
		pack->piece[pack->count++] =
			(struct kvr_cuda_piece){row, end, token, tokens};
		row = end;
		token += tokens;
		if (pack->count < KVR_CUDA_KV_SEGMENTS)
			continue;
		status = flush(a, pack, stream);
		if (status != KVR_OK)
			return status;
	}
	return flush(a, pack, stream);
}

/* Where a block in host memory is instead; NULL: no room was reserved. */
static void *staged(struct kvr_accelerator_attention *a, size_t bytes)
{
	if (bytes <= a->staging_bytes)
		return a->staging;
	snprintf(a->failure, sizeof(a->failure),
		 "a block of %zu bytes in host memory; room is reserved for "
		 "%zu",
		 bytes, a->staging_bytes);
	return NULL;
}

static enum kvr_status pack(struct kvr_accelerator_attention *a,
			    struct kvr_ranges kv, const struct kvr_tensor *k,
			    const struct kvr_tensor *v, void *block,
			    void *stream)
{
	size_t bytes = kvr_cuda_block_bytes(&a->shape, kv);
	struct kvr_cuda_pack p = {
		.k = k->data,
		.k_token = k->token_stride,
		.k_head = k->head_stride,
		.v = a->shape.values_in_keys ? NULL : v->data,
		.v_token = v ? v->token_stride : 0,
		.v_head = v ? v->head_stride : 0,
		.block = block,
		.heads = a->shape.kv_heads,
		.k_dim = a->shape.head_dim,
		.v_dim = a->shape.value_dim,
		.k_padded = a->layout.k,
		.v_padded = a->layout.v,
		.bytes = a->layout.bytes,
	};
	enum kvr_status status;
	bool direct;

	if (!bytes)
		return KVR_OK;
	status = in_device_memory(a, block, &direct);
	if (status != KVR_OK)
		return status;
	if (!direct)
		p.block = staged(a, bytes);
	if (!p.block)
		return KVR_ERR_DEVICE;
	status = pack_ranges(a, kv, &p, stream);
	if (status != KVR_OK || p.block == block)
		return status;
	return check(a, "cudaMemcpyAsync",
		     cudaMemcpyAsync(block, p.block, bytes,
				     cudaMemcpyDeviceToHost, stream));
}

/* --------------------------------------------------------------- begin */

static enum kvr_status begin(struct kvr_accelerator_attention *a,
			     const struct kvr_tensor *q, void *stream)
{
	a->q = *q;
	if (!a->partials.rows)
		return KVR_OK;
	return check(a, "the clear kernel",
		     kvr_cuda_clear(&a->partials, stream));
}

/* ---------------------------------------------------------------- step */

/* One query tile, some kv heads of it, on its lane. */
struct tile {
	struct kvr_accelerator_attention *a;
	struct kvr_cuda_lane *lane;
	struct kvr_cuda_cut q; /* rows are tokens */
	uint32_t head, heads;
	const char *block;
	struct kvr_cuda_tile scores;
};

static const void *keys_at(const struct tile *t, size_t row)
{
	const struct kvr_cuda_layout *l = &t->a->layout;

	return t->block + (row * l->row + t->head * l->head) * l->bytes;
}

static enum kvr_status pack_q(const struct tile *t)
{
	struct kvr_accelerator_attention *a = t->a;
	const struct kvr_tensor *q = &a->q;
	size_t at = t->q.row * q->token_stride +
		    t->head * a->group * q->head_stride;
	struct kvr_cuda_rows rows = {
		.from = (const char *)q->data + at * a->layout.bytes,
		.token_stride = q->token_stride,
		.head_stride = q->head_stride,
		.to = t->lane->q,
		.to_head = (size_t)t->scores.rows * a->layout.k,
		.heads = t->heads,
		.rows = t->scores.rows,
		.group = a->group,
		.dim = a->shape.head_dim,
		.padded = a->layout.k,
		.bytes = a->layout.bytes,
	};

	return check(a, "the kernel of queries",
		     kvr_cuda_pack_q(&rows, t->lane->stream));
}

/* S^T, keys by rows, of keys from row `at` of the block. */
static enum kvr_status multiply_keys(const struct tile *t, size_t at)
{
	const struct kvr_accelerator_attention *a = t->a;
	const struct kvr_cuda_layout *l = &a->layout;
	cudaDataType type = blas_type(a->shape.dtype);
	const float one = 1, zero = 0;

	return check_blas(
		t->a,
		a->calls->gemm(
			t->lane->blas, CUBLAS_OP_T, CUBLAS_OP_N,
			(int)t->scores.keys, (int)t->scores.rows, (int)l->k,
			&one, keys_at(t, at), type, (int)l->row,
			(long long)l->head, t->lane->q, type, (int)l->k,
			(long long)t->scores.rows * l->k, &zero,
			t->scores.scores, CUDA_R_32F, (int)t->scores.scores_row,
			(long long)t->scores.scores_head, (int)t->heads,
			a->product, CUBLAS_GEMM_DEFAULT));
}

/* O^T += V^T P^T. The weights lie where the scores did, row by row. */
static enum kvr_status multiply_values(const struct tile *t, size_t at)
{
	const struct kvr_accelerator_attention *a = t->a;
	const struct kvr_cuda_layout *l = &a->layout;
	cudaDataType type = blas_type(a->shape.dtype);
	size_t per_float = sizeof(float) / l->bytes;
	const float one = 1;
	const char *values = keys_at(t, at);

	if (l->v)
		values += (size_t)l->k * l->bytes;
	return check_blas(
		t->a,
		a->calls->gemm(
			t->lane->blas, CUBLAS_OP_N, CUBLAS_OP_N, (int)l->out,
			(int)t->scores.rows, (int)t->scores.keys, &one, values,
			type, (int)l->row, (long long)l->head, t->scores.scores,
			type, (int)(t->scores.scores_row * per_float),
			(long long)(t->scores.scores_head * per_float), &one,
			t->scores.out, CUDA_R_32F, (int)l->out,
			(long long)t->scores.out_head, (int)t->heads,
			a->product, CUBLAS_GEMM_DEFAULT));
}

static enum kvr_status step_keys(struct tile *t, size_t row)
{
	struct kvr_accelerator_attention *a = t->a;
	enum kvr_status status;

	status = multiply_keys(t, row);
	if (status == KVR_OK)
		status = check(a, "the softmax kernel",
			       kvr_cuda_softmax(&t->scores,
						type_of(a->shape.dtype),
						t->lane->stream));
	if (status == KVR_OK)
		status = multiply_values(t, row);
	return status;
}

static void place(struct tile *t)
{
	struct kvr_accelerator_attention *a = t->a;
	const struct kvr_cuda_partials *p = &a->partials;
	const double cap = (double)a->shape.softcap;
	size_t row = t->q.row * a->group;
	struct kvr_cuda_tile *s = &t->scores;

	s->heads = t->heads;
	s->rows = t->q.rows * a->group;
	s->group = a->group;
	s->scores = t->lane->scores;
	s->scores_row = a->tiling.keys;
	s->scores_head = (size_t)s->rows * s->scores_row;
	s->out = p->out + t->head * p->out_head + row * p->out_row;
	s->out_row = p->out_row;
	s->out_head = p->out_head;
	s->max = p->max + t->head * p->sums_head + row;
	s->sum = p->sum + t->head * p->sums_head + row;
	s->sums_head = p->sums_head;
	/* One rounding, of the product in double. */
	s->scale =
		(float)((double)a->shape.scale * (cap > 0 ? 1 / cap : M_LOG2E));
	s->cap = (float)(cap * M_LOG2E);
}

/* All keys of the block that the query tile sees. */
static enum kvr_status step_tile(struct tile *t, size_t runs)
{
	struct kvr_accelerator_attention *a = t->a;
	struct kvr_cuda_cutter cutter = {
		.run = a->kv_run,
		.count = runs,
		.rows = a->tiling.keys,
		.segments = KVR_CUDA_KV_SEGMENTS,
	};
	enum kvr_status status = KVR_OK;
	struct kvr_cuda_cut kv;
	bool packed = false;
	uint32_t first;

	place(t);
	while (status == KVR_OK && kvr_cuda_cut_next(&cutter, &kv)) {
		if (!kvr_cuda_look(&a->shape, &t->q, &kv, &t->scores, &first))
			continue;
		if (!packed)
			status = pack_q(t);
		packed = true;
		if (status == KVR_OK)
			status = step_keys(t, kv.row + first);
	}
	return status;
}

static enum kvr_status step_tiles(struct kvr_accelerator_attention *a,
				  size_t runs, const void *block)
{
	struct kvr_cuda_cutter cutter = {
		.run = a->q_run,
		.count = a->q_runs,
		.rows = a->tiling.tokens,
		.segments = KVR_CUDA_Q_SEGMENTS,
	};
	struct tile t = {.a = a, .block = block};
	enum kvr_status status = KVR_OK;
	uint32_t turn = 0;

	while (kvr_cuda_cut_next(&cutter, &t.q))
		for (t.head = 0; t.head < a->shape.kv_heads;
		     t.head += t.heads) {
			uint32_t left = a->shape.kv_heads - t.head;

			t.heads =
				left < a->tiling.heads ? left : a->tiling.heads;
			t.lane = &a->lane[turn++ % KVR_CUDA_LANES];
			status = step_tile(&t, runs);
			if (status != KVR_OK)
				return status;
		}
	return status;
}

/* The lanes begin behind all that the caller's stream has. */
static enum kvr_status fork_lanes(struct kvr_accelerator_attention *a,
				  cudaStream_t stream)
{
	enum kvr_status status =
		check(a, "cudaEventRecord", cudaEventRecord(a->fork, stream));

	for (int i = 0; i < KVR_CUDA_LANES && status == KVR_OK; i++)
		status = check(
			a, "cudaStreamWaitEvent",
			cudaStreamWaitEvent(a->lane[i].stream, a->fork, 0));
	return status;
}

/*
 * And it goes on behind all that they have, also when something failed: what a
 * lane still did would reach into the next run. Where the stream can't be told
 * to wait for a lane, the host waits.
 */
static enum kvr_status join_lanes(struct kvr_accelerator_attention *a,
				  cudaStream_t stream)
{
	enum kvr_status status = KVR_OK;

	for (int i = 0; i < KVR_CUDA_LANES; i++) {
		struct kvr_cuda_lane *lane = &a->lane[i];
		enum kvr_status joined =
			check(a, "cudaEventRecord",
			      cudaEventRecord(lane->done, lane->stream));

		if (joined == KVR_OK)
			joined = check(
				a, "cudaStreamWaitEvent",
				cudaStreamWaitEvent(stream, lane->done, 0));
		if (joined == KVR_OK)
			continue;
		(void)cudaStreamSynchronize(lane->stream);
		status = joined;
	}
	return status;
}

/* A block of the host's to where the kernels read it. */
static enum kvr_status fetch(struct kvr_accelerator_attention *a, size_t bytes,
			     const void **block, cudaStream_t stream)
{
	void *staging;
	bool direct;
	enum kvr_status status = in_device_memory(a, *block, &direct);

	if (status != KVR_OK || direct)
		return status;
	staging = staged(a, bytes);
	if (!staging)
		return KVR_ERR_DEVICE;
	status = check(a, "cudaMemcpyAsync",
		       cudaMemcpyAsync(staging, *block, bytes,
				       cudaMemcpyHostToDevice, stream));
	*block = staging;
	return status;
}

static enum kvr_status step(struct kvr_accelerator_attention *a,
			    struct kvr_ranges kv, const void *block,
			    void *stream)
{
	size_t runs = kvr_cuda_runs(kv, KVR_CUDA_RANGE_ROWS, a->kv_run);
	enum kvr_status status, joined;

	if (!runs || !a->partials.rows)
		return KVR_OK;
	status = fetch(a, kvr_cuda_block_bytes(&a->shape, kv), &block, stream);
	if (status != KVR_OK)
		return status;
	status = fork_lanes(a, stream);
	if (status == KVR_OK)
		status = step_tiles(a, runs, block);
	joined = join_lanes(a, stream);
	return status != KVR_OK ? status : joined;
}

/* -------------------------------------------------------------- finish */

static enum kvr_status finish(struct kvr_accelerator_attention *a,
			      const struct kvr_tensor *out, float *lse,
			      size_t lse_head_stride, void *stream)
{
	struct kvr_cuda_finish f = {
		.partials = a->partials,
		.sinks = a->sinks,
		.out = out->data,
		.token_stride = out->token_stride,
		.head_stride = out->head_stride,
		.dim = a->shape.value_dim,
		.type = type_of(out->dtype),
		.lse = lse,
		.lse_head = lse_head_stride,
	};

	if (!a->partials.rows)
		return KVR_OK;
	return check(a, "the finish kernel", kvr_cuda_normalise(&f, stream));
}

static enum kvr_status wait(struct kvr_accelerator_attention *a, void *stream,
			    bool block)
{
	cudaError_t error =
		block ? cudaStreamSynchronize(stream) : cudaStreamQuery(stream);

	if (error == cudaErrorNotReady)
		return KVR_ERR_AGAIN;
	return check(a, "the stream", error);
}

static const char *failure(const struct kvr_accelerator_attention *a)
{
	return a->failure;
}

/* --------------------------------------------------------------- merge */

static struct kvr_cuda_side side(const struct kvr_partial *p)
{
	return (struct kvr_cuda_side){
		.out = p->out.data,
		.token_stride = p->out.token_stride,
		.head_stride = p->out.head_stride,
		.type = type_of(p->out.dtype),
		.lse = p->lse,
		.lse_head = p->lse_head_stride,
		.log2 = p->base == KVR_LSE_LOG2,
	};
}

static bool is_like(const struct kvr_partial *p, const struct kvr_tensor *like)
{
	return (p->out.dtype == KVR_F32 || p->out.dtype == KVR_BF16 ||
		p->out.dtype == KVR_F16) &&
	       (p->base == KVR_LSE_NATURAL || p->base == KVR_LSE_LOG2) &&
	       p->out.tokens == like->tokens && p->out.heads == like->heads &&
	       p->out.dim == like->dim &&
	       (like->heads < 2 || p->lse_head_stride >= like->tokens);
}

static enum kvr_status merge(const struct kvr_partial *a,
			     const struct kvr_partial *b,
			     const struct kvr_partial *out, void *stream)
{
	struct kvr_cuda_merge m = {
		.a = side(a),
		.b = side(b),
		.to = side(out),
		.tokens = out->out.tokens,
		.heads = (uint32_t)out->out.heads,
		.dim = (uint32_t)out->out.dim,
	};

	if (!is_like(a, &out->out) || !is_like(b, &out->out) ||
	    !is_like(out, &out->out))
		return KVR_ERR_INVALID;
	if (!m.tokens || !m.heads)
		return KVR_OK;
	return kvr_cuda_merge_rows(&m, stream) == cudaSuccess ? KVR_OK
							      : KVR_ERR_DEVICE;
}

static enum kvr_status probe(char *reason, size_t reason_bytes)
{
	const struct kvr_cuda_blas *calls;
	enum kvr_status status =
		kvr_cuda_blas_load(&calls, reason, reason_bytes);

	if (status == KVR_OK)
		snprintf(reason, reason_bytes,
			 "tensors in GPU memory, products by cuBLAS");
	return status;
}

const struct kvr_accelerator_attention_ops kvr_cuda_attention = {
	.probe = probe,
	.block_bytes = kvr_cuda_block_bytes,
	.open = kvr_cuda_attention_open,
	.close = kvr_cuda_attention_close,
	.reserve = kvr_cuda_attention_reserve,
	.can_read = can_read,
	.pack = pack,
	.begin = begin,
	.step = step,
	.finish = finish,
	.merge = merge,
	.wait = wait,
	.failure = failure,
};
