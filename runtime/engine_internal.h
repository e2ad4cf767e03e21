/* SPDX-License-Identifier: Apache-2.0 */
/* What the engine's files share; nobody else includes this. */
#ifndef KVR_RUNTIME_ENGINE_INTERNAL_H
#define KVR_RUNTIME_ENGINE_INTERNAL_H

#include "runtime/engine.h"

/* Twelve bits of sequence must tell every block of the window apart. */
#define ENGINE_SLOTS_MAX 2048

/* ABORT has 20 bits for the rank; this one is nobody's. */
#define ENGINE_RANK_NONE 0xfffffu

/* A block's way to next. */
struct engine_out {
	uint32_t posted, sent; /* chunks */
	bool described;
	bool closed; /* nothing more to post */
};

/* The block in one landing slot. Empty again once the slot is granted. */
struct engine_slot {
	struct kvr_descriptor descriptor;
	bool described;
	bool released; /* by the caller */
	uint32_t landed_count;
	uint32_t scan; /* words below it have nothing left to post */
	uint64_t *landed, *posted;
	struct engine_out out;
};

struct engine_lane {
	struct engine_slot *slot;
	uint32_t words;	     /* of a bitmap */
	uint32_t chunks_max; /* of a block */

	/* Hop counters: never reset. */
	uint64_t granted;   /* slots free again: the oldest block we have */
	uint64_t signalled; /* of these, told to prev */
	uint64_t next;	    /* the block to post now: next's are all posted */
	uint64_t credits;   /* from next, beyond the first `slots` */
	uint64_t end;	    /* where the newest pass begun ends */
};

/* One lane of one pass. */
struct engine_part {
	uint64_t base;	/* hop counter at its first block, both directions */
	uint32_t hops;	/* blocks each way */
	uint32_t steps; /* taken */
	bool released;	/* step 0 */
	struct engine_out local;
};

struct engine_record {
	struct kvr_engine_pass pass;
	struct engine_part part[KVR_LANES_MAX];
	bool ended, cancelled;
	uint64_t sent, received; /* payload */
};

struct engine_edge {
	bool lost; /* or never there: n = 1 */
	bool bye_received, bye_sent;
	bool beat_due;
	bool quiet;		/* for half of what makes it lost; noted */
	uint32_t abort_signals; /* of ABORT_STEP, ABORT: sent */
	uint32_t abort_step;	/* received */
	uint64_t heard_ns;	/* in observed time */
};

struct kvr_engine {
	struct kvr_engine_config config;
	struct kvr_engine_actions actions;
	void *arg;

	uint64_t last_ns;     /* the newest now_ns */
	uint64_t observed_ns; /* time during which we were running */
	uint64_t beat_ns;     /* when the next heartbeat is due */
	bool blocked;
	bool bye_wanted;
	bool open; /* the newest record, to the caller */
	uint32_t first_lane;

	uint64_t begun, retired; /* passes; record: number mod PASSES */
	struct engine_record record[KVR_ENGINE_PASSES];
	struct engine_lane lane[KVR_LANES_MAX];
	struct engine_edge edge[2];

	struct kvr_engine_failure failure;
	struct kvr_engine_counters counters;
};

static inline uint64_t engine_ceil(uint64_t a, uint64_t b)
{
	return a / b + (a % b != 0);
}

static inline bool engine_failed(const struct kvr_engine *e)
{
	return e->failure.status != KVR_OK;
}

static inline bool engine_accumulating(const struct kvr_engine *e,
				       uint32_t lane)
{
	return e->config.lane[lane].kind == KVR_LANE_ACCUMULATING;
}

static inline struct engine_slot *engine_slot_at(const struct kvr_engine *e,
						 uint32_t lane, uint64_t block)
{
	return &e->lane[lane].slot[block % e->config.slots];
}

static inline bool engine_out_done(const struct engine_out *out)
{
	return out->closed && out->sent == out->posted;
}

static inline struct engine_record *engine_newest(struct kvr_engine *e)
{
	return &e->record[(e->begun - 1) % KVR_ENGINE_PASSES];
}

/* At the time of the last event or run: the engine has no clock. */
static inline void engine_note(const struct kvr_engine *e,
			       enum kvr_recorder_kind kind, uint32_t lane,
			       uint64_t value, uint32_t detail)
{
	if (e->config.recorder)
		kvr_recorder_note(e->config.recorder, e->last_ns, kind, lane,
				  value, detail);
}

/* engine.c */
void kvr_engine_wake(struct kvr_engine *e);
enum kvr_status kvr_engine_refused(struct kvr_engine *e,
				   enum kvr_status status);

/* engine_pass.c: the begun, not retired pass of a block, or NULL. */
struct engine_record *kvr_engine_record_of(struct kvr_engine *e, uint32_t lane,
					   uint64_t block);
bool kvr_engine_all_taken(const struct kvr_engine *e,
			  const struct engine_record *r);
bool kvr_engine_local_done(const struct kvr_engine *e,
			   const struct engine_record *r);
void kvr_engine_mark_cancelled(struct kvr_engine *e, struct engine_record *r);
bool kvr_engine_retire(struct kvr_engine *e);

/* engine_receive.c */
bool kvr_engine_complete(const struct engine_slot *slot);
bool kvr_engine_released(const struct kvr_engine *e,
			 const struct engine_record *r, uint32_t lane,
			 uint64_t block);
void kvr_engine_admit(struct kvr_engine *e, uint32_t lane, uint64_t block,
		      struct engine_record *r);
void kvr_engine_count_received(struct engine_record *r,
			       const struct engine_slot *slot);
void kvr_engine_on_chunk(struct kvr_engine *e, const struct kvr_imm *imm);
void kvr_engine_on_descriptor(struct kvr_engine *e, const struct kvr_imm *imm,
			      const struct kvr_descriptor *desc);
bool kvr_engine_grant(struct kvr_engine *e, uint32_t lane);
bool kvr_engine_needs_prev(struct kvr_engine *e);

/* engine_send.c */
bool kvr_engine_post(struct kvr_engine *e);
bool kvr_engine_forwarded(const struct kvr_engine *e,
			  const struct engine_record *r, uint32_t lane,
			  uint64_t block);
void kvr_engine_on_credit(struct kvr_engine *e, const struct kvr_imm *imm);
bool kvr_engine_needs_next(struct kvr_engine *e);

/* engine_side.c */
void kvr_engine_fail(struct kvr_engine *e, uint32_t rank, enum kvr_cause cause);
void kvr_engine_fail_protocol(struct kvr_engine *e, enum kvr_side side,
			      const char *field);
void kvr_engine_fail_mismatch(struct kvr_engine *e, const char *field,
			      uint64_t ours, uint64_t theirs);
void kvr_engine_on_abort(struct kvr_engine *e, enum kvr_side side,
			 uint32_t value);
void kvr_engine_observe(struct kvr_engine *e, uint64_t now_ns);
void kvr_engine_heard(struct kvr_engine *e, enum kvr_side side);
void kvr_engine_judge(struct kvr_engine *e);
bool kvr_engine_signal_all(struct kvr_engine *e);

#endif
