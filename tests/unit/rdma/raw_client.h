/* SPDX-License-Identifier: Apache-2.0 */
/* Speaks to a shm endpoint without being one: says whatever it likes. */
#ifndef TESTS_UNIT_RDMA_RAW_CLIENT_H
#define TESTS_UNIT_RDMA_RAW_CLIENT_H

#include <fcntl.h>

#include "rdma/shm/endpoint.h"
#include "tests/conformance/transport/pair.h"

#define RAW_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

/* Connects to a listening endpoint. */
int raw_dial(const struct kvr_transport_ops *ops,
	     struct kvr_endpoint *endpoint);

/* What pair's OUT endpoint would say to its IN. */
struct kvr_hello raw_hello(struct pair *pair);
void raw_send(int socket_fd, const void *data, size_t bytes, const int *fds,
	      size_t fd_count);

/* What pair's OUT endpoint would pass. */
size_t raw_inbox_bytes(const struct pair *pair);
int raw_memfd(size_t bytes, int seals);

#endif
