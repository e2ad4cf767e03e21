/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/stream_plan.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/accelerator.h"
#include "runtime/pass.h"
#include "runtime/progress.h"

_Static_assert(KVR_STREAM_PASSES_MAX == KVR_WORDS_PASSES_MAX,
	       "what the header promises fits into a code");

/* --------------------------------------------------------- create, destroy */

static enum kvr_status refuse(const struct kvr_ring *ring,
			      enum kvr_status status, const char *why)
{
	kvr_log(&ring->context->log, KVR_LOG_ERROR,
		"kvr_stream_plan_create: %s", why);
	return status;
}

/* ring->lock held. */
static enum kvr_status check_ring(struct kvr_ring *ring,
				  const struct kvr_pass_desc *passes,
				  size_t count)
{
	enum kvr_status status = kvr_engine_failure(ring->engine)->status;

	if (status != KVR_OK)
		return status;
	if (ring->words)
		return refuse(ring, KVR_ERR_STATE, "the ring has a plan");
	if (ring->pass.open)
		return refuse(ring, KVR_ERR_STATE, "a pass is open");
	if (ring->integrity)
		return refuse(ring, KVR_ERR_UNSUPPORTED,
			      "nobody checks what a stream reads: open the "
			      "ring without integrity");
	for (size_t i = 0; i < count && status == KVR_OK; i++)
		status = kvr_pass_check(ring, &passes[i]);
	return status;
}

static enum kvr_status attach(struct kvr_stream_plan *plan,
			      struct kvr_ring *ring)
{
	enum kvr_status status;

	pthread_mutex_lock(&ring->lock);
	/* Again: another thread may have been faster. */
	status = check_ring(ring, plan->passes, plan->pass_count);
	if (status == KVR_OK) {
		kvr_words_attach(&plan->words, ring, plan->memory.host,
				 plan->passes, (uint32_t)plan->pass_count);
		for (uint32_t lane = 0; lane < ring->options.lanes; lane++)
			plan->lane[lane].first =
				kvr_engine_next_slot(ring->engine, lane);
	}
	pthread_mutex_unlock(&ring->lock);
	return status;
}

static void unmap_slots(struct kvr_stream_plan *plan)
{
	for (size_t i = 0; i < plan->slot_count; i++)
		plan->ops->unmap(&plan->slots[i]);
	free(plan->slots);
}

/* Landing slots in the host's memory must be within reach of kernels. */
static enum kvr_status map_slots(struct kvr_stream_plan *plan,
				 const struct kvr_ring *ring)
{
	size_t count = (size_t)ring->options.lanes * ring->options.slots;
	enum kvr_status status = KVR_OK;
	char reason[256];

	plan->slots = calloc(count, sizeof(*plan->slots));
	if (!plan->slots)
		return KVR_ERR_NO_MEMORY;
	plan->slot_count = count;
	for (size_t i = 0; i < count && status == KVR_OK; i++) {
		const struct kvr_piece *slot = &ring->slots[i];

		/* Alone nothing lands, and a lane may be of empty blocks. */
		if (slot->address && slot->bytes)
			status = plan->ops->map(kvr_ring_writable(slot),
						slot->bytes, &plan->slots[i],
						reason, sizeof(reason));
	}
	return status == KVR_OK ? status : refuse(ring, status, reason);
}

static enum kvr_status allocate(struct kvr_stream_plan *plan,
				const struct kvr_ring *ring,
				const struct kvr_pass_desc *passes)
{
	size_t bytes = kvr_words_count(ring) * sizeof(struct kvr_word);
	enum kvr_status status;
	char reason[256];

	plan->passes = calloc(plan->pass_count, sizeof(*plan->passes));
	if (!plan->passes)
		return KVR_ERR_NO_MEMORY;
	memcpy(plan->passes, passes, plan->pass_count * sizeof(*passes));
	status = plan->ops->words_open(bytes, &plan->memory, reason,
				       sizeof(reason));
	return status == KVR_OK ? status : refuse(ring, status, reason);
}

