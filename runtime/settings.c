/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/settings.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *environment(const char *name)
{
	const char *text = getenv(name);

	return text && *text ? text : NULL;
}

/* A whole decimal number up to most; absent leaves *out as it is. */
static enum kvr_status number(const struct kvr_log *log, const char *name,
			      unsigned long most, unsigned long *out)
{
	const char *text = environment(name);
	unsigned long value;
	char *end;

	if (!text)
		return KVR_OK;
	errno = 0;
	value = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || errno || *end || value > most) {
		kvr_log(log, KVR_LOG_ERROR,
			"%s is '%s', not a number from 0 to %lu", name, text,
			most);
		return KVR_ERR_INVALID;
	}
	*out = value;
	return KVR_OK;
}

enum kvr_status
kvr_settings_transport(const struct kvr_context_options *options,
		       const struct kvr_log *log,
		       struct kvr_transport_config *out)
{
	const char *devices = options->devices;
	unsigned long queue_pairs = options->queue_pairs;
	unsigned long gid_index = 0;
	enum kvr_status status = KVR_OK;
	char *copy = NULL;

	if (!devices)
		devices = environment("KVRING_DEVICE");
	if (!queue_pairs)
		status = number(log, "KVRING_QPS", KVR_QUEUE_PAIRS_MAX,
				&queue_pairs);
	if (options->gid_index >= 0)
		gid_index = (unsigned long)options->gid_index + 1;
	else if (environment("KVRING_GID_INDEX") && status == KVR_OK) {
		status = number(log, "KVRING_GID_INDEX", 65534, &gid_index);
		gid_index++;
	}
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
		.queue_pairs = (uint32_t)queue_pairs,
		.gid_index = (uint32_t)gid_index,
	};
	return KVR_OK;
}

static enum kvr_status copy_secret(const struct kvr_log *log, const void *from,
				   size_t bytes, void **out)
{
	void *copy;

	if (bytes == 0 || bytes > KVR_SECRET_MAX) {
		kvr_log(log, KVR_LOG_ERROR,
			"the secret has %zu bytes; it must have 1 to %d", bytes,
			KVR_SECRET_MAX);
		return KVR_ERR_INVALID;
	}
	copy = malloc(bytes);
	if (!copy)
		return KVR_ERR_NO_MEMORY;
	memcpy(copy, from, bytes);
	*out = copy;
	return KVR_OK;
}

static enum kvr_status read_secret(const struct kvr_log *log, const char *path,
				   void **out, size_t *bytes)
{
	char text[KVR_SECRET_MAX + 2]; /* one more shows that it is longer */
	FILE *file = fopen(path, "re");
	enum kvr_status status;
	size_t got;

	if (!file) {
		kvr_log(log, KVR_LOG_ERROR, "KVRING_SECRET_FILE %s: %s", path,
			strerror(errno));
		return KVR_ERR_SYSTEM;
	}
	got = fread(text, 1, sizeof(text), file);
	fclose(file);
	if (got > 0 && text[got - 1] == '\n')
		got--;
	status = copy_secret(log, text, got, out);
	if (status == KVR_OK)
		*bytes = got;
	return status;
}

enum kvr_status kvr_settings_secret(const struct kvr_ring_options *options,
				    const struct kvr_log *log, void **out,
				    size_t *bytes)
{
	const void *secret = options->secret;
	size_t length = options->secret_bytes;
	const char *path = environment("KVRING_SECRET_FILE");
	enum kvr_status status;

	if (!secret) {
		secret = environment("KVRING_SECRET");
		length = secret ? strlen(secret) : 0;
	}
	if (!secret && path)
		return read_secret(log, path, out, bytes);
	if (!secret) {
		*out = NULL;
		*bytes = 0;
		return KVR_OK;
	}
	status = copy_secret(log, secret, length, out);
	if (status == KVR_OK)
		*bytes = length;
	return status;
}
