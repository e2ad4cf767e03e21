/* SPDX-License-Identifier: Apache-2.0 */
/* Where devices sit, and what of RDMA's and NVIDIA's is on the bus. */
#include <inttypes.h>
#include <string.h>

#include "cli/doctor/collect.h"

#define BUS "/sys/bus/pci/devices"
#define VENDOR_NVIDIA 0x10de
#define VENDOR_MELLANOX 0x15b3
#define CLASS_VGA 0x0300
#define CLASS_3D 0x0302
#define CLASS_NETWORK 0x02
#define CLASS_INFINIBAND 0x0207

static void read_group(const struct tree *tree, const char *link,
		       struct fact_pci *out)
{
	char path[FACT_PATH];

	if (!tree_resolve(tree, path, sizeof(path), "%s/iommu_group", link))
		return;
	if (sscanf(strrchr(path, '/') + 1, "%" SCNd64, &out->iommu_group) != 1)
		out->iommu_group = -1;
	tree_read(tree, out->iommu_type, sizeof(out->iommu_type),
		  "%s/iommu_group/type", link);
}

/* "/sys/devices/pci0000:15/0000:15:01.0/...", virtual devices have none. */
void collect_pci_place(const struct tree *tree, const char *link,
		       struct fact_pci *out)
{
	char path[FACT_PATH * 2];
	const char *pci, *address;

	out->numa = -1;
	out->iommu_group = -1;
	if (!tree_resolve(tree, path, sizeof(path), "%s", link))
		return;
	pci = strstr(path, "/pci");
	address = strrchr(path, '/');
	if (!pci || pci == address)
		return;
	tree_clean(pci + 1, out->path, sizeof(out->path));
	tree_clean(address + 1, out->address, sizeof(out->address));
	tree_read_number(tree, &out->numa, "%s/numa_node", link);
	read_group(tree, link, out);
}

static bool is_rdma_device(const struct facts *facts, const char *address)
{
	size_t i;

	for (i = 0; i < facts->device_count; i++)
		if (!strcmp(facts->devices[i].pci.address, address))
			return true;
	return false;
}

static bool add_gpu(const struct tree *tree, const char *link,
		    struct facts *facts)
{
	if (!facts_grow((void **)&facts->gpus, &facts->gpu_count,
			sizeof(*facts->gpus)))
		return false;
	collect_pci_place(tree, link, &facts->gpus[facts->gpu_count - 1].pci);
	return true;
}

static bool add_adapter(const struct tree *tree, const char *address,
			const char *link, struct facts *facts)
{
	struct fact_adapter *adapter;
	char path[FACT_PATH];

	if (!facts_grow((void **)&facts->adapters, &facts->adapter_count,
			sizeof(*facts->adapters)))
		return false;
	adapter = &facts->adapters[facts->adapter_count - 1];
	tree_clean(address, adapter->address, sizeof(adapter->address));
	if (tree_resolve(tree, path, sizeof(path), "%s/driver", link))
		tree_clean(strrchr(path, '/') + 1, adapter->driver,
			   sizeof(adapter->driver));
	return true;
}

static bool collect_function(const struct tree *tree, const char *address,
			     struct facts *facts)
{
	int64_t vendor = 0, class = 0;
	char link[FACT_PATH + 32];

	snprintf(link, sizeof(link), BUS "/%s", address);
	tree_read_number(tree, &vendor, "%s/vendor", link);
	tree_read_number(tree, &class, "%s/class", link);
	class >>= 8; /* the programming interface */
	if (vendor == VENDOR_NVIDIA &&
	    (class == CLASS_VGA || class == CLASS_3D))
		return add_gpu(tree, link, facts);
	if ((class == CLASS_INFINIBAND ||
	     (vendor == VENDOR_MELLANOX && class >> 8 == CLASS_NETWORK)) &&
	    !is_rdma_device(facts, address))
		return add_adapter(tree, address, link, facts);
	return true;
}

bool collect_pci(const struct tree *tree, struct facts *facts)
{
	struct tree_list list;
	bool ok = true;
	int i;

	tree_list(tree, &list, BUS);
	for (i = 0; i < list.count && ok; i++)
		ok = collect_function(tree, list.entry[i]->d_name, facts);
	tree_list_free(&list);
	return ok;
}
