/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PMIx, which mpirun, prterun and srun --mpi=pmix serve to the processes that
 * they start. An all-gather is a put of one key per rank, a fence that brings
 * the data along, and n gets. libpmix is loaded when it is needed, so that
 * one binary serves machines without it.
 */
#include "runtime/bootstrap_open.h"

#ifdef KVR_HAVE_PMIX
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pmix.h>

#include "runtime/clock.h"

struct library {
	pmix_status_t (*init)(pmix_proc_t *, pmix_info_t[], size_t);
	pmix_status_t (*finalize)(const pmix_info_t[], size_t);
	pmix_status_t (*put)(pmix_scope_t, const pmix_key_t, pmix_value_t *);
	pmix_status_t (*commit)(void);
	pmix_status_t (*fence)(const pmix_proc_t[], size_t, const pmix_info_t[],
			       size_t, pmix_op_cbfunc_t, void *);
	pmix_status_t (*get)(const pmix_proc_t *, const pmix_key_t,
			     const pmix_info_t[], size_t, pmix_value_t **);
	const char *(*error_string)(pmix_status_t);
};

struct pmix {
	struct library call;
	pmix_proc_t self;
	uint32_t n;
	struct kvr_log log;
	uint64_t join_ns, gather_ns;
};

/* Equal on all ranks, which gather alike. Keys cannot be used twice. */
static atomic_uint gathers;

/* ------------------------------------------------------------- library */

static bool look_up(void *from, const char *name, void *out)
{
	void *found = dlsym(from, name);

	/* A function pointer in a void pointer: as POSIX has it. */
	memcpy(out, &found, sizeof(found));
	return found != NULL;
}

static bool look_up_all(void *from, struct library *out)
{
	return look_up(from, "PMIx_Init", &out->init) &&
	       look_up(from, "PMIx_Finalize", &out->finalize) &&
	       look_up(from, "PMIx_Put", &out->put) &&
	       look_up(from, "PMIx_Commit", &out->commit) &&
	       look_up(from, "PMIx_Fence_nb", &out->fence) &&
	       look_up(from, "PMIx_Get", &out->get) &&
	       look_up(from, "PMIx_Error_string", &out->error_string);
}

/* Stays loaded: its threads outlive a finalize. */
static bool load(struct library *out)
{
	void *handle;

	/* A program that uses MPI has its own, maybe of another version. */
	if (look_up_all(RTLD_DEFAULT, out))
		return true;
	handle = dlopen("libpmix.so.2", RTLD_NOW | RTLD_LOCAL);
	return handle && look_up_all(handle, out);
}

enum kvr_status kvr_bootstrap_probe_pmix(char *reason, size_t bytes)
{
	struct library library;

	if (load(&library)) {
		snprintf(reason, bytes, "mpirun, srun --mpi=pmix");
		return KVR_OK;
	}
	snprintf(reason, bytes,
		 "libpmix.so.2 cannot be loaded; install libpmix2");
	return KVR_ERR_UNSUPPORTED;
}

/* -------------------------------------------------------------- failing */

static enum kvr_status fail(const struct pmix *p, const char *what,
			    pmix_status_t status)
{
	kvr_log(&p->log, KVR_LOG_ERROR, "bootstrap: %s: %s", what,
		p->call.error_string(status));
	if (status == PMIX_ERR_TIMEOUT)
		return KVR_ERR_TIMEOUT;
	return status == PMIX_ERR_NOMEM ? KVR_ERR_NO_MEMORY : KVR_ERR_PEER_LOST;
}

/* --------------------------------------------------------------- fence */

/* Shared with the callback, which may come after we gave up. */
struct waiter {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool done, abandoned; /* whoever is second frees it */
	pmix_status_t status;
};

static struct waiter *waiter_new(void)
{
	struct waiter *w = calloc(1, sizeof(*w));
	pthread_condattr_t monotonic;

	if (!w)
		return NULL;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	return w;
}

