/* SPDX-License-Identifier: Apache-2.0 */
/* The hello of an edge over queue pair 0; message.h has the picture. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/random.h>

#include "rdma/verbs/endpoint.h"

enum kvr_status verbs_hello_open(struct verbs_endpoint *e)
{
	struct verbs_device *device = verbs_rail(e, 0);
	enum kvr_status status =
		verbs_key_make(&e->config, e->key, &e->secret_mark);

	if (status != KVR_OK)
		return status;
	e->mr_talk = ibv_reg_mr(e->pd[0], &e->talk, sizeof(e->talk),
				IBV_ACCESS_LOCAL_WRITE);
	if (!e->mr_talk)
		return verbs_errno(e->config.log,
				   ibv_get_device_name(device->context->device),
				   "register the hello");
	return KVR_OK;
}

void verbs_hello_close(struct verbs_endpoint *e)
{
	if (e->mr_talk)
		ibv_dereg_mr(e->mr_talk);
	e->mr_talk = NULL;
}

/* ----------------------------------------------------------------- say */

static enum kvr_status write_hello(struct verbs_endpoint *e,
				   struct verbs_hello *out)
{
	struct verbs_hello hello;

	memset(&hello, 0, sizeof(hello));
	kvr_hello_init(&e->config, e->remote.nonce, &hello.base);
	hello.rails = e->rails;
	hello.qps = e->qps;
	hello.secret_mark = e->secret_mark;
	for (uint32_t i = 0; i < e->qps; i++)
		hello.qpn[i] = e->qp[i].qp->qp_num;
	for (uint32_t rail = 0; rail < e->rails; rail++)
		memcpy(hello.gid[rail], verbs_rail(e, rail)->gid.raw, 16);
	if (getrandom(hello.nonce, sizeof(hello.nonce), 0) !=
	    sizeof(hello.nonce))
		return verbs_errno(e->config.log, "the system", "getrandom");
	*out = hello;
	return KVR_OK;
}

/* The next message of the talk, its body written. */
static enum kvr_status say(struct verbs_endpoint *e, uint32_t index)
{
	enum kvr_status status = verbs_talk_seal(e->key, &e->talk, index);

	if (status != KVR_OK)
		return status;
	e->talk.count = index + 1;
	return verbs_post_message(e, index);
}

static enum kvr_status say_hello(struct verbs_endpoint *e, uint32_t index)
{
	enum kvr_status status =
		write_hello(e, &e->talk.message[index].body.hello);

	return status == KVR_OK ? say(e, index) : status;
}

enum kvr_status verbs_hello_begin(struct verbs_endpoint *e)
{
	return say_hello(e, 0);
}

/* ---------------------------------------------------------------- hear */

/* Logged: which field differs, and both values. */
static enum kvr_status differs(const struct verbs_endpoint *e,
			       const char *field, uint64_t here, uint64_t there)
{
	kvr_log(e->config.log, KVR_LOG_ERROR,
		"rank %" PRIu32 ": rank %" PRIu32 " refused: %s is %" PRIu64
		" here, %" PRIu64 " there",
		e->config.rank, e->config.peer, field, here, there);
	return KVR_ERR_MISMATCH;
}

static enum kvr_status check_secret(const struct verbs_endpoint *e,
				    uint64_t theirs)
{
	if (e->secret_mark == theirs)
		return KVR_OK;
	kvr_log(e->config.log, KVR_LOG_ERROR,
		"rank %" PRIu32 ": rank %" PRIu32
		" refused: the secret's mark is %016" PRIx64
		" here, %016" PRIx64
		" there; give all ranks the same KVRING_SECRET",
		e->config.rank, e->config.peer, e->secret_mark, theirs);
	return KVR_ERR_MISMATCH;
}

static enum kvr_status check_hello(const struct verbs_endpoint *e,
				   const struct verbs_hello *theirs)
{
	enum kvr_status status = kvr_hello_check(&e->config, &theirs->base);

	if (status == KVR_OK)
		status = check_secret(e, theirs->secret_mark);
	if (status != KVR_OK)
		return status;
	if (theirs->rails != e->rails)
		return differs(e, "rails (devices)", e->rails, theirs->rails);
	if (theirs->qps != e->qps)
		return differs(e, "queue pairs", e->qps, theirs->qps);
	return KVR_OK;
}

/* Else it was said on another connection: no peer's fault, a replay. */
static bool of_this_connection(const struct verbs_endpoint *e,
			       const struct verbs_hello *theirs)
{
	bool same = true;

	for (uint32_t i = 0; i < e->qps; i++)
		same &= theirs->qpn[i] == e->qp[i].remote_qpn;
	return same;
}

static enum kvr_status stranger(const struct verbs_endpoint *e, const char *why)
{
	kvr_log(e->config.log, KVR_LOG_WARNING,
		"rank %" PRIu32 ": verbs: dropped a stranger in the place of "
		"rank %" PRIu32 ": %s",
		e->config.rank, e->config.peer, why);
	return KVR_ERR_PEER_LOST;
}

