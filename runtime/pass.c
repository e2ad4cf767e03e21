/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "runtime/clock.h"
#include "runtime/guard.h"
#include "runtime/pass.h"
#include "runtime/progress.h"

void kvr_pass_desc_init(struct kvr_pass_desc *desc)
{
	*desc = (struct kvr_pass_desc){
		.size = sizeof(*desc),
		.hops = KVR_HOPS_ALL,
	};
}

void kvr_block_init(struct kvr_block *block)
{
	*block = (struct kvr_block){.size = sizeof(*block)};
}

/* -------------------------------------------------------------- begin */

static enum kvr_status refuse(const struct kvr_ring *ring,
			      enum kvr_status status, const char *what)
{
	kvr_log(&ring->context->log, KVR_LOG_ERROR, "kvr_pass_begin: %s", what);
	return status;
}

/* The segments of a lane as pieces; *bytes is their sum. */
static enum kvr_status take_segments(struct kvr_ring *ring, uint32_t lane,
				     const struct kvr_local_block *local,
				     size_t *bytes)
{
	size_t transport = ring->edge[KVR_NEXT].transport_index;
	size_t sum = 0;

	if (local->segment_count > ring->options.max_segments)
		return refuse(ring, KVR_ERR_LIMIT,
			      "more segments than max_segments");
	for (size_t i = 0; i < local->segment_count; i++) {
		const struct kvr_segment *s = &local->segments[i];

		if (!s->memory || s->memory->context != ring->context ||
		    s->offset > s->memory->bytes ||
		    s->bytes > s->memory->bytes - s->offset)
			return refuse(ring, KVR_ERR_INVALID,
				      "a segment is not within memory "
				      "registered with the ring's context");
		if (s->memory->on_gpu && !kvr_ring_sends_gpu(ring))
			return refuse(ring, KVR_ERR_UNSUPPORTED,
				      "a segment is a GPU's memory, which the "
				      "edge to next cannot send, or integrity "
				      "cannot read");
		ring->pass.pieces[lane][i] = (struct kvr_piece){
			.address = (char *)s->memory->address + s->offset,
			.bytes = s->bytes,
			.key = s->memory->keys[transport],
		};
		sum += s->bytes;
	}
	ring->pass.piece_count[lane] = local->segment_count;
	ring->pass.segment_count[lane] = local->segment_count;
	*bytes = sum;
	return KVR_OK;
}

/* What a write cannot carry would be refused for ever. */
static bool pieces_fit(const struct kvr_ring *ring, uint32_t lane)
{
	struct kvr_endpoint *out = ring->edge[KVR_NEXT].endpoint;
	uint32_t most = out ? out->ops->pieces_max(out) : 0, count = 0;
	size_t room = ring->options.chunk_bytes;

	if (ring->pass.piece_count[lane] <= most || most == 0)
		return true;
	for (size_t i = 0; i < ring->pass.piece_count[lane]; i++) {
		size_t left = ring->pass.pieces[lane][i].bytes;

		while (left > 0) {
			size_t part = left < room ? left : room;

			if (++count > most)
				return false;
			left -= part;
			room -= part;
			if (room == 0) {
				room = ring->options.chunk_bytes;
				count = 0;
			}
		}
	}
	return true;
}

static enum kvr_status check_desc(const struct kvr_ring *ring,
				  const struct kvr_pass_desc *desc)
{
	if (desc->size != sizeof(*desc))
		return refuse(ring, KVR_ERR_INVALID,
			      "desc was not made by kvr_pass_desc_init");
	if (desc->hops != KVR_HOPS_ALL && desc->hops >= ring->n)
		return refuse(ring, KVR_ERR_INVALID, "hops exceed n - 1");
	for (uint32_t lane = 0; lane < ring->options.lanes; lane++) {
		const struct kvr_local_block *local = &desc->lane[lane];

		if (local->metadata_bytes > KVR_METADATA_MAX)
			return refuse(ring, KVR_ERR_INVALID,
				      "metadata exceeds KVR_METADATA_MAX");
		if ((local->metadata_bytes && !local->metadata) ||
		    (local->segment_count && !local->segments))
			return refuse(ring, KVR_ERR_INVALID,
				      "metadata or segments are NULL");
	}
	return KVR_OK;
}

