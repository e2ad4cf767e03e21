/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ring protocol as a pure state machine: events in, actions out. No I/O,
 * no clock, no thread, no allocation. The progress thread, the caller-driven
 * mode, the simulator and the trace checker all drive this code, and nothing
 * else moves blocks.
 *
 * Per lane and direction blocks are numbered by a hop counter that runs from
 * 0 at open and is never reset; block k lands in slot k mod slots. A pass of
 * h hops advances both directions' counters by h on every rank alike: h
 * blocks are sent (the local one, then h - 1 forwarded) and h received.
 *
 *	rx[k]  described, landed		chunks may come in any order
 *	   |-> taken -> released		by the caller
 *	   `-> forwarded			not the last of the pass
 *	          immutable lane: as chunks land; accumulating: once released
 *	released and forwarded  =>  credit to prev, in order of k
 *	tx[k]  may start when k < slots + credits received
 *
 * A block that arrives before the local begin of its pass waits unforwarded.
 *
 * Errors of the protocol never return from the event calls: they put the
 * engine into its failed state (the first cause wins), wake the caller, and
 * send ABORT to both sides. Every caller-facing call then returns the status.
 */
#ifndef KVR_RUNTIME_ENGINE_H
#define KVR_RUNTIME_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kvring/kvring.h"
#include "runtime/recording.h"
#include "runtime/wire.h"

enum kvr_side { KVR_PREV = 0, KVR_NEXT = 1 };

/* A pass may drain while the next ones are open: see kvr_engine_begin. */
#define KVR_ENGINE_PASSES KVR_RECORDING_PASSES

struct kvr_engine_config {
	uint32_t rank, n;
	uint32_t lanes, slots;
	struct kvr_lane_options lane[KVR_LANES_MAX];
	size_t chunk_bytes;
	uint32_t layout_id;
	uint64_t heartbeat_ns;	       /* between two of ours */
	uint64_t silence_ns;	       /* a side silent for so long is lost */
	struct kvr_recorder *recorder; /* borrowed; NULL: none */
};

#define KVR_SOURCE_LOCAL UINT32_MAX

/* One chunk for next. */
struct kvr_engine_write {
	uint32_t lane;
	uint32_t source_slot; /* ours, or KVR_SOURCE_LOCAL */
	uint32_t pass;	      /* LOCAL: index of the pass record whose block */
	uint32_t target_slot; /* next's */
	size_t offset, bytes;
	uint32_t chunks; /* of the block */
	uint32_t imm;
	uint64_t cookie; /* give it back to kvr_engine_sent */
};

struct kvr_engine_describe {
	uint32_t lane;
	uint32_t source_slot; /* whose metadata, or KVR_SOURCE_LOCAL */
	uint32_t pass;
	uint32_t target_slot;
	struct kvr_descriptor descriptor;
	uint32_t imm;
};

/*
 * write, describe, signal return KVR_OK or KVR_ERR_AGAIN; the engine repeats
 * a refused action at the next kvr_engine_run. Called from kvr_engine_run
 * only. wake: something that a caller may wait for has changed; called from
 * any engine call.
 */
struct kvr_engine_actions {
	enum kvr_status (*write)(void *arg, const struct kvr_engine_write *w);
	enum kvr_status (*describe)(void *arg,
				    const struct kvr_engine_describe *d);
	enum kvr_status (*signal)(void *arg, enum kvr_side side, uint32_t imm);
	void (*wake)(void *arg);
};

struct kvr_engine;

/* Bytes that init needs, 64-aligned. 0: config invalid. */
size_t kvr_engine_bytes(const struct kvr_engine_config *config);

/*
 * memory is kvr_engine_bytes long and stays the caller's. Errors: INVALID,
 * LIMIT (more than KVR_CHUNKS_MAX chunks a block), STATE (slots < 2 with
 * n > 2, or with n = 2 and an accumulating lane: every rank would have to
 * forward before it could receive).
 */
enum kvr_status kvr_engine_init(void *memory,
				const struct kvr_engine_config *config,
				const struct kvr_engine_actions *actions,
				void *arg, uint64_t now_ns,
				struct kvr_engine **out);

/* ------------------------------------------------- events of the edges */

/* desc: the contents for DESCRIPTOR immediates, else NULL. */
void kvr_engine_arrived(struct kvr_engine *engine, enum kvr_side side,
			uint32_t imm, const struct kvr_descriptor *desc,
			uint64_t now_ns);

/*
 * Which of our slots a block immediate of that 12-bit sequence speaks of.
 * False: none that prev may write now (then arrived fails the ring).
 */
bool kvr_engine_slot_of(const struct kvr_engine *engine, uint32_t lane,
			uint32_t sequence, uint32_t *slot);
void kvr_engine_sent(struct kvr_engine *engine, uint64_t cookie);

/* The edge is gone: PEER_LOST by CLOSED unless that side said BYE. */
void kvr_engine_lost(struct kvr_engine *engine, enum kvr_side side,
		     enum kvr_cause cause);

/*
 * Posts whatever can be posted, beats, checks for silence. Returns whether
 * an action was taken. Call after events and at latest at
 * kvr_engine_next_deadline.
 */
bool kvr_engine_run(struct kvr_engine *engine, uint64_t now_ns);
uint64_t kvr_engine_next_deadline(const struct kvr_engine *engine);

/* Is an action waiting for room in a queue (run again after poll)? */
bool kvr_engine_blocked(const struct kvr_engine *engine);

/* ------------------------------------------------ events of the caller */

struct kvr_engine_pass {
	uint64_t tag;
	uint32_t hops; /* of immutable lanes; accumulating: n, alone 0 */
	size_t bytes[KVR_LANES_MAX];
	uint32_t metadata_bytes[KVR_LANES_MAX];
};

/*
 * Opens a pass; *record is the index under which its local block is asked
 * for. Errors: STATE (one is open), INVALID (hops > n - 1; hops < n - 1 with
 * an accumulating lane), LIMIT, AGAIN (KVR_ENGINE_PASSES still drain), or
 * the failure.
 */
enum kvr_status kvr_engine_begin(struct kvr_engine *engine,
				 const struct kvr_engine_pass *pass,
				 uint32_t *record);

/* The slot of ours in which the first block of the next pass will land. */
uint32_t kvr_engine_next_slot(const struct kvr_engine *engine, uint32_t lane);

struct kvr_engine_block {
	uint32_t step; /* 0: local */
	uint32_t origin;
	uint32_t slot; /* ours, or KVR_SOURCE_LOCAL */
	size_t bytes;
	uint32_t metadata_bytes;
};

/*
 * The next block of the open pass. On an accumulating lane steps 0 .. n, the
 * last being our own block come home (n = 1: step 0 only). Errors: AGAIN, END,
 * CANCELLED, STATE (no pass open, or the slot is still held), INVALID (no
 * such lane), or the failure.
 */
enum kvr_status kvr_engine_take(struct kvr_engine *engine, uint32_t lane,
				struct kvr_engine_block *out);

/* Errors: STATE (not taken, or released already), INVALID, or the failure. */
enum kvr_status kvr_engine_release(struct kvr_engine *engine, uint32_t lane,
				   uint32_t step);

/*
 * Releases all that is held or still to come, and closes the open pass; it
 * drains from then on. Idempotent while it drains. AGAIN until the local
 * blocks' last SENT; then KVR_OK, or CANCELLED when it was, before all of its
 * blocks were taken here. STATE before the first begin. Or the failure - then
 * the local memory may still be read until the endpoint is closed.
 */
enum kvr_status kvr_engine_end(struct kvr_engine *engine);

/*
 * What is not on its way yet travels as empty blocks; every rank that gets one
 * does the same. A rank that has them all already never learns of it. Errors:
 * STATE (no pass open), or the failure.
 */
enum kvr_status kvr_engine_cancel(struct kvr_engine *engine);

/*
 * Says BYE to each side when every pass begun is through; AGAIN until both
 * sides said it too. Errors: STATE (a pass is open), or the failure.
 */
enum kvr_status kvr_engine_bye(struct kvr_engine *engine);

/*
 * Has each side our BYE? Then nobody needs us any more: what we owed is in
 * place, and a BYE is said only after it.
 */
bool kvr_engine_bye_sent(const struct kvr_engine *engine);

/* The local rank gives up, blaming rank (KVR_RANK_NONE: nobody). */
void kvr_engine_abort(struct kvr_engine *engine, uint32_t rank,
		      enum kvr_cause cause);

/* --------------------------------------------------------------- state */

struct kvr_engine_failure {
	enum kvr_status status; /* KVR_OK: none */
	struct kvr_abort abort;
	uint64_t pass;	       /* tag open here, 0: none */
	uint32_t step;	       /* steps taken here */
	char field[32];	       /* MISMATCH, PROTOCOL: what; else "" */
	uint64_t ours, theirs; /* MISMATCH */
	bool told;	       /* by an ABORT */
	uint64_t silent_ns[2]; /* by kvr_side, then */
};

/* ABORT signals still to go out keep it from being settled. */
bool kvr_engine_abort_sent(const struct kvr_engine *engine);
const struct kvr_engine_failure *
kvr_engine_failure(const struct kvr_engine *engine);

struct kvr_engine_counters {
	uint64_t passes, bytes_sent, bytes_received, blocks_received;
	uint64_t credits_granted, back_pressure;
};
const struct kvr_engine_counters *
kvr_engine_counters(const struct kvr_engine *engine);

/* Payload of one lane of the newest pass, both directions. */
void kvr_engine_pass_bytes(const struct kvr_engine *engine, uint64_t *sent,
			   uint64_t *received);

/*
 * What a recording says of the engine: the passes, sides and failure of *head,
 * as many lanes and slots as the config has. The rest is left alone.
 */
void kvr_engine_record(const struct kvr_engine *engine,
		       struct kvr_recording *head,
		       struct kvr_recording_lane *lane,
		       struct kvr_recording_slot *slot);

#endif
