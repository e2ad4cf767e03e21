/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests against the committed cases share: the cases, how far a
 * result may be off, and how a sequence is cut into the shards of a ring.
 *
 * Tolerances. Let u = 2^-24, the unit round-off of f32, and P the largest
 * scale * sum |q_i k_i|. A score computed in fp32 is off by at most
 * e = (head_dim + 2) u P (Higham, Accuracy and Stability of Numerical
 * Algorithms, 3.1); the scale itself, a float, by u P. A score error of e
 * changes each weight, and so the log-sum-exp, by e, and the output, a
 * weighted mean of values below V, by 2 e V. Adding up T weights and merging
 * blocks costs at most (T + 8) u more, the kernel's exp under 8 u.
 */
#ifndef KVR_TESTS_REFERENCE_CHECK_H
#define KVR_TESTS_REFERENCE_CHECK_H

#include <stdbool.h>

#include "runtime/compute.h"
#include "tests/reference/case.h"

#define CASES_MAX 256

extern struct reference_case cases[CASES_MAX];
extern size_t case_count;

/* All of a directory; exits with a message when one cannot be read. */
void cases_read(const char *directory);
void cases_free(void);

struct tolerance {
	double out, lse;
};

struct tolerance oracle_tolerance(const struct reference_case *c);
struct tolerance kernel_tolerance(const struct reference_case *c);

/* Every case by every kernel that this processor runs: at least one does. */
void kernels_check(void (*check)(const struct reference_case *c,
				 const struct kvr_compute_ops *ops));

struct result {
	struct kvr_tensor out;
	float *lse; /* [q heads, q tokens] */
};

struct result result_new(const struct reference_case *c, enum kvr_dtype dtype,
			 size_t tokens);
void result_free(struct result *r);

#define STRIPE 20 /* the longest case has 35 of them */
#define RANGES_MAX 64
#define PARTITIONS 3

/* Lists the ranges of a packed batch, or of one sequence of all. */
typedef enum kvr_status (*partition_fn)(const uint64_t *cu_seqlens,
					size_t sequences, uint32_t rank,
					uint32_t n, struct kvr_range *out,
					size_t capacity, size_t *count);

struct partition {
	const char *name;
	partition_fn ranges;
};

extern const struct partition partitions[PARTITIONS]; /* contiguous first */

/* One rank's part of a sequence, or of a packed batch. */
struct shard {
	struct kvr_range range[RANGES_MAX];
	uint64_t row[RANGES_MAX]; /* where each begins in the whole */
	size_t count;
	size_t tokens;
};

/* start: the global position of the first token, where c is not packed. */
struct shard shard_of(const struct partition *p, const struct reference_case *c,
		      uint64_t tokens, uint64_t start, uint32_t rank,
		      uint32_t n);

/* The shard's rows of a whole tensor; its data is the caller's to free. */
struct kvr_tensor shard_gather(const struct kvr_tensor *whole,
			       const struct shard *s);

/* Every row of a shard's result; fails the test, naming case and `what`. */
void result_check(const struct reference_case *c, const struct result *r,
		  const struct shard *shard, struct tolerance t,
		  const char *what);

#endif
