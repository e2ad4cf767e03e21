/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `kvring bench` is a program of its own, kvring-bench, for this command knows
 * no more of the library than its public headers say.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"

#define PROGRAM "kvring-bench"

/* Beside the command in the build tree; there when installed. */
static const char *const places[] = {"", KVR_LIBEXEC "/"};

int cmd_bench(int argc, char **argv)
{
	char self[PATH_MAX], path[2 * PATH_MAX];
	ssize_t bytes = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;
	size_t i;

	(void)argc;
	self[bytes < 0 ? 0 : bytes] = '\0';
	slash = strrchr(self, '/');
	if (!slash) {
		say_error("bench: /proc is not readable, so that " PROGRAM
			  " is not found; mount it");
		return CLI_FAILED;
	}
	slash[1] = '\0';
	for (i = 0; i < sizeof(places) / sizeof(*places); i++) {
		snprintf(path, sizeof(path), "%s%s" PROGRAM, self, places[i]);
		execv(path, argv);
		if (errno != ENOENT)
			break;
	}
	say_error("%s: cannot be started: %s; install all of kvring", path,
		  strerror(errno));
	return CLI_FAILED;
}
