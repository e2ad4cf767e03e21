/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "compute/cpu/pool.h"

/* pthread_create fails with this error after so many more calls. */
static int create_error;
static int creates_left;

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
			  void *(*start)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
			  void *(*start)(void *), void *arg);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
			  void *(*start)(void *), void *arg)
{
	if (create_error && creates_left-- == 0)
		return create_error;
	return __real_pthread_create(thread, attr, start, arg);
}

#define THREADS_MAX 5

struct tally {
	uint32_t threads;
	int calls[THREADS_MAX];
	pthread_t self[THREADS_MAX];
	int blocked[THREADS_MAX];
};

static int all_blocked(void)
{
	sigset_t mask;

	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	return sigismember(&mask, SIGINT) && sigismember(&mask, SIGTERM) &&
	       sigismember(&mask, SIGCHLD) && sigismember(&mask, SIGUSR1);
}

static void count(void *arg, uint32_t thread)
{
	struct tally *tally = arg;

	assert_true(thread < tally->threads);
	tally->calls[thread]++;
	tally->self[thread] = pthread_self();
	tally->blocked[thread] = all_blocked();
}

static void assert_rounds(uint32_t threads, int rounds, unsigned pause_us)
{
	struct tally tally = {.threads = threads};
	struct kvr_cpu_pool *pool;

	assert_int_equal(kvr_cpu_pool_open(threads, &pool), KVR_OK);
	assert_int_equal(kvr_cpu_pool_threads(pool), threads);
	for (int i = 1; i <= rounds; i++) {
		kvr_cpu_pool_run(pool, count, &tally);
		/* Plain reads: run has ordered them. */
		for (uint32_t t = 0; t < threads; t++)
			assert_int_equal(tally.calls[t], i);
		if (pause_us)
			usleep(pause_us);
	}
	kvr_cpu_pool_close(pool);
}

static void pool_every_thread_runs_once_per_round(void **state)
{
	(void)state;
	assert_rounds(1, 2000, 0);
	assert_rounds(2, 2000, 0);
	assert_rounds(3, 2000, 0);
	assert_rounds(5, 2000, 0);
}

static void pool_sleeping_threads_wake(void **state)
{
	(void)state;
	assert_rounds(3, 10, 10000);
}

static void pool_idle_close_returns(void **state)
{
	struct kvr_cpu_pool *pool;

	(void)state;
	assert_int_equal(kvr_cpu_pool_open(3, &pool), KVR_OK);
	kvr_cpu_pool_close(pool);
	kvr_cpu_pool_close(NULL);
}

/* The threads stayed behind in the parent: waiting for them would hang. */
static void pool_close_in_forked_child_returns(void **state)
{
	struct kvr_cpu_pool *pool;
	int status;
	pid_t child;

	(void)state;
	assert_int_equal(kvr_cpu_pool_open(3, &pool), KVR_OK);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		alarm(5);
		kvr_cpu_pool_close(pool);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	kvr_cpu_pool_close(pool);
}

static void pool_caller_is_thread_0(void **state)
{
	struct tally tally = {.threads = 2};
	struct kvr_cpu_pool *pool;

	(void)state;
	assert_int_equal(kvr_cpu_pool_open(2, &pool), KVR_OK);
	kvr_cpu_pool_run(pool, count, &tally);
	kvr_cpu_pool_close(pool);
	assert_true(pthread_equal(tally.self[0], pthread_self()));
	assert_false(pthread_equal(tally.self[1], pthread_self()));
}

static void pool_threads_block_signals_caller_does_not(void **state)
{
	struct tally tally = {.threads = 3};
	struct kvr_cpu_pool *pool;

	(void)state;
	assert_int_equal(kvr_cpu_pool_open(3, &pool), KVR_OK);
	kvr_cpu_pool_run(pool, count, &tally);
	kvr_cpu_pool_close(pool);
	assert_false(tally.blocked[0]);
	assert_true(tally.blocked[1]);
	assert_true(tally.blocked[2]);
}

