/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/ring/recorder_world.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "rdma/fake/fake.h"
#include "runtime/ring.h"

/* ------------------------------------------------------------------- ranks */

void recorder_pause(long ms)
{
	const struct timespec moment = {.tv_sec = ms / 1000,
					.tv_nsec = ms % 1000 * 1000000};

	nanosleep(&moment, NULL);
}

static bool has_failed(struct rank *rank)
{
	struct kvr_failure failure;

	kvr_failure_init(&failure);
	CHECK_STATUS(kvr_ring_get_failure(rank->ring, &failure), KVR_OK);
	return failure.status != KVR_OK;
}

static enum kvr_status begin(struct rank *rank, struct kvr_memory *memory,
			     uint64_t tag, uint32_t hops,
			     struct kvr_pass **pass)
{
	struct kvr_segment segment = {memory, 0, BLOCK};
	struct kvr_pass_desc desc;

	kvr_pass_desc_init(&desc);
	desc.tag = tag;
	desc.hops = hops;
	desc.lane[0].segments = &segment;
	desc.lane[0].segment_count = 1;
	return kvr_pass_begin(rank->ring, &desc, pass);
}

/* Takes and releases up to `steps` blocks. */
static enum kvr_status take(struct kvr_pass *pass, uint32_t steps)
{
	enum kvr_status status = KVR_OK;
	struct kvr_block block;

	kvr_block_init(&block);
	for (uint32_t i = 0; i < steps && status == KVR_OK; i++) {
		status = kvr_pass_next(pass, 0, &block);
		if (status == KVR_OK)
			status = kvr_pass_release(pass, 0, block.step);
	}
	return status;
}

static enum kvr_status one_pass(struct rank *rank, struct kvr_memory *memory,
				uint64_t tag)
{
	enum kvr_status status, ended;
	struct kvr_pass *pass;

	status = begin(rank, memory, tag, KVR_HOPS_ALL, &pass);
	if (status != KVR_OK)
		return status;
	status = take(pass, UINT32_MAX);
	ended = kvr_pass_end(pass);
	return status == KVR_ERR_END ? ended : status;
}

static struct kvr_memory *own_block(struct world *w, struct rank *rank)
{
	struct kvr_memory *memory;

	CHECK_STATUS(kvr_memory_register(rank->context, w->block[rank->rank],
					 BLOCK, &memory),
		     KVR_OK);
	return memory;
}

int recorder_file(void)
{
	int fd = memfd_create("recordings", MFD_CLOEXEC);

	CHECK(fd >= 0 && !fcntl(fd, F_SETFL, O_APPEND));
	return fd;
}

size_t recorder_read(int fd, void **data)
{
	struct stat file;

	CHECK(!fstat(fd, &file));
	*data = malloc((size_t)file.st_size + 1);
	CHECK(*data);
	CHECK(pread(fd, *data, (size_t)file.st_size, 0) == file.st_size);
	return (size_t)file.st_size;
}

void recorder_meet(atomic_uint *here, uint32_t n)
{
	atomic_fetch_add(here, 1);
	while (atomic_load(here) < n)
		recorder_pause(1);
}

static struct kvr_memory *any_block(struct rank *rank)
{
	static uint8_t blocks[8][BLOCK];
	struct kvr_memory *memory;

	CHECK_STATUS(kvr_memory_register(rank->context, blocks[rank->rank],
					 BLOCK, &memory),
		     KVR_OK);
	return memory;
}

enum kvr_status recorder_pass(struct rank *rank, uint64_t tag)
{
	struct kvr_memory *memory = any_block(rank);
	enum kvr_status status = one_pass(rank, memory, tag);

	kvr_memory_deregister(memory);
	return status;
}

