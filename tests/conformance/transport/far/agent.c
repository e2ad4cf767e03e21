/* SPDX-License-Identifier: Apache-2.0 */
/* Has a far end, and does with it what the caller says. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tests/conformance/transport/far/process.h"
#include "tests/conformance/transport/pair.h"
#include "tests/support/ranks.h"

/* Who slept so long was asked to use no processor. */
#define LONG_SLEEP_NS UINT64_C(250000000)

/* Registered source memory; its address is the id that the caller has. */
struct source {
	struct mirror mirror;
	void *key;
};

/* A write whose SENT is awaited: its pieces stay where they are. */
struct posted {
	struct posted *next;
	uint64_t cookie; /* the caller's */
	struct kvr_piece pieces[];
};

struct agent {
	const struct kvr_transport_ops *ops;
	int fd;
	struct kvr_log log;
	struct parcel call, answer, line;
	struct kvr_transport *transport;
	struct kvr_endpoint_config config;
	char secret[256];
	struct kvr_endpoint *endpoint; /* the only one */
	struct mirror *slot;	       /* IN, connected; else NULL */
	struct posted *posted;	       /* the oldest first */
	bool armed, woken;
	uint64_t armed_ns, armed_cpu_ns;
};

static void send_line(void *arg, enum kvr_log_level level, const char *line)
{
	struct agent *a = arg;

	parcel_begin(&a->line, FAR_LINE);
	PUT(&a->line, level);
	parcel_put(&a->line, line, strlen(line) + 1);
	if (!parcel_send(a->fd, &a->line))
		_exit(0);
}

static void answer(struct agent *a, enum kvr_status status)
{
	PUT(&a->answer, status);
}

/* ----------------------------------------------------------- transport */

static void on_probe(struct agent *a)
{
	char name[FAR_NAME_BYTES], reason[FAR_REASON_BYTES] = "";

	TAKE(&a->call, name);
	CHECK(strcmp(name, a->ops->name) == 0);
	answer(a, a->ops->probe(reason, sizeof(reason)));
	PUT(&a->answer, reason);
}

static void on_open(struct agent *a)
{
	struct kvr_transport_config config;

	TAKE(&a->call, config);
	config.log = &a->log;
	answer(a, a->ops->open(&config, &a->transport));
}

static void on_close(struct agent *a)
{
	a->ops->close(a->transport);
	answer(a, KVR_OK);
}

static void on_register(struct agent *a)
{
	struct source *source = calloc(1, sizeof(*source));
	const uint64_t id = (uintptr_t)source;
	enum kvr_status status;
	uint64_t bytes;
	void *memory;

	TAKE(&a->call, bytes);
	memory = calloc(1, bytes);
	CHECK(source && memory);
	status = a->ops->memory_register(a->transport, memory, bytes,
					 &source->key);
	answer(a, status);
	if (status != KVR_OK) {
		free(memory);
		free(source);
		return;
	}
	mirror_init(&source->mirror, memory, bytes);
	PUT(&a->answer, id);
}

static struct source *source_of(uint64_t id)
{
	return (struct source *)(uintptr_t)id;
}

static void on_deregister(struct agent *a)
{
	struct source *source;
	uint64_t id;

	TAKE(&a->call, id);
	source = source_of(id);
	a->ops->memory_deregister(a->transport, source->key);
	free(source->mirror.here);
	mirror_fini(&source->mirror);
	free(source);
	answer(a, KVR_OK);
}

static void take_sources(struct agent *a)
{
	uint64_t id;

	for (TAKE(&a->call, id); id; TAKE(&a->call, id))
		mirror_take(&source_of(id)->mirror, &a->call);
}

/* ------------------------------------------------------------- endpoint */

static void on_endpoint_open(struct agent *a)
{
	struct kvr_endpoint_config config;
	struct kvr_endpoint *endpoint;
	enum kvr_status status;

	TAKE(&a->call, config);
	CHECK(config.secret_bytes <= sizeof(a->secret));
	if (config.secret) {
		memcpy(a->secret, parcel_take(&a->call, config.secret_bytes),
		       config.secret_bytes);
		config.secret = a->secret;
	}
	config.log = &a->log;
	status = a->ops->endpoint_open(a->transport, &config, &endpoint);
	answer(a, status);
	if (status != KVR_OK)
		return;
	CHECK(!a->endpoint);
	a->endpoint = endpoint;
	a->config = config;
}

static uint32_t slot_count(const struct agent *a)
{
	return a->slot ? a->config.lanes * a->config.slots : 0;
}

static void on_endpoint_close(struct agent *a)
{
	struct posted *next;

	a->ops->endpoint_close(a->endpoint);
	for (uint32_t i = 0; i < slot_count(a); i++)
		mirror_fini(&a->slot[i]);
	free(a->slot);
	for (struct posted *p = a->posted; p; p = next) {
		next = p->next;
		free(p);
	}
	a->endpoint = NULL;
	a->slot = NULL;
	a->posted = NULL;
	a->armed = false;
	answer(a, KVR_OK);
}

