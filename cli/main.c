/* SPDX-License-Identifier: Apache-2.0 */
/* `kvring COMMAND ...`: finds the command. */
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"
#include "kvring/kvring.h"

static const struct command {
	const char *name;
	char *full_name; /* as argv[0], for messages */
	int (*main)(int argc, char **argv);
	const char *what;
} commands[] = {
	{"attention", (char[]){"kvring attention"}, cmd_attention,
	 "compute attention from a safetensors file"},
	{"random", (char[]){"kvring random"}, cmd_random,
	 "write a random input"},
	{"run", (char[]){"kvring run"}, cmd_run,
	 "start the ranks of another program"},
	{"explain", (char[]){"kvring explain"}, cmd_explain,
	 "say why a ring failed, from its ranks' recordings"},
	{"info", (char[]){"kvring info"}, cmd_info,
	 "show what this machine can use"},
	{"doctor", (char[]){"kvring doctor"}, cmd_doctor,
	 "find what keeps RDMA from working"},
	{"bench", (char[]){"kvring bench"}, cmd_bench,
	 "measure latency, bandwidth, passes and overlap"},
};

#define COMMANDS (sizeof(commands) / sizeof(*commands))

static const struct command *find(const char *name)
{
	size_t i;

	for (i = 0; i < COMMANDS; i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	return NULL;
}

_Noreturn static void unknown(const char *name)
{
	say_error("'%s' is not a command; see 'kvring --help'", name);
	exit(CLI_USAGE);
}

static void print_version(FILE *stream, struct argp_state *state)
{
	(void)state;
	fprintf(stream, "kvring %s\n", kvr_version());
}

/* What the top level leaves: a command and its arguments. */
struct rest {
	const struct command *command;
	int argc;
	char **argv;
};

/* `kvring help [COMMAND]` is `kvring [COMMAND] --help`. */
static void help(struct argp_state *state, struct rest *rest)
{
	static char flag[] = "--help";
	static char *argv[] = {NULL, flag, NULL};
	const char *name = state->argv[state->next];

	if (!name) {
		argp_state_help(state, stdout, ARGP_HELP_STD_HELP);
		exit(CLI_OK);
	}
	if (state->next + 1 < state->argc)
		usage_error(state, "argument", state->argv[state->next + 1],
			    "expected after the command");
	rest->command = find(name);
	if (!rest->command)
		unknown(name);
	rest->argc = 2;
	rest->argv = argv;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct rest *rest = state->input;

	switch (key) {
	case ARGP_KEY_ARG:
		if (!strcmp(arg, "help")) {
			help(state, rest);
		} else {
			rest->command = find(arg);
			if (!rest->command)
				unknown(arg);
			rest->argc = state->argc - state->next + 1;
			rest->argv = state->argv + state->next - 1;
		}
		state->next = state->argc;
		return 0;
	case ARGP_KEY_NO_ARGS:
		say_error("a command is missing; see 'kvring --help'");
		exit(CLI_USAGE);
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static char *documentation(void)
{
	char *text = NULL;
	size_t bytes, i;
	FILE *to = open_memstream(&text, &bytes);

	if (!to)
		return NULL;
	fputs("Exact attention over sequences too long for one device, by a "
	      "ring of processes.\n\nCommands:\n",
	      to);
	for (i = 0; i < COMMANDS; i++)
		fprintf(to, "  %-10s %s\n", commands[i].name, commands[i].what);
	fputs("  help       show a command's options\n\v"
	      "See 'kvring help COMMAND'. Exit status: 0 done, 1 failed, 2 "
	      "wrong usage.",
	      to);
	fclose(to);
	return text;
}

/* What argp printed is still in the buffer, and exit would not tell. */
static void close_output(void)
{
	if (!fflush(stdout) && !ferror(stdout))
		return;
	say_output_error();
	_exit(CLI_FAILED);
}

int main(int argc, char **argv)
{
	struct rest rest = {.command = NULL};
	struct argp argp = {0, parse, "COMMAND [ARGUMENT...]", NULL, 0, 0, 0};
	char *text = documentation();
	static char name[] = "kvring";

	/* How to draw; numbers keep their point. */
	setlocale(LC_CTYPE, "");
	atexit(close_output);
	argp_err_exit_status = CLI_USAGE;
	argp_program_version_hook = print_version;
	argp.doc = text;
	if (argc > 0)
		argv[0] = name;
	argp_parse(&argp, argc, argv, ARGP_IN_ORDER, 0, &rest);
	free(text);
	rest.argv[0] = rest.command->full_name;
	return rest.command->main(rest.argc, rest.argv);
}
