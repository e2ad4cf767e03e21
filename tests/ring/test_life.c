/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ring in a process that has a life of its own: threads that cancel, forks,
 * signal handlers, and ranks that have, or see, nothing.
 */
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <pthread.h>

#include "kvring/recorder.h"
#include "tests/support/stamped.h"
#include "tests/support/whole.h"

static void pause_us(long us)
{
	const struct timespec moment = {.tv_nsec = us * 1000};

	nanosleep(&moment, NULL);
}

static void one_pass(struct rank *rank, const struct sender *sender,
		     uint64_t tag)
{
	struct kvr_pass *pass = stamped_begin(rank, sender, tag, 1);
	struct kvr_block block;

	kvr_block_init(&block);
	stamped_take(rank, pass, tag, rank->n, 0);
	CHECK_STATUS(kvr_pass_next(pass, 0, &block), KVR_ERR_END);
	CHECK_STATUS(kvr_pass_end(pass), KVR_OK);
}

/* Over shm and the fake, the library's thread and the caller. */
static void over_all(uint32_t n, void (*body)(struct rank *rank), void *arg)
{
	static const char *const transports[] = {"shm", "fake"};
	struct ranks ranks;

	for (int i = 0; i < 4; i++) {
		ranks_init(&ranks, n);
		ranks.transport = transports[i / 2];
		ranks.progress =
			i % 2 ? KVR_PROGRESS_CALLER : KVR_PROGRESS_THREAD;
		ranks.body = body;
		ranks.arg = arg;
		ranks_run(&ranks);
	}
}

/* ------------------------------------------------------------------ cancel */

struct cancelling {
	struct kvr_pass *pass;
	atomic_bool go, done;
};

static void *cancel_when_told(void *arg)
{
	struct cancelling *c = arg;

	while (!atomic_load(&c->go))
		pause_us(100);
	/* Most likely the other thread sleeps by now; either way must do. */
	pause_us(3000);
	CHECK_STATUS(kvr_pass_cancel(c->pass), KVR_OK);
	atomic_store(&c->done, true);
	return NULL;
}

/* Nobody else has begun: rank 0 would wait for ever. */
static void cancel_while_waiting(struct kvr_pass *pass, struct cancelling *c)
{
	struct kvr_block block;

	kvr_block_init(&block);
	CHECK_STATUS(kvr_pass_next(pass, 0, &block), KVR_OK);
	CHECK_STATUS(kvr_pass_release(pass, 0, 0), KVR_OK);
	atomic_store(&c->go, true);
	CHECK_STATUS(kvr_pass_next(pass, 0, &block), KVR_ERR_CANCELLED);
	CHECK_STATUS(kvr_pass_end(pass), KVR_ERR_CANCELLED);
}

/* The block in hand stays what it is until it is released. */
static void cancel_while_computing(struct rank *rank, struct kvr_pass *pass,
				   uint64_t tag, struct cancelling *c)
{
	struct kvr_block block;

	kvr_block_init(&block);
	stamped_take(rank, pass, tag, 1, 0);
	CHECK_STATUS(kvr_pass_next(pass, 0, &block), KVR_OK);
	atomic_store(&c->go, true);
	while (!atomic_load(&c->done))
		pause_us(100);
	stamped_check(&block, tag);
	CHECK_STATUS(kvr_pass_release(pass, 0, 1), KVR_OK);
	CHECK_STATUS(kvr_pass_next(pass, 0, &block), KVR_ERR_CANCELLED);
	CHECK_STATUS(kvr_pass_end(pass), KVR_ERR_CANCELLED);
}

/* May have had everything before it heard of it. */
static void take_what_comes(struct kvr_pass *pass)
{
	enum kvr_status status;
	struct kvr_block block;

	kvr_block_init(&block);
	while ((status = kvr_pass_next(pass, 0, &block)) == KVR_OK)
		CHECK_STATUS(kvr_pass_release(pass, 0, block.step), KVR_OK);
	CHECK(status == KVR_ERR_END || status == KVR_ERR_CANCELLED);
	status = kvr_pass_end(pass);
	CHECK(status == KVR_OK || status == KVR_ERR_CANCELLED);
}

