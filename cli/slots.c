/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>

#include "cli/attention.h"
#include "cli/memory.h"
#include "cli/table.h"

/* Results go through the slots, too, where rank 0 collects them. */
#define COLLECTING_BYTES ((size_t)1 << 20)

static bool complain_kernel(enum kvr_status status, struct complaint *why)
{
	const char *cpu = getenv("KVRING_CPU");

	if (status == KVR_ERR_UNSUPPORTED && cpu)
		return complain(why,
				"KVRING_CPU: '%s' is no kernel that this "
				"processor runs; 'kvring info' lists them",
				cpu);
	return complain(why, "sizing a block: %s", kvr_status_text(status));
}

struct cut attention_cut(const struct attention_job *job)
{
	return (struct cut){
		.partition = job->options->partition,
		.stripe = job->options->stripe,
		.cu_seqlens = job->input->cu_seqlens,
		.sequences = job->input->sequences,
	};
}

/* slot_bytes must agree ring-wide: that of the largest shard. */
static bool largest_block(struct attention_job *job, size_t *out,
			  struct complaint *why)
{
	const struct attention_options *o = job->options;
	struct kvr_plan_desc desc = job->desc;
	size_t bytes, largest = 0;
	enum kvr_status status;
	uint32_t i;

	for (i = 0; i < job->n; i++) {
		const struct shard *shard = &job->shards[i];
		size_t pages = 0;

		desc.kv_ranges = shard->ranges;
		desc.kv_range_count = shard->count;
		if (o->chunks > 0) {
			pages = shard_pages(shard, o->page_tokens);
			status = kvr_attention_block_bytes(&desc, shard->tokens,
							   pages, &bytes);
		} else {
			status = kvr_plan_desc_block_bytes(&desc, &bytes);
		}
		if (status != KVR_OK)
			return complain_kernel(status, why);
		if (bytes > largest)
			largest = bytes;
		if (pages > job->pages)
			job->pages = pages;
	}
	*out = largest;
	return true;
}

/* A slot with integrity: a checksum of each chunk, and two more. */
static size_t sealed_bytes(const struct attention_job *job)
{
	uint64_t chunk = job->options->chunk_bytes;
	size_t chunks = (size_t)((job->slot_bytes + chunk - 1) / chunk);

	if (!job->options->integrity)
		return job->slot_bytes;
	return job->slot_bytes + (chunks + 2) * sizeof(uint32_t);
}

bool attention_size_slots(struct attention_job *job, bool *usage,
			  struct complaint *why)
{
	const struct attention_options *o = job->options;
	const struct cut cut = attention_cut(job);
	size_t bytes;

	*usage = o->chunks > 0 && job->input->sequences > 1;
	if (*usage)
		return complain(why,
				"--chunks prefills one sequence, and %s packs "
				"%zu; leave it out",
				o->input_path, job->input->sequences);
	job->shards = shards_open(&cut, job->n);
	if (!job->shards)
		return complain(why,
				"no memory for the shards of %u ranks; "
				"free some",
				job->n);
	if (!largest_block(job, &job->slot_bytes, why))
		return false;
	if (job->place->kind != PLACE_HERE &&
	    job->slot_bytes < COLLECTING_BYTES)
		job->slot_bytes = COLLECTING_BYTES;
	bytes = (sealed_bytes(job) + KVR_CHUNKS_MAX - 1) / KVR_CHUNKS_MAX;
	/* One rank sends nothing. */
	if (bytes <= o->chunk_bytes || job->n == 1)
		return true;
	*usage = true;
	return complain(why,
			"--chunk: %" PRIu64 " bytes cut a block of %zu into "
			"more than %d pieces; use at least %zu",
			o->chunk_bytes, job->slot_bytes, KVR_CHUNKS_MAX, bytes);
}

/* Every rank has the ranges of all. */
static uint64_t list_bytes(const struct attention_job *job)
{
	uint64_t ranges = 0;
	uint32_t i;

	for (i = 0; i < job->n; i++)
		ranges += job->shards[i].count;
	return ranges * sizeof(struct kvr_range);
}

/* Blocks and slots of our ranks, partial results, and results. */
static uint64_t needed_bytes(const struct attention_job *job, uint32_t ranks)
{
	const struct attention_options *o = job->options;
	const struct attention_input *in = job->input;
	size_t element = kvr_dtype_bytes(o->f32_output ? KVR_F32 : in->dtype);
	uint64_t row =
		in->value_dim * (element + sizeof(float)) + sizeof(float);
	uint64_t slots = job->n > 1 ? o->slots : 0;

	return ranks * ((slots + 1) * sealed_bytes(job) + list_bytes(job)) +
	       in->tokens * in->q_heads * row * ranks / job->n;
}

bool attention_fits(const struct attention_job *job, struct complaint *why)
{
	const struct attention_options *o = job->options;
	const uint32_t ranks = job->place->count;
	uint64_t bytes = needed_bytes(job, ranks);
	struct memory_room room;
	char need[24], have[24];

	if (!memory_room("", &room) || bytes <= room.bytes)
		return true;
	table_bytes(bytes, need, sizeof(need));
	table_bytes(room.bytes, have, sizeof(have));
	return complain(
		why,
		"memory: %u rank%s need at least %s for blocks, slots and "
		"results, and %s are %s; use %s%sfewer tokens or more "
		"memory; a smaller --chunk does not help",
		ranks, ranks == 1 ? "" : "s", need, have, room.of,
		o->slots > (job->n > 2 ? 2 : 1) ? "fewer --slots, " : "",
		job->n > 1 ? "fewer ranks (-n 1 needs no slots), " : "");
}

uint32_t attention_threads(uint32_t ranks)
{
	cpu_set_t set;
	uint32_t count = 1;

	if (!sched_getaffinity(0, sizeof(set), &set))
		count = (uint32_t)CPU_COUNT(&set);
	return ranks > 0 && count > ranks ? count / ranks : 1;
}
