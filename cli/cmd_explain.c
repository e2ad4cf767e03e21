/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/recordings.h"
#include "kvring/recorder.h"

struct explain_options {
	char **files; /* ends with NULL */
	bool verbose;
	uint32_t events;
};

enum key { KEY_EVENTS = 256 };

static const struct argp_option options[] = {
	{"verbose", 'v', NULL, 0,
	 "Print each rank's state and the last events of all, too", 0},
	{"events", KEY_EVENTS, "N", 0,
	 "Events of each rank with -v (default 40, at most 4096)", 0},
	{0}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct explain_options *o = state->input;

	switch (key) {
	case 'v':
		o->verbose = true;
		return 0;
	case KEY_EVENTS:
		o->events =
			(uint32_t)usage_number(state, "--events", arg, 0, 4096);
		return 0;
	case ARGP_KEY_ARGS:
		o->files = state->argv + state->next;
		return 0;
	case ARGP_KEY_NO_ARGS:
		usage_missing(state, "a file of recordings");
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static bool read_file(const char *name, char **data, size_t *bytes,
		      struct complaint *why)
{
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	bool ok;

	if (fd < 0)
		return complain(why, "%s: %s; check the name", name,
				strerror(errno));
	ok = recordings_read(fd, name, data, bytes, why);
	close(fd);
	return ok;
}

/* All files one after the other, as if they were one. */
static bool read_files(char **names, char **data, size_t *bytes,
		       struct complaint *why)
{
	struct kvr_verdict verdict;

	for (; *names; names++) {
		size_t before = *bytes;

		kvr_verdict_init(&verdict);
		if (!read_file(*names, data, bytes, why))
			return false;
		if (kvr_recordings_explain(*data + before, *bytes - before,
					   &verdict) == KVR_ERR_INVALID)
			return complain(why,
					"%s: holds no recordings of this "
					"version, or damaged ones; give files "
					"that KVRING_RECORDER named",
					*names);
	}
	return true;
}

static void print_line(void *arg, const char *line)
{
	(void)arg;
	puts(line);
}

static bool explain(const struct explain_options *o, const char *data,
		    size_t bytes, struct complaint *why)
{
	struct kvr_verdict v;
	enum kvr_status status;

	kvr_verdict_init(&v);
	status = kvr_recordings_explain(data, bytes, &v);
	if (status == KVR_OK) {
		printf("%s%s\n",
		       v.failed ? "" : "no rank has failed yet: ", v.text);
		if (v.recorded < v.n)
			printf("recordings of %" PRIu32 " of %" PRIu32
			       " ranks\n",
			       v.recorded, v.n);
		if (v.others)
			printf("left out: %" PRIu32
			       " recordings of other rings\n",
			       v.others);
	}
	if (status == KVR_OK && o->verbose)
		status = kvr_recordings_print(data, bytes, o->events,
					      print_line, NULL);
	if (status != KVR_OK)
		return complain(why, "the recordings: %s",
				kvr_status_text(status));
	return true;
}

int cmd_explain(int argc, char **argv)
{
	static const struct argp argp = {
		options,
		parse,
		"FILE...",
		"Merges what the flight recorders of a ring's ranks left, and "
		"prints the cause of its failure in one sentence. A rank whose "
		"ring fails appends to the file that KVRING_RECORDER names in "
		"its environment; %r in the name stands for its number.\v"
		"Exit status: 0 when there is a sentence, 1 when there are no "
		"recordings to be read, 2 for wrong usage.",
		NULL,
		NULL,
		NULL};
	struct explain_options o = {.events = 40};
	struct complaint why;
	char *data = NULL;
	size_t bytes = 0;
	bool ok;

	argp_parse(&argp, argc, argv, 0, 0, &o);
	ok = read_files(o.files, &data, &bytes, &why) &&
	     explain(&o, data, bytes, &why);
	free(data);
	if (ok)
		return CLI_OK;
	complaint_print(&why);
	return CLI_FAILED;
}
