/* SPDX-License-Identifier: Apache-2.0 */
/* Host lists, as operators write them. */
#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "kvring/bootstrap.h"

/* ASCII, whatever the locale. */
static const char name_characters[] = "abcdefghijklmnopqrstuvwxyz"
				      "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789.-_";
static const char address_characters[] = "0123456789abcdefABCDEF:.";
static const char blanks[] = " \t\r";

void kvr_host_init(struct kvr_host *host)
{
	*host = (struct kvr_host){.size = sizeof(*host)};
}

/* Blanks, comments and line ends: what may stand between entries. */
static const char *skip_gap(const char *at)
{
	for (;;) {
		at += strspn(at, " \t\r\n");
		if (*at != '#')
			return at;
		at += strcspn(at, "\n");
	}
}

/* 1 .. limit, without a sign. */
static bool read_number(const char **at, uint32_t limit, uint32_t *out)
{
	uint32_t value = 0;
	const char *c = *at;

	for (; *c >= '0' && *c <= '9'; c++) {
		value = value * 10 + (uint32_t)(*c - '0');
		if (value > limit)
			return false;
	}
	if (value == 0)
		return false;
	*at = c;
	*out = value;
	return true;
}

static bool read_name(const char **at, struct kvr_host *host)
{
	const bool bracket = **at == '[';
	const char *begin = *at + bracket;
	size_t length =
		strspn(begin, bracket ? address_characters : name_characters);

	if (length == 0 || length > KVR_HOST_NAME_MAX || *begin == '-')
		return false;
	if (bracket && begin[length] != ']')
		return false;
	memcpy(host->name, begin, length);
	host->name[length] = '\0';
	*at = begin + length + bracket;
	return true;
}

static bool read_port(const char **at, struct kvr_host *host)
{
	uint32_t port = 0;

	if (**at != ':')
		return true;
	++*at;
	if (!read_number(at, UINT16_MAX, &port))
		return false;
	host->port = (uint16_t)port;
	return true;
}

static bool read_ranks(const char **at, struct kvr_host *host)
{
	static const char slots[] = "slots=";
	const char *word = *at + strspn(*at, blanks);

	if (**at == '*')
		++*at;
	else if (!strncmp(word, slots, strlen(slots)))
		*at = word + strlen(slots);
	else
		return true;
	return read_number(at, KVR_RANKS_MAX, &host->ranks);
}

/* A comma, which promises another entry, or the end of the line. */
static bool read_end(const char **at)
{
	*at += strspn(*at, blanks);
	if (**at == ',') {
		*at = skip_gap(*at + 1);
		return **at != '\0' && **at != ',';
	}
	return **at == '\0' || **at == '\n' || **at == '#';
}

enum kvr_status kvr_host_next(const char **at, struct kvr_host *out)
{
	struct kvr_host host;
	const char *next;

	if (!at || !*at || !out || out->size != sizeof(*out))
		return KVR_ERR_INVALID;
	kvr_host_init(&host);
	next = *at = skip_gap(*at);
	if (*next == '\0')
		return KVR_ERR_END;
	if (!read_name(&next, &host) || !read_port(&next, &host) ||
	    !read_ranks(&next, &host) || !read_end(&next))
		return KVR_ERR_INVALID;
	*at = next;
	*out = host;
	return KVR_OK;
}

/* ------------------------------------------------------------ is it us? */

static bool is_loopback(const struct sockaddr *a)
{
	const struct sockaddr_in6 *six = (const void *)a;
	const struct sockaddr_in *four = (const void *)a;

	if (a->sa_family == AF_INET)
		return ntohl(four->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
	return a->sa_family == AF_INET6 &&
	       IN6_IS_ADDR_LOOPBACK(&six->sin6_addr);
}

static bool same_address(const struct sockaddr *a, const struct sockaddr *b)
{
	const struct sockaddr_in6 *a6 = (const void *)a, *b6 = (const void *)b;
	const struct sockaddr_in *a4 = (const void *)a, *b4 = (const void *)b;

	if (a->sa_family != b->sa_family)
		return false;
	if (a->sa_family == AF_INET)
		return a4->sin_addr.s_addr == b4->sin_addr.s_addr;
	return a->sa_family == AF_INET6 &&
	       IN6_ARE_ADDR_EQUAL(&a6->sin6_addr, &b6->sin6_addr);
}

static bool is_of_interface(const struct sockaddr *address,
			    const struct ifaddrs *interfaces)
{
	if (is_loopback(address))
		return true;
	for (; interfaces; interfaces = interfaces->ifa_next)
		if (interfaces->ifa_addr &&
		    same_address(interfaces->ifa_addr, address))
			return true;
	return false;
}

static bool resolves_to(const char *name, const struct ifaddrs *interfaces)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *found, *i;
	bool local = false;

	if (getaddrinfo(name, NULL, &hints, &found))
		return false;
	for (i = found; i && !local; i = i->ai_next)
		local = is_of_interface(i->ai_addr, interfaces);
	freeaddrinfo(found);
	return local;
}

enum kvr_status kvr_host_is_local(const struct kvr_host *host, int *out)
{
	char own[KVR_HOST_NAME_MAX + 1];
	struct ifaddrs *interfaces;

	if (!host || host->size != sizeof(*host) || !out)
		return KVR_ERR_INVALID;
	if (!gethostname(own, sizeof(own)) && !strcmp(own, host->name)) {
		*out = 1;
		return KVR_OK;
	}
	if (getifaddrs(&interfaces))
		return KVR_ERR_SYSTEM;
	*out = resolves_to(host->name, interfaces);
	freeifaddrs(interfaces);
	return KVR_OK;
}
