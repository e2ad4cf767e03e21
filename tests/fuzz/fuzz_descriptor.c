/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One descriptor, however prev has written it, to an engine with one pass
 * open. It is believed exactly when it says what the protocol allows, which is
 * said here once more, from runtime/wire.h; and a block that was believed is
 * handed out as it was described.
 *
 *	input: ring (4), the block's place (2), its bytes (2), then what to
 *	change: offset, byte
 */
#include <stdlib.h>
#include <string.h>

#include "runtime/engine.h"
#include "tests/fuzz/require.h"

#define CHUNK 64u
#define LAYOUT 9u
#define TAG 77u

static struct fuzz {
	const uint8_t *data;
	size_t left;
	struct kvr_engine_config config;
	struct kvr_engine *engine;
	uint32_t hops; /* of the pass */
} fuzz;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t next_byte(void)
{
	if (fuzz.left == 0)
		return 0;
	fuzz.left--;
	return *fuzz.data++;
}

/* --------------------------------------------------------------- actions */

static enum kvr_status on_write(void *arg, const struct kvr_engine_write *w)
{
	(void)arg, (void)w;
	return KVR_OK;
}

static enum kvr_status on_describe(void *arg,
				   const struct kvr_engine_describe *d)
{
	(void)arg, (void)d;
	return KVR_OK;
}

static enum kvr_status on_signal(void *arg, enum kvr_side side, uint32_t word)
{
	(void)arg, (void)side, (void)word;
	return KVR_OK;
}

static void on_wake(void *arg)
{
	(void)arg;
}

/* ------------------------------------------------------------ what it says */

/* Hop `hop` of the open pass, whose blocks are numbered from 0. */
static struct kvr_descriptor honest(uint32_t hop, uint64_t bytes)
{
	const struct kvr_engine_config *c = &fuzz.config;

	return (struct kvr_descriptor){
		.sequence = hop - 1,
		.pass = TAG,
		.bytes = bytes,
		.origin = (c->rank + c->n - hop) % c->n,
		.hops = hop,
		.hops_total = fuzz.hops,
		.chunks = (uint32_t)((bytes + CHUNK - 1) / CHUNK),
		.layout_id = LAYOUT,
	};
}

/* Does the protocol allow d as hop `hop`? */
static bool allowed(const struct kvr_descriptor *d, uint32_t hop)
{
	const bool cancelled = d->flags == KVR_DESCRIPTOR_CANCELLED;
	struct kvr_descriptor as = honest(hop, 0);

	if (d->bytes > fuzz.config.lane[0].slot_bytes ||
	    d->metadata_bytes > KVR_METADATA_MAX || d->flags > 1)
		return false;
	if (cancelled && (d->bytes || d->metadata_bytes))
		return false;
	/* An owner knows its own block's size, also when it comes home. */
	if (hop == fuzz.config.n && !cancelled && d->bytes != 3 * CHUNK)
		return false;
	as.bytes = d->bytes;
	as.chunks = (uint32_t)((d->bytes + CHUNK - 1) / CHUNK);
	as.metadata_bytes = d->metadata_bytes;
	as.flags = d->flags;
	return memcmp(&as, d, sizeof(as)) == 0;
}

static void check_block(const struct kvr_descriptor *d)
{
	struct kvr_engine_block block;

	for (uint32_t i = 0; i < d->chunks; i++)
		kvr_engine_arrived(fuzz.engine, KVR_PREV,
				   kvr_imm_block(KVR_IMM_CHUNK, 0, 0, i), NULL,
				   0);
	require(kvr_engine_take(fuzz.engine, 0, &block) == KVR_OK);
	require(block.step == 0 && block.origin == fuzz.config.rank);
	require(kvr_engine_take(fuzz.engine, 0, &block) == KVR_OK);
	require(block.step == 1 && block.slot == 0);
	require(block.origin == d->origin && block.bytes == d->bytes);
	require(block.metadata_bytes == d->metadata_bytes);
}

/* ---------------------------------------------------------------- target */

static void configure(void)
{
	const uint8_t shape = next_byte();
	struct kvr_engine_config *c = &fuzz.config;

	c->n = 2 + shape % 5;
	c->rank = next_byte() % c->n;
	c->lanes = 1;
	c->slots = 2 + next_byte() % 4;
	c->lane[0] = (struct kvr_lane_options){
		.kind = shape & 128 ? KVR_LANE_ACCUMULATING
				    : KVR_LANE_IMMUTABLE,
		.slot_bytes = (size_t)(1 + next_byte() % 140) * CHUNK,
	};
	c->chunk_bytes = CHUNK;
	c->layout_id = LAYOUT;
	c->heartbeat_ns = 1000;
	c->silence_ns = 20000;
	fuzz.hops = shape & 128 ? c->n : c->n - 1;
	/* The block that owners send, where the slots hold it. */
	if (c->lane[0].slot_bytes < 3 * CHUNK)
		c->lane[0].slot_bytes = 3 * CHUNK;
}

/* The pass of all hops; what came before it may be found wrong only now. */
static void begin(void)
{
	const struct kvr_engine_pass pass = {
		.tag = TAG,
		.hops = fuzz.config.n - 1,
		.bytes = {3 * CHUNK},
	};
	uint32_t record;

	if (kvr_engine_begin(fuzz.engine, &pass, &record) == KVR_OK)
		kvr_engine_run(fuzz.engine, 0);
}

static void run_one(void)
{
	const uint32_t most =
		fuzz.hops < fuzz.config.slots ? fuzz.hops : fuzz.config.slots;
	const bool early = next_byte() & 1;
	const uint32_t hop = 1 + next_byte() % most;
	uint64_t bytes = next_byte();
	struct kvr_descriptor d;
	bool believed;

	bytes |= (uint64_t)next_byte() << 8;
	d = honest(hop, bytes);
	while (fuzz.left > 0) {
		uint8_t at = next_byte() % sizeof(d);

		((uint8_t *)&d)[at] = next_byte();
	}
	if (!early)
		begin();
	kvr_engine_arrived(fuzz.engine, KVR_PREV,
			   kvr_imm_block(KVR_IMM_DESCRIPTOR, 0, hop - 1, 0), &d,
			   0);
	if (early)
		begin();
	believed = kvr_engine_failure(fuzz.engine)->status == KVR_OK;
	require(believed == allowed(&d, hop));
	if (believed && hop == 1 && !d.flags)
		check_block(&d);
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
		run_one();
	free(memory);
	return 0;
}
