/* SPDX-License-Identifier: Apache-2.0 */
/* A stream plan: what the caller puts on streams; the rest is in words.h. */
#ifndef KVR_RUNTIME_STREAM_PLAN_H
#define KVR_RUNTIME_STREAM_PLAN_H

#include "kvring/cuda.h"
#include "runtime/accelerator_stream.h"
#include "runtime/words.h"

/* One lane of the pass that is being put on streams. */
struct kvr_stream_lane {
	uint32_t first; /* slot of step 1 */
	uint32_t steps, taken;
	bool held[KVR_SLOTS_MAX + 1];
	uint32_t step[KVR_SLOTS_MAX + 1]; /* in that slot */
};

/*
 * The streams run behind, and perhaps again and again: this is what they were
 * told, words is what they have done. But for words, of the caller's thread.
 */
struct kvr_stream_plan {
	struct kvr_context *context;
	const struct kvr_accelerator_stream_ops *ops;
	struct kvr_accelerator_words memory;
	struct kvr_accelerator_mapping *slots; /* [lane * slots + slot] */
	size_t slot_count;
	struct kvr_pass *pass;
	struct kvr_pass_desc *passes; /* owned; their lists are borrowed */
	size_t pass_count;
	enum kvr_status lost; /* the device's: nothing more goes */
	bool open;
	size_t index; /* of the pass that is open */
	struct kvr_stream_lane lane[KVR_LANES_MAX];
	struct kvr_words words;
};

/* kvr_stream_plan_create with the operations of some device. */
enum kvr_status
kvr_stream_plan_create_on(const struct kvr_accelerator_stream_ops *ops,
			  struct kvr_ring *ring,
			  const struct kvr_pass_desc *passes, size_t count,
			  struct kvr_stream_plan **out);

#endif
