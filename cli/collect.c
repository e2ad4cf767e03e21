/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Results go into the output. Ranks of one command share its file and write
 * their own rows. Of others, which need not share a file system, rank 0 gets
 * them through the ring: each rank's report and rows are a stream, cut into
 * blocks of what a slot holds, a pass for each.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/rank.h"

#define PASS_TAG UINT64_C(0x726573756c7473) /* "results" */

enum { PART_REPORT, PART_STEPS, PART_OUT, PART_LSE, PARTS };

/* How many bytes of each part a rank's stream has. */
struct extent {
	size_t bytes[PARTS];
};

static struct extent extent_of(const struct attention_job *job,
			       const struct shard *shard)
{
	const struct attention_input *in = job->input;
	size_t rows = shard->tokens * in->q_heads;

	return (struct extent){{
		[PART_REPORT] = sizeof(struct rank_report),
		[PART_STEPS] = job->n * sizeof(struct rank_step),
		[PART_OUT] = rows * in->value_dim *
			     kvr_dtype_bytes(job->output->dtype),
		[PART_LSE] = rows * sizeof(float),
	}};
}

/* The part of `part` that bytes from .. from + bytes of the stream are. */
static bool cut(const struct extent *e, int part, size_t from, size_t bytes,
		size_t *at, size_t *length)
{
	size_t begin = 0, end;
	int i;

	for (i = 0; i < part; i++)
		begin += e->bytes[i];
	end = begin + e->bytes[part];
	if (from + bytes <= begin || from >= end)
		return false;
	if (end > from + bytes)
		end = from + bytes;
	*at = from > begin ? from - begin : 0;
	*length = end - begin - *at;
	return *length > 0;
}

static size_t total(const struct extent *e)
{
	size_t sum = 0;
	int i;

	for (i = 0; i < PARTS; i++)
		sum += e->bytes[i];
	return sum;
}

static uint64_t passes_of(const struct attention_job *job)
{
	uint64_t most = 0, passes;
	uint32_t i;

	for (i = 0; i < job->n; i++) {
		struct extent e = extent_of(job, &job->shards[i]);

		passes = (total(&e) + job->slot_bytes - 1) / job->slot_bytes;
		if (passes > most)
			most = passes;
	}
	return most;
}

/* ------------------------------------------------------------- writing */

static bool write_out(const struct attention_job *job,
		      const struct shard *shard, const uint8_t *from, size_t at,
		      size_t bytes)
{
	const struct attention_output *o = job->output;
	size_t row = (size_t)job->input->q_heads * job->input->value_dim *
		     kvr_dtype_bytes(o->dtype);
	uint64_t run, to;

	for (; bytes > 0; from += run, at += run, bytes -= run) {
		to = shard_place(shard, row, at, &run);
		run = run < bytes ? run : bytes;
		if (!write_all(o->file.fd, from, run, o->out_offset + to))
			return false;
	}
	return true;
}

static bool write_lse(const struct attention_job *job,
		      const struct shard *shard, const uint8_t *from, size_t at,
		      size_t bytes)
{
	const struct attention_output *o = job->output;
	size_t head = shard->tokens * sizeof(float);
	uint64_t run, to;

	for (; bytes > 0; from += run, at += run, bytes -= run) {
		to = shard_place(shard, sizeof(float), at % head, &run);
		to += at / head * job->input->tokens * sizeof(float);
		run = run < bytes ? run : bytes;
		if (!write_all(o->file.fd, from, run, o->lse_offset + to))
			return false;
	}
	return true;
}

static bool fail_write(struct rank *r)
{
	return rank_fail_system(r, "writing the rows", errno, "check the disk");
}

bool rank_store(struct rank *r)
{
	const struct attention_job *job = r->job;
	struct extent e = extent_of(job, r->shard);

	return (write_out(job, r->shard, r->out.data, 0, e.bytes[PART_OUT]) &&
		write_lse(job, r->shard, r->lse.data, 0, e.bytes[PART_LSE])) ||
	       fail_write(r);
}

/* -------------------------------------------------------------- sending */

struct sender {
	struct extent extent;
	struct rank_report report; /* a copy: as it will be in the end */
	struct kvr_memory *memory[PARTS];
	struct kvr_segment segments[PARTS];
};

