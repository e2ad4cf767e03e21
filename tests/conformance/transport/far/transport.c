/* SPDX-License-Identifier: Apache-2.0 */
/* Sends each call to the end that it is for. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/conformance/transport/far/far.h"
#include "tests/conformance/transport/far/process.h"
#include "tests/support/ranks.h"

struct both {
	struct kvr_transport base;
	struct kvr_transport *near;
	struct far_process far;
	struct far_sources sources; /* where the far end is OUT */
	int ends[2];		    /* opened so far: near, far */
};

static struct kvr_transport_ops both_ops;
static const struct kvr_transport_ops *near_ops;
static enum kvr_role far_role;
static const char *far_agent;

static struct both *both_of(struct kvr_transport *base)
{
	return (struct both *)base;
}

/* ----------------------------------------------------------- transport */

static enum kvr_status both_probe(char *reason, size_t bytes)
{
	/* Open for as long as the program runs: the agent ends with it. */
	static struct far_process first;
	char there[FAR_REASON_BYTES], name[FAR_NAME_BYTES] = "";
	enum kvr_status status = near_ops->probe(reason, bytes);

	if (status != KVR_OK)
		return status;
	far_process_open(&first, far_agent);
	snprintf(name, sizeof(name), "%s", near_ops->name);
	PUT(far_call_begin(&first, FAR_PROBE), name);
	status = far_call(&first);
	TAKE(&first.answer, there);
	if (status != KVR_OK)
		snprintf(reason, bytes, "there: %s", there);
	return status;
}

/* Those of this host: the body asks for none. */
static uint64_t both_unready(struct kvr_transport *base)
{
	return near_ops->unready(both_of(base)->near);
}

static enum kvr_status both_open(const struct kvr_transport_config *config,
				 struct kvr_transport **out)
{
	struct both *both = calloc(1, sizeof(*both));
	enum kvr_status status;

	CHECK(both);
	CHECK(!config->devices); /* a name of this host's */
	both->base.ops = &both_ops;
	status = near_ops->open(config, &both->near);
	if (status != KVR_OK)
		goto err_free;
	far_process_open(&both->far, far_agent);
	both->far.log = config->log;
	PUT(far_call_begin(&both->far, FAR_OPEN), *config);
	status = far_call(&both->far);
	if (status != KVR_OK)
		goto err_close;
	*out = &both->base;
	return KVR_OK;

err_close:
	far_process_close(&both->far);
	near_ops->close(both->near);
err_free:
	free(both);
	return status;
}

static void both_close(struct kvr_transport *base)
{
	struct both *both = both_of(base);

	if (far_process_is_ours(&both->far)) {
		far_call_begin(&both->far, FAR_CLOSE);
		CHECK_STATUS(far_call(&both->far), KVR_OK);
	}
	far_process_close(&both->far);
	near_ops->close(both->near);
	free(both);
}

/* Only an OUT end writes. */
static enum kvr_status both_memory_register(struct kvr_transport *base,
					    void *address, size_t bytes,
					    void **key)
{
	struct both *both = both_of(base);

	if (far_role == KVR_ROLE_IN)
		return near_ops->memory_register(both->near, address, bytes,
						 key);
	return far_source_register(&both->far, &both->sources, address, bytes,
				   key);
}

static void both_memory_deregister(struct kvr_transport *base, void *key)
{
	struct both *both = both_of(base);

	if (far_role == KVR_ROLE_IN)
		near_ops->memory_deregister(both->near, key);
	else
		far_source_deregister(&both->far, &both->sources, key);
}

/* ------------------------------------------------------------ endpoints */

/* An edge joins the hosts, even one of two receivers. */
static bool belongs_there(const struct both *both, enum kvr_role role)
{
	if (both->ends[0] != both->ends[1])
		return both->ends[0] > both->ends[1];
	return role == far_role;
}

static enum kvr_status
both_endpoint_open(struct kvr_transport *base,
		   const struct kvr_endpoint_config *config,
		   struct kvr_endpoint **out)
{
	struct both *both = both_of(base);
	const bool there = belongs_there(both, config->role);
	enum kvr_status status;

