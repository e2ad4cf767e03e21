/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a ring over shm, from kvr_context_open to kvr_context_close,
 * once for every call of rank 0 that gets something of the system: that one
 * fails. Either all works, with the same bits, or a call returns an error that
 * fits; rank 1, of which no call fails, ends within its deadlines. In either
 * case nothing stays behind: no memory, mapping, descriptor or thread.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/ranks.h"

#define RANKS 2
#define TOKENS 40
#define HEADS 2
#define DIM 16

/* ---------------------------------------------------------- calls that fail */

/* Calls of rank 0's threads are counted; that with number `wanted` fails. */
static _Thread_local bool subject;
static atomic_int made, wanted;
static const char *_Atomic failed;

/* What is there now: allocations, mappings, threads. */
static atomic_int allocations, mappings, threads;

static bool fails(const char *call, int error)
{
	if (!subject || atomic_fetch_add(&made, 1) + 1 != wanted)
		return false;
	failed = call;
	errno = error;
	return true;
}

static void *counted(void *got, atomic_int *count)
{
	if (got && got != MAP_FAILED)
		atomic_fetch_add(count, 1);
	return got;
}

/* The linker sends the library's calls here (--wrap). */
#define WRAP(type, name, parameters, arguments, error, code)                   \
	type __real_##name parameters;                                         \
	type __wrap_##name parameters;                                         \
	type __wrap_##name parameters                                          \
	{                                                                      \
		return fails(#name, code) ? (error) : __real_##name arguments; \
	}

#define WRAP_ALLOCATION(name, parameters, arguments)                           \
	void *__real_##name parameters;                                        \
	void *__wrap_##name parameters;                                        \
	void *__wrap_##name parameters                                         \
	{                                                                      \
		return fails(#name, ENOMEM) ? NULL                             \
					    : counted(__real_##name arguments, \
						      &allocations);           \
	}

WRAP_ALLOCATION(malloc, (size_t bytes), (bytes))
WRAP_ALLOCATION(calloc, (size_t count, size_t bytes), (count, bytes))
WRAP_ALLOCATION(aligned_alloc, (size_t align, size_t bytes), (align, bytes))
WRAP(int, memfd_create, (const char *name, unsigned flags), (name, flags), -1,
     EMFILE)
WRAP(int, posix_fallocate, (int fd, off_t at, off_t bytes), (fd, at, bytes),
     ENOSPC, ENOSPC)
WRAP(int, epoll_create1, (int flags), (flags), -1, EMFILE)
WRAP(int, epoll_ctl, (int fd, int op, int who, struct epoll_event *event),
     (fd, op, who, event), -1, ENOSPC)
WRAP(int, eventfd, (unsigned value, int flags), (value, flags), -1, EMFILE)
WRAP(int, socket, (int domain, int type, int protocol),
     (domain, type, protocol), -1, EMFILE)
WRAP(int, bind, (int fd, const struct sockaddr *name, socklen_t bytes),
     (fd, name, bytes), -1, EADDRINUSE)
WRAP(int, listen, (int fd, int backlog), (fd, backlog), -1, EADDRINUSE)
WRAP(int, getsockname, (int fd, struct sockaddr *name, socklen_t *bytes),
     (fd, name, bytes), -1, ENOBUFS)
WRAP(int, connect, (int fd, const struct sockaddr *name, socklen_t bytes),
     (fd, name, bytes), -1, ENOBUFS)
WRAP(int, accept4, (int fd, struct sockaddr *name, socklen_t *bytes, int flags),
     (fd, name, bytes, flags), -1, EMFILE)
WRAP(ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags),
     (fd, message, flags), -1, ENOBUFS)
WRAP(ssize_t, recvmsg, (int fd, struct msghdr *message, int flags),
     (fd, message, flags), -1, ENOMEM)
WRAP(ssize_t, getrandom, (void *to, size_t bytes, unsigned flags),
     (to, bytes, flags), -1, ENOSYS)
WRAP(int, stat, (const char *path, struct stat *out), (path, out), -1, ENOMEM)
WRAP(int, fstat, (int fd, struct stat *out), (fd, out), -1, ENOMEM)

/* The sleeps: what fails does not sleep, and that is all. */
WRAP(int, epoll_wait, (int fd, struct epoll_event *events, int max, int ms),
     (fd, events, max, ms), -1, EINTR)
/* Futexes are glibc's own affair, but for what waits on them. */
WRAP(int, pthread_cond_wait, (pthread_cond_t * cond, pthread_mutex_t *lock),
     (cond, lock), EPERM, EPERM)
WRAP(int, pthread_cond_timedwait,
     (pthread_cond_t * cond, pthread_mutex_t *lock,
      const struct timespec *until),
     (cond, lock, until), ENOMEM, ENOMEM)
/* The wake-ups: a peer's, and our own thread's. */
WRAP(ssize_t, send, (int fd, const void *data, size_t bytes, int flags),
     (fd, data, bytes, flags), -1, ENOBUFS)
WRAP(ssize_t, recv, (int fd, void *to, size_t bytes, int flags),
     (fd, to, bytes, flags), -1, ENOMEM)
WRAP(ssize_t, write, (int fd, const void *data, size_t bytes),
     (fd, data, bytes), -1, EIO)
WRAP(ssize_t, read, (int fd, void *to, size_t bytes), (fd, to, bytes), -1, EIO)

int __real_open(const char *path, int flags);
int __wrap_open(const char *path, int flags);
int __wrap_open(const char *path, int flags)
{
	return fails("open", EMFILE) ? -1 : __real_open(path, flags);
}

int __real_fcntl(int fd, int command, int argument);
int __wrap_fcntl(int fd, int command, int argument);
int __wrap_fcntl(int fd, int command, int argument)
{
	return fails("fcntl", EBADF) ? -1 : __real_fcntl(fd, command, argument);
}

char *__real_strdup(const char *text);
char *__wrap_strdup(const char *text);
char *__wrap_strdup(const char *text)
{
	return fails("strdup", ENOMEM)
		       ? NULL
		       : counted(__real_strdup(text), &allocations);
}

int __real_posix_memalign(void **out, size_t align, size_t bytes);
int __wrap_posix_memalign(void **out, size_t align, size_t bytes);
int __wrap_posix_memalign(void **out, size_t align, size_t bytes)
{
	int error;

	if (fails("posix_memalign", ENOMEM))
		return ENOMEM;
	error = __real_posix_memalign(out, align, bytes);
	counted(error ? NULL : *out, &allocations);
	return error;
}

void __real_free(void *memory);
void __wrap_free(void *memory);
void __wrap_free(void *memory)
{
	atomic_fetch_sub(&allocations, memory != NULL);
	__real_free(memory);
}

void *__real_mmap(void *at, size_t n, int prot, int flags, int fd, off_t o);
void *__wrap_mmap(void *at, size_t n, int prot, int flags, int fd, off_t o);
void *__wrap_mmap(void *at, size_t n, int prot, int flags, int fd, off_t o)
{
	return fails("mmap", ENOMEM)
		       ? MAP_FAILED
		       : counted(__real_mmap(at, n, prot, flags, fd, o),
				 &mappings);
}

int __real_munmap(void *at, size_t bytes);
int __wrap_munmap(void *at, size_t bytes);
int __wrap_munmap(void *at, size_t bytes)
{
	atomic_fetch_sub(&mappings, 1);
	return __real_munmap(at, bytes);
}

/* ---------------------------------------------------------------- threads */

/* The first thread of a life is rank 0; what that starts is of it, too. */
static atomic_bool next_is_subject;

struct start {
	void *(*body)(void *);
	void *arg;
	bool subject;
};

static void *begin_thread(void *arg)
{
	struct start start = *(struct start *)arg;

	__real_free(arg);
	subject = start.subject;
	return start.body(start.arg);
}

int __real_pthread_create(pthread_t *out, const pthread_attr_t *attr,
			  void *(*body)(void *), void *arg);
int __wrap_pthread_create(pthread_t *out, const pthread_attr_t *attr,
			  void *(*body)(void *), void *arg);
int __wrap_pthread_create(pthread_t *out, const pthread_attr_t *attr,
			  void *(*body)(void *), void *arg)
{
	struct start *start;
	int error;

	if (fails("pthread_create", EAGAIN))
		return EAGAIN;
	start = __real_malloc(sizeof(*start));
	if (!start)
		abort();
	*start = (struct start){
		body, arg, subject || atomic_exchange(&next_is_subject, false)};
	error = __real_pthread_create(out, attr, begin_thread, start);
	if (error)
		__real_free(start);
	else
		atomic_fetch_add(&threads, 1);
	return error;
}

int __real_pthread_join(pthread_t thread, void **out);
int __wrap_pthread_join(pthread_t thread, void **out);
int __wrap_pthread_join(pthread_t thread, void **out)
{
	atomic_fetch_sub(&threads, 1);
	return __real_pthread_join(thread, out);
}

/* ------------------------------------------------------------------ a life */

struct life {
	enum kvr_status status[RANKS]; /* the first that was not KVR_OK */
	float out[RANKS][TOKENS * HEADS * DIM], lse[RANKS][TOKENS * HEADS];
	char log[4096]; /* of rank 0 */
};

static enum kvr_status one_pass(struct rank *rank, struct kvr_memory *memory)
{
	struct kvr_segment segment = {memory, 0, 5000};
	enum kvr_status status, ended;
	struct kvr_pass_desc desc;
	struct kvr_block block;
	struct kvr_pass *pass;

	kvr_pass_desc_init(&desc);
	kvr_block_init(&block);
	desc.tag = 9;
	desc.lane[0].segments = &segment;
	desc.lane[0].segment_count = 1;
	status = kvr_pass_begin(rank->ring, &desc, &pass);
	if (status != KVR_OK)
		return status;
	while ((status = kvr_pass_next(pass, 0, &block)) == KVR_OK)
		if (kvr_pass_release(pass, 0, block.step) != KVR_OK)
			break;
	ended = kvr_pass_end(pass);
	return status == KVR_ERR_END ? ended : status;
}

static enum kvr_status pass_of_own(struct rank *rank)
{
	static char buffer[RANKS][8192];
	struct kvr_memory *memory;
	enum kvr_status status;

	status = kvr_memory_register(rank->context, buffer[rank->rank],
				     sizeof(buffer[0]), &memory);
	if (status != KVR_OK)
		return status;
	status = one_pass(rank, memory);
	kvr_memory_deregister(memory);
	return status;
}

static void fill(float *values, size_t count, uint32_t rank)
{
	for (size_t i = 0; i < count; i++)
		values[i] = (float)((i * 37 + rank * 11) % 19) / 19 - 0.5f;
}

static enum kvr_status attention(struct rank *rank, struct life *life)
{
	float q[TOKENS * HEADS * DIM], k[TOKENS * DIM];
	const struct kvr_tensor tq =
		kvr_tensor_dense(q, KVR_F32, TOKENS, HEADS, DIM);
	const struct kvr_tensor tk =
		kvr_tensor_dense(k, KVR_F32, TOKENS, 1, DIM);
	const struct kvr_tensor to = kvr_tensor_dense(
		life->out[rank->rank], KVR_F32, TOKENS, HEADS, DIM);
	struct kvr_range range = {0, rank->rank * TOKENS, TOKENS};
	struct kvr_plan_desc desc;
	enum kvr_status status;
	struct kvr_plan *plan;

	fill(q, TOKENS * HEADS * DIM, rank->rank);
	fill(k, TOKENS * DIM, rank->rank + 5);
	kvr_plan_desc_init(&desc);
	desc.q_heads = HEADS;
	desc.kv_heads = 1;
	desc.head_dim = DIM;
	desc.threads = 2;
	desc.mask = KVR_MASK_CAUSAL;
	desc.q_ranges = desc.kv_ranges = &range;
	desc.q_range_count = desc.kv_range_count = 1;
	status = kvr_plan_create(rank->ring, &desc, &plan);
	if (status != KVR_OK)
		return status;
	status = kvr_attention_run(plan, &tq, &tk, &tk, &to,
				   life->lse[rank->rank], TOKENS);
	kvr_plan_destroy(plan);
	return status;
}

static void live(struct rank *rank)
{
	struct life *life = rank->arg;
	enum kvr_status status = rank->opened;

	if (status == KVR_OK)
		status = attention(rank, life);
	if (status == KVR_OK)
		status = pass_of_own(rank);
	life->status[rank->rank] = status;
	if (rank->rank == 0)
		memcpy(life->log, rank->log, sizeof(life->log));
}

static int descriptors(void)
{
	DIR *directory = opendir("/proc/self/fd");
	int count = 0;

	assert_non_null(directory);
	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

/* A life in which call `number` fails; 0: none does. */
static void run_life(int number, uint32_t timeout_ms, struct life *life)
{
	const int fds = descriptors();
	struct ranks ranks;

	memset(life, 0, sizeof(*life));
	ranks_init(&ranks, RANKS);
	ranks.transport = "shm";
	ranks.options.peer_timeout_ms = timeout_ms;
	ranks.options.wait_timeout_ms = 2 * timeout_ms;
	/* It has memory of its own. */
	ranks.options.integrity = 1;
	ranks.body = live;
	ranks.arg = life;
	made = 0;
	wanted = number;
	failed = NULL;
	next_is_subject = true;
	ranks_run(&ranks);
	if (descriptors() != fds || allocations || mappings || threads)
		fail_msg("call %d, %s, left %d descriptors, %d allocations, "
			 "%d mappings, %d threads",
			 number, failed ? failed : "none", descriptors() - fds,
			 (int)allocations, (int)mappings, (int)threads);
}

/* ------------------------------------------------------------------- tests */

/* What an error of the system may become; the peer only loses us. */
static bool fits(enum kvr_status status)
{
	return status == KVR_ERR_NO_MEMORY || status == KVR_ERR_SYSTEM ||
	       status == KVR_ERR_PEER_LOST || status == KVR_ERR_UNSUPPORTED ||
	       status == KVR_ERR_TIMEOUT || status == KVR_ERR_PROTOCOL;
}

static void check_outcome(int number, const struct life *life,
			  const struct life *healthy)
{
	const char *call = failed;

	for (uint32_t rank = 0; rank < RANKS; rank++)
		if (life->status[rank] != KVR_OK && !fits(life->status[rank]))
			fail_msg("call %d, %s: rank %u says %s", number, call,
				 rank, kvr_status_name(life->status[rank]));
	/* An allocation needs no explanation. */
	if (life->status[0] != KVR_OK && life->status[0] != KVR_ERR_NO_MEMORY &&
	    life->log[0] == '\0')
		fail_msg("call %d, %s: %s without a word", number, call,
			 kvr_status_name(life->status[0]));
	for (uint32_t rank = 0; rank < RANKS; rank++)
		if (life->status[rank] == KVR_OK)
			assert_memory_equal(life->out[rank], healthy->out[rank],
					    sizeof(life->out[0]));
}

/* As many calls as a life makes at least: two ends, ring, plan, threads. */
#define CALLS_MIN 60

static void life_nth_call_fails_clear_error_nothing_left(void **state)
{
	static struct life healthy, life;
	int failures = 0, calls;

	(void)state;
	run_life(0, 30000, &healthy);
	calls = made;
	assert_true(calls >= CALLS_MIN);
	for (uint32_t rank = 0; rank < RANKS; rank++)
		assert_int_equal(healthy.status[rank], KVR_OK);
	/* How often it asks for the same thing depends on the other rank. */
	for (int number = 1; number <= calls; number++) {
		run_life(number, 1000, &life);
		check_outcome(number, &life, &healthy);
		failures += life.status[0] != KVR_OK;
	}
	assert_true(failures >= CALLS_MIN / 2);
	run_life(0, 30000, &life);
	for (uint32_t rank = 0; rank < RANKS; rank++)
		assert_int_equal(life.status[rank], KVR_OK);
	print_message("%d calls, %d of which a life needs\n", calls, failures);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(life_nth_call_fails_clear_error_nothing_left),
	};

	return cmocka_run_group_tests_name("unwind", tests, NULL, NULL);
}
