/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/ring.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "runtime/clock.h"
#include "runtime/guard.h"
#include "runtime/progress.h"
#include "runtime/seal.h"
#include "runtime/words.h"

/* How long an abort may take to reach the neighbours (DESIGN section 4). */
#define ABORT_NS (500 * KVR_NS_PER_MS)

/* ------------------------------------------------- the engine's actions */

static enum kvr_status post_write(void *arg, const struct kvr_engine_write *w)
{
	struct kvr_ring *ring = arg;
	struct kvr_endpoint *out = ring->edge[KVR_NEXT].endpoint;
	struct kvr_write write = {
		.lane = w->lane,
		.slot = w->target_slot,
		.offset = w->offset,
		.bytes = w->bytes,
		.skip = w->offset,
		.chunks = w->chunks,
		.imm = w->imm,
		.cookie = w->cookie,
	};

	if (w->source_slot == KVR_SOURCE_LOCAL) {
		/* Only the open pass has local blocks to send. */
		write.pieces = ring->pass.pieces[w->lane];
		write.piece_count = ring->pass.piece_count[w->lane];
	} else {
		write.pieces = &ring->slots[kvr_ring_slot_index(
			ring, w->lane, w->source_slot)];
		write.piece_count = 1;
	}
	return out->ops->write(out, &write);
}

static enum kvr_status post_describe(void *arg,
				     const struct kvr_engine_describe *d)
{
	struct kvr_ring *ring = arg;
	struct kvr_endpoint *out = ring->edge[KVR_NEXT].endpoint;
	struct kvr_describe describe = {
		.lane = d->lane,
		.slot = d->target_slot,
		.descriptor = &d->descriptor,
		.imm = d->imm,
	};

	if (d->source_slot == KVR_SOURCE_LOCAL)
		describe.metadata =
			kvr_ring_local_metadata(ring, d->pass, d->lane);
	else
		describe.metadata = ring->slot_metadata[kvr_ring_slot_index(
			ring, d->lane, d->source_slot)];
	return out->ops->describe(out, &describe);
}

static enum kvr_status post_signal(void *arg, enum kvr_side side, uint32_t imm)
{
	struct kvr_ring *ring = arg;
	struct kvr_endpoint *endpoint = ring->edge[side].endpoint;

	return endpoint->ops->signal(endpoint, imm);
}

static void wake(void *arg)
{
	struct kvr_ring *ring = arg;

	pthread_cond_broadcast(&ring->changed);
	if (kvr_engine_failure(ring->engine)->status == KVR_OK)
		return;
	if (!ring->failed_ns) {
		ring->failed_ns = kvr_clock_ns();
		ring->caller_failed = ring->caller;
	}
	/* Also when it failed in a caller's call: the ABORT must go out. */
	kvr_progress_kick(ring);
	if (ring->computing)
		ring->computing->ops->stop(ring->computing);
}

const struct kvr_engine_actions kvr_ring_actions = {
	.write = post_write,
	.describe = post_describe,
	.signal = post_signal,
	.wake = wake,
};

void kvr_ring_waits(struct kvr_ring *ring, enum kvr_recording_wait wait,
		    uint32_t lane, uint64_t now_ns)
{
	if (ring->caller.wait == wait)
		return;
	ring->caller = (struct kvr_caller){wait, lane,
					   now_ns ? now_ns : kvr_clock_ns()};
	kvr_recorder_note(ring->recorder, ring->caller.since_ns, KVR_NOTE_WAIT,
			  lane, ring->pass.tag, wait);
}

/* -------------------------------------------------------------- options */

void kvr_ring_options_init(struct kvr_ring_options *options)
{
	*options = (struct kvr_ring_options){
		.size = sizeof(*options),
		.slots = 2,
		.chunk_bytes = 1 << 20,
		.lanes = 1,
		.max_segments = 4096,
		.peer_timeout_ms = 10000,
		.wait_timeout_ms = 600000,
		.integrity = -1,
		.gpu = -1,
	};
}

