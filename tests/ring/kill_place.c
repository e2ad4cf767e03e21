/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/ring/kill_place.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/whole.h"

static size_t entries(const char *path)
{
	DIR *directory = opendir(path);
	size_t count = 0;

	if (!directory)
		return 0;
	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

/* Those of this network namespace, which is ours alone. */
static size_t unix_sockets(void)
{
	FILE *file = fopen("/proc/self/net/unix", "r");
	size_t lines = 0;
	char line[512];

	CHECK(file);
	while (fgets(line, sizeof(line), file))
		lines++;
	fclose(file);
	return lines;
}

/* Contexts, protection domains, queues, regions and identifiers. */
static void rdma_resources(char *out, size_t bytes)
{
	FILE *pipe;
	size_t got;

	if (!entries("/sys/class/infiniband"))
		return;
	pipe = popen("rdma resource", "r");
	CHECK(pipe);
	got = fread(out, 1, bytes - 1, pipe);
	out[got] = '\0';
	CHECK(pclose(pipe) == 0 && got > 0 && got < bytes - 1);
}

struct place place_look(bool alone)
{
	struct place place;

	memset(&place, 0, sizeof(place));
	rdma_resources(place.rdma, sizeof(place.rdma));
	place.shm = entries("/dev/shm");
	place.fds = entries("/proc/self/fd");
	place.files = entries(".");
	place.sockets = alone ? unix_sockets() : 0;
	return place;
}

bool place_as_before(const struct place *before, bool alone, char *what)
{
	struct place now = place_look(alone);

	for (int i = 0; i < 100 && memcmp(&now, before, sizeof(now)); i++) {
		usleep(10000);
		now = place_look(alone);
	}
	if (now.shm != before->shm)
		snprintf(what, PLACE_TEXT, "/dev/shm has %zu entries, had %zu",
			 now.shm, before->shm);
	else if (now.fds != before->fds)
		snprintf(what, PLACE_TEXT, "%zu descriptors, were %zu", now.fds,
			 before->fds);
	else if (now.files != before->files)
		snprintf(what, PLACE_TEXT, "a temporary file is left");
	else if (now.sockets != before->sockets)
		snprintf(what, PLACE_TEXT, "%zu sockets, were %zu", now.sockets,
			 before->sockets);
	else if (strcmp(now.rdma, before->rdma) != 0)
		snprintf(what, PLACE_TEXT, "RDMA resources: %s, were: %s",
			 now.rdma, before->rdma);
	else
		return true;
	return false;
}
