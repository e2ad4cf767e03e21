/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Completions: what they mean, and how to sleep until the next. They are told
 * apart by wr_id alone; the opcode is undefined on error.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "rdma/verbs/endpoint.h"

/* Between two looks at events of the connection while nobody sleeps. */
#define LOOK_NS 1000000

int64_t verbs_coarse_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void verbs_complain(struct verbs_endpoint *e, const struct verbs_qp *q,
		    const char *operation, const char *why)
{
	const struct verbs_device *device = verbs_rail(e, q->rail);
	char here[INET6_ADDRSTRLEN], there[INET6_ADDRSTRLEN];

	kvr_log(e->config.log, KVR_LOG_ERROR,
		"rank %" PRIu32 ": verbs: %s to rank %" PRIu32
		", queue pair %" PRIu32 " (number %" PRIu32 " to %" PRIu32
		"), GID %s to %s, %s: %s",
		e->config.rank, operation, e->config.peer, q->index,
		q->qp ? q->qp->qp_num : 0, q->remote_qpn,
		verbs_gid_text(&device->gid, here),
		verbs_gid_text(&q->remote_gid, there),
		ibv_get_device_name(device->context->device), why);
}

/* ---------------------------------------------------------- open, close */

enum kvr_status verbs_watch(struct verbs_endpoint *e, int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) ||
	    epoll_ctl(e->epoll_fd, EPOLL_CTL_ADD, fd, &event))
		return verbs_errno(e->config.log, "an event descriptor",
				   "watch");
	return KVR_OK;
}

static enum kvr_status open_cq(struct verbs_endpoint *e, uint32_t rail)
{
	struct verbs_device *device = verbs_rail(e, rail);
	const char *name = ibv_get_device_name(device->context->device);
	struct verbs_cq *cq = &e->cq[rail];

	cq->channel = ibv_create_comp_channel(device->context);
	if (!cq->channel)
		return verbs_errno(e->config.log, name,
				   "create completion channel");
	cq->cq = ibv_create_cq(device->context, (int)cq->depth, cq, cq->channel,
			       0);
	if (!cq->cq)
		return verbs_errno(e->config.log, name,
				   "create completion queue");
	return verbs_watch(e, cq->channel->fd);
}

enum kvr_status verbs_cqs_open(struct verbs_endpoint *e)
{
	enum kvr_status status = KVR_OK;

	for (uint32_t rail = 0; rail < e->rails && status == KVR_OK; rail++)
		status = open_cq(e, rail);
	return status;
}

void verbs_cqs_close(struct verbs_endpoint *e)
{
	for (uint32_t rail = 0; rail < VERBS_RAILS_MAX; rail++) {
		if (e->cq[rail].cq)
			ibv_destroy_cq(e->cq[rail].cq);
		if (e->cq[rail].channel)
			ibv_destroy_comp_channel(e->cq[rail].channel);
		e->cq[rail].cq = NULL;
		e->cq[rail].channel = NULL;
	}
}

/* ---------------------------------------------------------------- take */

/* From the devices into the stash; one rail at a time. */
static bool refill(struct verbs_endpoint *e)
{
	for (uint32_t i = 0; i < e->rails; i++) {
		int got;

		e->stash_rail = (e->stash_rail + 1) % e->rails;
		got = ibv_poll_cq(e->cq[e->stash_rail].cq, VERBS_STASH,
				  e->stash);
		if (got <= 0)
			continue;
		e->stash_first = 0;
		e->stash_count = (uint32_t)got;
		return true;
	}
	return false;
}

struct ibv_wc *verbs_peek_completion(struct verbs_endpoint *e)
{
	if (e->stash_count == 0 && !refill(e))
		return NULL;
	return &e->stash[e->stash_first];
}

void verbs_drop_completion(struct verbs_endpoint *e)
{
	e->stash_first++;
	e->stash_count--;
}

bool verbs_next_completion(struct verbs_endpoint *e, struct ibv_wc *out)
{
	const struct ibv_wc *next = verbs_peek_completion(e);

	if (!next)
		return false;
	*out = *next;
	verbs_drop_completion(e);
	return true;
}

/*
 * A queue pair that failed is the end of the edge. Flushes are what its fall
 * leaves behind; only the first real error is told.
 */
