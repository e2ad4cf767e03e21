/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvring: exact attention over sequences too long for one device.
 *
 * This header is level 1, "bring your own kernel": hosts form a ring, each
 * rank keeps its queries, and key/value blocks travel to the next rank by
 * one-sided writes while the caller computes. Level 2, attention.h, computes
 * the attention itself.
 *
 *	kvr_context		devices, memory, progress; one per process
 *	  kvr_memory		memory that may be sent from
 *	  kvr_ring		this process's place in one ring of n ranks
 *	    kvr_pass		one rotation: every rank sees every block once
 *
 * Method: Ring Attention with blockwise transformers, Liu, Zaharia, Abbeel,
 * 2023, arXiv 2310.01889.
 *
 * Threads. Calls on different objects are independent. On one object:
 *
 *	object		concurrent calls allowed
 *	kvr_context	all but close
 *	kvr_memory	all but deregister
 *	kvr_ring	get_stats, get_failure, record and abort: any time, any
 *			thread; everything else from one thread at a time
 *	kvr_pass	cancel, at any time, from any thread; everything else
 *			from one thread at a time
 *
 * A child made by fork() gets KVR_ERR_FORKED from every object that its
 * parent opened. The library installs no signal handler, and its own thread
 * blocks every signal.
 */
#ifndef KVRING_KVRING_H
#define KVRING_KVRING_H

#include "kvring/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define KVR_LANES_MAX 2
#define KVR_METADATA_MAX 4096
#define KVR_CHUNKS_MAX 65536
#define KVR_SLOTS_MAX 64
#define KVR_RANKS_MAX 65535
#define KVR_QUEUE_PAIRS_MAX 4
#define KVR_RANK_NONE UINT32_MAX

/* ------------------------------------------------------------- context */
struct kvr_context;

enum kvr_log_level {
	KVR_LOG_ERROR = 0,
	KVR_LOG_WARNING = 1,
	KVR_LOG_INFO = 2,
	KVR_LOG_DEBUG = 3
};

/*
 * Receives one line without newline. May be called from several threads at
 * once, the progress thread among them, and with the library's locks held: it
 * must not call back into kvring.
 */
typedef void (*kvr_log_fn)(void *arg, enum kvr_log_level level,
			   const char *line);

enum kvr_progress {
	KVR_PROGRESS_THREAD = 0, /* one thread of the library's own */
	KVR_PROGRESS_CALLER = 1	 /* only inside the caller's calls */
};

struct kvr_gpu_options; /* kvring/gpu.h */
struct kvr_context_options {
	size_t size; /* sizeof, set by init: how versions stay apart */
	enum kvr_progress progress;
	kvr_log_fn log; /* NULL: lines are dropped */
	void *log_arg;
	enum kvr_log_level log_level; /* lines above it are dropped */
	/* RDMA rails, "name[:port],..."; NULL: KVRING_DEVICE, else the first */
	const char *devices;
	uint32_t queue_pairs; /* on each rail; 0: KVRING_QPS, else 1 */
	int32_t gid_index;    /* verbs-exchange; -1: KVRING_GID_INDEX or best */
	int32_t adaptive_routing; /* 0, 1; -1: KVRING_ADAPTIVE_ROUTING or 0 */
	const struct kvr_gpu_options *gpu; /* NULL: its init's */
};

/* Fills in the defaults: a progress thread, no log. Always first. */
KVR_API void kvr_context_options_init(struct kvr_context_options *options);

/*
 * Opens a context; options may be NULL. The caller owns *out, and closes it
 * after every ring and memory of it. Errors: INVALID, NO_MEMORY, SYSTEM.
 */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_context_open(const struct kvr_context_options *options,
		 struct kvr_context **out);

/* Closes a context, after its rings and memory. NULL is ignored. */
KVR_API void kvr_context_close(struct kvr_context *context);

/* -------------------------------------------------------------- memory */
struct kvr_memory;

/*
 * Makes bytes at address, of the host or a GPU, usable as the source of blocks.
 * They stay the caller's, outlive the registration, and are written by the
 * library only in kvr_attention_page_append. Slow: do it once. bytes > 0.
 * Errors: INVALID, NO_MEMORY, UNSUPPORTED, DEVICE, FORKED.
 */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_memory_register(struct kvr_context *context, void *address, size_t bytes,
		    struct kvr_memory **out);

