/* SPDX-License-Identifier: Apache-2.0 */
/* Writes of a NIC that have left it and not yet arrived. */
#include <stdlib.h>
#include <string.h>

#include "tests/emulated_cuda/internal.h"

struct delivery {
	struct delivery *next;
	void *to;
	size_t bytes;
	unsigned char data[];
};

static struct delivery *first, **last = &first;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

EMU_EXPORT void kvr_emulated_deliver(void *to, const void *from, size_t bytes)
{
	struct delivery *delivery = emu_new(1, sizeof(*delivery) + bytes);

	delivery->to = to;
	delivery->bytes = bytes;
	memcpy(delivery->data, from, bytes);
	pthread_mutex_lock(&lock);
	*last = delivery;
	last = &delivery->next;
	pthread_mutex_unlock(&lock);
}

EMU_EXPORT void kvr_emulated_flush(void)
{
	struct delivery *delivery;

	pthread_mutex_lock(&lock);
	kvr_emulated_memory_open();
	while ((delivery = first)) {
		first = delivery->next;
		memcpy(delivery->to, delivery->data, delivery->bytes);
		free(delivery);
	}
	last = &first;
	kvr_emulated_memory_close();
	pthread_mutex_unlock(&lock);
}