static void reset(struct kvr_ring *ring, const struct kvr_pass_desc *desc,
		  uint32_t hops, uint32_t record, uint64_t now_ns)
{
	struct kvr_pass *pass = &ring->pass;

	pass->open = true;
	pass->tag = desc->tag;
	pass->record = record;
	pass->begin_ns = now_ns;
	pass->end_ns = 0;
	pass->steps = 0;
	pass->exposed_ns = 0;
	pass->held_ns = 0;
	kvr_ring_left(ring, pass->begin_ns);
	kvr_recorder_note(ring->recorder, pass->begin_ns, KVR_NOTE_BEGIN, 0,
			  desc->tag, hops);
	for (uint32_t lane = 0; lane < ring->options.lanes; lane++) {
		const struct kvr_local_block *local = &desc->lane[lane];

		pass->taken[lane] = 0;
		if (local->metadata_bytes)
			memcpy(kvr_ring_local_metadata(ring, record, lane),
			       local->metadata, local->metadata_bytes);
	}
}

/* ring->lock held. What the engine needs to know; the pieces of all lanes. */
static enum kvr_status prepare(struct kvr_ring *ring,
			       const struct kvr_pass_desc *desc,
			       struct kvr_engine_pass *pass)
{
	enum kvr_status status;

	/* The pieces are those of the open pass: look before writing them. */
	if (ring->pass.open)
		return KVR_ERR_STATE;
	*pass = (struct kvr_engine_pass){
		.tag = desc->tag,
		.hops = desc->hops == KVR_HOPS_ALL ? ring->n - 1 : desc->hops,
	};
	for (uint32_t lane = 0; lane < ring->options.lanes; lane++) {
		status = take_segments(ring, lane, &desc->lane[lane],
				       &pass->bytes[lane]);
		if (status != KVR_OK)
			return status;
		if (ring->integrity)
			kvr_guard_begin(ring, desc, lane, &pass->bytes[lane]);
		if (!pieces_fit(ring, lane))
			return refuse(ring, KVR_ERR_LIMIT,
				      "more segments in one chunk than the "
				      "transport carries; use smaller chunks");
		pass->metadata_bytes[lane] =
			(uint32_t)desc->lane[lane].metadata_bytes;
	}
	return KVR_OK;
}

/* ring->lock held. AGAIN: several passes ahead of the neighbours. */
static enum kvr_status enter(struct kvr_ring *ring,
			     const struct kvr_pass_desc *desc,
			     const struct kvr_engine_pass *pass,
			     uint64_t now_ns)
{
	enum kvr_status status;
	uint32_t record;

	status = kvr_engine_begin(ring->engine, pass, &record);
	if (status == KVR_OK)
		reset(ring, desc, pass->hops, record, now_ns);
	else if (status == KVR_ERR_LIMIT)
		return refuse(ring, status,
			      "a block is larger than its lane's slot_bytes");
	return status;
}

enum kvr_status kvr_pass_open(struct kvr_ring *ring,
			      const struct kvr_pass_desc *desc, uint64_t now_ns)
{
	struct kvr_engine_pass pass;
	enum kvr_status status = prepare(ring, desc, &pass);

	return status == KVR_OK ? enter(ring, desc, &pass, now_ns) : status;
}

enum kvr_status kvr_pass_check(struct kvr_ring *ring,
			       const struct kvr_pass_desc *desc)
{
	struct kvr_engine_pass pass;
	enum kvr_status status = check_desc(ring, desc);

	if (status == KVR_OK)
		status = prepare(ring, desc, &pass);
	for (uint32_t i = 0; status == KVR_OK && i < ring->options.lanes; i++)
		if (pass.bytes[i] > ring->options.lane[i].slot_bytes)
			return refuse(ring, KVR_ERR_LIMIT,
				      "a block is larger than its lane's "
				      "slot_bytes");
	return status;
}

/* ring->lock held. */
static enum kvr_status begin(struct kvr_ring *ring,
			     const struct kvr_pass_desc *desc, uint64_t *now_ns)
{
	uint64_t deadline_ns =
		*now_ns + ring->options.wait_timeout_ms * KVR_NS_PER_MS;
	struct kvr_engine_pass pass;
	enum kvr_status status = prepare(ring, desc, &pass);

	if (status != KVR_OK)
		return status;
	while ((status = enter(ring, desc, &pass, *now_ns)) == KVR_ERR_AGAIN) {
		if (*now_ns >= deadline_ns)
			kvr_engine_abort(ring->engine, KVR_RANK_NONE,
					 KVR_CAUSE_STALLED);
		kvr_ring_waits(ring, KVR_WAIT_BEGIN, 0, *now_ns);
		kvr_progress_wait(ring, deadline_ns);
		*now_ns = kvr_clock_ns();
	}
	return status;
}