/* A hello: what it says may differ, even when it is not genuine. */
static enum kvr_status hear_hello(struct verbs_endpoint *e, uint32_t index,
				  enum verbs_verdict verdict)
{
	const struct verbs_message *message = &e->talk.message[index];
	const struct verbs_hello *theirs = &message->body.hello;
	enum kvr_status status;

	if (verdict == VERBS_VERSION_DIFFERS)
		return differs(e, "verbs version", VERBS_VERSION,
			       message->version);
	if (verdict == VERBS_GARBAGE ||
	    memcmp(theirs->base.nonce, e->address.nonce,
		   sizeof(theirs->base.nonce)) != 0)
		return stranger(e, "no hello, or not for us");
	status = check_hello(e, theirs);
	if (status == KVR_OK && verdict == VERBS_FORGED)
		return stranger(e, "it does not know the secret");
	if (status == KVR_OK && !of_this_connection(e, theirs))
		return stranger(e, "its hello is of another connection");
	return status;
}

/* To IN: HELLO, and then PROOF. */
static enum kvr_status hear_out(struct verbs_endpoint *e, uint32_t index,
				enum verbs_verdict verdict)
{
	enum kvr_status status;

	if (index == 2) {
		if (verdict != VERBS_GENUINE)
			return stranger(e, "its proof is false");
		e->talk.count = 3;
		status = verbs_qp_allow_writes(e);
		verbs_landing_grant(e, &e->talk.message[3].body.grant);
		return status == KVR_OK ? say(e, 3) : status;
	}
	status = hear_hello(e, index, verdict);
	if (status == KVR_ERR_PEER_LOST)
		return status;
	/* Also to one that is refused, so that it can say why. */
	e->talk.count = 1;
	if (say_hello(e, 1) != KVR_OK && status == KVR_OK)
		status = KVR_ERR_PEER_LOST;
	return status == KVR_OK ? KVR_ERR_AGAIN : status;
}

/* To OUT: HELLO, and then GRANT. */
static enum kvr_status hear_in(struct verbs_endpoint *e, uint32_t index,
			       enum verbs_verdict verdict)
{
	enum kvr_status status;

	if (index == 3) {
		if (verdict != VERBS_GENUINE)
			return stranger(e, "its grant is false");
		e->talk.count = 4;
		e->grant = e->talk.message[3].body.grant;
		return KVR_OK;
	}
	status = hear_hello(e, index, verdict);
	if (status != KVR_OK)
		return status;
	e->talk.count = 2;
	/* Signals come back as writes without bytes: they need the right. */
	status = verbs_qp_allow_writes(e);
	if (status == KVR_OK)
		status = say(e, 2);
	return status == KVR_OK ? KVR_ERR_AGAIN : status;
}

/* KVR_OK: connected. */
static enum kvr_status hear(struct verbs_endpoint *e, const struct ibv_wc *wc)
{
	const uint32_t index = (uint32_t)wc->wr_id;
	const enum verbs_verdict verdict =
		verbs_talk_judge(e->key, &e->talk, index, wc->byte_len);

	return verbs_is_in(e) ? hear_out(e, index, verdict)
			      : hear_in(e, index, verdict);
}

/*
 * All is said; only our last message may be on its way. Its completion must
 * wake nobody later. What the peer sends already is left to poll.
 */
static enum kvr_status settle(struct verbs_endpoint *e)
{
	struct kvr_event event;

	while (e->qp[0].posted != e->qp[0].done && !e->gone && !e->broken) {
		struct ibv_wc *wc = verbs_peek_completion(e);

		if (!wc)
			return KVR_ERR_AGAIN;
		if (wc->status == IBV_WC_SUCCESS &&
		    verbs_wr_kind(wc->wr_id) == VERBS_WR_IMM)
			return KVR_OK;
		(void)verbs_take_completion(e, wc, &event);
		verbs_drop_completion(e);
	}
	return KVR_OK;
}

enum kvr_status verbs_hello_poll(struct verbs_endpoint *e)
{
	enum kvr_status status = KVR_ERR_AGAIN;
	struct kvr_event event;
	struct ibv_wc wc;

	if (e->talk.count == VERBS_MESSAGES)
		return settle(e);
	/* Stops at the last message: what follows is for poll. */
	while (status == KVR_ERR_AGAIN && verbs_next_completion(e, &wc)) {
		if (!verbs_wr_stale(wc.wr_id, e->attempt) &&
		    wc.status == IBV_WC_SUCCESS &&
		    verbs_wr_kind(wc.wr_id) == VERBS_WR_MESSAGE)
			status = hear(e, &wc);
		else
			(void)verbs_take_completion(e, &wc, &event);
	}
	if (status == KVR_OK)
		return settle(e);
	if (status == KVR_ERR_AGAIN && (e->gone || e->broken))
		return KVR_ERR_PEER_LOST;
	return status;
}
