/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/safetensors.h"

static char path[] = "/tmp/kvring-safetensors-XXXXXX";

/* A file of this header, with its true length, and so many bytes of data. */
static void write_file(const char *header, size_t length, size_t data_bytes)
{
	FILE *file = fopen(path, "we");
	size_t i;

	assert_non_null(file);
	for (i = 0; i < 8; i++)
		fputc((int)(length >> (8 * i) & 0xff), file);
	fputs(header, file);
	for (i = 0; i < data_bytes; i++)
		fputc('x', file);
	assert_int_equal(fclose(file), 0);
}

static void refused(const char *header, size_t data_bytes, const char *says)
{
	struct safetensors file;
	struct complaint why = {""};

	write_file(header, strlen(header), data_bytes);
	assert_false(safetensors_open(path, &file, &why));
	if (!strstr(why.text, says))
		fail_msg("\"%s\" does not say \"%s\"", why.text, says);
	assert_non_null(strstr(why.text, path));
	assert_non_null(strstr(why.text, "; "));
}

#define T(name, dtype, shape, from, to)                                        \
	"\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape               \
	",\"data_offsets\":[" #from "," #to "]}"

static void reader_good_file_finds_tensors_in_data_order(void **state)
{
	const char *header = "{\"__metadata__\":{\"by\":\"hand\"}," T(
		"b", "BF16", "[2,2]", 8, 16) "," T("a", "F32", "[2]", 0,
						   8) "}   ";
	const struct safetensors_tensor *b;
	struct complaint why;
	struct safetensors file;

	(void)state;
	write_file(header, strlen(header), 16);
	assert_true(safetensors_open(path, &file, &why));
	assert_int_equal(file.count, 2);
	assert_string_equal(file.tensors[0].name, "a");
	assert_int_equal(file.data_start, 8 + strlen(header));
	b = safetensors_find(&file, "b");
	assert_non_null(b);
	assert_int_equal(b->rank, 2);
	assert_int_equal(b->shape[1], 2);
	assert_int_equal(b->begin, 8);
	assert_null(safetensors_find(&file, "c"));
	safetensors_close(&file);
}

static void reader_empty_tensors_and_unknown_types_pass(void **state)
{
	const char *header = "{" T("a", "F32", "[0,4]", 0, 0) "," T(
		"b", "F4", "[7]", 0, 4) "," T("c", "F32", "[]", 4, 8) "}";
	struct complaint why;
	struct safetensors file;

	(void)state;
	write_file(header, strlen(header), 8);
	assert_true(safetensors_open(path, &file, &why));
	safetensors_close(&file);
}

static void reader_not_json_is_refused(void **state)
{
	(void)state;
	refused("", 0, "not JSON");
	refused("{\"a\":", 0, "not JSON");
	refused("\x01\x02\x03\x04", 0, "not JSON");
	refused("[1,2]", 0, "not a JSON object");
	refused("{} {}", 0, "not JSON");
}

static void reader_duplicate_name_is_refused(void **state)
{
	(void)state;
	refused("{" T("q", "F32", "[1]", 0, 4) "," T("q", "F32", "[1]", 4,
						     8) "}",
		8, "occurs twice");
	refused("{" T("q", "F32", "[1]", 0, 4) "," T("q", "F32", "[1]", 4,
						     8) "}",
		8, "\"q\"");
}

static void reader_lying_offsets_are_refused(void **state)
{
	(void)state;
	refused("{" T("q", "F32", "[4]", 0, 16) "}", 12, "truncated");
	refused("{" T("q", "F32", "[4]", 16, 0) "}", 16, "begins after");
	refused("{" T("q", "F32", "[1]", -4, 0) "}", 4, "two whole numbers");
	refused("{" T("q", "F32", "[1]", 0, 4.0) "}", 4, "two whole numbers");
	refused("{" T("q", "F32", "[2]", 0, 8) "," T("k", "F32", "[2]", 4,
						     12) "}",
		12, "'k' overlaps tensor 'q'");
	refused("{" T("q", "F32", "[1]", 0, 4) "," T("k", "F32", "[1]", 8,
						     12) "}",
		12, "hole of 4 bytes lies before tensor 'k'");
	refused("{" T("q", "F32", "[1]", 0, 4) "}", 7, "3 bytes follow");
	refused("{" T("q", "F32", "[1]", 0, 99999999999999999999) "}", 4,
		"not JSON");
}

