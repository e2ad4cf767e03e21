/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/progress.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "runtime/clock.h"
#include "runtime/words.h"

/*
 * How long to look before sleeping: longer than a small block's way round
 * through memory, shorter than what a compute thread on the same core would
 * miss.
 */
#define SPIN_NS UINT64_C(20000)

/* Steps in vain between two looks at the clock by a caller who waits. */
#define LOOK_STEPS 8

/* A post refused by a full queue is repeated at least so often. */
#define BLOCKED_NS KVR_NS_PER_MS

/* --------------------------------------------------------------- step */

static void poll_edge(struct kvr_edge *edge, struct kvr_harvest *harvest)
{
	struct kvr_endpoint *endpoint = edge->endpoint;

	harvest->count = 0;
	harvest->status = KVR_OK;
	if (!endpoint || edge->lost)
		return;
	harvest->status = endpoint->ops->poll(endpoint, harvest->events,
					      KVR_HARVEST, &harvest->count);
}

/* A descriptor lies in memory that prev writes: copied, then validated. */
static void feed_descriptor(struct kvr_ring *ring, uint32_t imm,
			    uint64_t now_ns)
{
	struct kvr_endpoint *in = ring->edge[KVR_PREV].endpoint;
	struct kvr_imm decoded = kvr_imm_decode(imm);
	struct kvr_descriptor descriptor;
	const void *metadata;
	uint32_t slot;

	if (decoded.lane >= ring->options.lanes ||
	    !kvr_engine_slot_of(ring->engine, decoded.lane, decoded.sequence,
				&slot)) {
		kvr_engine_arrived(ring->engine, KVR_PREV, imm, NULL, now_ns);
		return;
	}
	in->ops->descriptor(in, decoded.lane, slot, &descriptor, &metadata);
	ring->slot_metadata[kvr_ring_slot_index(ring, decoded.lane, slot)] =
		metadata;
	kvr_engine_arrived(ring->engine, KVR_PREV, imm, &descriptor, now_ns);
}

static void feed_event(struct kvr_ring *ring, enum kvr_side side,
		       const struct kvr_event *event, uint64_t now_ns)
{
	if (event->kind == KVR_EVENT_SENT) {
		kvr_engine_sent(ring->engine, event->cookie);
		return;
	}
	if (side == KVR_PREV &&
	    kvr_imm_decode(event->imm).type == KVR_IMM_DESCRIPTOR) {
		feed_descriptor(ring, event->imm, now_ns);
		return;
	}
	kvr_engine_arrived(ring->engine, side, event->imm, NULL, now_ns);
}

/* True: there was something. That an edge is gone is something, too. */
static bool feed_edge(struct kvr_ring *ring, enum kvr_side side,
		      const struct kvr_harvest *harvest, uint64_t now_ns)
{
	for (size_t i = 0; i < harvest->count; i++)
		feed_event(ring, side, &harvest->events[i], now_ns);
	if (harvest->status == KVR_OK)
		return harvest->count > 0;
	ring->edge[side].lost = true;
	/* What is gone stays readable: nobody would sleep again. */
	(void)epoll_ctl(ring->epoll_fd, EPOLL_CTL_DEL,
			ring->edge[side].endpoint->ops->event_fd(
				ring->edge[side].endpoint),
			NULL);
	kvr_engine_lost(ring->engine, side,
			harvest->status == KVR_ERR_PROTOCOL ? KVR_CAUSE_PROTOCOL
							    : KVR_CAUSE_CLOSED);
	return true;
}

/* True: just now. */
static bool log_failure_once(struct kvr_ring *ring)
{
	struct kvr_failure failure;

	if (ring->failure_logged ||
	    kvr_engine_failure(ring->engine)->status == KVR_OK)
		return false;
	ring->failure_logged = true;
	kvr_failure_init(&failure);
	kvr_ring_describe_failure(ring, &failure);
	kvr_log(&ring->context->log, KVR_LOG_ERROR, "rank %u: %s", ring->rank,
		failure.text);
	return true;
}

static void drain(int event_fd)
{
	uint64_t count;

	(void)!read(event_fd, &count, sizeof(count));
}

static void disarm(struct kvr_ring *ring)
{
	if (!ring->armed)
		return;
	/* No order needed: a bell too many is harmless. */
	atomic_store_explicit(&ring->asleep, false, memory_order_relaxed);
	if (ring->kick_fd >= 0)
		drain(ring->kick_fd);
	for (int side = 0; side < 2; side++) {
		struct kvr_endpoint *endpoint = ring->edge[side].endpoint;

		if (endpoint)
			endpoint->ops->disarm(endpoint);
	}
	ring->armed = false;
}

