/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/cpu/cpu.h"
#include "kvring/device.h"
#include "rdma/fake/fake.h"
#include "rdma/shm/shm.h"
#ifdef KVR_HAVE_VERBS
#include "rdma/verbs/probe.h"
#include "rdma/verbs/verbs.h"
#endif
#include "runtime/accelerator_compute.h"
#include "runtime/bootstrap_open.h"
#include "runtime/settings.h"

static const struct kvr_transport_ops *const transports[] = {
	&kvr_shm_transport,
#ifdef KVR_HAVE_VERBS
	&kvr_verbs_transport,
	&kvr_verbs_exchange_transport,
#endif
	&kvr_fake_transport,
};

static const struct kvr_compute_ops *const computes[] = {
	&kvr_cpu_avx512,
	&kvr_cpu_avx2,
	&kvr_cpu_portable,
	/* By its name alone: it takes tensors in GPU memory. */
	&kvr_accelerator_compute,
};

static const struct kvr_bootstrap_way {
	const char *name;
	enum kvr_status (*probe)(char *reason, size_t bytes);
} bootstraps[] = {
	{"hosts", kvr_bootstrap_probe_hosts},
	{"pmix", kvr_bootstrap_probe_pmix},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

_Static_assert(COUNT(transports) <= KVR_TRANSPORTS_MAX, "raise the limit");

const struct kvr_transport_ops *kvr_registry_transport(size_t index)
{
	return index < COUNT(transports) ? transports[index] : NULL;
}

const struct kvr_compute_ops *kvr_registry_compute(size_t index)
{
	return index < COUNT(computes) ? computes[index] : NULL;
}

enum kvr_status kvr_registry_find_compute(const char *name,
					  const struct kvr_compute_ops **out)
{
	char reason[160];

	if (!name)
		name = getenv("KVRING_CPU");
	if (name && !*name)
		name = NULL;
	for (size_t i = 0; i < COUNT(computes); i++) {
		if (name && strcmp(name, computes[i]->name) != 0)
			continue;
		if (computes[i]->probe(reason, sizeof(reason)) != KVR_OK)
			continue;
		*out = computes[i];
		return KVR_OK;
	}
	return KVR_ERR_UNSUPPORTED;
}

void kvr_backend_info_init(struct kvr_backend_info *info)
{
	*info = (struct kvr_backend_info){.size = sizeof(*info)};
}

static enum kvr_status ask_transport(const struct kvr_transport_ops *ops,
				     struct kvr_backend_info *out)
{
	out->kind = "transport";
	out->name = ops->name;
	out->between_processes = ops->between_processes;
	return ops->probe(out->reason, sizeof(out->reason));
}

static enum kvr_status ask_compute(const struct kvr_compute_ops *ops,
				   struct kvr_backend_info *out)
{
	out->kind = "compute";
	out->name = ops->name;
	out->between_processes = 0;
	return ops->probe(out->reason, sizeof(out->reason));
}

static enum kvr_status ask_bootstrap(const struct kvr_bootstrap_way *way,
				     struct kvr_backend_info *out)
{
	out->kind = "bootstrap";
	out->name = way->name;
	out->between_processes = 1;
	return way->probe(out->reason, sizeof(out->reason));
}

enum kvr_status kvr_backend_get_info(uint32_t index,
				     struct kvr_backend_info *out)
{
	enum kvr_status status;
	size_t i = index;

	if (!out || out->size != sizeof(*out))
		return KVR_ERR_INVALID;
	if (i < COUNT(transports))
		status = ask_transport(transports[i], out);
	else if ((i -= COUNT(transports)) < COUNT(computes))
		status = ask_compute(computes[i], out);
	else if ((i -= COUNT(computes)) < COUNT(bootstraps))
		status = ask_bootstrap(&bootstraps[i], out);
	else
		return KVR_ERR_END;
	out->usable = status == KVR_OK;
	return KVR_OK;
}

void kvr_device_info_init(struct kvr_device_info *info)
{
	*info = (struct kvr_device_info){.size = sizeof(*info), .dmabuf = -1};
}

enum kvr_status kvr_device_get_info(const char *name,
				    struct kvr_device_info *out, char *reason,
				    size_t reason_bytes)
{
	if (!name || !out || out->size != sizeof(*out) || !reason ||
	    !reason_bytes)
		return KVR_ERR_INVALID;
	reason[0] = '\0';
#ifdef KVR_HAVE_VERBS
	return kvr_verbs_probe(name, out, reason, reason_bytes);
#else
	snprintf(reason, reason_bytes, "built without libibverbs");
	return KVR_ERR_UNSUPPORTED;
#endif
}

void kvr_gpu_path_init(struct kvr_gpu_path *path)
{
	*path = (struct kvr_gpu_path){.size = sizeof(*path)};
}

enum kvr_status kvr_gpu_get_path(const char *rdma_device, uint32_t index,
				 struct kvr_gpu_path *out, char *reason,
				 size_t reason_bytes)
{
	struct kvr_gpu_settings settings;
	struct kvr_gpu_info gpu;
	enum kvr_status status;

	if (!rdma_device || !out || out->size != sizeof(*out))
		return KVR_ERR_INVALID;
	kvr_gpu_info_init(&gpu);
	status = kvr_gpu_get_info(index, &gpu, reason, reason_bytes);
	if (status != KVR_OK)
		return status;
	status = kvr_settings_gpu(NULL, NULL, &settings);
	if (status != KVR_OK) {
		snprintf(reason, reason_bytes,
			 "KVRING_GPU_WAY, KVRING_GPU_FLUSH or KVRING_GPU_PCIE "
			 "is wrong");
		return status;
	}
#ifdef KVR_HAVE_VERBS
	return kvr_verbs_gpu_path(rdma_device, &settings, &gpu, out, reason,
				  reason_bytes);
#else
	snprintf(reason, reason_bytes, "built without libibverbs");
	return KVR_ERR_UNSUPPORTED;
#endif
}
