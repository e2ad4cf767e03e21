/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/runtime/engine_mock.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/engine_internal.h"

static struct mock_action *record(struct mock *m, enum mock_kind kind)
{
	struct mock_action *a = &m->action[m->count];

	if (m->room[kind] == 0)
		return NULL;
	if (m->room[kind] != MOCK_NO_LIMIT)
		m->room[kind]--;
	assert_true(m->count < MOCK_ACTIONS);
	m->count++;
	memset(a, 0, sizeof(*a));
	a->kind = kind;
	return a;
}

static enum kvr_status on_write(void *arg, const struct kvr_engine_write *w)
{
	struct mock_action *a = record(arg, MOCK_WRITE);

	if (!a)
		return KVR_ERR_AGAIN;
	a->write = *w;
	a->imm = kvr_imm_decode(w->imm);
	return KVR_OK;
}

static enum kvr_status on_describe(void *arg,
				   const struct kvr_engine_describe *d)
{
	struct mock_action *a = record(arg, MOCK_DESCRIBE);

	if (!a)
		return KVR_ERR_AGAIN;
	a->describe = *d;
	a->imm = kvr_imm_decode(d->imm);
	return KVR_OK;
}

static enum kvr_status on_signal(void *arg, enum kvr_side side, uint32_t imm)
{
	struct mock_action *a = record(arg, MOCK_SIGNAL);

	if (!a)
		return KVR_ERR_AGAIN;
	a->side = side;
	a->imm = kvr_imm_decode(imm);
	return KVR_OK;
}

static void on_wake(void *arg)
{
	((struct mock *)arg)->wakes++;
}

void mock_config(uint32_t n, uint32_t rank, struct kvr_engine_config *out)
{
	*out = (struct kvr_engine_config){
		.rank = rank,
		.n = n,
		.lanes = 1,
		.slots = 2,
		.lane = {{KVR_LANE_IMMUTABLE, 1000},
			 {KVR_LANE_IMMUTABLE, 1000}},
		.chunk_bytes = MOCK_CHUNK,
		.layout_id = MOCK_LAYOUT,
		.heartbeat_ns = MOCK_BEAT,
		.silence_ns = MOCK_SILENCE,
	};
}

void mock_open(struct mock *m, const struct kvr_engine_config *config)
{
	static const struct kvr_engine_actions actions = {
		.write = on_write,
		.describe = on_describe,
		.signal = on_signal,
		.wake = on_wake,
	};
	size_t bytes = kvr_engine_bytes(config);

	memset(m, 0, sizeof(*m));
	m->config = *config;
	m->now = 1000;
	for (int i = 0; i < 3; i++)
		m->room[i] = MOCK_NO_LIMIT;
	assert_true(bytes > 0 && bytes % 64 == 0);
	m->memory = aligned_alloc(64, bytes);
	assert_non_null(m->memory);
	memset(m->memory, 0xa5, bytes);
	assert_int_equal(kvr_engine_init(m->memory, config, &actions, m, m->now,
					 &m->engine),
			 KVR_OK);
}

void mock_ring(struct mock *m, uint32_t n, uint32_t rank,
	       enum kvr_lane_kind kind)
{
	struct kvr_engine_config config;

	mock_config(n, rank, &config);
	config.lane[0].kind = kind;
	mock_open(m, &config);
}

void mock_close(struct mock *m)
{
	free(m->memory);
}

void mock_warp(struct mock *m, uint64_t block)
{
	for (uint32_t i = 0; i < m->config.lanes; i++) {
		struct engine_lane *lane = &m->engine->lane[i];

		lane->granted = lane->signalled = block;
		lane->next = lane->credits = lane->end = block;
	}
}

void mock_begin(struct mock *m, uint64_t tag, size_t bytes)
{
	struct kvr_engine_pass pass = {
		.tag = tag,
		.hops = m->config.n - 1,
		.bytes = {bytes, bytes},
	};
	uint32_t index;

	assert_int_equal(kvr_engine_begin(m->engine, &pass, &index), KVR_OK);
	assert_true(index < KVR_ENGINE_PASSES);
}

bool mock_run(struct mock *m)
{
	return kvr_engine_run(m->engine, m->now);
}

