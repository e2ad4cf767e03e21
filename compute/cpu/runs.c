/* SPDX-License-Identifier: Apache-2.0 */
#include "compute/cpu/runs.h"

#include <stdlib.h>

enum kvr_status kvr_cpu_runs_reserve(struct kvr_cpu_runs *runs, size_t ranges)
{
	struct kvr_cpu_piece *piece;
	struct kvr_cpu_run *run;

	if (ranges <= runs->room)
		return KVR_OK;
	piece = calloc(ranges, sizeof(*piece));
	if (!piece)
		return KVR_ERR_NO_MEMORY;
	run = calloc(ranges, sizeof(*run));
	if (!run) {
		free(piece);
		return KVR_ERR_NO_MEMORY;
	}
	kvr_cpu_runs_fini(runs);
	*runs = (struct kvr_cpu_runs){
		.piece = piece,
		.run = run,
		.room = ranges,
	};
	return KVR_OK;
}

void kvr_cpu_runs_fini(struct kvr_cpu_runs *runs)
{
	free(runs->run);
	free(runs->piece);
}

static bool goes_on(const struct kvr_range *last, const struct kvr_range *next)
{
	return next->sequence == last->sequence &&
	       next->start == last->start + last->length &&
	       last->length % KVR_CPU_PANEL == 0;
}

static bool ascends(const struct kvr_range *last, const struct kvr_range *next)
{
	if (next->sequence != last->sequence)
		return next->sequence > last->sequence;
	return next->start >= last->start + last->length;
}

static void add_range(struct kvr_cpu_runs *runs, const struct kvr_range *range,
		      size_t first)
{
	struct kvr_range *last =
		runs->count ? &runs->run[runs->count - 1].range : NULL;

	if (last && goes_on(last, range)) {
		last->length += range->length;
		return;
	}
	if (last && !ascends(last, range))
		runs->ascending = false;
	runs->run[runs->count++] = (struct kvr_cpu_run){*range, first};
}

void kvr_cpu_runs_fill(struct kvr_cpu_runs *runs,
		       const struct kvr_compute_shape *shape,
		       struct kvr_ranges kv, const void *block,
		       const void *const *page)
{
	size_t first = 0, offset = 0;

	runs->pieces = runs->count = 0;
	runs->ascending = true;
	for (size_t i = 0; i < kv.count; i++) {
		const struct kvr_range *range = &kv.range[i];
		size_t panels = kvr_cpu_panels(range->length);

		if (!panels)
			continue;
		runs->piece[runs->pieces++] = (struct kvr_cpu_piece){
			.data = page ? page[i] : (const char *)block + offset,
			.first = first,
			.panels = panels,
		};
		add_range(runs, range, first);
		first += panels;
		offset += kvr_cpu_range_bytes(shape, range->length);
	}
}

const struct kvr_cpu_piece *kvr_cpu_runs_piece(const struct kvr_cpu_runs *runs,
					       size_t panel)
{
	size_t low = 0, high = runs->pieces;

	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (runs->piece[middle].first <= panel)
			low = middle;
		else
			high = middle;
	}
	return &runs->piece[low];
}

static bool ends_behind(const struct kvr_range *range, uint64_t sequence,
			uint64_t position)
{
	if (range->sequence != sequence)
		return range->sequence > sequence;
	return range->start + range->length > position;
}

size_t kvr_cpu_runs_behind(const struct kvr_cpu_runs *runs, uint64_t sequence,
			   uint64_t position)
{
	size_t low = 0, high = runs->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (ends_behind(&runs->run[middle].range, sequence, position))
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}
