/* SPDX-License-Identifier: Apache-2.0 */
/* A plug-in for test_accelerator.c: a good one, or wrong as PLUGIN_... says. */
#include <stdio.h>

#include "runtime/accelerator.h"

#ifndef PLUGIN_ABI
#define PLUGIN_ABI KVR_ACCELERATOR_ABI
#endif
#ifndef PLUGIN_SIZE
#define PLUGIN_SIZE sizeof(struct kvr_accelerator_ops)
#endif
#ifndef PLUGIN_STATUS
#define PLUGIN_STATUS KVR_OK
#endif
#ifdef PLUGIN_NEEDS
extern int kvr_needed(void);
#endif

static unsigned probes;

static enum kvr_status probe(char *reason, size_t bytes)
{
#ifdef PLUGIN_NEEDS
	probes += (unsigned)kvr_needed();
#endif
	snprintf(reason, bytes, "probe %u", ++probes);
	return PLUGIN_STATUS;
}

static enum kvr_status device_info(uint32_t index, struct kvr_gpu_info *out,
				   char *reason, size_t bytes)
{
	switch (index) {
	case 0:
		snprintf(out->name, sizeof(out->name), "a GPU");
		out->memory_bytes = 123;
		return KVR_OK;
	case 1:
		snprintf(reason, bytes, "fell off the bus");
		return KVR_ERR_DEVICE;
	default:
		return KVR_ERR_END;
	}
}

static enum kvr_status pointer_query(const void *address,
				     struct kvr_pointer_info *out)
{
	(void)address;
	out->kind = KVR_POINTER_HOST;
	return KVR_OK;
}

extern const struct kvr_accelerator_ops kvr_accelerator_plugin;

KVR_API const struct kvr_accelerator_ops kvr_accelerator_plugin = {
	.abi = PLUGIN_ABI,
	.size = PLUGIN_SIZE,
	.name = "test",
	.probe = probe,
	.device_info = device_info,
	.pointer_query = pointer_query,
};
