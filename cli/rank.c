/* SPDX-License-Identifier: Apache-2.0 */
/* What one rank of `kvring attention` does, in a process of its own. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/rank.h"
#include "kvring/recorder.h"

/* -------------------------------------------------------------- failing */

static void log_line(void *arg, enum kvr_log_level level, const char *line)
{
	struct rank *r = arg;

	if (level != KVR_LOG_ERROR || atomic_flag_test_and_set(&r->log_taken))
		return;
	snprintf(r->log, sizeof(r->log), "%s", line);
	atomic_store_explicit(&r->log_ready, true, memory_order_release);
}

bool rank_fail(struct rank *r, const char *what, const char *remedy)
{
	snprintf(r->report->text, sizeof(r->report->text), "%s; %s", what,
		 remedy);
	return false;
}

bool rank_fail_system(struct rank *r, const char *what, int error,
		      const char *remedy)
{
	char text[256];

	snprintf(text, sizeof(text), "%s: %s", what, strerror(error));
	return rank_fail(r, text, remedy);
}

bool rank_check(struct rank *r, enum kvr_status status, const char *what)
{
	struct rank_report *report = r->report;
	struct kvr_failure failure;
	const char *detail = "";

	if (status == KVR_OK)
		return true;
	report->status = status;
	report->blame = KVR_RANK_NONE;
	kvr_failure_init(&failure);
	if (r->ring && kvr_ring_get_failure(r->ring, &failure) == KVR_OK &&
	    failure.status != KVR_OK) {
		report->blame = failure.rank;
		report->step = failure.step;
		detail = failure.text;
	} else if (atomic_load_explicit(&r->log_ready, memory_order_acquire)) {
		detail = r->log;
	}
	/* The library's advice is for programs; the log has better. */
	snprintf(report->text, sizeof(report->text), "%s: %s: %s%s", what,
		 kvr_status_name(status),
		 *detail ? detail : kvr_status_text(status),
		 status == KVR_ERR_NO_MEMORY
			 ? "; free memory, or use fewer --slots or tokens"
			 : "");
	return false;
}

/* ------------------------------------------------------------- progress */

void rank_on_step(void *arg, uint32_t done, uint32_t total)
{
	const struct rank *r = arg;
	uint32_t chunks = r->job->options->chunks;
	double share = (double)done / total;

	if (chunks > 0)
		share = (r->chunk + share) / chunks;
	/* As if all blocks came: where the mask lets fewer come, it is done. */
	atomic_store(&r->report->blocks, (uint32_t)(share * r->job->n));
}

/* ---------------------------------------------------------------- steps */

static bool load(struct rank *r, const char *name, uint64_t offset,
		 uint32_t heads, uint32_t dim, struct rows *rows,
		 struct kvr_tensor *view)
{
	const struct attention_input *in = r->job->input;
	size_t element = kvr_dtype_bytes(in->dtype);
	char what[32];
	int error = rows_open(in->file.fd, offset, heads * dim * element,
			      element, r->shard, rows);

	if (error) {
		snprintf(what, sizeof(what), "reading its rows of %s", name);
		return rank_fail_system(r, what, error,
					"free memory, or start more ranks with "
					"less each");
	}
	*view = kvr_tensor_dense(rows->data, in->dtype, r->shard->tokens, heads,
				 dim);
	return true;
}

static bool load_input(struct rank *r)
{
	const struct attention_input *in = r->job->input;

	return load(r, "q", in->q_offset, in->q_heads, in->head_dim, &r->q,
		    &r->q_view) &&
	       load(r, "k", in->k_offset, in->kv_heads, in->head_dim, &r->k,
		    &r->k_view) &&
	       (in->values_in_keys || load(r, "v", in->v_offset, in->kv_heads,
					   in->value_dim, &r->v, &r->v_view));
}

static bool allocate_output(struct rank *r)
{
	const struct attention_input *in = r->job->input;
	size_t rows = r->shard->tokens * in->q_heads;
	int error;

	error = rows_allocate(rows * in->value_dim *
				      kvr_dtype_bytes(r->job->output->dtype),
			      &r->out);
	if (!error)
		error = rows_allocate(rows * sizeof(float), &r->lse);
	if (error)
		return rank_fail_system(
			r, "memory for its output", error,
			"free some, or start more ranks with less "
			"each");
	r->out_view =
		kvr_tensor_dense(r->out.data, r->job->output->dtype,
				 r->shard->tokens, in->q_heads, in->value_dim);
	return true;
}

