/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bit for bit: whatever the transport, slots, chunks, delays, reorderings or
 * the slow rank, output and log-sum-exp have one SHA-256 per case; and the
 * order of merging is part of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/evp.h>

#include "rdma/fake/fake.h"
#include "runtime/registry.h"
#include "tests/support/whole.h"

struct digest {
	unsigned char bytes[32];
};

static struct digest digest(const struct whole *w, const void *out,
			    const float *lse)
{
	size_t rows = w->tokens * w->desc.q_heads;
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	struct digest d;

	CHECK(context);
	CHECK(EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1);
	CHECK(EVP_DigestUpdate(context, out,
			       rows * w->desc.value_dim *
				       kvr_dtype_bytes(w->out_dtype)) == 1);
	CHECK(EVP_DigestUpdate(context, lse, rows * sizeof(float)) == 1);
	CHECK(EVP_DigestFinal_ex(context, d.bytes, NULL) == 1);
	EVP_MD_CTX_free(context);
	return d;
}

static struct digest run(struct whole *w)
{
	size_t rows = w->tokens * w->desc.q_heads;

	/* What is not written must not agree by chance. */
	memset(w->out, 0x5a,
	       rows * w->desc.value_dim * kvr_dtype_bytes(w->out_dtype));
	memset(w->lse, 0x5a, rows * sizeof(float));
	whole_run(w);
	return digest(w, w->out, w->lse);
}

static bool same(const struct digest *a, const struct digest *b)
{
	return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

static void print_digest(const char *name, const struct digest *d)
{
	printf("%s: sha256 ", name);
	for (size_t i = 0; i < sizeof(d->bytes); i++)
		printf("%02x", d->bytes[i]);
	printf("\n");
}

struct subject {
	const char *name;
	uint32_t n, q_heads, kv_heads, head_dim;
	size_t tokens;
	enum kvr_dtype dtype;
	enum kvr_mask mask;
	bool zigzag;
};

static const struct subject subjects[] = {
	{"f32 full", 4, 4, 2, 32, 301, KVR_F32, KVR_MASK_FULL, false},
	{"bf16 causal zigzag", 3, 4, 4, 64, 257, KVR_BF16, KVR_MASK_CAUSAL,
	 true},
	{"f32 causal mqa", 5, 8, 1, 16, 333, KVR_F32, KVR_MASK_CAUSAL, false},
};

static void subject_init(const struct subject *s, struct whole *w)
{
	struct kvr_plan_desc desc;

	kvr_plan_desc_init(&desc);
	desc.q_heads = s->q_heads;
	desc.kv_heads = s->kv_heads;
	desc.head_dim = s->head_dim;
	desc.dtype = s->dtype;
	desc.mask = s->mask;
	whole_init(w, &desc, s->tokens, 7, 1);
	w->n = s->n;
	w->zigzag = s->zigzag;
	w->out_dtype = s->dtype;
	w->transport = "shm";
}

static void expect(struct whole *w, const struct digest *first,
		   const char *what, uint64_t number)
{
	struct digest now = run(w);

	if (same(&now, first))
		return;
	fprintf(stderr, "%s %llu changes the result: slots %u chunk %zu %s\n",
		what, (unsigned long long)number, w->slots, w->chunk_bytes,
		w->transport);
	abort();
}

static void over_slots_chunks_transports(struct whole *w,
					 const struct digest *first)
{
	static const size_t chunks[] = {1 << 20, 4096, 777};
	static const char *const transports[] = {"shm", "fake"};

	for (uint32_t slots = 2; slots <= 4; slots++) {
		for (size_t c = 0; c < 3; c++) {
			for (size_t t = 0; t < 2; t++) {
				w->slots = slots;
				w->chunk_bytes = chunks[c];
				w->transport = transports[t];
				w->threads = 1 + slots % 2;
				expect(w, first, "matrix", slots);
			}
		}
	}
}

static void over_scripts(struct whole *w, const struct digest *first)
{
	w->slots = 2;
	w->chunk_bytes = 1000;
	w->transport = "fake";
	for (uint64_t seed = 1; seed <= 12; seed++) {
		struct kvr_fake_script script = {
			.seed = seed,
			.delay_min_ns = 1000,
			.delay_max_ns = 1000 + seed * 30000,
			.reorder = seed % 2,
			.queue_depth = (uint32_t)(1 + seed % 5),
			.slow_rank = (uint32_t)(seed % w->n),
			.slow_factor = 20,
		};

		kvr_fake_set_script(&script);
		expect(w, first, "script", seed);
	}
	kvr_fake_set_script(NULL);
}

static void attention_any_schedule_one_digest(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(subjects) / sizeof(subjects[0]); i++) {
		struct digest first;
		struct whole w;

		subject_init(&subjects[i], &w);
		first = run(&w);
		print_digest(subjects[i].name, &first);
		expect(&w, &first, "second run", 0);
		over_slots_chunks_transports(&w, &first);
		over_scripts(&w, &first);
		whole_fini(&w);
	}
}

