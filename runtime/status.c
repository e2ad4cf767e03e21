/* SPDX-License-Identifier: Apache-2.0 */
#include "kvring/status.h"

struct status_entry {
	enum kvr_status status;
	const char *name;
	const char *text;
};

#define ENTRY(status, text)                                                    \
	{                                                                      \
		status, #status, text                                          \
	}

static const struct status_entry entries[] = {
	ENTRY(KVR_OK, "success"),
	ENTRY(KVR_ERR_INVALID, "an argument is wrong; the log says which, "
			       "where there is one yet"),
	ENTRY(KVR_ERR_STATE,
	      "not allowed in this state; correct the order of calls"),
	ENTRY(KVR_ERR_END, "the pass has no further block; end it"),
	ENTRY(KVR_ERR_AGAIN, "nothing to do yet; call again"),
	ENTRY(KVR_ERR_NO_MEMORY,
	      "out of memory; use smaller blocks, fewer slots or more ranks"),
	ENTRY(KVR_ERR_LIMIT, "larger than the ring was opened for; "
			     "open it with larger slots or chunks"),
	ENTRY(KVR_ERR_UNSUPPORTED,
	      "this build or machine cannot do it; `kvring info` says why"),
	ENTRY(KVR_ERR_FORKED,
	      "the object belongs to the parent process; open one here"),
	ENTRY(KVR_ERR_SYSTEM, "a system call failed; the log has the reason"),
	ENTRY(KVR_ERR_CANCELLED,
	      "a rank cancelled the pass; the ring is intact, begin the next"),
	ENTRY(KVR_ERR_PEER_LOST,
	      "a rank died or fell silent; reopen the ring without it"),
	ENTRY(KVR_ERR_TIMEOUT, "a block did not come within wait_timeout_ms; "
			       "look for a rank that never released one"),
	ENTRY(KVR_ERR_ABORTED, "a rank gave up the ring; reopen it"),
	ENTRY(KVR_ERR_MISMATCH,
	      "the ranks disagree; the log names the field and both values"),
	ENTRY(KVR_ERR_PROTOCOL, "a peer broke the protocol; check that all "
				"ranks run one version"),
	ENTRY(KVR_ERR_CORRUPT, "a block's checksum is wrong; do not use this "
			       "result, and see the log for rank and chunk"),
	ENTRY(KVR_ERR_DEVICE, "the device failed; the log has the reason"),
	ENTRY(KVR_ERR_NO_GPU,
	      "the driver shows no GPU; check nvidia-smi -L, "
	      "CUDA_VISIBLE_DEVICES and the container's devices"),
	ENTRY(KVR_ERR_NO_DRIVER, "no NVIDIA driver: libcuda.so.1 is not found; "
				 "install it, or pass it into the container"),
	ENTRY(KVR_ERR_DRIVER_OLD,
	      "the NVIDIA driver is older than the CUDA of libkvring_cuda.so; "
	      "update it, or build the plug-in with an older toolkit"),
	ENTRY(KVR_ERR_DRIVER_STUB,
	      "the CUDA toolkit's stub of libcuda.so.1 is loaded; take its "
	      "stubs directory out of LD_LIBRARY_PATH"),
	ENTRY(KVR_ERR_PLUGIN,
	      "libkvring_cuda.so does not load or is of another kvring; "
	      "install that of this one, `kvring info` has the reason"),
};

static const struct status_entry *find(enum kvr_status status)
{
	for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++) {
		if (entries[i].status == status)
			return &entries[i];
	}
	return NULL;
}

const char *kvr_status_text(enum kvr_status status)
{
	const struct status_entry *entry = find(status);

	return entry ? entry->text : "unknown status";
}

const char *kvr_status_name(enum kvr_status status)
{
	const struct status_entry *entry = find(status);

	return entry ? entry->name : "KVR_ERR_UNKNOWN";
}

uint32_t kvr_abi_version(void)
{
	return 0u << 16 | 1u;
}

const char *kvr_version(void)
{
	return KVR_VERSION;
}