static bool has_bytes(const struct kvr_harvest *harvest)
{
	for (size_t i = 0; i < harvest->count; i++)
		if (harvest->events[i].kind == KVR_EVENT_ARRIVED &&
		    kvr_imm_decode(harvest->events[i].imm).type ==
			    KVR_IMM_CHUNK)
			return true;
	return false;
}

/*
 * Not before the received bytes are visible may the engine see them, nor what
 * came after them. False: the flush is under way.
 */
static bool flush(struct kvr_ring *ring)
{
	struct kvr_endpoint *in = ring->edge[KVR_PREV].endpoint;
	enum kvr_status status;

	if (!has_bytes(&ring->arrived))
		return true;
	status = in->ops->flush(in);
	if (status != KVR_OK && status != KVR_ERR_AGAIN)
		kvr_engine_abort(ring->engine, ring->rank, KVR_CAUSE_PROTOCOL);
	return status != KVR_ERR_AGAIN;
}

static bool feed_prev(struct kvr_ring *ring, uint64_t now_ns)
{
	bool busy;

	if (!flush(ring))
		return true;
	busy = feed_edge(ring, KVR_PREV, &ring->arrived, now_ns);
	ring->arrived.count = 0;
	ring->arrived.status = KVR_OK;
	return busy;
}

bool kvr_progress_step(struct kvr_ring *ring, uint64_t now_ns)
{
	struct kvr_harvest next;
	bool busy, failed;

	if (ring->shut)
		return false;
	disarm(ring);
	/* Pairs with kvr_progress_kick: what it announces is seen below. */
	busy = atomic_exchange(&ring->dirty, false);
	/* What still waits for a flush comes first. */
	if (ring->arrived.count == 0)
		poll_edge(&ring->edge[KVR_PREV], &ring->arrived);
	poll_edge(&ring->edge[KVR_NEXT], &next);

	pthread_mutex_lock(&ring->lock);
	busy |= feed_prev(ring, now_ns);
	busy |= feed_edge(ring, KVR_NEXT, &next, now_ns);
	/* After the flush, so that a stream reads what it is told is there. */
	if (ring->words)
		busy |= kvr_words_run(ring->words, now_ns);
	busy |= kvr_engine_run(ring->engine, now_ns);
	failed = log_failure_once(ring);
	pthread_mutex_unlock(&ring->lock);
	if (failed)
		kvr_ring_record_failure(ring);
	return busy;
}

/* -------------------------------------------------------------- sleep */

/*
 * KVR_OK: both sides will wake epoll_fd, and a kick will. Dekker, with
 * kvr_progress_kick: both write their own word and then read the other's,
 * sequentially consistent, so that at least one of the two sees the other.
 */
