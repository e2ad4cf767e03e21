/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/machine.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool make_parents(char *path)
{
	char *slash;

	for (slash = strchr(path + 1, '/'); slash;
	     slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(path, 0700) && errno != EEXIST)
			return false;
		*slash = '/';
	}
	return true;
}

static bool append(const char *path, const char *text)
{
	FILE *file = fopen(path, "ae");
	bool ok = file && fprintf(file, "%s\n", text) > 0;

	if (file)
		fclose(file);
	return ok;
}

/* `line` is cut up. */
static bool make(const char *directory, const char *base, char *line)
{
	char path[PATH_MAX];
	char *link = strstr(line, " -> "), *text = strstr(line, ": ");

	if (link)
		*link = '\0';
	else if (text)
		*text = '\0';
	else if (!*line || line[strlen(line) - 1] != '/')
		return false;
	snprintf(path, sizeof(path), "%s%s%s%s", directory,
		 line[0] == '/' ? "" : base, line[0] == '/' ? "" : "/", line);
	if (!make_parents(path))
		return false;
	if (link)
		return !symlink(link + 4, path);
	return !text || append(path, text + 2);
}

static bool is_comment(const char *line)
{
	return line[0] == '#' || line[0] == '\0';
}

bool machine_unpack(const char *file, const char *directory)
{
	FILE *from = fopen(file, "re");
	char *line = NULL, base[PATH_MAX] = "";
	size_t size = 0;
	bool ok = from;

	while (ok && getline(&line, &size, from) > 0) {
		line[strcspn(line, "\n")] = '\0';
		if (is_comment(line))
			continue;
		if (!strncmp(line, "cd ", 3))
			snprintf(base, sizeof(base), "%s", line + 3);
		else
			ok = make(directory, base, line);
	}
	if (!ok)
		fprintf(stderr, "%s: %s: %s\n", file, line ? line : "",
			strerror(errno));
	free(line);
	if (from)
		fclose(from);
	return ok;
}

bool machine_add(const char *directory, const char *line)
{
	char *copy = strdup(line), path[PATH_MAX];
	bool ok;

	/* A file is written anew. */
	snprintf(path, sizeof(path), "%s%.*s", directory,
		 (int)(strstr(line, ": ") ? strstr(line, ": ") - line : 0),
		 line);
	if (strstr(line, ": "))
		unlink(path);
	ok = copy && make(directory, "", copy);
	free(copy);
	return ok;
}
