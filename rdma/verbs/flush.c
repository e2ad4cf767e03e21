/* SPDX-License-Identifier: Apache-2.0 */
#include "rdma/verbs/flush.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "rdma/verbs/loopback.h"

struct verbs_flush {
	const struct verbs_transport *t;
	enum kvr_gpu_flush way;
	uint32_t gpu;
	bool under_way, lost;

	/* READ */
	struct verbs_loopback *loopback[VERBS_RAILS_MAX];
	bool back[VERBS_RAILS_MAX];

	/* HOST: the thread sleeps until asked differs from done. */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stop;	    /* under lock */
	uint32_t asked;	    /* under lock */
	atomic_uint done;   /* release; pairs with the load in poll_host */
	atomic_bool broken; /* before done */
};

const char *verbs_flush_name(enum kvr_gpu_flush flush)
{
	static const char *const names[] = {
		[KVR_GPU_FLUSH_AUTO] = "auto",
		[KVR_GPU_FLUSH_NONE] = "none",
		[KVR_GPU_FLUSH_HOST] = "host",
		[KVR_GPU_FLUSH_READ] = "read",
	};

	return names[flush];
}

enum kvr_gpu_flush verbs_flush_way(const struct verbs_flush *f)
{
	return f->way;
}

/* ---------------------------------------------------------------- READ */

static void close_read(struct verbs_flush *f)
{
	for (uint32_t rail = 0; rail < VERBS_RAILS_MAX; rail++) {
		verbs_loopback_close(f->loopback[rail]);
		f->loopback[rail] = NULL;
	}
}

static enum kvr_status open_read(struct verbs_flush *f,
				 const struct verbs_memory *slots)
{
	char reason[VERBS_WHY_BYTES];

	for (uint32_t rail = 0; rail < f->t->rails; rail++) {
		const struct verbs_device *device = &f->t->device[rail];
		enum kvr_status status = verbs_loopback_open(
			device, f->t->gpu.present(),
			(void *)(uintptr_t)slots->address, &slots->step,
			&f->loopback[rail], reason, sizeof(reason));

		if (status == KVR_OK)
			continue;
		kvr_log(f->t->log, KVR_LOG_WARNING,
			"verbs: no reads for a flush by %s: %s",
			ibv_get_device_name(device->context->device), reason);
		close_read(f);
		return status;
	}
	return KVR_OK;
}

static enum kvr_status begin_read(struct verbs_flush *f)
{
	for (uint32_t rail = 0; rail < f->t->rails; rail++) {
		if (verbs_loopback_read(f->loopback[rail]) != KVR_OK)
			return KVR_ERR_DEVICE;
		f->back[rail] = false;
	}
	return KVR_OK;
}

static enum kvr_status poll_read(struct verbs_flush *f)
{
	enum kvr_status all = KVR_OK;

	for (uint32_t rail = 0; rail < f->t->rails; rail++) {
		enum kvr_status status;

		if (f->back[rail])
			continue;
		status = verbs_loopback_poll(f->loopback[rail]);
		f->back[rail] = status == KVR_OK;
		if (status == KVR_ERR_DEVICE)
			return status;
		if (status == KVR_ERR_AGAIN)
			all = status;
	}
	return all;
}

/* ---------------------------------------------------------------- HOST */

static void *host_main(void *arg)
{
	struct verbs_flush *f = arg;
	const struct kvr_accelerator_ops *gpu = f->t->gpu.present();
	char reason[VERBS_WHY_BYTES];
	uint32_t done = 0;

	pthread_mutex_lock(&f->lock);
	while (!f->stop) {
		if (f->asked == done) {
			pthread_cond_wait(&f->wake, &f->lock);
			continue;
		}
		pthread_mutex_unlock(&f->lock);
		if (gpu->memory->flush(f->gpu, reason, sizeof(reason)) !=
		    KVR_OK) {
			kvr_log(f->t->log, KVR_LOG_ERROR,
				"verbs: flush of GPU %" PRIu32 ": %s", f->gpu,
				reason);
			atomic_store_explicit(&f->broken, true,
					      memory_order_relaxed);
		}
		atomic_store_explicit(&f->done, ++done, memory_order_release);
		pthread_mutex_lock(&f->lock);
	}
	pthread_mutex_unlock(&f->lock);
	return NULL;
}

/* Signals are the program's: the thread takes none. */
static enum kvr_status open_host(struct verbs_flush *f)
{
	sigset_t all, before;
	int error;

	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->wake, NULL);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(&f->thread, NULL, host_main, f);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!error)
		return KVR_OK;
	kvr_log(f->t->log, KVR_LOG_ERROR, "verbs: a thread to flush by: %s",
		strerror(error));
	pthread_cond_destroy(&f->wake);
	pthread_mutex_destroy(&f->lock);
	return KVR_ERR_SYSTEM;
}

