/* SPDX-License-Identifier: Apache-2.0 */
/* The network interface of a port. */
#include <string.h>

#include "cli/doctor/collect.h"

#define NET "/sys/class/net/%s"
#define ARPHRD_IPOIB 32 /* ARPHRD_INFINIBAND of if_arp.h */

/* Soft-RoCE names its interface; others have it below their PCI device. */
static void name_of_roce(const struct tree *tree,
			 const struct fact_device *device,
			 struct fact_port *port)
{
	size_t i;

	if (tree_read(tree, port->netdev, sizeof(port->netdev),
		      "/sys/class/infiniband/%s/parent", device->name))
		return;
	if (tree_read(tree, port->netdev, sizeof(port->netdev),
		      "/sys/class/infiniband/%s/ports/%u/gid_attrs/ndevs/0",
		      device->name, port->number))
		return;
	for (i = 0; i < port->gid_count && !port->netdev[0]; i++)
		tree_clean(port->gids[i].netdev, port->netdev,
			   sizeof(port->netdev));
}

/* Is this the IPoIB interface of the port? They count from 0. */
static bool is_ipoib(const struct tree *tree, const char *name, uint32_t port)
{
	int64_t type = 0, number = -1;

	tree_read_number(tree, &type, NET "/type", name);
	tree_read_number(tree, &number, NET "/dev_port", name);
	return type == ARPHRD_IPOIB && number == (int64_t)port - 1;
}

static void name_of_ipoib(const struct tree *tree,
			  const struct fact_device *device,
			  struct fact_port *port)
{
	struct tree_list list;
	int i;

	tree_list(tree, &list, "/sys/class/infiniband/%s/device/net",
		  device->name);
	for (i = 0; i < list.count && !port->netdev[0]; i++)
		if (is_ipoib(tree, list.entry[i]->d_name, port->number))
			tree_clean(list.entry[i]->d_name, port->netdev,
				   sizeof(port->netdev));
	tree_list_free(&list);
}

void collect_netdev(const struct tree *tree, const struct fact_device *device,
		    struct fact_port *port)
{
	char state[FACT_NAME];

	if (port->ethernet)
		name_of_roce(tree, device, port);
	else
		name_of_ipoib(tree, device, port);
	if (!port->netdev[0])
		return;
	tree_read_number(tree, &port->netdev_mtu, NET "/mtu", port->netdev);
	/* Drivers without a carrier say "unknown" when they are up. */
	port->netdev_up = tree_read(tree, state, sizeof(state),
				    NET "/operstate", port->netdev) &&
			  (!strcmp(state, "up") || !strcmp(state, "unknown"));
}
