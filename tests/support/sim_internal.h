/* SPDX-License-Identifier: Apache-2.0 */
/* What the simulator's files share. */
#ifndef KVR_TESTS_SIM_INTERNAL_H
#define KVR_TESTS_SIM_INTERNAL_H

#include "rdma/fake/fake.h"
#include "runtime/engine.h"
#include "tests/support/sim.h"

#define SIM_RANKS 6
#define SIM_PASSES 3
#define SIM_SLOTS 3
#define SIM_BLOCK 400
#define SIM_METADATA 16
#define SIM_PIECES 3

/* Virtual nanoseconds. */
#define SIM_BEAT 2000u
#define SIM_SILENCE 40000u
#define SIM_NAP 8000u	       /* a rank is not scheduled for so long */
#define SIM_PATIENCE 2000000u  /* without progress: a deadlock */
#define SIM_ABORT_GRACE 50000u /* for ABORT to go out before closing */

#define SIM_NEVER UINT64_MAX

/* ------------------------------------------------------------------ plan */

/* What one rank's caller does in one pass. */
struct sim_part {
	size_t bytes[KVR_LANES_MAX];
	uint32_t metadata_bytes[KVR_LANES_MAX];
	uint64_t delay_ns; /* before it begins */
	uint64_t hold_ns;  /* at most, from take to release */
	uint64_t tag;
	uint32_t hops;
	uint32_t end_after, cancel_after; /* takes; UINT32_MAX: never */
};

struct sim_plan {
	uint32_t n, lanes, slots, passes;
	struct kvr_lane_options lane[KVR_LANES_MAX];
	size_t chunk_bytes;
	struct sim_part part[SIM_RANKS][SIM_PASSES];
	bool cancelled[SIM_PASSES]; /* somebody will try to */
	enum kvr_sim_fault fault;
	uint32_t victim; /* who dies, aborts or disagrees */
	uint64_t fault_ns;
	uint32_t nap_chance, refuse_chance; /* one in; 0: never */
	struct kvr_fake_script script;
};

uint64_t sim_draw(uint64_t *random);

/* Uniform in 0 .. below - 1. */
uint64_t sim_below(uint64_t *random, uint64_t below);
void sim_plan_init(uint64_t *random, struct sim_plan *plan);

/* ------------------------------------------------------------------ ring */

enum sim_state {
	SIM_WAITING, /* to begin the next pass */
	SIM_OPEN,
	SIM_ENDING,
	SIM_LEAVING,
	SIM_DONE,
	SIM_FAILED
};

struct sim_held {
	bool held;
	uint32_t step, origin, slot;
	size_t bytes;
	uint64_t release_ns;
};

struct sim_lane {
	uint32_t steps; /* taken */
	bool over;	/* END or CANCELLED was returned */
	struct sim_held held[SIM_SLOTS + 1];
};

struct sim_rank {
	struct sim *sim;
	uint32_t rank;
	void *memory;
	struct kvr_engine *engine;
	struct kvr_endpoint *edge[2];
	bool edge_lost[2];
	bool stopped; /* killed or frozen */
	uint64_t nap_ns, wake_ns, failed_ns;

	enum sim_state state;
	uint32_t pass, record, takes;
	struct sim_lane lane[KVR_LANES_MAX];
	uint64_t granted[KVR_LANES_MAX];

	/* By record: local blocks in pieces, and their metadata. */
	uint8_t local[KVR_ENGINE_PASSES][KVR_LANES_MAX][SIM_BLOCK];
	struct kvr_piece pieces[KVR_ENGINE_PASSES][KVR_LANES_MAX][SIM_PIECES];
	uint8_t local_metadata[KVR_ENGINE_PASSES][KVR_LANES_MAX][SIM_METADATA];
	struct kvr_piece slot_piece[KVR_LANES_MAX][SIM_SLOTS];
	const void *slot_metadata[KVR_LANES_MAX][SIM_SLOTS];
};

struct sim {
	uint64_t random, now;
	struct sim_plan plan;
	struct kvr_transport *transport;
	struct sim_rank rank[SIM_RANKS];
	/* Who has added to the accumulating block of that owner: bits. */
	uint32_t added[KVR_LANES_MAX][SIM_PASSES][SIM_RANKS];
	bool stirred; /* somebody was woken, or an action refused by us */
	struct kvr_sim_result *result;
};

/* The first mistake is kept and ends the run. */
__attribute__((format(printf, 2, 3))) void sim_fail(struct sim *sim,
						    const char *format, ...);
void sim_trace(struct sim_rank *r, enum kvr_trace_kind kind, uint32_t lane,
	       uint64_t a, uint64_t b, uint64_t c, uint64_t d);

/* After each call into the engine: has it failed? */
void sim_watch(struct sim_rank *r);

/* sim_edge.c: all but sim_open return whether something happened. */
bool sim_open(struct sim *sim);
void sim_close_edges(struct sim_rank *r);
bool sim_poll(struct sim_rank *r, enum kvr_side side);
extern const struct kvr_engine_actions sim_actions;

/* sim_caller.c */
bool sim_call(struct sim_rank *r);

/* When the caller wants to act next, SIM_NEVER: it waits for the ring. */
uint64_t sim_call_due(const struct sim_rank *r);

/* sim_payload.c */
void sim_fill_local(struct sim_rank *r);
void sim_scribble_local(struct sim_rank *r);
void sim_scribble_slot(struct sim_rank *r, uint32_t lane, uint32_t slot);
void sim_verify(struct sim_rank *r, uint32_t lane, const struct sim_held *h,
		const char *when);
void sim_verify_metadata(struct sim_rank *r, uint32_t lane,
			 const struct kvr_engine_block *block);
void sim_contribute(struct sim_rank *r, uint32_t lane,
		    const struct sim_held *h);

#endif
