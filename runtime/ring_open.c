/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening a ring: agree, listen, choose a transport for each edge, connect,
 * join. Whatever fails on one rank is told to all: nobody waits for a rank
 * that gave up.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "runtime/bootstrap.h"
#include "runtime/clock.h"
#include "runtime/guard.h"
#include "runtime/progress.h"

/* Where a rank's endpoints are, by registry index of the transport, role. */
struct listing {
	int32_t status;
	uint32_t usable; /* bits */
	uint8_t address[KVR_TRANSPORTS_MAX][2][KVR_ADDRESS_BYTES];
};

struct opening {
	struct kvr_ring *ring;
	const struct kvr_bootstrap *bootstrap;
	const struct kvr_log *log;
	/* One of each role for each transport, until the edges choose. */
	struct kvr_endpoint *candidate[KVR_TRANSPORTS_MAX][2];
};

/* ---------------------------------------------------------- allocation */

static void engine_config(const struct kvr_ring *ring,
			  struct kvr_engine_config *config)
{
	const struct kvr_ring_options *o = &ring->options;
	uint32_t beat_ms =
		o->heartbeat_ms ? o->heartbeat_ms : o->peer_timeout_ms / 10;

	*config = (struct kvr_engine_config){
		.rank = ring->rank,
		.n = ring->n,
		.lanes = o->lanes,
		.slots = o->slots,
		.chunk_bytes = o->chunk_bytes,
		.layout_id = o->layout_id,
		.heartbeat_ns = (beat_ms ? beat_ms : 1) * KVR_NS_PER_MS,
		.silence_ns = o->peer_timeout_ms * KVR_NS_PER_MS,
		.recorder = ring->recorder,
	};
	memcpy(config->lane, o->lane, sizeof(config->lane));
	for (uint32_t lane = 0; lane < o->lanes; lane++)
		config->lane[lane].slot_bytes =
			kvr_guard_slot_bytes(ring, lane);
}

static enum kvr_status allocate_lanes(struct kvr_ring *ring)
{
	const struct kvr_ring_options *o = &ring->options;

	for (uint32_t lane = 0; lane < o->lanes; lane++) {
		struct kvr_pass *pass = &ring->pass;

		pass->pieces[lane] = calloc((size_t)o->max_segments + 2,
					    sizeof(*pass->pieces[lane]));
		pass->times[lane] =
			calloc((size_t)ring->n + 1, sizeof(*pass->times[lane]));
		if (!pass->pieces[lane] || !pass->times[lane])
			return KVR_ERR_NO_MEMORY;
	}
	return KVR_OK;
}

static enum kvr_status allocate(struct kvr_ring *ring)
{
	size_t slots = (size_t)ring->options.lanes * ring->options.slots;
	struct kvr_engine_config config;
	size_t bytes;

	engine_config(ring, &config);
	bytes = kvr_engine_bytes(&config);
	if (!bytes) {
		kvr_log(&ring->context->log, KVR_LOG_ERROR,
			"kvr_ring_open: a block has more than %d chunks; use "
			"larger chunk_bytes or smaller slot_bytes",
			KVR_CHUNKS_MAX);
		return KVR_ERR_LIMIT;
	}
	ring->engine_memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
	ring->slots = calloc(slots, sizeof(*ring->slots));
	ring->slot_metadata = calloc(slots, sizeof(*ring->slot_metadata));
	ring->local_metadata = calloc((size_t)KVR_ENGINE_PASSES * KVR_LANES_MAX,
				      KVR_METADATA_MAX);
	if (!ring->engine_memory || !ring->slots || !ring->slot_metadata ||
	    !ring->local_metadata)
		return KVR_ERR_NO_MEMORY;
	ring->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (ring->epoll_fd < 0) {
		kvr_log(&ring->context->log, KVR_LOG_ERROR, "epoll_create1: %s",
			strerror(errno));
		return KVR_ERR_SYSTEM;
	}
	/* Where the caller is the progress, other threads must wake it. */
	if (ring->context->progress == KVR_PROGRESS_CALLER) {
		ring->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (ring->kick_fd < 0) {
			kvr_log(&ring->context->log, KVR_LOG_ERROR,
				"eventfd: %s", strerror(errno));
			return KVR_ERR_SYSTEM;
		}
	}
	if (kvr_ring_open_recorder(ring) != KVR_OK)
		return KVR_ERR_NO_MEMORY;
	return allocate_lanes(ring);
}