/* -------------------------------------------------------------- failure */

void kvr_failure_init(struct kvr_failure *failure)
{
	*failure = (struct kvr_failure){
		.size = sizeof(*failure),
		.rank = KVR_RANK_NONE,
	};
}

/* Who lost us: the other of two; of more, one of both neighbours. */
static void describe_lost_by(const struct kvr_ring *ring,
			     const struct kvr_engine_failure *f,
			     const char *where, struct kvr_failure *out)
{
	char who[32] = "a neighbour", how[64] = "our connection closed";

	if (ring->n == 2)
		snprintf(who, sizeof(who), "rank %u", 1 - ring->rank);
	if (f->abort.cause == KVR_CAUSE_SILENT)
		snprintf(how, sizeof(how), "we were silent for %u ms",
			 ring->options.peer_timeout_ms);
	snprintf(out->text, sizeof(out->text), "%s lost us, rank %u, %s: %s",
		 who, ring->rank, where, how);
}

static void describe_lost(const struct kvr_ring *ring,
			  const struct kvr_engine_failure *f,
			  struct kvr_failure *out)
{
	char how[64] = "its connection closed";
	char where[64] = "between passes";

	if (f->abort.cause == KVR_CAUSE_SILENT)
		snprintf(how, sizeof(how), "it was silent for %u ms",
			 ring->options.peer_timeout_ms);
	if (f->pass)
		snprintf(where, sizeof(where), "in step %u of pass %llu",
			 f->step, (unsigned long long)f->pass);
	/* Its ABORT came: we live, and are as good as dead to the ring. */
	if (f->abort.rank == ring->rank) {
		describe_lost_by(ring, f, where, out);
		return;
	}
	snprintf(out->text, sizeof(out->text), "lost rank %u %s: %s",
		 f->abort.rank, where, how);
}

/* What was wrong with a block here: see guard.h. */
static void describe_damage(const struct kvr_ring *ring,
			    const struct kvr_engine_failure *f,
			    struct kvr_failure *out)
{
	const struct kvr_damage *d = &ring->damage;
	unsigned long long pass = (unsigned long long)f->pass;
	char what[48] = "the checksums", how[64] = "on its first hop";

	if (d->part == KVR_SEAL_CHUNK)
		snprintf(what, sizeof(what), "chunk %zu", d->chunk);
	else if (d->part == KVR_SEAL_METADATA)
		snprintf(what, sizeof(what), "the metadata");
	if (d->hops > 1)
		snprintf(how, sizeof(how),
			 "on hop %u or before: hops do not check", d->hops);
	if (d->arriving)
		snprintf(out->text, sizeof(out->text),
			 "%s of the block of rank %u arrived wrong from rank "
			 "%u in step %u of pass %llu, %s",
			 what, d->origin, f->abort.rank, d->hops, pass, how);
	else
		snprintf(out->text, sizeof(out->text),
			 "%s of the block of rank %u was overwritten %s, while "
			 "rank %u computed in step %u of pass %llu",
			 what, d->origin,
			 d->hops ? "after it had arrived"
				 : "after the pass had begun",
			 ring->rank, d->hops, pass);
}

/* The failure of another rank, as far as it is known here. */
static void describe_blame(const struct kvr_engine_failure *f,
			   struct kvr_failure *out)
{
	const char *what = kvr_status_text(f->status);

	if (f->abort.rank == KVR_RANK_NONE) {
		snprintf(out->text, sizeof(out->text), "%s", what);
		return;
	}
	if (f->status == KVR_ERR_ABORTED)
		what = "gave up the ring";
	else if (f->status == KVR_ERR_MISMATCH)
		what = "disagrees with its next, whose log names the field";
	else if (f->status == KVR_ERR_PROTOCOL)
		what = "broke the protocol; its neighbour's log names the "
		       "field";
	else if (f->status == KVR_ERR_CORRUPT)
		what = "sent or held a block whose checksum is wrong; its log "
		       "or that of its next names the chunk";
	snprintf(out->text, sizeof(out->text), "rank %u %s", f->abort.rank,
		 what);
}

