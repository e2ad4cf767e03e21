/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine under whatever neighbours signal, with a caller that goes on
 * with its passes meanwhile. Whatever comes: no access outside of its memory,
 * no action beyond a block or a slot, no block handed out that is not there,
 * no more credits than blocks that arrived, and the first failure stays.
 *
 *	input: ring (4), then events: what, its bytes
 */
#include <stdlib.h>
#include <string.h>

#include "runtime/engine.h"
#include "tests/fuzz/require.h"

#define CHUNK 64u
#define QUEUE 32u
#define LAYOUT 9u

static struct fuzz {
	const uint8_t *data;
	size_t left;
	struct kvr_engine_config config;
	struct kvr_engine *engine;
	uint64_t now_ns, tag;
	uint64_t cookies[QUEUE];
	uint32_t queued;
	uint32_t credits; /* the newest signalled */
	uint32_t sequence[KVR_LANES_MAX];
	bool refuse; /* queues are full */
} fuzz;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t next_byte(void)
{
	if (fuzz.left == 0)
		return 0;
	fuzz.left--;
	return *fuzz.data++;
}

static void next_bytes(void *to, size_t bytes)
{
	uint8_t *target = to;

	for (size_t i = 0; i < bytes; i++)
		target[i] = next_byte();
}

/* --------------------------------------------------------------- actions */

static enum kvr_status on_write(void *arg, const struct kvr_engine_write *w)
{
	const struct kvr_imm imm = kvr_imm_decode(w->imm);

	(void)arg;
	require(w->lane < fuzz.config.lanes);
	require(w->target_slot < fuzz.config.slots);
	require(w->source_slot == KVR_SOURCE_LOCAL
			? w->pass < KVR_ENGINE_PASSES
			: w->source_slot < fuzz.config.slots);
	require(w->bytes > 0 && w->bytes <= CHUNK);
	require(w->offset + w->bytes <= fuzz.config.lane[w->lane].slot_bytes);
	require(imm.type == KVR_IMM_CHUNK && imm.lane == w->lane);
	require(imm.chunk < w->chunks && imm.chunk * CHUNK == w->offset);
	if (fuzz.refuse || fuzz.queued == QUEUE)
		return KVR_ERR_AGAIN;
	fuzz.cookies[fuzz.queued++] = w->cookie;
	return KVR_OK;
}

static enum kvr_status on_describe(void *arg,
				   const struct kvr_engine_describe *d)
{
	const struct kvr_descriptor *what = &d->descriptor;

	(void)arg;
	require(d->lane < fuzz.config.lanes);
	require(d->target_slot < fuzz.config.slots);
	require(what->bytes <= fuzz.config.lane[d->lane].slot_bytes);
	require(what->metadata_bytes <= KVR_METADATA_MAX);
	require(what->hops > 0 && what->hops <= what->hops_total);
	require(what->origin < fuzz.config.n);
	return fuzz.refuse ? KVR_ERR_AGAIN : KVR_OK;
}

static enum kvr_status on_signal(void *arg, enum kvr_side side, uint32_t word)
{
	const struct kvr_imm imm = kvr_imm_decode(word);

	(void)arg;
	if (fuzz.refuse)
		return KVR_ERR_AGAIN;
	require(imm.type != KVR_IMM_CHUNK && imm.type != KVR_IMM_DESCRIPTOR &&
		imm.type != KVR_IMM_TRANSPORT);
	require(imm.type != KVR_IMM_CREDIT || side == KVR_PREV);
	return KVR_OK;
}

static void on_wake(void *arg)
{
	(void)arg;
}

/* ---------------------------------------------------------------- events */