static void init_locks(struct kvr_ring *ring)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&ring->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&ring->changed, &attr);
	pthread_condattr_destroy(&attr);
}

static struct kvr_ring *create(struct kvr_context *context,
			       const struct kvr_bootstrap *bootstrap,
			       const struct kvr_ring_options *options)
{
	struct kvr_ring *ring = calloc(1, sizeof(*ring));

	if (!ring)
		return NULL;
	ring->context = context;
	ring->options = *options;
	ring->integrity = options->integrity > 0;
	ring->rank = bootstrap->rank;
	ring->n = bootstrap->n;
	ring->epoll_fd = -1;
	ring->kick_fd = -1;
	ring->pass.ring = ring;
	ring->slots_info = (struct kvr_slots_info){"none", "none"};
	ring->edge[KVR_PREV].transport = "none";
	ring->edge[KVR_NEXT].transport = "none";
	init_locks(ring);
	return ring;
}

/* -------------------------------------------------------------- listen */

static void endpoint_config(const struct opening *opening, enum kvr_role role,
			    struct kvr_endpoint_config *config)
{
	const struct kvr_ring *ring = opening->ring;
	uint32_t n = ring->n;

	*config = (struct kvr_endpoint_config){
		.role = role,
		.rank = ring->rank,
		.peer = role == KVR_ROLE_IN ? (ring->rank + n - 1) % n
					    : (ring->rank + 1) % n,
		.n = n,
		.ring_id = ring->draw.ring_id,
		.generation = ring->generation,
		.lanes = ring->options.lanes,
		.slots = ring->options.slots,
		.chunk_bytes = ring->options.chunk_bytes,
		.on_gpu = role == KVR_ROLE_IN && ring->options.gpu >= 0,
		.gpu = ring->options.gpu < 0 ? 0 : (uint32_t)ring->options.gpu,
		.secret = ring->secret.data,
		.secret_bytes = ring->secret.bytes,
		.log = &ring->context->log,
	};
	memcpy(config->entropy, ring->draw.entropy, sizeof(config->entropy));
	for (uint32_t lane = 0; lane < config->lanes; lane++)
		config->slot_bytes[lane] = kvr_guard_slot_bytes(ring, lane);
}

/* By name if the caller named one, else whatever joins processes. */
static bool wanted(const struct kvr_ring *ring,
		   const struct kvr_transport_ops *ops)
{
	if (ring->options.gpu >= 0 && !ops->takes_gpu)
		return false;
	if (ring->options.transport)
		return strcmp(ring->options.transport, ops->name) == 0;
	return ops->between_processes;
}

static enum kvr_status open_candidate(struct opening *opening, size_t index,
				      enum kvr_role role,
				      struct listing *listing)
{
	struct kvr_endpoint **out = &opening->candidate[index][role];
	struct kvr_endpoint_config config;
	struct kvr_transport *transport;
	enum kvr_status status;

	status = kvr_context_take_transport(opening->ring->context, index,
					    &transport);
	if (status != KVR_OK)
		return status;
	endpoint_config(opening, role, &config);
	status = transport->ops->endpoint_open(transport, &config, out);
	if (status == KVR_OK)
		transport->ops->address(*out, listing->address[index][role]);
	else
		kvr_context_leave_transport(opening->ring->context, index);
	return status;
}

