/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/report.h"

#include <jansson.h>
#include <math.h>

/* json_pack's "o" takes over the reference and passes a NULL on. */

static json_t *integer(uint64_t value)
{
	return json_integer((json_int_t)value);
}

/* JSON has no infinities. */
static json_t *real(double value)
{
	return isfinite(value) ? json_real(value) : json_null();
}

static const char *const dtype_names[] = {
	[KVR_F32] = "f32",
	[KVR_BF16] = "bf16",
	[KVR_F16] = "f16",
};

static json_t *steps_json(const struct rank_step *steps, uint32_t count)
{
	json_t *array = json_array();
	uint32_t i;

	for (i = 0; i < count; i++)
		json_array_append_new(
			array,
			json_pack("{s:o, s:o, s:o}", "asked_ns",
				  integer(steps[i].asked_ns), "ready_ns",
				  integer(steps[i].ready_ns), "released_ns",
				  integer(steps[i].released_ns)));
	return array;
}

static json_t *rank_json(const struct attention_job *job, uint32_t rank)
{
	const struct rank_report *r = &job->reports[rank];
	uint32_t n = job->n;
	double overlap = attention_overlap(r);

	return json_pack(
		"{s:i, s:o, s:i, s:o, s:o, s:f, s:f, s:f, s:o, s:o, s:o, s:s, "
		"s:s, s:s, s:o}",
		"rank", (int)rank, "tokens", integer(r->tokens), "steps",
		(int)r->steps, "bytes_received", integer(r->bytes_received),
		"bytes_sent", integer(r->bytes_sent), "pass_seconds",
		(double)r->wall_ns * 1e-9, "compute_seconds",
		(double)r->compute_ns * 1e-9, "exposed_seconds",
		(double)r->exposed_ns * 1e-9, "overlap_percent",
		overlap < 0 ? json_null() : json_real(overlap), "pss_bytes",
		integer(r->pss_bytes), "rnr_naks", integer(r->rnr_naks),
		"kernel", r->kernel, "transport_in", r->transport_in,
		"transport_out", r->transport_out, "timeline",
		steps_json(job->steps + (size_t)rank * n,
			   job->options->chunks > 0 ? 0
			   : r->steps < n	    ? r->steps
						    : n));
}

static json_t *ranks_json(const struct attention_job *job)
{
	json_t *array = json_array();
	uint32_t i;

	for (i = 0; i < job->n; i++)
		json_array_append_new(array, rank_json(job, i));
	return array;
}

static json_t *input_json(const struct attention_job *job)
{
	const struct attention_input *in = job->input;

	return json_pack(
		"{s:s, s:o, s:o, s:i, s:i, s:i, s:i, s:s, s:b, s:b}", "file",
		job->options->input_path, "tokens", integer(in->tokens),
		"sequences", integer(in->sequences), "q_heads",
		(int)in->q_heads, "kv_heads", (int)in->kv_heads, "head_dim",
		(int)in->head_dim, "value_dim", (int)in->value_dim, "dtype",
		dtype_names[in->dtype], "sinks", in->sinks != NULL,
		"values_in_keys", (int)in->values_in_keys);
}

static const char *const partition_names[] = {
	[PARTITION_CONTIGUOUS] = "contiguous",
	[PARTITION_ZIGZAG] = "zigzag",
	[PARTITION_INTERLEAVE] = "interleave",
};

static json_t *options_json(const struct attention_job *job)
{
	const struct attention_options *o = job->options;

	return json_pack(
		"{s:i, s:b, s:[I, I], s:o, s:o, s:s, s:s, s:o, s:i, s:i, s:o, "
		"s:s?, s:f, s:s, s:o, s:o}",
		"n", (int)job->n, "causal", (int)o->causal, "window",
		(json_int_t)o->window.left, (json_int_t)o->window.right,
		"scale",
		o->scale == 0 ? json_null() : json_real((double)o->scale),
		"softcap",
		o->softcap == 0 ? json_null() : json_real((double)o->softcap),
		"kv_wire", o->kv_wire == KVR_KV_E4M3 ? "fp8" : "input",
		"partition", partition_names[o->partition], "stripe",
		o->partition == PARTITION_INTERLEAVE ? integer(o->stripe)
						     : json_null(),
		"threads", (int)job->threads, "slots", (int)o->slots,
		"chunk_bytes", integer(o->chunk_bytes), "transport",
		o->transport, "timeout_seconds", o->timeout_seconds,
		"output_dtype", dtype_names[job->output->dtype], "chunks",
		o->chunks ? integer(o->chunks) : json_null(), "page_tokens",
		o->chunks ? integer(o->page_tokens) : json_null());
}

static json_t *verification_json(const struct verification *v)
{
	if (!v)
		return json_null();
	return json_pack("{s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:f, s:f, s:f, "
			 "s:o}",
			 "verified", (int)v->passed, "rows", integer(v->rows),
			 "of_rows", integer(v->of_rows), "out_max_error",
			 real(v->out_max), "out_relative_error",
			 real(v->out_relative), "out_worst_row_error",
			 real(v->out_worst_row), "lse_max_error",
			 real(v->lse_max), "out_limit", v->out_limit,
			 "row_limit", v->row_limit, "lse_limit", v->lse_limit,
			 "not_finite", integer(v->not_finite));
}

bool report_print(FILE *to, const struct attention_result *result)
{
	const struct attention_job *job = result->job;
	double ring = attention_ring_seconds(job);
	double gflop = attention_gflop(job);
	json_t *root;
	bool ok;

	root = json_pack(
		"{s:s, s:s, s:o, s:o, s:f, s:f, s:f, s:f, s:o, s:o}", "version",
		kvr_version(), "output", job->options->output_path, "input",
		input_json(job), "options", options_json(job), "wall_seconds",
		result->wall_seconds, "pass_seconds", ring, "gflop", gflop,
		"gflop_per_second", ring > 0 ? gflop / ring : 0.0, "ranks",
		ranks_json(job), "verification",
		verification_json(result->verification));
	ok = root && !json_dumpf(root, to, JSON_INDENT(2)) &&
	     fputc('\n', to) != EOF && !fflush(to);
	json_decref(root);
	return ok;
}
