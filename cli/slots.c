/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>

#include "cli/attention.h"

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

/* slot_bytes must agree ring-wide: that of the largest shard. */
static bool largest_block(const struct attention_job *job, size_t *out,
			  struct complaint *why)
{
	enum partition partition = job->options->partition;
	size_t bytes, largest = 0;
	enum kvr_status status;
	struct shard shard;
	uint32_t i;

	for (i = 0; i < job->n; i++) {
		shard = shard_of(partition, job->input->tokens, i, job->n);
		status = kvr_attention_block_bytes(&job->desc, shard.tokens,
						   shard.count, &bytes);
		if (status != KVR_OK)
			return complain_kernel(status, why);
		if (bytes > largest)
			largest = bytes;
	}
	*out = largest;
	return true;
}

bool attention_size_slots(struct attention_job *job, bool *usage,
			  struct complaint *why)
{
	const struct attention_options *o = job->options;
	size_t bytes;

	*usage = false;
	if (!largest_block(job, &job->slot_bytes, why))
		return false;
	if (job->place->kind != PLACE_HERE &&
	    job->slot_bytes < COLLECTING_BYTES)
		job->slot_bytes = COLLECTING_BYTES;
	bytes = (job->slot_bytes + KVR_CHUNKS_MAX - 1) / KVR_CHUNKS_MAX;
	if (bytes <= o->chunk_bytes)
		return true;
	*usage = true;
	return complain(why,
			"--chunk: %" PRIu64 " bytes cut a block of %zu into "
			"more than %d pieces; use at least %zu",
			o->chunk_bytes, job->slot_bytes, KVR_CHUNKS_MAX, bytes);
}

uint32_t attention_threads(uint32_t ranks)
{
	cpu_set_t set;
	uint32_t count = 1;

	if (!sched_getaffinity(0, sizeof(set), &set))
		count = (uint32_t)CPU_COUNT(&set);
	return ranks > 0 && count > ranks ? count / ranks : 1;
}
