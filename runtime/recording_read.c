/* SPDX-License-Identifier: Apache-2.0 */
/* Recordings as foreign bytes: nothing in them is believed unchecked. */
#include <stdlib.h>
#include <string.h>

#include "runtime/recording.h"
#include "runtime/wire.h"

static bool lanes_sane(const struct kvr_recording *h)
{
	return h->lanes >= 1 && h->lanes <= KVR_LANES_MAX && h->slots >= 1 &&
	       h->slots <= KVR_SLOTS_MAX;
}

static bool passes_sane(const struct kvr_recording *h)
{
	if (h->retired > h->begun ||
	    h->begun - h->retired > KVR_RECORDING_PASSES ||
	    (h->open && h->begun == h->retired))
		return false;
	for (int p = 0; p < KVR_RECORDING_PASSES; p++)
		for (uint32_t l = 0; l < h->lanes; l++)
			if (h->pass[p].part[l].hops > h->n)
				return false;
	return true;
}

static bool head_sane(const struct kvr_recording *h)
{
	const struct kvr_recording_failure *f = &h->failure;

	return h->n >= 1 && h->n <= KVR_RANKS_MAX && h->rank < h->n &&
	       lanes_sane(h) && passes_sane(h) &&
	       h->events <= KVR_RECORDER_EVENTS && h->caller.wait < KVR_WAITS &&
	       h->caller.lane < h->lanes && f->cause <= KVR_CAUSE_CORRUPT &&
	       (f->rank < h->n || f->rank == KVR_RANK_NONE) &&
	       memchr(h->host, '\0', sizeof(h->host)) &&
	       memchr(f->field, '\0', sizeof(f->field));
}

static size_t bytes_of(const struct kvr_recording *h)
{
	return sizeof(*h) + h->lanes * sizeof(struct kvr_recording_lane) +
	       (size_t)h->lanes * h->slots * sizeof(struct kvr_recording_slot) +
	       h->events * sizeof(struct kvr_recorder_event);
}

static bool slots_sane(const struct kvr_recorded *r)
{
	for (uint32_t l = 0; l < r->head->lanes; l++)
		for (uint32_t i = 0; i < r->head->slots; i++)
			if (r->slot[(size_t)l * r->head->slots + i].block !=
			    r->lane[l].granted + i)
				return false;
	return true;
}

static bool events_sane(const struct kvr_recorded *r)
{
	for (uint32_t i = 0; i < r->head->events; i++)
		if (r->event[i].kind >= KVR_NOTE_KINDS)
			return false;
	return true;
}

/* The one at *at, of which at most `bytes` are there. */
static bool next(const char *at, size_t bytes, struct kvr_recorded *out)
{
	const struct kvr_recording *h = (const void *)at;

	if (bytes < sizeof(*h) || h->magic != KVR_RECORDING_MAGIC ||
	    !head_sane(h) || h->bytes != bytes_of(h) || h->bytes > bytes)
		return false;
	out->head = h;
	out->lane = (const void *)(h + 1);
	out->slot = (const void *)(out->lane + h->lanes);
	out->event = (const void *)(out->slot + (size_t)h->lanes * h->slots);
	return slots_sane(out) && events_sane(out);
}

static bool same_ring(const struct kvr_recording *a,
		      const struct kvr_recording *b)
{
	return a->ring_id == b->ring_id && a->generation == b->generation;
}

/* Of a failed ring before one that works, then the later. */
static bool newer(const struct kvr_recording *a, const struct kvr_recording *b)
{
	bool a_failed = a->failure.status != KVR_OK;
	bool b_failed = b->failure.status != KVR_OK;

	if (a_failed != b_failed)
		return a_failed;
	return a->wall_ns > b->wall_ns;
}

/* Checks all, and chooses the ring. */
static bool choose(const char *data, size_t bytes, struct kvr_recorded *chosen)
{
	struct kvr_recorded r;

	chosen->head = NULL;
	for (size_t at = 0; at < bytes; at += r.head->bytes) {
		if (!next(data + at, bytes - at, &r))
			return false;
		if (!chosen->head || newer(r.head, chosen->head))
			*chosen = r;
	}
	return chosen->head;
}

enum kvr_status kvr_recordings_read(const void *data, size_t bytes,
				    struct kvr_recordings *out)
{
	struct kvr_recorded chosen, r;

	*out = (struct kvr_recordings){.n = 0};
	if (!choose(data, bytes, &chosen))
		return KVR_ERR_INVALID;
	out->n = chosen.head->n;
	out->rank = calloc(out->n, sizeof(*out->rank));
	if (!out->rank)
		return KVR_ERR_NO_MEMORY;
	for (size_t at = 0; at < bytes; at += r.head->bytes) {
		if (!next((const char *)data + at, bytes - at, &r))
			break;
		if (!same_ring(r.head, chosen.head)) {
			out->others++;
			continue;
		}
		if (r.head->n != out->n ||
		    r.head->lanes != chosen.head->lanes) {
			kvr_recordings_free(out);
			return KVR_ERR_INVALID;
		}
		out->present += !out->rank[r.head->rank].head;
		out->rank[r.head->rank] = r;
	}
	return KVR_OK;
}

void kvr_recordings_free(struct kvr_recordings *recordings)
{
	free(recordings->rank);
	recordings->rank = NULL;
}
