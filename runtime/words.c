/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/words.h"

#include "runtime/clock.h"
#include "runtime/pass.h"

/* Nothing wakes us when a stream writes a word. */
#define LOOK_NS UINT64_C(100000)
/* When all is lost and streams only have to get out of their waits. */
#define BROKEN_LOOK_NS KVR_NS_PER_MS

size_t kvr_words_count(const struct kvr_ring *ring)
{
	return kvr_word_of(ring->options.slots, ring->options.lanes, 0, 0);
}

uint32_t kvr_words_steps(const struct kvr_ring *ring,
			 const struct kvr_pass_desc *desc, uint32_t lane)
{
	if (ring->n == 1)
		return 1;
	if (ring->options.lane[lane].kind == KVR_LANE_ACCUMULATING)
		return ring->n + 1;
	return desc->hops == KVR_HOPS_ALL ? ring->n : desc->hops + 1;
}

/* ------------------------------------------------------------ the words */

static _Atomic uint64_t *slot_word(const struct kvr_words *w, uint32_t lane,
				   uint32_t slot, uint32_t which)
{
	return &w->word[kvr_word_of(w->ring->options.slots, lane, slot, which)]
			.value;
}

/*
 * What a stream wrote, which is then taken: pairs with the fence before its
 * write, so that all the stream did before has happened.
 */
static uint32_t take_word(_Atomic uint64_t *word)
{
	if (!atomic_load_explicit(word, memory_order_relaxed))
		return 0;
	return (uint32_t)atomic_exchange_explicit(word, 0,
						  memory_order_acquire);
}

/*
 * Lets a stream go on: pairs with its wait. What went before, the flush of a
 * block (kvr_progress_step) or the status word, is visible to what follows on
 * the stream.
 */
static void give_word(_Atomic uint64_t *word)
{
	atomic_store_explicit(word, 1, memory_order_release);
}

/* The first cause wins, but for CANCELLED, with which the ring goes on. */
static void report(struct kvr_words *w, enum kvr_status status)
{
	_Atomic uint64_t *word = &w->word[KVR_WORD_STATUS].value;
	uint64_t known = atomic_load_explicit(word, memory_order_relaxed);

	if (known == 0 || known == (uint64_t)-KVR_ERR_CANCELLED)
		atomic_store_explicit(word, (uint64_t)-status,
				      memory_order_release);
}

/* No stream waits for ever: whatever it waits for, it gets. */
static void let_through(struct kvr_words *w)
{
	for (uint32_t lane = 0; lane < w->ring->options.lanes; lane++)
		for (uint32_t i = 0; i <= w->ring->options.slots; i++)
			give_word(slot_word(w, lane, i, KVR_WORD_READY));
	give_word(&w->word[KVR_WORD_DONE].value);
}

/* ---------------------------------------------------------------- start */

/* The ring cannot be what the streams take it for: nothing more is exact. */
static void refuse(struct kvr_words *w, const char *what)
{
	struct kvr_ring *ring = w->ring;

	kvr_log(&ring->context->log, KVR_LOG_ERROR,
		"rank %u: a pass started on a stream %s", ring->rank, what);
	report(w, KVR_ERR_STATE);
	kvr_engine_abort(ring->engine, ring->rank, KVR_CAUSE_CALLER);
}

/* A code says which pass; and it holds for these slots alone. */
static bool read_code(struct kvr_words *w, uint32_t code)
{
	struct kvr_ring *ring = w->ring;
	uint32_t slots = ring->options.slots;

	w->index = (code - 1) / (slots * slots);
	for (uint32_t lane = 0; lane < KVR_LANES_MAX; lane++)
		w->first[lane] =
			lane < ring->options.lanes
				? kvr_engine_next_slot(ring->engine, lane)
				: 0;
	return w->index < w->pass_count &&
	       kvr_words_code(slots, w->index, w->first) == code;
}

static bool see_start(struct kvr_words *w, uint64_t now_ns)
{
	uint32_t code = take_word(&w->word[KVR_WORD_START].value);

	if (!code)
		return false;
	if (w->expected)
		w->expected--;
	if (w->state != KVR_WORDS_IDLE) {
		refuse(w, "while one is open");
	} else if (!read_code(w, code)) {
		refuse(w, "expects its blocks in other slots: replay graphs "
			  "only of so many passes that their hops are a "
			  "multiple of the ring's slots");
	} else {
		w->state = KVR_WORDS_STARTING;
		w->moved_ns = now_ns;
	}
	return true;
}