/* One pass is cancelled, then one that nobody disturbs. */
static void cancelled(struct rank *rank, const struct sender *sender,
		      uint64_t tag, bool waiting, atomic_uint *over)
{
	struct cancelling c = {.pass = NULL};
	pthread_t thread;

	if (rank->rank == 0) {
		c.pass = stamped_begin(rank, sender, tag, 1);
		CHECK(!pthread_create(&thread, NULL, cancel_when_told, &c));
		if (waiting)
			cancel_while_waiting(c.pass, &c);
		else
			cancel_while_computing(rank, c.pass, tag, &c);
		pthread_join(thread, NULL);
		atomic_store(over, (unsigned)tag);
	} else {
		/* Where the caller is the progress it waits in there. */
		while (waiting && atomic_load(over) != tag)
			if (kvr_ring_progress(rank->ring) != KVR_OK)
				pause_us(100);
		take_what_comes(stamped_begin(rank, sender, tag, 1));
	}
	one_pass(rank, sender, tag + 1);
}

static void cancel_from_outside(struct rank *rank)
{
	struct sender sender;

	CHECK_STATUS(rank->opened, KVR_OK);
	sender_open(&sender, rank);
	for (uint64_t tag = 1; tag <= 17; tag += 4) {
		cancelled(rank, &sender, tag, true, rank->arg);
		cancelled(rank, &sender, tag + 2, false, rank->arg);
	}
	sender_close(&sender);
}

static void pass_cancelled_from_another_thread_returns_at_once(void **state)
{
	static const uint32_t sizes[] = {3, 4}; /* more than one hop */
	atomic_uint over;

	(void)state;
	atomic_init(&over, 0);
	for (int i = 0; i < 2; i++)
		over_all(sizes[i], cancel_from_outside, &over);
}

/* ------------------------------------------------------------------- forks */

/* All that a child may do with what its parent opened: nothing. */
static void be_the_child(struct rank *rank, struct kvr_pass *pass)
{
	struct kvr_ring_stats stats;
	struct kvr_block block;

	alarm(20);
	kvr_block_init(&block);
	kvr_ring_stats_init(&stats);
	CHECK_STATUS(kvr_ring_get_stats(rank->ring, &stats), KVR_ERR_FORKED);
	CHECK_STATUS(kvr_ring_record(rank->ring, 1), KVR_ERR_FORKED);
	CHECK_STATUS(kvr_pass_next(pass, 0, &block), KVR_ERR_FORKED);
	CHECK_STATUS(kvr_pass_cancel(pass), KVR_ERR_FORKED);
	CHECK_STATUS(kvr_pass_end(pass), KVR_ERR_FORKED);
	kvr_ring_abort(rank->ring);
	kvr_ring_close(rank->ring);
	kvr_context_close(rank->context);
	_exit(0);
}

/* In the middle of passes, in every rank; one child also dies. */
static void fork_amid_passes(struct rank *rank)
{
	struct sender sender;

	CHECK_STATUS(rank->opened, KVR_OK);
	sender_open(&sender, rank);
	for (uint64_t tag = 1; tag <= 12; tag++) {
		struct kvr_pass *pass = stamped_begin(rank, &sender, tag, 1);
		int status;
		pid_t pid;

		stamped_take(rank, pass, tag, 1, 0);
		pid = fork();
		CHECK(pid >= 0);
		if (pid == 0) {
			if (tag % 3 == 0)
				raise(SIGKILL);
			be_the_child(rank, pass);
		}
		for (uint32_t step = 1; step < rank->n; step++) {
			struct kvr_block block;

			kvr_block_init(&block);
			CHECK_STATUS(kvr_pass_next(pass, 0, &block), KVR_OK);
			stamped_check(&block, tag);
			CHECK_STATUS(kvr_pass_release(pass, 0, step), KVR_OK);
		}
		CHECK_STATUS(kvr_pass_end(pass), KVR_OK);
		CHECK(waitpid(pid, &status, 0) == pid);
		CHECK(tag % 3 == 0 ? WIFSIGNALED(status)
				   : WIFEXITED(status) && !WEXITSTATUS(status));
	}
	sender_close(&sender);
}

static void ring_of_forking_parents_goes_on(void **state)
{
	(void)state;
	over_all(2, fork_amid_passes, NULL);
}

/* ----------------------------------------------------------------- signals */

#define STORMED 4