void kvr_ring_describe_failure(const struct kvr_ring *ring,
			       struct kvr_failure *out)
{
	const struct kvr_engine_failure *f = kvr_engine_failure(ring->engine);

	out->status = f->status;
	out->rank = f->abort.rank;
	out->step = f->step;
	out->pass = f->pass;
	if (f->status == KVR_OK)
		out->text[0] = '\0';
	else if (f->status == KVR_ERR_PEER_LOST)
		describe_lost(ring, f, out);
	else if (f->status == KVR_ERR_MISMATCH && f->field[0])
		snprintf(out->text, sizeof(out->text),
			 "%s of rank %u is %llu, here it is %llu", f->field,
			 f->abort.rank, (unsigned long long)f->theirs,
			 (unsigned long long)f->ours);
	else if (f->status == KVR_ERR_PROTOCOL && f->field[0])
		snprintf(out->text, sizeof(out->text),
			 "rank %u broke the protocol: %s", f->abort.rank,
			 f->field);
	else if (f->status == KVR_ERR_CORRUPT && ring->damage.known)
		describe_damage(ring, f, out);
	else
		describe_blame(f, out);
}

enum kvr_status kvr_ring_get_failure(struct kvr_ring *ring,
				     struct kvr_failure *out)
{
	if (!ring || !out || out->size != sizeof(*out))
		return KVR_ERR_INVALID;
	if (kvr_context_forked(ring->context))
		return KVR_ERR_FORKED;
	pthread_mutex_lock(&ring->lock);
	kvr_ring_describe_failure(ring, out);
	pthread_mutex_unlock(&ring->lock);
	return KVR_OK;
}

void kvr_ring_abort(struct kvr_ring *ring)
{
	if (!ring || kvr_context_forked(ring->context))
		return;
	pthread_mutex_lock(&ring->lock);
	kvr_engine_abort(ring->engine, ring->rank, KVR_CAUSE_CALLER);
	pthread_mutex_unlock(&ring->lock);
	kvr_progress_kick(ring);
}

/* ---------------------------------------------------------------- close */

/* What was signalled last may still be queued: nobody else steps now. */
static void settle(struct kvr_edge *edge, uint64_t deadline_ns)
{
	struct kvr_endpoint *endpoint = edge->endpoint;
	struct kvr_event events[8];
	size_t count;

	if (!endpoint || edge->lost)
		return;
	while (endpoint->ops->arm(endpoint) != KVR_OK &&
	       kvr_clock_ns() < deadline_ns) {
		endpoint->ops->disarm(endpoint);
		if (endpoint->ops->poll(endpoint, events, 8, &count) != KVR_OK)
			return;
	}
}

static void close_edge(struct kvr_ring *ring, enum kvr_side side)
{
	struct kvr_edge *edge = &ring->edge[side];

	if (!edge->endpoint)
		return;
	edge->endpoint->ops->endpoint_close(edge->endpoint);
	edge->endpoint = NULL;
	kvr_context_leave_transport(ring->context, edge->transport_index);
}

static void forget_slots(struct kvr_ring *ring)
{
	size_t count = (size_t)ring->options.lanes * ring->options.slots;
	/* Chosen, so it is there to the end. */
	struct kvr_transport *out =
		ring->context->transports[ring->edge[KVR_NEXT].transport_index];

	if (!ring->edge[KVR_PREV].endpoint)
		return;
	for (size_t i = 0; i < count; i++) {
		if (ring->slots[i].address && ring->slots[i].bytes)
			out->ops->memory_deregister(out, ring->slots[i].key);
	}
}

