/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/gather.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct peer {
	int fd;
	uint64_t bytes; /* announced */
	size_t got;	/* of the announcement and what follows it */
	uint8_t *data;
	size_t sent; /* of the reply; all of it when not replying */
};

/*
 * One reply at a time: a rank cannot begin the next all-gather before it has
 * the whole reply, so the n-th contribution finds the old reply delivered.
 */
struct gather {
	uint32_t n, complete;
	bool closed;
	bool incomplete; /* a rank left */
	uint8_t *reply;
	size_t reply_bytes;
	struct peer peers[];
};

struct gather *gather_new(uint32_t n)
{
	struct gather *g = calloc(1, sizeof(*g) + n * sizeof(*g->peers));
	uint32_t i;

	if (!g)
		return NULL;
	g->n = n;
	for (i = 0; i < n; i++)
		g->peers[i].fd = -1;
	return g;
}

static void close_peer(struct peer *peer)
{
	if (peer->fd >= 0)
		close(peer->fd);
	peer->fd = -1;
}

void gather_close(struct gather *g)
{
	uint32_t i;

	g->closed = true;
	for (i = 0; i < g->n; i++)
		close_peer(&g->peers[i]);
}

void gather_free(struct gather *g)
{
	uint32_t i;

	if (!g)
		return;
	gather_close(g);
	for (i = 0; i < g->n; i++)
		free(g->peers[i].data);
	free(g->reply);
	free(g);
}

void gather_attach(struct gather *g, uint32_t rank, int fd)
{
	g->peers[rank].fd = fd;
	if (g->closed)
		close_peer(&g->peers[rank]);
}

int gather_fd(const struct gather *g, uint32_t rank)
{
	return g->peers[rank].fd;
}

short gather_events(const struct gather *g, uint32_t rank)
{
	return g->peers[rank].sent < g->reply_bytes ? POLLIN | POLLOUT : POLLIN;
}

static bool is_complete(const struct peer *peer)
{
	return peer->got >= sizeof(peer->bytes) &&
	       peer->got == sizeof(peer->bytes) + peer->bytes;
}

/* All contributions are in: they become the reply. */
static bool exchange(struct gather *g, struct complaint *why)
{
	uint64_t bytes = g->peers[0].bytes;
	uint8_t *reply;
	uint32_t i;

	for (i = 1; i < g->n; i++)
		if (g->peers[i].bytes != bytes)
			return complain(why,
					"rank %u: gathers %" PRIu64 " bytes "
					"where rank 0 gathers %" PRIu64
					"; start the same program everywhere",
					i, g->peers[i].bytes, bytes);
	reply = realloc(g->reply, g->n * bytes + 1);
	if (!reply)
		return complain(why, "no memory for the all-gather; start "
				     "fewer ranks");
	for (i = 0; i < g->n; i++) {
		if (bytes > 0)
			memcpy(reply + i * bytes, g->peers[i].data, bytes);
		g->peers[i].got = 0;
		g->peers[i].sent = 0;
	}
	g->reply = reply;
	g->reply_bytes = g->n * bytes;
	g->complete = 0;
	return true;
}

/* The announcement is in: room for what it announces. */
static bool announced(struct peer *peer, uint32_t rank, struct complaint *why)
{
	uint8_t *data;

	if (peer->bytes > GATHER_BYTES_MAX)
		return complain(why,
				"rank %u: wants to gather %" PRIu64
				" bytes, over the limit of 1 MiB; gather "
				"less",
				rank, peer->bytes);
	data = realloc(peer->data, peer->bytes + 1);
	if (!data)
		return complain(why, "no memory for the all-gather; start "
				     "fewer ranks");
	peer->data = data;
	return true;
}

/*
 * One recv: bytes, 0 at the end of the stream, -1 with errno. A rank that
 * awaits its reply has nothing to say: the end of its stream, or a breach.
 */
static ssize_t receive(struct peer *peer)
{
	size_t head = sizeof(peer->bytes);
	uint8_t byte;

	if (is_complete(peer))
		return recv(peer->fd, &byte, 1, 0) < 0 ? -1 : 0;
	if (peer->got < head)
		return recv(peer->fd, (uint8_t *)&peer->bytes + peer->got,
			    head - peer->got, 0);
	return recv(peer->fd, peer->data + peer->got - head,
		    head + peer->bytes - peer->got, 0);
}

/*
 * A rank that left can contribute to nothing any more: whoever gathers now
 * or later waits in vain.
 */
static void left(struct gather *g, struct peer *peer)
{
	uint32_t i;

	close_peer(peer);
	g->incomplete = true;
	for (i = 0; i < g->n; i++)
		if (g->peers[i].got > 0)
			gather_close(g);
}

static bool take(struct gather *g, uint32_t rank, struct complaint *why)
{
	struct peer *peer = &g->peers[rank];
	ssize_t bytes;

	bytes = receive(peer);
	if (bytes < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (bytes <= 0) {
		left(g, peer);
		return true;
	}
	if (g->incomplete) {
		gather_close(g);
		return true;
	}
	peer->got += (size_t)bytes;
	if (peer->got == sizeof(peer->bytes) && !announced(peer, rank, why))
		return false;
	if (is_complete(peer) && ++g->complete == g->n)
		return exchange(g, why);
	return true;
}

static void give(struct gather *g, struct peer *peer)
{
	ssize_t put;

	if (peer->sent >= g->reply_bytes)
		return;
	put = send(peer->fd, g->reply + peer->sent, g->reply_bytes - peer->sent,
		   MSG_NOSIGNAL);
	if (put > 0)
		peer->sent += (size_t)put;
	else if (errno != EAGAIN && errno != EINTR)
		left(g, peer);
}

bool gather_serve(struct gather *g, uint32_t rank, struct complaint *why)
{
	struct peer *peer = &g->peers[rank];

	if (peer->fd < 0)
		return true;
	if (!take(g, rank, why)) {
		gather_close(g);
		return false;
	}
	if (peer->fd >= 0)
		give(g, peer);
	return true;
}
