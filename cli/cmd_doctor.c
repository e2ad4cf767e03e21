/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/command.h"
#include "cli/doctor/collect.h"
#include "cli/doctor/print.h"

struct doctor_options {
	const char *root; /* NULL: this machine */
	bool json;
};

enum key { KEY_JSON = 256, KEY_ROOT };

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct doctor_options *options = state->input;

	switch (key) {
	case KEY_JSON:
		options->json = true;
		return 0;
	case KEY_ROOT:
		options->root = arg;
		return 0;
	case ARGP_KEY_ARG:
		usage_error(state, "argument", arg, "expected");
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* A directory without /sys would look like a machine without RDMA. */
static bool root_is_tree(const char *root, struct complaint *why)
{
	const struct tree tree = {root};
	struct stat info;

	if (stat(root, &info))
		return complain(why,
				"%s: %s; name a directory that holds a "
				"machine's sys, proc and dev",
				root, strerror(errno));
	if (!tree_exists(&tree, "/sys/."))
		return complain(why,
				"%s: holds no directory sys; name one "
				"that holds a machine's sys, proc and dev",
				root);
	return true;
}

static bool print(const struct facts *facts, const struct findings *findings,
		  bool json)
{
	if (json)
		return print_findings_json(stdout, facts, findings);
	print_findings(stdout, findings);
	return !fflush(stdout) && !ferror(stdout);
}

static bool examine(const struct doctor_options *options, struct complaint *why,
		    enum level *worst)
{
	const struct tree tree = {options->root ? options->root : ""};
	const struct fact_environment environment = {
		.device = getenv("KVRING_DEVICE"),
		.gid_index = getenv("KVRING_GID_INDEX"),
	};
	struct findings findings;
	struct facts facts;
	bool ok;

	if (options->root && !root_is_tree(options->root, why))
		return false;
	if (!collect(&tree, options->root ? NULL : &collect_this_machine,
		     &environment, &facts))
		return complain(why, "no memory left; free some");
	ok = judge(&facts, &findings);
	if (!ok)
		complain(why, "no memory left; free some");
	else if (!print(&facts, &findings, options->json))
		ok = complain(why, "standard output: cannot be written; check "
				   "where it goes");
	if (ok)
		*worst = findings_worst(&findings);
	findings_free(&findings);
	facts_free(&facts);
	return ok;
}

int cmd_doctor(int argc, char **argv)
{
	static const struct argp_option arguments[] = {
		{"json", KEY_JSON, 0, 0, "Print JSON", 0},
		{"root", KEY_ROOT, "DIR", 0,
		 "Read the sys, proc and dev below DIR, a recorded machine", 0},
		{0}};
	static const struct argp argp = {
		arguments,
		parse,
		NULL,
		"Looks for what keeps RDMA from working on this machine, and "
		"says what to do about it.\v"
		"Exit status: 0 nothing fatal found, 1 something fatal, or "
		"failed, 2 wrong usage.",
		0,
		0,
		0};
	struct doctor_options options = {.root = NULL};
	enum level worst = LEVEL_FATAL;
	struct complaint why;

	argp_parse(&argp, argc, argv, 0, 0, &options);
	if (!examine(&options, &why, &worst)) {
		complaint_print(&why);
		return CLI_FAILED;
	}
	return worst == LEVEL_FATAL ? CLI_FAILED : CLI_OK;
}
