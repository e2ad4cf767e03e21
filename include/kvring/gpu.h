/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What kvring finds of GPUs on this machine, for `kvring info` and for
 * programs that explain their set-up. No context or ring is needed; any
 * thread may call at any time.
 */
#ifndef KVRING_GPU_H
#define KVRING_GPU_H

#include "kvring/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Who sees what an RDMA card wrote into the GPU's memory, without a flush. */
enum kvr_gpu_ordering {
	KVR_GPU_ORDERING_NONE = 0,   /* nobody */
	KVR_GPU_ORDERING_OWNER = 1,  /* the GPU itself */
	KVR_GPU_ORDERING_DEVICES = 2 /* every GPU of the machine */
};

/* How RDMA cards reach its memory: docs/gpu-memory.md. */
enum kvr_gpu_way {
	KVR_GPU_WAY_AUTO = 0, /* the first of these that works */
	KVR_GPU_WAY_DMABUF = 1,
	KVR_GPU_WAY_PEERMEM = 2 /* nvidia_peermem */
};

/* What makes visible to it what a card wrote. */
enum kvr_gpu_flush {
	KVR_GPU_FLUSH_AUTO = 0, /* the one that the GPU needs */
	KVR_GPU_FLUSH_NONE = 1,
	KVR_GPU_FLUSH_HOST = 2, /* cuFlushGPUDirectRDMAWrites */
	KVR_GPU_FLUSH_READ = 3	/* the card reads back from the GPU */
};

/* How memory of GPUs is reached, by context. Elsewhere it changes nothing. */
struct kvr_gpu_options {
	size_t size;
	enum kvr_gpu_way way;	  /* AUTO: KVRING_GPU_WAY, else as said */
	enum kvr_gpu_flush flush; /* AUTO: KVRING_GPU_FLUSH, else as said */
	/* 1: dma-bufs mapped by PCIe, 0: not, where a GPU has another way, too
	 * (C2C); -1: KVRING_GPU_PCIE, else as is best */
	int32_t pcie;
};

KVR_API void kvr_gpu_options_init(struct kvr_gpu_options *options);

/* One GPU. Flags are 0 or 1, as the driver says. */
struct kvr_gpu_info {
	size_t size;
	char name[64];			  /* such as "NVIDIA H100 80GB HBM3" */
	char pci_address[16];		  /* as sysfs has it: "0000:3b:00.0" */
	int compute_major, compute_minor; /* compute capability: 9, 0 */
	uint64_t memory_bytes;
	int driver_version, runtime_version; /* of CUDA: 13000 is 13.0 */

	/* How an RDMA card may reach its memory. */
	int dmabuf;	     /* exports it as a dma-buf */
	int direct_rdma;     /* nvidia_peermem and its kind may map it */
	int direct_rdma_vmm; /* also memory made by cuMemCreate, if asked */

	/* What makes visible to it what a card wrote. */
	enum kvr_gpu_ordering ordering;
	int flush_by_host;    /* cuFlushGPUDirectRDMAWrites */
	int flush_by_stream;  /* a flush as an operation of a stream */
	int host_page_tables; /* coherent with the host (C2C): no PCIe between
			       */

	int stream_words_64; /* streams wait for and write 64-bit words */
};

KVR_API void kvr_gpu_info_init(struct kvr_gpu_info *info);

/*
 * The index-th GPU, as CUDA counts them: CUDA_VISIBLE_DEVICES applies. The
 * first call of a process loads the plug-in libkvring_cuda.so and starts the
 * driver; what came of that stays so until the process ends. A child forked
 * after it cannot use CUDA. When this is not KVR_OK, reason (KVR_OK: "") says
 * in reason_bytes why, and what to do. Errors: INVALID; END past the last GPU;
 * UNSUPPORTED when there is no plug-in; PLUGIN when it is not of this library
 * or does not load; NO_DRIVER, DRIVER_OLD, DRIVER_STUB; NO_GPU; DEVICE when
 * the driver does not start or the GPU does not answer.
 */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_gpu_get_info(uint32_t index, struct kvr_gpu_info *out, char *reason,
		 size_t reason_bytes);

/* How an RDMA card would reach memory of a GPU that cudaMalloc made. */
struct kvr_gpu_path {
	size_t size;
	enum kvr_gpu_way way; /* the first to be tried; AUTO: there is none */
	int by_pcie;	      /* of a dma-buf, where there is another way */
	enum kvr_gpu_flush flush; /* AUTO: there is none that would do */
	char why[320];		  /* ways left out, and why; or "" */
	char flush_why[96];
};

KVR_API void kvr_gpu_path_init(struct kvr_gpu_path *path);

/*
 * What a context with the environment's settings would try for the RDMA device
 * of that name ("mlx5_0") and the index-th GPU. By what drivers say: nothing
 * is registered, and no context made on the GPU. When this is not KVR_OK,
 * reason (KVR_OK: "") says why in reason_bytes. Errors: those of
 * kvr_gpu_get_info and kvr_device_get_info.
 */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_gpu_get_path(const char *rdma_device, uint32_t index,
		 struct kvr_gpu_path *out, char *reason, size_t reason_bytes);

#ifdef __cplusplus
}
#endif

#endif
