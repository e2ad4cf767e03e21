/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "cli/table.h"

static void bytes_scale_to_a_unit(void **state)
{
	char text[24];

	(void)state;
	table_bytes(1023, text, sizeof(text));
	assert_string_equal(text, "1023 B");
	table_bytes(1536, text, sizeof(text));
	assert_string_equal(text, "1.5 KiB");
	table_bytes(3ull << 30, text, sizeof(text));
	assert_string_equal(text, "3.0 GiB");
	table_bytes(5000ull << 40, text, sizeof(text));
	assert_string_equal(text, "5000.0 TiB");
}

static void time_scales_to_a_unit(void **state)
{
	char text[24];

	(void)state;
	table_time(0.0000125, text, sizeof(text));
	assert_string_equal(text, "12.5 us");
	table_time(0.25, text, sizeof(text));
	assert_string_equal(text, "250.0 ms");
	table_time(90, text, sizeof(text));
	assert_string_equal(text, "90.00 s");
}

static void timeline_shows_what_filled_each_part(void **state)
{
	/* 0..40 compute, 40..60 waits, 60..80 computes, then nothing. */
	const struct rank_step steps[] = {{0, 0, 40}, {40, 60, 80}};
	const enum table_cell expected[] = {TABLE_COMPUTE, TABLE_COMPUTE,
					    TABLE_EXPOSED, TABLE_COMPUTE,
					    TABLE_IDLE};
	enum table_cell cells[5];

	(void)state;
	table_timeline(steps, 2, 100, 5, cells);
	assert_memory_equal(cells, expected, sizeof(cells));
}

static void timeline_of_short_pass_has_no_empty_parts(void **state)
{
	/* Fewer nanoseconds than cells. */
	const struct rank_step steps[] = {{0, 0, 3}};
	enum table_cell cells[8];

	(void)state;
	table_timeline(steps, 1, 3, 8, cells);
	assert_int_equal(cells[0], TABLE_COMPUTE);
	assert_int_equal(cells[7], TABLE_COMPUTE);
}

static struct rank_report reports[2] = {
	{.kernel = "portable",
	 .transport_in = "shm",
	 .bytes_received = 1 << 20,
	 .wall_ns = 2000000000,
	 .exposed_ns = 500000000,
	 .compute_ns = 1500000000,
	 .pss_bytes = 3 << 20,
	 .steps = 2},
	{.kernel = "portable", .transport_in = "shm", .steps = 2}};
static struct rank_step steps[4] = {{0, 0, 1000000000},
				    {1000000000, 1500000000, 2000000000}};

static void print(char **text, const struct verification *verification,
		  bool utf8, unsigned int width)
{
	const struct attention_options options = {.slots = 2,
						  .window = {-1, -1}};
	uint64_t cu_seqlens[] = {0, 1000};
	const struct attention_input input = {.tokens = 1000,
					      .q_heads = 2,
					      .head_dim = 16,
					      .value_dim = 16,
					      .cu_seqlens = cu_seqlens,
					      .sequences = 1};
	const struct attention_job job = {.options = &options,
					  .n = 2,
					  .threads = 1,
					  .input = &input,
					  .reports = reports,
					  .steps = steps};
	const struct attention_result result = {
		.job = &job, .wall_seconds = 2.5, .verification = verification};
	size_t size;
	FILE *to = open_memstream(text, &size);

	assert_non_null(to);
	table_print(to, &result, utf8, width);
	fclose(to);
}

static void table_of_two_ranks_has_all_columns(void **state)
{
	char *text;

	(void)state;
	print(&text, NULL, false, 84);
	assert_non_null(strstr(text, "   0     2    1.0 MiB     1.50 s   "
				     "500.0 ms    75.0 %    3.0 MiB  "
				     "########....####\n"));
	/* Neither computed nor waited. */
	assert_non_null(strstr(text, "   1     2        0 B     0.0 us     "
				     "0.0 us         -"));
	assert_non_null(strstr(text, "1000 tokens in 2.50 s (the pass: 2.00 s)"
				     ", 0.1 GFLOP/s, portable kernel, 1 "
				     "thread per rank, shm"));
	assert_null(strstr(text, "verified"));
	free(text);
}

/* Of many passes: how many, and no timeline is promised. */
static void describe_chunks(uint32_t chunks, const char *expected)
{
	const struct attention_options options = {.chunks = chunks};
	const struct attention_input input = {.tokens = 1000, .q_heads = 2};
	struct rank_report report = {.steps = 64, .wall_ns = 2000000000};
	struct rank_step step = {0};
	const struct attention_job job = {.options = &options,
					  .n = 1,
					  .threads = 1,
					  .input = &input,
					  .reports = &report,
					  .steps = &step};
	const struct attention_result result = {.job = &job,
						.wall_seconds = 2.5};
	char *text;
	size_t size;
	FILE *to = open_memstream(&text, &size);

	assert_non_null(to);
	table_print(to, &result, false, 84);
	fclose(to);
	assert_non_null(strstr(text, expected));
	assert_non_null(strstr(text, "sums over all passes"));
	assert_null(strstr(text, "# computing"));
	free(text);
}

static void table_of_chunks_says_so(void **state)
{
	(void)state;
	describe_chunks(64, "1000 tokens in 2.50 s (64 chunks: 2.00 s)");
	describe_chunks(4000, "1000 tokens in 2.50 s (1000 chunks: 2.00 s)");
}

static void table_in_utf8_draws_blocks(void **state)
{
	char *text;

	(void)state;
	print(&text, NULL, true, 0);
	assert_non_null(strstr(text, "\u2588\u2591\u2591\u2591\u2591\u2588"));
	free(text);
}

static void table_of_verification_says_how_it_ended(void **state)
{
	struct verification v = {.rows = 10, .of_rows = 10, .passed = true};
	char *text;

	(void)state;
	print(&text, &v, false, 0);
	assert_non_null(strstr(text, "\nverified\n"));
	assert_null(strstr(text, "sampled"));
	free(text);
	v = (struct verification){.rows = 10, .of_rows = 99, .not_finite = 3};
	print(&text, &v, false, 0);
	assert_non_null(strstr(text, "sampled 10 of 99 rows"));
	assert_non_null(strstr(text, "3 values are not finite"));
	assert_non_null(strstr(text, "\nFAILED\n"));
	assert_null(strstr(text, "verified"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_scale_to_a_unit),
		cmocka_unit_test(time_scales_to_a_unit),
		cmocka_unit_test(timeline_shows_what_filled_each_part),
		cmocka_unit_test(timeline_of_short_pass_has_no_empty_parts),
		cmocka_unit_test(table_of_two_ranks_has_all_columns),
		cmocka_unit_test(table_of_chunks_says_so),
		cmocka_unit_test(table_in_utf8_draws_blocks),
		cmocka_unit_test(table_of_verification_says_how_it_ended),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
