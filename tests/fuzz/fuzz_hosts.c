/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Host lists as anybody may write them. Reading ends, stays within its bounds,
 * changes nothing when it refuses; and what it has read, written down again,
 * is read as the same.
 *
 *	input: the list
 */
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kvring/bootstrap.h"
#include "tests/fuzz/require.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int __real_getaddrinfo(const char *node, const char *service,
		       const struct addrinfo *hints, struct addrinfo **out);
int __wrap_getaddrinfo(const char *node, const char *service,
		       const struct addrinfo *hints, struct addrinfo **out);

/* No name leaves this machine. */
int __wrap_getaddrinfo(const char *node, const char *service,
		       const struct addrinfo *hints, struct addrinfo **out)
{
	struct addrinfo numeric = *hints;

	numeric.ai_flags |= AI_NUMERICHOST;
	return __real_getaddrinfo(node, service, &numeric, out);
}

static void check_host(const struct kvr_host *host)
{
	size_t length = strlen(host->name);

	require(length > 0 && length <= KVR_HOST_NAME_MAX);
	require(host->name[0] != '-' && host->ranks <= KVR_RANKS_MAX);
	require(strspn(host->name, "abcdefghijklmnopqrstuvwxyz"
				   "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				   "0123456789.-_:") == length);
}

static void write_host(const struct kvr_host *host, FILE *to)
{
	fprintf(to, strchr(host->name, ':') ? "[%s]" : "%s", host->name);
	if (host->port)
		fprintf(to, ":%u", host->port);
	if (host->ranks)
		fprintf(to, " slots=%u", host->ranks);
	fputc('\n', to);
}

/* Reads all of it; appends what it read to `to`. Returns how it ended. */
static enum kvr_status read_list(const char *text, FILE *to)
{
	enum kvr_status status = KVR_OK;
	struct kvr_host host, before;
	const char *at = text, *last;

	kvr_host_init(&host);
	while (status == KVR_OK) {
		before = host;
		last = at;
		status = kvr_host_next(&at, &host);
		require(at >= last && at <= text + strlen(text));
		if (status != KVR_OK)
			break;
		require(at > last);
		check_host(&host);
		write_host(&host, to);
	}
	require(host.size == before.size && host.port == before.port &&
		host.ranks == before.ranks &&
		strcmp(host.name, before.name) == 0);
	require(status == KVR_ERR_INVALID ||
		(status == KVR_ERR_END && *at == '\0'));
	return status;
}

static char *read_and_write(const char *text, enum kvr_status *status)
{
	char *out = NULL;
	size_t bytes;
	FILE *to = open_memstream(&out, &bytes);

	require(to != NULL);
	*status = read_list(text, to);
	require(fclose(to) == 0 && out != NULL);
	return out;
}

/* Any name is somebody's or not, and never an accident. */
static void find_first(const char *text)
{
	struct kvr_host host;
	int local = -1;

	kvr_host_init(&host);
	if (kvr_host_next(&text, &host) != KVR_OK)
		return;
	require(kvr_host_is_local(&host, &local) == KVR_OK);
	require(local == 0 || local == 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), *once, *twice;
	enum kvr_status status;

	require(text != NULL);
	memcpy(text, data, size);
	text[size] = '\0';
	once = read_and_write(text, &status);
	twice = read_and_write(once, &status);
	require(status == KVR_ERR_END && !strcmp(once, twice));
	if (size < 64)
		find_first(text);
	free(twice);
	free(once);
	free(text);
	return 0;
}
