/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/context.h"

#include <stdlib.h>

#include "runtime/progress.h"
#include "runtime/settings.h"

/* Children count up; a context opened at another count is the parent's. */
static atomic_uint fork_count;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

static void count_fork(void)
{
	atomic_fetch_add_explicit(&fork_count, 1, memory_order_relaxed);
}

static void watch_forks(void)
{
	/* Without room for the handler forks go unnoticed, nothing else. */
	(void)pthread_atfork(NULL, NULL, count_fork);
}

bool kvr_context_forked(const struct kvr_context *context)
{
	return atomic_load_explicit(&fork_count, memory_order_relaxed) !=
	       context->forks;
}

void kvr_context_lock(struct kvr_context *context)
{
	atomic_fetch_add_explicit(&context->lock_wanted, 1,
				  memory_order_relaxed);
	pthread_mutex_lock(&context->lock);
	atomic_fetch_sub_explicit(&context->lock_wanted, 1,
				  memory_order_relaxed);
}

void kvr_context_unlock(struct kvr_context *context)
{
	pthread_mutex_unlock(&context->lock);
}

void kvr_context_options_init(struct kvr_context_options *options)
{
	*options = (struct kvr_context_options){
		.size = sizeof(*options),
		.progress = KVR_PROGRESS_THREAD,
		.log_level = KVR_LOG_WARNING,
		.gid_index = -1,
		.adaptive_routing = -1,
	};
}

static void destroy(struct kvr_context *context)
{
	pthread_mutex_destroy(&context->lock);
	/* Ours, const to the back ends only. */
	free((void *)(uintptr_t)context->transport_config.devices);
	free(context);
}

enum kvr_status kvr_context_open(const struct kvr_context_options *options,
				 struct kvr_context **out)
{
	struct kvr_context_options defaults;
	struct kvr_context *context;
	enum kvr_status status;

	kvr_context_options_init(&defaults);
	if (!options)
		options = &defaults;
	if (options->size != sizeof(*options) || !out ||
	    (options->progress != KVR_PROGRESS_THREAD &&
	     options->progress != KVR_PROGRESS_CALLER))
		return KVR_ERR_INVALID;
	pthread_once(&fork_once, watch_forks);

	context = calloc(1, sizeof(*context));
	if (!context)
		return KVR_ERR_NO_MEMORY;
	context->log = (struct kvr_log){
		.sink = options->log,
		.arg = options->log_arg,
		.level = options->log_level,
	};
	context->progress = options->progress;
	context->forks =
		atomic_load_explicit(&fork_count, memory_order_relaxed);
	pthread_mutex_init(&context->lock, NULL);
	status = kvr_settings_transport(options, &context->log,
					&context->transport_config);
	if (status == KVR_OK)
		status = kvr_progress_start(context);
	if (status != KVR_OK) {
		destroy(context);
		return status;
	}
	*out = context;
	return KVR_OK;
}

void kvr_context_close(struct kvr_context *context)
{
	/* A child owns neither the thread nor the peers' connections. */
	if (!context || kvr_context_forked(context))
		return;
	kvr_progress_stop(context);
	for (size_t i = 0; i < KVR_TRANSPORTS_MAX; i++) {
		struct kvr_transport *transport = context->transports[i];

		if (transport)
			transport->ops->close(transport);
	}
	destroy(context);
}

/* So that the transport knows no memory any more; up to, not including, end. */
static void forget_memories(struct kvr_context *context, size_t index,
			    struct kvr_transport *transport,
			    const struct kvr_memory *end)
{
	for (struct kvr_memory *m = context->memories; m != end; m = m->next) {
		transport->ops->memory_deregister(transport, m->keys[index]);
		m->keys[index] = NULL;
	}
}

static enum kvr_status open_transport(struct kvr_context *context, size_t index)
{
	const struct kvr_transport_ops *ops = kvr_registry_transport(index);
	struct kvr_transport *transport;
	enum kvr_status status;

	status = ops->open(&context->transport_config, &transport);
	if (status != KVR_OK)
		return status;
	for (struct kvr_memory *m = context->memories; m; m = m->next) {
		status = kvr_memory_make_key(m, transport, &m->keys[index]);
		if (status != KVR_OK) {
			forget_memories(context, index, transport, m);
			ops->close(transport);
			return status;
		}
	}
	context->transports[index] = transport;
	return KVR_OK;
}

enum kvr_status kvr_context_take_transport(struct kvr_context *context,
					   size_t index,
					   struct kvr_transport **out)
{
	enum kvr_status status = KVR_OK;

	kvr_context_lock(context);
	if (!context->transports[index])
		status = open_transport(context, index);
	if (status == KVR_OK) {
		*out = context->transports[index];
		context->users[index]++;
	}
	kvr_context_unlock(context);
	return status;
}

void kvr_context_leave_transport(struct kvr_context *context, size_t index)
{
	struct kvr_transport *transport;

	kvr_context_lock(context);
	transport = context->transports[index];
	if (--context->users[index] == 0 && !context->chosen[index]) {
		forget_memories(context, index, transport, NULL);
		transport->ops->close(transport);
		context->transports[index] = NULL;
	}
	kvr_context_unlock(context);
}

void kvr_context_choose_transport(struct kvr_context *context, size_t index)
{
	kvr_context_lock(context);
	context->chosen[index] = true;
	kvr_context_unlock(context);
}
