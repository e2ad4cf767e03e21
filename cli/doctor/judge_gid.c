/* SPDX-License-Identifier: Apache-2.0 */
/* Which GID, and is it a good one? And what the environment asks for. */
#include <stdlib.h>
#include <string.h>

#include "cli/doctor/judging.h"

/* Lower is better. */
static int rank_of(const struct fact_gid *gid)
{
	if (gid->type == GID_IB)
		return 0;
	if (gid->type == GID_ROCE_V1)
		return 3;
	switch (gid->kind) {
	case GID_IPV4:
		return 0;
	case GID_IPV6:
		return 1;
	default:
		return 2;
	}
}

static const struct fact_gid *best_gid(const struct fact_port *port)
{
	const struct fact_gid *best = NULL;
	size_t i;

	for (i = 0; i < port->gid_count; i++) {
		const struct fact_gid *gid = &port->gids[i];

		if (gid->type != GID_IB && !gid->netdev_here)
			continue;
		if (!best || rank_of(gid) < rank_of(best))
			best = gid;
	}
	return best;
}

const struct fact_gid *judge_gid(const struct facts *facts,
				 const struct fact_port *port)
{
	const char *asked = facts->environment.gid_index;
	size_t i;

	if (!asked || !*asked)
		return best_gid(port);
	for (i = 0; i < port->gid_count; i++)
		if (port->gids[i].index == strtoul(asked, NULL, 10))
			return &port->gids[i];
	return NULL;
}

static const char *type_text(const struct fact_gid *gid)
{
	switch (gid->type) {
	case GID_ROCE_V1:
		return "RoCE v1";
	case GID_ROCE_V2:
		return "RoCE v2";
	default:
		return "InfiniBand";
	}
}

static void judge_no_gid(struct judging *judging,
			 const struct fact_device *device,
			 const struct fact_port *port, const char *subject)
{
	const char *netdev = port->netdev[0] ? port->netdev : "INTERFACE";
	enum level level = judging_obstacle(judging, device);

	if (port->gid_count) {
		judging_find(judging, level, "port.gid", subject,
			     "the interface of its GIDs, %s, is in another "
			     "network namespace",
			     port->gids[0].netdev);
		judging_remedy(judging, "run in the host's network "
					"(--network host, hostNetwork), or "
					"give the pod the interface: a "
					"secondary network by SR-IOV or "
					"macvlan");
		return;
	}
	judging_find(judging, level, "port.gid", subject,
		     "no GID: nothing to be addressed by");
	if (port->ethernet)
		judging_remedy(judging,
			       "ip link set %s up; ip addr add "
			       "ADDRESS/LENGTH dev %s",
			       netdev, netdev);
	else
		judging_remedy(judging, "a virtual function needs a GUID, "
					"given on the host: ip link set "
					"INTERFACE vf N node_guid GUID");
}

static void judge_quality(struct judging *judging, const struct fact_port *port,
			  const struct fact_gid *gid, const char *subject)
{
	enum level level = LEVEL_GOOD;
	const char *note = "";

	if (gid->type == GID_ROCE_V1) {
		level = LEVEL_WARNING;
		note = ": v1 is not routed and passes no UDP-based ECN";
	} else if (gid->type == GID_ROCE_V2 && gid->kind == GID_LINK_LOCAL) {
		level = LEVEL_WARNING;
		note = ": link-local reaches its own subnet only";
	}
	judging_find(judging, level, "port.gid", subject,
		     "kvring takes GID %u, %s, %s%s%s%s", gid->index,
		     type_text(gid), gid->address, gid->netdev[0] ? ", " : "",
		     gid->netdev, note);
	if (level != LEVEL_GOOD)
		judging_remedy(judging,
			       gid->type == GID_ROCE_V1
				       ? "enable RoCE v2 in the adapter "
					 "(cma_roce_mode -d DEVICE -m 2 for "
					 "rdma_cm) and give %s an IPv4 address"
				       : "give %s an IPv4 address: ip addr add "
					 "ADDRESS/LENGTH dev %s",
			       port->netdev, port->netdev);
}

void judging_gid(struct judging *judging, const struct fact_device *device,
		 const struct fact_port *port, const char *subject)
{
	const struct fact_gid *gid = judge_gid(judging->facts, port);

	if (gid) {
		judge_quality(judging, port, gid, subject);
		return;
	}
	if (!best_gid(port)) {
		judge_no_gid(judging, device, port, subject);
		return;
	}
	judging_find(judging, judging_obstacle(judging, device), "port.gid",
		     subject, "KVRING_GID_INDEX=%s is no entry of its table",
		     judging->facts->environment.gid_index);
	judging_remedy(judging, "unset it: GID %u would be taken",
		       best_gid(port)->index);
}

static bool device_exists(const struct facts *facts, const char *name,
			  size_t length)
{
	size_t i;

	for (i = 0; i < facts->device_count; i++)
		if (strlen(facts->devices[i].name) == length &&
		    !strncmp(facts->devices[i].name, name, length))
			return true;
	return false;
}

static void judge_names(struct judging *judging)
{
	const char *at = judging->facts->environment.device;

	for (; at && *at; at += strcspn(at, ","), at += *at == ',') {
		size_t word = strcspn(at, ",:");

		if (device_exists(judging->facts, at, word))
			continue;
		judging_find(judging, LEVEL_FATAL, "environment",
			     "KVRING_DEVICE", "there is no device '%.*s'",
			     (int)(word < FACT_NAME ? word : FACT_NAME), at);
		judging_remedy(judging, "name one that rdma link shows, as "
					"DEVICE[:PORT][,DEVICE...]");
	}
}

void judging_environment(struct judging *judging)
{
	const struct fact_environment *e = &judging->facts->environment;

	judge_names(judging);
	if (e->gid_index && *e->gid_index) {
		judging_find(judging, LEVEL_WARNING, "environment",
			     "KVRING_GID_INDEX",
			     "transport verbs refuses it, for with rdma_cm the "
			     "GID follows the address; verbs-exchange takes "
			     "it");
		judging_remedy(judging, "unset it, unless --transport "
					"verbs-exchange is meant");
	}
}
