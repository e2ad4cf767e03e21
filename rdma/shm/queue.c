/* SPDX-License-Identifier: Apache-2.0 */
/* What the sender has posted and its engine has not yet moved. */
#include "rdma/shm/endpoint.h"

struct shm_item *shm_queue_reserve(struct shm_queue *queue, bool is_write,
				   bool is_signal)
{
	const uint32_t room = is_signal ? SHM_QUEUE : SHM_QUEUE - SHM_SIGNALS;
	struct shm_item *item;

	if (queue->count >= room || (is_write && queue->writes >= SHM_WRITES))
		return NULL;
	item = &queue->items[(queue->first + queue->count) % SHM_QUEUE];
	*item = (struct shm_item){.is_write = is_write};
	queue->count++;
	queue->writes += is_write;
	return item;
}

enum shm_progress shm_queue_state(const struct shm_queue *queue,
				  const struct shm_producer *producer)
{
	uint32_t used;

	if (queue->count == 0)
		return SHM_IDLE;
	if (queue->items[queue->first].left > 0)
		return SHM_MORE;
	used = shm_producer_used(producer);
	if (used > SHM_RING_ENTRIES)
		return SHM_CORRUPT;
	return used >= SHM_RING_ROOM ? SHM_FULL : SHM_MORE;
}

static void finish(struct shm_queue *queue)
{
	const struct shm_item *item = &queue->items[queue->first];

	if (item->is_write) {
		queue->sent[(queue->sent_first + queue->sent_count) %
			    SHM_WRITES] = item->cookie;
		queue->sent_count++;
	}
	queue->first = (queue->first + 1) % SHM_QUEUE;
	queue->count--;
}

/* Returns the bytes copied. */
static size_t copy(struct shm_copier *copier, struct shm_item *item,
		   size_t budget)
{
	const size_t bytes = item->left < budget ? item->left : budget;

	shm_copier_copy(copier, &item->gather, item->target, bytes);
	item->target += bytes;
	item->left -= bytes;
	return bytes;
}

enum shm_progress shm_queue_run(struct shm_queue *queue,
				struct shm_producer *producer, size_t budget,
				bool *wake)
{
	enum shm_progress state = shm_queue_state(queue, producer);

	*wake = false;
	for (int i = 0; i < SHM_QUEUE && state == SHM_MORE; i++) {
		struct shm_item *item = &queue->items[queue->first];

		if (item->is_write)
			budget -= copy(&queue->copier, item, budget);
		if (item->left > 0)
			return SHM_MORE;
		/* The copy may have taken long: ask for room again. */
		state = shm_queue_state(queue, producer);
		if (state != SHM_MORE)
			break;
		if (shm_producer_push(producer, item->imm))
			*wake = true;
		finish(queue);
		state = shm_queue_state(queue, producer);
	}
	return state;
}

void shm_queue_farewell(struct shm_queue *queue, struct shm_producer *producer)
{
	while (queue->count > 0 && queue->items[queue->first].left == 0 &&
	       shm_producer_used(producer) < SHM_RING_ENTRIES) {
		(void)shm_producer_push(producer,
					queue->items[queue->first].imm);
		finish(queue);
	}
}

size_t shm_queue_pop_sent(struct shm_queue *queue, struct kvr_event *events,
			  size_t max)
{
	size_t count = 0;

	for (; count < max && queue->sent_count > 0; queue->sent_count--) {
		events[count++] = (struct kvr_event){
			.kind = KVR_EVENT_SENT,
			.cookie = queue->sent[queue->sent_first]};
		queue->sent_first = (queue->sent_first + 1) % SHM_WRITES;
		queue->writes--;
	}
	return count;
}