enum kvr_status kvr_pass_begin(struct kvr_ring *ring,
			       const struct kvr_pass_desc *desc,
			       struct kvr_pass **out)
{
	enum kvr_status status;
	uint64_t now_ns;

	if (!ring || !desc || !out)
		return KVR_ERR_INVALID;
	if (kvr_context_forked(ring->context))
		return KVR_ERR_FORKED;
	status = check_desc(ring, desc);
	if (status != KVR_OK)
		return status;
	pthread_mutex_lock(&ring->lock);
	now_ns = kvr_clock_ns();
	status = ring->words ? KVR_ERR_STATE : begin(ring, desc, &now_ns);
	pthread_mutex_unlock(&ring->lock);
	if (status != KVR_OK)
		return status;
	kvr_progress_nudge(ring, now_ns);
	*out = &ring->pass;
	return KVR_OK;
}

/* --------------------------------------------------------------- next */

/* ring->lock held. Open, and not the pass of a stream? */
static bool callers(const struct kvr_pass *pass)
{
	return pass->open && !pass->ring->words;
}

static void fill_block(struct kvr_pass *pass, uint32_t lane,
		       const struct kvr_engine_block *taken,
		       struct kvr_block *out)
{
	struct kvr_ring *ring = pass->ring;

	out->step = taken->step;
	out->origin = taken->origin;
	out->bytes = taken->bytes;
	out->metadata_bytes = taken->metadata_bytes;
	if (taken->slot == KVR_SOURCE_LOCAL) {
		const struct kvr_piece *first = pass->pieces[lane];

		out->data = pass->segment_count[lane] == 1
				    ? kvr_ring_writable(first)
				    : NULL;
		out->metadata =
			kvr_ring_local_metadata(ring, pass->record, lane);
		return;
	}
	size_t index = kvr_ring_slot_index(ring, lane, taken->slot);

	out->data = kvr_ring_writable(&ring->slots[index]);
	out->metadata = ring->slot_metadata[index];
}

void kvr_pass_note_taken(struct kvr_pass *pass, uint32_t lane, uint32_t step,
			 uint64_t asked_ns, uint64_t ready_ns)
{
	struct kvr_step_times *times = &pass->times[lane][step];

	times->asked_ns = asked_ns - pass->begin_ns;
	times->ready_ns = ready_ns - pass->begin_ns;
	times->released_ns = 0;
	pass->exposed_ns += ready_ns - asked_ns;
	pass->taken[lane] = step + 1;
	pass->steps++;
	kvr_ring_left(pass->ring, ready_ns);
	kvr_recorder_note(pass->ring->recorder, ready_ns, KVR_NOTE_TAKEN, lane,
			  pass->tag, step);
}

/* ring->lock held. *ready_ns: when it was there. */
static enum kvr_status wait_block(struct kvr_pass *pass, uint32_t lane,
				  uint64_t *ready_ns,
				  struct kvr_engine_block *out)
{
	struct kvr_ring *ring = pass->ring;
	uint64_t deadline_ns =
		*ready_ns + ring->options.wait_timeout_ms * KVR_NS_PER_MS;
	enum kvr_status status;

	do {
		kvr_ring_waits(ring, KVR_WAIT_NEXT, lane, *ready_ns);
		if (*ready_ns >= deadline_ns)
			kvr_engine_abort(ring->engine, KVR_RANK_NONE,
					 KVR_CAUSE_STALLED);
		else
			kvr_progress_wait(ring, deadline_ns);
		*ready_ns = kvr_clock_ns();
		status = kvr_engine_take(ring->engine, lane, out);
	} while (status == KVR_ERR_AGAIN);
	return status;
}

/*
 * What the recorder shall know of a caller who gets no block. The clock is not
 * read for an end that was there at once.
 */
static void note_none(struct kvr_ring *ring, uint32_t lane, bool may_wait,
		      enum kvr_status status)
{
	/* Who asks again and again waits, too. */
	if (status == KVR_ERR_AGAIN)
		kvr_ring_waits(ring, KVR_WAIT_NEXT, lane, 0);
	else if (may_wait && ring->caller.wait != KVR_WAIT_NONE)
		kvr_ring_left(ring, kvr_clock_ns());
}

/* ring->lock held. asked_ns 0: just now. */
static enum kvr_status take(struct kvr_pass *pass, uint32_t lane,
			    uint64_t asked_ns, bool may_wait,
			    struct kvr_block *out)
{
	struct kvr_ring *ring = pass->ring;
	struct kvr_engine_block taken;
	enum kvr_status status = kvr_engine_take(ring->engine, lane, &taken);
	uint64_t ready_ns;

