/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/conformance/transport/far/parcel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "tests/support/ranks.h"

#define MAGIC 0x6c637270u

struct header {
	uint32_t magic, kind;
	uint64_t bytes;
};

void parcel_begin(struct parcel *parcel, uint32_t kind)
{
	parcel->kind = kind;
	parcel->used = parcel->taken = 0;
}

void parcel_free(struct parcel *parcel)
{
	free(parcel->bytes);
	*parcel = (struct parcel){0};
}

static void make_room(struct parcel *parcel, size_t bytes)
{
	if (parcel->room >= bytes)
		return;
	parcel->room = bytes * 2;
	parcel->bytes = realloc(parcel->bytes, parcel->room);
	CHECK(parcel->bytes);
}

void parcel_put(struct parcel *parcel, const void *from, size_t bytes)
{
	if (bytes == 0)
		return;
	make_room(parcel, parcel->used + bytes);
	memcpy(parcel->bytes + parcel->used, from, bytes);
	parcel->used += bytes;
}

const void *parcel_take(struct parcel *parcel, size_t bytes)
{
	const size_t at = parcel->taken;

	CHECK(bytes <= parcel->used - at);
	parcel->taken += bytes;
	return parcel->bytes + at;
}

/* Who is stopped and goes on is interrupted, wherever it has a time-out. */
static bool try_again(void)
{
	return errno == EINTR;
}

static bool send_all(int fd, const void *from, size_t bytes, int flags)
{
	const uint8_t *at = from;

	while (bytes > 0) {
		const ssize_t sent = send(fd, at, bytes, MSG_NOSIGNAL | flags);

		if (sent < 0 && try_again())
			continue;
		if (sent <= 0)
			return false;
		at += sent;
		bytes -= (size_t)sent;
	}
	return true;
}

bool parcel_send(int fd, const struct parcel *parcel)
{
	const struct header header = {MAGIC, parcel->kind, parcel->used};

	return send_all(fd, &header, sizeof(header),
			parcel->used ? MSG_MORE : 0) &&
	       send_all(fd, parcel->bytes, parcel->used, 0);
}

static bool receive_all(int fd, void *to, size_t bytes)
{
	uint8_t *at = to;

	while (bytes > 0) {
		const ssize_t got = recv(fd, at, bytes, MSG_WAITALL);

		if (got < 0 && try_again())
			continue;
		if (got <= 0)
			return false;
		at += got;
		bytes -= (size_t)got;
	}
	return true;
}

bool parcel_receive(int fd, struct parcel *parcel)
{
	struct header header;

	if (!receive_all(fd, &header, sizeof(header)))
		return false;
	CHECK(header.magic == MAGIC);
	parcel_begin(parcel, header.kind);
	make_room(parcel, header.bytes);
	parcel->used = header.bytes;
	return receive_all(fd, parcel->bytes, parcel->used);
}