static void on_address(struct agent *a)
{
	uint8_t address[KVR_ADDRESS_BYTES];

	a->ops->address(a->endpoint, address);
	answer(a, KVR_OK);
	PUT(&a->answer, address);
}

static void on_connect(struct agent *a)
{
	answer(a, a->ops->connect(a->endpoint,
				  parcel_take(&a->call, KVR_ADDRESS_BYTES)));
}

static void open_slots(struct agent *a)
{
	const uint32_t slots = a->config.slots, count = a->config.lanes * slots;
	uint32_t in_page;

	if (!a->slot)
		a->slot = calloc(count, sizeof(*a->slot));
	CHECK(a->slot);
	for (uint32_t i = 0; i < count; i++) {
		void *at = a->ops->slot(a->endpoint, i / slots, i % slots);

		if (!a->slot[i].told)
			mirror_init(&a->slot[i], at,
				    a->config.slot_bytes[i / slots]);
		in_page = (uint32_t)((uintptr_t)at % FAR_PAGE);
		PUT(&a->answer, in_page);
	}
}

static void on_connect_poll(struct agent *a)
{
	const enum kvr_status status = a->ops->connect_poll(a->endpoint);

	answer(a, status);
	if (status == KVR_OK && a->config.role == KVR_ROLE_IN)
		open_slots(a);
}

/* ---------------------------------------------------------------- data */

static void put_slots(struct agent *a)
{
	for (uint32_t i = 0; i < slot_count(a); i++)
		mirror_put(&a->slot[i], &a->answer);
}

static void take_slots(struct agent *a)
{
	bool some;

	TAKE(&a->call, some);
	for (uint32_t i = 0; some && i < slot_count(a); i++)
		mirror_take(&a->slot[i], &a->call);
}

static void on_slots(struct agent *a)
{
	take_slots(a);
	answer(a, KVR_OK);
	put_slots(a);
}

static void on_pieces_max(struct agent *a)
{
	uint32_t most = a->ops->pieces_max(a->endpoint);

	answer(a, KVR_OK);
	PUT(&a->answer, most);
}

static void on_descriptor(struct agent *a)
{
	struct kvr_descriptor descriptor;
	const void *metadata;
	uint32_t lane, slot;

	TAKE(&a->call, lane);
	TAKE(&a->call, slot);
	a->ops->descriptor(a->endpoint, lane, slot, &descriptor, &metadata);
	answer(a, KVR_OK);
	PUT(&a->answer, descriptor);
	parcel_put(&a->answer, metadata, KVR_METADATA_MAX);
}

static void await_sent(struct agent *a, struct posted *posted)
{
	struct posted **at = &a->posted;

	while (*at)
		at = &(*at)->next;
	*at = posted;
}

static void on_write(struct agent *a)
{
	struct kvr_write write;
	struct posted *posted;
	enum kvr_status status;

	take_sources(a);
	TAKE(&a->call, write);
	posted = calloc(1, sizeof(*posted) +
				   write.piece_count * sizeof(*write.pieces));
	CHECK(posted);
	for (size_t i = 0; i < write.piece_count; i++) {
		struct far_piece piece;
		const struct source *source;

		TAKE(&a->call, piece);
		source = source_of(piece.source);
		posted->pieces[i] =
			(struct kvr_piece){source->mirror.here + piece.offset,
					   piece.bytes, source->key};
	}
	posted->cookie = write.cookie;
	write.cookie = (uintptr_t)posted;
	write.pieces = posted->pieces;
	status = a->ops->write(a->endpoint, &write);
	answer(a, status);
	if (status == KVR_OK)
		await_sent(a, posted);
	else
		free(posted);
}

static void on_describe(struct agent *a)
{
	struct kvr_describe describe;
	struct kvr_descriptor descriptor;

	TAKE(&a->call, describe);
	TAKE(&a->call, descriptor);
	if (describe.metadata)
		describe.metadata =
			parcel_take(&a->call, descriptor.metadata_bytes);
	describe.descriptor = &descriptor;
	answer(a, a->ops->describe(a->endpoint, &describe));
}

static void on_signal(struct agent *a)
{
	uint32_t imm;

	TAKE(&a->call, imm);
	answer(a, a->ops->signal(a->endpoint, imm));
}

/* The caller's cookie of a write that was posted, and is not any more. */
static uint64_t sent(struct agent *a, uint64_t cookie)
{
	struct posted **at = &a->posted, *posted;

	while (*at && (uintptr_t)*at != cookie)
		at = &(*at)->next;
	posted = *at;
	CHECK(posted);
	*at = posted->next;
	cookie = posted->cookie;
	free(posted);
	return cookie;
}

