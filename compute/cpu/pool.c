/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "compute/cpu/pool.h"

/*
 * Rounds of spinning before sleep, some ten microseconds: steps follow each
 * other faster than that, but ranks may outnumber the processors.
 */
#define SPINS 400

struct worker {
	struct kvr_cpu_pool *pool;
	pthread_t thread;
	uint32_t index;
};

struct kvr_cpu_pool {
	uint32_t threads;
	uint32_t started; /* workers that exist */
	pid_t process;	  /* in which they do */
	kvr_cpu_work_fn work;
	void *arg;
	/*
	 * round: raised with release when work and arg are set, read with
	 * acquire by the workers. pending: lowered with release by a worker
	 * that is through, read with acquire by the caller.
	 */
	_Atomic uint32_t round;
	_Atomic uint32_t pending;
	/* Guards the sleep: both counters also change under it. */
	pthread_mutex_t mutex;
	pthread_cond_t begun, done;
	struct worker worker[];
};

static void relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#endif
}

/* Whether *word came to differ from value while spinning. */
static int spin_changed(_Atomic uint32_t *word, uint32_t value)
{
	for (int i = 0; i < SPINS; i++) {
		/* Pairs with the release in kvr_cpu_pool_run. */
		if (atomic_load_explicit(word, memory_order_acquire) != value)
			return 1;
		relax();
	}
	return 0;
}

static void wait_round(struct kvr_cpu_pool *pool, uint32_t seen)
{
	if (spin_changed(&pool->round, seen))
		return;
	pthread_mutex_lock(&pool->mutex);
	while (atomic_load_explicit(&pool->round, memory_order_acquire) == seen)
		pthread_cond_wait(&pool->begun, &pool->mutex);
	pthread_mutex_unlock(&pool->mutex);
}

static int spin_zero(_Atomic uint32_t *word)
{
	for (int i = 0; i < SPINS; i++) {
		/* Pairs with the release in report_done. */
		if (atomic_load_explicit(word, memory_order_acquire) == 0)
			return 1;
		relax();
	}
	return 0;
}

static void wait_done(struct kvr_cpu_pool *pool)
{
	if (spin_zero(&pool->pending))
		return;
	pthread_mutex_lock(&pool->mutex);
	while (atomic_load_explicit(&pool->pending, memory_order_acquire) != 0)
		pthread_cond_wait(&pool->done, &pool->mutex);
	pthread_mutex_unlock(&pool->mutex);
}

static void report_done(struct kvr_cpu_pool *pool)
{
	pthread_mutex_lock(&pool->mutex);
	/* Pairs with the acquire in spin_zero: the work is visible. */
	if (atomic_fetch_sub_explicit(&pool->pending, 1,
				      memory_order_acq_rel) == 1)
		pthread_cond_signal(&pool->done);
	pthread_mutex_unlock(&pool->mutex);
}

static void *worker_main(void *arg)
{
	struct worker *worker = arg;
	struct kvr_cpu_pool *pool = worker->pool;

	for (uint32_t seen = 0;; seen++) {
		wait_round(pool, seen);
		if (!pool->work)
			return NULL;
		pool->work(pool->arg, worker->index);
		report_done(pool);
	}
}

static void begin_round(struct kvr_cpu_pool *pool, kvr_cpu_work_fn work,
			void *arg)
{
	pthread_mutex_lock(&pool->mutex);
	pool->work = work;
	pool->arg = arg;
	atomic_store_explicit(&pool->pending, pool->started,
			      memory_order_relaxed);
	/* Pairs with the acquire in spin_changed: work, arg, pending. */
	atomic_fetch_add_explicit(&pool->round, 1, memory_order_release);
	pthread_cond_broadcast(&pool->begun);
	pthread_mutex_unlock(&pool->mutex);
}

void kvr_cpu_pool_run(struct kvr_cpu_pool *pool, kvr_cpu_work_fn work,
		      void *arg)
{
	if (pool->started > 0)
		begin_round(pool, work, arg);
	work(arg, 0);
	if (pool->started > 0)
		wait_done(pool);
}

