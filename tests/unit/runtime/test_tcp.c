/* SPDX-License-Identifier: Apache-2.0 */
/* The all-gather of a host list: who comes, who does not, who must not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/tcp.h"
#include "tests/support/hosts.h"
#include "tests/support/ranks.h"

#define N 4

static struct member m[N];

static void assert_says(const struct member *member, const char *text)
{
	if (!strstr(member->log, text))
		fail_msg("'%s' is not in:\n%s", text, member->log);
}

/* -------------------------------------------------------------- all there */

static void gather_sizes(struct member *member)
{
	static const size_t sizes[] = {1, 0, 96, 65536, 1 << 20, 7};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		member->bytes = sizes[i];
		hosts_gather(member);
		if (member->gathered)
			return;
	}
}

static void gather_any_start_order_exact(void **state)
{
	(void)state;
	for (uint32_t last = 0; last < N; last++) {
		hosts_init(m, N, hosts_free_port());
		m[last].delay_ms = 150;
		for (uint32_t i = 0; i < N; i++)
			m[i].body = gather_sizes;
		hosts_run(m, N);
		for (uint32_t i = 0; i < N; i++) {
			assert_int_equal(m[i].status, KVR_OK);
			assert_int_equal(m[i].gathered, 0);
		}
	}
}

static void gather_alone_needs_no_port(void **state)
{
	(void)state;
	hosts_init(m, 1, 1);
	hosts_run(m, 1);
	assert_int_equal(m[0].status, KVR_OK);
}

static void gather_over_limit_refused(void **state)
{
	(void)state;
	hosts_init(m, 2, hosts_free_port());
	m[0].body = m[1].body = hosts_gather;
	m[0].bytes = m[1].bytes = KVR_TCP_GATHER_MAX + 1;
	hosts_run(m, 2);
	assert_int_equal(m[0].gathered, -1);
	assert_says(&m[1], "over the limit");
}

static void gather_sizes_differing_refused(void **state)
{
	(void)state;
	hosts_init(m, 2, hosts_free_port());
	m[0].body = m[1].body = hosts_gather;
	m[0].bytes = 8;
	m[1].bytes = 16;
	hosts_run(m, 2);
	assert_int_equal(m[0].gathered, -1);
	assert_int_equal(m[1].gathered, -1);
	assert_says(&m[0], "rank 1 (127.0.0.1) gathers 16 bytes where rank 0 "
			   "gathers 8");
	assert_says(&m[1], "gathers 16 bytes where rank 0 gathers 8");
}

/* --------------------------------------------------------- not all there */

static void rank_missing_named_everywhere(void **state)
{
	(void)state;
	hosts_init(m, N, hosts_free_port());
	for (uint32_t i = 0; i < N; i++)
		m[i].options.join_timeout_ms = 1500;
	for (uint32_t i = 0; i < 3; i++)
		hosts_start(&m[i]);
	for (uint32_t i = 0; i < 3; i++)
		hosts_end(&m[i]);
	assert_int_equal(m[0].status, KVR_ERR_TIMEOUT);
	assert_int_equal(m[1].status, KVR_ERR_PEER_LOST);
	assert_int_equal(m[2].status, KVR_ERR_PEER_LOST);
	for (uint32_t i = 0; i < 3; i++)
		assert_says(&m[i], "rank 3 (127.0.0.1) did not come within "
				   "1.5 s; start it");
}

static void ranks_missing_counted(void **state)
{
	(void)state;
	hosts_init(m, N, hosts_free_port());
	m[0].options.join_timeout_ms = 200;
	hosts_start(&m[0]);
	hosts_end(&m[0]);
	assert_int_equal(m[0].status, KVR_ERR_TIMEOUT);
	assert_says(&m[0], "rank 1 (127.0.0.1) and 2 more of 4 ranks did not "
			   "come within 0.2 s");
}

static void rank_0_missing_named(void **state)
{
	char wanted[96];
	uint16_t port = hosts_free_port();

	(void)state;
	hosts_init(m, 2, port);
	m[1].options.join_timeout_ms = 300;
	hosts_start(&m[1]);
	hosts_end(&m[1]);
	assert_int_equal(m[1].status, KVR_ERR_TIMEOUT);
	snprintf(wanted, sizeof(wanted),
		 "rank 1 found no rank 0 at 127.0.0.1:%u within 0.3 s: "
		 "Connection refused",
		 port);
	assert_says(&m[1], wanted);
}

static void rank_0_unresolvable_named(void **state)
{
	(void)state;
	hosts_init(m, 2, 1);
	m[1].options.hosts = "no-such-host.invalid*2";
	m[1].options.join_timeout_ms = 300;
	hosts_start(&m[1]);
	hosts_end(&m[1]);
	assert_int_equal(m[1].status, KVR_ERR_TIMEOUT);
	assert_says(&m[1], "no-such-host.invalid:17850");
}

