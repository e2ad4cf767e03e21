/* SPDX-License-Identifier: Apache-2.0 */
/* One-sided writes between processes of one machine. */
#ifndef KVR_RDMA_SHM_H
#define KVR_RDMA_SHM_H

#include "runtime/transport.h"

extern const struct kvr_transport_ops kvr_shm_transport;

#endif