static enum kvr_status listen_on(struct opening *opening, size_t index,
				 struct listing *listing)
{
	enum kvr_status status;

	status = open_candidate(opening, index, KVR_ROLE_IN, listing);
	if (status == KVR_OK)
		status = open_candidate(opening, index, KVR_ROLE_OUT, listing);
	if (status == KVR_OK)
		listing->usable |= 1u << index;
	return status;
}

/* On every transport that may serve; one that fails leaves the others. */
static enum kvr_status listen_all(struct opening *opening,
				  struct listing *listing)
{
	enum kvr_status first = KVR_ERR_UNSUPPORTED;
	const struct kvr_transport_ops *ops;
	char reason[160] = "no such transport in this build";
	const bool on_gpu = opening->ring->options.gpu >= 0;
	bool explained = false;

	for (size_t i = 0; (ops = kvr_registry_transport(i)); i++) {
		enum kvr_status status;

		if (!wanted(opening->ring, ops))
			continue;
		status = ops->probe(reason, sizeof(reason));
		if (status == KVR_OK) {
			/* If that fails the back end has said why. */
			explained = true;
			status = listen_on(opening, i, listing);
		}
		if (status != KVR_OK)
			first = status;
	}
	if (listing->usable)
		return KVR_OK;
	if (!explained && on_gpu)
		snprintf(reason, sizeof(reason),
			 "slots on a GPU take RDMA, verbs or verbs-exchange");
	if (!explained)
		kvr_log(opening->log, KVR_LOG_ERROR,
			"transport %s: %s; `kvring info` lists what there is",
			opening->ring->options.transport
				? opening->ring->options.transport
				: "(any)",
			reason);
	return first;
}

/* ------------------------------------------------------------- connect */

/* The best transport on which `from` reaches `to`; both sides agree on it. */
static enum kvr_status choose(const struct opening *opening,
			      const struct listing *all, uint32_t from,
			      uint32_t to, size_t *out)
{
	uint32_t both = all[from].usable & all[to].usable;
	const struct kvr_transport_ops *ops;

	for (size_t i = 0; (ops = kvr_registry_transport(i)); i++) {
		if (both >> i & 1 &&
		    ops->reaches(all[from].address[i][KVR_ROLE_OUT],
				 all[to].address[i][KVR_ROLE_IN])) {
			*out = i;
			return KVR_OK;
		}
	}
	kvr_log(opening->log, KVR_LOG_ERROR,
		"rank %u: no transport joins rank %u to rank %u; they are on "
		"different machines or in different network namespaces",
		opening->ring->rank, from, to);
	return KVR_ERR_UNSUPPORTED;
}

/* Makes a candidate the edge, and begins to connect it to its peer. */
static enum kvr_status settle_edge(struct opening *opening,
				   const struct listing *all,
				   enum kvr_side side, size_t index)
{
	struct kvr_ring *ring = opening->ring;
	struct kvr_edge *edge = &ring->edge[side];
	enum kvr_role role = side == KVR_PREV ? KVR_ROLE_IN : KVR_ROLE_OUT;
	enum kvr_role theirs = role == KVR_ROLE_IN ? KVR_ROLE_OUT : KVR_ROLE_IN;
	uint32_t peer = side == KVR_PREV ? (ring->rank + ring->n - 1) % ring->n
					 : (ring->rank + 1) % ring->n;

	/* An all-gather that does not give back what it got. */
	if (!opening->candidate[index][role])
		return KVR_ERR_PROTOCOL;
	edge->endpoint = opening->candidate[index][role];
	edge->transport = edge->endpoint->ops->name;
	edge->transport_index = index;
	opening->candidate[index][role] = NULL;
	kvr_context_choose_transport(ring->context, index);
	edge->unready =
		edge->endpoint->ops->unready(ring->context->transports[index]);
	return edge->endpoint->ops->connect(edge->endpoint,
					    all[peer].address[index][theirs]);
}