static void port_in_use_named(void **state)
{
	uint16_t port = hosts_free_port();
	struct member other[2];
	char wanted[64];

	(void)state;
	hosts_init(m, 2, port);
	hosts_start(&m[0]);
	usleep(200000);
	hosts_init(other, 2, port);
	hosts_start(&other[0]);
	hosts_end(&other[0]);
	assert_int_equal(other[0].status, KVR_ERR_SYSTEM);
	snprintf(wanted, sizeof(wanted), "port %u of 127.0.0.1 is in use",
		 port);
	assert_says(&other[0], wanted);
	assert_says(&other[0], "KVRING_PORT");
	/* The first one is not disturbed. */
	hosts_start(&m[1]);
	hosts_end(&m[0]);
	hosts_end(&m[1]);
	assert_int_equal(m[0].status, KVR_OK);
	assert_int_equal(m[1].status, KVR_OK);
}

static void rank_0_elsewhere_refused(void **state)
{
	(void)state;
	hosts_init(m, 2, 1);
	m[0].options.hosts = "203.0.113.77*2"; /* RFC 5737: nobody's */
	hosts_start(&m[0]);
	hosts_end(&m[0]);
	assert_int_equal(m[0].status, KVR_ERR_SYSTEM);
	assert_says(&m[0], "203.0.113.77 is no address of this machine");
}

static void rank_taken_refused(void **state)
{
	(void)state;
	hosts_init(m, 3, hosts_free_port());
	m[2].options.rank = 1;
	m[0].options.join_timeout_ms = 2000;
	m[2].delay_ms = 500;
	hosts_run(m, 3);
	assert_int_equal(m[2].status, KVR_ERR_MISMATCH);
	assert_says(&m[2], "another process is that rank already");
	/* Rank 2 never came, and the likely reason is told. */
	assert_int_equal(m[0].status, KVR_ERR_TIMEOUT);
	assert_says(&m[0], "rank 2 (127.0.0.1) did not come");
	assert_says(&m[0], "says it is rank 1: another process is that rank");
}

static void sizes_differing_named_on_both_sides(void **state)
{
	char list[32];
	uint16_t port = hosts_free_port();

	(void)state;
	hosts_init(m, 2, port);
	snprintf(list, sizeof(list), "127.0.0.1:%u*3", port);
	m[1].options.hosts = list;
	m[0].options.join_timeout_ms = 1000;
	hosts_run(m, 2);
	assert_int_equal(m[0].status, KVR_ERR_TIMEOUT);
	assert_int_equal(m[1].status, KVR_ERR_MISMATCH);
	for (int i = 0; i < 2; i++)
		assert_says(&m[i], "its list of hosts makes 3 ranks, that of "
				   "rank 0 2");
}

/* ------------------------------------------------------------ in between */

static void end_at_once(struct member *member)
{
	kvr_bootstrap_close(&member->bootstrap);
}

static void rank_ending_before_gather_named(void **state)
{
	(void)state;
	hosts_init(m, N, hosts_free_port());
	for (uint32_t i = 0; i < N; i++) {
		m[i].body = hosts_gather;
		m[i].bytes = 64;
	}
	m[2].body = end_at_once;
	hosts_run(m, N);
	for (uint32_t i = 0; i < N; i++) {
		if (i == 2)
			continue;
		assert_int_equal(m[i].gathered, -1);
		assert_says(&m[i], "rank 2 (127.0.0.1) ended");
	}
}

static void rank_0_ending_before_gather_named(void **state)
{
	(void)state;
	hosts_init(m, 2, hosts_free_port());
	m[0].body = end_at_once;
	m[1].body = hosts_gather;
	m[1].bytes = 64;
	hosts_run(m, 2);
	assert_int_equal(m[1].gathered, -1);
	assert_says(&m[1], "rank 0 at 127.0.0.1");
	assert_says(&m[1], "ended");
}

/* The others are in the all-gather already, and learn of it at once. */
static void end_late(struct member *member)
{
	usleep(500000);
	kvr_bootstrap_close(&member->bootstrap);
}

/* Contributes, and does not wait for the answer. */
static void contribute_and_end(struct member *member)
{
	struct kvr_tcp *tcp = member->bootstrap.arg;
	const uint8_t frame[16 + 8] = {1, 0, 0, 0, 0, 0, 0, 0, 8};

	CHECK(send(tcp->fds[0], frame, sizeof(frame), 0) == sizeof(frame));
	kvr_bootstrap_close(&member->bootstrap);
}

static void rank_ending_within_gather_named(void **state)
{
	(void)state;
	hosts_init(m, N, hosts_free_port());
	for (uint32_t i = 0; i < N; i++) {
		m[i].body = hosts_gather;
		m[i].bytes = 8;
	}
	m[1].body = contribute_and_end;
	m[3].body = end_late;
	hosts_run(m, N);
	/* Rank 3 is half a second later: nobody waited for it. */
	assert_int_equal(m[0].gathered, -1);
	assert_int_equal(m[2].gathered, -1);
	assert_says(&m[0], "rank 1 (127.0.0.1) ended");
	assert_says(&m[2], "rank 1 (127.0.0.1) ended");
}

