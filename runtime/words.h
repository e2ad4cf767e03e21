/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The words by which a stream of a GPU and progress talk. A stream calls
 * nobody: it waits for words and writes words, in host memory that the GPU
 * maps. Whoever progresses the ring looks at them, in kvr_progress_step.
 *
 *	stream				progress
 *	Write(start, code)	-->	start := 0; the pass begins
 *	Wait(ready == 1)	<--	block complete and flushed; ready := 1
 *	Write(ready, 0)
 *	...computes...
 *	Write(released, 1)	-->	released := 0; the block is released
 *	Write(end, 1)		-->	end := 0; the pass ends
 *	Wait(done == 1)		<--	local block no longer read; done := 1
 *	Write(done, 0)
 *
 * ready and released are of a slot, local blocks have a pair of their own.
 * What a stream has waited for it consumes, so that the same operations, with
 * the same constants, can be replayed: see docs/gpu-streams.md.
 *
 * Order. A stream's write is preceded by a fence: all it did before is visible
 * to who sees the word, by an acquire. Ours are releases, which pair with the
 * stream's wait. Values are 0, 1 and codes below 2^31: words of 32 bits do.
 */
#ifndef KVR_RUNTIME_WORDS_H
#define KVR_RUNTIME_WORDS_H

#include <stdatomic.h>

#include "runtime/ring.h"

/* Each on a line of its own: a GPU's and ours would push each other out. */
struct kvr_word {
	_Alignas(64) _Atomic uint64_t value;
};

enum {
	KVR_WORD_START,
	KVR_WORD_END,
	KVR_WORD_DONE,
	KVR_WORD_STATUS,
	KVR_WORD_SLOTS
};

enum { KVR_WORD_READY, KVR_WORD_RELEASED };

/* Where a word of a slot stands; slot == slots: the local block. */
static inline size_t kvr_word_of(uint32_t slots, uint32_t lane, uint32_t slot,
				 uint32_t which)
{
	return KVR_WORD_SLOTS + 2 * ((size_t)lane * (slots + 1) + slot) + which;
}

/* Passes that a plan may choose from, so that a code fits into 31 bits. */
#define KVR_WORDS_PASSES_MAX 65536

/*
 * What a start says: which pass, and in which slots its streams expect the
 * first blocks to land. Never 0.
 */
static inline uint32_t kvr_words_code(uint32_t slots, uint32_t index,
				      const uint32_t slot[KVR_LANES_MAX])
{
	return 1 + slot[0] + slots * (slot[1] + slots * index);
}

enum kvr_words_state {
	KVR_WORDS_IDLE,	    /* no pass */
	KVR_WORDS_STARTING, /* started, but neighbours are far behind */
	KVR_WORDS_OPEN,
	KVR_WORDS_ENDING,
	KVR_WORDS_BROKEN /* the ring failed: every wait is let through */
};

/* A slot's block, with the stream. */
struct kvr_words_slot {
	uint32_t step;
	bool given;
	bool real; /* the engine's; else made up, for a cancelled pass */
};

/* All under ring->lock. */
struct kvr_words {
	struct kvr_ring *ring; /* NULL: closed under it */
	struct kvr_word *word; /* kvr_words_count of them; borrowed */
	const struct kvr_pass_desc *passes; /* borrowed */
	uint32_t pass_count;

	enum kvr_words_state state;
	uint64_t expected; /* starts announced and not seen */
	uint32_t index;	   /* of the pass that is not idle */
	bool cancelled;
	uint32_t first[KVR_LANES_MAX]; /* slot of step 1 */
	uint32_t steps[KVR_LANES_MAX]; /* of the pass, the local one included */
	uint32_t given[KVR_LANES_MAX];
	uint32_t out;	   /* blocks with the stream */
	uint64_t moved_ns; /* when a block came or went last */
	struct kvr_words_slot slot[KVR_LANES_MAX][KVR_SLOTS_MAX + 1];
};

size_t kvr_words_count(const struct kvr_ring *ring);

/* Steps that a lane of such a pass has on this ring. */
uint32_t kvr_words_steps(const struct kvr_ring *ring,
			 const struct kvr_pass_desc *desc, uint32_t lane);

/* The slot of a step whose pass has its first block land in `first`. */
static inline uint32_t kvr_words_slot_of(uint32_t slots, uint32_t first,
					 uint32_t step)
{
	return step ? (first + step - 1) % slots : slots;
}

/*
 * All of these with ring->lock held. word is zero; no pass is open. From then
 * on passes of the ring begin by the start word, until detached.
 */
void kvr_words_attach(struct kvr_words *words, struct kvr_ring *ring,
		      struct kvr_word *word, const struct kvr_pass_desc *passes,
		      uint32_t pass_count);

/* Lets all waits through, once. A pass that is open stays the ring's. */
void kvr_words_detach(struct kvr_words *words);

/* Looks at the words, after the engine was fed. Was anything done? */
bool kvr_words_run(struct kvr_words *words, uint64_t now_ns);

/* When to look again though nothing else happens; UINT64_MAX: never. */
uint64_t kvr_words_look_ns(const struct kvr_words *words, uint64_t now_ns);

#endif
