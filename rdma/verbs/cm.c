/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connecting by librdmacm, a connection for each queue pair. IN listens
 * before its address is published; OUT comes until it is let in: "nobody
 * listens" is no failure before the ring's own deadline. Queue pairs are made
 * with ibv_create_qp, so that access flags and time-outs are ours.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "rdma/verbs/endpoint.h"

#define RESOLVE_MS 2000
#define RETRY_NS 5000000
#define BACKLOG 64
#define LAST_EVENT_NS 100000000

/* Connection requests carry this; at most 56 bytes. */
#define REQUEST_MAGIC 0x71655256u /* "VReq" */

struct request {
	uint32_t magic;
	uint16_t version;
	uint8_t rail, qp;
	uint64_t ring_id;
	uint32_t generation, from, to;
	uint32_t attempt; /* which of OUT's this queue pair belongs to */
	uint8_t nonce[KVR_NONCE_BYTES]; /* from IN's address */
};

_Static_assert(sizeof(struct request) <= 56, "fits into a REQ");

/* ---------------------------------------------------------- open, close */

static void address_of(const struct sockaddr *from, uint16_t port,
		       struct verbs_rail_address *out)
{
	*out = (struct verbs_rail_address){.tcp_port = port};
	if (from->sa_family == AF_INET) {
		out->family = 4;
		memcpy(out->ip, &((const struct sockaddr_in *)from)->sin_addr,
		       4);
	} else {
		out->family = 6;
		memcpy(out->ip, &((const struct sockaddr_in6 *)from)->sin6_addr,
		       16);
	}
}

static enum kvr_status listen_on(struct verbs_endpoint *e, uint32_t rail)
{
	struct verbs_device *device = verbs_rail(e, rail);
	const char *name = ibv_get_device_name(device->context->device);
	struct sockaddr_storage at = device->local;

	/* Any free port, of the rail's address alone. */
	if (rdma_create_id(e->channel, &e->listener[rail], e, RDMA_PS_TCP) ||
	    rdma_bind_addr(e->listener[rail], (struct sockaddr *)&at) ||
	    rdma_listen(e->listener[rail], BACKLOG))
		return verbs_errno(e->config.log, name, "listen");
	address_of((struct sockaddr *)&at,
		   ntohs(rdma_get_src_port(e->listener[rail])),
		   &e->address.rail[rail]);
	return KVR_OK;
}

enum kvr_status verbs_cm_open(struct verbs_endpoint *e)
{
	enum kvr_status status;

	e->channel = rdma_create_event_channel();
	if (!e->channel)
		return verbs_errno(e->config.log, "/dev/infiniband/rdma_cm",
				   "create event channel");
	status = verbs_watch(e, e->channel->fd);
	for (uint32_t rail = 0; rail < e->rails && status == KVR_OK; rail++) {
		if (verbs_is_in(e))
			status = listen_on(e, rail);
		else
			address_of(
				(struct sockaddr *)&verbs_rail(e, rail)->local,
				0, &e->address.rail[rail]);
	}
	return status;
}

static void forget_listeners(struct verbs_endpoint *e)
{
	for (uint32_t rail = 0; rail < VERBS_RAILS_MAX; rail++) {
		if (e->listener[rail])
			rdma_destroy_id(e->listener[rail]);
		e->listener[rail] = NULL;
	}
}

/* Gives up what is there of a connection; another attempt may follow. */
static void drop(struct verbs_endpoint *e)
{
	for (uint32_t i = 0; i < e->qps; i++) {
		struct verbs_qp *q = &e->qp[i];

		if (q->id && q->step >= VERBS_QP_ACCEPTED)
			(void)rdma_disconnect(q->id);
		verbs_qp_destroy(q);
		if (q->id)
			rdma_destroy_id(q->id);
		q->id = NULL;
		q->retry_ns = verbs_coarse_ns() + RETRY_NS;
	}
	e->talk.count = 0;
	e->talked_ns = 0;
	e->gone = e->broken = false;
	e->attempt++;
}

void verbs_cm_close(struct verbs_endpoint *e)
{
	drop(e);
	forget_listeners(e);
	if (e->channel)
		rdma_destroy_event_channel(e->channel);
	e->channel = NULL;
}

/* -------------------------------------------------------- both ends' way */

/*
 * A call about a connection failed. EINVAL says that it is not in the state
 * for it: the other side, whoever that is, gave up meanwhile.
 */