	if (status != KVR_OK && (status != KVR_ERR_AGAIN || !may_wait)) {
		note_none(ring, lane, may_wait, status);
		return status;
	}
	ready_ns = kvr_clock_ns();
	if (asked_ns == 0)
		asked_ns = ready_ns;
	if (status == KVR_ERR_AGAIN)
		status = wait_block(pass, lane, &ready_ns, &taken);
	if (status != KVR_OK) {
		note_none(ring, lane, may_wait, status);
		return status;
	}
	fill_block(pass, lane, &taken, out);
	if (ring->integrity) {
		/* It waits no more: it checks. */
		kvr_ring_left(ring, ready_ns);
		status = kvr_guard_take(pass, lane, out);
		ready_ns = kvr_clock_ns();
	}
	kvr_pass_note_taken(pass, lane, taken.step, asked_ns, ready_ns);
	return status;
}

static enum kvr_status next(struct kvr_pass *pass, uint32_t lane, bool may_wait,
			    struct kvr_block *out)
{
	enum kvr_status status;
	struct kvr_ring *ring;
	uint64_t asked_ns = 0;

	if (!pass || !out || out->size != sizeof(*out) ||
	    lane >= pass->ring->options.lanes)
		return KVR_ERR_INVALID;
	ring = pass->ring;
	if (kvr_context_forked(ring->context))
		return KVR_ERR_FORKED;
	if (!may_wait && !ring->context->thread.running)
		(void)kvr_progress_step(ring, kvr_clock_ns());
	/* Progress may hold the lock for long: waiting for it counts. */
	if (pthread_mutex_trylock(&ring->lock)) {
		asked_ns = kvr_clock_ns();
		pthread_mutex_lock(&ring->lock);
	}
	status = callers(pass) ? take(pass, lane, asked_ns, may_wait, out)
			       : KVR_ERR_STATE;
	pthread_mutex_unlock(&ring->lock);
	return status;
}

enum kvr_status kvr_pass_next(struct kvr_pass *pass, uint32_t lane,
			      struct kvr_block *out)
{
	return next(pass, lane, true, out);
}

enum kvr_status kvr_pass_try_next(struct kvr_pass *pass, uint32_t lane,
				  struct kvr_block *out)
{
	return next(pass, lane, false, out);
}

void kvr_pass_note_released(struct kvr_pass *pass, uint32_t lane, uint32_t step,
			    uint64_t now_ns)
{
	struct kvr_step_times *times = &pass->times[lane][step];

	kvr_ring_left(pass->ring, now_ns);
	kvr_recorder_note(pass->ring->recorder, now_ns, KVR_NOTE_RELEASED, lane,
			  pass->tag, step);
	times->released_ns = now_ns - pass->begin_ns;
	pass->held_ns += times->released_ns - times->ready_ns;
}

enum kvr_status kvr_pass_release(struct kvr_pass *pass, uint32_t lane,
				 uint32_t step)
{
	enum kvr_status status;
	struct kvr_ring *ring;
	uint64_t now_ns;

	if (!pass || lane >= pass->ring->options.lanes)
		return KVR_ERR_INVALID;
	ring = pass->ring;
	if (kvr_context_forked(ring->context))
		return KVR_ERR_FORKED;
	pthread_mutex_lock(&ring->lock);
	status = callers(pass) ? KVR_OK : KVR_ERR_STATE;
	if (status == KVR_OK && ring->integrity)
		status = kvr_guard_release(pass, lane, step);
	now_ns = kvr_clock_ns();
	if (status == KVR_OK)
		status = kvr_engine_release(ring->engine, lane, step);
	if (status == KVR_OK)
		kvr_pass_note_released(pass, lane, step, now_ns);
	pthread_mutex_unlock(&ring->lock);
	if (status == KVR_OK)
		kvr_progress_nudge(ring, now_ns);
	return status;
}

/* ---------------------------------------------------------------- end */

void kvr_pass_note_end(struct kvr_pass *pass, enum kvr_status status,
		       uint64_t now_ns)
{
	pass->open = false;
	pass->end_ns = now_ns;
	kvr_ring_left(pass->ring, now_ns);
	kvr_recorder_note(pass->ring->recorder, now_ns, KVR_NOTE_END, 0,
			  pass->tag, (uint32_t)-status);
}

/* ring->lock held. Until the local memory is no longer read. */
static enum kvr_status finish(struct kvr_pass *pass)
{
	struct kvr_ring *ring = pass->ring;
	uint64_t now_ns, deadline_ns;
	enum kvr_status status;

