/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/recordings.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kvring/recorder.h"

#define PART_BYTES ((size_t)1 << 18)

int recordings_create(void)
{
	int fd = memfd_create("kvring recordings", MFD_CLOEXEC);

	if (fd >= 0 && fcntl(fd, F_SETFL, O_APPEND)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

bool recordings_read(int fd, const char *name, char **data, size_t *bytes,
		     struct complaint *why)
{
	ssize_t got;

	do {
		char *more = realloc(*data, *bytes + PART_BYTES);

		if (!more)
			return complain(why, "%s: no memory for it; free some",
					name);
		*data = more;
		got = read(fd, *data + *bytes, PART_BYTES);
		if (got > 0)
			*bytes += (size_t)got;
	} while (got > 0 || (got < 0 && errno == EINTR));
	if (got < 0)
		return complain(why, "%s: cannot be read: %s; check the file",
				name, strerror(errno));
	return true;
}

void recordings_say_cause(int fd, bool gave_up)
{
	struct kvr_verdict verdict;
	struct complaint why;
	char *data = NULL;
	size_t bytes = 0;

	kvr_verdict_init(&verdict);
	/* Those of one write each: a rank cut short by its end is in none. */
	if (fd >= 0 && lseek(fd, 0, SEEK_SET) == 0 &&
	    recordings_read(fd, "recordings", &data, &bytes, &why) &&
	    kvr_recordings_explain(data, bytes, &verdict) == KVR_OK &&
	    verdict.failed && verdict.fault != KVR_FAULT_UNKNOWN &&
	    (gave_up || verdict.fault != KVR_FAULT_GAVE_UP))
		say_error("cause: %s", verdict.text);
	free(data);
	if (fd >= 0)
		close(fd);
}
