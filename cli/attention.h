/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of `kvring attention` share: one job, n ranks. */
#ifndef KVR_CLI_ATTENTION_H
#define KVR_CLI_ATTENTION_H

#include <stdatomic.h>

#include "cli/launch.h"
#include "cli/output.h"
#include "cli/place.h"
#include "cli/progress_bar.h"
#include "cli/safetensors.h"
#include "kvring/attention.h"

enum partition {
	PARTITION_CONTIGUOUS,
	PARTITION_ZIGZAG,
	PARTITION_INTERLEAVE,
};

#define STRIPE_MAX (1ull << 40)

struct attention_options {
	const char *input_path, *output_path;
	struct place_request place;
	uint16_t port; /* 0: the library's default */
	double join_seconds;
	uint32_t values_in_keys; /* their dimension; 0: there is a v */
	uint32_t threads;	 /* 0: as many as there are processors for */
	uint32_t slots;
	bool causal, verify, json, f32_output, integrity;
	float scale;   /* 0: the library's default */
	float softcap; /* 0: none */
	struct kvr_window window;
	enum kvr_kv_wire kv_wire;
	enum partition partition;
	uint64_t stripe; /* of interleave */
	uint64_t chunk_bytes;
	const char *transport; /* NULL: the best */
	double timeout_seconds;
	uint32_t chunks;      /* of the prompt; 0: one pass, no pages */
	uint64_t page_tokens; /* with chunks */
};

/* ------------------------------------------------------- input, output */

/* q, k and v, checked against each other, and sinks, read. */
struct attention_input {
	struct safetensors file;
	enum kvr_dtype dtype;
	uint64_t tokens;
	uint32_t q_heads, kv_heads, head_dim, value_dim;
	bool values_in_keys;		       /* there is no v */
	uint64_t q_offset, k_offset, v_offset; /* in the file */
	/* Sequence i is the rows cu_seqlens[i] .. cu_seqlens[i + 1] - 1. */
	uint64_t *cu_seqlens;
	size_t sequences;
	float *sinks; /* of q_heads; NULL: none */
};

/* values_in_keys: as of the options. */
bool attention_input_open(const char *path, uint32_t values_in_keys,
			  struct attention_input *out, struct complaint *why);
void attention_input_close(struct attention_input *input);

struct attention_output {
	struct output file; /* of the command that has rank 0 */
	enum kvr_dtype dtype;
	uint64_t out_offset, lse_offset; /* in the file */
	uint64_t bytes;
};

enum kvr_dtype attention_output_dtype(const struct attention_options *options,
				      const struct attention_input *input);

bool attention_output_open(const struct attention_options *options,
			   const struct attention_input *input,
			   struct attention_output *out, struct complaint *why);

/* -------------------------------------------------------------- shards */

/* Who has which rows. */
struct cut {
	enum partition partition;
	uint64_t stripe;	    /* of interleave */
	const uint64_t *cu_seqlens; /* see struct attention_input */
	size_t sequences;
};

/* Neighbouring rows of the file; `before`: rows of the shard before them. */
struct piece {
	uint64_t row, rows, before;
};

/* The rows of one rank: as the library has them, and as the file does. */
struct shard {
	struct kvr_range *ranges;
	size_t count;
	struct piece *pieces;
	size_t piece_count;
	uint64_t tokens;
};

/* False: no memory. */
bool shard_open(const struct cut *cut, uint32_t rank, uint32_t n,
		struct shard *out);
void shard_close(struct shard *shard);

/* Those of n ranks; NULL: no memory. */
struct shard *shards_open(const struct cut *cut, uint32_t n);
void shards_close(struct shard *shards, uint32_t n);

/* Of so many tokens at most; none of two ranges. */
size_t shard_pages(const struct shard *shard, uint64_t page_tokens);

/* The rows of a shard in memory: mapped when they are one piece, else read. */
struct rows {
	void *data;
	void *mapping;
	size_t mapped;
};

/*
 * offset: of row 0 in the file. element: bytes that data must be aligned to.
 * Returns 0 or an errno.
 */