enum kvr_status
kvr_stream_plan_create_on(const struct kvr_accelerator_stream_ops *ops,
			  struct kvr_ring *ring,
			  const struct kvr_pass_desc *passes, size_t count,
			  struct kvr_stream_plan **out)
{
	struct kvr_stream_plan *plan = calloc(1, sizeof(*plan));
	enum kvr_status status;

	if (!plan)
		return KVR_ERR_NO_MEMORY;
	plan->context = ring->context;
	plan->ops = ops;
	plan->pass = &ring->pass;
	plan->pass_count = count;
	status = allocate(plan, ring, passes);
	if (status != KVR_OK)
		goto err_free;
	status = map_slots(plan, ring);
	if (status == KVR_OK)
		status = attach(plan, ring);
	if (status != KVR_OK)
		goto err_words;
	*out = plan;
	return KVR_OK;

err_words:
	unmap_slots(plan);
	ops->words_close(&plan->memory);
err_free:
	free(plan->passes);
	free(plan);
	return status;
}

enum kvr_status kvr_stream_plan_create(struct kvr_ring *ring,
				       const struct kvr_pass_desc *passes,
				       size_t count,
				       struct kvr_stream_plan **out)
{
	const struct kvr_accelerator_ops *accelerator;
	enum kvr_status status;
	char reason[256];

	if (!ring || !passes || !count || !out)
		return KVR_ERR_INVALID;
	if (kvr_context_forked(ring->context))
		return KVR_ERR_FORKED;
	if (count > KVR_STREAM_PASSES_MAX)
		return refuse(ring, KVR_ERR_LIMIT,
			      "more than KVR_STREAM_PASSES_MAX passes");
	pthread_mutex_lock(&ring->lock);
	status = check_ring(ring, passes, count);
	pthread_mutex_unlock(&ring->lock);
	if (status != KVR_OK)
		return status;
	status = kvr_accelerator_open(&accelerator, reason, sizeof(reason));
	if (status != KVR_OK)
		return refuse(ring, status, reason);
	return kvr_stream_plan_create_on(accelerator->stream, ring, passes,
					 count, out);
}

void kvr_stream_plan_destroy(struct kvr_stream_plan *plan)
{
	struct kvr_ring *ring;

	if (!plan || kvr_context_forked(plan->context))
		return;
	ring = plan->words.ring;
	if (ring) {
		pthread_mutex_lock(&ring->lock);
		kvr_words_detach(&plan->words);
		pthread_mutex_unlock(&ring->lock);
		/* The ring's own: by now it is the caller's again. */
		if (ring->pass.open)
			(void)!kvr_pass_end(&ring->pass);
	}
	unmap_slots(plan);
	plan->ops->words_close(&plan->memory);
	free(plan->passes);
	free(plan);
}

/* ----------------------------------------------------------------- status */

static void expect(struct kvr_stream_plan *plan, uint64_t passes)
{
	struct kvr_ring *ring = plan->words.ring;

	pthread_mutex_lock(&ring->lock);
	plan->words.expected += passes;
	pthread_mutex_unlock(&ring->lock);
	kvr_progress_kick(ring);
}

enum kvr_status kvr_stream_plan_expect(struct kvr_stream_plan *plan,
				       uint64_t passes)
{
	if (!plan)
		return KVR_ERR_INVALID;
	if (kvr_context_forked(plan->context))
		return KVR_ERR_FORKED;
	if (!plan->words.ring)
		return KVR_ERR_STATE;
	expect(plan, passes);
	return KVR_OK;
}

enum kvr_status kvr_stream_plan_check(struct kvr_stream_plan *plan)
{
	_Atomic uint64_t *word;
	uint64_t code;

