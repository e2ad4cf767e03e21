/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "tests/conformance/transport/far/far.h"
#include "tests/conformance/transport/far/process.h"
#include "tests/support/ranks.h"

struct far_endpoint {
	struct kvr_endpoint base;
	struct far_process *process;
	struct far_sources *sources;
	struct kvr_endpoint_config config;
	int epoll_fd;	/* readable once woken, the body's event_fd */
	bool connected; /* and for IN what follows is there */
	struct mirror slot[KVR_LANES_MAX * 64];
	void *memory[KVR_LANES_MAX * 64]; /* that slot lies in */
	uint8_t metadata[KVR_METADATA_MAX];
};

/* Its slots may have been written to since they were asked for. */
static struct far_endpoint *unsettled;

static struct far_endpoint *far_endpoint(struct kvr_endpoint *base)
{
	return (struct far_endpoint *)base;
}

/* --------------------------------------------------------------- memory */

enum kvr_status far_source_register(struct far_process *process,
				    struct far_sources *sources, void *address,
				    size_t bytes, void **key)
{
	struct far_source *source = calloc(1, sizeof(*source));
	struct parcel *call = far_call_begin(process, FAR_REGISTER);
	const uint64_t length = bytes;
	enum kvr_status status;

	CHECK(source);
	PUT(call, length);
	status = far_call(process);
	if (status != KVR_OK) {
		free(source);
		return status;
	}
	TAKE(&process->answer, source->id);
	mirror_init(&source->mirror, address, bytes);
	source->next = sources->first;
	sources->first = source;
	*key = source;
	return KVR_OK;
}

void far_source_deregister(struct far_process *process,
			   struct far_sources *sources, void *key)
{
	struct far_source *source = key, **at = &sources->first;

	while (*at != source)
		at = &(*at)->next;
	*at = source->next;
	if (far_process_is_ours(process)) {
		PUT(far_call_begin(process, FAR_DEREGISTER), source->id);
		CHECK_STATUS(far_call(process), KVR_OK);
	}
	mirror_fini(&source->mirror);
	free(source);
}

static void put_sources(struct far_sources *sources, struct parcel *call)
{
	const uint64_t none = 0;

	for (struct far_source *s = sources->first; s; s = s->next) {
		PUT(call, s->id);
		mirror_put(&s->mirror, call);
	}
	PUT(call, none);
	sources->freed = false;
}

static uint32_t slot_count(const struct far_endpoint *e)
{
	return e->config.role == KVR_ROLE_IN ? e->config.lanes * e->config.slots
					     : 0;
}

/* As the real one lies in its page. */
static void open_slot(struct far_endpoint *e, uint32_t i, uint32_t in_page)
{
	const size_t bytes = e->config.slot_bytes[i / e->config.slots];
	const size_t pages = bytes / FAR_PAGE + 2;

	e->memory[i] = aligned_alloc(FAR_PAGE, pages * FAR_PAGE);
	CHECK(e->memory[i]);
	memset(e->memory[i], 0, pages * FAR_PAGE);
	mirror_init(&e->slot[i], (uint8_t *)e->memory[i] + in_page, bytes);
}

static void take_slots(struct far_endpoint *e)
{
	for (uint32_t i = 0; i < slot_count(e); i++)
		mirror_take(&e->slot[i], &e->process->answer);
}

/* What the body wrote into slots; nothing unless it may have. */
static void put_slots(struct far_endpoint *e, struct parcel *call)
{
	const bool some = unsettled == e;

	PUT(call, some);
	if (!some)
		return;
	for (uint32_t i = 0; i < slot_count(e); i++)
		mirror_put(&e->slot[i], call);
	unsettled = NULL;
}

static void exchange_slots(struct far_endpoint *e)
{
	put_slots(e, far_call_begin(e->process, FAR_SLOTS));
	CHECK_STATUS(far_call(e->process), KVR_OK);
	take_slots(e);
}

void far_endpoint_settle(void)
{
	if (unsettled)
		exchange_slots(unsettled);
}

static void *far_slot(struct kvr_endpoint *base, uint32_t lane, uint32_t slot)
{
	struct far_endpoint *e = far_endpoint(base);

	if (unsettled != e)
		far_endpoint_settle();
	exchange_slots(e);
	unsettled = e;
	return e->slot[lane * e->config.slots + slot].here;
}

