/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of one rank share: meeting, computing, delivering. */
#ifndef KVR_CLI_RANK_H
#define KVR_CLI_RANK_H

#include "cli/attention.h"
#include "kvring/bootstrap.h"

struct rank {
	struct attention_job *job; /* this process's own copy */
	uint32_t number;
	struct rank_report *report;
	const struct shard *shard; /* of the job's */
	struct kvr_bootstrap bootstrap;
	struct kvr_context *context;
	struct kvr_ring *ring;
	struct kvr_plan *plan;
	struct rows q, k, v, out, lse;
	struct kvr_tensor q_view, k_view, v_view, out_view;

	/* With --chunks. */
	uint32_t chunk; /* under way */
	struct rows pool;
	struct kvr_memory *pool_memory;

	/* First line of the library's log: what failed, where. */
	atomic_flag log_taken;
	atomic_bool log_ready; /* release by log_line, acquire by check */
	char log[512];
};

/* Always false: the report says why. */
bool rank_fail(struct rank *r, const char *what, const char *remedy);
bool rank_fail_system(struct rank *r, const char *what, int error,
		      const char *remedy);

/* status of the call that does `what`: true, or the report is filled in. */
bool rank_check(struct rank *r, enum kvr_status status, const char *what);

/* A kvr_step_fn; arg is the rank. */
void rank_on_step(void *arg, uint32_t done, uint32_t total);

/* Adds the newest pass of the plan to the report. */
bool rank_add_pass(struct rank *r);

/* All chunks, and their time; the plan of the last stays. */
bool rank_compute_chunks(struct rank *r);

/* Finds the other ranks, and agrees with them on what to do. */
bool rank_join(struct rank *r, kvr_log_fn log);

/* The result goes into the output: straight, or by way of rank 0. */
bool rank_store(struct rank *r);
bool rank_collect(struct rank *r);

#endif
