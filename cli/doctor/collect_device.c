/* SPDX-License-Identifier: Apache-2.0 */
/* /sys/class/infiniband: devices and their ports. */
#include <stdlib.h>
#include <string.h>

#include "cli/doctor/collect.h"

#define CLASS "/sys/class/infiniband"

/* "4: ACTIVE": the number; its name to text where that is wanted. */
static int read_state(const struct tree *tree, const char *device,
		      uint32_t port, const char *file, char *text)
{
	char line[FACT_NAME];
	const char *name;

	if (!tree_read(tree, line, sizeof(line), CLASS "/%s/ports/%u/%s",
		       device, port, file))
		return 0;
	name = strchr(line, ':');
	if (text && name)
		tree_clean(name + 1 + strspn(name + 1, " "), text, FACT_NAME);
	return atoi(line);
}

static bool collect_port(const struct tree *tree,
			 const struct collect_live *live,
			 const struct fact_device *device, uint32_t number,
			 struct fact_port *port)
{
	const char *name = device->name;
	char layer[FACT_NAME];

	port->number = number;
	port->state = read_state(tree, name, number, "state", NULL);
	port->phys_state =
		read_state(tree, name, number, "phys_state", port->phys_text);
	tree_read(tree, layer, sizeof(layer), CLASS "/%s/ports/%u/link_layer",
		  name, number);
	port->ethernet = !strcmp(layer, "Ethernet");
	tree_read(tree, port->rate, sizeof(port->rate),
		  CLASS "/%s/ports/%u/rate", name, number);
	port->sm_lid = -1;
	tree_read_number(tree, &port->sm_lid, CLASS "/%s/ports/%u/sm_lid", name,
			 number);
	port->pfc = -1;
	if (!collect_gids(tree, name, port))
		return false;
	collect_netdev(tree, device, port);
	if (live && port->ethernet && port->netdev[0])
		port->pfc = live->pfc(port->netdev);
	return true;
}

static bool collect_ports(const struct tree *tree,
			  const struct collect_live *live,
			  struct fact_device *device)
{
	struct tree_list ports;
	bool ok = true;
	int i;

	tree_list(tree, &ports, CLASS "/%s/ports", device->name);
	for (i = 0; i < ports.count && ok; i++) {
		int number = atoi(ports.entry[i]->d_name);

		if (number <= 0)
			continue;
		ok = facts_grow((void **)&device->ports, &device->port_count,
				sizeof(*device->ports)) &&
		     collect_port(tree, live, device, (uint32_t)number,
				  &device->ports[device->port_count - 1]);
	}
	tree_list_free(&ports);
	return ok;
}

/* The node through which programs reach the device. */
static void collect_uverbs(const struct tree *tree, struct fact_device *device)
{
	struct tree_list nodes;
	char name[FACT_NAME];
	int i;

	tree_list(tree, &nodes, "/sys/class/infiniband_verbs");
	for (i = 0; i < nodes.count; i++) {
		const char *node = nodes.entry[i]->d_name;

		if (!tree_read(tree, name, sizeof(name),
			       "/sys/class/infiniband_verbs/%s/ibdev", node) ||
		    strcmp(name, device->name))
			continue;
		tree_clean(node, device->uverbs, sizeof(device->uverbs));
		device->uverbs_error =
			tree_open_device(tree, "/dev/infiniband/%s", node);
	}
	tree_list_free(&nodes);
}

static void collect_driver(const struct tree *tree, struct fact_device *device)
{
	char path[FACT_PATH];
	const char *slash;

	if (!tree_resolve(tree, path, sizeof(path), CLASS "/%s/device/driver",
			  device->name))
		return;
	slash = strrchr(path, '/');
	tree_clean(slash + 1, device->driver, sizeof(device->driver));
}

static bool collect_device(const struct tree *tree,
			   const struct collect_live *live, const char *name,
			   struct fact_device *device)
{
	char link[FACT_PATH];
	int64_t type = 0;

	tree_clean(name, device->name, sizeof(device->name));
	device->dmabuf = -1;
	/* "1: CA" */
	if (tree_read(tree, link, sizeof(link), CLASS "/%s/node_type", name))
		type = atoi(link);
	device->node_type = (int)type;
	tree_read(tree, device->firmware, sizeof(device->firmware),
		  CLASS "/%s/fw_ver", name);
	tree_read(tree, device->board, sizeof(device->board),
		  CLASS "/%s/board_id", name);
	snprintf(link, sizeof(link), CLASS "/%s/device", device->name);
	collect_pci_place(tree, link, &device->pci);
	collect_driver(tree, device);
	collect_uverbs(tree, device);
	if (!collect_ports(tree, live, device))
		return false;
	if (live)
		live->probe(device);
	return true;
}

bool collect_devices(const struct tree *tree, const struct collect_live *live,
		     struct facts *facts)
{
	struct tree_list names;
	bool ok = true;
	int i;

	tree_list(tree, &names, CLASS);
	for (i = 0; i < names.count && ok; i++)
		ok = facts_grow((void **)&facts->devices, &facts->device_count,
				sizeof(*facts->devices)) &&
		     collect_device(tree, live, names.entry[i]->d_name,
				    &facts->devices[facts->device_count - 1]);
	tree_list_free(&names);
	return ok;
}