static enum kvr_status call_failed(struct verbs_endpoint *e,
				   const char *operation)
{
	if (errno != EINVAL)
		return verbs_errno(e->config.log, "librdmacm", operation);
	kvr_log(e->config.log, KVR_LOG_INFO,
		"rank %" PRIu32 ": verbs: %s: the other side gave up",
		e->config.rank, operation);
	return KVR_ERR_PEER_LOST;
}

static enum kvr_status to_init(struct verbs_endpoint *e, struct verbs_qp *q)
{
	struct ibv_qp_attr attr = {.qp_state = IBV_QPS_INIT};
	int mask;

	if (rdma_init_qp_attr(q->id, &attr, &mask))
		return call_failed(e, "ask for INIT attributes");
	return verbs_qp_init_state(e, q, &attr, mask);
}

static enum kvr_status to_ready(struct verbs_endpoint *e, struct verbs_qp *q)
{
	struct ibv_qp_attr receive = {.qp_state = IBV_QPS_RTR};
	struct ibv_qp_attr send = {.qp_state = IBV_QPS_RTS};
	int receive_mask, send_mask;

	if (rdma_init_qp_attr(q->id, &receive, &receive_mask) ||
	    rdma_init_qp_attr(q->id, &send, &send_mask))
		return call_failed(e, "ask for RTR and RTS attributes");
	return verbs_qp_ready_state(e, q, &receive, receive_mask, &send,
				    send_mask);
}

static struct rdma_conn_param parameters(const struct verbs_qp *q)
{
	return (struct rdma_conn_param){
		.responder_resources = 1,
		.initiator_depth = 1,
		.retry_count = 7,
		.rnr_retry_count = 7,
		.qp_num = q->qp->qp_num,
	};
}

/* ------------------------------------------------------------------ OUT */

static void remote_address(const struct verbs_endpoint *e, uint32_t rail,
			   struct sockaddr_storage *out)
{
	const struct verbs_rail_address *to = &e->remote.rail[rail];
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
	struct sockaddr_in *v4 = (struct sockaddr_in *)out;

	*out = (struct sockaddr_storage){
		.ss_family = to->family == 4 ? AF_INET : AF_INET6};
	if (to->family == 4) {
		v4->sin_port = htons(to->tcp_port);
		memcpy(&v4->sin_addr, to->ip, 4);
		return;
	}
	v6->sin6_port = htons(to->tcp_port);
	memcpy(&v6->sin6_addr, to->ip, 16);
	/* A link-local address is one of our own link. */
	v6->sin6_scope_id =
		((const struct sockaddr_in6 *)&e->transport->device[rail].local)
			->sin6_scope_id;
}

static enum kvr_status resolve(struct verbs_endpoint *e, struct verbs_qp *q)
{
	struct sockaddr_storage from = verbs_rail(e, q->rail)->local, to;

	remote_address(e, q->rail, &to);
	if (rdma_create_id(e->channel, &q->id, e, RDMA_PS_TCP))
		return verbs_errno(e->config.log, "librdmacm", "create id");
	q->step = VERBS_QP_RESOLVING;
	if (rdma_resolve_addr(q->id, (struct sockaddr *)&from,
			      (struct sockaddr *)&to, RESOLVE_MS))
		return verbs_errno(e->config.log, "librdmacm",
				   "resolve address");
	return KVR_OK;
}

static enum kvr_status request(struct verbs_endpoint *e, struct verbs_qp *q)
{
	struct request request = {
		.magic = REQUEST_MAGIC,
		.version = VERBS_VERSION,
		.rail = (uint8_t)q->rail,
		.qp = (uint8_t)q->index,
		.ring_id = e->config.ring_id,
		.generation = e->config.generation,
		.from = e->config.rank,
		.to = e->config.peer,
		.attempt = e->attempt,
	};
	struct rdma_conn_param param;
	enum kvr_status status;

	memcpy(request.nonce, e->remote.nonce, sizeof(request.nonce));
	if (q->id->verbs != verbs_rail(e, q->rail)->context) {
		errno = EXDEV;
		return verbs_errno(e->config.log, "librdmacm",
				   "reach the peer from this rail");
	}
	status = verbs_qp_create(e, q);
	if (status == KVR_OK)
		status = to_init(e, q);
	if (status != KVR_OK)
		return status;
	param = parameters(q);
	param.private_data = &request;
	param.private_data_len = sizeof(request);
	q->step = VERBS_QP_REQUESTED;
	if (rdma_connect(q->id, &param))
		return verbs_errno(e->config.log, "librdmacm", "connect");
	return KVR_OK;
}

