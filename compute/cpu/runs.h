/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ranges of a block as the kernels see them: where each is in memory, and
 * which of them make one run of keys. Ranges that are neighbours in the list
 * are one run where the positions go on and the panels do: where all but its
 * last range are whole panels. Tiles of keys are counted over a run, so that
 * the pages into which it is cut cost little and change no bit.
 */
#ifndef KVR_COMPUTE_RUNS_H
#define KVR_COMPUTE_RUNS_H

#include "compute/cpu/layout.h"

/* A range that is not empty. */
struct kvr_cpu_piece {
	const char *data;
	size_t first;  /* panels of a head before it, in all pieces */
	size_t panels; /* of a head */
};

struct kvr_cpu_run {
	struct kvr_range range;
	size_t first; /* as its first piece's */
};

struct kvr_cpu_runs {
	struct kvr_cpu_piece *piece;
	struct kvr_cpu_run *run;
	size_t pieces, count;
	size_t room;	/* of either */
	bool ascending; /* in sequence and position, none overlapping */
};

/* At least so much room. What was filled in is lost. Errors: NO_MEMORY. */
enum kvr_status kvr_cpu_runs_reserve(struct kvr_cpu_runs *runs, size_t ranges);

void kvr_cpu_runs_fini(struct kvr_cpu_runs *runs);

/* There is room. page: of each range, or NULL: they follow each other. */
void kvr_cpu_runs_fill(struct kvr_cpu_runs *runs,
		       const struct kvr_compute_shape *shape,
		       struct kvr_ranges kv, const void *block,
		       const void *const *page);

/* The piece that has that panel, which there is. */
const struct kvr_cpu_piece *kvr_cpu_runs_piece(const struct kvr_cpu_runs *runs,
					       size_t panel);

/* Of ascending ones: the first that ends behind position of sequence. */
size_t kvr_cpu_runs_behind(const struct kvr_cpu_runs *runs, uint64_t sequence,
			   uint64_t position);

#endif