static bool open_ring(struct rank *r)
{
	const struct attention_options *o = r->job->options;
	struct kvr_ring_options ring;

	kvr_ring_options_init(&ring);
	ring.transport = o->transport;
	ring.slots = o->slots;
	/* One rank sends nothing, and no limit on chunks is in its way. */
	ring.chunk_bytes = r->job->n == 1 ? r->job->slot_bytes : o->chunk_bytes;
	ring.lane[0].slot_bytes = r->job->slot_bytes;
	if (o->integrity)
		ring.integrity = 1;
	if (ring.max_segments < r->job->pages)
		ring.max_segments = (uint32_t)r->job->pages;
	ring.peer_timeout_ms = (uint32_t)(o->timeout_seconds * 1000);
	if (ring.wait_timeout_ms < ring.peer_timeout_ms)
		ring.wait_timeout_ms = ring.peer_timeout_ms;
	return rank_check(
		r, kvr_ring_open(r->context, &r->bootstrap, &ring, &r->ring),
		"joining the ring");
}

static bool open_library(struct rank *r)
{
	struct kvr_context_options context;

	kvr_context_options_init(&context);
	context.log = log_line;
	context.log_arg = r;
	context.log_level = KVR_LOG_ERROR;
	return rank_check(r, kvr_context_open(&context, &r->context),
			  "opening the library");
}

static bool meet(struct rank *r)
{
	if (!open_library(r) || !rank_join(r, log_line))
		return false;
	r->shard = &r->job->shards[r->number];
	return open_ring(r);
}

static bool make_plan(struct rank *r)
{
	struct kvr_plan_desc desc = r->job->desc;

	/* Each chunk makes its own. */
	if (r->job->options->chunks > 0)
		return true;
	desc.q_ranges = desc.kv_ranges = r->shard->ranges;
	desc.q_range_count = desc.kv_range_count = r->shard->count;
	desc.on_step = rank_on_step;
	desc.on_step_arg = r;
	return rank_check(r, kvr_plan_create(r->ring, &desc, &r->plan),
			  "agreeing on the plan");
}

/* ---------------------------------------------------------- statistics */

static bool note_steps(struct rank *r, const struct kvr_pass *pass,
		       uint32_t count)
{
	uint32_t n = r->job->n, i;
	struct rank_step *steps = r->job->steps + (size_t)r->number * n;
	struct kvr_step_stats stats;

	for (i = 0; i < count && i < n; i++) {
		kvr_step_stats_init(&stats);
		if (!rank_check(r, kvr_pass_get_step(pass, 0, i, &stats),
				"reading its statistics"))
			return false;
		steps[i] = (struct rank_step){.asked_ns = stats.asked_ns,
					      .ready_ns = stats.ready_ns,
					      .released_ns = stats.released_ns};
	}
	return true;
}

bool rank_add_pass(struct rank *r)
{
	const struct kvr_pass *pass = kvr_plan_pass(r->plan);
	struct rank_report *report = r->report;
	struct kvr_pass_stats stats;

	kvr_pass_stats_init(&stats);
	if (!rank_check(r, kvr_pass_get_stats(pass, &stats),
			"reading its statistics"))
		return false;
	report->steps += stats.steps;
	report->bytes_received += stats.bytes_received;
	report->bytes_sent += stats.bytes_sent;
	report->wall_ns = stats.wall_ns;
	report->exposed_ns += stats.exposed_ns;
	report->compute_ns += stats.held_ns;
	/* Of many passes there is no one timeline. */
	return r->job->options->chunks > 0 || note_steps(r, pass, stats.steps);
}

/* ------------------------------------------------------------ computing */

