/* SPDX-License-Identifier: Apache-2.0 */
/* One engine whose actions are recorded, and refused on demand. */
#ifndef KVR_TESTS_ENGINE_MOCK_H
#define KVR_TESTS_ENGINE_MOCK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "runtime/engine.h"

#define MOCK_ACTIONS 512
#define MOCK_CHUNK 100
#define MOCK_BEAT 10u
#define MOCK_SILENCE 100u
#define MOCK_LAYOUT 42u
#define MOCK_NO_LIMIT SIZE_MAX

enum mock_kind { MOCK_WRITE, MOCK_DESCRIBE, MOCK_SIGNAL };

struct mock_action {
	enum mock_kind kind;
	struct kvr_engine_write write;
	struct kvr_engine_describe describe;
	enum kvr_side side; /* SIGNAL */
	struct kvr_imm imm;
};

struct mock {
	struct kvr_engine_config config;
	struct kvr_engine *engine;
	void *memory;
	uint64_t now;
	struct mock_action action[MOCK_ACTIONS];
	size_t count;
	size_t acked;	/* actions whose SENT was given */
	size_t room[3]; /* accepted before AGAIN, by kind */
	unsigned wakes;
};

/* Two slots of 1000 bytes, chunks of 100, both lanes immutable. */
void mock_config(uint32_t n, uint32_t rank, struct kvr_engine_config *out);
void mock_open(struct mock *m, const struct kvr_engine_config *config);

/* mock_config and mock_open for one lane of that kind. */
void mock_ring(struct mock *m, uint32_t n, uint32_t rank,
	       enum kvr_lane_kind kind);
void mock_close(struct mock *m);

/* Puts every hop counter at `block`, as if so many had passed. */
void mock_warp(struct mock *m, uint64_t block);

/* Begins a pass of all hops with `bytes` on each lane. */
void mock_begin(struct mock *m, uint64_t tag, size_t bytes);
bool mock_run(struct mock *m);

/* A correct descriptor of the hop-th block of a pass at this engine. */
struct kvr_descriptor mock_descriptor(const struct mock *m, uint32_t lane,
				      uint64_t sequence, uint64_t tag,
				      uint32_t hop, size_t bytes);
void mock_describe(struct mock *m, uint32_t lane,
		   const struct kvr_descriptor *d);
void mock_land(struct mock *m, uint32_t lane, uint64_t sequence,
	       uint32_t chunk);

/* Descriptor and all chunks. */
void mock_block(struct mock *m, uint32_t lane, uint64_t sequence, uint64_t tag,
		uint32_t hop, size_t bytes);
void mock_signal(struct mock *m, enum kvr_side side, enum kvr_imm_type type,
		 uint32_t lane, uint64_t value);

/* SENT for every write recorded since. */
void mock_ack(struct mock *m);

/* Takes and checks the step. */
void mock_take(struct mock *m, uint32_t lane, uint32_t step);
void mock_release(struct mock *m, uint32_t lane, uint32_t step);

/* How many recorded; the i-th of them. */
size_t mock_count(const struct mock *m, enum mock_kind kind);
const struct mock_action *mock_nth(const struct mock *m, enum mock_kind kind,
				   size_t index);
size_t mock_signals(const struct mock *m, enum kvr_side side,
		    enum kvr_imm_type type);

/* The newest signal of that type; fails when there is none. */
struct kvr_imm mock_last_signal(const struct mock *m, enum kvr_side side,
				enum kvr_imm_type type);
const struct kvr_engine_failure *mock_failure(const struct mock *m);

/* Asserts a PROTOCOL failure naming the field and blaming that side. */
void mock_assert_protocol(const struct mock *m, enum kvr_side side,
			  const char *field);

#endif