static enum kvr_status established(struct verbs_endpoint *e, struct verbs_qp *q)
{
	enum kvr_status status = to_ready(e, q);

	if (status != KVR_OK)
		return status;
	if (rdma_establish(q->id))
		return call_failed(e, "establish");
	q->step = VERBS_QP_READY;
	return KVR_OK;
}

/* Starts what is due; the hello when every queue pair is ready. */
static enum kvr_status advance_out(struct verbs_endpoint *e)
{
	enum kvr_status status = KVR_OK;
	uint32_t ready = 0;

	for (uint32_t i = 0; i < e->qps && status == KVR_OK; i++) {
		struct verbs_qp *q = &e->qp[i];

		ready += q->step == VERBS_QP_READY;
		if (q->step == VERBS_QP_IDLE &&
		    verbs_coarse_ns() >= q->retry_ns)
			status = resolve(e, q);
	}
	if (status == KVR_OK && ready == e->qps && e->talk.count == 0)
		status = verbs_hello_begin(e);
	return status;
}

/* ------------------------------------------------------------------- IN */

static bool is_ours(const struct verbs_endpoint *e, const struct request *r)
{
	return r->magic == REQUEST_MAGIC &&
	       memcmp(r->nonce, e->address.nonce, sizeof(r->nonce)) == 0 &&
	       (r->version != VERBS_VERSION ||
		(r->qp < e->qps && r->rail == r->qp % e->rails));
}

static void refuse(struct verbs_endpoint *e, struct rdma_cm_id *id)
{
	const struct request ours = {
		.magic = REQUEST_MAGIC,
		.version = VERBS_VERSION,
	};

	(void)rdma_reject(id, &ours, sizeof(ours));
	rdma_destroy_id(id);
	kvr_log(e->config.log, KVR_LOG_INFO,
		"rank %" PRIu32 ": verbs: turned a stranger away",
		e->config.rank);
}

static enum kvr_status version_differs(struct verbs_endpoint *e,
				       uint16_t theirs)
{
	kvr_log(e->config.log, KVR_LOG_ERROR,
		"rank %" PRIu32 ": rank %" PRIu32
		" refused: verbs version is %u here, %u there",
		e->config.rank, e->config.peer, VERBS_VERSION, theirs);
	return KVR_ERR_MISMATCH;
}

static enum kvr_status accept_queue_pair(struct verbs_endpoint *e,
					 struct verbs_qp *q)
{
	struct rdma_conn_param param;
	enum kvr_status status = verbs_qp_create(e, q);

	if (status == KVR_OK)
		status = to_init(e, q);
	if (status == KVR_OK)
		status = to_ready(e, q);
	if (status != KVR_OK)
		return status;
	param = parameters(q);
	q->step = VERBS_QP_ACCEPTED;
	if (rdma_accept(q->id, &param))
		return call_failed(e, "accept");
	return KVR_OK;
}

/* Takes id over. */
static enum kvr_status requested(struct verbs_endpoint *e,
				 struct rdma_cm_id *id, const struct request *r)
{
	struct verbs_qp *q;

	if (e->connected || !e->connecting || !is_ours(e, r)) {
		refuse(e, id);
		return KVR_OK;
	}
	if (r->version != VERBS_VERSION) {
		refuse(e, id);
		return version_differs(e, r->version);
	}
	q = &e->qp[r->qp];
	/* OUT begins anew: what there was came to nothing. */
	if (r->attempt != e->peer_attempt || q->id)
		drop(e);
	e->peer_attempt = r->attempt;
	q->id = id;
	return accept_queue_pair(e, q);
}

/* --------------------------------------------------------------- events */

struct happening {
	enum rdma_cm_event_type type;
	struct rdma_cm_id *id;
	int status;
	struct request request; /* what came with it; zero: nothing */
};

/* Copied and acknowledged: what is destroyed may owe no event. */
static bool next_event(struct verbs_endpoint *e, struct happening *out)
{
	struct rdma_cm_event *event;

	if (!e->channel || rdma_get_cm_event(e->channel, &event))
		return false;
	*out = (struct happening){
		.type = event->event,
		.id = event->id,
		.status = event->status,
	};
	if (event->param.conn.private_data &&
	    event->param.conn.private_data_len >= sizeof(out->request) &&
	    (out->type == RDMA_CM_EVENT_CONNECT_REQUEST ||
	     out->type == RDMA_CM_EVENT_REJECTED))
		memcpy(&out->request, event->param.conn.private_data,
		       sizeof(out->request));
	rdma_ack_cm_event(event);
	return true;
}