/* k and v are packed first, so that only one copy of them is in memory. */
static bool compute(struct rank *r)
{
	const struct kvr_tensor *v =
		r->job->input->values_in_keys ? NULL : &r->v_view;

	if (r->job->options->chunks > 0)
		return rank_compute_chunks(r);
	if (!rank_check(r, kvr_attention_pack(r->plan, &r->k_view, v),
			"packing its block"))
		return false;
	rows_close(&r->k);
	rows_close(&r->v);
	return rank_check(r,
			  kvr_attention_run(r->plan, &r->q_view, NULL, NULL,
					    &r->out_view, r->lse.data,
					    r->shard->tokens),
			  "computing") &&
	       rank_add_pass(r);
}

/* --------------------------------------------------------------- report */

/* Proportional set size: pages shared by m processes count 1/m each. */
static uint64_t pss_bytes(void)
{
	FILE *file = fopen("/proc/self/smaps_rollup", "re");
	unsigned long long kib = 0;
	char line[128];

	if (!file)
		return 0;
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "Pss: %llu kB", &kib) == 1)
			break;
	fclose(file);
	return kib * 1024;
}

/* Until all ranks are here. One that fails is no reason to wait, or to fail. */
static void await_all(struct rank *r)
{
	uint8_t here = 0, all[LAUNCH_RANKS_MAX];

	if (r->bootstrap.n <= LAUNCH_RANKS_MAX && r->bootstrap.allgather &&
	    r->bootstrap.allgather(r->bootstrap.arg, &here, sizeof(here), all))
		return;
}

/*
 * Everything is mapped and touched now: this is the peak. And nobody has left
 * or still computes, which would change what the slots of two cost either.
 */
static uint64_t peak_bytes(struct rank *r)
{
	uint64_t bytes;

	await_all(r);
	bytes = pss_bytes();
	await_all(r);
	return bytes;
}

static bool report(struct rank *r)
{
	struct rank_report *report = r->report;
	struct kvr_ring_stats stats;

	report->pss_bytes = peak_bytes(r);
	report->tokens = r->shard->tokens;
	kvr_ring_stats_init(&stats);
	if (!rank_check(r, kvr_ring_get_stats(r->ring, &stats),
			"reading its statistics"))
		return false;
	report->rnr_naks = stats.rnr_naks;
	snprintf(report->kernel, sizeof(report->kernel), "%s",
		 kvr_plan_kernel(r->plan));
	snprintf(report->transport_in, sizeof(report->transport_in), "%s",
		 stats.transport_in ? stats.transport_in : "none");
	snprintf(report->transport_out, sizeof(report->transport_out), "%s",
		 stats.transport_out ? stats.transport_out : "none");
	return true;
}

static void close_rank(struct rank *r)
{
	if (r->plan)
		kvr_plan_destroy(r->plan);
	if (r->ring)
		kvr_ring_close(r->ring);
	kvr_memory_deregister(r->pool_memory);
	if (r->context)
		kvr_context_close(r->context);
	kvr_bootstrap_close(&r->bootstrap);
	rows_close(&r->q);
	rows_close(&r->k);
	rows_close(&r->v);
	rows_close(&r->out);
	rows_close(&r->lse);
	rows_close(&r->pool);
	shards_close(r->job->shards, r->job->n);
	r->job->shards = NULL;
}

static bool deliver(struct rank *r)
{
	if (r->job->place->kind == PLACE_HERE)
		return rank_store(r);
	return rank_collect(r);
}

int attention_rank(void *arg, uint32_t number)
{
	struct attention_job *job = arg;
	struct rank r = {.job = job,
			 .number = number,
			 .report = &job->reports[number],
			 .log_taken = ATOMIC_FLAG_INIT};

	kvr_bootstrap_init(&r.bootstrap);
	r.report->complete = meet(&r) && load_input(&r) && make_plan(&r) &&
			     allocate_output(&r) && compute(&r) && report(&r) &&
			     deliver(&r);
	/* Ours alone so far: the others need not wait for us. */
	if (!r.report->complete && r.ring)
		kvr_ring_abort(r.ring);
	/* Nothing is lost where that fails but the sentence of the cause. */
	if (!r.report->complete && r.ring && job->recorder >= 0)
		(void)!kvr_ring_record(r.ring, job->recorder);
	close_rank(&r);
	if (r.report->usage)
		return CLI_USAGE;
	return r.report->complete ? CLI_OK : CLI_FAILED;
}
