/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "runtime/context.h"

static void forget_keys(struct kvr_memory *memory, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct kvr_transport *t = memory->context->transports[i];

		if (t)
			t->ops->memory_deregister(t, memory->keys[i]);
	}
}

enum kvr_status kvr_memory_make_key(const struct kvr_memory *memory,
				    struct kvr_transport *transport, void **key)
{
	if (memory->on_gpu && !transport->ops->takes_gpu)
		return KVR_OK;
	return transport->ops->memory_register(transport, memory->address,
					       memory->bytes, key);
}

/* What of a GPU: managed memory too, which moves between it and the host. */
static enum kvr_status look_up(struct kvr_memory *memory)
{
	const struct kvr_accelerator_ops *gpu = kvr_accelerator_present();
	struct kvr_pointer_info info = {.kind = KVR_POINTER_HOST};
	enum kvr_status status = KVR_OK;

	if (gpu)
		status = gpu->pointer_query(memory->address, &info);
	if (status != KVR_OK)
		kvr_log(&memory->context->log, KVR_LOG_ERROR,
			"kvr_memory_register: the GPU's driver does not say "
			"what this memory is");
	memory->on_gpu = info.kind == KVR_POINTER_DEVICE ||
			 info.kind == KVR_POINTER_MANAGED;
	return status;
}

static enum kvr_status make_keys(struct kvr_memory *memory)
{
	for (size_t i = 0; i < KVR_TRANSPORTS_MAX; i++) {
		struct kvr_transport *t = memory->context->transports[i];
		enum kvr_status status;

		if (!t)
			continue;
		status = kvr_memory_make_key(memory, t, &memory->keys[i]);
		if (status != KVR_OK) {
			forget_keys(memory, i);
			return status;
		}
	}
	return KVR_OK;
}

enum kvr_status kvr_memory_register(struct kvr_context *context, void *address,
				    size_t bytes, struct kvr_memory **out)
{
	struct kvr_memory *memory;
	enum kvr_status status;

	if (!context)
		return KVR_ERR_INVALID;
	if (kvr_context_forked(context))
		return KVR_ERR_FORKED;
	if (!out || !address || !bytes) {
		kvr_log(&context->log, KVR_LOG_ERROR,
			"kvr_memory_register: address and out must not be "
			"NULL, bytes not be 0");
		return KVR_ERR_INVALID;
	}
	memory = calloc(1, sizeof(*memory));
	if (!memory)
		return KVR_ERR_NO_MEMORY;
	memory->context = context;
	memory->address = address;
	memory->bytes = bytes;

	status = look_up(memory);
	kvr_context_lock(context);
	if (status == KVR_OK)
		status = make_keys(memory);
	if (status == KVR_OK) {
		memory->next = context->memories;
		memory->link = &context->memories;
		if (memory->next)
			memory->next->link = &memory->next;
		context->memories = memory;
	}
	kvr_context_unlock(context);
	if (status != KVR_OK) {
		free(memory);
		return status;
	}
	*out = memory;
	return KVR_OK;
}

void kvr_memory_deregister(struct kvr_memory *memory)
{
	struct kvr_context *context;

	if (!memory || kvr_context_forked(memory->context))
		return;
	context = memory->context;
	kvr_context_lock(context);
	*memory->link = memory->next;
	if (memory->next)
		memory->next->link = memory->link;
	forget_keys(memory, KVR_TRANSPORTS_MAX);
	kvr_context_unlock(context);
	free(memory);
}
