/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hello of the verbs transport, hello.c itself, under whatever a peer
 * sends. No device: what it says is dropped, what it hears comes from the
 * fuzzer. Whoever has no key gets no right to write and no connection; whoever
 * has it, no connection with other parameters.
 *
 *	input: flags, then per message: how, length (2), bytes
 */
#include <stdlib.h>
#include <string.h>

#include "rdma/verbs/endpoint.h"

#define MESSAGE_BYTES sizeof(struct verbs_message)

enum how { HOW_RAW, HOW_PATCHED, HOW_SEALED, HOW_COUNT };

/* What the peer says next, and what we granted it. */
static struct script {
	const uint8_t *data;
	size_t left;
	bool knows_key; /* it sealed every message */
	bool failed;	/* a completion with an error comes */
	uint32_t heard;
	struct ibv_wc wc;
	bool waiting; /* wc is there */
	uint32_t allowed;
} script;

static struct verbs_transport transport;
static struct ibv_qp queue_pair;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* -------------------------------------------------------------- the peer */

static uint8_t next_byte(void)
{
	if (script.left == 0)
		return 0;
	script.left--;
	return *script.data++;
}

static void patch(uint8_t *bytes, size_t limit, size_t count, bool add)
{
	for (size_t i = 0; i < count && script.left > 0; i++) {
		uint8_t byte = next_byte();

		if (i < limit)
			bytes[i] = add ? (uint8_t)(bytes[i] ^ byte) : byte;
	}
}

/* What the real peer would say; the talk has what was said before. */
static void honest(const struct verbs_endpoint *e, uint32_t index,
		   struct verbs_message *out)
{
	struct kvr_endpoint_config theirs = e->config;
	struct verbs_hello *hello = &out->body.hello;

	*out = (struct verbs_message){
		.magic = VERBS_MESSAGE_MAGIC,
		.version = VERBS_VERSION,
		.type = index + VERBS_HELLO_OUT,
	};
	if (index >= 2)
		return;
	theirs.role = !e->config.role;
	theirs.rank = e->config.peer;
	theirs.peer = e->config.rank;
	kvr_hello_init(&theirs, e->address.nonce, &hello->base);
	hello->secret_mark = e->secret_mark;
	hello->rails = e->rails;
	hello->qps = e->qps;
	for (uint32_t i = 0; i < e->qps; i++)
		hello->qpn[i] = e->qp[i].remote_qpn;
}

static void receive(struct verbs_endpoint *e, uint32_t index)
{
	struct verbs_message *in = &e->talk.message[index];
	const enum how how = next_byte() % HOW_COUNT;
	uint32_t bytes = next_byte();
	uint8_t *end;

	bytes |= (uint32_t)next_byte() << 8;
	if (how == HOW_RAW) {
		patch((uint8_t *)in, sizeof(*in), bytes, false);
	} else {
		honest(e, index, in);
		end = (uint8_t *)&in->body;
		patch(end, sizeof(in->body), bytes, true);
		bytes = MESSAGE_BYTES;
	}
	if (how == HOW_SEALED && verbs_talk_seal(e->key, &e->talk, index))
		abort();
	script.knows_key &= how == HOW_SEALED;
	script.heard++;
	script.wc = (struct ibv_wc){
		.status = script.failed ? IBV_WC_WR_FLUSH_ERR : IBV_WC_SUCCESS,
		.wr_id = verbs_wr_id(VERBS_WR_MESSAGE, e->attempt, 0, index),
		.byte_len = bytes,
	};
	script.waiting = true;
}

/* ----------------------------------------------------- around the hello */

struct ibv_wc *verbs_peek_completion(struct verbs_endpoint *e)
{
	/* IN hears 0 and 2, OUT 1 and 3. */
	const uint32_t index = 2 * script.heard + !verbs_is_in(e);

	if (!script.waiting && script.left > 0 && script.heard < 2)
		receive(e, index);
	return script.waiting ? &script.wc : NULL;
}

void verbs_drop_completion(struct verbs_endpoint *e)
{
	(void)e;
	script.waiting = false;
}

bool verbs_next_completion(struct verbs_endpoint *e, struct ibv_wc *out)
{
	const struct ibv_wc *wc = verbs_peek_completion(e);

	if (wc)
		*out = *wc;
	script.waiting = false;
	return wc != NULL;
}

bool verbs_take_completion(struct verbs_endpoint *e, const struct ibv_wc *wc,
			   struct kvr_event *event)
{
	(void)event;
	e->gone |= wc->status != IBV_WC_SUCCESS;
	return false;
}

enum kvr_status verbs_post_message(struct verbs_endpoint *e, uint32_t index)
{
	if (index >= VERBS_MESSAGES || e->talk.count != index + 1)
		abort();
	return KVR_OK;
}

enum kvr_status verbs_qp_allow_writes(struct verbs_endpoint *e)
{
	(void)e;
	/* IN: not before the proof, which is the second it heard. */
	if (!script.knows_key || (verbs_is_in(e) && script.heard != 2))
		abort();
	script.allowed++;
	return KVR_OK;
}

void verbs_landing_grant(const struct verbs_endpoint *e,
			 struct verbs_grant *out)
{
	(void)e;
	if (script.allowed != 1)
		abort();
	*out = (struct verbs_grant){.address = 4096};
}

enum kvr_status verbs_errno(const struct kvr_log *log, const char *device,
			    const char *operation)
{
	(void)log, (void)device, (void)operation;
	return KVR_ERR_SYSTEM;
}

/* ---------------------------------------------------------------- target */

static void endpoint_init(struct verbs_endpoint *e, uint8_t flags)
{
	memset(e, 0, sizeof(*e));
	e->transport = &transport;
	e->config = (struct kvr_endpoint_config){
		.role = flags & 1 ? KVR_ROLE_OUT : KVR_ROLE_IN,
		.rank = 1,
		.peer = 2,
		.n = 4,
		.ring_id = 5,
		.generation = 6,
		.lanes = 2,
		.slots = 2,
		.slot_bytes = {4096, 8192},
		.chunk_bytes = 1024,
		.secret = "key",
		.secret_bytes = 3,
	};
	e->rails = 1;
	e->qps = flags & 2 ? 2 : 1;
	for (uint32_t i = 0; i < e->qps; i++) {
		e->qp[i].qp = &queue_pair;
		e->qp[i].remote_qpn = 17 + i;
	}
	if (verbs_key_make(&e->config, e->key, &e->secret_mark) != KVR_OK)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct verbs_endpoint *e = malloc(sizeof(*e));
	enum kvr_status status = KVR_ERR_AGAIN;
	uint8_t flags;

	if (!e)
		return 0;
	script = (struct script){.data = data, .left = size, .knows_key = true};
	flags = next_byte();
	script.failed = flags & 4;
	endpoint_init(e, flags);
	if (!verbs_is_in(e) && verbs_hello_begin(e) != KVR_OK)
		abort();
	for (int i = 0; i < 8 && status == KVR_ERR_AGAIN; i++)
		status = verbs_hello_poll(e);
	/* Whom it believed had the key, and said all that there is to say. */
	if (status == KVR_OK &&
	    (!script.knows_key || script.heard != 2 || script.allowed != 1 ||
	     e->talk.count != VERBS_MESSAGES))
		abort();
	if (status != KVR_OK && status != KVR_ERR_AGAIN &&
	    status != KVR_ERR_PEER_LOST && status != KVR_ERR_MISMATCH)
		abort();
	free(e);
	return 0;
}
