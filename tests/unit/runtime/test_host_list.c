/* SPDX-License-Identifier: Apache-2.0 */
/* Host lists as operators write them, well and badly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kvring/bootstrap.h"

/* "name port ranks; " of each entry, then how it ended. */
static const char *read_all(const char *text)
{
	static char out[512];
	enum kvr_status status;
	struct kvr_host host;
	size_t used = 0;

	kvr_host_init(&host);
	while ((status = kvr_host_next(&text, &host)) == KVR_OK)
		used += (size_t)snprintf(out + used, sizeof(out) - used,
					 "%s %u %u; ", host.name, host.port,
					 host.ranks);
	snprintf(out + used, sizeof(out) - used, "%s at '%s'",
		 kvr_status_name(status), text);
	return out;
}

static void list_well_formed_read(void **state)
{
	static const struct {
		const char *text, *read;
	} rows[] = {
		{"a", "a 0 0; KVR_ERR_END at ''"},
		{"a,b,c", "a 0 0; b 0 0; c 0 0; KVR_ERR_END at ''"},
		{" a , b ", "a 0 0; b 0 0; KVR_ERR_END at ''"},
		{"a:1,b:65535", "a 1 0; b 65535 0; KVR_ERR_END at ''"},
		{"a*4,b:17850*2", "a 0 4; b 17850 2; KVR_ERR_END at ''"},
		{"10.0.0.1,node-7.rack_2.example.com*65535",
		 "10.0.0.1 0 0; node-7.rack_2.example.com 0 65535; "
		 "KVR_ERR_END at ''"},
		{"[::1],[fe80::1]:7*3",
		 "::1 0 0; fe80::1 7 3; KVR_ERR_END at ''"},
		{"# all of them\n\na slots=4\n\tb:9  slots=2 # half\r\nc\n",
		 "a 0 4; b 9 2; c 0 0; KVR_ERR_END at ''"},
		{"a,\nb", "a 0 0; b 0 0; KVR_ERR_END at ''"},
		{"", "KVR_ERR_END at ''"},
		{" \n# nobody\n", "KVR_ERR_END at ''"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_string_equal(read_all(rows[i].text), rows[i].read);
}

static void list_malformed_refused(void **state)
{
	static const struct {
		const char *text, *read;
	} rows[] = {
		{",", "KVR_ERR_INVALID at ','"},
		{",a", "KVR_ERR_INVALID at ',a'"},
		{"a,", "KVR_ERR_INVALID at 'a,'"},
		{"a,,b", "KVR_ERR_INVALID at 'a,,b'"},
		{"a,# b", "KVR_ERR_INVALID at 'a,# b'"},
		{"a b", "KVR_ERR_INVALID at 'a b'"},
		{"a:", "KVR_ERR_INVALID at 'a:'"},
		{"a:0", "KVR_ERR_INVALID at 'a:0'"},
		{"a:65536", "KVR_ERR_INVALID at 'a:65536'"},
		{"a:99999999999999999999",
		 "KVR_ERR_INVALID at 'a:99999999999999999999'"},
		{"a:-1", "KVR_ERR_INVALID at 'a:-1'"},
		{"a: 1", "KVR_ERR_INVALID at 'a: 1'"},
		{"a:1:2", "KVR_ERR_INVALID at 'a:1:2'"},
		{"a:b", "KVR_ERR_INVALID at 'a:b'"},
		{"a*", "KVR_ERR_INVALID at 'a*'"},
		{"a*0", "KVR_ERR_INVALID at 'a*0'"},
		{"a*65536", "KVR_ERR_INVALID at 'a*65536'"},
		{"a*2*2", "KVR_ERR_INVALID at 'a*2*2'"},
		{"a*2:1", "KVR_ERR_INVALID at 'a*2:1'"},
		{"a slots=", "KVR_ERR_INVALID at 'a slots='"},
		{"a slots=-1", "KVR_ERR_INVALID at 'a slots=-1'"},
		{"a slots=2 b", "KVR_ERR_INVALID at 'a slots=2 b'"},
		{"a Slots=2", "KVR_ERR_INVALID at 'a Slots=2'"},
		{"::1", "KVR_ERR_INVALID at '::1'"},
		{"fe80::1:7", "KVR_ERR_INVALID at 'fe80::1:7'"},
		{"[::1", "KVR_ERR_INVALID at '[::1'"},
		{"[]", "KVR_ERR_INVALID at '[]'"},
		{"[a.example]", "KVR_ERR_INVALID at '[a.example]'"},
		{"[::1]x", "KVR_ERR_INVALID at '[::1]x'"},
		{"-n,a", "KVR_ERR_INVALID at '-n,a'"},
		{"a;b", "KVR_ERR_INVALID at 'a;b'"},
		{"b,a/c", "b 0 0; KVR_ERR_INVALID at 'a/c'"},
		{"a$(id)", "KVR_ERR_INVALID at 'a$(id)'"},
		{"h\xc3\xb6st", "KVR_ERR_INVALID at 'h\xc3\xb6st'"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_string_equal(read_all(rows[i].text), rows[i].read);
}

static void name_too_long_refused(void **state)
{
	char text[KVR_HOST_NAME_MAX + 2];
	const char *at = text;
	struct kvr_host host;

	(void)state;
	memset(text, 'a', sizeof(text));
	text[KVR_HOST_NAME_MAX] = '\0';
	kvr_host_init(&host);
	assert_int_equal(kvr_host_next(&at, &host), KVR_OK);
	assert_string_equal(host.name, text);
	text[KVR_HOST_NAME_MAX] = 'a';
	text[KVR_HOST_NAME_MAX + 1] = '\0';
	at = text;
	assert_int_equal(kvr_host_next(&at, &host), KVR_ERR_INVALID);
	assert_ptr_equal(at, text);
}

static void arguments_wrong_refused(void **state)
{
	const char *at = "a", *none = NULL;
	struct kvr_host host, old;
	int local;

	(void)state;
	kvr_host_init(&host);
	old = host;
	old.size--;
	assert_int_equal(kvr_host_next(NULL, &host), KVR_ERR_INVALID);
	assert_int_equal(kvr_host_next(&none, &host), KVR_ERR_INVALID);
	assert_int_equal(kvr_host_next(&at, NULL), KVR_ERR_INVALID);
	assert_int_equal(kvr_host_next(&at, &old), KVR_ERR_INVALID);
	assert_int_equal(kvr_host_is_local(NULL, &local), KVR_ERR_INVALID);
	assert_int_equal(kvr_host_is_local(&old, &local), KVR_ERR_INVALID);
	assert_int_equal(kvr_host_is_local(&host, NULL), KVR_ERR_INVALID);
}

static int is_local(const char *name)
{
	struct kvr_host host;
	int local = -1;

	kvr_host_init(&host);
	snprintf(host.name, sizeof(host.name), "%s", name);
	assert_int_equal(kvr_host_is_local(&host, &local), KVR_OK);
	return local;
}

static void machine_itself_known_by_name_and_address(void **state)
{
	char name[KVR_HOST_NAME_MAX + 1];

	(void)state;
	assert_int_equal(gethostname(name, sizeof(name)), 0);
	assert_int_equal(is_local(name), 1);
	assert_int_equal(is_local("127.0.0.1"), 1);
	assert_int_equal(is_local("127.9.9.9"), 1);
	assert_int_equal(is_local("::1"), 1);
	/* For documentation, RFC 5737 and 3849: nobody has them. */
	assert_int_equal(is_local("203.0.113.77"), 0);
	assert_int_equal(is_local("2001:db8::1"), 0);
	assert_int_equal(is_local("no-such-host.invalid"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(list_well_formed_read),
		cmocka_unit_test(list_malformed_refused),
		cmocka_unit_test(name_too_long_refused),
		cmocka_unit_test(arguments_wrong_refused),
		cmocka_unit_test(machine_itself_known_by_name_and_address),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