static struct {
	pthread_t thread[STORMED];
	atomic_uint threads;
	atomic_bool over;
	atomic_uint caught;
} storm;

static void on_signal(int number)
{
	(void)number;
	atomic_fetch_add(&storm.caught, 1);
}

/* In the rank's thread, before it opens its ring. */
static void enter_storm(uint32_t rank, struct kvr_ring_options *options)
{
	(void)options;
	storm.thread[rank] = pthread_self();
	atomic_fetch_add(&storm.threads, 1);
}

/* Every rank's thread gets one each 200 us, from its opening to its end. */
static void *blow(void *arg)
{
	const uint32_t n = *(const uint32_t *)arg;

	while (atomic_load(&storm.threads) < n)
		pause_us(100);
	while (!atomic_load(&storm.over)) {
		for (uint32_t i = 0; i < n; i++)
			pthread_kill(storm.thread[i], SIGUSR1);
		pause_us(200);
	}
	return NULL;
}

static void passes_in_the_storm(struct rank *rank)
{
	atomic_uint *done = rank->arg;
	struct sender sender;

	CHECK_STATUS(rank->opened, KVR_OK);
	sender_open(&sender, rank);
	for (uint64_t tag = 1; tag <= 150; tag++)
		one_pass(rank, &sender, tag);
	sender_close(&sender);
	kvr_ring_close(rank->ring);
	rank->ring = NULL;
	/* No thread ends while it may still be sent one. */
	atomic_fetch_add(done, 1);
	while (atomic_load(done) < rank->n)
		pause_us(200);
	atomic_store(&storm.over, true);
	pause_us(2000);
}

static void catch (int number, struct sigaction *old)
{
	/* SA_RESTART is off: every call that can be interrupted is. */
	struct sigaction action = {.sa_handler = on_signal};

	CHECK(!sigaction(number, &action, old));
}

static void storm_over(uint32_t n, enum kvr_progress progress)
{
	struct sigaction old;
	struct ranks ranks;
	pthread_t thread;
	atomic_uint done;

	atomic_init(&done, 0);
	atomic_store(&storm.threads, 0);
	atomic_store(&storm.over, false);
	atomic_store(&storm.caught, 0);
	catch (SIGUSR1, &old);
	ranks_init(&ranks, n);
	ranks.transport = "shm";
	ranks.progress = progress;
	ranks.adjust = enter_storm;
	ranks.body = passes_in_the_storm;
	ranks.arg = &done;
	CHECK(!pthread_create(&thread, NULL, blow, &n));
	ranks_run(&ranks);
	pthread_join(thread, NULL);
	sigaction(SIGUSR1, &old, NULL);
	assert_true(atomic_load(&storm.caught) > 0);
}

static void ring_under_a_storm_of_signals_stays_exact(void **state)
{
	(void)state;
	storm_over(2, KVR_PROGRESS_THREAD);
	storm_over(STORMED, KVR_PROGRESS_THREAD);
	storm_over(STORMED, KVR_PROGRESS_CALLER);
}

/* Timers of the process hit whoever runs, the pool's threads among them. */
static void attention_under_timers_stays_exact(void **state)
{
	const struct itimerval often = {{0, 1000}, {0, 1000}};
	const struct itimerval off = {{0, 0}, {0, 0}};
	struct sigaction old_alarm, old_prof;
	struct kvr_plan_desc desc;
	struct whole whole;
	float *calm;
	size_t bytes;

	(void)state;
	kvr_plan_desc_init(&desc);
	desc.q_heads = 4;
	desc.kv_heads = 2;
	desc.head_dim = 32;
	desc.mask = KVR_MASK_CAUSAL;
	whole_init(&whole, &desc, 512, 7, 1);
	whole.n = 3;
	whole.threads = 2;
	whole.transport = "shm";
	whole.repeats = 4;
	bytes = whole.tokens * desc.q_heads * desc.head_dim * sizeof(*calm);
	calm = malloc(bytes);
	assert_non_null(calm);
	whole_run(&whole);
	memcpy(calm, whole.out, bytes);
	catch (SIGALRM, &old_alarm);
	catch (SIGPROF, &old_prof);
	CHECK(!setitimer(ITIMER_REAL, &often, NULL));
	CHECK(!setitimer(ITIMER_PROF, &often, NULL));
	whole_run(&whole);
	CHECK(!setitimer(ITIMER_REAL, &off, NULL));
	CHECK(!setitimer(ITIMER_PROF, &off, NULL));
	assert_memory_equal(whole.out, calm, bytes);
	sigaction(SIGALRM, &old_alarm, NULL);
	sigaction(SIGPROF, &old_prof, NULL);
	free(calm);
	whole_fini(&whole);
}

