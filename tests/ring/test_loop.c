/* SPDX-License-Identifier: Apache-2.0 */
/* An epoll loop of the caller's over several rings of one thread. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/stamped.h"

static void pause_us(long us)
{
	const struct timespec moment = {.tv_nsec = us * 1000};

	nanosleep(&moment, NULL);
}

#define LOOPED 3
#define LOOP_PASSES 60

/*
 * All ranks of a ring but one in one thread, which one descriptor wakes. The
 * last has a thread of its own and is slow, so that there is reason to sleep.
 */
struct loop {
	struct rank *rank[LOOPED];
	struct sender sender[LOOPED];
	struct kvr_pass *pass[LOOPED];
	uint64_t tag[LOOPED];
	bool taken[LOOPED]; /* all of the pass; its own block may wait */
	atomic_uint here;
	atomic_bool over;
};

/* All that goes out has: then kvr_pass_end waits for nobody. */
static bool all_posted(const struct loop *l, uint32_t i)
{
	struct kvr_pass_stats stats;

	kvr_pass_stats_init(&stats);
	CHECK_STATUS(kvr_pass_get_stats(l->pass[i], &stats), KVR_OK);
	return stats.bytes_sent == l->rank[i]->n - 1;
}

static bool take_one(struct loop *l, uint32_t i)
{
	struct kvr_block block;
	enum kvr_status status;

	kvr_block_init(&block);
	status = kvr_pass_try_next(l->pass[i], 0, &block);
	if (status == KVR_OK) {
		CHECK(block.bytes == 1);
		CHECK(*(uint8_t *)block.data ==
		      (uint8_t)(block.origin * 16 + l->tag[i]));
		CHECK_STATUS(kvr_pass_release(l->pass[i], 0, block.step),
			     KVR_OK);
		return true;
	}
	CHECK(status == KVR_ERR_AGAIN || status == KVR_ERR_END);
	l->taken[i] = status == KVR_ERR_END;
	return false;
}

static struct kvr_pass *begin_byte(struct rank *rank,
				   const struct sender *sender, uint64_t tag)
{
	struct kvr_segment segment = {sender->memory, 0, 1};
	struct kvr_pass_desc desc;
	struct kvr_pass *pass;

	kvr_pass_desc_init(&desc);
	desc.tag = tag;
	desc.lane[0].segments = &segment;
	desc.lane[0].segment_count = 1;
	sender->buffer[0] = (uint8_t)(rank->rank * 16 + tag);
	CHECK_STATUS(kvr_pass_begin(rank->ring, &desc, &pass), KVR_OK);
	return pass;
}

static void begin_next(struct loop *l, uint32_t i)
{
	l->taken[i] = false;
	l->pass[i] = begin_byte(l->rank[i], &l->sender[i], ++l->tag[i]);
}

/* True: that rank has something to do yet, now. */
static bool turn(struct loop *l, uint32_t i)
{
	enum kvr_status status;

	if (l->pass[i] && !l->taken[i] && take_one(l, i))
		return true;
	/* Last before the sleep: it arms the descriptor. */
	status = kvr_ring_progress(l->rank[i]->ring);
	CHECK(status == KVR_OK || status == KVR_ERR_AGAIN);
	if (!l->pass[i] || !l->taken[i] || !all_posted(l, i))
		return status == KVR_OK;
	CHECK_STATUS(kvr_pass_end(l->pass[i]), KVR_OK);
	l->pass[i] = NULL;
	if (l->tag[i] < LOOP_PASSES)
		begin_next(l, i);
	return true;
}

static bool any_pass(const struct loop *l)
{
	for (uint32_t i = 0; i < LOOPED; i++)
		if (l->pass[i])
			return true;
	return false;
}

static void drive(struct loop *l)
{
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = {.events = EPOLLIN};
	unsigned sleeps = 0;
	int fd;

	CHECK(epoll_fd >= 0);
	for (uint32_t i = 0; i < LOOPED; i++) {
		CHECK_STATUS(kvr_ring_event_fd(l->rank[i]->ring, &fd), KVR_OK);
		CHECK(!epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event));
		sender_open(&l->sender[i], l->rank[i]);
		begin_next(l, i);
	}
	while (any_pass(l)) {
		bool busy = false;

		for (uint32_t i = 0; i < LOOPED; i++)
			busy |= turn(l, i);
		if (busy)
			continue;
		/* Nobody else makes events: with none left we would hang. */
		CHECK(epoll_wait(epoll_fd, &event, 1, 10000) == 1);
		CHECK(++sleeps < 100000);
	}
	CHECK(sleeps > 0);
	close(epoll_fd);
}

static void take_all(struct kvr_pass *pass)
{
	enum kvr_status status;
	struct kvr_block block;

	kvr_block_init(&block);
	while ((status = kvr_pass_next(pass, 0, &block)) == KVR_OK)
		CHECK_STATUS(kvr_pass_release(pass, 0, block.step), KVR_OK);
	CHECK_STATUS(status, KVR_ERR_END);
	CHECK_STATUS(kvr_pass_end(pass), KVR_OK);
}

static void be_slow(struct rank *rank)
{
	struct loop *l = rank->arg;
	struct sender sender;

	CHECK_STATUS(rank->opened, KVR_OK);
	sender_open(&sender, rank);
	for (uint64_t tag = 1; tag <= LOOP_PASSES; tag++) {
		struct kvr_pass *pass = begin_byte(rank, &sender, tag);

		pause_us(500);
		take_all(pass);
	}
	/* The others may need what it still has to forward. */
	while (!atomic_load(&l->over))
		if (kvr_ring_progress(rank->ring) != KVR_OK)
			pause_us(100);
	sender_close(&sender);
}

static void loop_or_lend(struct rank *rank)
{
	struct loop *l = rank->arg;

	if (rank->rank == LOOPED) {
		be_slow(rank);
		return;
	}
	CHECK_STATUS(rank->opened, KVR_OK);
	l->rank[rank->rank] = rank;
	atomic_fetch_add(&l->here, 1);
	while (atomic_load(&l->here) < LOOPED)
		pause_us(100);
	if (rank->rank == 0) {
		drive(l);
		for (uint32_t i = 0; i < LOOPED; i++)
			sender_close(&l->sender[i]);
		atomic_store(&l->over, true);
	}
	while (!atomic_load(&l->over))
		pause_us(500);
}

static void rings_of_one_thread_in_one_epoll_loop_go_round(void **state)
{
	static const char *const transports[] = {"shm", "fake"};

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct loop loop = {.tag = {0}};
		struct ranks ranks;

		ranks_init(&ranks, LOOPED + 1);
		ranks.transport = transports[i];
		ranks.progress = KVR_PROGRESS_CALLER;
		ranks.body = loop_or_lend;
		ranks.arg = &loop;
		ranks_run(&ranks);
		for (uint32_t r = 0; r < LOOPED; r++)
			assert_int_equal(loop.tag[r], LOOP_PASSES);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			rings_of_one_thread_in_one_epoll_loop_go_round),
	};

	return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