static void pool_zero_threads_means_caller(void **state)
{
	struct tally tally = {.threads = 1};
	struct kvr_cpu_pool *pool;

	(void)state;
	/* No thread may be created. */
	create_error = EAGAIN;
	creates_left = 0;
	assert_int_equal(kvr_cpu_pool_open(0, &pool), KVR_OK);
	create_error = 0;
	kvr_cpu_pool_run(pool, count, &tally);
	assert_int_equal(tally.calls[0], 1);
	kvr_cpu_pool_close(pool);
}

static void pool_nth_create_fails_unwinds(void **state)
{
	struct kvr_cpu_pool *pool;

	(void)state;
	for (int n = 0; n < 3; n++) {
		create_error = EAGAIN;
		creates_left = n;
		assert_int_equal(kvr_cpu_pool_open(4, &pool), KVR_ERR_SYSTEM);
		create_error = ENOMEM;
		creates_left = n;
		assert_int_equal(kvr_cpu_pool_open(4, &pool),
				 KVR_ERR_NO_MEMORY);
	}
	create_error = 0;
	assert_false(all_blocked());
}

struct homes {
	cpu_set_t cpus[THREADS_MAX];
};

static void find_home(void *arg, uint32_t thread)
{
	struct homes *homes = arg;

	pthread_getaffinity_np(pthread_self(), sizeof(homes->cpus[0]),
			       &homes->cpus[thread]);
}

static struct homes homes_of(uint32_t threads)
{
	struct kvr_cpu_pool *pool;
	struct homes homes;

	assert_int_equal(kvr_cpu_pool_open(threads, &pool), KVR_OK);
	kvr_cpu_pool_run(pool, find_home, &homes);
	kvr_cpu_pool_close(pool);
	return homes;
}

/* At most two of those that the process may use. */
static cpu_set_t some_cpus(const cpu_set_t *all)
{
	cpu_set_t some;

	CPU_ZERO(&some);
	for (size_t i = 0; i < CPU_SETSIZE && CPU_COUNT(&some) < 2; i++)
		if (CPU_ISSET(i, all))
			CPU_SET(i, &some);
	return some;
}

static void pool_workers_have_a_cpu_each_where_all_are_used(void **state)
{
	cpu_set_t all, two;
	struct homes homes;

	(void)state;
	assert_int_equal(
		pthread_getaffinity_np(pthread_self(), sizeof(all), &all), 0);
	two = some_cpus(&all);
	if (CPU_COUNT(&two) < 2)
		skip();
	pthread_setaffinity_np(pthread_self(), sizeof(two), &two);
	homes = homes_of(2);
	assert_true(CPU_EQUAL(&homes.cpus[0], &two));
	assert_int_equal(CPU_COUNT(&homes.cpus[1]), 1);
	CPU_AND(&homes.cpus[1], &homes.cpus[1], &two);
	assert_int_equal(CPU_COUNT(&homes.cpus[1]), 1);
	homes = homes_of(3);
	for (int i = 0; i < 3; i++)
		assert_true(CPU_EQUAL(&homes.cpus[i], &two));
	pthread_setaffinity_np(pthread_self(), sizeof(all), &all);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pool_every_thread_runs_once_per_round),
		cmocka_unit_test(pool_sleeping_threads_wake),
		cmocka_unit_test(pool_idle_close_returns),
		cmocka_unit_test(pool_close_in_forked_child_returns),
		cmocka_unit_test(pool_caller_is_thread_0),
		cmocka_unit_test(pool_threads_block_signals_caller_does_not),
		cmocka_unit_test(pool_zero_threads_means_caller),
		cmocka_unit_test(pool_nth_create_fails_unwinds),
		cmocka_unit_test(
			pool_workers_have_a_cpu_each_where_all_are_used),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