/* Ends it; no pass may be open that sends from it. NULL is ignored. */
KVR_API void kvr_memory_deregister(struct kvr_memory *memory);

/* ----------------------------------------------------------- bootstrap */

/*
 * How the ranks of a ring find each other: the caller's own all-gather.
 * Blocks until every rank contributed bytes from local; all receives
 * n * bytes, in rank order. Returns 0, or non-zero on failure. Used while
 * opening only, from the calling thread. bytes is equal on all ranks.
 */
typedef int (*kvr_allgather_fn)(void *arg, const void *local, size_t bytes,
				void *all);

struct kvr_bootstrap {
	size_t size;
	uint32_t rank; /* 0 .. n - 1 */
	uint32_t n;
	kvr_allgather_fn allgather; /* may be NULL when n = 1 */
	void *arg;
	void (*close)(void *arg); /* by kvr_bootstrap_close; may be NULL */
};

KVR_API void kvr_bootstrap_init(struct kvr_bootstrap *bootstrap);

/*
 * kvr_bootstrap_open (see kvring/bootstrap.h) with its defaults: as `kvring
 * run`, a host list in the environment, or mpirun and srun by PMIx want it;
 * rank 0 of 1 when there is nothing. There is no log to say what is wrong.
 */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_bootstrap_from_environment(struct kvr_bootstrap *out);

/* ---------------------------------------------------------------- ring */
struct kvr_ring;

enum kvr_lane_kind {
	/* The block never changes: n - 1 hops, forwarded as it lands. */
	KVR_LANE_IMMUTABLE = 0,
	/*
	 * Every rank adds to the block before it moves on: n hops, the last
	 * into a slot of its owner, where step n shows the sum of all. It
	 * moves on when the caller releases it; the owner adds its own part
	 * in step 0, in the registered memory. Alone, n = 1, that is all.
	 */
	KVR_LANE_ACCUMULATING = 1
};

struct kvr_lane_options {
	enum kvr_lane_kind kind;
	size_t slot_bytes; /* the largest block that can land */
};

struct kvr_ring_options {
	size_t size;
	const char *transport; /* NULL: the best per edge; or its name */
	uint32_t slots;	       /* landing slots per lane; 2 */
	size_t chunk_bytes;    /* what one write carries; 1 MiB */
	uint32_t lanes;	       /* 1 .. KVR_LANES_MAX; 1 */
	struct kvr_lane_options lane[KVR_LANES_MAX];
	uint32_t max_segments;	  /* of a local block; 4096 */
	uint32_t layout_id;	  /* the caller's wire layout; must agree */
	uint32_t peer_timeout_ms; /* a peer silent for so long is lost; 10 s */
	uint32_t wait_timeout_ms; /* longest wait for one block; 10 min */
	uint32_t heartbeat_ms;	  /* < peer_timeout_ms; 0: a tenth of it */
	int32_t integrity; /* CRC-32C of chunks; -1: KVRING_INTEGRITY or 0 */
	/* RDMA peers prove it first; NULL: KVRING_SECRET, _SECRET_FILE, none */
	const void *secret;
	size_t secret_bytes; /* <= 4096 */
	int32_t gpu; /* whose memory the slots are (RDMA); -1: the host's */
};

KVR_API void kvr_ring_options_init(struct kvr_ring_options *options);

/*
 * Joins the ring; collective over the n ranks. All options but time-outs and
 * gpu must agree ring-wide. Allocates the landing slots: nothing is allocated
 * afterwards. The ring borrows the context.
 * slots >= 2 unless no block is forwarded (n = 1, or n = 2 without an
 * accumulating lane): with one slot every rank waits for the next.
 * integrity: next and release check a block, or fail the ring with CORRUPT.
 * Errors: INVALID, NO_MEMORY, SYSTEM, UNSUPPORTED, LIMIT (more than
 * KVR_CHUNKS_MAX chunks in a block), MISMATCH, PEER_LOST, TIMEOUT, FORKED.
 */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_ring_open(struct kvr_context *context,
	      const struct kvr_bootstrap *bootstrap,
	      const struct kvr_ring_options *options, struct kvr_ring **out);

/*
 * Leaves the ring. Ends an open pass, then keeps forwarding until every pass
 * that this rank began is through, however long the others compute: a rank
 * that ends early harms nobody. Waits at most wait_timeout_ms without any block
 * or credit on the way. A failed ring closes at once.
 */