static void far_descriptor(struct kvr_endpoint *base, uint32_t lane,
			   uint32_t slot, struct kvr_descriptor *out,
			   const void **metadata)
{
	struct far_endpoint *e = far_endpoint(base);
	struct parcel *call = far_call_begin(e->process, FAR_DESCRIPTOR);

	PUT(call, lane);
	PUT(call, slot);
	CHECK_STATUS(far_call(e->process), KVR_OK);
	TAKE(&e->process->answer, *out);
	TAKE(&e->process->answer, e->metadata);
	*metadata = e->metadata;
}

/* ------------------------------------------------------- begin and end */

static struct far_endpoint *blank(struct far_process *process,
				  const struct kvr_endpoint_config *config)
{
	struct far_endpoint *e = calloc(1, sizeof(*e));
	struct epoll_event event = {.events = EPOLLIN};

	CHECK(e);
	e->base.ops = &far_endpoint_ops;
	e->process = process;
	e->config = *config;
	e->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	process->woken_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	CHECK(e->epoll_fd >= 0 && process->woken_fd >= 0);
	/* A wake-up is still on its way, or was met by an earlier call. */
	CHECK(epoll_ctl(e->epoll_fd, EPOLL_CTL_ADD, process->fd, &event) == 0);
	CHECK(epoll_ctl(e->epoll_fd, EPOLL_CTL_ADD, process->woken_fd,
			&event) == 0);
	return e;
}

enum kvr_status far_endpoint_open(struct far_process *process,
				  struct far_sources *sources,
				  const struct kvr_endpoint_config *config,
				  struct kvr_endpoint **out)
{
	struct parcel *call = far_call_begin(process, FAR_ENDPOINT_OPEN);
	struct far_endpoint *e;
	enum kvr_status status;

	PUT(call, *config);
	parcel_put(call, config->secret, config->secret_bytes);
	status = far_call(process);
	if (status != KVR_OK)
		return status;
	e = blank(process, config);
	e->sources = sources;
	*out = &e->base;
	return KVR_OK;
}

static void far_endpoint_close(struct kvr_endpoint *base)
{
	struct far_endpoint *e = far_endpoint(base);

	if (far_process_is_ours(e->process)) {
		far_call_begin(e->process, FAR_ENDPOINT_CLOSE);
		CHECK_STATUS(far_call(e->process), KVR_OK);
	}
	if (unsettled == e)
		unsettled = NULL;
	for (uint32_t i = 0; e->connected && i < slot_count(e); i++) {
		mirror_fini(&e->slot[i]);
		free(e->memory[i]);
	}
	close(e->process->woken_fd);
	e->process->woken_fd = -1;
	close(e->epoll_fd);
	free(e);
}

static void far_address(struct kvr_endpoint *base,
			uint8_t out[KVR_ADDRESS_BYTES])
{
	struct far_process *process = far_endpoint(base)->process;

	far_call_begin(process, FAR_ADDRESS);
	CHECK_STATUS(far_call(process), KVR_OK);
	memcpy(out, parcel_take(&process->answer, KVR_ADDRESS_BYTES),
	       KVR_ADDRESS_BYTES);
}

static enum kvr_status far_connect(struct kvr_endpoint *base,
				   const uint8_t remote[KVR_ADDRESS_BYTES])
{
	struct far_process *process = far_endpoint(base)->process;

	parcel_put(far_call_begin(process, FAR_CONNECT), remote,
		   KVR_ADDRESS_BYTES);
	return far_call(process);
}

static enum kvr_status far_connect_poll(struct kvr_endpoint *base)
{
	struct far_endpoint *e = far_endpoint(base);
	enum kvr_status status;

	far_call_begin(e->process, FAR_CONNECT_POLL);
	status = far_call(e->process);
	if (status != KVR_OK || e->connected)
		return status;
	CHECK(slot_count(e) <= sizeof(e->slot) / sizeof(e->slot[0]));
	for (uint32_t i = 0, in_page; i < slot_count(e); i++) {
		TAKE(&e->process->answer, in_page);
		open_slot(e, i, in_page);
	}
	e->connected = true;
	return KVR_OK;
}

/* ---------------------------------------------------------------- data */

static struct far_piece locate(const struct kvr_piece *piece)
{
	const struct far_source *source = piece->key;
	const uint8_t *at = piece->address;

	return (struct far_piece){
		source->id, (uint64_t)(at - source->mirror.here), piece->bytes};
}

static uint32_t far_pieces_max(struct kvr_endpoint *base)
{
	struct far_process *process = far_endpoint(base)->process;
	uint32_t most;

	far_call_begin(process, FAR_PIECES_MAX);
	CHECK_STATUS(far_call(process), KVR_OK);
	TAKE(&process->answer, most);
	return most;
}