	if (!plan)
		return KVR_ERR_INVALID;
	if (kvr_context_forked(plan->context))
		return KVR_ERR_FORKED;
	word = &plan->words.word[KVR_WORD_STATUS].value;
	/* Pairs with report, in words.c. */
	code = atomic_load_explicit(word, memory_order_acquire);
	/* Said once, unless something worse came meanwhile. */
	if (code == (uint64_t)-KVR_ERR_CANCELLED &&
	    !atomic_compare_exchange_strong(word, &code, 0))
		code = atomic_load_explicit(word, memory_order_acquire);
	return (enum kvr_status)(-(int64_t)code);
}

struct kvr_pass *kvr_stream_plan_pass(struct kvr_stream_plan *plan)
{
	return plan->pass;
}

/* --------------------------------------------------------------- on streams */

static enum kvr_status check_call(const struct kvr_stream_plan *plan)
{
	if (!plan)
		return KVR_ERR_INVALID;
	if (kvr_context_forked(plan->context))
		return KVR_ERR_FORKED;
	if (!plan->words.ring)
		return KVR_ERR_STATE;
	return plan->lost;
}

static enum kvr_status lose(struct kvr_stream_plan *plan, const char *call,
			    enum kvr_status status, const char *reason)
{
	kvr_log(&plan->context->log, KVR_LOG_ERROR, "%s: %s", call, reason);
	plan->lost = status;
	return status;
}

static enum kvr_status put_write(struct kvr_stream_plan *plan, const char *call,
				 size_t word, uint32_t value, void *stream)
{
	char reason[256];
	enum kvr_status status =
		plan->ops->write(&plan->memory, word * sizeof(struct kvr_word),
				 value, stream, reason, sizeof(reason));

	return status == KVR_OK ? status : lose(plan, call, status, reason);
}

/* Waits for the word to be 1, and takes it back: what is replayed waits, too.
 */
static enum kvr_status put_wait(struct kvr_stream_plan *plan, const char *call,
				size_t word, void *stream)
{
	char reason[256];
	enum kvr_status status =
		plan->ops->wait(&plan->memory, word * sizeof(struct kvr_word),
				1, stream, reason, sizeof(reason));

	if (status != KVR_OK)
		return lose(plan, call, status, reason);
	return put_write(plan, call, word, 0, stream);
}

/* A graph's passes are announced when it is launched, and not here. */
static enum kvr_status put_start(struct kvr_stream_plan *plan, uint32_t code,
				 void *stream)
{
	enum kvr_status status;
	bool capturing;
	char reason[256];

	status = plan->ops->capturing(stream, &capturing, reason,
				      sizeof(reason));
	if (status != KVR_OK)
		return lose(plan, __func__, status, reason);
	if (!capturing)
		expect(plan, 1);
	status = put_write(plan, "kvr_pass_start_on_stream", KVR_WORD_START,
			   code, stream);
	if (status != KVR_OK && !capturing)
		expect(plan, (uint64_t)-1);
	return status;
}

enum kvr_status kvr_pass_start_on_stream(struct kvr_stream_plan *plan,
					 size_t index, void *stream)
{
	enum kvr_status status = check_call(plan);
	uint32_t first[KVR_LANES_MAX];
	const struct kvr_ring *ring;

	if (status != KVR_OK)
		return status;
	if (index >= plan->pass_count)
		return KVR_ERR_INVALID;
	if (plan->open)
		return KVR_ERR_STATE;
	ring = plan->words.ring;
	for (uint32_t lane = 0; lane < KVR_LANES_MAX; lane++)
		first[lane] = plan->lane[lane].first;
	status = put_start(
		plan,
		kvr_words_code(ring->options.slots, (uint32_t)index, first),
		stream);
	if (status != KVR_OK)
		return status;
	plan->open = true;
	plan->index = index;
	for (uint32_t lane = 0; lane < ring->options.lanes; lane++)
		plan->lane[lane] = (struct kvr_stream_lane){
			.first = first[lane],
			.steps = kvr_words_steps(ring, &plan->passes[index],
						 lane),
		};
	return KVR_OK;
}

