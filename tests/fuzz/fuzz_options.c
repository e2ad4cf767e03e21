/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The options of `kvring attention`, host list included, under any values.
 * Either they are taken and every one of them is in the range that its help
 * gives, or the command ends with its status for wrong usage. Numbers are
 * read once more, digit by digit, and compared.
 *
 *	input: lines; the first character picks the option, the rest is its
 *	value, or that of an argument
 *
 * argp's own part, which takes the command line apart, is not kvring's: here
 * it is played.
 */
#include <math.h>
#include <netdb.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include "cli/attention_options.h"
#include "cli/command.h"
#include "cli/parse.h"
#include "tests/fuzz/require.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

_Noreturn void __real_exit(int status);
_Noreturn void __wrap_exit(int status);
void __wrap_say_error(const char *format, ...);
void __wrap_complaint_print(const struct complaint *why);
int __real_getaddrinfo(const char *node, const char *service,
		       const struct addrinfo *hints, struct addrinfo **out);
int __wrap_getaddrinfo(const char *node, const char *service,
		       const struct addrinfo *hints, struct addrinfo **out);

static char *lines; /* what is left of the input */
static jmp_buf refused;
static bool inside;

/* ------------------------------------------------- around the options */

void __wrap_exit(int status)
{
	if (!inside)
		__real_exit(status);
	require(status == CLI_USAGE);
	longjmp(refused, 1);
}

void __wrap_say_error(const char *format, ...)
{
	(void)format;
}

void __wrap_complaint_print(const struct complaint *why)
{
	require(strstr(why->text, ": ") || strstr(why->text, "; "));
}

/* No name leaves this machine. */
int __wrap_getaddrinfo(const char *node, const char *service,
		       const struct addrinfo *hints, struct addrinfo **out)
{
	struct addrinfo numeric = *hints;

	numeric.ai_flags |= AI_NUMERICHOST;
	return __real_getaddrinfo(node, service, &numeric, out);
}

/* --------------------------------------------------------------- numbers */

/* What text says, digit by digit; -1: no number of 19 digits at most. */
static __int128 digits_of(const char *text, size_t length)
{
	__int128 value = 0;

	if (length == 0 || length > 30)
		return -1;
	for (size_t i = 0; i < length; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -1;
		value = value * 10 + (text[i] - '0');
	}
	return value;
}

/* The number of bytes that text says, as its help has it; -1: none. */
static __int128 bytes_of(const char *text)
{
	static const char suffixes[] = "kKmMgG";
	size_t length = strlen(text);
	const char *suffix =
		length ? memchr(suffixes, text[length - 1], 6) : NULL;
	__int128 value = digits_of(text, length - (suffix != NULL));

	/* Beyond 64 bits it is too large already. */
	if (value < 0 || value > UINT64_MAX || !suffix)
		return value;
	return value << (10 * (1 + (suffix - suffixes) / 2));
}

/* Leading zeros make numbers of any length: beyond 30 nothing is said. */
static void compare_numbers(const char *text)
{
	const uint64_t max = UINT64_MAX;
	uint64_t number = 7, bytes = 7;
	__int128 value = digits_of(text, strlen(text)), size = bytes_of(text);
	double real = 0.5;

	if (strlen(text) > 30)
		return;
	require(parse_number(text, 0, max, &number) ==
		(value >= 0 && value <= max));
	require(value < 0 || value > max ? number == 7 : number == value);
	require(parse_bytes(text, 0, max, &bytes) ==
		(size >= 0 && size <= max));
	require(size < 0 || size > max ? bytes == 7 : bytes == size);
	if (parse_real(text, -1e9, 1e9, &real))
		require(isfinite(real) && real >= -1e9 && real <= 1e9);
	else
		require(real == 0.5);
}

/* -------------------------------------------------------------- options */

/* The option that a character picks; NULL: none, it is an argument. */
static const struct argp_option *pick(const struct argp *argp, char which)
{
	size_t count = 0;

	while (argp->options[count].name)
		count++;
	/* It reads files, of any name. */
	if (which < 'a' || (size_t)(which - 'a') >= count ||
	    !strcmp(argp->options[which - 'a'].name, "hostfile"))
		return NULL;
	return &argp->options[which - 'a'];
}

static void play(const struct argp *argp, struct argp_state *state, char *line)
{
	const struct argp_option *option = pick(argp, *line);
	char *value = option ? line + 1 : line;
	error_t error;

	compare_numbers(value);
	if (!option)
		error = argp->parser(ARGP_KEY_ARG, value, state);
	else
		error = argp->parser(option->key, option->arg ? value : NULL,
				     state);
	/* What --help lists is understood. */
	require(error == 0);
}

error_t argp_parse(const struct argp *argp, int argc, char **argv,
		   unsigned int flags, int *end, void *input)
{
	char name[] = "kvring attention";
	struct argp_state state = {.input = input, .name = name};
	char *line, *rest = lines;

	(void)argc, (void)argv, (void)flags, (void)end;
	while ((line = strsep(&rest, "\n")))
		if (*line)
			play(argp, &state, line);
	return argp->parser(ARGP_KEY_SUCCESS, NULL, &state);
}

/* ---------------------------------------------------------------- target */

static void check_options(const struct attention_options *o)
{
	require(o->input_path && o->output_path);
	require(o->slots >= 1 && o->slots <= 64);
	require(o->partition <= PARTITION_INTERLEAVE);
	require(o->stripe >= 1 && o->stripe <= STRIPE_MAX);
	require(o->slots > 1 || o->place.n <= 2);
	require(o->place.n <= LAUNCH_RANKS_MAX);
	require(o->threads <= 1024 && isfinite(o->scale));
	require(o->values_in_keys <= KVR_DIM_MAX);
	require(o->chunk_bytes >= 1 && o->chunk_bytes <= 1 << 30);
	require(o->timeout_seconds >= 0.1 && o->timeout_seconds <= 3600);
	require(o->join_seconds >= 0.1 && o->join_seconds <= 3600);
}

static void check_place(const struct place *place)
{
	require(place->n >= 1 && place->n <= LAUNCH_RANKS_MAX);
	require(place->count >= 1 && place->count <= place->n);
	for (uint32_t i = 0; i < place->count; i++)
		require(place->ranks[i] < place->n &&
			(i == 0 || place->ranks[i] > place->ranks[i - 1]));
	require((place->kind == PLACE_HOSTS) == (place->hosts != NULL));
}

static void parse_options(void)
{
	char name[] = "kvring attention", *argv[] = {name, NULL};
	struct attention_options options;
	struct place place;

	if (setjmp(refused))
		return;
	inside = true;
	options = attention_options_parse(1, argv, &place);
	check_options(&options);
	check_place(&place);
	place_free(&place);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	require(text != NULL && clearenv() == 0);
	memcpy(text, data, size);
	text[size] = '\0';
	lines = text;
	parse_options();
	inside = false;
	free(text);
	return 0;
}
