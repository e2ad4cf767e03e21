/* SPDX-License-Identifier: Apache-2.0 */
/* Which ranks a command starts, from options and environment. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/place.h"

/* "name=value" pairs hold for one choice. */
static const char *const variables[] = {
	"KVRING_HOSTS",	  "KVRING_RANK", "KVRING_BOOTSTRAP_FD",
	"PMIX_NAMESPACE", "PMIX_RANK",
};

static void clear_environment(void)
{
	for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++)
		unsetenv(variables[i]);
}

/* "kind n: ranks; hosts", or the complaint. */
static const char *choose(uint32_t n, const char *hosts, int64_t index)
{
	static char out[1024];
	struct place_request request = {.n = n,
					.hosts = hosts,
					.hosts_name = "--hosts",
					.host_index = index};
	struct complaint why;
	struct place place;
	size_t used;

	if (!place_choose(&request, &place, &why)) {
		snprintf(out, sizeof(out), "%s", why.text);
	} else {
		used = (size_t)snprintf(out, sizeof(out), "%d %u:", place.kind,
					place.n);
		for (uint32_t i = 0; i < place.count; i++)
			used += (size_t)snprintf(out + used, sizeof(out) - used,
						 " %u", place.ranks[i]);
		snprintf(out + used, sizeof(out) - used, "; %s%s",
			 place.hosts ? place.hosts : "none",
			 place_has_root(&place) ? ", root" : "");
		place_free(&place);
	}
	clear_environment();
	return out;
}

static void assert_begins(const char *text, const char *with)
{
	if (strncmp(text, with, strlen(with)) != 0)
		fail_msg("'%s' does not begin with '%s'", text, with);
}

static void number_alone_starts_all_here(void **state)
{
	(void)state;
	assert_string_equal(choose(3, NULL, -1), "0 3: 0 1 2; none, root");
	assert_begins(choose(0, NULL, -1), "-n N, the number of ranks, is");
}

static void engine_starts_its_rank(void **state)
{
	(void)state;
	setenv("PMIX_NAMESPACE", "job.0", 1);
	setenv("PMIX_RANK", "3", 1);
	assert_string_equal(choose(0, NULL, -1), "2 0: 3; none");
	setenv("PMIX_NAMESPACE", "job.0", 1);
	setenv("PMIX_RANK", "0", 1);
	assert_string_equal(choose(4, NULL, -1), "2 0: 0; none, root");
	/* Half an engine, or one that counts otherwise, is none. */
	setenv("PMIX_RANK", "0", 1);
	assert_string_equal(choose(1, NULL, -1), "0 1: 0; none, root");
	setenv("PMIX_NAMESPACE", "job.0", 1);
	setenv("PMIX_RANK", "x", 1);
	assert_string_equal(choose(1, NULL, -1), "0 1: 0; none, root");
	setenv("PMIX_NAMESPACE", "job.0", 1);
	setenv("PMIX_RANK", "1024", 1);
	assert_begins(choose(0, NULL, -1), "PMIX_RANK: 1024 is over 1023");
}

static void followers_are_ranks_of_engines_but_0(void **state)
{
	(void)state;
	assert_false(place_is_follower());
	setenv("PMIX_NAMESPACE", "job.0", 1);
	setenv("PMIX_RANK", "0", 1);
	assert_false(place_is_follower());
	setenv("PMIX_RANK", "1", 1);
	assert_true(place_is_follower());
	setenv("KVRING_HOSTS", "a", 1);
	assert_false(place_is_follower());
	clear_environment();
}

static void hosts_number_ranks_in_order(void **state)
{
	(void)state;
	assert_string_equal(choose(0, "a,127.0.0.1,b", -1),
			    "1 3: 1; a*1,127.0.0.1*1,b*1");
	assert_string_equal(choose(6, "127.0.0.1,a,localhost", -1),
			    "1 6: 0 1 4 5; 127.0.0.1*2,a*2,localhost*2, root");
	assert_string_equal(choose(0, "a*2,b:99,[fd00::1]:7*3", 2),
			    "1 6: 3 4 5; a*2,b:99*1,[fd00::1]:7*3");
	assert_string_equal(choose(3, "a*2,b", 1), "1 3: 2; a*2,b*1");
	/* An option comes before the environment, and both before PMIx. */
	setenv("KVRING_HOSTS", "x*9", 1);
	assert_string_equal(choose(0, "a,b", 0), "1 2: 0; a*1,b*1, root");
	setenv("KVRING_HOSTS", "a,b", 1);
	setenv("PMIX_NAMESPACE", "job.0", 1);
	setenv("PMIX_RANK", "3", 1);
	assert_string_equal(choose(0, NULL, 1), "1 2: 1; a*1,b*1");
	setenv("KVRING_HOSTS", "", 1);
	assert_string_equal(choose(1, NULL, 1), "0 1: 0; none, root");
}

static void rank_given_is_the_only_one(void **state)
{
	(void)state;
	setenv("KVRING_RANK", "2", 1);
	assert_string_equal(choose(0, "a*2,b*2", -1), "1 4: 2; a*2,b*2");
	setenv("KVRING_RANK", "4", 1);
	assert_begins(choose(0, "a*2,b*2", -1), "KVRING_RANK: '4' is not");
	setenv("KVRING_RANK", "", 1);
	assert_begins(choose(0, "a*2,b*2", -1), "KVRING_RANK: '' is not");
	/* What kvring run left is of another ring. */
	setenv("KVRING_RANK", "2", 1);
	setenv("KVRING_BOOTSTRAP_FD", "3", 1);
	assert_string_equal(choose(0, "a*2,b*2", 0), "1 4: 0 1; a*2,b*2, root");
}

static void hosts_wrong_refused(void **state)
{
	(void)state;
	assert_begins(choose(0, "a,,b", 0), "--hosts: 'a,,b' is not host");
	assert_begins(choose(0, "a\nb/c\nd", 0), "--hosts: 'b/c' is not host");
	assert_begins(choose(0, "", 0), "--hosts: names no host");
	assert_begins(choose(3, "a,b", 0), "-n: 3 ranks do not spread evenly");
	assert_begins(choose(4, "a*2,b", 0), "-n: 4, but --hosts makes 3");
	assert_begins(choose(0, "a*1000,b*25", 0), "--hosts: makes 1025 ranks");
	assert_begins(choose(0, "a*65535,b*65535", 0), "--hosts: makes 131070");
	assert_begins(choose(0, "a,b", 2),
		      "--host-index: 2 is not below the 2");
	assert_begins(choose(0, "203.0.113.77", -1), "--hosts: none of the");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(number_alone_starts_all_here),
		cmocka_unit_test(engine_starts_its_rank),
		cmocka_unit_test(followers_are_ranks_of_engines_but_0),
		cmocka_unit_test(hosts_number_ranks_in_order),
		cmocka_unit_test(rank_given_is_the_only_one),
		cmocka_unit_test(hosts_wrong_refused),
	};

	clear_environment();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
