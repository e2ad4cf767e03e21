/* SPDX-License-Identifier: Apache-2.0 */
/* Which ranges make one run, where its panels are, and which are skipped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "compute/cpu/runs.h"

/* A panel has 16 * (16 + 16) * 4 bytes. */
#define PANEL 2048
static const struct kvr_compute_shape shape = {
	.q_heads = 1, .kv_heads = 1, .head_dim = 16, .value_dim = 16};

static const char block[8 * PANEL];

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

static struct kvr_cpu_runs fill(const struct kvr_range *range, size_t count)
{
	struct kvr_cpu_runs runs = {.room = 0};

	assert_int_equal(kvr_cpu_runs_reserve(&runs, count), KVR_OK);
	kvr_cpu_runs_fill(&runs, &shape, (struct kvr_ranges){range, count},
			  block, NULL);
	return runs;
}

static void runs_join_whole_panels_that_go_on(void **state)
{
	static const struct kvr_range range[] = {
		{0, 0, 32},  {0, 32, 16}, {0, 48, 5}, /* one run */
		{0, 53, 16},			      /* not at a panel */
		{1, 69, 16},			      /* another sequence */
		{1, 85, 0},  {1, 85, 16},	      /* goes on */
		{1, 200, 8},			      /* a gap */
	};
	static const struct kvr_cpu_run expected[] = {
		{{0, 0, 53}, 0},
		{{0, 53, 16}, 4},
		{{1, 69, 32}, 5},
		{{1, 200, 8}, 7},
	};
	struct kvr_cpu_runs runs = fill(range, COUNT(range));

	(void)state;
	assert_true(runs.ascending);
	assert_int_equal(runs.pieces, 7);
	assert_int_equal(runs.count, COUNT(expected));
	for (size_t i = 0; i < runs.count; i++) {
		assert_memory_equal(&runs.run[i].range, &expected[i].range,
				    sizeof(struct kvr_range));
		assert_int_equal(runs.run[i].first, expected[i].first);
	}
	for (size_t panel = 0; panel < 8; panel++) {
		const struct kvr_cpu_piece *piece =
			kvr_cpu_runs_piece(&runs, panel);

		assert_true(panel - piece->first < piece->panels);
		assert_ptr_equal(piece->data + (panel - piece->first) * PANEL,
				 block + panel * PANEL);
	}
	kvr_cpu_runs_fini(&runs);
}

static void runs_out_of_order_are_not_ascending(void **state)
{
	static const struct kvr_range lists[][2] = {
		{{1, 0, 16}, {0, 100, 16}}, /* sequences */
		{{0, 50, 16}, {0, 20, 16}}, /* positions */
		{{0, 50, 16}, {0, 65, 16}}, /* one token in both */
	};

	(void)state;
	for (size_t i = 0; i < COUNT(lists); i++) {
		struct kvr_cpu_runs runs = fill(lists[i], 2);

		assert_false(runs.ascending);
		assert_int_equal(runs.count, 2);
		kvr_cpu_runs_fini(&runs);
	}
}

static void runs_behind_a_position_found(void **state)
{
	static const struct kvr_range range[] = {
		{2, 10, 10}, {2, 30, 10}, {4, 0, 5}, {4, 7, 1}};
	static const struct {
		uint64_t sequence, position;
		size_t first;
	} looks[] = {{0, 0, 0},	 {2, 0, 0},  {2, 19, 0}, {2, 20, 1},
		     {2, 39, 1}, {2, 40, 2}, {3, 9, 2},	 {4, 4, 2},
		     {4, 5, 3},	 {4, 8, 4},  {5, 0, 4}};
	struct kvr_cpu_runs runs = fill(range, COUNT(range));

	(void)state;
	for (size_t i = 0; i < COUNT(looks); i++)
		assert_int_equal(kvr_cpu_runs_behind(&runs, looks[i].sequence,
						     looks[i].position),
				 looks[i].first);
	kvr_cpu_runs_fini(&runs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(runs_join_whole_panels_that_go_on),
		cmocka_unit_test(runs_out_of_order_are_not_ascending),
		cmocka_unit_test(runs_behind_a_position_found),
	};

	return cmocka_run_group_tests_name("runs", tests, NULL, NULL);
}