static void arrive(enum kvr_side side, uint32_t imm,
		   const struct kvr_descriptor *d)
{
	/* A copy of its own, so that reading beyond it is seen. */
	struct kvr_descriptor *copy = NULL;

	if (d && kvr_imm_decode(imm).type == KVR_IMM_DESCRIPTOR) {
		copy = malloc(sizeof(*copy));
		require(copy != NULL);
		*copy = *d;
	}
	kvr_engine_arrived(fuzz.engine, side, imm, copy, fuzz.now_ns);
	free(copy);
}

static void any_immediate(void)
{
	struct kvr_descriptor d;
	uint32_t imm;
	uint8_t side = next_byte();

	next_bytes(&imm, sizeof(imm));
	if (kvr_imm_decode(imm).type == KVR_IMM_DESCRIPTOR)
		next_bytes(&d, sizeof(d));
	arrive(side & 1, imm, side & 2 ? NULL : &d);
}

/* What prev would say, but for the fuzzer's changes. */
static void descriptor(void)
{
	const struct kvr_engine_config *c = &fuzz.config;
	const uint32_t lane = next_byte() % c->lanes;
	const uint32_t hops = 1 + next_byte() % c->n;
	const uint32_t chunks = next_byte() % 9;
	const uint8_t changes = next_byte() % 4;
	struct kvr_descriptor d = {
		.sequence = fuzz.sequence[lane],
		.pass = fuzz.tag,
		.bytes = (uint64_t)chunks * CHUNK,
		.origin = (c->rank + c->n - hops) % c->n,
		.hops = hops,
		.hops_total = c->n - 1,
		.chunks = chunks,
		.layout_id = LAYOUT,
	};

	for (uint8_t i = 0; i < changes; i++) {
		uint8_t at = next_byte() % sizeof(d);

		((uint8_t *)&d)[at] ^= next_byte();
	}
	arrive(KVR_PREV,
	       kvr_imm_block(KVR_IMM_DESCRIPTOR, lane, fuzz.sequence[lane], 0),
	       &d);
	for (uint32_t chunk = 0; chunk < chunks && changes == 0; chunk++)
		arrive(KVR_PREV,
		       kvr_imm_block(KVR_IMM_CHUNK, lane, fuzz.sequence[lane],
				     chunk),
		       NULL);
	fuzz.sequence[lane]++;
}

static void chunk(void)
{
	const uint32_t lane = next_byte() % 2;
	const uint32_t back = next_byte() % 8, which = next_byte();

	arrive(KVR_PREV,
	       kvr_imm_block(KVR_IMM_CHUNK, lane,
			     fuzz.sequence[lane % fuzz.config.lanes] - back + 4,
			     which),
	       NULL);
}

static void credit(void)
{
	const uint32_t lane = next_byte() % 2;

	fuzz.credits += next_byte() % 4;
	arrive(KVR_NEXT, kvr_imm_value(KVR_IMM_CREDIT, lane, fuzz.credits),
	       NULL);
}

static void sent(void)
{
	uint32_t which;

	if (fuzz.queued == 0)
		return;
	which = next_byte() % fuzz.queued;
	kvr_engine_sent(fuzz.engine, fuzz.cookies[which]);
	fuzz.cookies[which] = fuzz.cookies[--fuzz.queued];
}

/* ---------------------------------------------------------------- caller */

static void begin(void)
{
	struct kvr_engine_pass pass = {
		.tag = ++fuzz.tag,
		.hops = fuzz.config.n - 1,
	};
	uint32_t record;

	if (fuzz.config.lane[0].kind == KVR_LANE_ACCUMULATING)
		pass.hops = fuzz.config.n;
	for (uint32_t lane = 0; lane < fuzz.config.lanes; lane++)
		pass.bytes[lane] = (uint64_t)(next_byte() % 9) * CHUNK;
	if (kvr_engine_begin(fuzz.engine, &pass, &record) == KVR_OK)
		require(record < KVR_ENGINE_PASSES);
	else
		fuzz.tag--;
}

