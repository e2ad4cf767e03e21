/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/attention.h"

/* Pairs of a token and one of at most `reach` before it; -1: any. */
static double seen_on_side(double tokens, double reach)
{
	if (reach < 0 || reach > tokens - 1)
		reach = tokens - 1;
	return reach * (reach + 1) / 2 + (tokens - 1 - reach) * reach;
}

/* Of a sequence, those that the mask lets see each other. */
static double pairs_of(const struct attention_options *o, double tokens)
{
	double pairs = tokens + seen_on_side(tokens, (double)o->window.left);

	if (!o->causal)
		pairs += seen_on_side(tokens, (double)o->window.right);
	return pairs;
}

double attention_gflop(const struct attention_job *job)
{
	const struct attention_input *in = job->input;
	const uint64_t *at = in->cu_seqlens;
	double pairs = 0;
	size_t i;

	for (i = 0; i < in->sequences; i++)
		if (at[i] < at[i + 1])
			pairs += pairs_of(job->options,
					  (double)(at[i + 1] - at[i]));
	return 2e-9 * pairs * in->q_heads * (in->head_dim + in->value_dim);
}

double attention_ring_seconds(const struct attention_job *job)
{
	uint64_t longest = 0;
	uint32_t i;

	for (i = 0; i < job->n; i++)
		if (job->reports[i].wall_ns > longest)
			longest = job->reports[i].wall_ns;
	return (double)longest * 1e-9;
}

double attention_overlap(const struct rank_report *report)
{
	double busy = (double)report->compute_ns;
	double both = busy + (double)report->exposed_ns;

	return both > 0 ? 100 * busy / both : -1;
}
