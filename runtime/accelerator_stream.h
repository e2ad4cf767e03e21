/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The accelerator seam's streams: a stream waits for words and writes words,
 * in order with the work that is on it. What the words are for is the affair
 * of runtime/words.h. Progress calls none of these; wait, write and capturing
 * wait neither for a stream nor for a device. reason: what failed, of a call
 * that does not return KVR_OK.
 */
#ifndef KVR_RUNTIME_ACCELERATOR_STREAM_H
#define KVR_RUNTIME_ACCELERATOR_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kvring/status.h"

/*
 * Host memory that a device maps. A word is 8 bytes, little-endian, at a
 * multiple of 8 of it; values stay below 2^31.
 */
struct kvr_accelerator_words {
	void *host;
	uint64_t device; /* the same bytes, as streams name them */
	bool wide;	 /* the device has operations of 64 bits; else 32 */
};

/* Memory of the host, as kernels reach it. */
struct kvr_accelerator_mapping {
	void *host;
	void *device; /* what kernels are given */
	bool ours;    /* by map: else the driver knew it */
};

struct kvr_accelerator_stream_ops {
	/*
	 * bytes of it, zero, for streams of the thread's current device.
	 * Blocks. Errors: NO_MEMORY, DEVICE.
	 */
	enum kvr_status (*words_open)(size_t bytes,
				      struct kvr_accelerator_words *out,
				      char *reason, size_t reason_bytes);

	/* No stream uses them any more. Blocks. */
	void (*words_close)(struct kvr_accelerator_words *words);

	/*
	 * Lets kernels of all devices reach bytes at host, whole pages, until
	 * unmap. What the driver knows already, its devices' memory included,
	 * stays as it is. Blocks. Errors: NO_MEMORY, DEVICE.
	 */
	enum kvr_status (*map)(void *host, size_t bytes,
			       struct kvr_accelerator_mapping *out,
			       char *reason, size_t reason_bytes);

	/* Blocks. A mapping of zeros is ignored. */
	void (*unmap)(struct kvr_accelerator_mapping *mapping);

	/*
	 * What is put on the stream from now on waits until the word at offset
	 * is value. Acquires: what whoever wrote it had written before is
	 * visible to it. Errors: DEVICE.
	 */
	enum kvr_status (*wait)(const struct kvr_accelerator_words *words,
				size_t offset, uint32_t value, void *stream,
				char *reason, size_t reason_bytes);

	/*
	 * When what is on the stream has happened, and is visible to the host
	 * and its devices, the word at offset becomes value. Errors: DEVICE.
	 */
	enum kvr_status (*write)(const struct kvr_accelerator_words *words,
				 size_t offset, uint32_t value, void *stream,
				 char *reason, size_t reason_bytes);

	/* Is what is put on the stream recorded, not done? Errors: DEVICE. */
	enum kvr_status (*capturing)(void *stream, bool *out, char *reason,
				     size_t reason_bytes);
};

#endif