static enum kvr_status arm(struct kvr_ring *ring)
{
	ring->armed = true;
	atomic_store(&ring->asleep, true);
	if (atomic_load(&ring->dirty))
		return KVR_ERR_AGAIN;
	for (int side = 0; side < 2; side++) {
		struct kvr_edge *edge = &ring->edge[side];

		if (!edge->endpoint || edge->lost)
			continue;
		if (edge->endpoint->ops->arm(edge->endpoint) != KVR_OK)
			return KVR_ERR_AGAIN;
	}
	return KVR_OK;
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t next_deadline(struct kvr_ring *ring)
{
	uint64_t deadline, now_ns;

	pthread_mutex_lock(&ring->lock);
	deadline = kvr_engine_next_deadline(ring->engine);
	if (kvr_engine_blocked(ring->engine) || ring->words) {
		now_ns = kvr_clock_ns();
		if (kvr_engine_blocked(ring->engine))
			deadline = sooner(deadline, now_ns + BLOCKED_NS);
		if (ring->words)
			deadline =
				sooner(deadline,
				       kvr_words_look_ns(ring->words, now_ns));
	}
	ring->sleeps++;
	pthread_mutex_unlock(&ring->lock);
	return deadline;
}

/*
 * Until an event or the deadline: whole milliseconds, rounded up, but for
 * deadlines nearer than one. False: nothing happened.
 */
static bool sleep_on(int epoll_fd, uint64_t deadline_ns)
{
	struct pollfd watched = {.fd = epoll_fd, .events = POLLIN};
	struct timespec brief = {.tv_sec = 0};
	struct epoll_event event;
	uint64_t now_ns = kvr_clock_ns();
	uint64_t ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
	uint64_t ms = (ns + KVR_NS_PER_MS - 1) / KVR_NS_PER_MS;

	if (ns > 0 && ns < KVR_NS_PER_MS) {
		brief.tv_nsec = (long)ns;
		return ppoll(&watched, 1, &brief, NULL) > 0;
	}
	return epoll_wait(epoll_fd, &event, 1, ms > 1000 ? 1000 : (int)ms) > 0;
}

/* ------------------------------------------------------------- thread */

static bool step_all(struct kvr_context *context, uint64_t now_ns)
{
	bool busy = false;

	for (struct kvr_ring *r = context->rings; r; r = r->next)
		busy |= kvr_progress_step(r, now_ns);
	return busy;
}

/* Context locked. True: may sleep on the thread's epoll until deadline. */
static bool arm_all(struct kvr_context *context, uint64_t *deadline_ns)
{
	struct kvr_progress_thread *thread = &context->thread;

	*deadline_ns = UINT64_MAX;
	/* Before arm reads what kvr_progress_kick wrote: Dekker again. */
	atomic_store(&thread->asleep, true);
	for (struct kvr_ring *r = context->rings; r; r = r->next) {
		uint64_t deadline;

		if (arm(r) != KVR_OK)
			return false;
		deadline = next_deadline(r);
		if (deadline < *deadline_ns)
			*deadline_ns = deadline;
	}
	return !atomic_load(&thread->stop);
}

static void *progress_main(void *arg)
{
	struct kvr_context *context = arg;
	struct kvr_progress_thread *thread = &context->thread;
	uint64_t busy_ns = kvr_clock_ns();

	while (!atomic_load(&thread->stop)) {
		uint64_t deadline_ns = 0, now_ns;
		bool sleeping = false;

		while (atomic_load_explicit(&context->lock_wanted,
					    memory_order_relaxed))
			sched_yield();
		pthread_mutex_lock(&context->lock);
		now_ns = kvr_clock_ns();
		if (step_all(context, now_ns))
			busy_ns = kvr_clock_ns();
		else if (now_ns > busy_ns + SPIN_NS)
			sleeping = arm_all(context, &deadline_ns);
		pthread_mutex_unlock(&context->lock);
		if (sleeping) {
			/* A look at words in vain is no reason to spin. */
			if (sleep_on(thread->epoll_fd, deadline_ns))
				busy_ns = kvr_clock_ns();
			drain(thread->kick_fd);
		}
		atomic_store(&thread->asleep, false);
	}
	return NULL;
}

/* Signals are the program's: the thread takes none. */
static int create_thread(struct kvr_context *context)
{
	sigset_t all, before;
	int error;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(&context->thread.thread, NULL, progress_main,
			       context);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return error;
}

static int watch(int epoll_fd, int fd)
{
	struct epoll_event event = {.events = EPOLLIN};

	return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

enum kvr_status kvr_progress_start(struct kvr_context *context)
{
	struct kvr_progress_thread *thread = &context->thread;

	if (context->progress == KVR_PROGRESS_CALLER)
		return KVR_OK;
	thread->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (thread->epoll_fd < 0)
		goto err_log;
	thread->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (thread->kick_fd < 0)
		goto err_epoll;
	if (watch(thread->epoll_fd, thread->kick_fd))
		goto err_kick;
	errno = create_thread(context);
	if (errno)
		goto err_kick;
	thread->running = true;
	return KVR_OK;

err_kick:
	close(thread->kick_fd);
err_epoll:
	close(thread->epoll_fd);
err_log:
	kvr_log(&context->log, KVR_LOG_ERROR, "progress thread: %s",
		strerror(errno));
	return KVR_ERR_SYSTEM;
}

static void ring_bell(int event_fd)
{
	uint64_t one = 1;

	(void)!write(event_fd, &one, sizeof(one));
}

void kvr_progress_stop(struct kvr_context *context)
{
	struct kvr_progress_thread *thread = &context->thread;

	if (!thread->running)
		return;
	atomic_store(&thread->stop, true);
	ring_bell(thread->kick_fd);
	pthread_join(thread->thread, NULL);
	close(thread->kick_fd);
	close(thread->epoll_fd);
	thread->running = false;
}

/* --------------------------------------------------------------- rings */

static enum kvr_status watch_edges(struct kvr_ring *ring)
{
	const struct kvr_progress_thread *thread = &ring->context->thread;
	int error;

	for (int side = 0; side < 2; side++) {
		struct kvr_endpoint *endpoint = ring->edge[side].endpoint;

		if (endpoint &&
		    watch(ring->epoll_fd, endpoint->ops->event_fd(endpoint)))
			return KVR_ERR_SYSTEM;
	}
	if (thread->running)
		error = watch(thread->epoll_fd, ring->epoll_fd);
	else
		error = watch(ring->epoll_fd, ring->kick_fd);
	return error ? KVR_ERR_SYSTEM : KVR_OK;
}

enum kvr_status kvr_progress_add(struct kvr_ring *ring)
{
	struct kvr_context *context = ring->context;

	if (watch_edges(ring) != KVR_OK) {
		kvr_log(&context->log, KVR_LOG_ERROR, "epoll_ctl: %s",
			strerror(errno));
		return KVR_ERR_SYSTEM;
	}
	kvr_context_lock(context);
	ring->next = context->rings;
	ring->link = &context->rings;
	if (ring->next)
		ring->next->link = &ring->next;
	context->rings = ring;
	kvr_context_unlock(context);
	kvr_progress_kick(ring);
	return KVR_OK;
}

void kvr_progress_remove(struct kvr_ring *ring)
{
	struct kvr_context *context = ring->context;

	kvr_context_lock(context);
	if (ring->link) {
		*ring->link = ring->next;
		if (ring->next)
			ring->next->link = ring->link;
		ring->link = NULL;
		if (context->thread.running)
			epoll_ctl(context->thread.epoll_fd, EPOLL_CTL_DEL,
				  ring->epoll_fd, NULL);
	}
	kvr_context_unlock(context);
}

void kvr_progress_kick(struct kvr_ring *ring)
{
	struct kvr_progress_thread *thread = &ring->context->thread;

	/* Both sequentially consistent; pairs with arm, and arm_all. */
	atomic_store(&ring->dirty, true);
	if (thread->running && atomic_load(&thread->asleep))
		ring_bell(thread->kick_fd);
	else if (!thread->running && atomic_load(&ring->asleep))
		ring_bell(ring->kick_fd);
}

void kvr_progress_nudge(struct kvr_ring *ring, uint64_t now_ns)
{
	if (ring->context->thread.running)
		kvr_progress_kick(ring);
	else
		(void)kvr_progress_step(ring, now_ns);
}

/* The caller's thread progresses the ring until something happened. */
static void drive(struct kvr_ring *ring, uint64_t deadline_ns)
{
	uint64_t begin_ns = kvr_clock_ns(), now_ns = begin_ns;
	uint64_t wake_ns;

	for (uint32_t steps = 1; !kvr_progress_step(ring, now_ns); steps++) {
		if (steps % LOOK_STEPS)
			continue;
		now_ns = kvr_clock_ns();
		if (now_ns >= deadline_ns)
			return;
		if (now_ns - begin_ns < SPIN_NS || arm(ring) != KVR_OK)
			continue;
		wake_ns = next_deadline(ring);
		(void)sleep_on(ring->epoll_fd,
			       wake_ns < deadline_ns ? wake_ns : deadline_ns);
		now_ns = kvr_clock_ns();
	}
}

void kvr_progress_wait(struct kvr_ring *ring, uint64_t deadline_ns)
{
	struct timespec until = kvr_clock_timespec(deadline_ns);

	if (ring->context->thread.running) {
		pthread_cond_timedwait(&ring->changed, &ring->lock, &until);
		return;
	}
	pthread_mutex_unlock(&ring->lock);
	drive(ring, deadline_ns);
	pthread_mutex_lock(&ring->lock);
}

enum kvr_status kvr_ring_progress(struct kvr_ring *ring)
{
	enum kvr_status status;
	bool busy;

	if (!ring)
		return KVR_ERR_INVALID;
	if (kvr_context_forked(ring->context))
		return KVR_ERR_FORKED;
	if (ring->context->thread.running)
		return KVR_ERR_STATE;
	busy = kvr_progress_step(ring, kvr_clock_ns());
	pthread_mutex_lock(&ring->lock);
	status = kvr_engine_failure(ring->engine)->status;
	pthread_mutex_unlock(&ring->lock);
	if (status != KVR_OK)
		return status;
	/* About to sleep on the event descriptor: nothing may be missed. */
	if (!busy && ring->event_fd_wanted && arm(ring) != KVR_OK)
		busy = true;
	return busy ? KVR_OK : KVR_ERR_AGAIN;
}

enum kvr_status kvr_ring_event_fd(struct kvr_ring *ring, int *out)
{
	if (!ring || !out)
		return KVR_ERR_INVALID;
	if (kvr_context_forked(ring->context))
		return KVR_ERR_FORKED;
	if (ring->context->thread.running)
		return KVR_ERR_STATE;
	ring->event_fd_wanted = true;
	*out = ring->epoll_fd;
	return KVR_OK;
}
