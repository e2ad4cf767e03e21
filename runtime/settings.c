/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool kvr_environment_has(const char *name)
{
	const char *text = getenv(name);

	return text && *text;
}

enum kvr_status kvr_environment_number(const struct kvr_log *log,
				       const char *name, unsigned long limit,
				       uint32_t *out)
{
	const char *text = getenv(name);
	unsigned long value = 0;
	char *end = NULL;

	if (text && *text >= '0' && *text <= '9') {
		errno = 0;
		value = strtoul(text, &end, 10);
	}
	if (!end || errno || *end || value > limit) {
		kvr_log(log, KVR_LOG_ERROR,
			"%s: '%s' is not a whole number up to %lu", name,
			text ? text : "", limit);
		return KVR_ERR_INVALID;
	}
	*out = (uint32_t)value;
	return KVR_OK;
}

/* ----------------------------------------------------------- transport */

/* -1: what the environment says, 0 or 1; else 0. */
static enum kvr_status settle_switch(int32_t option, const char *name,
				     const struct kvr_log *log, uint32_t *out)
{
	*out = option > 0;
	if (option >= 0 || !kvr_environment_has(name))
		return KVR_OK;
	return kvr_environment_number(log, name, 1, out);
}

enum kvr_status kvr_settings_integrity(int32_t option,
				       const struct kvr_log *log, int32_t *out)
{
	uint32_t value;
	enum kvr_status status =
		settle_switch(option, "KVRING_INTEGRITY", log, &value);

	if (status == KVR_OK)
		*out = (int32_t)value;
	return status;
}

/* ----------------------------------------------------------------- GPU */

void kvr_gpu_options_init(struct kvr_gpu_options *options)
{
	*options = (struct kvr_gpu_options){
		.size = sizeof(*options),
		.pcie = -1,
	};
}

/* The place of a variable's word among those; 0, the first, if not set. */
static enum kvr_status settle_word(const struct kvr_log *log, const char *name,
				   const char *const words[], uint32_t count,
				   uint32_t *out)
{
	const char *text = getenv(name);
	char known[96] = "";
	size_t used = 0;

	if (!text || !*text)
		return KVR_OK;
	for (uint32_t i = 0; i < count; i++) {
		if (strcmp(text, words[i]) == 0) {
			*out = i;
			return KVR_OK;
		}
		used += (size_t)snprintf(known + used, sizeof(known) - used,
					 "%s%s", i ? ", " : "", words[i]);
	}
	kvr_log(log, KVR_LOG_ERROR, "%s: '%s' is none of %s", name, text,
		known);
	return KVR_ERR_INVALID;
}

enum kvr_status kvr_settings_gpu(const struct kvr_gpu_options *options,
				 const struct kvr_log *log,
				 struct kvr_gpu_settings *out)
{
	/* In the order of enum kvr_gpu_way and enum kvr_gpu_flush. */
	static const char *const ways[] = {"auto", "dmabuf", "peermem"};
	static const char *const flushes[] = {"auto", "none", "host", "read"};
	struct kvr_gpu_options defaults;
	enum kvr_status status = KVR_OK;
	uint32_t way, flush, pcie;

	kvr_gpu_options_init(&defaults);
	if (!options)
		options = &defaults;
	way = options->way;
	flush = options->flush;
	if (options->size != sizeof(*options) || way > KVR_GPU_WAY_PEERMEM ||
	    flush > KVR_GPU_FLUSH_READ) {
		kvr_log(log, KVR_LOG_ERROR,
			"the options for GPUs were not made by their init");
		return KVR_ERR_INVALID;
	}
	if (!way)
		status = settle_word(log, "KVRING_GPU_WAY", ways, 3, &way);
	if (!flush && status == KVR_OK)
		status = settle_word(log, "KVRING_GPU_FLUSH", flushes, 4,
				     &flush);
	*out = (struct kvr_gpu_settings){
		.present = kvr_accelerator_present,
		.way = (enum kvr_gpu_way)way,
		.flush = (enum kvr_gpu_flush)flush,
	};
	if (options->pcie < 0 && !kvr_environment_has("KVRING_GPU_PCIE"))
		return status;
	if (status == KVR_OK)
		status = settle_switch(options->pcie, "KVRING_GPU_PCIE", log,
				       &pcie);
	if (status == KVR_OK)
		out->pcie = pcie ? 1 : -1;
	return status;
}

