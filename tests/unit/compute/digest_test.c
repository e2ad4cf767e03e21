/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bits of one kernel, for ever: SHA-256 of output and log-sum-exp for the
 * kernel named portable, whatever compiler and sanitizer. The order in which
 * blocks, the ranges of a block and the tiles of a range are merged is part
 * of them; comparing runs with each other would miss an order that changed
 * everywhere.
 *
 * They are those of x86-64, whose baseline has no fused multiply-add; where
 * there is one, the compiler chooses what to fuse. Inputs are sums and
 * products of exact numbers; of libm only log is used, in double and rounded
 * to float.
 *
 * A digest that changes on purpose: run the program, which prints them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/evp.h>

#include "tests/support/whole.h"

#define HEX 65

struct golden {
	const char *name;
	uint32_t n, q_heads, kv_heads, head_dim, value_dim;
	size_t tokens;
	enum kvr_dtype dtype;
	enum kvr_mask mask;
	bool zigzag;
	const char *sha256;
};

/* Zigzag: two ranges in each block; none of the lengths fills its tiles. */
static const struct golden goldens[] = {
	{"f32 causal zigzag", 4, 4, 2, 32, 32, 301, KVR_F32, KVR_MASK_CAUSAL,
	 true,
	 "d873496c652b2021581d49851b548577"
	 "8ff118069dfbe0154203235cc22495b1"},
	{"bf16 causal zigzag", 4, 4, 4, 64, 64, 1037, KVR_BF16, KVR_MASK_CAUSAL,
	 true,
	 "c73fb0ef558958a8539ba4b607a44751"
	 "d495dc9c0630b8cee09d2550bac24fba"},
	{"f32 full zigzag", 3, 6, 1, 20, 12, 333, KVR_F32, KVR_MASK_FULL, true,
	 "8bd37cca68786a2ebd15277f22618e4e"
	 "e2533a699d3a1552e35bbe12199e3a69"},
	{"f32 causal contiguous", 4, 2, 2, 80, 80, 530, KVR_F32,
	 KVR_MASK_CAUSAL, false,
	 "4886b86d929fcfb59cfed6639ce3e015"
	 "164d251825fd10e698e61312d799418c"},
};

static void digest(const struct whole *w, char hex[HEX])
{
	size_t rows = w->tokens * w->desc.q_heads;
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	unsigned char bytes[32];

	CHECK(context);
	CHECK(EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1);
	CHECK(EVP_DigestUpdate(context, w->out,
			       rows * w->desc.value_dim *
				       kvr_dtype_bytes(w->out_dtype)) == 1);
	CHECK(EVP_DigestUpdate(context, w->lse, rows * sizeof(float)) == 1);
	CHECK(EVP_DigestFinal_ex(context, bytes, NULL) == 1);
	EVP_MD_CTX_free(context);
	for (size_t i = 0; i < sizeof(bytes); i++)
		snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
}

static void run(const struct golden *g, char hex[HEX])
{
	struct kvr_plan_desc desc;
	struct whole w;

	kvr_plan_desc_init(&desc);
	desc.q_heads = g->q_heads;
	desc.kv_heads = g->kv_heads;
	desc.head_dim = g->head_dim;
	desc.value_dim = g->value_dim;
	desc.dtype = g->dtype;
	desc.mask = g->mask;
	desc.kernel = "portable";
	whole_init(&w, &desc, g->tokens, 11, 1);
	w.n = g->n;
	w.zigzag = g->zigzag;
	w.out_dtype = g->dtype;
	w.transport = "shm";
	whole_run(&w);
	digest(&w, hex);
	whole_fini(&w);
}

static void portable_kernel_gives_the_golden_bits(void **state)
{
	int differ = 0;
	char hex[HEX];

	(void)state;
	for (size_t i = 0; i < sizeof(goldens) / sizeof(goldens[0]); i++) {
		run(&goldens[i], hex);
		printf("%s: %s\n", goldens[i].name, hex);
		differ += strcmp(hex, goldens[i].sha256) != 0;
	}
	assert_int_equal(differ, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(portable_kernel_gives_the_golden_bits),
	};

#ifndef __x86_64__
	printf("skipped: the golden digests are those of x86-64\n");
	return 77;
#endif
	return cmocka_run_group_tests_name("digest", tests, NULL, NULL);
}