struct kvr_descriptor mock_descriptor(const struct mock *m, uint32_t lane,
				      uint64_t sequence, uint64_t tag,
				      uint32_t hop, size_t bytes)
{
	uint32_t n = m->config.n;

	return (struct kvr_descriptor){
		.sequence = sequence,
		.pass = tag,
		.bytes = bytes,
		.origin = (m->config.rank + n - hop) % n,
		.hops = hop,
		.hops_total = m->config.lane[lane].kind == KVR_LANE_ACCUMULATING
				      ? n
				      : n - 1,
		.chunks = (uint32_t)((bytes + MOCK_CHUNK - 1) / MOCK_CHUNK),
		.layout_id = MOCK_LAYOUT,
	};
}

void mock_describe(struct mock *m, uint32_t lane,
		   const struct kvr_descriptor *d)
{
	kvr_engine_arrived(
		m->engine, KVR_PREV,
		kvr_imm_block(KVR_IMM_DESCRIPTOR, lane, d->sequence, 0), d,
		m->now);
}

void mock_land(struct mock *m, uint32_t lane, uint64_t sequence, uint32_t chunk)
{
	kvr_engine_arrived(m->engine, KVR_PREV,
			   kvr_imm_block(KVR_IMM_CHUNK, lane, sequence, chunk),
			   NULL, m->now);
}

void mock_block(struct mock *m, uint32_t lane, uint64_t sequence, uint64_t tag,
		uint32_t hop, size_t bytes)
{
	struct kvr_descriptor d =
		mock_descriptor(m, lane, sequence, tag, hop, bytes);

	mock_describe(m, lane, &d);
	for (uint32_t i = 0; i < d.chunks; i++)
		mock_land(m, lane, sequence, i);
}

void mock_signal(struct mock *m, enum kvr_side side, enum kvr_imm_type type,
		 uint32_t lane, uint64_t value)
{
	kvr_engine_arrived(m->engine, side, kvr_imm_value(type, lane, value),
			   NULL, m->now);
}

void mock_ack(struct mock *m)
{
	for (; m->acked < m->count; m->acked++)
		if (m->action[m->acked].kind == MOCK_WRITE)
			kvr_engine_sent(m->engine,
					m->action[m->acked].write.cookie);
}

void mock_take(struct mock *m, uint32_t lane, uint32_t step)
{
	struct kvr_engine_block block;

	assert_int_equal(kvr_engine_take(m->engine, lane, &block), KVR_OK);
	assert_int_equal(block.step, step);
	assert_int_equal(block.origin, (m->config.rank + 2 * m->config.n -
					step) % m->config.n);
}

void mock_release(struct mock *m, uint32_t lane, uint32_t step)
{
	assert_int_equal(kvr_engine_release(m->engine, lane, step), KVR_OK);
}

size_t mock_count(const struct mock *m, enum mock_kind kind)
{
	size_t count = 0;

	for (size_t i = 0; i < m->count; i++)
		count += m->action[i].kind == kind;
	return count;
}

const struct mock_action *mock_nth(const struct mock *m, enum mock_kind kind,
				   size_t index)
{
	for (size_t i = 0; i < m->count; i++)
		if (m->action[i].kind == kind && index-- == 0)
			return &m->action[i];
	fail_msg("there is no such action");
	return NULL;
}

size_t mock_signals(const struct mock *m, enum kvr_side side,
		    enum kvr_imm_type type)
{
	size_t count = 0;

	for (size_t i = 0; i < m->count; i++)
		count += m->action[i].kind == MOCK_SIGNAL &&
			 m->action[i].side == side &&
			 m->action[i].imm.type == type;
	return count;
}

struct kvr_imm mock_last_signal(const struct mock *m, enum kvr_side side,
				enum kvr_imm_type type)
{
	for (size_t i = m->count; i-- > 0;)
		if (m->action[i].kind == MOCK_SIGNAL &&
		    m->action[i].side == side && m->action[i].imm.type == type)
			return m->action[i].imm;
	fail_msg("there is no such signal");
	return (struct kvr_imm){0};
}

const struct kvr_engine_failure *mock_failure(const struct mock *m)
{
	return kvr_engine_failure(m->engine);
}

void mock_assert_protocol(const struct mock *m, enum kvr_side side,
			  const char *field)
{
	const struct kvr_engine_failure *f = mock_failure(m);
	uint32_t n = m->config.n;

	assert_int_equal(f->status, KVR_ERR_PROTOCOL);
	assert_int_equal(f->abort.cause, KVR_CAUSE_PROTOCOL);
	assert_string_equal(f->field, field);
	assert_int_equal(f->abort.rank,
			 (m->config.rank + (side == KVR_NEXT ? 1 : n - 1)) % n);
}