enum kvr_status
kvr_settings_transport(const struct kvr_context_options *options,
		       const struct kvr_log *log,
		       struct kvr_transport_config *out)
{
	const char *devices = options->devices;
	uint32_t queue_pairs = options->queue_pairs;
	uint32_t gid_index = 0, adaptive = 0;
	struct kvr_gpu_settings gpu;
	enum kvr_status status = KVR_OK;
	char *copy = NULL;

	if (!devices && kvr_environment_has("KVRING_DEVICE"))
		devices = getenv("KVRING_DEVICE");
	if (!queue_pairs && kvr_environment_has("KVRING_QPS"))
		status = kvr_environment_number(
			log, "KVRING_QPS", KVR_QUEUE_PAIRS_MAX, &queue_pairs);
	if (options->gid_index >= 0) {
		gid_index = (uint32_t)options->gid_index + 1;
	} else if (kvr_environment_has("KVRING_GID_INDEX") &&
		   status == KVR_OK) {
		status = kvr_environment_number(log, "KVRING_GID_INDEX", 65534,
						&gid_index);
		gid_index++;
	}
	if (status == KVR_OK)
		status = settle_switch(options->adaptive_routing,
				       "KVRING_ADAPTIVE_ROUTING", log,
				       &adaptive);
	if (status == KVR_OK)
		status = kvr_settings_gpu(options->gpu, log, &gpu);
	if (status != KVR_OK)
		return status;
	if (queue_pairs > KVR_QUEUE_PAIRS_MAX) {
		kvr_log(log, KVR_LOG_ERROR, "queue_pairs must be 1 to %d",
			KVR_QUEUE_PAIRS_MAX);
		return KVR_ERR_INVALID;
	}
	if (devices) {
		copy = strdup(devices);
		if (!copy)
			return KVR_ERR_NO_MEMORY;
	}
	*out = (struct kvr_transport_config){
		.log = log,
		.devices = copy,
		.queue_pairs = queue_pairs,
		.gid_index = gid_index,
		.adaptive_routing = adaptive,
		.gpu = gpu,
	};
	return KVR_OK;
}

/* -------------------------------------------------------------- secret */

static enum kvr_status fail_secret(const struct kvr_log *log, const char *what,
				   const char *why)
{
	kvr_log(log, KVR_LOG_ERROR, "%s: %s", what, why);
	return KVR_ERR_INVALID;
}

static enum kvr_status read_secret(const struct kvr_log *log, const char *path,
				   char *to, size_t *bytes)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t have = 0;
	ssize_t got = 1;

	if (fd < 0)
		return fail_secret(log, path, strerror(errno));
	while (have <= KVR_SECRET_MAX && got > 0) {
		got = read(fd, to + have, KVR_SECRET_MAX + 1 - have);
		if (got > 0)
			have += (size_t)got;
	}
	close(fd);
	if (got < 0)
		return fail_secret(log, path, "cannot be read");
	if (have > 0 && to[have - 1] == '\n')
		have--;
	*bytes = have;
	return KVR_OK;
}

enum kvr_status kvr_settings_secret(const void *given, size_t bytes,
				    const struct kvr_log *log,
				    struct kvr_secret *out)
{
	const char *text = getenv("KVRING_SECRET");
	const char *path = getenv("KVRING_SECRET_FILE");
	enum kvr_status status = KVR_OK;

	out->data = given;
	out->bytes = bytes;
	if (!given && text && path)
		return fail_secret(log, "KVRING_SECRET, KVRING_SECRET_FILE",
				   "both are set; unset one");
	if (!given && text) {
		out->data = text;
		out->bytes = strlen(text);
	} else if (!given && path) {
		status = read_secret(log, path, out->room, &out->bytes);
		out->data = out->room;
	}
	if (status != KVR_OK || !out->data)
		return status;
	if (out->bytes == 0)
		return fail_secret(log, "the secret",
				   "is empty; unset it, or give one");
	if (out->bytes > KVR_SECRET_MAX)
		return fail_secret(log, "the secret", "is over 4096 bytes");
	return KVR_OK;
}

void kvr_secret_forget(struct kvr_secret *secret)
{
	explicit_bzero(secret, sizeof(*secret));
}
