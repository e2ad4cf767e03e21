/* SPDX-License-Identifier: Apache-2.0 */
/* What every kvring call returns, and what this library is made of. */
#ifndef KVRING_STATUS_H
#define KVRING_STATUS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define KVR_API __attribute__((visibility("default")))
#define KVR_MUST_CHECK __attribute__((warn_unused_result))
#else
#define KVR_API
#define KVR_MUST_CHECK
#endif

/*
 * What a call returns: 0, or a negative number grouped by what is lost.
 * Outputs are set only on KVR_OK.
 */
enum kvr_status {
	KVR_OK = 0,

	/* The call is lost: it had no effect, everything else goes on. */
	KVR_ERR_INVALID = -1,	  /* an argument is wrong; see the log */
	KVR_ERR_STATE = -2,	  /* not now: released twice, pass still open */
	KVR_ERR_END = -3,	  /* no further block in this pass */
	KVR_ERR_AGAIN = -4,	  /* nothing to do yet; call again */
	KVR_ERR_NO_MEMORY = -5,	  /* the system has no memory left */
	KVR_ERR_LIMIT = -6,	  /* larger than the ring was opened for */
	KVR_ERR_UNSUPPORTED = -7, /* this build or machine cannot do it */
	KVR_ERR_FORKED = -8,	  /* opened by the parent process */
	KVR_ERR_SYSTEM = -9,	  /* a system call failed; the log has errno */
	KVR_ERR_CANCELLED = -10,  /* a rank cancelled this pass; ring intact */

	/* The ring is lost: close it; it can be opened again. */
	KVR_ERR_PEER_LOST = -20, /* a rank died or fell silent */
	KVR_ERR_TIMEOUT = -21,	 /* ranks alive, but a block never came */
	KVR_ERR_ABORTED = -22,	 /* a rank called kvr_ring_abort */
	KVR_ERR_MISMATCH = -23,	 /* ranks disagree; of a plan: ring intact */
	KVR_ERR_PROTOCOL = -24,	 /* a peer sent what the protocol forbids */
	KVR_ERR_CORRUPT = -25,	 /* a block's checksum is wrong */

	/* The device is lost. */
	KVR_ERR_DEVICE = -40, /* a call of it failed; the log has which */

	/* There is no GPU for us; what needs none goes on. */
	KVR_ERR_NO_GPU = -60,	   /* a driver, but no GPU that it shows */
	KVR_ERR_NO_DRIVER = -61,   /* no libcuda.so.1 */
	KVR_ERR_DRIVER_OLD = -62,  /* older than the plug-in's CUDA */
	KVR_ERR_DRIVER_STUB = -63, /* the toolkit's stub of libcuda is loaded */
	KVR_ERR_PLUGIN = -64 /* libkvring_cuda.so is not of this library */
};

/* One sentence, English, static: what happened and what to do next. */
KVR_API const char *kvr_status_text(enum kvr_status status);

/* The constant's own name, such as "KVR_ERR_PEER_LOST"; static. */
KVR_API const char *kvr_status_name(enum kvr_status status);

/* The ABI of the loaded library: major << 16 | minor. */
KVR_API uint32_t kvr_abi_version(void);

/* The release of the loaded library, such as "0.1.0"; static. */
KVR_API const char *kvr_version(void);

/* One back end, for `kvring info`. Strings are static but reason. */
struct kvr_backend_info {
	size_t size;
	const char *kind; /* "transport", "compute", "bootstrap" */
	const char *name;
	int usable;
	int between_processes; /* transports: or only inside one */
	char reason[160];      /* why not, or what it found */
};

KVR_API void kvr_backend_info_init(struct kvr_backend_info *info);

/* The index-th back end of this build. Errors: END past the last. */
KVR_API KVR_MUST_CHECK enum kvr_status
kvr_backend_get_info(uint32_t index, struct kvr_backend_info *out);

#ifdef __cplusplus
}
#endif

#endif