	status = there ? far_endpoint_open(&both->far, &both->sources, config,
					   out)
		       : near_ops->endpoint_open(both->near, config, out);
	if (status == KVR_OK)
		both->ends[there]++;
	return status;
}

static void both_endpoint_close(struct kvr_endpoint *endpoint)
{
	endpoint->ops->endpoint_close(endpoint);
}

static void both_address(struct kvr_endpoint *endpoint,
			 uint8_t out[KVR_ADDRESS_BYTES])
{
	endpoint->ops->address(endpoint, out);
}

static enum kvr_status both_connect(struct kvr_endpoint *endpoint,
				    const uint8_t remote[KVR_ADDRESS_BYTES])
{
	return endpoint->ops->connect(endpoint, remote);
}

static enum kvr_status both_connect_poll(struct kvr_endpoint *endpoint)
{
	return endpoint->ops->connect_poll(endpoint);
}

static void *both_slot(struct kvr_endpoint *endpoint, uint32_t lane,
		       uint32_t slot)
{
	return endpoint->ops->slot(endpoint, lane, slot);
}

static void both_descriptor(struct kvr_endpoint *endpoint, uint32_t lane,
			    uint32_t slot, struct kvr_descriptor *out,
			    const void **metadata)
{
	endpoint->ops->descriptor(endpoint, lane, slot, out, metadata);
}

static uint32_t both_pieces_max(struct kvr_endpoint *endpoint)
{
	return endpoint->ops->pieces_max(endpoint);
}

static enum kvr_status both_write(struct kvr_endpoint *endpoint,
				  const struct kvr_write *write)
{
	/* The target may be a slot that the body has just filled. */
	far_endpoint_settle();
	return endpoint->ops->write(endpoint, write);
}

static enum kvr_status both_describe(struct kvr_endpoint *endpoint,
				     const struct kvr_describe *describe)
{
	return endpoint->ops->describe(endpoint, describe);
}

static enum kvr_status both_signal(struct kvr_endpoint *endpoint, uint32_t imm)
{
	return endpoint->ops->signal(endpoint, imm);
}

static enum kvr_status both_poll(struct kvr_endpoint *endpoint,
				 struct kvr_event *events, size_t max,
				 size_t *count)
{
	return endpoint->ops->poll(endpoint, events, max, count);
}

static enum kvr_status both_flush(struct kvr_endpoint *endpoint)
{
	return endpoint->ops->flush(endpoint);
}

static void both_slots_info(struct kvr_endpoint *endpoint,
			    struct kvr_slots_info *out)
{
	endpoint->ops->slots_info(endpoint, out);
}

static int both_event_fd(struct kvr_endpoint *endpoint)
{
	return endpoint->ops->event_fd(endpoint);
}

static enum kvr_status both_arm(struct kvr_endpoint *endpoint)
{
	return endpoint->ops->arm(endpoint);
}

static void both_disarm(struct kvr_endpoint *endpoint)
{
	endpoint->ops->disarm(endpoint);
}

static struct kvr_transport_ops both_ops = {
	.between_processes = true,
	.probe = both_probe,
	.open = both_open,
	.close = both_close,
	.memory_register = both_memory_register,
	.memory_deregister = both_memory_deregister,
	.unready = both_unready,
	.endpoint_open = both_endpoint_open,
	.endpoint_close = both_endpoint_close,
	.address = both_address,
	.connect = both_connect,
	.connect_poll = both_connect_poll,
	.slot = both_slot,
	.descriptor = both_descriptor,
	.pieces_max = both_pieces_max,
	.write = both_write,
	.describe = both_describe,
	.signal = both_signal,
	.poll = both_poll,
	.flush = both_flush,
	.slots_info = both_slots_info,
	.event_fd = both_event_fd,
	.arm = both_arm,
	.disarm = both_disarm,
};

const struct kvr_transport_ops *
far_transport(const struct kvr_transport_ops *ops, enum kvr_role role,
	      const char *agent)
{
	near_ops = ops;
	far_role = role;
	far_agent = agent;
	both_ops.name = ops->name;
	both_ops.unordered = ops->unordered;
	both_ops.sees_death = ops->sees_death;
	both_ops.asks_secret = ops->asks_secret;
	both_ops.reaches = ops->reaches;
	return &both_ops;
}
