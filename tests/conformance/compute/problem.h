/* SPDX-License-Identifier: Apache-2.0 */
/* An attention to compute: its tensors, the oracle's answer, a kernel's. */
#ifndef KVR_TESTS_PROBLEM_H
#define KVR_TESTS_PROBLEM_H

#include "compute/cpu/cpu.h"

#define PROBLEM_RANGES_MAX 8
#define PROBLEM_HEADS_MAX 24

struct problem {
	struct kvr_plan_desc desc;
	struct kvr_range q_range[PROBLEM_RANGES_MAX];
	struct kvr_range kv_range[PROBLEM_RANGES_MAX];
	struct kvr_window window;	/* where desc has one */
	float sinks[PROBLEM_HEADS_MAX]; /* likewise */
	size_t q_tokens, kv_tokens;
	struct kvr_tensor q, k, v;
	int strided; /* tensors have gaps, or heads outside tokens */
};

struct answer {
	struct kvr_tensor out; /* dense */
	float *lse;	       /* [head][token] */
	size_t tokens, heads, dim;
};

/* How a kernel is to go about it. */
struct manner {
	const struct kvr_compute_ops *ops;
	uint32_t threads;
	uint32_t steps; /* the keys arrive in so many blocks */
	enum kvr_dtype out;
};

uint64_t random_next(uint64_t *state);
size_t random_below(uint64_t *state, size_t limit);
float random_unit(uint64_t *state); /* -1 .. 1 */

/* desc, ranges and counts are set: makes the tensors. */
void problem_fill(struct problem *problem, uint64_t seed);
void problem_random(struct problem *problem, uint64_t seed);

/* Gives desc, whose heads are set, random sinks. */
void problem_sink(struct problem *problem, uint64_t *state);
void problem_free(struct problem *problem);

float problem_get(const struct kvr_tensor *tensor, size_t token, size_t head,
		  size_t i);
void problem_set(const struct kvr_tensor *tensor, size_t token, size_t head,
		 size_t i, float value);

/* No score is larger in size (Cauchy, Schwarz). */
double problem_largest_score(const struct problem *problem);

/* The largest norm of a row of values. */
double problem_largest_value(const struct problem *problem);

struct answer answer_of_oracle(const struct problem *problem);
struct answer answer_of_kernel(const struct problem *problem,
			       const struct manner *manner);
void answer_free(struct answer *answer);

/* ||a - b|| / ||b||, Frobenius; 0 for 0 / 0. */
double answer_error(const struct answer *a, const struct answer *b);

/* ||a|| */
double answer_size(const struct answer *a);

/* The largest |a - b| / max(1, |b|) of the lse; infinite if one is -inf. */
double answer_lse_error(const struct answer *a, const struct answer *b);

int answer_same_bits(const struct answer *a, const struct answer *b);

#endif