int rows_open(int fd, uint64_t offset, size_t row_bytes, size_t element,
	      const struct shard *shard, struct rows *out);

/*
 * Where byte `at` of a shard's rows lies in those of all tokens, and how many
 * follow without a gap.
 */
uint64_t shard_place(const struct shard *shard, size_t row_bytes, uint64_t at,
		     uint64_t *run);

/* Empty ones, to be written. */
int rows_allocate(size_t bytes, struct rows *out);
void rows_close(struct rows *rows);

/* --------------------------------------------------------------- ranks */

struct rank_step {
	uint64_t asked_ns, ready_ns, released_ns;
};

/* Written by the rank, read by the command when it has ended. Shared. */
struct rank_report {
	_Atomic uint32_t blocks; /* done so far, for the progress bar */
	bool complete;
	bool usage;		/* failed for what the command was told */
	bool common;		/* failed alike on all ranks */
	enum kvr_status status; /* why it failed */
	uint32_t blame, step;
	char text[640];
	char kernel[32], transport_in[16], transport_out[16];
	uint64_t tokens;
	uint64_t bytes_received, bytes_sent;
	uint64_t wall_ns; /* of the pass, or of all chunks */
	uint64_t exposed_ns, compute_ns;
	uint64_t pss_bytes;
	uint64_t rnr_naks;
	uint32_t steps;
};

/* What a rank learns and the command wants to know. Shared. */
struct job_facts {
	uint32_t n, threads;
};

struct attention_job {
	const struct attention_options *options;
	const struct place *place;
	const struct attention_input *input; /* NULL: could not be opened */
	const struct attention_output *output;
	const struct complaint *early; /* why not to begin; NULL: begin */
	bool early_usage;	       /* and that it was told wrong things */
	struct kvr_plan_desc desc;     /* without ranges */
	uint32_t n, threads;	       /* 0: not known yet */
	struct shard *shards;	       /* of n ranks, when that is known */
	size_t slot_bytes;	       /* the largest block of any rank */
	size_t pages;		       /* the most of any rank */
	struct progress_bar bar;       /* over report->blocks */
	int recorder; /* the ranks' recordings; -1: none are kept */
	struct job_facts *facts;
	struct rank_report *reports; /* by rank */
	struct rank_step *steps;     /* n x n: of rank r from r * n on */
};

struct cut attention_cut(const struct attention_job *job);

/* Threads of each of so many ranks, on processors that they share. */
uint32_t attention_threads(uint32_t ranks);

/*
 * Do the ranks that begin here fit into memory? What would not is refused
 * before the kernel has to kill somebody.
 */
bool attention_fits(const struct attention_job *job, struct complaint *why);

/* shards and slot_bytes of n ranks. False: *usage says whose fault it is. */
bool attention_size_slots(struct attention_job *job, bool *usage,
			  struct complaint *why);

/* A launch_job.rank; arg is the attention_job. */
int attention_rank(void *arg, uint32_t rank);

/* -------------------------------------------------------------- verify */

struct verification {
	uint64_t rows, of_rows;
	double out_max, out_relative, out_worst_row, lse_max;
	double out_limit, row_limit, lse_limit;
	uint64_t not_finite; /* values that are not and should be */
	uint64_t undefined;  /* not finite by the oracle either */
	bool passed;
};

/*
 * Compares what the ranks wrote with the oracle. *interrupted: the signal
 * that ended it early, or 0.
 */
bool verify_attention(const struct attention_job *job, struct verification *out,
		      int *interrupted, struct complaint *why);

/* -------------------------------------------------------------- result */

struct attention_result {
	const struct attention_job *job;
	double wall_seconds; /* start of the first rank to end of the last */
	const struct verification *verification; /* NULL: not asked for */
};

/* Billions of floating-point operations: 2 per multiply-add. */
double attention_gflop(const struct attention_job *job);

/* The slowest rank's pass. */
double attention_ring_seconds(const struct attention_job *job);

/*
 * Of the time that a rank computed or waited, the percentage that it
 * computed: 100 when every transfer hid behind computing. -1: it did neither.
 */
double attention_overlap(const struct rank_report *report);

#endif