KVR_API void kvr_ring_close(struct kvr_ring *ring);

/*
 * Closes the ring and opens it again with the next generation: after a
 * failure, with the same or a replacement process. Collective. On error the
 * ring is gone and *ring is NULL, but for INVALID and FORKED. Destroy its plans
 * first. Passes can be repeated from the caller's intact input. A replacement
 * process calls kvr_ring_open.
 */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_ring_reopen(struct kvr_ring **ring, const struct kvr_bootstrap *bootstrap);

/* Tells every rank to give up: their waits return KVR_ERR_ABORTED. */
KVR_API void kvr_ring_abort(struct kvr_ring *ring);

/* This process's place in the ring, and n. */
KVR_API uint32_t kvr_ring_rank(const struct kvr_ring *ring);
KVR_API uint32_t kvr_ring_size(const struct kvr_ring *ring);

/*
 * One round of progress with KVR_PROGRESS_CALLER: never blocks. The calls of a
 * pass and kvr_attention_run make progress, too. The longest gap between calls
 * must stay below peer_timeout_ms. Errors: AGAIN (nothing happened), STATE (the
 * library's thread does it), FORKED, and what the ring failed with.
 */
KVR_API KVR_MUST_CHECK enum kvr_status kvr_ring_progress(struct kvr_ring *ring);

/*
 * A descriptor for the caller's epoll loop, readable when kvr_ring_progress
 * has work. Owned by the ring. Call kvr_ring_progress until KVR_ERR_AGAIN
 * before waiting on it. Wake at least every heartbeat_ms.
 * Errors: STATE unless KVR_PROGRESS_CALLER.
 */
KVR_API KVR_MUST_CHECK enum kvr_status kvr_ring_event_fd(struct kvr_ring *ring,
							 int *out);

/* Why a ring failed: status KVR_OK while it has not. */
struct kvr_failure {
	size_t size;
	enum kvr_status status;
	uint32_t rank; /* who is to blame, or KVR_RANK_NONE */
	uint32_t step; /* this rank's step when it learned of it */
	uint64_t pass; /* the tag of the pass open then; 0: none */
	char text[256];
};

KVR_API void kvr_failure_init(struct kvr_failure *failure);
/* Tells why the ring failed, at any time. Errors: INVALID, FORKED. */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_ring_get_failure(struct kvr_ring *ring, struct kvr_failure *out);

struct kvr_ring_stats {
	size_t size;
	uint32_t generation;
	uint64_t passes;		     /* begun */
	uint64_t bytes_sent, bytes_received; /* blocks, checksums, forwarded */
	uint64_t blocks_received;	     /* descriptors */
	uint64_t credits_granted;
	uint64_t sleeps;	/* times that progress slept */
	uint64_t back_pressure; /* posts refused by a full queue */
	uint64_t rnr_naks;	/* RDMA, of the whole port; a bug if any */
	const char *transport_in, *transport_out; /* from prev, to next */
	const char *slots_by, *slots_flush; /* docs/gpu-memory.md; static all */
};

KVR_API void kvr_ring_stats_init(struct kvr_ring_stats *stats);
/* Counts since the ring was opened or reopened. Errors: INVALID, FORKED. */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_ring_get_stats(struct kvr_ring *ring, struct kvr_ring_stats *out);

/* ---------------------------------------------------------------- pass */
struct kvr_pass;

/* A piece of registered memory. A block is a list of them, gathered. */
struct kvr_segment {
	struct kvr_memory *memory;
	size_t offset;
	size_t bytes;
};

/* What this rank contributes to one lane. */
struct kvr_local_block {
	const struct kvr_segment *segments; /* borrowed until end returns */
	size_t segment_count;		    /* 0: an empty block */
	const void *metadata;		    /* copied by begin; may be NULL */
	size_t metadata_bytes;		    /* <= KVR_METADATA_MAX */
};

#define KVR_HOPS_ALL UINT32_MAX

struct kvr_pass_desc {
	size_t size;
	uint64_t tag;  /* any number; must agree ring-wide */
	uint32_t hops; /* hops of an immutable block; agreed; default all */
	struct kvr_local_block lane[KVR_LANES_MAX];
};

KVR_API void kvr_pass_desc_init(struct kvr_pass_desc *desc);