uint32_t kvr_cpu_pool_threads(const struct kvr_cpu_pool *pool)
{
	return pool->threads;
}

/* Work NULL ends the workers. */
static void stop_workers(struct kvr_cpu_pool *pool)
{
	if (pool->started > 0)
		begin_round(pool, NULL, NULL);
	for (uint32_t i = 0; i < pool->started; i++)
		pthread_join(pool->worker[i].thread, NULL);
}

/*
 * Each worker to a CPU of its own, but only where the threads are as many as
 * the CPUs that the caller may use: others may share those that are left over,
 * and whom they are left to is not ours to guess. The first is the caller's,
 * who stays free to move, as progress threads do. Failing costs speed alone.
 */
static void pin_workers(struct kvr_cpu_pool *pool)
{
	cpu_set_t all, one;
	uint32_t index = 0;

	if (pthread_getaffinity_np(pthread_self(), sizeof(all), &all) ||
	    (uint32_t)CPU_COUNT(&all) != pool->threads)
		return;
	for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &all))
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		if (index > 0)
			pthread_setaffinity_np(pool->worker[index - 1].thread,
					       sizeof(one), &one);
		index++;
	}
}

static int start_workers(struct kvr_cpu_pool *pool)
{
	for (uint32_t i = 0; i + 1 < pool->threads; i++) {
		struct worker *worker = &pool->worker[i];
		int error;

		worker->pool = pool;
		worker->index = i + 1;
		error = pthread_create(&worker->thread, NULL, worker_main,
				       worker);
		if (error)
			return error;
		pool->started++;
	}
	return 0;
}

/* The threads inherit the mask: the application's signals stay its own. */
static int start_without_signals(struct kvr_cpu_pool *pool)
{
	sigset_t all, before;
	int error;

	sigfillset(&all);
	error = pthread_sigmask(SIG_SETMASK, &all, &before);
	if (error)
		return error;
	error = start_workers(pool);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return error;
}

static int init_sleep(struct kvr_cpu_pool *pool)
{
	int error = pthread_mutex_init(&pool->mutex, NULL);

	if (error)
		return error;
	error = pthread_cond_init(&pool->begun, NULL);
	if (error)
		goto err_mutex;
	error = pthread_cond_init(&pool->done, NULL);
	if (error)
		goto err_begun;
	return 0;

err_begun:
	pthread_cond_destroy(&pool->begun);
err_mutex:
	pthread_mutex_destroy(&pool->mutex);
	return error;
}

static void fini_sleep(struct kvr_cpu_pool *pool)
{
	pthread_cond_destroy(&pool->done);
	pthread_cond_destroy(&pool->begun);
	pthread_mutex_destroy(&pool->mutex);
}

enum kvr_status kvr_cpu_pool_open(uint32_t threads, struct kvr_cpu_pool **out)
{
	struct kvr_cpu_pool *pool;
	int error;

	if (threads == 0)
		threads = 1;
	pool = calloc(1, sizeof(*pool) +
				 (size_t)threads * sizeof(pool->worker[0]));
	if (!pool)
		return KVR_ERR_NO_MEMORY;
	pool->threads = threads;
	pool->process = getpid();
	error = init_sleep(pool);
	if (error)
		goto err_free;
	error = start_without_signals(pool);
	if (error)
		goto err_workers;
	pin_workers(pool);
	*out = pool;
	return KVR_OK;

err_workers:
	stop_workers(pool);
	fini_sleep(pool);
err_free:
	free(pool);
	return error == ENOMEM ? KVR_ERR_NO_MEMORY : KVR_ERR_SYSTEM;
}

void kvr_cpu_pool_close(struct kvr_cpu_pool *pool)
{
	if (!pool)
		return;
	/* In a forked child there is no worker to wait for. */
	if (pool->process == getpid()) {
		stop_workers(pool);
		fini_sleep(pool);
	}
	free(pool);
}
