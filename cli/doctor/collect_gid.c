/* SPDX-License-Identifier: Apache-2.0 */
/* ports/<n>/gids and gid_attrs. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "cli/doctor/collect.h"

#define PORT "/sys/class/infiniband/%s/ports/%u"

static enum gid_type read_type(const struct tree *tree, const char *device,
			       const struct fact_port *port, uint32_t index)
{
	char text[FACT_NAME];

	if (!port->ethernet)
		return GID_IB;
	tree_read(tree, text, sizeof(text), PORT "/gid_attrs/types/%u", device,
		  port->number, index);
	return strcmp(text, "RoCE v2") ? GID_ROCE_V1 : GID_ROCE_V2;
}

/* False for an empty entry, or none. */
static bool read_address(const char *text, struct fact_gid *gid)
{
	static const struct in6_addr empty;
	struct in6_addr raw;
	uint32_t ipv4;

	if (inet_pton(AF_INET6, text, &raw) != 1 ||
	    !memcmp(&raw, &empty, sizeof(raw)))
		return false;
	if (IN6_IS_ADDR_V4MAPPED(&raw)) {
		gid->kind = GID_IPV4;
		memcpy(&ipv4, raw.s6_addr + 12, sizeof(ipv4));
		inet_ntop(AF_INET, &ipv4, gid->address, sizeof(gid->address));
		return true;
	}
	gid->kind = IN6_IS_ADDR_LINKLOCAL(&raw) ? GID_LINK_LOCAL : GID_IPV6;
	inet_ntop(AF_INET6, &raw, gid->address, sizeof(gid->address));
	return true;
}

static void read_netdev(const struct tree *tree, const char *device,
			uint32_t port, struct fact_gid *gid)
{
	tree_read(tree, gid->netdev, sizeof(gid->netdev),
		  PORT "/gid_attrs/ndevs/%u", device, port, gid->index);
	gid->netdev_here = gid->netdev[0] &&
			   tree_exists(tree, "/sys/class/net/%s", gid->netdev);
}

bool collect_gids(const struct tree *tree, const char *device,
		  struct fact_port *port)
{
	struct tree_list list;
	bool ok = true;
	int i;

	tree_list(tree, &list, PORT "/gids", device, port->number);
	for (i = 0; i < list.count && ok; i++) {
		struct fact_gid gid = {
			.index = (uint32_t)atoi(list.entry[i]->d_name)};
		char text[FACT_NAME];

		if (!tree_read(tree, text, sizeof(text), PORT "/gids/%u",
			       device, port->number, gid.index) ||
		    !read_address(text, &gid))
			continue;
		gid.type = read_type(tree, device, port, gid.index);
		read_netdev(tree, device, port->number, &gid);
		ok = facts_grow((void **)&port->gids, &port->gid_count,
				sizeof(gid));
		if (ok)
			port->gids[port->gid_count - 1] = gid;
	}
	tree_list_free(&list);
	return ok;
}
