/* SPDX-License-Identifier: Apache-2.0 */
/* A small attention for the tests of plans, and its ranks. */
#ifndef KVR_TESTS_PLAN_PROBLEM_H
#define KVR_TESTS_PLAN_PROBLEM_H

#include "tests/support/ranks.h"

/* Each rank: 6 tokens of 2 heads and dims 4 and 3; the sequence n times so. */
#define TOKENS 6
#define HEADS 2
#define DIM 4
#define VALUE 3
#define RANKS 3

struct problem {
	struct kvr_range range;
	struct kvr_plan_desc desc;
	float q[TOKENS * HEADS * DIM], k[TOKENS * DIM], v[TOKENS * VALUE];
	float out[TOKENS * HEADS * VALUE], lse[HEADS * TOKENS];
	struct kvr_tensor tq, tk, tv, tout;
};

void problem_init(struct problem *p, uint32_t rank);

/* kvr_attention_run of all of it. */
enum kvr_status run(struct problem *p, struct kvr_plan *plan);

/* The rank's rows are what they must be, from all ranks' keys. */
void check_output(const struct problem *p, uint32_t rank, uint32_t n);

/* body on each of n ranks; slot_bytes: 0 for the default. */
void over(uint32_t n, void (*body)(struct rank *), size_t slot_bytes);

/* The plan is refused so, and none made. */
void refuse_plan(struct rank *rank, const struct kvr_plan_desc *desc,
		 enum kvr_status expected);

#endif
