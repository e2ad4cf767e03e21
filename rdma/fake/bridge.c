/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the wire and the landing slots, where a script wants it: a bridge
 * that keeps what is written to a device behind what is told to the host, as
 * PCIe may. Bytes come out at a flush.
 */
#include <stdlib.h>
#include <string.h>

#include "rdma/fake/endpoint.h"

struct fake_bridge {
	struct fake_passage {
		uint8_t *to;
		size_t bytes;
	} passage[2 * FAKE_INBOX];
	size_t count;
	size_t flushing;  /* of them: what was inside when the flush began */
	uint32_t calls;	  /* of this flush */
	uint8_t inside[]; /* as the slots are laid out */
};

enum kvr_status fake_bridge_open(struct fake_endpoint *in, size_t bytes)
{
	if (in->script.bridge == KVR_FAKE_BRIDGE_NONE)
		return KVR_OK;
	in->bridge = calloc(1, sizeof(*in->bridge) + bytes);
	return in->bridge ? KVR_OK : KVR_ERR_NO_MEMORY;
}

static void come_out(struct fake_endpoint *in)
{
	struct fake_bridge *b = in->bridge;

	for (size_t i = 0; i < b->flushing; i++) {
		const struct fake_passage *p = &b->passage[i];

		if (in->script.bridge == KVR_FAKE_BRIDGE_FLUSHED)
			memcpy(p->to, b->inside + (p->to - in->slots),
			       p->bytes);
	}
	b->count -= b->flushing;
	memmove(b->passage, b->passage + b->flushing,
		b->count * sizeof(b->passage[0]));
	b->flushing = 0;
}

uint8_t *fake_bridge_enter(struct fake_endpoint *in, uint8_t *to, size_t bytes)
{
	struct fake_bridge *b = in->bridge;

	if (!b)
		return to;
	/* What may be told and not polled, and polled and not flushed. */
	if (b->count == sizeof(b->passage) / sizeof(b->passage[0])) {
		b->flushing = b->count;
		come_out(in);
	}
	b->passage[b->count++] = (struct fake_passage){to, bytes};
	return b->inside + (to - in->slots);
}

enum kvr_status fake_bridge_flush(struct fake_endpoint *in)
{
	struct fake_bridge *b = in->bridge;

	if (!b)
		return KVR_OK;
	if (b->calls++ == 0)
		b->flushing = b->count;
	if (b->calls < in->script.flush_calls)
		return KVR_ERR_AGAIN;
	come_out(in);
	b->calls = 0;
	return KVR_OK;
}