static void reader_size_unlike_shape_is_refused(void **state)
{
	(void)state;
	refused("{" T("q", "F32", "[3]", 0, 8) "}", 8, "do not fit its shape");
	refused("{" T("q", "BF16", "[2]", 0, 8) "}", 8, "do not fit its shape");
	/* 2^62 * 4 is 0 modulo 2^64. */
	refused("{" T("q", "F32", "[4611686018427387904]", 0, 0) "}", 0,
		"larger than any file");
	refused("{" T("q", "F32", "[4294967296,4294967296]", 0, 0) "}", 0,
		"larger than any file");
	/* And this is 4, which its offsets confirm. */
	refused("{" T("q", "F32", "[4611686018427387905]", 0, 4) "}", 4,
		"larger than any file");
}

static void reader_malformed_tensor_is_refused(void **state)
{
	(void)state;
	refused("{\"q\":3}", 0, "not described by an object");
	refused("{\"q\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
		"no dtype");
	/* One character more than there is room for. */
	refused("{" T("q", "F32-of-sixteen-c", "[1]", 0, 4) "}", 4, "no dtype");
	refused("{\"q\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":"
		"[0,4,4]}}",
		4, "no data_offsets");
	refused("{\"q\":{\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
		"no dtype");
	refused("{\"q\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4,
		"no shape");
	refused("{\"q\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4,
		"no data_offsets");
	refused("{" T("q", "F32", "[-1]", 0, 4) "}", 4, "whole numbers");
	refused("{" T("q", "F32", "[1.5]", 0, 4) "}", 4, "whole numbers");
	refused("{" T("q", "F32", "[1,1,1,1,1,1,1,1,1]", 0, 4) "}", 4,
		"more than 8 axes");
	refused("{\"q\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}"
		"}",
		4, "no data_offsets");
}

static void header_length(size_t length, const char *says)
{
	struct safetensors file;
	struct complaint why;

	write_file("{}", length, 0);
	assert_false(safetensors_open(path, &file, &why));
	assert_non_null(strstr(why.text, says));
}

static void reader_lying_header_length_is_refused(void **state)
{
	(void)state;
	header_length(3, "longer than the file");
	header_length(100000000, "longer than the file");
	header_length(100000001, "over the format's 100 MB");
	header_length(SIZE_MAX, "over the format's 100 MB");
	header_length(0, "not JSON");
}

static void reader_short_file_is_refused(void **state)
{
	struct safetensors file;
	struct complaint why;

	(void)state;
	assert_int_equal(truncate(path, 0), 0);
	assert_false(safetensors_open(path, &file, &why));
	assert_non_null(strstr(why.text, "is empty"));
	assert_int_equal(truncate(path, 7), 0);
	assert_false(safetensors_open(path, &file, &why));
	assert_non_null(strstr(why.text, "shorter than"));
}

static void reader_no_regular_file_is_refused(void **state)
{
	struct safetensors file;
	struct complaint why;

	(void)state;
	assert_false(safetensors_open("/tmp", &file, &why));
	assert_non_null(strstr(why.text, "not a regular file"));
	assert_false(safetensors_open("/nowhere/x", &file, &why));
	assert_non_null(strstr(why.text, "cannot be opened"));
}

/* Nobody writes into it: whoever waits for that waits for ever. */
static void reader_pipe_is_refused_without_waiting(void **state)
{
	char pipe[sizeof(path) + 8];
	struct safetensors file;
	struct complaint why;

	(void)state;
	snprintf(pipe, sizeof(pipe), "%s.pipe", path);
	assert_int_equal(mkfifo(pipe, 0600), 0);
	alarm(20);
	assert_false(safetensors_open(pipe, &file, &why));
	alarm(0);
	assert_int_equal(unlink(pipe), 0);
	assert_non_null(strstr(why.text, "not a regular file"));
}

static void passes(const char *header, size_t data_bytes)
{
	struct safetensors file;
	struct complaint why = {""};

	write_file(header, strlen(header), data_bytes);
	if (!safetensors_open(path, &file, &why))
		fail_msg("refused: %s", why.text);
	safetensors_close(&file);
}

/* As much as the format allows, and as little. */
static void reader_limits_are_still_accepted(void **state)
{
	(void)state;
	passes("{" T("q", "F32", "[1,1,1,1,1,1,1,1]", 0, 4) "}", 4);
	passes("{" T("q", "fifteen-letters", "[1]", 0, 4) "}", 4);
	passes("{" T("b", "F32", "[1]", 0, 4) "," T("a", "F32", "[0]", 0,
						    0) "}",
	       4);
	passes("{}", 0);
}