static void close_host(struct verbs_flush *f)
{
	pthread_mutex_lock(&f->lock);
	f->stop = true;
	pthread_cond_signal(&f->wake);
	pthread_mutex_unlock(&f->lock);
	pthread_join(f->thread, NULL);
	pthread_cond_destroy(&f->wake);
	pthread_mutex_destroy(&f->lock);
}

static void begin_host(struct verbs_flush *f)
{
	pthread_mutex_lock(&f->lock);
	f->asked++;
	pthread_cond_signal(&f->wake);
	pthread_mutex_unlock(&f->lock);
}

static enum kvr_status poll_host(struct verbs_flush *f)
{
	/* Only this thread writes asked. */
	if (atomic_load_explicit(&f->done, memory_order_acquire) != f->asked)
		return KVR_ERR_AGAIN;
	return atomic_load_explicit(&f->broken, memory_order_relaxed)
		       ? KVR_ERR_DEVICE
		       : KVR_OK;
}

/* ---------------------------------------------------------------- both */

enum kvr_status verbs_flush_poll(struct verbs_flush *f)
{
	enum kvr_status status = KVR_OK;

	/* Once lost, no completion of it comes any more. */
	if (f->lost)
		return KVR_ERR_DEVICE;
	if (!f->under_way) {
		f->under_way = true;
		if (f->way == KVR_GPU_FLUSH_READ)
			status = begin_read(f);
		else
			begin_host(f);
	}
	if (status == KVR_OK)
		status = f->way == KVR_GPU_FLUSH_READ ? poll_read(f)
						      : poll_host(f);
	if (status == KVR_OK)
		f->under_way = false;
	f->lost = status == KVR_ERR_DEVICE;
	return status;
}

static enum kvr_status gather_facts(struct verbs_transport *t,
				    const struct verbs_memory *slots,
				    uint32_t gpu, struct verbs_flush_facts *out)
{
	char reason[VERBS_WHY_BYTES];
	enum kvr_status status;

	*out = (struct verbs_flush_facts){
		.rung = slots->step.rung,
		.can_read = true,
		.wanted = t->gpu.flush,
	};
	for (uint32_t rail = 0; rail < t->rails; rail++)
		if (t->device[rail].attr.max_qp_rd_atom == 0)
			out->can_read = false;
	kvr_gpu_info_init(&out->gpu);
	status = t->gpu.present()->device_info(gpu, &out->gpu, reason,
					       sizeof(reason));
	if (status == KVR_OK)
		return KVR_OK;
	kvr_log(t->log, KVR_LOG_ERROR, "GPU %" PRIu32 ": %s", gpu,
		status == KVR_ERR_END ? "there is none" : reason);
	return KVR_ERR_DEVICE;
}

/* Chooses, and chooses again where a card turns out to read nothing. */
static enum kvr_status settle(struct verbs_flush *f,
			      const struct verbs_memory *slots,
			      struct verbs_flush_facts *facts, const char **why)
{
	enum kvr_status status = verbs_flush_choose(facts, &f->way, why);

	if (status != KVR_OK || f->way == KVR_GPU_FLUSH_NONE)
		return status;
	if (f->way == KVR_GPU_FLUSH_HOST)
		return open_host(f);
	status = open_read(f, slots);
	if (status != KVR_ERR_UNSUPPORTED)
		return status;
	facts->can_read = false;
	return settle(f, slots, facts, why);
}

enum kvr_status verbs_flush_open(struct verbs_transport *t,
				 const struct verbs_memory *slots, uint32_t gpu,
				 struct verbs_flush **out)
{
	struct verbs_flush_facts facts;
	enum kvr_status status = gather_facts(t, slots, gpu, &facts);
	struct verbs_flush *f;
	const char *why = "";

	if (status != KVR_OK)
		return status;
	f = calloc(1, sizeof(*f));
	if (!f)
		return KVR_ERR_NO_MEMORY;
	f->t = t;
	f->gpu = gpu;
	status = settle(f, slots, &facts, &why);
	kvr_log(t->log, status == KVR_OK ? KVR_LOG_INFO : KVR_LOG_ERROR,
		"verbs: flush of GPU %" PRIu32 ": %s: %s", gpu,
		status == KVR_OK ? verbs_flush_name(f->way) : "impossible",
		why);
	if (status != KVR_OK || f->way == KVR_GPU_FLUSH_NONE) {
		free(f);
		return status;
	}
	*out = f;
	return KVR_OK;
}

void verbs_flush_close(struct verbs_flush *f)
{
	if (!f)
		return;
	if (f->way == KVR_GPU_FLUSH_HOST)
		close_host(f);
	close_read(f);
	free(f);
}
