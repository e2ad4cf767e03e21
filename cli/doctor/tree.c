/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/doctor/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct path {
	char text[PATH_MAX];
};

/* Too long a path names nothing. */
static struct path path_of(const struct tree *tree, const char *format,
			   va_list args)
{
	struct path path;
	size_t used = (size_t)snprintf(path.text, sizeof(path.text), "%s",
				       tree->root);
	int more = -1;

	if (used < sizeof(path.text))
		more = vsnprintf(path.text + used, sizeof(path.text) - used,
				 format, args);
	if (more < 0 || used + (size_t)more >= sizeof(path.text))
		path.text[0] = '\0';
	return path;
}

void tree_clean(const char *text, char *out, size_t size)
{
	size_t i;

	for (i = 0; i + 1 < size && text[i] != '\0'; i++)
		out[i] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
	out[i] = '\0';
}

/* sysfs answers in one read, or not at all. */
static bool read_line(const char *path, char *out, size_t size)
{
	char text[1024];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t length;

	out[0] = '\0';
	if (fd < 0)
		return false;
	length = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (length <= 0)
		return false;
	text[length] = '\0';
	text[strcspn(text, "\n")] = '\0';
	tree_clean(text, out, size);
	return true;
}

bool tree_read(const struct tree *tree, char *out, size_t size,
	       const char *format, ...)
{
	struct path path;
	va_list args;

	va_start(args, format);
	path = path_of(tree, format, args);
	va_end(args);
	return read_line(path.text, out, size);
}

bool tree_read_number(const struct tree *tree, int64_t *out, const char *format,
		      ...)
{
	char text[32], *end;
	struct path path;
	long long value;
	va_list args;

	va_start(args, format);
	path = path_of(tree, format, args);
	va_end(args);
	if (!read_line(path.text, text, sizeof(text)))
		return false;
	errno = 0;
	value = strtoll(text, &end, 0);
	if (errno || end == text || *end != '\0')
		return false;
	*out = value;
	return true;
}

FILE *tree_open(const struct tree *tree, const char *format, ...)
{
	struct path path;
	va_list args;

	va_start(args, format);
	path = path_of(tree, format, args);
	va_end(args);
	return fopen(path.text, "re");
}

bool tree_exists(const struct tree *tree, const char *format, ...)
{
	struct path path;
	va_list args;

	va_start(args, format);
	path = path_of(tree, format, args);
	va_end(args);
	return !access(path.text, F_OK);
}

bool tree_resolve(const struct tree *tree, char *out, size_t size,
		  const char *format, ...)
{
	char *root = realpath(tree->root[0] ? tree->root : "/", NULL);
	char *real = NULL;
	struct path path;
	size_t skip;
	va_list args;
	bool inside = false;

	va_start(args, format);
	path = path_of(tree, format, args);
	va_end(args);
	if (root)
		real = realpath(path.text, NULL);
	if (real) {
		skip = strcmp(root, "/") ? strlen(root) : 0;
		inside = !strncmp(real, root, skip) && real[skip] == '/';
		if (inside)
			tree_clean(real + skip, out, size);
	}
	free(real);
	free(root);
	return inside;
}

static int recorded_error(const char *path)
{
	static const struct {
		const char *name;
		int error;
	} known[] = {{"opens", 0},	 {"EACCES", EACCES}, {"EPERM", EPERM},
		     {"ENODEV", ENODEV}, {"ENXIO", ENXIO},   {"EBUSY", EBUSY},
		     {"ENOENT", ENOENT}};
	char text[32];
	size_t i;

	if (!read_line(path, text, sizeof(text)))
		return EIO;
	for (i = 0; i < sizeof(known) / sizeof(*known); i++)
		if (!strcmp(text, known[i].name))
			return known[i].error;
	return EIO;
}

/*
 * Opened, not stat'ed: what forbids it may be a device cgroup, and that is no
 * file mode.
 */
int tree_open_device(const struct tree *tree, const char *format, ...)
{
	struct path path;
	struct stat info;
	va_list args;
	int fd;

	va_start(args, format);
	path = path_of(tree, format, args);
	va_end(args);
	if (stat(path.text, &info))
		return errno;
	if (S_ISREG(info.st_mode))
		return recorded_error(path.text);
	if (!S_ISCHR(info.st_mode))
		return ENODEV;
	fd = open(path.text, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

static int no_dots(const struct dirent *entry)
{
	return strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..");
}

/*
 * Names of one length are in order as they are, hexadecimal addresses too;
 * others as numbers count: mlx5_9, mlx5_10.
 */
static int in_order(const struct dirent **a, const struct dirent **b)
{
	if (strlen((*a)->d_name) == strlen((*b)->d_name))
		return strcmp((*a)->d_name, (*b)->d_name);
	return versionsort(a, b);
}

void tree_list(const struct tree *tree, struct tree_list *out,
	       const char *format, ...)
{
	struct path path;
	va_list args;

	va_start(args, format);
	path = path_of(tree, format, args);
	va_end(args);
	out->entry = NULL;
	out->count = scandir(path.text, &out->entry, no_dots, in_order);
	if (out->count < 0)
		out->count = 0;
}

void tree_list_free(struct tree_list *list)
{
	int i;

	for (i = 0; i < list->count; i++)
		free(list->entry[i]);
	free(list->entry);
}