static bool register_parts(struct rank *r, struct sender *s)
{
	void *at[PARTS] = {
		[PART_REPORT] = &s->report,
		[PART_STEPS] = r->job->steps + (size_t)r->number * r->job->n,
		[PART_OUT] = r->out.data,
		[PART_LSE] = r->lse.data,
	};
	int i;

	for (i = 0; i < PARTS; i++)
		if (s->extent.bytes[i] > 0 &&
		    !rank_check(r,
				kvr_memory_register(r->context, at[i],
						    s->extent.bytes[i],
						    &s->memory[i]),
				"registering its results"))
			return false;
	return true;
}

static bool open_sender(struct rank *r, struct sender *s)
{
	*s = (struct sender){.extent = extent_of(r->job, r->shard)};
	memcpy(&s->report, r->report, sizeof(s->report));
	s->report.complete = true;
	return r->number == 0 || register_parts(r, s);
}

static void close_sender(struct sender *s)
{
	int i;

	for (i = 0; i < PARTS; i++)
		kvr_memory_deregister(s->memory[i]);
}

static bool begin_pass(struct rank *r, struct sender *s, uint64_t number,
		       struct kvr_pass **out)
{
	struct kvr_local_block *local;
	struct kvr_pass_desc desc;
	size_t at, length;
	int i;

	kvr_pass_desc_init(&desc);
	desc.tag = PASS_TAG + number;
	local = &desc.lane[0];
	local->segments = s->segments;
	/* Rank 0 has its own already, and sends nothing. */
	for (i = 0; i < PARTS && r->number > 0; i++)
		if (cut(&s->extent, i, number * r->job->slot_bytes,
			r->job->slot_bytes, &at, &length))
			s->segments[local->segment_count++] =
				(struct kvr_segment){s->memory[i], at, length};
	return rank_check(r, kvr_pass_begin(r->ring, &desc, out),
			  "handing on its results");
}

/* ------------------------------------------------------------ receiving */

static bool take_part(const struct attention_job *job, uint32_t rank, int part,
		      const uint8_t *from, size_t at, size_t bytes)
{
	const struct shard *shard = &job->shards[rank];

	switch (part) {
	case PART_REPORT:
		memcpy((uint8_t *)&job->reports[rank] + at, from, bytes);
		return true;
	case PART_STEPS:
		memcpy((uint8_t *)(job->steps + (size_t)rank * job->n) + at,
		       from, bytes);
		return true;
	case PART_OUT:
		return write_out(job, shard, from, at, bytes);
	default:
		return write_lse(job, shard, from, at, bytes);
	}
}

/* Of another rank; as long as it must be. */
static bool take_block(struct rank *r, const struct kvr_block *block,
		       uint64_t number)
{
	const struct attention_job *job = r->job;
	struct extent e = extent_of(job, &job->shards[block->origin]);
	size_t taken = 0, at, length;
	int i;

	for (i = 0; i < PARTS; i++) {
		if (!cut(&e, i, number * job->slot_bytes, job->slot_bytes, &at,
			 &length))
			continue;
		if (taken + length > block->bytes)
			break;
		if (!take_part(job, block->origin, i,
			       (const uint8_t *)block->data + taken, at,
			       length))
			return fail_write(r);
		taken += length;
	}
	return (i == PARTS && taken == block->bytes) ||
	       rank_fail(r, "a rank's results are too short or too long",
			 "use the same kvring everywhere");
}

static bool take_pass(struct rank *r, struct kvr_pass *pass, uint64_t number)
{
	struct kvr_block block;
	enum kvr_status status;

	kvr_block_init(&block);
	while ((status = kvr_pass_next(pass, 0, &block)) == KVR_OK) {
		if (block.step > 0 && !take_block(r, &block, number))
			return false;
		if (!rank_check(r, kvr_pass_release(pass, 0, block.step),
				"collecting the results"))
			return false;
	}
	return status == KVR_ERR_END ||
	       rank_check(r, status, "collecting the results");
}

bool rank_collect(struct rank *r)
{
	const uint64_t passes = passes_of(r->job);
	struct kvr_pass *pass;
	struct sender s;
	uint64_t i;
	bool ok = open_sender(r, &s) && (r->number > 0 || rank_store(r));

	for (i = 0; i < passes && ok; i++) {
		ok = begin_pass(r, &s, i, &pass) &&
		     (r->number > 0 || take_pass(r, pass, i));
		/* The others only hand on what passes through them. */
		ok = ok && rank_check(r, kvr_pass_end(pass),
				      "handing on its results");
	}
	/* Before the memory goes: nothing may still be sent from it. */
	if (!ok) {
		kvr_ring_abort(r->ring);
		kvr_plan_destroy(r->plan);
		kvr_ring_close(r->ring);
		r->plan = NULL;
		r->ring = NULL;
	}
	close_sender(&s);
	return ok;
}