static void take_error(struct verbs_endpoint *e, struct verbs_qp *q,
		       const struct ibv_wc *wc)
{
	char why[96];

	e->gone = true;
	if (wc->status == IBV_WC_WR_FLUSH_ERR || e->broken)
		return;
	e->broken = true;
	snprintf(why, sizeof(why), "%s (vendor error %#" PRIx32 ")",
		 ibv_wc_status_str(wc->status), wc->vendor_err);
	verbs_complain(e, q,
		       verbs_wr_kind(wc->wr_id) == VERBS_WR_SEND ? "send"
								 : "receive",
		       why);
}

/*
 * The hello is over: only writes with immediate are left. A message without
 * bytes fits any receive, and would use them up.
 */
static void take_send(struct verbs_endpoint *e, struct verbs_qp *q)
{
	if (!e->gone && !e->broken)
		verbs_complain(e, q, "receive", "the peer sent a message");
	e->gone = e->broken = true;
	verbs_qp_error_state(q);
}

bool verbs_take_completion(struct verbs_endpoint *e, const struct ibv_wc *wc,
			   struct kvr_event *event)
{
	struct verbs_qp *q = &e->qp[verbs_wr_qp(wc->wr_id)];
	uint32_t imm;

	if (verbs_wr_stale(wc->wr_id, e->attempt))
		return false;
	if (wc->status != IBV_WC_SUCCESS) {
		take_error(e, q, wc);
		return false;
	}
	if (verbs_wr_kind(wc->wr_id) == VERBS_WR_SEND) {
		q->done = (uint32_t)wc->wr_id;
		return false;
	}
	if (verbs_wr_kind(wc->wr_id) != VERBS_WR_IMM)
		return false;
	if (wc->opcode != IBV_WC_RECV_RDMA_WITH_IMM) {
		take_send(e, q);
		return false;
	}
	imm = ntohl(wc->imm_data);
	if (!e->gone && verbs_post_receives(e, q, 1) != KVR_OK)
		e->gone = true;
	if (!e->by_cm && kvr_imm_decode(imm).type == KVR_IMM_TRANSPORT) {
		e->gone = true;
		return false;
	}
	*event = (struct kvr_event){.kind = KVR_EVENT_ARRIVED, .imm = imm};
	return true;
}

static size_t report_sent(struct verbs_endpoint *e, struct kvr_event *events,
			  size_t max)
{
	size_t count = 0;

	for (uint32_t i = 0; i < e->qps; i++) {
		struct verbs_qp *q = &e->qp[i];

		for (; count < max && q->op_count > 0; q->op_count--) {
			const struct verbs_op *op = &q->ops[q->op_first];

			if ((int32_t)(q->done - op->end) < 0)
				break;
			events[count++] = (struct kvr_event){
				.kind = KVR_EVENT_SENT, .cookie = op->cookie};
			q->op_first = (q->op_first + 1) % q->depth;
		}
	}
	return count;
}

static bool sent_waits(const struct verbs_endpoint *e)
{
	for (uint32_t i = 0; i < e->qps; i++) {
		const struct verbs_qp *q = &e->qp[i];

		if (q->op_count > 0 &&
		    (int32_t)(q->done - q->ops[q->op_first].end) >= 0)
			return true;
	}
	return false;
}

/* ---------------------------------------------------------------- poll */

static void look(struct verbs_endpoint *e)
{
	int64_t now_ns = verbs_coarse_ns();

	if (now_ns - e->looked_ns < LOOK_NS)
		return;
	e->looked_ns = now_ns;
	verbs_look(e);
}

enum kvr_status verbs_poll(struct kvr_endpoint *base, struct kvr_event *events,
			   size_t max, size_t *count)
{
	struct verbs_endpoint *e = verbs_endpoint(base);
	struct ibv_wc wc;
	size_t got;

	*count = 0;
	if (!e->connected || e->failed != KVR_OK)
		return e->failed;
	if (!e->gone)
		look(e);
	got = report_sent(e, events, max);
	while (got < max && verbs_next_completion(e, &wc))
		got += verbs_take_completion(e, &wc, &events[got]);
	got += report_sent(e, events + got, max - got);
	*count = got;
	/* Nothing that the peer said before is left to report. */
	if ((e->gone || e->broken) && got == 0 && max > 0 && !sent_waits(e)) {
		e->failed = KVR_ERR_PEER_LOST;
		return e->failed;
	}
	return KVR_OK;
}