void recorder_compute_until(struct rank *rank, atomic_uint *done)
{
	struct kvr_memory *memory = any_block(rank);
	struct kvr_block block;
	struct kvr_pass *pass;

	kvr_block_init(&block);
	CHECK_STATUS(begin(rank, memory, TAG, KVR_HOPS_ALL, &pass), KVR_OK);
	CHECK_STATUS(take(pass, 1), KVR_OK);
	CHECK_STATUS(kvr_pass_next(pass, 0, &block), KVR_OK);
	while (!atomic_load(done))
		recorder_pause(1);
	CHECK_STATUS(kvr_pass_release(pass, 0, block.step), KVR_OK);
	CHECK_STATUS(take(pass, UINT32_MAX), KVR_ERR_END);
	CHECK_STATUS(kvr_pass_end(pass), KVR_OK);
	kvr_memory_deregister(memory);
}

static void record(struct world *w, struct rank *rank)
{
	CHECK_STATUS(kvr_ring_record(rank->ring, w->fd), KVR_OK);
}

/* Nothing more of the ring's until it has failed, as the others say. */
static void stay_away(struct world *w)
{
	while (atomic_load(&w->failed) < w->fault->n - 1)
		recorder_pause(2);
}

/* Where the caller is the progress, the others need ours meanwhile. */
static void meet(struct world *w, struct rank *rank)
{
	atomic_fetch_add(&w->here, 1);
	while (atomic_load(&w->here) < w->fault->n)
		if (!w->fault->caller)
			recorder_pause(1);
		else if (kvr_ring_progress(rank->ring) != KVR_OK)
			recorder_pause(1);
}

static void body(struct rank *rank)
{
	struct world *w = rank->arg;
	const bool bad = rank->rank == w->fault->rank && w->fault->misbehave;
	enum kvr_status status;
	struct kvr_memory *memory;

	CHECK_STATUS(rank->opened, KVR_OK);
	memory = own_block(w, rank);
	status = one_pass(rank, memory, TAG);
	if (w->fault->from == 0)
		CHECK_STATUS(status, KVR_OK);
	meet(w, rank);
	if (bad)
		w->fault->misbehave(w, rank);
	for (uint64_t tag = TAG + 1; !bad && status == KVR_OK; tag++)
		status = one_pass(rank, memory, tag);
	if (rank->ring) {
		/* Whoever was told in passing. */
		while (!bad && !has_failed(rank))
			recorder_pause(2);
		if (!bad || !w->fault->dead)
			record(w, rank);
	}
	if (!bad)
		atomic_fetch_add(&w->failed, 1);
	kvr_memory_deregister(memory);
}

/* ------------------------------------------------------------------ faults */

void never_release(struct world *w, struct rank *rank)
{
	struct kvr_memory *memory = own_block(w, rank);
	struct kvr_block block;
	struct kvr_pass *pass;

	kvr_block_init(&block);
	CHECK_STATUS(begin(rank, memory, TAG + 1, KVR_HOPS_ALL, &pass), KVR_OK);
	CHECK_STATUS(take(pass, 1), KVR_OK);
	CHECK_STATUS(kvr_pass_next(pass, 0, &block), KVR_OK);
	(void)take(pass, UINT32_MAX);
	stay_away(w);
	kvr_memory_deregister(memory);
}

void compute_on(struct world *w, struct rank *rank)
{
	struct kvr_memory *memory = own_block(w, rank);
	struct kvr_block block;
	struct kvr_pass *pass;

	kvr_block_init(&block);
	CHECK_STATUS(begin(rank, memory, TAG + 1, KVR_HOPS_ALL, &pass), KVR_OK);
	CHECK_STATUS(take(pass, 1), KVR_OK);
	CHECK_STATUS(kvr_pass_next(pass, 0, &block), KVR_OK);
	stay_away(w);
	kvr_memory_deregister(memory);
}

void take_no_more(struct world *w, struct rank *rank)
{
	struct kvr_memory *memory = own_block(w, rank);
	struct kvr_pass *pass;

	CHECK_STATUS(begin(rank, memory, TAG + 1, KVR_HOPS_ALL, &pass), KVR_OK);
	CHECK_STATUS(take(pass, 2), KVR_OK);
	stay_away(w);
	kvr_memory_deregister(memory);
}

void do_nothing(struct world *w, struct rank *rank)
{
	(void)rank;
	stay_away(w);
}