static void waiter_free(struct waiter *w)
{
	pthread_cond_destroy(&w->changed);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

static void fenced(pmix_status_t status, void *arg)
{
	struct waiter *w = arg;
	bool abandoned;

	pthread_mutex_lock(&w->lock);
	w->done = true;
	w->status = status;
	abandoned = w->abandoned;
	pthread_cond_signal(&w->changed);
	pthread_mutex_unlock(&w->lock);
	if (abandoned)
		waiter_free(w);
}

static pmix_status_t wait_fenced(struct waiter *w, uint64_t deadline_ns)
{
	const struct timespec until = kvr_clock_timespec(deadline_ns);
	pmix_status_t status;
	int error = 0;
	bool done;

	pthread_mutex_lock(&w->lock);
	while (!w->done && error == 0)
		error = pthread_cond_timedwait(&w->changed, &w->lock, &until);
	done = w->done;
	w->abandoned = !done;
	status = done ? w->status : PMIX_ERR_TIMEOUT;
	pthread_mutex_unlock(&w->lock);
	if (done)
		waiter_free(w);
	return status;
}

/*
 * Not every server heeds a time-out given to the fence itself: we wait for
 * the answer, not for the fence.
 */
static pmix_status_t fence(struct pmix *p, uint64_t wait_ns)
{
	const uint64_t deadline_ns = kvr_clock_ns() + wait_ns;
	struct waiter *w = waiter_new();
	pmix_proc_t all = p->self;
	pmix_info_t collect;
	pmix_status_t status;

	if (!w)
		return PMIX_ERR_NOMEM;
	all.rank = PMIX_RANK_WILDCARD;
	memset(&collect, 0, sizeof(collect));
	snprintf(collect.key, sizeof(collect.key), "%s", PMIX_COLLECT_DATA);
	collect.value.type = PMIX_BOOL;
	collect.value.data.flag = true;
	status = p->call.fence(&all, 1, &collect, 1, fenced, w);
	if (status == PMIX_SUCCESS)
		return wait_fenced(w, deadline_ns);
	waiter_free(w); /* no callback comes */
	return status == PMIX_OPERATION_SUCCEEDED ? PMIX_SUCCESS : status;
}

/* -------------------------------------------------------------- gather */

static pmix_status_t put(struct pmix *p, const char *key, const void *local,
			 size_t bytes)
{
	pmix_value_t value;
	pmix_status_t status;

	memset(&value, 0, sizeof(value));
	value.type = PMIX_BYTE_OBJECT;
	value.data.bo.bytes = (char *)(uintptr_t)local;
	value.data.bo.size = bytes;
	status = p->call.put(PMIX_GLOBAL, key, &value);
	return status == PMIX_SUCCESS ? p->call.commit() : status;
}

static pmix_status_t get(struct pmix *p, uint32_t rank, const char *key,
			 size_t bytes, void *to)
{
	pmix_proc_t who = p->self;
	pmix_value_t *value = NULL;
	pmix_status_t status;

	who.rank = rank;
	status = p->call.get(&who, key, NULL, 0, &value);
	if (status != PMIX_SUCCESS)
		return status;
	if (value->type == PMIX_BYTE_OBJECT && value->data.bo.size == bytes)
		memcpy(to, value->data.bo.bytes, bytes);
	else
		status = PMIX_ERR_TYPE_MISMATCH;
	/* As the library's own macros do, of which each version has others. */
	if (value->type == PMIX_BYTE_OBJECT)
		free(value->data.bo.bytes);
	free(value);
	return status;
}

static pmix_status_t gather(struct pmix *p, const void *local, size_t bytes,
			    uint8_t *all)
{
	pmix_status_t status;
	char key[48];

	snprintf(key, sizeof(key), "kvring.%u", atomic_fetch_add(&gathers, 1));
	status = put(p, key, local, bytes);
	if (status == PMIX_SUCCESS)
		status = fence(p, p->gather_ns);
	for (uint32_t i = 0; i < p->n && status == PMIX_SUCCESS; i++)
		status = get(p, i, key, bytes, all + i * bytes);
	return status;
}

static int allgather(void *arg, const void *local, size_t bytes, void *all)
{
	struct pmix *p = arg;
	pmix_status_t status = gather(p, local, bytes, all);

	if (status == PMIX_SUCCESS)
		return 0;
	fail(p, "the all-gather through PMIx", status);
	return -1;
}

/* ---------------------------------------------------------- open, close */

static pmix_status_t read_size(struct pmix *p)
{
	pmix_proc_t job = p->self;
	pmix_value_t *value = NULL;
	pmix_status_t status;

	job.rank = PMIX_RANK_WILDCARD;
	status = p->call.get(&job, PMIX_JOB_SIZE, NULL, 0, &value);
	if (status != PMIX_SUCCESS)
		return status;
	if (value->type == PMIX_UINT32)
		p->n = value->data.uint32;
	else
		status = PMIX_ERR_TYPE_MISMATCH;
	free(value);
	return status;
}

static void close_pmix(void *arg)
{
	struct pmix *p = arg;

	(void)p->call.finalize(NULL, 0);
	free(p);
}

/* All of the job are there: a server alone is no proof of that. */
static enum kvr_status meet(struct pmix *p)
{
	pmix_status_t status = read_size(p);

	if (status != PMIX_SUCCESS)
		return fail(p, "the size of the job from PMIx", status);
	if (p->n == 0 || p->n > KVR_RANKS_MAX || p->self.rank >= p->n) {
		kvr_log(&p->log, KVR_LOG_ERROR,
			"bootstrap: PMIx says rank %u of %u; at most %d ranks "
			"make a ring",
			p->self.rank, p->n, KVR_RANKS_MAX);
		return KVR_ERR_INVALID;
	}
	status = fence(p, p->join_ns);
	if (status != PMIX_SUCCESS)
		return fail(p, "waiting for all ranks by PMIx", status);
	return KVR_OK;
}

static enum kvr_status open_loaded(struct pmix *p, struct kvr_bootstrap *out)
{
	struct kvr_bootstrap made;
	enum kvr_status result;
	pmix_status_t status;

	status = p->call.init(&p->self, NULL, 0);
	if (status != PMIX_SUCCESS)
		return fail(p, "reaching the PMIx server", status);
	result = meet(p);
	if (result != KVR_OK) {
		(void)p->call.finalize(NULL, 0);
		return result;
	}
	kvr_bootstrap_init(&made);
	made.rank = p->self.rank;
	made.n = p->n;
	made.allgather = allgather;
	made.arg = p;
	made.close = close_pmix;
	*out = made;
	return KVR_OK;
}

enum kvr_status
kvr_bootstrap_open_pmix(const struct kvr_bootstrap_options *options,
			struct kvr_bootstrap *out)
{
	struct pmix *p = calloc(1, sizeof(*p));
	enum kvr_status status;

	if (!p)
		return KVR_ERR_NO_MEMORY;
	p->log = (struct kvr_log){options->log, options->log_arg,
				  options->log_level};
	p->join_ns = options->join_timeout_ms * KVR_NS_PER_MS;
	p->gather_ns = options->gather_timeout_ms * KVR_NS_PER_MS;
	if (load(&p->call)) {
		status = open_loaded(p, out);
	} else {
		kvr_log(&p->log, KVR_LOG_ERROR,
			"bootstrap: this job offers PMIx, but libpmix.so.2 "
			"cannot be loaded; install libpmix2, or unset "
			"PMIX_NAMESPACE for a rank alone");
		status = KVR_ERR_UNSUPPORTED;
	}
	if (status != KVR_OK)
		free(p);
	return status;
}
#else
#include <stdio.h>

enum kvr_status kvr_bootstrap_probe_pmix(char *reason, size_t bytes)
{
	snprintf(reason, bytes,
		 "this build lacks it; build with libpmix-dev installed");
	return KVR_ERR_UNSUPPORTED;
}

enum kvr_status
kvr_bootstrap_open_pmix(const struct kvr_bootstrap_options *options,
			struct kvr_bootstrap *out)
{
	const struct kvr_log log = {options->log, options->log_arg,
				    options->log_level};

	(void)out;
	kvr_log(&log, KVR_LOG_ERROR,
		"bootstrap: this job offers PMIx, which this build lacks; "
		"build with libpmix-dev installed, or unset PMIX_NAMESPACE "
		"for a rank alone");
	return KVR_ERR_UNSUPPORTED;
}
#endif