/* --------------------------------------------------------------- sleep */

/* Sends that are done are taken in; true: there is more than that. */
static bool skip_sends(struct verbs_endpoint *e)
{
	struct kvr_event event;
	const struct ibv_wc *wc;

	while ((wc = verbs_peek_completion(e))) {
		if (wc->status != IBV_WC_SUCCESS ||
		    verbs_wr_kind(wc->wr_id) != VERBS_WR_SEND)
			return true;
		(void)verbs_take_completion(e, wc, &event);
		verbs_drop_completion(e);
	}
	return false;
}

static bool arm_rail(struct verbs_endpoint *e, struct verbs_cq *cq)
{
	if (cq->armed)
		return true;
	if (ibv_req_notify_cq(cq->cq, 0)) {
		e->gone = true;
		return false;
	}
	cq->armed = true;
	return true;
}

enum kvr_status verbs_arm(struct kvr_endpoint *base)
{
	struct verbs_endpoint *e = verbs_endpoint(base);

	if (!e->connected)
		return KVR_OK;
	if (e->gone || e->broken || e->failed != KVR_OK)
		return KVR_ERR_AGAIN;
	for (uint32_t rail = 0; rail < e->rails; rail++)
		if (!arm_rail(e, &e->cq[rail]))
			return KVR_ERR_AGAIN;
	/* What completed before the request would wake nobody. */
	return skip_sends(e) || sent_waits(e) ? KVR_ERR_AGAIN : KVR_OK;
}

static bool is_channel(struct verbs_endpoint *e, int fd)
{
	for (uint32_t rail = 0; rail < e->rails; rail++) {
		struct verbs_cq *cq = &e->cq[rail];
		struct ibv_cq *woken;
		void *context;

		if (cq->channel->fd != fd)
			continue;
		/* One for each time that it was armed. */
		if (ibv_get_cq_event(cq->channel, &woken, &context) == 0) {
			ibv_ack_cq_events(woken, 1);
			cq->armed = false;
		}
		return true;
	}
	return false;
}

void verbs_disarm(struct kvr_endpoint *base)
{
	struct verbs_endpoint *e = verbs_endpoint(base);
	struct epoll_event events[2 * VERBS_RAILS_MAX + 1];
	int count;

	if (!e->connected)
		return;
	count = epoll_wait(e->epoll_fd, events, 2 * VERBS_RAILS_MAX + 1, 0);
	for (int i = 0; i < count; i++)
		if (!is_channel(e, events[i].data.fd))
			verbs_look(e);
}

/* --------------------------------------------------------------- drain */

/* Until something completed, or the deadline. */
static void sleep_on_queues(struct verbs_endpoint *e, int64_t deadline_ns)
{
	const int64_t left_ns = deadline_ns - verbs_coarse_ns();
	struct pollfd fds[VERBS_RAILS_MAX];

	for (uint32_t rail = 0; rail < e->rails; rail++) {
		if (!arm_rail(e, &e->cq[rail]))
			return;
		fds[rail] = (struct pollfd){.fd = e->cq[rail].channel->fd,
					    .events = POLLIN};
	}
	/* What completed before the request would wake nobody. */
	if (verbs_peek_completion(e))
		return;
	(void)poll(fds, e->rails,
		   left_ns > 0 ? (int)(left_ns / 1000000) + 1 : 0);
	for (uint32_t rail = 0; rail < e->rails; rail++)
		if (fds[rail].revents)
			(void)is_channel(e, fds[rail].fd);
}

bool verbs_drain_sends(struct verbs_endpoint *e, int64_t deadline_ns)
{
	struct kvr_event event;
	struct ibv_wc wc;
	bool done = false;

	for (uint32_t i = 0; i < e->qps; i++)
		verbs_post_fence(e, &e->qp[i]);
	while (!done && !e->gone && !e->broken) {
		while (verbs_next_completion(e, &wc))
			(void)verbs_take_completion(e, &wc, &event);
		done = true;
		for (uint32_t i = 0; i < e->qps; i++)
			done &= e->qp[i].posted == e->qp[i].done;
		if (!done && verbs_coarse_ns() > deadline_ns)
			break;
		if (!done)
			sleep_on_queues(e, deadline_ns);
	}
	return done;
}
