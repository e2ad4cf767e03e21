/* SPDX-License-Identifier: Apache-2.0 */
/* Making a ring's recording, and appending it to a file. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kvring/recorder.h"
#include "runtime/clock.h"
#include "runtime/ring.h"

/* ---------------------------------------------------------------- making */

static uint32_t count_events(const struct kvr_recorder *recorder)
{
	return recorder->count < KVR_RECORDER_EVENTS ? (uint32_t)recorder->count
						     : KVR_RECORDER_EVENTS;
}

static size_t bytes_at_most(const struct kvr_ring *ring)
{
	size_t slots = (size_t)ring->options.lanes * ring->options.slots;

	return sizeof(struct kvr_recording) +
	       ring->options.lanes * sizeof(struct kvr_recording_lane) +
	       slots * sizeof(struct kvr_recording_slot) +
	       sizeof(ring->recorder->event);
}

static void copy_events(const struct kvr_recorder *recorder,
			struct kvr_recorder_event *to)
{
	uint32_t count = count_events(recorder);
	uint64_t first = recorder->count - count;

	for (uint32_t i = 0; i < count; i++)
		to[i] = recorder->event[(first + i) % KVR_RECORDER_EVENTS];
}

/* What was true when the ring failed, if it did. */
static void fill_caller(const struct kvr_ring *ring, struct kvr_recording *head)
{
	const struct kvr_caller *caller =
		ring->failed_ns ? &ring->caller_failed : &ring->caller;
	struct timespec wall;
	uint64_t now_ns = kvr_clock_ns();

	clock_gettime(CLOCK_REALTIME, &wall);
	head->now_ns = ring->failed_ns ? ring->failed_ns : now_ns;
	head->wall_ns = (uint64_t)wall.tv_sec * KVR_NS_PER_S +
			(uint64_t)wall.tv_nsec - (now_ns - head->now_ns);
	head->caller = (struct kvr_recording_caller){
		.wait = caller->wait,
		.lane = caller->lane,
		.since_ns = caller->since_ns,
	};
}

/* ring->lock held. Returns its size. */
static size_t make(const struct kvr_ring *ring, struct kvr_recording *head)
{
	uint32_t lanes = ring->options.lanes, slots = ring->options.slots;
	struct kvr_recording_lane *lane = (void *)(head + 1);
	struct kvr_recording_slot *slot = (void *)(lane + lanes);
	struct kvr_recorder_event *event =
		(void *)(slot + (size_t)lanes * slots);

	memset(head, 0, sizeof(*head));
	head->magic = KVR_RECORDING_MAGIC;
	head->rank = ring->rank;
	head->n = ring->n;
	head->generation = ring->generation;
	head->ring_id = ring->draw.ring_id;
	head->pid = (uint32_t)getpid();
	head->lanes = lanes;
	head->slots = slots;
	head->events = count_events(ring->recorder);
	/* A name that is cut short has no end. */
	(void)gethostname(head->host, sizeof(head->host) - 1);
	fill_caller(ring, head);
	kvr_engine_record(ring->engine, head, lane, slot);
	copy_events(ring->recorder, event);
	head->bytes = (uint32_t)((char *)(event + head->events) - (char *)head);
	return head->bytes;
}

/* --------------------------------------------------------------- writing */

static enum kvr_status append(struct kvr_ring *ring, int fd, const char *where)
{
	size_t bytes, done = 0;
	ssize_t now = 1;
	char *data = calloc(1, bytes_at_most(ring));

	if (!data)
		return KVR_ERR_NO_MEMORY;
	pthread_mutex_lock(&ring->lock);
	bytes = make(ring, (void *)data);
	pthread_mutex_unlock(&ring->lock);
	while (done < bytes && now > 0) {
		now = write(fd, data + done, bytes - done);
		if (now < 0 && errno == EINTR)
			now = 1;
		else if (now > 0)
			done += (size_t)now;
	}
	free(data);
	if (done == bytes)
		return KVR_OK;
	kvr_log(&ring->context->log, KVR_LOG_WARNING,
		"%s: the recording cannot be written: %s", where,
		now < 0 ? strerror(errno) : "nothing is taken");
	return KVR_ERR_SYSTEM;
}

enum kvr_status kvr_ring_record(struct kvr_ring *ring, int fd)
{
	char where[32];

	if (!ring || fd < 0)
		return KVR_ERR_INVALID;
	if (kvr_context_forked(ring->context))
		return KVR_ERR_FORKED;
	snprintf(where, sizeof(where), "descriptor %d", fd);
	return append(ring, fd, where);
}

/* "%r" is the rank; anything else stays. NULL: no memory. */
static char *expand(const char *pattern, uint32_t rank)
{
	const size_t bytes = strlen(pattern) + sizeof("4294967295");
	const char *mark = strstr(pattern, "%r");
	char *path = malloc(bytes);

	if (path && mark)
		snprintf(path, bytes, "%.*s%u%s", (int)(mark - pattern),
			 pattern, rank, mark + 2);
	else if (path)
		snprintf(path, bytes, "%s", pattern);
	return path;
}

enum kvr_status kvr_ring_open_recorder(struct kvr_ring *ring)
{
	const char *pattern = getenv("KVRING_RECORDER");
	size_t bytes = sizeof(*ring->recorder);

	ring->recorder = aligned_alloc(64, (bytes + 63) / 64 * 64);
	if (!ring->recorder)
		return KVR_ERR_NO_MEMORY;
	kvr_recorder_init(ring->recorder);
	if (!pattern || !*pattern)
		return KVR_OK;
	ring->record_path = expand(pattern, ring->rank);
	return ring->record_path ? KVR_OK : KVR_ERR_NO_MEMORY;
}

void kvr_ring_record_failure(struct kvr_ring *ring)
{
	const char *path = ring->record_path;
	int fd;

	if (!path)
		return;
	fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
	if (fd < 0) {
		kvr_log(&ring->context->log, KVR_LOG_WARNING,
			"%s: the recording cannot be written: %s", path,
			strerror(errno));
		return;
	}
	/* It has said why not. */
	(void)!append(ring, fd, path);
	close(fd);
}