	if (ring->integrity)
		kvr_guard_end(pass);
	now_ns = kvr_clock_ns();
	deadline_ns = now_ns + ring->options.wait_timeout_ms * KVR_NS_PER_MS;
	status = kvr_engine_end(ring->engine);
	/* It has released what was held. */
	kvr_progress_kick(ring);
	while (status == KVR_ERR_AGAIN) {
		kvr_ring_waits(ring, KVR_WAIT_END, 0, now_ns);
		if (now_ns >= deadline_ns)
			kvr_engine_abort(ring->engine, KVR_RANK_NONE,
					 KVR_CAUSE_STALLED);
		else
			kvr_progress_wait(ring, deadline_ns);
		now_ns = kvr_clock_ns();
		status = kvr_engine_end(ring->engine);
	}
	kvr_pass_note_end(pass, status, now_ns);
	return status;
}

enum kvr_status kvr_pass_end(struct kvr_pass *pass)
{
	enum kvr_status status;
	struct kvr_ring *ring;

	if (!pass)
		return KVR_ERR_INVALID;
	ring = pass->ring;
	if (kvr_context_forked(ring->context))
		return KVR_ERR_FORKED;
	pthread_mutex_lock(&ring->lock);
	status = callers(pass) ? finish(pass) : KVR_ERR_STATE;
	pthread_mutex_unlock(&ring->lock);
	if (status <= KVR_ERR_PEER_LOST)
		kvr_ring_shut_down(ring);
	return status;
}

enum kvr_status kvr_pass_cancel(struct kvr_pass *pass)
{
	enum kvr_status status;
	struct kvr_ring *ring;

	if (!pass)
		return KVR_ERR_INVALID;
	ring = pass->ring;
	if (kvr_context_forked(ring->context))
		return KVR_ERR_FORKED;
	pthread_mutex_lock(&ring->lock);
	status = pass->open ? kvr_engine_cancel(ring->engine) : KVR_ERR_STATE;
	if (status == KVR_OK)
		kvr_recorder_note(ring->recorder, kvr_clock_ns(),
				  KVR_NOTE_CANCEL, 0, pass->tag, 0);
	pthread_mutex_unlock(&ring->lock);
	if (status == KVR_OK)
		kvr_progress_kick(ring);
	return status;
}

/* --------------------------------------------------------- statistics */

void kvr_pass_stats_init(struct kvr_pass_stats *stats)
{
	*stats = (struct kvr_pass_stats){.size = sizeof(*stats)};
}

void kvr_step_stats_init(struct kvr_step_stats *stats)
{
	*stats = (struct kvr_step_stats){.size = sizeof(*stats)};
}

enum kvr_status kvr_pass_get_stats(const struct kvr_pass *pass,
				   struct kvr_pass_stats *out)
{
	struct kvr_ring *ring;

	if (!pass || !out || out->size != sizeof(*out))
		return KVR_ERR_INVALID;
	ring = pass->ring;
	if (kvr_context_forked(ring->context))
		return KVR_ERR_FORKED;
	pthread_mutex_lock(&ring->lock);
	out->steps = pass->steps;
	out->exposed_ns = pass->exposed_ns;
	out->held_ns = pass->held_ns;
	out->wall_ns =
		(pass->open ? kvr_clock_ns() : pass->end_ns) - pass->begin_ns;
	kvr_engine_pass_bytes(ring->engine, &out->bytes_sent,
			      &out->bytes_received);
	pthread_mutex_unlock(&ring->lock);
	return KVR_OK;
}

enum kvr_status kvr_pass_get_step(const struct kvr_pass *pass, uint32_t lane,
				  uint32_t step, struct kvr_step_stats *out)
{
	enum kvr_status status = KVR_ERR_INVALID;
	struct kvr_ring *ring;

	if (!pass || !out || out->size != sizeof(*out) ||
	    lane >= pass->ring->options.lanes)
		return KVR_ERR_INVALID;
	ring = pass->ring;
	if (kvr_context_forked(ring->context))
		return KVR_ERR_FORKED;
	pthread_mutex_lock(&ring->lock);
	if (step < pass->taken[lane]) {
		const struct kvr_step_times *times = &pass->times[lane][step];

		out->asked_ns = times->asked_ns;
		out->ready_ns = times->ready_ns;
		out->released_ns = times->released_ns;
		status = KVR_OK;
	}
	pthread_mutex_unlock(&ring->lock);
	return status;
}