static enum kvr_status poll_connect(struct kvr_edge *edge, bool *done)
{
	enum kvr_status status;

	if (*done)
		return KVR_OK;
	status = edge->endpoint->ops->connect_poll(edge->endpoint);
	*done = status == KVR_OK;
	return status;
}

static enum kvr_status await_edges(struct opening *opening)
{
	struct kvr_ring *ring = opening->ring;
	const struct timespec pause = {.tv_nsec = 200000};
	bool done[2] = {false, false};
	uint64_t deadline_ns =
		kvr_clock_ns() + ring->options.peer_timeout_ms * KVR_NS_PER_MS;

	for (;;) {
		for (int side = 0; side < 2; side++) {
			enum kvr_status status =
				poll_connect(&ring->edge[side], &done[side]);

			if (status != KVR_OK && status != KVR_ERR_AGAIN)
				return status;
		}
		if (done[KVR_PREV] && done[KVR_NEXT])
			return KVR_OK;
		if (kvr_clock_ns() > deadline_ns) {
			kvr_log(opening->log, KVR_LOG_ERROR,
				"rank %u: rank %u did not connect within %u ms",
				ring->rank,
				done[KVR_PREV]
					? (ring->rank + 1) % ring->n
					: (ring->rank + ring->n - 1) % ring->n,
				ring->options.peer_timeout_ms);
			return KVR_ERR_PEER_LOST;
		}
		nanosleep(&pause, NULL);
	}
}

/* Our landing slots are what we forward from: known to the OUT transport. */
static enum kvr_status map_slots(struct kvr_ring *ring)
{
	struct kvr_endpoint *in = ring->edge[KVR_PREV].endpoint;
	/* Chosen: it stays. */
	struct kvr_transport *out =
		ring->context->transports[ring->edge[KVR_NEXT].transport_index];
	enum kvr_status status = KVR_OK;

	in->ops->slots_info(in, &ring->slots_info);
	for (uint32_t lane = 0; lane < ring->options.lanes; lane++) {
		size_t bytes = kvr_guard_slot_bytes(ring, lane);

		for (uint32_t slot = 0; slot < ring->options.slots; slot++) {
			struct kvr_piece *piece =
				&ring->slots[kvr_ring_slot_index(ring, lane,
								 slot)];
			void *address = in->ops->slot(in, lane, slot);

			piece->address = address;
			piece->bytes = bytes;
			if (status == KVR_OK && bytes)
				status = out->ops->memory_register(
					out, address, bytes, &piece->key);
		}
	}
	return status == KVR_OK ? kvr_guard_open(ring) : status;
}

static enum kvr_status connect_edges(struct opening *opening,
				     const struct listing *all)
{
	struct kvr_ring *ring = opening->ring;
	uint32_t prev = (ring->rank + ring->n - 1) % ring->n;
	uint32_t next = (ring->rank + 1) % ring->n;
	enum kvr_status status;
	size_t in, out;

	for (uint32_t i = 0; i < ring->n; i++) {
		if (all[i].status != KVR_OK) {
			kvr_log(opening->log, KVR_LOG_ERROR,
				"rank %u: rank %u cannot listen: %s",
				ring->rank, i,
				kvr_status_text(
					(enum kvr_status)all[i].status));
			return (enum kvr_status)all[i].status;
		}
	}
	status = choose(opening, all, prev, ring->rank, &in);
	if (status == KVR_OK)
		status = choose(opening, all, ring->rank, next, &out);
	if (status == KVR_OK)
		status = settle_edge(opening, all, KVR_PREV, in);
	if (status == KVR_OK)
		status = settle_edge(opening, all, KVR_NEXT, out);
	if (status == KVR_OK)
		status = await_edges(opening);
	return status == KVR_OK ? map_slots(ring) : status;
}

/* Every rank takes part in both all-gathers, whatever happened to it. */
static enum kvr_status connect_ring(struct opening *opening,
				    enum kvr_status status)
{
	struct listing listing = {.usable = 0};
	void *all;