static enum kvr_status far_write(struct kvr_endpoint *base,
				 const struct kvr_write *write)
{
	struct far_endpoint *e = far_endpoint(base);
	struct parcel *call = far_call_begin(e->process, FAR_WRITE);

	put_sources(e->sources, call);
	PUT(call, *write);
	for (size_t i = 0; i < write->piece_count; i++) {
		const struct far_piece piece = locate(&write->pieces[i]);

		PUT(call, piece);
	}
	return far_call(e->process);
}

static enum kvr_status far_describe(struct kvr_endpoint *base,
				    const struct kvr_describe *describe)
{
	struct far_process *process = far_endpoint(base)->process;
	struct parcel *call = far_call_begin(process, FAR_DESCRIBE);

	PUT(call, *describe);
	PUT(call, *describe->descriptor);
	if (describe->metadata)
		parcel_put(call, describe->metadata,
			   describe->descriptor->metadata_bytes);
	return far_call(process);
}

static enum kvr_status far_signal(struct kvr_endpoint *base, uint32_t imm)
{
	struct far_process *process = far_endpoint(base)->process;

	PUT(far_call_begin(process, FAR_SIGNAL), imm);
	return far_call(process);
}

static enum kvr_status far_poll(struct kvr_endpoint *base,
				struct kvr_event *events, size_t max,
				size_t *count)
{
	struct far_endpoint *e = far_endpoint(base);
	const uint64_t none = 0, room = max;
	struct parcel *call = far_call_begin(e->process, FAR_POLL);
	struct parcel *answer = &e->process->answer;
	enum kvr_status status;

	PUT(call, room);
	put_slots(e, call);
	/* A source that is free again may have been overwritten. */
	if (e->sources->freed)
		put_sources(e->sources, call);
	else
		PUT(call, none);
	status = far_call(e->process);
	TAKE(answer, *count);
	CHECK(*count <= max);
	for (size_t i = 0; i < *count; i++) {
		TAKE(answer, events[i]);
		e->sources->freed |= events[i].kind == KVR_EVENT_SENT;
	}
	if (*count > 0)
		take_slots(e);
	return status;
}

static enum kvr_status far_flush(struct kvr_endpoint *base)
{
	struct far_process *process = far_endpoint(base)->process;

	far_call_begin(process, FAR_FLUSH);
	return far_call(process);
}

/* The agent has host memory alone. */
static void far_slots_info(struct kvr_endpoint *base,
			   struct kvr_slots_info *out)
{
	(void)base;
	*out = (struct kvr_slots_info){.by = "host", .flush = "none"};
}

/* ------------------------------------------------------------- waking */

static int far_event_fd(struct kvr_endpoint *base)
{
	return far_endpoint(base)->epoll_fd;
}

static enum kvr_status far_arm(struct kvr_endpoint *base)
{
	struct far_process *process = far_endpoint(base)->process;

	far_call_begin(process, FAR_ARM);
	return far_call(process);
}

/* Behind the answer no wake-up is left on its way. */
static void far_disarm(struct kvr_endpoint *base)
{
	struct far_process *process = far_endpoint(base)->process;
	uint64_t wakes;

	far_call_begin(process, FAR_DISARM);
	CHECK_STATUS(far_call(process), KVR_OK);
	if (read(process->woken_fd, &wakes, sizeof(wakes)) < 0)
		return; /* there was none */
}

bool far_stream(const struct stream *stream, enum kvr_role role)
{
	struct far_process *process;
	struct parcel *call;

	if (stream->endpoint->ops != &far_endpoint_ops)
		return false;
	process = far_endpoint(stream->endpoint)->process;
	call = far_call_begin(process, FAR_STREAM);
	PUT(call, *stream);
	PUT(call, role);
	CHECK_STATUS(far_call(process), KVR_OK);
	return true;
}

const struct kvr_transport_ops far_endpoint_ops = {
	.endpoint_close = far_endpoint_close,
	.address = far_address,
	.connect = far_connect,
	.connect_poll = far_connect_poll,
	.slot = far_slot,
	.descriptor = far_descriptor,
	.pieces_max = far_pieces_max,
	.write = far_write,
	.describe = far_describe,
	.signal = far_signal,
	.poll = far_poll,
	.flush = far_flush,
	.slots_info = far_slots_info,
	.event_fd = far_event_fd,
	.arm = far_arm,
	.disarm = far_disarm,
};