static bool start(struct kvr_words *w, uint64_t now_ns)
{
	const struct kvr_pass_desc *desc = &w->passes[w->index];
	enum kvr_status status = kvr_pass_open(w->ring, desc, now_ns);

	if (status == KVR_ERR_AGAIN)
		return false;
	if (status != KVR_OK) {
		refuse(w, "cannot begin");
		return true;
	}
	w->state = KVR_WORDS_OPEN;
	w->cancelled = false;
	w->moved_ns = now_ns;
	for (uint32_t lane = 0; lane < w->ring->options.lanes; lane++) {
		w->steps[lane] = kvr_words_steps(w->ring, desc, lane);
		w->given[lane] = 0;
	}
	return true;
}

/* --------------------------------------------------------------- blocks */

/* Those that the stream is through with. */
static bool collect(struct kvr_words *w, uint32_t lane, uint64_t now_ns)
{
	bool acted = false;

	for (uint32_t i = 0; i <= w->ring->options.slots; i++) {
		struct kvr_words_slot *s = &w->slot[lane][i];

		if (!s->given ||
		    !take_word(slot_word(w, lane, i, KVR_WORD_RELEASED)))
			continue;
		s->given = false;
		w->out--;
		w->moved_ns = now_ns;
		acted = true;
		if (s->real && kvr_engine_release(w->ring->engine, lane,
						  s->step) == KVR_OK)
			kvr_pass_note_released(&w->ring->pass, lane, s->step,
					       now_ns);
	}
	return acted;
}

/* The slot of the next step, if that step is still to come and it is free. */
static struct kvr_words_slot *next_slot(struct kvr_words *w, uint32_t lane,
					uint32_t *slot)
{
	uint32_t step = w->given[lane];

	*slot = kvr_words_slot_of(w->ring->options.slots, w->first[lane], step);
	return step < w->steps[lane] && !w->slot[lane][*slot].given
		       ? &w->slot[lane][*slot]
		       : NULL;
}

/*
 * Is there a block for the stream? Of a cancelled pass it gets what is not
 * there: its steps are fixed, and their words must be as after any other pass.
 */
static bool give(struct kvr_words *w, uint32_t lane, uint64_t now_ns)
{
	struct kvr_engine_block block;
	struct kvr_words_slot *s;
	enum kvr_status status;
	uint32_t slot;

	s = next_slot(w, lane, &slot);
	if (!s)
		return false;
	status = w->cancelled ? KVR_ERR_CANCELLED
			      : kvr_engine_take(w->ring->engine, lane, &block);
	if (status != KVR_OK && status != KVR_ERR_CANCELLED)
		return false;
	if (status == KVR_ERR_CANCELLED && !w->cancelled)
		report(w, status);
	w->cancelled = status != KVR_OK;
	*s = (struct kvr_words_slot){w->given[lane]++, true, !w->cancelled};
	if (s->real)
		kvr_pass_note_taken(&w->ring->pass, lane, s->step,
				    w->out ? now_ns : w->moved_ns, now_ns);
	w->out++;
	w->moved_ns = now_ns;
	give_word(slot_word(w, lane, slot, KVR_WORD_READY));
	return true;
}

static bool serve(struct kvr_words *w, uint64_t now_ns)
{
	bool acted = false;

	for (uint32_t lane = 0; lane < w->ring->options.lanes; lane++) {
		acted |= collect(w, lane, now_ns);
		while (give(w, lane, now_ns))
			acted = true;
	}
	return acted;
}

/* ------------------------------------------------------------------ end */

/* Every write of the stream's before came first: the words are ours. */
static void forget_blocks(struct kvr_words *w)
{
	for (uint32_t lane = 0; lane < w->ring->options.lanes; lane++) {
		for (uint32_t i = 0; i <= w->ring->options.slots; i++) {
			if (!w->slot[lane][i].given)
				continue;
			w->slot[lane][i].given = false;
			atomic_store_explicit(
				slot_word(w, lane, i, KVR_WORD_READY), 0,
				memory_order_relaxed);
			atomic_store_explicit(
				slot_word(w, lane, i, KVR_WORD_RELEASED), 0,
				memory_order_relaxed);
		}
	}
	w->out = 0;
}

