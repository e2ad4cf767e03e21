/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/attention.h"

double attention_gflop(const struct attention_job *job)
{
	const struct attention_input *in = job->input;
	double t = (double)in->tokens;
	double pairs = job->options->causal ? t * (t + 1) / 2 : t * t;

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
