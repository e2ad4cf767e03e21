/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rails: device ports of this host, and their protection domains.
 *
 *	PD-out	queue pairs to next, local blocks, and the landing slots once
 *		more without remote access, to forward from: one a rail
 *	PD-in	queue pairs to prev, landing memory: prev may write there. One
 *		a rail and endpoint, for keys can be guessed: in a shared one
 *		prev could write what belongs to another prev
 *
 * Nothing in PD-out can be reached by next, nothing in PD-in but its landing
 * memory by prev.
 */
#ifndef KVR_RDMA_VERBS_DEVICE_H
#define KVR_RDMA_VERBS_DEVICE_H

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>

#include "rdma/verbs/ladder.h"
#include "runtime/transport.h"

#define VERBS_RAILS_MAX 4
#define VERBS_QPS_MAX (VERBS_RAILS_MAX * KVR_QUEUE_PAIRS_MAX)

struct verbs_device {
	struct ibv_context *context;
	struct rdma_cm_id *anchor; /* keeps librdmacm's context; or NULL */
	struct ibv_pd *pd_out;
	uint8_t port;
	struct ibv_device_attr attr;
	struct ibv_port_attr port_attr;
	union ibv_gid gid;
	uint32_t gid_index;	       /* verbs-exchange */
	struct sockaddr_storage local; /* librdmacm: the port's address */
};

/* That the rails reach the memory of a GPU, by that rung of ladder.h. */
#define VERBS_PROOFS_MAX 32

struct verbs_proof {
	uint32_t device;
	struct verbs_step step;
};

struct verbs_transport {
	struct kvr_transport base;
	const struct kvr_log *log;
	uint32_t queue_pairs;		    /* of an edge, on each rail */
	bool adaptive_routing;		    /* see post.c */
	struct rdma_event_channel *channel; /* of the anchors; or NULL */
	struct kvr_gpu_settings gpu;
	const char *sysfs; /* where it is mounted */
	struct verbs_proof proof[VERBS_PROOFS_MAX];
	uint32_t proof_count; /* see reach.c */
	uint32_t rails;
	struct verbs_device device[VERBS_RAILS_MAX];
};

/* "name[:port],..." as one of its members. */
bool verbs_device_listed(const char *devices, const char *name, uint8_t port);

/* Is there a device that could serve, and may we use it? */
enum kvr_status verbs_probe_devices(char *reason, size_t bytes);

/* Fills in rails. Errors: UNSUPPORTED, INVALID, SYSTEM, NO_MEMORY; logged. */
enum kvr_status verbs_devices_by_cm(struct verbs_transport *t,
				    const struct kvr_transport_config *config);
enum kvr_status
verbs_devices_by_exchange(struct verbs_transport *t,
			  const struct kvr_transport_config *config);

/*
 * Completes device, whose context and port are set: attributes and protection
 * domain. What it made is undone by verbs_device_fini, also after failure.
 */
enum kvr_status verbs_device_init(const struct kvr_log *log,
				  struct verbs_device *device);
void verbs_device_fini(struct verbs_device *device);

/* Handles what the device has to tell; acknowledged before it returns. */
void verbs_device_async(const struct kvr_log *log, struct verbs_device *device);

enum kvr_status verbs_memory_register(struct kvr_transport *base, void *address,
				      size_t bytes, void **key);
void verbs_memory_deregister(struct kvr_transport *base, void *key);

/* RNR NAKs that the ports of the rails sent and received. */
uint64_t verbs_unready(struct kvr_transport *base);

/* Logs errno and translates it: NO_MEMORY or SYSTEM. */
enum kvr_status verbs_errno(const struct kvr_log *log, const char *device,
			    const char *operation);

/* Both bytes of text are at least INET6_ADDRSTRLEN. */
const char *verbs_gid_text(const union ibv_gid *gid, char *text);

#endif
