/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every call of a verbs edge's set-up into rdma-core, the system and the
 * allocator fails once: a status comes back, or another attempt gets through,
 * and no descriptor, memory or object of the device stays.
 */
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "rdma/verbs/endpoint.h"
#include "tests/conformance/transport/pair.h"

#undef ibv_reg_mr
#undef ibv_query_port

/* The call that fails, counted down; 0: none. */
static int countdown;
static int failure;
static const char *failed;

static bool fails(const char *call)
{
	if (countdown == 0 || --countdown > 0)
		return false;
	failed = call;
	errno = failure;
	return true;
}

#define WRAP(type, name, parameters, arguments, error)                         \
	type __real_##name parameters;                                         \
	type __wrap_##name parameters;                                         \
	type __wrap_##name parameters                                          \
	{                                                                      \
		return fails(#name) ? (error) : __real_##name arguments;       \
	}

WRAP(struct ibv_pd *, ibv_alloc_pd, (struct ibv_context * context), (context),
     NULL)
WRAP(struct ibv_comp_channel *, ibv_create_comp_channel,
     (struct ibv_context * context), (context), NULL)
WRAP(struct ibv_cq *, ibv_create_cq,
     (struct ibv_context * context, int entries, void *of,
      struct ibv_comp_channel *channel, int vector),
     (context, entries, of, channel, vector), NULL)
WRAP(struct ibv_qp *, ibv_create_qp,
     (struct ibv_pd * pd, struct ibv_qp_init_attr *attr), (pd, attr), NULL)
WRAP(int, ibv_modify_qp, (struct ibv_qp * qp, struct ibv_qp_attr *attr, int m),
     (qp, attr, m), failure)
WRAP(struct ibv_mr *, ibv_reg_mr,
     (struct ibv_pd * pd, void *at, size_t bytes, int access),
     (pd, at, bytes, access), NULL)
WRAP(struct ibv_mr *, ibv_reg_mr_iova2,
     (struct ibv_pd * pd, void *at, size_t bytes, uint64_t iova,
      unsigned int access),
     (pd, at, bytes, iova, access), NULL)
WRAP(int, ibv_query_device,
     (struct ibv_context * context, struct ibv_device_attr *out),
     (context, out), failure)
WRAP(struct ibv_context *, ibv_open_device, (struct ibv_device * device),
     (device), NULL)
WRAP(struct ibv_ah *, ibv_create_ah,
     (struct ibv_pd * pd, struct ibv_ah_attr *attr), (pd, attr), NULL)
WRAP(struct rdma_event_channel *, rdma_create_event_channel, (void), (), NULL)
WRAP(int, rdma_create_id,
     (struct rdma_event_channel * channel, struct rdma_cm_id **id, void *of,
      enum rdma_port_space space),
     (channel, id, of, space), -1)
WRAP(int, rdma_bind_addr, (struct rdma_cm_id * id, struct sockaddr *at),
     (id, at), -1)
WRAP(int, rdma_listen, (struct rdma_cm_id * id, int backlog), (id, backlog), -1)
WRAP(int, rdma_resolve_addr,
     (struct rdma_cm_id * id, struct sockaddr *from, struct sockaddr *to,
      int ms),
     (id, from, to, ms), -1)
WRAP(int, rdma_resolve_route, (struct rdma_cm_id * id, int ms), (id, ms), -1)
WRAP(int, rdma_connect, (struct rdma_cm_id * id, struct rdma_conn_param *p),
     (id, p), -1)
WRAP(int, rdma_accept, (struct rdma_cm_id * id, struct rdma_conn_param *p),
     (id, p), -1)
WRAP(int, rdma_establish, (struct rdma_cm_id * id), (id), -1)
WRAP(int, rdma_init_qp_attr,
     (struct rdma_cm_id * id, struct ibv_qp_attr *attr, int *mask),
     (id, attr, mask), -1)
WRAP(int, epoll_create1, (int flags), (flags), -1)
WRAP(int, epoll_ctl, (int fd, int op, int who, struct epoll_event *event),
     (fd, op, who, event), -1)
WRAP(ssize_t, getrandom, (void *to, size_t bytes, unsigned flags),
     (to, bytes, flags), -1)
WRAP(void *, mmap, (void *at, size_t n, int prot, int flags, int fd, off_t o),
     (at, n, prot, flags, fd, o), MAP_FAILED)
WRAP(int, madvise, (void *at, size_t bytes, int advice), (at, bytes, advice),
     -1)
WRAP(int, getifaddrs, (struct ifaddrs * *out), (out), -1)
WRAP(void *, calloc, (size_t count, size_t bytes), (count, bytes), NULL)

/* ------------------------------------------------------------------ left */

/* What `rdma resource` counts: "pd 2 cq 2 qp 3 cm_id 1 mr 0 ...". */
static void resources(char *out, size_t bytes)
{
	FILE *pipe = popen("rdma resource show", "re");

	assert_non_null(pipe);
	out[fread(out, 1, bytes - 1, pipe)] = '\0';
	assert_int_equal(pclose(pipe), 0);
	assert_non_null(strstr(out, "cm_id"));
}

/* -------------------------------------------------------------- one try */

static enum kvr_status open_ends(struct pair *pair)
{
	enum kvr_status status = pair->ops->open(
		&(struct kvr_transport_config){.log = &pair->log},
		&pair->transport);

	if (status == KVR_OK)
		status = pair->ops->endpoint_open(pair->transport,
						  &pair->in_config, &pair->in);
	if (status == KVR_OK)
		status = pair->ops->endpoint_open(
			pair->transport, &pair->out_config, &pair->out);
	return status;
}

static bool goes_on(enum kvr_status status)
{
	return status == KVR_OK || status == KVR_ERR_AGAIN;
}

/* The first status that is no progress, or KVR_OK. */
static enum kvr_status begin(struct pair *pair)
{
	const uint64_t end = test_now_ns() + UINT64_C(10000000000);
	uint8_t in[KVR_ADDRESS_BYTES], out[KVR_ADDRESS_BYTES];
	enum kvr_status status = open_ends(pair), at_in, at_out;

	if (status != KVR_OK)
		return status;
	pair->ops->address(pair->in, in);
	pair->ops->address(pair->out, out);
	status = pair->ops->connect(pair->in, out);
	if (status == KVR_OK)
		status = pair->ops->connect(pair->out, in);
	if (status != KVR_OK)
		return status;
	do {
		at_out = pair->ops->connect_poll(pair->out);
		at_in = pair->ops->connect_poll(pair->in);
		if (!goes_on(at_out))
			return at_out;
		if (!goes_on(at_in))
			return at_in;
		assert_true(test_now_ns() < end);
	} while (at_in != KVR_OK || at_out != KVR_OK);
	return KVR_OK;
}

/*
 * What may come of it. A device that cannot be asked is passed over, a
 * smaller queue pair is asked for, and an exchange that lost one end is lost
 * at the other.
 */
static bool fits(enum kvr_status status)
{
	return status == KVR_OK || status == KVR_ERR_SYSTEM ||
	       status == KVR_ERR_NO_MEMORY || status == KVR_ERR_UNSUPPORTED ||
	       status == KVR_ERR_PEER_LOST;
}

/* librdmacm keeps the devices that it opened once. */
static void warm_up(void)
{
	static struct pair pair;

	pair_init(&pair, 2, 2, 5000, 1000);
	assert_int_equal(begin(&pair), KVR_OK);
	pair_close(&pair);
}

/* Returns how many calls a set-up makes: each of them failed once. */
static int fail_each(int error)
{
	char before[1024], after[1024];
	size_t heap = 0;
	int fds;

	warm_up();
	fds = test_fd_count();
	resources(before, sizeof(before));
	for (int n = 1;; n++) {
		static struct pair pair;
		enum kvr_status status;

		pair_init(&pair, 2, 2, 5000, 1000);
		failure = error;
		failed = NULL;
		countdown = n;
		status = begin(&pair);
		countdown = 0;
		pair_close(&pair);
		/* The first tries fill caches of rdma-core's. */
		if (n == 20)
			heap = mallinfo2().uordblks;
		assert_int_equal(test_fd_count(), fds);
		if (!failed) {
			assert_int_equal(status, KVR_OK);
			resources(after, sizeof(after));
			assert_string_equal(after, before);
			assert_in_range(mallinfo2().uordblks, 0, heap + 16384);
			return n - 1;
		}
		if (!fits(status))
			fail_msg("%s: %s", failed, kvr_status_name(status));
		if (status != KVR_OK && strcmp(failed, "calloc") != 0 &&
		    pair.lines[0] == '\0')
			fail_msg("%s was not logged", failed);
	}
}

/* Devices, domains, queues, registrations, states, connections. */
#define CALLS_MIN 40

static void one_call_that_fails_leaves_nothing(void **state)
{
	char reason[160];

	pair_ops = *state;
	if (pair_ops->probe(reason, sizeof(reason)) != KVR_OK)
		fail_msg("%s: %s", pair_ops->name, reason);
	for (int round = 0; round < 3; round++) {
		static const int errors[] = {EMFILE, ENOMEM, EINVAL};
		const int calls = fail_each(errors[round]);

		printf("         - %s: %d calls, errno %d\n", pair_ops->name,
		       calls, errors[round]);
		assert_true(calls >= CALLS_MIN);
	}
}

int main(void)
{
	const struct kvr_transport_ops *cm = &kvr_verbs_transport;
	const struct kvr_transport_ops *exchange =
		&kvr_verbs_exchange_transport;
	const struct CMUnitTest tests[] = {
		{"one_call_of_librdmacm_that_fails_leaves_nothing",
		 one_call_that_fails_leaves_nothing, NULL, NULL,
		 (void *)(uintptr_t)cm},
		{"one_call_by_exchange_that_fails_leaves_nothing",
		 one_call_that_fails_leaves_nothing, NULL, NULL,
		 (void *)(uintptr_t)exchange},
	};
	char reason[160];

	if (cm->probe(reason, sizeof(reason)) != KVR_OK) {
		printf("skipped: %s\n", reason);
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