/* ------------------------------------------------------ merge order */

/* One rank's result from the seam itself, blocks in the given order. */
static void by_hand(const struct whole *w, uint32_t rank, bool reversed,
		    float *out, float *lse)
{
	const struct kvr_plan_desc *d = &w->desc;
	const struct kvr_compute_shape shape = {
		.q_heads = d->q_heads,
		.kv_heads = d->kv_heads,
		.head_dim = d->head_dim,
		.value_dim = d->value_dim,
		.dtype = d->dtype,
		.mask = d->mask,
		.scale = 0.25f,
	};
	size_t kv_row = (size_t)d->kv_heads * d->head_dim;
	size_t q_row = (size_t)d->q_heads * d->head_dim;
	const struct kvr_compute_ops *ops;
	struct kvr_compute *compute;
	struct kvr_tensor q, o;
	struct kvr_range mine;
	size_t count;

	CHECK_STATUS(kvr_registry_find_compute(NULL, &ops), KVR_OK);
	CHECK_STATUS(
		kvr_ranges_contiguous(w->tokens, rank, w->n, &mine, &count),
		KVR_OK);
	CHECK_STATUS(
		ops->open(&shape, (struct kvr_ranges){&mine, 1}, 1, &compute),
		KVR_OK);
	q = kvr_tensor_dense((float *)w->q + mine.start * q_row, KVR_F32,
			     mine.length, d->q_heads, d->head_dim);
	o = kvr_tensor_dense(out + mine.start * d->q_heads * d->value_dim,
			     KVR_F32, mine.length, d->q_heads, d->value_dim);
	ops->begin(compute, &q);
	for (uint32_t i = 0; i < w->n; i++) {
		uint32_t step = reversed ? w->n - 1 - i : i;
		uint32_t origin = (rank + w->n - step) % w->n;
		struct kvr_range range;
		struct kvr_ranges kv = {&range, 1};
		struct kvr_tensor k, v;
		void *block;

		CHECK_STATUS(kvr_ranges_contiguous(w->tokens, origin, w->n,
						   &range, &count),
			     KVR_OK);
		k = kvr_tensor_dense((float *)w->k + range.start * kv_row,
				     KVR_F32, range.length, d->kv_heads,
				     d->head_dim);
		v = kvr_tensor_dense((float *)w->v + range.start * kv_row,
				     KVR_F32, range.length, d->kv_heads,
				     d->value_dim);
		block = aligned_alloc(64, ops->block_bytes(&shape, kv));
		CHECK(block);
		ops->pack(compute, kv, &k, &v, block);
		ops->step(compute, kv, block);
		free(block);
	}
	ops->finish(compute, &o, lse + mine.start, w->tokens);
	ops->close(compute);
}

static void attention_merge_order_changed_digest_differs(void **state)
{
	struct digest ring, forward, backward;
	struct kvr_plan_desc desc;
	float *out, *lse;
	struct whole w;

	(void)state;
	kvr_plan_desc_init(&desc);
	desc.q_heads = 4;
	desc.kv_heads = 2;
	desc.head_dim = 16;
	desc.scale = 0.25f;
	whole_init(&w, &desc, 200, 3, 1);
	w.n = 4;
	out = calloc(w.tokens * desc.q_heads * 16, sizeof(*out));
	lse = calloc(w.tokens * desc.q_heads, sizeof(*lse));
	assert_true(out && lse);
	ring = run(&w);
	for (uint32_t rank = 0; rank < w.n; rank++)
		by_hand(&w, rank, false, out, lse);
	forward = digest(&w, out, lse);
	for (uint32_t rank = 0; rank < w.n; rank++)
		by_hand(&w, rank, true, out, lse);
	backward = digest(&w, out, lse);
	assert_true(same(&ring, &forward));
	assert_false(same(&ring, &backward));
	free(out);
	free(lse);
	whole_fini(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(attention_any_schedule_one_digest),
		cmocka_unit_test(attention_merge_order_changed_digest_differs),
	};

	return cmocka_run_group_tests_name("exact", tests, NULL, NULL);
}
