/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/hosts.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/support/ranks.h"

uint16_t hosts_free_port(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr =
					      htonl(INADDR_LOOPBACK)};
	socklen_t bytes = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK(fd >= 0);
	CHECK(!bind(fd, (struct sockaddr *)&address, bytes));
	CHECK(!getsockname(fd, (struct sockaddr *)&address, &bytes));
	close(fd);
	return ntohs(address.sin_port);
}

static void log_line(void *arg, enum kvr_log_level level, const char *line)
{
	struct member *m = arg;
	size_t used = strlen(m->log);

	(void)level;
	snprintf(m->log + used, sizeof(m->log) - used, "%s\n", line);
}

void hosts_init(struct member *members, uint32_t n, uint16_t port)
{
	static char list[64];

	snprintf(list, sizeof(list), "127.0.0.1:%u*%u", port, n);
	memset(members, 0, n * sizeof(*members));
	for (uint32_t i = 0; i < n; i++) {
		struct kvr_bootstrap_options *o = &members[i].options;

		kvr_bootstrap_options_init(o);
		o->hosts = list;
		o->rank = i;
		o->join_timeout_ms = 20000;
		o->gather_timeout_ms = 20000;
		o->log = log_line;
		o->log_arg = &members[i];
		o->log_level = KVR_LOG_INFO;
		members[i].gathered = -2;
	}
}

static void *run(void *arg)
{
	struct member *m = arg;

	usleep(m->delay_ms * 1000);
	m->status = kvr_bootstrap_open(&m->options, &m->bootstrap);
	if (m->status == KVR_OK && m->body)
		m->body(m);
	return NULL;
}

void hosts_start(struct member *member)
{
	CHECK(!pthread_create(&member->thread, NULL, run, member));
}

void hosts_end(struct member *member)
{
	CHECK(!pthread_join(member->thread, NULL));
	if (member->status == KVR_OK)
		kvr_bootstrap_close(&member->bootstrap);
}

void hosts_run(struct member *members, uint32_t n)
{
	uint32_t i;

	for (i = 0; i < n; i++)
		hosts_start(&members[i]);
	for (i = 0; i < n; i++)
		hosts_end(&members[i]);
}

static uint8_t pattern(uint32_t rank, size_t i)
{
	return (uint8_t)(rank * 37 + i * 11 + (i >> 8));
}

void hosts_gather(struct member *m)
{
	const struct kvr_bootstrap *b = &m->bootstrap;
	uint8_t *mine = malloc(m->bytes + 1);
	uint8_t *all = malloc(b->n * m->bytes + 1);
	size_t i;

	CHECK(mine && all);
	for (i = 0; i < m->bytes; i++)
		mine[i] = pattern(b->rank, i);
	m->gathered = b->allgather(b->arg, mine, m->bytes, all);
	for (i = 0; m->gathered == 0 && i < b->n * m->bytes; i++)
		CHECK(all[i] ==
		      pattern((uint32_t)(i / m->bytes), i % m->bytes));
	free(mine);
	free(all);
}
