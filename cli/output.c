/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/output.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MODE 0666 /* less the umask */

bool write_all(int fd, const void *from, size_t bytes, uint64_t offset)
{
	const uint8_t *at = from;
	ssize_t put;

	while (bytes > 0) {
		put = pwrite(fd, at, bytes, (off_t)offset);
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return false;
		at += put;
		offset += (uint64_t)put;
		bytes -= (size_t)put;
	}
	return true;
}

/* What is there already may be replaced only if it is an ordinary file. */
static bool check_target(const char *path, int not_fd, struct complaint *why)
{
	struct stat target, input;

	if (stat(path, &target))
		return errno == ENOENT ||
		       complain(why,
				"%s: cannot be written: %s; choose "
				"another name",
				path, strerror(errno));
	if (!S_ISREG(target.st_mode))
		return complain(why,
				"%s: is not a regular file; choose "
				"another name",
				path);
	if (access(path, W_OK))
		return complain(why,
				"%s: must not be replaced: %s; choose "
				"another name",
				path, strerror(errno));
	if (not_fd >= 0 && !fstat(not_fd, &input) &&
	    input.st_dev == target.st_dev && input.st_ino == target.st_ino)
		return complain(why, "%s: is the input; choose another name",
				path);
	return true;
}

/* path with symbolic links followed, or path where nothing is there yet. */
static char *resolve(const char *path)
{
	char *real = realpath(path, NULL);

	return real ? real : strdup(path);
}

/* "<directory>/.<name>.kvring-<pid>"; the pid keeps two runs apart. */
static char *temporary_name(const char *path)
{
	char *directory = strdup(path), *name = strdup(path), *out = NULL;

	if (directory && name &&
	    asprintf(&out, "%s/.%s.kvring-%ld", dirname(directory),
		     basename(name), (long)getpid()) < 0)
		out = NULL;
	free(directory);
	free(name);
	return out;
}

static int open_unnamed(const char *path)
{
	char *copy = strdup(path);
	int fd = -1;

	if (copy)
		fd = open(dirname(copy), O_TMPFILE | O_RDWR | O_CLOEXEC, MODE);
	free(copy);
	return fd;
}

static bool open_file(struct output *output, struct complaint *why)
{
	output->fd = open_unnamed(output->path);
	if (output->fd < 0 &&
	    (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
		/* Of a crashed run with our pid. */
		unlink(output->temporary);
		output->fd = open(output->temporary,
				  O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, MODE);
		output->named = output->fd >= 0;
	}
	return output->fd >= 0 ||
	       complain(why,
			"%s: cannot be written: %s; choose another "
			"directory",
			output->path, strerror(errno));
}

static bool reserve(struct output *output, uint64_t bytes,
		    struct complaint *why)
{
	int error = posix_fallocate(output->fd, 0, (off_t)bytes);

	return error == 0 ||
	       complain(why,
			"%s: no room for %" PRIu64 " bytes: %s; free "
			"some or choose another disk",
			output->path, bytes, strerror(error));
}

bool output_open(const char *path, uint64_t bytes, int not_fd,
		 struct output *out, struct complaint *why)
{
	struct output output = {.fd = -1};

	if (path[0] == '\0')
		return complain(why, "output: its name is empty; give a file "
				     "name");
	if (path[strlen(path) - 1] == '/')
		return complain(why, "%s: is a directory; give a file name",
				path);
	if (!check_target(path, not_fd, why))
		return false;
	output.path = resolve(path);
	output.temporary = output.path ? temporary_name(output.path) : NULL;
	if (!output.temporary) {
		complain(why, "%s: no memory for its name; free some", path);
		goto err_abandon;
	}
	if (!open_file(&output, why) || !reserve(&output, bytes, why))
		goto err_abandon;
	*out = output;
	return true;

err_abandon:
	output_abandon(&output);
	return false;
}

/* linkat never replaces, rename does: hence a name in between. */
static bool name_it(struct output *output)
{
	char self[32];

	if (output->named)
		return true;
	snprintf(self, sizeof(self), "/proc/self/fd/%d", output->fd);
	unlink(output->temporary);
	output->named = !linkat(AT_FDCWD, self, AT_FDCWD, output->temporary,
				AT_SYMLINK_FOLLOW);
	return output->named;
}

bool output_commit(struct output *output, struct complaint *why)
{
	bool ok = !fsync(output->fd) && name_it(output) &&
		  !rename(output->temporary, output->path);

	if (ok)
		output->named = false;
	else
		complain(why,
			 "%s: cannot be put in place: %s; choose another "
			 "directory",
			 output->path, strerror(errno));
	output_abandon(output);
	return ok;
}

void output_abandon(struct output *output)
{
	if (output->named)
		unlink(output->temporary);
	if (output->fd >= 0)
		close(output->fd);
	free(output->temporary);
	free(output->path);
	*output = (struct output){.fd = -1};
}