/* The format's types and their sizes, from its documentation. */
static void dtype_of_the_format_has_its_size(void **state)
{
	static const struct {
		const char *name;
		size_t bytes;
	} types[] = {
		{"F64", 8},	{"F32", 4},	{"F16", 2}, {"BF16", 2},
		{"I64", 8},	{"I32", 4},	{"I16", 2}, {"I8", 1},
		{"U64", 8},	{"U32", 4},	{"U16", 2}, {"U8", 1},
		{"BOOL", 1},	{"C64", 8},	{"f32", 0}, {"", 0},
		{"F8_E4M3", 1}, {"F8_E5M2", 1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		assert_int_equal(safetensors_dtype_bytes(types[i].name),
				 types[i].bytes);
}

/* Every prefix of a good file is refused: nothing is read past its end. */
static void reader_every_truncation_is_refused(void **state)
{
	const char *header = "{" T("a", "F32", "[2]", 0, 8) "}";
	size_t whole = 8 + strlen(header) + 8;
	struct safetensors file;
	struct complaint why;

	(void)state;
	write_file(header, strlen(header), 8);
	while (whole-- > 0) {
		assert_int_equal(truncate(path, (off_t)whole), 0);
		assert_false(safetensors_open(path, &file, &why));
	}
}

static void writer_head_is_read_back(void **state)
{
	struct safetensors_spec specs[] = {{"lse", "F32", 2, {3, 5}, 0},
					   {"out", "BF16", 3, {5, 3, 7}, 0}};
	const struct safetensors_tensor *out;
	struct safetensors file;
	struct complaint why;
	size_t head_bytes;
	uint64_t total;
	void *head;
	FILE *to;

	(void)state;
	assert_true(
		safetensors_head(specs, 2, &head, &head_bytes, &total, &why));
	assert_int_equal(head_bytes % 8, 0);
	assert_int_equal(total, head_bytes + 60 + 210);
	to = fopen(path, "we");
	assert_int_equal(fwrite(head, 1, head_bytes, to), head_bytes);
	fclose(to);
	free(head);
	assert_int_equal(truncate(path, (off_t)total), 0);
	assert_true(safetensors_open(path, &file, &why));
	out = safetensors_find(&file, "out");
	assert_int_equal(file.data_start + out->begin, specs[1].offset);
	assert_int_equal(specs[0].offset, head_bytes);
	assert_string_equal(out->dtype, "BF16");
	assert_int_equal(out->shape[2], 7);
	safetensors_close(&file);
}

static void writer_too_large_is_refused(void **state)
{
	struct safetensors_spec specs[] = {
		{"q", "F32", 2, {1ull << 40, 1ull << 40}, 0}};
	struct complaint why;
	size_t head_bytes;
	uint64_t total;
	void *head;

	(void)state;
	assert_false(
		safetensors_head(specs, 1, &head, &head_bytes, &total, &why));
	assert_non_null(strstr(why.text, "'q'"));
}

static int make_file(void **state)
{
	int fd = mkstemp(path);

	(void)state;
	return fd < 0 || close(fd);
}

static int remove_file(void **state)
{
	(void)state;
	return unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reader_good_file_finds_tensors_in_data_order),
		cmocka_unit_test(reader_empty_tensors_and_unknown_types_pass),
		cmocka_unit_test(reader_not_json_is_refused),
		cmocka_unit_test(reader_duplicate_name_is_refused),
		cmocka_unit_test(reader_lying_offsets_are_refused),
		cmocka_unit_test(reader_size_unlike_shape_is_refused),
		cmocka_unit_test(reader_malformed_tensor_is_refused),
		cmocka_unit_test(reader_lying_header_length_is_refused),
		cmocka_unit_test(reader_short_file_is_refused),
		cmocka_unit_test(reader_no_regular_file_is_refused),
		cmocka_unit_test(reader_pipe_is_refused_without_waiting),
		cmocka_unit_test(reader_limits_are_still_accepted),
		cmocka_unit_test(dtype_of_the_format_has_its_size),
		cmocka_unit_test(reader_every_truncation_is_refused),
		cmocka_unit_test(writer_head_is_read_back),
		cmocka_unit_test(writer_too_large_is_refused),
	};

	return cmocka_run_group_tests(tests, make_file, remove_file);
}
