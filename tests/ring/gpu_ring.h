/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rings whose tensors are in GPU memory, ranks being threads, for a GPU and for
 * the emulation: kvr_attention_run through the plug-in as it is loaded. Slots
 * are in host memory, so that blocks are staged.
 */
#ifndef KVR_TESTS_RING_GPU_RING_H
#define KVR_TESTS_RING_GPU_RING_H

#include <stdbool.h>

#include "tests/support/ranks.h"

#define TOKENS 90
#define HEADS 2
#define DIM 24
#define ROW (HEADS * DIM)

struct world {
	float q[TOKENS * ROW], k[TOKENS * ROW], v[TOKENS * ROW];
	float lse[HEADS * TOKENS];
	float want[TOKENS * ROW], want_lse[HEADS * TOKENS];
	float swapped[TOKENS * ROW]; /* of v as keys and k as values */
};

struct kvr_tensor dense(void *data, size_t tokens);
void describe(struct kvr_plan_desc *desc, const struct kvr_range *range,
	      size_t count);

/* Numbers, and the oracle's results. */
void make_world(struct world *w);

/* A rank's rows on the device, and a plan for them. */
struct part {
	struct kvr_range range;
	struct kvr_tensor q, kv[2], out;
	struct kvr_plan *plan;
};

/* rank->arg is the world. */
void make_part(struct part *part, struct rank *rank);
void free_part(struct part *part);

/* Odd rounds swap keys and values, so that no round has the last one's rows. */
enum kvr_status run_part(struct part *part, unsigned round);
bool part_is_right(const struct part *part, const struct world *w,
		   unsigned round);

/* A ring of n, two runs: rows and log-sum-exp are the oracle's. */
void gpu_ring_check(uint32_t n, const char *transport,
		    enum kvr_progress progress);

#endif