static void dawdle(struct member *member)
{
	(void)member;
	usleep(1500000);
}

static void rank_silent_within_gather_named(void **state)
{
	(void)state;
	hosts_init(m, 3, hosts_free_port());
	for (uint32_t i = 0; i < 3; i++) {
		m[i].body = i == 1 ? dawdle : hosts_gather;
		m[i].options.gather_timeout_ms = 300;
		m[i].bytes = 64;
	}
	hosts_run(m, 3);
	assert_int_equal(m[0].gathered, -1);
	assert_int_equal(m[2].gathered, -1);
	assert_says(&m[0], "rank 1 (127.0.0.1) did not take part in time");
	assert_says(&m[2], "rank 1 (127.0.0.1) did not take part in time");
}

static void gather_failed_fails_again_at_once(struct member *member)
{
	hosts_gather(member);
	hosts_gather(member);
}

static void gather_after_failure_fails(void **state)
{
	(void)state;
	hosts_init(m, 2, hosts_free_port());
	m[0].body = gather_failed_fails_again_at_once;
	m[1].body = end_at_once;
	hosts_run(m, 2);
	assert_int_equal(m[0].gathered, -1);
}

/* ----------------------------------------------------------- environment */

static void set(const char *name, const char *value)
{
	if (value)
		setenv(name, value, 1);
	else
		unsetenv(name);
}

static enum kvr_status open_in(const char *hosts, const char *rank,
			       const char *port)
{
	struct kvr_bootstrap b;
	enum kvr_status status;

	set("KVRING_HOSTS", hosts);
	set("KVRING_RANK", rank);
	set("KVRING_PORT", port);
	hosts_init(m, 1, 1);
	m[0].options.hosts = NULL;
	m[0].options.join_timeout_ms = 100;
	status = kvr_bootstrap_open(&m[0].options, &b);
	if (status == KVR_OK)
		kvr_bootstrap_close(&b);
	set("KVRING_HOSTS", NULL);
	set("KVRING_RANK", NULL);
	set("KVRING_PORT", NULL);
	return status;
}

static void environment_host_list_used(void **state)
{
	(void)state;
	assert_int_equal(open_in("localhost", "0", NULL), KVR_OK);
	assert_int_equal(open_in("", NULL, NULL), KVR_OK);
	assert_int_equal(open_in("127.0.0.1*2", "1", "9"), KVR_ERR_TIMEOUT);
	assert_says(&m[0], "no rank 0 at 127.0.0.1:9");
	assert_int_equal(open_in("127.0.0.1:8*2", "1", "9"), KVR_ERR_TIMEOUT);
	assert_says(&m[0], "no rank 0 at 127.0.0.1:8");
	assert_int_equal(open_in("localhost", NULL, NULL), KVR_ERR_INVALID);
	assert_says(&m[0], "KVRING_RANK: '' is not a whole number");
	assert_int_equal(open_in("localhost", "1", NULL), KVR_ERR_INVALID);
	assert_says(&m[0], "rank 1 is not on a host list of 1");
	assert_int_equal(open_in("a,,b", "1", NULL), KVR_ERR_INVALID);
	assert_says(&m[0], "host list: 'a,,b' does not begin with");
	assert_int_equal(open_in("# none", "0", NULL), KVR_ERR_INVALID);
	assert_int_equal(open_in("a*65535,b", "0", NULL), KVR_ERR_INVALID);
	assert_int_equal(open_in("a", "0", "65536"), KVR_ERR_INVALID);
	assert_says(&m[0], "KVRING_PORT: '65536'");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gather_any_start_order_exact),
		cmocka_unit_test(gather_alone_needs_no_port),
		cmocka_unit_test(gather_over_limit_refused),
		cmocka_unit_test(gather_sizes_differing_refused),
		cmocka_unit_test(rank_missing_named_everywhere),
		cmocka_unit_test(ranks_missing_counted),
		cmocka_unit_test(rank_0_missing_named),
		cmocka_unit_test(rank_0_unresolvable_named),
		cmocka_unit_test(port_in_use_named),
		cmocka_unit_test(rank_0_elsewhere_refused),
		cmocka_unit_test(rank_taken_refused),
		cmocka_unit_test(sizes_differing_named_on_both_sides),
		cmocka_unit_test(rank_ending_before_gather_named),
		cmocka_unit_test(rank_0_ending_before_gather_named),
		cmocka_unit_test(rank_ending_within_gather_named),
		cmocka_unit_test(rank_silent_within_gather_named),
		cmocka_unit_test(gather_after_failure_fails),
		cmocka_unit_test(environment_host_list_used),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