static void fill_block(const struct kvr_stream_plan *plan, uint32_t lane,
		       uint32_t slot, uint32_t step, struct kvr_block *out)
{
	const struct kvr_ring *ring = plan->words.ring;
	const struct kvr_local_block *local =
		&plan->passes[plan->index].lane[lane];

	out->step = step;
	out->origin = (ring->rank + ring->n - step) % ring->n;
	out->metadata = NULL;
	out->metadata_bytes = 0;
	if (step) {
		out->data = plan->slots[kvr_ring_slot_index(ring, lane, slot)]
				    .device;
		out->bytes = ring->options.lane[lane].slot_bytes;
		return;
	}
	out->data = local->segment_count == 1
			    ? (char *)local->segments->memory->address +
				      local->segments->offset
			    : NULL;
	out->bytes = 0;
	for (size_t i = 0; i < local->segment_count; i++)
		out->bytes += local->segments[i].bytes;
}

enum kvr_status kvr_pass_next_on_stream(struct kvr_stream_plan *plan,
					uint32_t lane, void *stream,
					struct kvr_block *out)
{
	enum kvr_status status = check_call(plan);
	struct kvr_stream_lane *l;
	uint32_t slots, slot;

	if (status != KVR_OK)
		return status;
	if (!out || out->size != sizeof(*out) ||
	    lane >= plan->words.ring->options.lanes)
		return KVR_ERR_INVALID;
	if (!plan->open)
		return KVR_ERR_STATE;
	l = &plan->lane[lane];
	if (l->taken == l->steps)
		return KVR_ERR_END;
	slots = plan->words.ring->options.slots;
	slot = kvr_words_slot_of(slots, l->first, l->taken);
	/* It would wait for a release that comes after it. */
	if (l->held[slot])
		return KVR_ERR_STATE;
	status = put_wait(plan, "kvr_pass_next_on_stream",
			  kvr_word_of(slots, lane, slot, KVR_WORD_READY),
			  stream);
	if (status != KVR_OK)
		return status;
	fill_block(plan, lane, slot, l->taken, out);
	l->held[slot] = true;
	l->step[slot] = l->taken++;
	return KVR_OK;
}

enum kvr_status kvr_pass_release_on_stream(struct kvr_stream_plan *plan,
					   uint32_t lane, uint32_t step,
					   void *stream)
{
	enum kvr_status status = check_call(plan);
	struct kvr_stream_lane *l;
	uint32_t slots, slot;

	if (status != KVR_OK)
		return status;
	if (lane >= plan->words.ring->options.lanes)
		return KVR_ERR_INVALID;
	l = &plan->lane[lane];
	slots = plan->words.ring->options.slots;
	slot = kvr_words_slot_of(slots, l->first, step);
	if (!plan->open || !l->held[slot] || l->step[slot] != step)
		return KVR_ERR_STATE;
	status = put_write(plan, "kvr_pass_release_on_stream",
			   kvr_word_of(slots, lane, slot, KVR_WORD_RELEASED), 1,
			   stream);
	if (status == KVR_OK)
		l->held[slot] = false;
	return status;
}

enum kvr_status kvr_pass_end_on_stream(struct kvr_stream_plan *plan,
				       void *stream)
{
	static const char call[] = "kvr_pass_end_on_stream";
	enum kvr_status status = check_call(plan);
	uint32_t slots;

	if (status != KVR_OK)
		return status;
	if (!plan->open)
		return KVR_ERR_STATE;
	status = put_write(plan, call, KVR_WORD_END, 1, stream);
	if (status == KVR_OK)
		status = put_wait(plan, call, KVR_WORD_DONE, stream);
	if (status != KVR_OK)
		return status;
	plan->open = false;
	/* As the engine counts: see kvr_words_slot_of. */
	slots = plan->words.ring->options.slots;
	for (uint32_t lane = 0; lane < plan->words.ring->options.lanes; lane++)
		plan->lane[lane].first =
			(plan->lane[lane].first + plan->lane[lane].steps - 1) %
			slots;
	return KVR_OK;
}
