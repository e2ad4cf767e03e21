/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One-sided writes between hosts by RDMA, over any device with reliable
 * connections. Two ways to connect, one transport: librdmacm, where the GID
 * follows the source address, and queue-pair addresses that travel with the
 * caller's all-gather, for containers in which librdmacm fails.
 */
#ifndef KVR_RDMA_VERBS_H
#define KVR_RDMA_VERBS_H

#include "runtime/transport.h"

extern const struct kvr_transport_ops kvr_verbs_transport;
extern const struct kvr_transport_ops kvr_verbs_exchange_transport;

#endif