	if (opening->ring->n == 1)
		return status == KVR_OK ? kvr_guard_open(opening->ring)
					: status;
	if (status == KVR_OK)
		status = listen_all(opening, &listing);
	listing.status = status;
	status = kvr_bootstrap_gather(opening->bootstrap, opening->log,
				      &listing, sizeof(listing), &all);
	if (status != KVR_OK)
		return status;
	if (listing.status != KVR_OK)
		status = (enum kvr_status)listing.status;
	else
		status = connect_edges(opening, all);
	free(all);
	return kvr_bootstrap_join(opening->bootstrap, opening->log, status);
}

/* ---------------------------------------------------------------- open */

static void close_candidates(struct opening *opening)
{
	for (size_t i = 0; i < KVR_TRANSPORTS_MAX; i++) {
		for (int role = 0; role < 2; role++) {
			struct kvr_endpoint *e = opening->candidate[i][role];

			if (!e)
				continue;
			e->ops->endpoint_close(e);
			kvr_context_leave_transport(opening->ring->context, i);
		}
	}
}

static enum kvr_status start(struct kvr_ring *ring)
{
	struct kvr_engine_config config;
	enum kvr_status status;

	engine_config(ring, &config);
	status =
		kvr_engine_init(ring->engine_memory, &config, &kvr_ring_actions,
				ring, kvr_clock_ns(), &ring->engine);
	kvr_ring_left(ring, kvr_clock_ns());
	return status == KVR_OK ? kvr_progress_add(ring) : status;
}

enum kvr_status kvr_ring_open_generation(struct kvr_context *context,
					 const struct kvr_bootstrap *bootstrap,
					 const struct kvr_ring_options *wanted,
					 uint32_t generation,
					 struct kvr_ring **out)
{
	struct kvr_ring_options settled = *wanted, *options = &settled;
	struct opening opening = {
		.bootstrap = bootstrap,
		.log = &context->log,
	};
	struct kvr_ring *ring = NULL;
	enum kvr_status status;
	struct kvr_draw draw = {.ring_id = 0};

	status = kvr_ring_check_bootstrap(&context->log, bootstrap);
	if (status != KVR_OK)
		return status;
	status = kvr_ring_check_options(&context->log, bootstrap, options);
	if (status == KVR_OK)
		status = kvr_settings_integrity(options->integrity, opening.log,
						&options->integrity);
	if (status == KVR_OK)
		status = kvr_ring_check_gpu(opening.log, options);
	if (status == KVR_OK) {
		ring = create(context, bootstrap, options);
		status = ring ? kvr_settings_secret(options->secret,
						    options->secret_bytes,
						    opening.log, &ring->secret)
			      : KVR_ERR_NO_MEMORY;
	}
	/* Also when it failed here: the others shall know. */
	status = kvr_bootstrap_agree(bootstrap, options, opening.log, status,
				     &generation, &draw);
	if (!ring)
		return status;
	opening.ring = ring;
	ring->draw = draw;
	ring->generation = generation;
	if (status == KVR_OK)
		status = connect_ring(&opening, allocate(ring));
	close_candidates(&opening);
	kvr_secret_forget(&ring->secret);
	if (status == KVR_OK)
		status = start(ring);
	if (status != KVR_OK) {
		kvr_ring_destroy(ring);
		return status;
	}
	*out = ring;
	return KVR_OK;
}

enum kvr_status kvr_ring_open(struct kvr_context *context,
			      const struct kvr_bootstrap *bootstrap,
			      const struct kvr_ring_options *options,
			      struct kvr_ring **out)
{
	if (!context || !bootstrap || !options || !out)
		return KVR_ERR_INVALID;
	if (kvr_context_forked(context))
		return KVR_ERR_FORKED;
	return kvr_ring_open_generation(context, bootstrap, options, 0, out);
}
