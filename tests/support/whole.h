/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention of a whole sequence, computed by a ring of threads: the tests'
 * way from full tensors to full tensors.
 */
#ifndef KVR_TESTS_WHOLE_H
#define KVR_TESTS_WHOLE_H

#include <stdbool.h>

#include "tests/support/ranks.h"

struct whole {
	/* What to compute; ranges and threads in it are overwritten. */
	struct kvr_plan_desc desc;
	size_t tokens;
	bool zigzag;
	uint64_t stripe; /* not 0: interleave, whatever zigzag says */
	/* A packed batch of `sequences`; NULL: one sequence. The caller's. */
	const uint64_t *cu_seqlens;
	size_t sequences;
	uint32_t threads; /* per rank */
	enum kvr_dtype out_dtype;

	void *q, *k, *v; /* [tokens, heads, dim], dense */
	void *out;	 /* [tokens, q_heads, value_dim], dense */
	float *lse;	 /* [q_heads, tokens] */

	/* How; transport, slots, chunk from here. */
	uint32_t n, slots;
	size_t chunk_bytes;
	const char *transport;
	uint32_t repeats; /* runs of one plan, back to back; 0: 1 */
};

/* Allocates and draws q, k, v: normal, times `spread`. Unset out, lse. */
void whole_init(struct whole *whole, const struct kvr_plan_desc *desc,
		size_t tokens, uint64_t seed, float spread);
void whole_fini(struct whole *whole);

/* Fills out and lse by the ring; any failure ends the program. */
void whole_run(struct whole *whole);

/* The same by the oracle, into caller's f32 [tokens, q_heads, value_dim]. */
void whole_oracle(const struct whole *whole, float *out, float *lse);

/* Element i of out, whatever its type. */
float whole_out(const struct whole *whole, size_t i);

/*
 * Relative error in the Frobenius norm; and the largest of lse, absolute
 * below 1 and relative above, as scores of tens have errors of their own.
 */
double whole_error(const struct whole *whole, const float *expected);
double whole_lse_error(const struct whole *whole, const float *expected);

/* splitmix64: the tests' only generator. */
uint64_t whole_random(uint64_t *state);
float whole_normal(uint64_t *state);

#endif
