/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/memory.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_BYTES 4096

/* Version 1 says so where there is no limit. */
#define NO_LIMIT (UINT64_C(1) << 60)

struct group_files {
	const char *mount, *limit, *usage, *inactive, *active;
};

static const struct group_files version_1 = {
	"/sys/fs/cgroup/memory", "memory.limit_in_bytes",
	"memory.usage_in_bytes", "total_inactive_file", "total_active_file"};

static const struct group_files version_2[] = {
	{"/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file",
	 "active_file"},
	{"/sys/fs/cgroup/unified", "memory.max", "memory.current",
	 "inactive_file", "active_file"},
};

/* ---------------------------------------------------------------- files */

static FILE *open_in(const char *directory, const char *name)
{
	char path[PATH_BYTES + 64];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return fopen(path, "re");
}

/* A file that is one number; false also for the word "max". */
static bool read_number(const char *directory, const char *name, uint64_t *out)
{
	FILE *file = open_in(directory, name);
	bool ok;

	if (!file)
		return false;
	ok = fscanf(file, "%" SCNu64, out) == 1;
	fclose(file);
	return ok;
}

/* "name value" on a line of its own; 0 where there is none. */
static uint64_t read_field(const char *directory, const char *file_name,
			   const char *name)
{
	FILE *file = open_in(directory, file_name);
	uint64_t value, found = 0;
	char line[128], word[64];

	if (!file)
		return 0;
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "%63s %" SCNu64, word, &value) == 2 &&
		    !strcmp(word, name))
			found = value;
	fclose(file);
	return found;
}

/* --------------------------------------------------------------- limits */

static void lower(struct memory_room *room, uint64_t bytes, const char *what,
		  const char *name)
{
	if (bytes >= room->bytes)
		return;
	room->bytes = bytes;
	snprintf(room->of, sizeof(room->of), "%s%s", what, name);
}

/* Caches go when their memory is wanted. */
static void look_at_group(const char *directory, const struct group_files *f,
			  const char *name, struct memory_room *room)
{
	uint64_t limit, used, caches;

	if (!read_number(directory, f->limit, &limit) || limit >= NO_LIMIT ||
	    !read_number(directory, f->usage, &used))
		return;
	caches = read_field(directory, "memory.stat", f->inactive) +
		 read_field(directory, "memory.stat", f->active);
	used = used > caches ? used - caches : 0;
	lower(room, limit > used ? limit - used : 0,
	      "left by the limit of control group ", name);
}

/*
 * A group and all above it. In a container the path may be that of the host:
 * what is not there is passed over.
 */
static void look_at_groups(const char *root, const struct group_files *f,
			   const char *path, struct memory_room *room)
{
	char directory[PATH_BYTES], *name, *slash;

	snprintf(directory, sizeof(directory), "%s%s%s", root, f->mount, path);
	name = directory + strlen(root) + strlen(f->mount);
	for (;;) {
		look_at_group(directory, f, *name ? name : "/", room);
		slash = *name ? strrchr(name, '/') : NULL;
		if (!slash)
			return;
		*slash = '\0';
	}
}

static bool has_word(char *list, const char *word)
{
	char *rest, *at;

	for (at = strtok_r(list, ",", &rest); at;
	     at = strtok_r(NULL, ",", &rest))
		if (!strcmp(at, word))
			return true;
	return false;
}

/* One line of /proc/self/cgroup: number:controllers:path. */
static void look_at_line(const char *root, char *line, struct memory_room *room)
{
	char *controllers = strchr(line, ':'), *path;

	path = controllers ? strchr(controllers + 1, ':') : NULL;
	if (!path)
		return;
	*path++ = '\0';
	path[strcspn(path, "\n")] = '\0';
	controllers++;
	if (!*controllers)
		for (size_t i = 0; i < 2; i++)
			look_at_groups(root, &version_2[i], path, room);
	else if (has_word(controllers, "memory"))
		look_at_groups(root, &version_1, path, room);
}

static void look_at_machine(const char *proc, struct memory_room *room)
{
	uint64_t available = read_field(proc, "meminfo", "MemAvailable:");

	if (available > 0)
		lower(room,
		      1024 * (available +
			      read_field(proc, "meminfo", "SwapFree:")),
		      "free on this machine", "");
}

bool memory_room(const char *root, struct memory_room *out)
{
	struct memory_room room = {.bytes = UINT64_MAX};
	char proc[PATH_BYTES], line[PATH_BYTES];
	FILE *file;

	snprintf(proc, sizeof(proc), "%s/proc", root);
	look_at_machine(proc, &room);
	file = open_in(proc, "self/cgroup");
	while (file && fgets(line, sizeof(line), file))
		look_at_line(root, line, &room);
	if (file)
		fclose(file);
	if (room.bytes == UINT64_MAX)
		return false;
	*out = room;
	return true;
}

void memory_volunteer(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	/* Where it is not allowed, the kernel chooses as it always did. */
	(void)!write(fd, "1000", 4);
	close(fd);
}
