/* SPDX-License-Identifier: Apache-2.0 */
/* An open link: messages, credits, and the wait for them. */
#include "bench/net/link.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/epoll.h>

#include "bench/net/link_internal.h"
#include "bench/net/ranks.h"
#include "runtime/clock.h"
#include "runtime/wire.h"

#define EVENTS 32

/* Polls in vain between two looks at the clock, and offers of the CPU. */
#define LOOK_POLLS 4096

/* Longest sleep; then it is time to look at the clock. */
#define SLEEP_MS 50

/* ---------------------------------------------------------------- send */

static bool post_chunk(struct link *link)
{
	size_t at = link->next_chunk * link->config.chunk_bytes;
	size_t left = link->config.message_bytes - at;
	const struct kvr_write write = {
		.slot = (uint32_t)(link->posted % link->config.slots),
		.offset = at,
		.bytes = left < link->config.chunk_bytes
				 ? left
				 : link->config.chunk_bytes,
		.pieces = &link->source,
		.piece_count = 1,
		.skip = at,
		.imm = kvr_imm_block(KVR_IMM_CHUNK, 0, link->posted,
				     link->next_chunk),
		.cookie = link->writes,
	};
	enum kvr_status status = link->ops->write(link->out, &write);

	if (status == KVR_ERR_AGAIN)
		return false;
	if (status != KVR_OK)
		ranks_die(link->who, "write: %s", kvr_status_text(status));
	link->writes++;
	link->next_chunk++;
	return true;
}

static bool signal_peer(struct link *link, struct kvr_endpoint *endpoint,
			enum kvr_imm_type type, uint64_t value)
{
	enum kvr_status status =
		link->ops->signal(endpoint, kvr_imm_value(type, 0, value));

	if (status != KVR_OK && status != KVR_ERR_AGAIN)
		ranks_die(link->who, "signal: %s", kvr_status_text(status));
	return status == KVR_OK;
}

bool link_send(struct link *link)
{
	while (link->next_chunk < link->chunks)
		if (!post_chunk(link))
			return false;
	if (link->chunks == 0 &&
	    !signal_peer(link, link->out, KVR_IMM_CREDIT, link->posted))
		return false;
	link->next_chunk = 0;
	link->posted++;
	return true;
}

bool link_grant(struct link *link)
{
	if (link->granted == link->arrived)
		return true;
	if (!signal_peer(link, link->in, KVR_IMM_CREDIT, link->arrived))
		return false;
	link->granted = link->arrived;
	return true;
}

/* ------------------------------------------------------------- receive */

/* Chunks come in any order; messages are complete in theirs. */
static void chunk_arrived(struct link *link, uint32_t sequence)
{
	uint32_t ahead =
		(sequence - (uint32_t)link->arrived) & KVR_IMM_SEQUENCE_MASK;
	uint32_t slots = link->config.slots;

	if (ahead >= slots)
		ranks_die(link->who, "a chunk of a message that has no slot");
	link->landed[(link->arrived + ahead) % slots]++;
	while (link->landed[link->arrived % slots] == link->chunks) {
		link->landed[link->arrived % slots] = 0;
		link->arrived++;
	}
}

static void take_in(struct link *link, uint32_t imm)
{
	const struct kvr_imm decoded = kvr_imm_decode(imm);

	if (decoded.type == KVR_IMM_CHUNK && link->chunks)
		chunk_arrived(link, decoded.sequence);
	else if (decoded.type == KVR_IMM_CREDIT && !link->chunks)
		link->arrived++;
	else if (decoded.type == KVR_IMM_HEARTBEAT)
		link->met++;
	else if (decoded.type == KVR_IMM_BYE)
		link->bye_in = true;
	else
		ranks_die(link->who, "an unknown immediate, %#x", imm);
}

static void take_out(struct link *link, const struct kvr_event *event)
{
	const struct kvr_imm decoded = kvr_imm_decode(event->imm);

	if (event->kind == KVR_EVENT_SENT)
		link->sent++;
	else if (decoded.type == KVR_IMM_CREDIT)
		/* Cumulative, 28 bits of it. */
		link->credited +=
			(decoded.value - link->credited) & KVR_IMM_VALUE_MASK;
	else if (decoded.type == KVR_IMM_BYE)
		link->bye_out = true;
	else
		ranks_die(link->who, "an unknown immediate, %#x", event->imm);
}

static size_t poll_endpoint(struct link *link, struct kvr_endpoint *endpoint,
			    struct kvr_event *events)
{
	enum kvr_status status;
	size_t count;

	status = link->ops->poll(endpoint, events, EVENTS, &count);
	/* A peer that is done may be gone before its last word is read. */
	if (status != KVR_OK && !link->bye_in && !link->bye_out && count == 0)
		ranks_die(link->who, "lost rank %u: %s", !link->who->rank,
			  kvr_status_text(status));
	return count;
}

static size_t poll_both(struct link *link)
{
	struct kvr_event events[EVENTS];
	size_t sent, got, i;

	sent = poll_endpoint(link, link->out, events);
	for (i = 0; i < sent; i++)
		take_out(link, &events[i]);
	got = poll_endpoint(link, link->in, events);
	/* Part of the price: a message is there when it can be computed on. */
	if (got && link->ops->flush(link->in) != KVR_OK)
		ranks_die(link->who, "flush failed");
	for (i = 0; i < got; i++)
		if (events[i].kind == KVR_EVENT_ARRIVED)
			take_in(link, events[i].imm);
	return sent + got;
}

/* ---------------------------------------------------------------- wait */

/* Reads the clock only after a long silence: it may cost as much as a poll. */
static void check_deadline(struct link *link)
{
	uint64_t now_ns = kvr_clock_ns();

	if (link->silent_ns == 0)
		link->silent_ns = now_ns;
	if ((double)(now_ns - link->silent_ns) >
	    link->config.timeout_seconds * 1e9)
		ranks_die(link->who,
			  "rank %u is silent for %.1f s; is it still there?",
			  !link->who->rank, link->config.timeout_seconds);
}

/* False: nothing came for SLEEP_MS. */
static bool sleep_armed(struct link *link)
{
	struct epoll_event event;
	int ready = 1;

	if (link->ops->arm(link->out) == KVR_OK &&
	    link->ops->arm(link->in) == KVR_OK)
		ready = epoll_wait(link->epoll_fd, &event, 1, SLEEP_MS);
	if (ready < 0 && errno != EINTR)
		ranks_die(link->who, "epoll_wait: %s", strerror(errno));
	link->ops->disarm(link->out);
	link->ops->disarm(link->in);
	return ready != 0;
}

void link_progress(struct link *link)
{
	if (poll_both(link)) {
		link->idle = 0;
		link->silent_ns = 0;
		return;
	}
	if (++link->idle % LOOK_POLLS == 0) {
		check_deadline(link);
		/* Who is waited for may want this very CPU. */
		sched_yield();
	}
	if (link->epoll_fd >= 0 && !sleep_armed(link))
		check_deadline(link);
}

void link_meet(struct link *link)
{
	while (!signal_peer(link, link->out, KVR_IMM_HEARTBEAT, 0))
		link_progress(link);
	link->meets++;
	while (link->met < link->meets)
		link_progress(link);
}

void link_say_bye(struct link *link)
{
	while (!signal_peer(link, link->out, KVR_IMM_BYE, 0))
		link_progress(link);
	while (!signal_peer(link, link->in, KVR_IMM_BYE, 0))
		link_progress(link);
	while (!link->bye_in || !link->bye_out)
		link_progress(link);
}
