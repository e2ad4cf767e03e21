/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The accelerator seam: what the runtime asks of GPUs. Behind it is a plug-in,
 * libkvring_cuda.so (compute/cuda/), loaded at run time, so that one binary
 * serves machines with and without a GPU, and this library links no CUDA.
 *
 *	kvr_accelerator_open -> dlopen, ABI checked, probe -> the table
 *
 * How to extend: a group of operations (memory, streams, attention) is a table
 * of its own, `static const` in the plug-in, pointed to by a slot appended to
 * struct kvr_accelerator_ops; its contract stands in a header of its own,
 * runtime/accelerator_GROUP.h, without a CUDA type: a stream or an event is a
 * void *, an address of a device a void * or uint64_t. All slots of all tables
 * are filled, and each has a caller. KVR_ACCELERATOR_ABI rises with the first
 * change after a release; `size` tells unreleased builds apart.
 *
 * Threads: every operation may be called by any thread, and leaves the calling
 * thread's current device as it was. Which may block in the driver is said
 * with each; the progress thread calls none of those.
 */
#ifndef KVR_RUNTIME_ACCELERATOR_H
#define KVR_RUNTIME_ACCELERATOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kvring/gpu.h"

#define KVR_ACCELERATOR_ABI 1
/* The plug-in's one symbol: struct kvr_accelerator_ops, read-only. */
#define KVR_ACCELERATOR_SYMBOL "kvr_accelerator_plugin"

enum kvr_pointer_kind {
	KVR_POINTER_HOST,   /* nothing that the driver knows */
	KVR_POINTER_PINNED, /* host memory that it registered or allocated */
	KVR_POINTER_DEVICE,
	KVR_POINTER_MANAGED /* migrates: no RDMA card may write it */
};

/* What an address is. Fields below kind are 0 for KVR_POINTER_HOST. */
struct kvr_pointer_info {
	enum kvr_pointer_kind kind;
	uint32_t device;   /* as kvr_gpu_get_info counts */
	uint64_t base;	   /* of the allocation that holds the address */
	uint64_t bytes;	   /* of that allocation */
	bool direct_rdma;  /* nvidia_peermem and its kind may map it */
	bool vmm;	   /* by cuMemCreate and cuMemMap: may be of pieces */
	bool pool;	   /* by cudaMallocAsync */
	uint64_t identity; /* of the allocation: never given out twice */
};

struct kvr_accelerator_stream_ops;
struct kvr_accelerator_attention_ops;
struct kvr_accelerator_memory_ops; /* accelerator_memory.h */

struct kvr_accelerator_ops {
	/* First, and for ever there: what is read before all is trusted. */
	uint32_t abi;	  /* KVR_ACCELERATOR_ABI */
	uint32_t size;	  /* sizeof(struct kvr_accelerator_ops) */
	const char *name; /* "cuda" */

	/*
	 * Starts the driver. When this is not KVR_OK, reason says why and what
	 * to do; when it is, what was found. Blocks for as long as the driver
	 * takes: 0.1 to 3 s. Errors: NO_DRIVER, DRIVER_OLD, DRIVER_STUB,
	 * NO_GPU, DEVICE.
	 */
	enum kvr_status (*probe)(char *reason, size_t reason_bytes);

	/*
	 * The index-th GPU. Blocks. Errors: END; DEVICE, with the reason as
	 * in probe. Makes no context on the GPU.
	 */
	enum kvr_status (*device_info)(uint32_t index, struct kvr_gpu_info *out,
				       char *reason, size_t reason_bytes);

	/*
	 * What address is, in this process. May take the driver's locks.
	 * Errors: DEVICE, when the driver does not answer.
	 */
	enum kvr_status (*pointer_query)(const void *address,
					 struct kvr_pointer_info *out);

	/* Words in the order of streams: runtime/accelerator_stream.h. */
	const struct kvr_accelerator_stream_ops *stream;

	/* runtime/accelerator_attention.h */
	const struct kvr_accelerator_attention_ops *attention;
	const struct kvr_accelerator_memory_ops *memory;
};

/*
 * The plug-in, opened and probed by the first call of the process; later ones
 * return the same. Looked for: only at KVRING_CUDA_PLUGIN where that is set
 * (empty: nowhere); else beside this library, or beside the program that it is
 * linked into; else where the loader looks. reason is always set. Errors:
 * UNSUPPORTED when there is none; PLUGIN when it does not load or is not of
 * this library; those of probe.
 */
enum kvr_status kvr_accelerator_open(const struct kvr_accelerator_ops **out,
				     char *reason, size_t reason_bytes);

/*
 * The same where this process may have memory of a GPU: when the plug-in is
 * open, or a CUDA driver is loaded, whoever did that. Else NULL, and neither
 * is loaded for the question: that takes long, and host memory needs none.
 */
const struct kvr_accelerator_ops *kvr_accelerator_present(void);

#endif
