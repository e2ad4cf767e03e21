/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/streamed.h"

#include <string.h>
#include <time.h>

void streamed_pause(void)
{
	const struct timespec pause = {.tv_nsec = 100000};

	nanosleep(&pause, NULL);
}

static uint8_t stamp(uint32_t rank, uint32_t pass, size_t offset)
{
	return (uint8_t)(rank * 31 + pass * 17 + offset * 7 + (offset >> 8));
}

void streamed_stamp(uint8_t *block, uint32_t rank, uint32_t pass)
{
	for (size_t i = 0; i < STREAMED_BYTES; i++)
		block[i] = stamp(rank, pass, i);
}

bool streamed_stamped(const void *block, uint32_t rank, uint32_t pass)
{
	const uint8_t *byte = block;

	for (size_t i = 0; i < STREAMED_BYTES; i++)
		if (byte[i] != stamp(rank, pass, i))
			return false;
	return true;
}

void streamed_open(struct streamed *s, struct rank *rank)
{
	CHECK_STATUS(rank->opened, KVR_OK);
	*s = (struct streamed){.rank = rank};
	s->queue = played_queue_open();
	s->stream = played_stream_open(s->queue);
	s->local = calloc(STREAMED_PASSES, STREAMED_BYTES);
	CHECK(s->local);
	CHECK_STATUS(
		kvr_memory_register(rank->context, s->local,
				    (size_t)STREAMED_PASSES * STREAMED_BYTES,
				    &s->memory),
		KVR_OK);
	for (size_t i = 0; i < STREAMED_PASSES; i++) {
		s->segment[i] = (struct kvr_segment){
			s->memory, i * STREAMED_BYTES, STREAMED_BYTES};
		kvr_pass_desc_init(&s->passes[i]);
		s->passes[i].tag = 1 + i;
		s->passes[i].lane[0].segments = &s->segment[i];
		s->passes[i].lane[0].segment_count = 1;
	}
	CHECK_STATUS(kvr_stream_plan_create_on(&played_ops, rank->ring,
					       s->passes, STREAMED_PASSES,
					       &s->plan),
		     KVR_OK);
}

void streamed_close(struct streamed *s, bool well)
{
	streamed_sync(s);
	if (well) {
		CHECK_STATUS(kvr_stream_plan_check(s->plan), KVR_OK);
		CHECK(atomic_load(&s->wrong) == 0);
	}
	kvr_stream_plan_destroy(s->plan);
	kvr_memory_deregister(s->memory);
	played_stream_close(s->stream);
	played_queue_close(s->queue);
	free(s->local);
}

/* ----------------------------------------------------------------- work */

struct work {
	struct streamed *s;
	const void *block;
	struct gate *gate;
	size_t index;
	uint32_t origin;
};

static void fill(const void *arg)
{
	const struct work *work = arg;
	struct streamed *s = work->s;

	streamed_stamp(s->local + work->index * STREAMED_BYTES, s->rank->rank,
		       atomic_fetch_add(&s->pass, 1) + 1);
}

void streamed_fill(struct streamed *s, size_t index)
{
	const struct work work = {.s = s, .index = index};

	played_call(s->stream, fill, &work, sizeof(work));
}

static void compare(const void *arg)
{
	const struct work *work = arg;
	struct streamed *s = work->s;
	bool right = streamed_stamped(work->block, work->origin,
				      atomic_load(&s->pass));

	atomic_fetch_add(right ? &s->right : &s->wrong, 1);
}

void streamed_check(struct streamed *s, const struct kvr_block *block)
{
	const struct work work = {
		.s = s,
		.block = block->data,
		.origin = block->origin,
	};

	if (!s->blind)
		played_call(s->stream, compare, &work, sizeof(work));
}

static void pass_gate(const void *arg)
{
	const struct work *work = arg;

	atomic_store(&work->gate->reached, true);
	while (!atomic_load(&work->gate->open))
		streamed_pause();
}

void streamed_gate(struct streamed *s, struct gate *gate)
{
	const struct work work = {.gate = gate};

	played_call(s->stream, pass_gate, &work, sizeof(work));
}

void gate_await(struct gate *gate)
{
	while (!atomic_load(&gate->reached))
		streamed_pause();
}

void streamed_step(struct streamed *s)
{
	struct kvr_block block;

	kvr_block_init(&block);
	CHECK_STATUS(kvr_pass_next_on_stream(s->plan, 0, s->stream, &block),
		     KVR_OK);
	streamed_check(s, &block);
	CHECK_STATUS(
		kvr_pass_release_on_stream(s->plan, 0, block.step, s->stream),
		KVR_OK);
}

void streamed_pass(struct streamed *s, size_t index, uint32_t steps)
{
	streamed_fill(s, index);
	CHECK_STATUS(kvr_pass_start_on_stream(s->plan, index, s->stream),
		     KVR_OK);
	for (uint32_t step = 0; step < steps; step++)
		streamed_step(s);
	CHECK_STATUS(kvr_pass_end_on_stream(s->plan, s->stream), KVR_OK);
}

void streamed_sync(struct streamed *s)
{
	played_sync(s->stream);
}

/* ---------------------------------------------------------------- ranks */

void streamed_run(const char *transport, void (*body)(struct rank *),
		  uint32_t n, uint32_t slots,
		  void (*adjust)(uint32_t rank, struct kvr_ring_options *))
{
	struct streamed_common common;
	struct ranks ranks;

	memset(&common, 0, sizeof(common));
	ranks_init(&ranks, n);
	ranks.transport = transport;
	ranks.options.slots = slots;
	ranks.adjust = adjust;
	ranks.body = body;
	ranks.arg = &common;
	ranks_run(&ranks);
}

void streamed_run_all(void (*body)(struct rank *), uint32_t n, uint32_t slots)
{
	streamed_run("fake", body, n, slots, NULL);
	streamed_run("shm", body, n, slots, NULL);
}

void streamed_meet(struct rank *rank, unsigned place)
{
	struct streamed_common *common = rank->arg;

	atomic_fetch_add(&common->there[place], 1);
	while (atomic_load(&common->there[place]) < rank->n)
		streamed_pause();
}