/* ------------------------------------------------- nothing to have, or see */

#define TOKENS 24
#define HEADS 2
#define DIM 16

struct emptiness {
	bool keys; /* has anybody any? */
	float out[4][TOKENS * HEADS * DIM], lse[4][TOKENS * HEADS];
};

/* Rank 1 has nothing, rank 2 another sequence's queries, rank 3 no keys. */
static void shard(uint32_t rank, struct kvr_range *q, size_t *q_count,
		  struct kvr_range *kv, size_t *kv_count, bool keys)
{
	*q = *kv = (struct kvr_range){.start = 0, .length = TOKENS};
	if (rank == 2)
		q->sequence = 9;
	*q_count = rank != 1;
	*kv_count = keys && rank == 0;
}

static void attend(struct rank *rank)
{
	static float ones[TOKENS * HEADS * DIM];
	struct emptiness *e = rank->arg;
	struct kvr_range q, kv;
	struct kvr_plan_desc desc;
	struct kvr_tensor tq, tkv, to;
	struct kvr_plan *plan;

	CHECK_STATUS(rank->opened, KVR_OK);
	kvr_plan_desc_init(&desc);
	desc.q_heads = desc.kv_heads = HEADS;
	desc.head_dim = DIM;
	desc.mask = KVR_MASK_CAUSAL;
	desc.q_ranges = &q;
	desc.kv_ranges = &kv;
	shard(rank->rank, &q, &desc.q_range_count, &kv, &desc.kv_range_count,
	      e->keys);
	tq = kvr_tensor_dense(ones, KVR_F32, desc.q_range_count * TOKENS, HEADS,
			      DIM);
	tkv = kvr_tensor_dense(ones, KVR_F32, desc.kv_range_count * TOKENS,
			       HEADS, DIM);
	to = kvr_tensor_dense(e->out[rank->rank], KVR_F32,
			      desc.q_range_count * TOKENS, HEADS, DIM);
	memset(e->out[rank->rank], 0x7f, sizeof(e->out[0]));
	CHECK_STATUS(kvr_plan_create(rank->ring, &desc, &plan), KVR_OK);
	for (int i = 0; i < 3; i++)
		CHECK_STATUS(kvr_attention_run(plan, &tq, &tkv, &tkv, &to,
					       e->lse[rank->rank], TOKENS),
			     KVR_OK);
	kvr_plan_destroy(plan);
}

/* Of equal scores, as here all are, the log-sum-exp counts the keys. */
static void check_rows(const struct emptiness *e, uint32_t rank, bool sees)
{
	for (size_t i = 0; i < TOKENS * HEADS * DIM; i++)
		assert_true(e->out[rank][i] == 0);
	for (size_t i = 0; i < TOKENS * HEADS; i++)
		assert_true(sees ? fabsf(e->lse[rank][i] -
					 logf((float)(i % TOKENS + 1))) < 1e-5f
				 : e->lse[rank][i] == -INFINITY);
}

static void ranks_that_have_or_see_nothing_get_nothing(void **state)
{
	static struct emptiness e;
	struct ranks ranks;

	(void)state;
	for (int keys = 0; keys < 2; keys++) {
		e.keys = keys;
		ranks_init(&ranks, 4);
		ranks.transport = "shm";
		ranks.body = attend;
		ranks.arg = &e;
		ranks_run(&ranks);
		check_rows(&e, 0, keys);
		check_rows(&e, 2, false);
		check_rows(&e, 3, keys);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			pass_cancelled_from_another_thread_returns_at_once),
		cmocka_unit_test(ring_of_forking_parents_goes_on),
		cmocka_unit_test(ring_under_a_storm_of_signals_stays_exact),
		cmocka_unit_test(attention_under_timers_stays_exact),
		cmocka_unit_test(ranks_that_have_or_see_nothing_get_nothing),
	};

	return cmocka_run_group_tests_name("life", tests, NULL, NULL);
}