/* When the others have begun theirs. */
void begin_other(struct world *w, struct rank *rank)
{
	struct kvr_memory *memory = own_block(w, rank);
	enum kvr_status status;
	struct kvr_pass *pass;

	recorder_pause(w->timeout_ms / 5);
	status = begin(rank, memory, 999, KVR_HOPS_ALL, &pass);
	if (status == KVR_OK)
		(void)take(pass, UINT32_MAX);
	stay_away(w);
	kvr_memory_deregister(memory);
}

void fewer_hops(struct world *w, struct rank *rank)
{
	struct kvr_memory *memory = own_block(w, rank);
	enum kvr_status status;
	struct kvr_pass *pass;

	status = begin(rank, memory, TAG + 1, rank->n - 2, &pass);
	if (status == KVR_OK && take(pass, UINT32_MAX) == KVR_ERR_END &&
	    kvr_pass_end(pass) == KVR_OK)
		(void)!one_pass(rank, memory, TAG + 2);
	stay_away(w);
	kvr_memory_deregister(memory);
}

void freeze(struct world *w, struct rank *rank)
{
	kvr_fake_freeze(rank->ring->draw.ring_id, rank->rank);
	stay_away(w);
}

/* As freeze, but its recording is there: it saw the others silent. */
void be_cut_off(struct world *w, struct rank *rank)
{
	freeze(w, rank);
	while (!has_failed(rank))
		recorder_pause(2);
}

void die(struct world *w, struct rank *rank)
{
	kvr_fake_kill(rank->ring->draw.ring_id, rank->rank);
	stay_away(w);
}

void leave(struct world *w, struct rank *rank)
{
	(void)w;
	kvr_ring_close(rank->ring);
	rank->ring = NULL;
}

void give_up(struct world *w, struct rank *rank)
{
	struct kvr_memory *memory = own_block(w, rank);
	struct kvr_pass *pass;

	CHECK_STATUS(begin(rank, memory, TAG + 1, KVR_HOPS_ALL, &pass), KVR_OK);
	CHECK_STATUS(take(pass, 2), KVR_OK);
	kvr_ring_abort(rank->ring);
	(void)!kvr_pass_end(pass);
	stay_away(w);
	kvr_memory_deregister(memory);
}

/* Away for too long, and then back. */
void come_back(struct world *w, struct rank *rank)
{
	stay_away(w);
	while (!has_failed(rank))
		(void)!kvr_ring_progress(rank->ring);
}

/* ------------------------------------------------------------------- a run */

static struct world *current; /* adjust gets no argument */

static void adjust(uint32_t rank, struct kvr_ring_options *options)
{
	const struct fault *f = current->fault;

	options->wait_timeout_ms = 60000;
	if (!f->silent && rank == f->impatient)
		options->wait_timeout_ms = current->timeout_ms;
	/* What is dead to the others would be long in closing. */
	if (f->silent || (f->dead && rank == f->rank))
		options->peer_timeout_ms = current->timeout_ms;
}

size_t world_run(struct world *w, void **recordings)
{
	const struct fault *f = w->fault;
	const struct kvr_fake_script script = {
		.slow_rank = KVR_RANK_NONE,
		.lose_rank = f->rank,
		.lose_type = f->lose,
		.lose_from = f->from,
	};
	struct ranks ranks;
	size_t bytes;

	w->fd = recorder_file();
	atomic_init(&w->failed, 0);
	atomic_init(&w->here, 0);
	ranks_init(&ranks, f->n);
	ranks.transport = f->transport;
	ranks.progress = f->caller ? KVR_PROGRESS_CALLER : KVR_PROGRESS_THREAD;
	ranks.options.slots = f->slots;
	ranks.options.chunk_bytes = CHUNK;
	ranks.options.lane[0].slot_bytes = BLOCK;
	if (f->sums)
		ranks.options.lane[0].kind = KVR_LANE_ACCUMULATING;
	ranks.adjust = adjust;
	ranks.body = body;
	ranks.arg = current = w;
	kvr_fake_set_script(&script);
	ranks_run(&ranks);
	kvr_fake_set_script(NULL);
	bytes = recorder_read(w->fd, recordings);
	close(w->fd);
	return bytes;
}