static bool see_end(struct kvr_words *w, uint64_t now_ns)
{
	if (!take_word(&w->word[KVR_WORD_END].value))
		return false;
	for (uint32_t lane = 0; lane < w->ring->options.lanes; lane++)
		collect(w, lane, now_ns);
	forget_blocks(w);
	w->state = KVR_WORDS_ENDING;
	w->moved_ns = now_ns;
	return true;
}

static bool end(struct kvr_words *w, uint64_t now_ns)
{
	enum kvr_status status = kvr_engine_end(w->ring->engine);

	if (status != KVR_OK && status != KVR_ERR_CANCELLED)
		return false;
	if (status != KVR_OK)
		report(w, status);
	kvr_pass_note_end(&w->ring->pass, status, now_ns);
	w->state = KVR_WORDS_IDLE;
	give_word(&w->word[KVR_WORD_DONE].value);
	return true;
}

/* ------------------------------------------------------------------ run */

/*
 * Is it the ring that keeps the pass waiting, and not a stream that computes?
 * The recorder shall know.
 */
static bool waits(struct kvr_words *w, uint64_t now_ns)
{
	enum kvr_recording_wait wait = KVR_WAIT_NEXT;
	uint32_t lane = 0, slot;

	switch (w->state) {
	case KVR_WORDS_STARTING:
		wait = KVR_WAIT_BEGIN;
		break;
	case KVR_WORDS_ENDING:
		wait = KVR_WAIT_END;
		break;
	case KVR_WORDS_OPEN:
		while (lane < w->ring->options.lanes &&
		       !next_slot(w, lane, &slot))
			lane++;
		if (lane < w->ring->options.lanes)
			break;
		return false;
	default:
		return false;
	}
	kvr_ring_waits(w->ring, wait, lane, now_ns);
	return true;
}

static bool advance(struct kvr_words *w, uint64_t now_ns)
{
	uint64_t patience_ns = w->ring->options.wait_timeout_ms * KVR_NS_PER_MS;
	bool acted = see_start(w, now_ns);

	if (w->state == KVR_WORDS_STARTING)
		acted |= start(w, now_ns);
	if (w->state == KVR_WORDS_OPEN)
		acted |= see_end(w, now_ns) || serve(w, now_ns);
	if (w->state == KVR_WORDS_ENDING)
		acted |= end(w, now_ns);
	if (waits(w, now_ns) && now_ns >= w->moved_ns + patience_ns)
		kvr_engine_abort(w->ring->engine, KVR_RANK_NONE,
				 KVR_CAUSE_STALLED);
	return acted;
}

static void fail(struct kvr_words *w, enum kvr_status status, uint64_t now_ns)
{
	w->state = KVR_WORDS_BROKEN;
	report(w, status);
	if (w->ring->pass.open)
		kvr_pass_note_end(&w->ring->pass, status, now_ns);
}

bool kvr_words_run(struct kvr_words *words, uint64_t now_ns)
{
	const struct kvr_engine_failure *failure =
		kvr_engine_failure(words->ring->engine);
	bool acted = false;

	if (words->state != KVR_WORDS_BROKEN && failure->status == KVR_OK)
		acted = advance(words, now_ns);
	if (words->state != KVR_WORDS_BROKEN && failure->status != KVR_OK)
		fail(words, failure->status, now_ns);
	if (words->state == KVR_WORDS_BROKEN)
		let_through(words);
	return acted;
}

uint64_t kvr_words_look_ns(const struct kvr_words *words, uint64_t now_ns)
{
	if (words->state == KVR_WORDS_BROKEN)
		return now_ns + BROKEN_LOOK_NS;
	if (words->state != KVR_WORDS_IDLE || words->expected)
		return now_ns + LOOK_NS;
	return UINT64_MAX;
}

void kvr_words_attach(struct kvr_words *words, struct kvr_ring *ring,
		      struct kvr_word *word, const struct kvr_pass_desc *passes,
		      uint32_t pass_count)
{
	*words = (struct kvr_words){
		.ring = ring,
		.word = word,
		.passes = passes,
		.pass_count = pass_count,
	};
	ring->words = words;
}

void kvr_words_detach(struct kvr_words *words)
{
	if (!words->ring)
		return;
	let_through(words);
	words->ring->words = NULL;
	words->ring = NULL;
}