/* An engine that has not failed has nothing to tell. */
static bool abort_pending(const struct kvr_ring *ring)
{
	return ring->engine && !ring->shut &&
	       kvr_engine_failure(ring->engine)->status != KVR_OK &&
	       !kvr_engine_abort_sent(ring->engine);
}

void kvr_ring_shut_down(struct kvr_ring *ring)
{
	uint64_t deadline_ns = kvr_clock_ns() + ABORT_NS;

	pthread_mutex_lock(&ring->lock);
	while (abort_pending(ring) && kvr_clock_ns() < deadline_ns)
		kvr_progress_wait(ring, kvr_clock_ns() + KVR_NS_PER_MS);
	pthread_mutex_unlock(&ring->lock);

	kvr_progress_remove(ring);
	if (ring->engine) {
		settle(&ring->edge[KVR_PREV], deadline_ns);
		settle(&ring->edge[KVR_NEXT], deadline_ns);
	}
	/* Nobody writes from our slots any more, then they may go. */
	close_edge(ring, KVR_NEXT);
	forget_slots(ring);
	kvr_guard_close(ring);
	close_edge(ring, KVR_PREV);
	ring->shut = true;
}

void kvr_ring_destroy(struct kvr_ring *ring)
{
	kvr_ring_shut_down(ring);
	for (uint32_t lane = 0; lane < KVR_LANES_MAX; lane++) {
		free(ring->pass.pieces[lane]);
		free(ring->pass.times[lane]);
	}
	if (ring->kick_fd >= 0)
		close(ring->kick_fd);
	if (ring->epoll_fd >= 0)
		close(ring->epoll_fd);
	free(ring->local_metadata);
	free(ring->slot_metadata);
	free(ring->slots);
	free(ring->engine_memory);
	free(ring->recorder);
	free(ring->record_path);
	pthread_cond_destroy(&ring->changed);
	pthread_mutex_destroy(&ring->lock);
	free(ring);
}

/* What changes while passes drain. */
static uint64_t movement(const struct kvr_ring *ring)
{
	const struct kvr_engine_counters *c = kvr_engine_counters(ring->engine);

	return c->bytes_sent + c->blocks_received + c->credits_granted;
}

/*
 * Until nobody needs us. Others may compute for long on what we still have to
 * forward: dead and silent ones fail the engine, so that only a ring in which
 * nothing moves for wait_timeout_ms is given up here. Whether the others have
 * said BYE too does not matter to them or to us.
 */
static void say_bye(struct kvr_ring *ring)
{
	uint64_t patience_ns = ring->options.wait_timeout_ms * KVR_NS_PER_MS;
	uint64_t moved = movement(ring), since_ns = kvr_clock_ns();
	enum kvr_status status = kvr_engine_bye(ring->engine);

	kvr_ring_waits(ring, KVR_WAIT_CLOSE, 0, since_ns);
	kvr_progress_kick(ring);
	while (status == KVR_ERR_AGAIN && !kvr_engine_bye_sent(ring->engine)) {
		kvr_progress_wait(ring, since_ns + patience_ns);
		status = kvr_engine_bye(ring->engine);
		if (movement(ring) != moved) {
			moved = movement(ring);
			since_ns = kvr_clock_ns();
		} else if (kvr_clock_ns() >= since_ns + patience_ns) {
			kvr_engine_abort(ring->engine, KVR_RANK_NONE,
					 KVR_CAUSE_STALLED);
		}
	}
}

/* Of both edges; once, where they are over the same transport. */
static uint64_t count_unready(const struct kvr_ring *ring)
{
	const struct kvr_edge *prev = &ring->edge[KVR_PREV];
	uint64_t count = 0;

	for (int side = 0; side < 2 && ring->n > 1; side++) {
		const struct kvr_edge *edge = &ring->edge[side];
		/* Chosen: it stays. */
		struct kvr_transport *transport =
			ring->context->transports[edge->transport_index];

		if (side == KVR_PREV ||
		    edge->transport_index != prev->transport_index)
			count += transport->ops->unready(transport) -
				 edge->unready;
	}
	return count;
}

