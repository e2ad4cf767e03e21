/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvring level 1 in the order of CUDA streams: passes whose blocks a stream
 * waits for and gives back, without the host. A stream is a cudaStream_t (or
 * CUstream), passed as void *; no CUDA header is needed.
 *
 *	kvr_stream_plan_create		once: which passes the streams will run
 *	kvr_pass_start_on_stream	for each pass, on a stream
 *	kvr_pass_next_on_stream		what follows on it may read the block
 *	kvr_pass_release_on_stream	what went before has read it
 *	kvr_pass_end_on_stream		what follows may write the local block
 *
 * None of the last four waits. They may be captured into a CUDA graph, and
 * the graph replayed any number of times: see kvr_stream_plan_expect.
 *
 * What the streams do is not visible to the host until these are synchronized;
 * then kvr_stream_plan_check says whether what they computed is right. When a
 * ring fails every wait is let through, so that no stream waits for ever, and
 * what was computed since is worthless.
 *
 * Threads. All calls on a plan and its ring from one thread at a time, but
 * kvr_stream_plan_check and kvr_stream_plan_expect: any thread.
 *
 * Streams. The order of the calls of a pass must be an order in which the work
 * could happen, and is one in which it never waits for itself, though all
 * streams of the device were one queue (CUDA_DEVICE_MAX_CONNECTIONS=1). A pass
 * may use several streams, which the caller orders by events as for any other
 * work: start before next, a release before the next that takes its slot, all
 * before end. CUDA does not see the order that the words make. Load
 * kernels before the first pass (CUDA_MODULE_LOADING=EAGER): loading one may
 * wait for the device, and the device for the pass.
 */
#ifndef KVRING_CUDA_H
#define KVRING_CUDA_H

#include "kvring/kvring.h"

#ifdef __cplusplus
extern "C" {
#endif

#define KVR_STREAM_PASSES_MAX 65536

struct kvr_stream_plan;

/*
 * Passes for streams of the calling thread's current CUDA device: `count` of
 * them, such as one for each layer, of which kvr_pass_start_on_stream names
 * one. From now until kvr_stream_plan_destroy they are the ring's only ones:
 * kvr_pass_begin, and what uses it, is refused. passes are copied; their
 * segments, metadata and memory are borrowed until then. The ring has no more
 * than one plan, and is open for longer than it. Other ranks may run the same
 * passes by kvr_pass_begin.
 *
 * With KVR_PROGRESS_CALLER words are looked at in kvr_ring_progress only,
 * which must then be called until the streams are through; nothing makes
 * kvr_ring_event_fd readable when a stream wrote one.
 *
 * wait_timeout_ms is here how long nothing comes while a slot is free for it
 * and nothing is released: longer than the longest time between two releases.
 * Errors: INVALID, LIMIT (of a pass, as kvr_pass_begin has them, or count),
 * STATE (a pass is open, or there is a plan), UNSUPPORTED (no plug-in for CUDA;
 * the device cannot wait for words; the ring was opened with integrity),
 * NO_MEMORY, DEVICE, FORKED, those of kvr_gpu_get_info, and what the ring
 * failed with.
 */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_stream_plan_create(struct kvr_ring *ring,
		       const struct kvr_pass_desc *passes, size_t count,
		       struct kvr_stream_plan **out);

/*
 * Destroys a plan when no stream will use it any more; ends a pass that is
 * still open. NULL is ignored.
 */
KVR_API void kvr_stream_plan_destroy(struct kvr_stream_plan *plan);

/*
 * Announces `passes` more starts by replayed graphs: progress looks at the
 * words for as long as some are to come or one is open, and else sleeps. Call
 * it before the launch. Without it a start is seen with the next heartbeat,
 * which is up to a second late. Passes that are not captured announce
 * themselves. Errors: INVALID, STATE (the ring was closed), FORKED.
 */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_stream_plan_expect(struct kvr_stream_plan *plan, uint64_t passes);

/*
 * Whether the passes so far went well: call it when their streams are
 * synchronized, and before using what they computed. Errors: CANCELLED (one
 * was; said once); STATE (a pass was started while one was open, or with its
 * blocks in other slots than when it was captured: this rank then aborts the
 * ring); INVALID, FORKED, and what the ring failed with.
 */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_stream_plan_check(struct kvr_stream_plan *plan);

/*
 * The pass that streams have open, or had last: for kvr_pass_cancel and
 * statistics only, valid until the plan is destroyed. Its exposed time is that
 * in which a block was to come and the stream held none; the host sees what a
 * stream does up to 0.2 ms late.
 */
KVR_API struct kvr_pass *kvr_stream_plan_pass(struct kvr_stream_plan *plan);

/*
 * Starts passes[index]: what was put on the stream before has happened, and
 * the local block, its own writing included, travels. One pass is open at a
 * time. The slots in which blocks will land are chosen here: hop by hop
 * they go round over all passes. So the hops of all passes of a graph that is
 * replayed, added up for each lane, must be a multiple of the ring's slots, or
 * the next replay is refused (kvr_stream_plan_check). Always right: slots =
 * n - 1 hops; or `slots` passes a graph.
 * Errors: INVALID, STATE (one is open; the ring was closed), DEVICE, FORKED.
 * After DEVICE, of any of these calls, the plan takes no more; its ring is
 * whole. Destroy it when its streams are through.
 */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_pass_start_on_stream(struct kvr_stream_plan *plan, size_t index,
			 void *stream);

/*
 * The next block of a lane, in order of steps: what is put on the stream from
 * now on may read it, until released. *out is known before the block is:
 * bytes is the most that it can have (slot_bytes; of the local block all),
 * metadata NULL. Up to `slots` blocks may be held at once.
 * Errors: END (all taken), STATE (none started; or the slot of this step is
 * not released yet), INVALID, DEVICE, FORKED.
 */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_pass_next_on_stream(struct kvr_stream_plan *plan, uint32_t lane,
			void *stream, struct kvr_block *out);

/*
 * Gives the block of that step back when what was put on the stream before
 * has happened. Errors: STATE (not held), INVALID, DEVICE, FORKED.
 */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_pass_release_on_stream(struct kvr_stream_plan *plan, uint32_t lane,
			   uint32_t step, void *stream);

/*
 * Ends the pass, also early: blocks that are held are released. What is put on
 * the stream from now on may write the local block. Errors: STATE (none
 * started), INVALID, DEVICE, FORKED.
 */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_pass_end_on_stream(struct kvr_stream_plan *plan, void *stream);

#ifdef __cplusplus
}
#endif

#endif
