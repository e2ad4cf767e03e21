/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention on an accelerator, in stream order: one rank's side of the
 * attention of a plan, as runtime/compute.h has it, but with tensors, blocks
 * and results in device memory.
 *
 *	open -> { pack, begin, step ... step, finish } -> close
 *
 * Every call that takes a stream (a cudaStream_t; NULL: the legacy default
 * stream) enqueues and returns: what it reads must be there, and what it
 * writes is there, in that stream's order. None allocates, synchronises or
 * looks at device memory, so that all can be captured into a graph, and a graph
 * of steps be replayed on other contents of the same addresses. Host arguments
 * (tensor structs, ranges) are read before the call returns. The calls of an
 * object come one at a time, each on a stream ordered behind the one before.
 *
 * A block may also lie in host memory: it is then copied to or from memory of
 * the object, for rings whose slots are there. With memory that is not pinned
 * such a call waits for the copy, and cannot be captured.
 *
 * Numerics: as compute.h, with two differences. Weights are rounded to the
 * input type before they meet the values, and summed so rounded; and a row's
 * last bits may depend on how many rows and keys share its tile, since cuBLAS
 * chooses a kernel by the size of a product. Two runs of the same calls agree
 * bit for bit.
 *
 * The calling thread's current device is that of the object: the one that was
 * current when it was opened. DEVICE: reason, or failure, has the text.
 */
#ifndef KVR_RUNTIME_ACCELERATOR_ATTENTION_H
#define KVR_RUNTIME_ACCELERATOR_ATTENTION_H

#include "runtime/compute.h"

/* Ranks can share blocks when it is equal; those of the CPUs are others. */
#define KVR_ACCELERATOR_LAYOUT_ID 16

struct kvr_accelerator_attention;

struct kvr_accelerator_attention_options {
	bool tf32;	    /* f32 products of 10 bits of mantissa: faster */
	size_t cache_bytes; /* that tiles may share; 0: the device's L2 */
};

struct kvr_accelerator_attention_ops {
	/*
	 * Loads cuBLAS, which the rest of the plug-in does without; reason
	 * says why not, or what was found. Errors: UNSUPPORTED.
	 */
	enum kvr_status (*probe)(char *reason, size_t reason_bytes);

	/* As kvr_compute_ops' of that name. */
	size_t (*block_bytes)(const struct kvr_compute_shape *shape,
			      struct kvr_ranges kv);

	/*
	 * Allocates partials and workspace, whose size does not depend on the
	 * keys; starts two streams. shape->sinks and q are copied. Errors:
	 * UNSUPPORTED (no cuBLAS, or a kv_wire that is not plain), NO_MEMORY,
	 * DEVICE.
	 */
	enum kvr_status (*open)(
		const struct kvr_compute_shape *shape, struct kvr_ranges q,
		const struct kvr_accelerator_attention_options *options,
		struct kvr_accelerator_attention **out, char *reason,
		size_t reason_bytes);

	/* Waits for what was enqueued. NULL is ignored. */
	void (*close)(struct kvr_accelerator_attention *attention);

	/*
	 * Room for blocks of so many ranges, and of so many bytes where they
	 * come from host memory (0: none do). Not between begin and finish.
	 * Errors: NO_MEMORY.
	 */
	enum kvr_status (*reserve)(struct kvr_accelerator_attention *attention,
				   size_t ranges, size_t host_bytes);

	/* Can kernels read this address? Not that of pageable host memory. */
	bool (*can_read)(const void *address);

	/* k, v rows in the order of kv's ranges -> block. Errors: DEVICE. */
	enum kvr_status (*pack)(struct kvr_accelerator_attention *attention,
				struct kvr_ranges kv,
				const struct kvr_tensor *k,
				const struct kvr_tensor *v, void *block,
				void *stream);

	/* Partials to "nothing seen". q's memory is borrowed until finish. */
	enum kvr_status (*begin)(struct kvr_accelerator_attention *attention,
				 const struct kvr_tensor *q, void *stream);

	/* Adds a block. Errors: DEVICE. */
	enum kvr_status (*step)(struct kvr_accelerator_attention *attention,
				struct kvr_ranges kv, const void *block,
				void *stream);

	/* Normalises, as kvr_compute_ops' finish. Errors: DEVICE. */
	enum kvr_status (*finish)(struct kvr_accelerator_attention *attention,
				  const struct kvr_tensor *out, float *lse,
				  size_t lse_head_stride, void *stream);

	/*
	 * kvr_attention_merge of partials in device memory; of no object.
	 * Errors: INVALID, DEVICE.
	 */
	enum kvr_status (*merge)(const struct kvr_partial *a,
				 const struct kvr_partial *b,
				 const struct kvr_partial *out, void *stream);

	/*
	 * Has the stream done what was enqueued? block: sleeps until it has.
	 * Errors: AGAIN (not yet), DEVICE.
	 */
	enum kvr_status (*wait)(struct kvr_accelerator_attention *attention,
				void *stream, bool block);

	/* Text of the newest DEVICE of an object's call. */
	const char *(*failure)(
		const struct kvr_accelerator_attention *attention);
};

#endif