static void on_poll(struct agent *a)
{
	struct kvr_event events[FAR_EVENTS_MAX];
	size_t count = FAR_EVENTS_MAX + 1;
	enum kvr_status status;
	uint64_t max;

	TAKE(&a->call, max);
	take_slots(a);
	take_sources(a);
	CHECK(max <= FAR_EVENTS_MAX);
	status = a->ops->poll(a->endpoint, events, max, &count);
	CHECK(count <= max);
	answer(a, status);
	PUT(&a->answer, count);
	for (size_t i = 0; i < count; i++) {
		if (events[i].kind == KVR_EVENT_SENT)
			events[i].cookie = sent(a, events[i].cookie);
		PUT(&a->answer, events[i]);
	}
	if (count > 0)
		put_slots(a);
}

static void on_flush(struct agent *a)
{
	answer(a, a->ops->flush(a->endpoint));
}

/* -------------------------------------------------------------- waking */

static uint64_t cpu_ns(void)
{
	struct timespec used;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	return (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}

static void on_arm(struct agent *a)
{
	const enum kvr_status status = a->ops->arm(a->endpoint);

	answer(a, status);
	a->armed = status == KVR_OK;
	a->woken = false;
	a->armed_ns = test_now_ns();
	a->armed_cpu_ns = cpu_ns();
}

/* The body measures its own process; here it is the same rule. */
static void check_sleep(const struct agent *a)
{
	const uint64_t slept = test_now_ns() - a->armed_ns;

	if (a->armed && !a->woken && slept > LONG_SLEEP_NS)
		CHECK((cpu_ns() - a->armed_cpu_ns) * 10 < slept);
}

static void on_disarm(struct agent *a)
{
	check_sleep(a);
	a->ops->disarm(a->endpoint);
	a->armed = false;
	answer(a, KVR_OK);
}

static void on_stream(struct agent *a)
{
	struct stream stream;
	enum kvr_role role;

	TAKE(&a->call, stream);
	TAKE(&a->call, role);
	stream.ops = a->ops;
	stream.transport = a->transport;
	stream.endpoint = a->endpoint;
	if (role == KVR_ROLE_IN)
		stream_receive(&stream);
	else
		stream_send(&stream);
	answer(a, KVR_OK);
}

static void wake(struct agent *a)
{
	parcel_begin(&a->line, FAR_WAKE);
	if (!parcel_send(a->fd, &a->line))
		_exit(0);
	a->woken = true;
}

/* As a process that is killed: what it has open is the system's affair. */
static void next_call(struct agent *a)
{
	for (;;) {
		const bool asleep = a->armed && !a->woken;
		struct pollfd fds[2] = {
			{.fd = a->fd, .events = POLLIN},
			{.fd = asleep ? a->ops->event_fd(a->endpoint) : -1,
			 .events = POLLIN}};

		CHECK(poll(fds, 2, -1) > 0);
		if (fds[1].revents)
			wake(a);
		if (!fds[0].revents)
			continue;
		if (!parcel_receive(a->fd, &a->call))
			_exit(0);
		return;
	}
}

static void (*const on_call[FAR_CALLS])(struct agent *a) = {
	[FAR_PROBE] = on_probe,
	[FAR_OPEN] = on_open,
	[FAR_CLOSE] = on_close,
	[FAR_REGISTER] = on_register,
	[FAR_DEREGISTER] = on_deregister,
	[FAR_ENDPOINT_OPEN] = on_endpoint_open,
	[FAR_ENDPOINT_CLOSE] = on_endpoint_close,
	[FAR_ADDRESS] = on_address,
	[FAR_CONNECT] = on_connect,
	[FAR_CONNECT_POLL] = on_connect_poll,
	[FAR_SLOTS] = on_slots,
	[FAR_DESCRIPTOR] = on_descriptor,
	[FAR_PIECES_MAX] = on_pieces_max,
	[FAR_WRITE] = on_write,
	[FAR_DESCRIBE] = on_describe,
	[FAR_SIGNAL] = on_signal,
	[FAR_POLL] = on_poll,
	[FAR_FLUSH] = on_flush,
	[FAR_ARM] = on_arm,
	[FAR_DISARM] = on_disarm,
	[FAR_STREAM] = on_stream,
};

void far_agent_run(const struct kvr_transport_ops *ops, int fd)
{
	struct agent agent = {.ops = ops, .fd = fd};

	agent.log = (struct kvr_log){send_line, &agent, KVR_LOG_DEBUG};
	for (;;) {
		next_call(&agent);
		CHECK(agent.call.kind < FAR_CALLS);
		parcel_begin(&agent.answer, FAR_ANSWER);
		on_call[agent.call.kind](&agent);
		if (!parcel_send(fd, &agent.answer))
			_exit(0);
	}
}
