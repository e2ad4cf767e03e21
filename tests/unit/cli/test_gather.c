/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/gather.h"

#define N 3

struct fixture {
	struct gather *gather;
	int ranks[N];
	struct complaint why;
};

static int open_fixture(void **state)
{
	static struct fixture f;
	int pair[2];
	uint32_t i;

	f.gather = gather_new(N);
	for (i = 0; i < N; i++) {
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair))
			return -1;
		gather_attach(f.gather, i, pair[0]);
		f.ranks[i] = pair[1];
	}
	*state = &f;
	return 0;
}

static int close_fixture(void **state)
{
	struct fixture *f = *state;
	uint32_t i;

	gather_free(f->gather);
	for (i = 0; i < N; i++)
		if (f->ranks[i] >= 0)
			close(f->ranks[i]);
	return 0;
}

/* Often enough for everything that can move to have moved. */
static bool serve(struct fixture *f)
{
	bool ok = true;
	int i;

	for (i = 0; i < 50 * N; i++)
		ok = gather_serve(f->gather, (uint32_t)i % N, &f->why) && ok;
	return ok;
}

static void announce(struct fixture *f, uint32_t rank, uint64_t bytes)
{
	assert_int_equal(write(f->ranks[rank], &bytes, sizeof(bytes)),
			 sizeof(bytes));
}

static void contribute(struct fixture *f, uint32_t rank, const char *text)
{
	announce(f, rank, strlen(text));
	assert_int_equal(write(f->ranks[rank], text, strlen(text)),
			 strlen(text));
}

static void receives(struct fixture *f, uint32_t rank, const char *text)
{
	char got[64] = "";

	assert_int_equal(read(f->ranks[rank], got, sizeof(got)), strlen(text));
	assert_string_equal(got, text);
}

static bool hung_up(struct fixture *f, uint32_t rank)
{
	char byte;

	return recv(f->ranks[rank], &byte, 1, MSG_DONTWAIT) == 0;
}

static void gather_of_all_answers_in_rank_order(void **state)
{
	struct fixture *f = *state;
	char byte;

	contribute(f, 2, "cc");
	contribute(f, 0, "aa");
	assert_true(serve(f));
	assert_int_equal(recv(f->ranks[0], &byte, 1, 0), -1);
	contribute(f, 1, "bb");
	assert_true(serve(f));
	receives(f, 0, "aabbcc");
	receives(f, 1, "aabbcc");
	receives(f, 2, "aabbcc");
}

static void gather_again_with_another_size_works(void **state)
{
	struct fixture *f = *state;
	uint32_t i;

	for (i = 0; i < N; i++)
		contribute(f, i, "x");
	assert_true(serve(f));
	for (i = 0; i < N; i++)
		receives(f, i, "xxx");
	for (i = 0; i < N; i++)
		contribute(f, i, "1234");
	assert_true(serve(f));
	for (i = 0; i < N; i++)
		receives(f, i, "123412341234");
}

static void gather_in_single_bytes_works(void **state)
{
	struct fixture *f = *state;
	const uint64_t bytes = 1;
	uint32_t i;
	size_t at;

	for (at = 0; at < 9; at++)
		for (i = 0; i < N; i++) {
			const void *from =
				at < 8 ? (const char *)&bytes + at : "z";

			assert_int_equal(write(f->ranks[i], from, 1), 1);
			assert_true(serve(f));
		}
	for (i = 0; i < N; i++)
		receives(f, i, "zzz");
}

static void gather_with_unequal_sizes_is_refused(void **state)
{
	struct fixture *f = *state;

	contribute(f, 0, "aa");
	contribute(f, 1, "bb");
	contribute(f, 2, "ccc");
	assert_false(serve(f));
	assert_non_null(strstr(f->why.text, "rank 2: gathers 3 bytes"));
	assert_true(hung_up(f, 0));
}

static void gather_of_too_much_is_refused(void **state)
{
	struct fixture *f = *state;

	announce(f, 1, UINT64_MAX);
	assert_false(serve(f));
	assert_non_null(strstr(f->why.text, "rank 1"));
	assert_true(hung_up(f, 2));
}

static void gather_whose_rank_leaves_fails_for_those_waiting(void **state)
{
	struct fixture *f = *state;

	contribute(f, 0, "aa");
	assert_true(serve(f));
	close(f->ranks[1]);
	f->ranks[1] = -1;
	assert_true(serve(f));
	assert_true(hung_up(f, 0));
}

static void gather_after_a_rank_left_fails(void **state)
{
	struct fixture *f = *state;

	close(f->ranks[1]);
	f->ranks[1] = -1;
	assert_true(serve(f));
	assert_false(hung_up(f, 0)); /* it may never gather */
	contribute(f, 0, "aa");
	assert_true(serve(f));
	/* What it wrote was perhaps not read: then it is a reset. */
	assert_true(send(f->ranks[0], "x", 1, MSG_NOSIGNAL) < 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, open_fixture, close_fixture)
	const struct CMUnitTest tests[] = {
		TEST(gather_of_all_answers_in_rank_order),
		TEST(gather_again_with_another_size_works),
		TEST(gather_in_single_bytes_works),
		TEST(gather_with_unequal_sizes_is_refused),
		TEST(gather_of_too_much_is_refused),
		TEST(gather_whose_rank_leaves_fails_for_those_waiting),
		TEST(gather_after_a_rank_left_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