static void take(void)
{
	const uint32_t lane = next_byte() % fuzz.config.lanes;
	struct kvr_engine_block block;

	if (kvr_engine_take(fuzz.engine, lane, &block) != KVR_OK)
		return;
	require(block.origin < fuzz.config.n);
	require(block.slot == KVR_SOURCE_LOCAL ||
		block.slot < fuzz.config.slots);
	require(block.bytes <= fuzz.config.lane[lane].slot_bytes);
	require(block.metadata_bytes <= KVR_METADATA_MAX);
	require(block.step <= fuzz.config.n);
}

static void release(void)
{
	const uint32_t lane = next_byte() % 3;

	(void)!kvr_engine_release(fuzz.engine, lane, next_byte() % 8);
}

static void run(void)
{
	fuzz.refuse = next_byte() & 1;
	fuzz.now_ns += next_byte();
	(void)kvr_engine_run(fuzz.engine, fuzz.now_ns);
}

static void finish(void)
{
	switch (next_byte() % 8) {
	case 0:
		(void)!kvr_engine_cancel(fuzz.engine);
		return;
	case 1:
		(void)!kvr_engine_bye(fuzz.engine);
		return;
	case 2:
		kvr_engine_lost(fuzz.engine, next_byte() & 1, KVR_CAUSE_CLOSED);
		return;
	case 3:
		kvr_engine_abort(fuzz.engine, next_byte(), KVR_CAUSE_CALLER);
		return;
	default:
		(void)!kvr_engine_end(fuzz.engine);
	}
}

static void (*const events[])(void) = {
	any_immediate, descriptor, descriptor, chunk,	credit, sent, sent,
	begin,	       take,	   take,       release, run,	run,  finish,
};

/* ---------------------------------------------------------------- target */

static void configure(void)
{
	const uint8_t shape = next_byte(), sizes = next_byte();
	struct kvr_engine_config *c = &fuzz.config;

	c->n = 1 + shape % 4;
	c->rank = (shape >> 2) % c->n;
	c->lanes = 1 + (shape >> 4) % 2;
	c->slots = 1 + (shape >> 5) % 4;
	for (uint32_t lane = 0; lane < c->lanes; lane++) {
		c->lane[lane] = (struct kvr_lane_options){
			.kind = next_byte() % 4 ? KVR_LANE_IMMUTABLE
						: KVR_LANE_ACCUMULATING,
			.slot_bytes = (size_t)(1 + sizes % 140) * CHUNK,
		};
	}
	c->chunk_bytes = CHUNK;
	c->layout_id = LAYOUT;
	c->heartbeat_ns = 1000;
	c->silence_ns = 20000;
}

static void step(void)
{
	struct kvr_engine_failure before = *kvr_engine_failure(fuzz.engine);
	const struct kvr_engine_counters *counters =
		kvr_engine_counters(fuzz.engine);
	uint32_t slot;

	events[next_byte() % (sizeof(events) / sizeof(events[0]))]();
	require(counters->credits_granted <= counters->blocks_received);
	for (uint32_t i = 0; i < 8; i++)
		if (kvr_engine_slot_of(fuzz.engine, i % 2, i, &slot))
			require(slot < fuzz.config.slots);
	if (before.status != KVR_OK)
		require(kvr_engine_failure(fuzz.engine)->status ==
			before.status);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct kvr_engine_actions actions = {
		.write = on_write,
		.describe = on_describe,
		.signal = on_signal,
		.wake = on_wake,
	};
	size_t bytes;
	void *memory;

	fuzz = (struct fuzz){.data = data, .left = size};
	configure();
	bytes = kvr_engine_bytes(&fuzz.config);
	memory = bytes ? aligned_alloc(64, (bytes + 63) / 64 * 64) : NULL;
	if (memory && kvr_engine_init(memory, &fuzz.config, &actions, NULL, 0,
				      &fuzz.engine) == KVR_OK)
		while (fuzz.left > 0)
			step();
	free(memory);
	return 0;
}