/* Never back-pressure: receives are posted for all that credits allow. */
static void warn_of_unready(const struct kvr_ring *ring)
{
	const uint64_t count = count_unready(ring);

	if (count > 0)
		kvr_log(&ring->context->log, KVR_LOG_WARNING,
			"rank %u: %llu RDMA writes found no receive posted "
			"(RNR NAKs): unless other programs use these ports, "
			"that is a bug of kvring",
			ring->rank, (unsigned long long)count);
}

/* The caller's mistake; but no stream shall wait for a ring that is gone. */
static void part_from_streams(struct kvr_ring *ring)
{
	pthread_mutex_lock(&ring->lock);
	if (ring->words) {
		kvr_log(&ring->context->log, KVR_LOG_ERROR,
			"rank %u: kvr_ring_close before "
			"kvr_stream_plan_destroy",
			ring->rank);
		kvr_words_detach(ring->words);
	}
	pthread_mutex_unlock(&ring->lock);
}

void kvr_ring_close(struct kvr_ring *ring)
{
	if (!ring || kvr_context_forked(ring->context))
		return;
	part_from_streams(ring);
	if (ring->pass.open)
		(void)!kvr_pass_end(&ring->pass);
	pthread_mutex_lock(&ring->lock);
	say_bye(ring);
	pthread_mutex_unlock(&ring->lock);
	warn_of_unready(ring);
	kvr_ring_destroy(ring);
}

enum kvr_status kvr_ring_reopen(struct kvr_ring **ring,
				const struct kvr_bootstrap *bootstrap)
{
	struct kvr_ring_options options;
	struct kvr_context *context;
	uint32_t generation;

	if (!ring || !*ring || !bootstrap)
		return KVR_ERR_INVALID;
	context = (*ring)->context;
	if (kvr_context_forked(context))
		return KVR_ERR_FORKED;
	options = (*ring)->options;
	generation = (*ring)->generation + 1;
	kvr_ring_close(*ring);
	*ring = NULL;
	return kvr_ring_open_generation(context, bootstrap, &options,
					generation, ring);
}

/* ---------------------------------------------------------------- about */

uint32_t kvr_ring_rank(const struct kvr_ring *ring)
{
	return ring->rank;
}

uint32_t kvr_ring_size(const struct kvr_ring *ring)
{
	return ring->n;
}

void kvr_ring_stats_init(struct kvr_ring_stats *stats)
{
	*stats = (struct kvr_ring_stats){.size = sizeof(*stats)};
}

enum kvr_status kvr_ring_get_stats(struct kvr_ring *ring,
				   struct kvr_ring_stats *out)
{
	const struct kvr_engine_counters *c;

	if (!ring || !out || out->size != sizeof(*out))
		return KVR_ERR_INVALID;
	if (kvr_context_forked(ring->context))
		return KVR_ERR_FORKED;
	out->rnr_naks = count_unready(ring);
	pthread_mutex_lock(&ring->lock);
	c = kvr_engine_counters(ring->engine);
	out->generation = ring->generation;
	out->passes = c->passes;
	out->bytes_sent = c->bytes_sent;
	out->bytes_received = c->bytes_received;
	out->blocks_received = c->blocks_received;
	out->credits_granted = c->credits_granted;
	out->back_pressure = c->back_pressure;
	out->sleeps = ring->sleeps;
	out->transport_in = ring->edge[KVR_PREV].transport;
	out->transport_out = ring->edge[KVR_NEXT].transport;
	out->slots_by = ring->slots_info.by;
	out->slots_flush = ring->slots_info.flush;
	pthread_mutex_unlock(&ring->lock);
	return KVR_OK;
}
