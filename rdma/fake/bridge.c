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
	} passage[FAKE_INBOX];
	size_t count;
	uint8_t inside[]; /* as the slots are laid out */
};

enum kvr_status fake_bridge_open(struct fake_endpoint *in, size_t bytes)
{
	if (in->script.bridge == KVR_FAKE_BRIDGE_NONE)
		return KVR_OK;
	in->bridge = calloc(1, sizeof(*in->bridge) + bytes);
	return in->bridge ? KVR_OK : KVR_ERR_NO_MEMORY;
}

uint8_t *fake_bridge_enter(struct fake_endpoint *in, uint8_t *to, size_t bytes)
{
	struct fake_bridge *b = in->bridge;

	if (!b)
		return to;
	/* As many as may be told and not polled: more have been flushed. */
	if (b->count == FAKE_INBOX)
		fake_bridge_flush(in);
	b->passage[b->count++] = (struct fake_passage){to, bytes};
	return b->inside + (to - in->slots);
}

void fake_bridge_flush(struct fake_endpoint *in)
{
	struct fake_bridge *b = in->bridge;

	if (!b)
		return;
	for (size_t i = 0; i < b->count; i++) {
		const struct fake_passage *p = &b->passage[i];

		if (in->script.bridge == KVR_FAKE_BRIDGE_FLUSHED)
			memcpy(p->to, b->inside + (p->to - in->slots),
			       p->bytes);
	}
	b->count = 0;
}