static struct verbs_qp *queue_pair_of(struct verbs_endpoint *e,
				      const struct rdma_cm_id *id)
{
	for (uint32_t i = 0; i < e->qps; i++)
		if (e->qp[i].id == id)
			return &e->qp[i];
	return NULL;
}

static enum kvr_status rejected(struct verbs_endpoint *e,
				const struct happening *what)
{
	if (what->request.magic == REQUEST_MAGIC &&
	    what->request.version != VERBS_VERSION)
		return version_differs(e, what->request.version);
	return KVR_ERR_PEER_LOST;
}

/* PEER_LOST: this attempt is over. */
static enum kvr_status handle(struct verbs_endpoint *e,
			      const struct happening *what)
{
	struct verbs_qp *q = queue_pair_of(e, what->id);

	if (what->type == RDMA_CM_EVENT_CONNECT_REQUEST)
		return requested(e, what->id, &what->request);
	if (!q)
		return KVR_OK; /* of an attempt that was given up */
	switch (what->type) {
	case RDMA_CM_EVENT_ADDR_RESOLVED:
		q->step = VERBS_QP_ROUTING;
		if (rdma_resolve_route(q->id, RESOLVE_MS))
			return verbs_errno(e->config.log, "librdmacm",
					   "resolve route");
		return KVR_OK;
	case RDMA_CM_EVENT_ROUTE_RESOLVED:
		return request(e, q);
	case RDMA_CM_EVENT_CONNECT_RESPONSE:
		return established(e, q);
	case RDMA_CM_EVENT_ESTABLISHED:
		q->step = VERBS_QP_READY;
		return KVR_OK;
	case RDMA_CM_EVENT_REJECTED:
		return rejected(e, what);
	case RDMA_CM_EVENT_DISCONNECTED:
	case RDMA_CM_EVENT_DEVICE_REMOVAL:
		/* What it said before is still to be heard. */
		e->gone = true;
		return KVR_OK;
	case RDMA_CM_EVENT_ADDR_ERROR:
	case RDMA_CM_EVENT_ROUTE_ERROR:
	case RDMA_CM_EVENT_CONNECT_ERROR:
	case RDMA_CM_EVENT_UNREACHABLE:
		kvr_log(e->config.log, KVR_LOG_INFO,
			"rank %" PRIu32 ": verbs: %s (%d), trying again",
			e->config.rank, rdma_event_str(what->type),
			what->status);
		return KVR_ERR_PEER_LOST;
	default:
		return KVR_OK;
	}
}

/*
 * The last event of the set-up would wake somebody later, for nothing. It
 * may be lost, and is not worth a long wait.
 */
static bool still_coming(struct verbs_endpoint *e)
{
	bool ready = true;

	if (!e->talked_ns)
		e->talked_ns = verbs_coarse_ns();
	for (uint32_t i = 0; i < e->qps; i++)
		ready &= e->qp[i].step == VERBS_QP_READY;
	return !ready && verbs_coarse_ns() - e->talked_ns < LAST_EVENT_NS;
}

enum kvr_status verbs_cm_poll(struct verbs_endpoint *e)
{
	enum kvr_status status = KVR_OK;
	struct happening what;

	while (status == KVR_OK && next_event(e, &what))
		status = handle(e, &what);
	/* Why it was given up may have been said before. */
	if (status == KVR_ERR_PEER_LOST) {
		e->gone = true;
		status = KVR_OK;
	}
	if (status == KVR_OK && !verbs_is_in(e) && !e->gone)
		status = advance_out(e);
	if (status == KVR_OK)
		status = verbs_hello_poll(e);
	if (status == KVR_ERR_PEER_LOST) {
		drop(e);
		return KVR_ERR_AGAIN;
	}
	if (status == KVR_OK && still_coming(e))
		return KVR_ERR_AGAIN;
	if (status == KVR_OK)
		forget_listeners(e);
	return status;
}

void verbs_look(struct verbs_endpoint *e)
{
	struct happening what;

	while (next_event(e, &what))
		if (handle(e, &what) != KVR_OK)
			e->gone = true;
	for (uint32_t rail = 0; rail < e->rails; rail++)
		verbs_device_async(e->config.log, verbs_rail(e, rail));
}