/*
 * Begins a pass: collective. Waits only when a neighbour is late by more than
 * three passes, and then as kvr_pass_next does. One pass is open per ring at a
 * time. The local blocks start to travel at once (an accumulating lane's
 * when step 0 is released). *out is the ring's: no allocation, valid until
 * kvr_pass_end, and for its statistics until the next begin.
 * Errors: INVALID, LIMIT (a block larger than slot_bytes, or more segments in a
 * chunk than RDMA carries), STATE, FORKED, and what the ring failed with.
 */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_pass_begin(struct kvr_ring *ring, const struct kvr_pass_desc *desc,
	       struct kvr_pass **out);

struct kvr_block {
	size_t size;
	uint32_t step;	 /* hops made: 0 is the local block */
	uint32_t origin; /* the rank whose block this is */
	void *data;	 /* may be written on accumulating lanes */
	size_t bytes;
	const void *metadata; /* as the owner gave it to begin */
	size_t metadata_bytes;
};

KVR_API void kvr_block_init(struct kvr_block *block);

/*
 * The next block of a lane, in order of steps, complete. Step 0 is the local
 * block, in the caller's own memory (data is its only segment; NULL when it has
 * several or none). The block may be read until it is released; up to `slots`
 * blocks may be held at once, but each held slot is one that prev cannot fill.
 * Waits up to wait_timeout_ms. Errors: END (all taken), CANCELLED, TIMEOUT,
 * INVALID, FORKED, STATE (step - slots is held), and what the ring failed with.
 */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_pass_next(struct kvr_pass *pass, uint32_t lane, struct kvr_block *out);

/* As kvr_pass_next, but returns KVR_ERR_AGAIN instead of waiting. */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_pass_try_next(struct kvr_pass *pass, uint32_t lane, struct kvr_block *out);

/*
 * Gives the block of that step back, in any order. The slot is granted to
 * prev as soon as it is forwarded too. On an accumulating lane: the
 * contribution of this rank is in, the block moves on.
 * Errors: STATE (not held: released twice, or never taken), INVALID, FORKED,
 * and what the ring failed with.
 */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_pass_release(struct kvr_pass *pass, uint32_t lane, uint32_t step);

/*
 * Ends the pass, also early: releases the rest, goes on forwarding in the
 * background, and returns when the local blocks' memory is no longer read.
 * Not collective. Errors: CANCELLED (by a rank of the ring; the pass is over
 * nevertheless), TIMEOUT, STATE, FORKED, and what the ring failed with.
 */
KVR_API KVR_MUST_CHECK enum kvr_status kvr_pass_end(struct kvr_pass *pass);

/*
 * Gives up on the results, from any thread, without waiting: what is still to
 * be sent travels as empty blocks, and a rank that one of these reaches before
 * it has taken all of its own gets KVR_ERR_CANCELLED; a rank whose blocks were
 * under way already ends with KVR_OK, and they are exact. The ring stays
 * whole: every rank still begins and ends this pass. Errors: STATE (no pass
 * open), FORKED, and what the ring failed with.
 */
KVR_API KVR_MUST_CHECK enum kvr_status kvr_pass_cancel(struct kvr_pass *pass);

struct kvr_pass_stats {
	size_t size;
	uint32_t steps; /* blocks taken, local ones too, all lanes */
	uint64_t bytes_sent, bytes_received; /* of blocks and checksums */
	uint64_t wall_ns;		     /* begin to end (or now) */
	uint64_t exposed_ns;		     /* waited inside kvr_pass_next */
	uint64_t held_ns; /* between next and release, steps added up */
};

KVR_API void kvr_pass_stats_init(struct kvr_pass_stats *stats);
/* Times of the pass so far, or of all of it. Errors: INVALID, FORKED. */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_pass_get_stats(const struct kvr_pass *pass, struct kvr_pass_stats *out);

/* When one step happened; nanoseconds since the pass began. */
struct kvr_step_stats {
	size_t size;
	uint64_t asked_ns;    /* kvr_pass_next was called */
	uint64_t ready_ns;    /* it returned the block */
	uint64_t released_ns; /* kvr_pass_release; 0: not yet */
};

KVR_API void kvr_step_stats_init(struct kvr_step_stats *stats);

/* The times of one step. Errors: INVALID (it was not taken), FORKED. */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_pass_get_step(const struct kvr_pass *pass, uint32_t lane, uint32_t step,
		  struct kvr_step_stats *out);

#ifdef __cplusplus
}
#endif

#endif
