/* SPDX-License-Identifier: Apache-2.0 */
/* Who sits near whom, and what lies between. */
#include <stdio.h>
#include <string.h>

#include "cli/doctor/judging.h"

const char *judge_distance_text(enum pci_distance distance)
{
	static const char *const texts[] = {
		[PCI_SWITCH] = "one PCIe switch",
		[PCI_SWITCHES] = "several PCIe switches",
		[PCI_BRIDGE] = "the host bridge",
		[PCI_NODE] = "several host bridges of one NUMA node",
		[PCI_SYSTEM] = "the link between NUMA nodes",
		[PCI_UNKNOWN] = "unknown",
	};

	return texts[distance];
}

/* Parts of a path after `from`: slashes and the last. */
static int parts(const char *path)
{
	int count = *path != '\0';

	for (; *path; path++)
		count += *path == '/';
	return count;
}

/* Bytes of the parts that both begin with; whole parts, with their slash. */
static size_t common(const char *a, const char *b)
{
	size_t i, whole = 0;

	for (i = 0; a[i] && a[i] == b[i]; i++)
		if (a[i] == '/')
			whole = i + 1;
	return whole;
}

enum pci_distance judge_distance(const struct fact_pci *a,
				 const struct fact_pci *b)
{
	size_t shared = common(a->path, b->path);
	int left, right;

	if (!a->path[0] || !b->path[0])
		return PCI_UNKNOWN;
	if (shared == 0)
		return a->numa == b->numa ? PCI_NODE : PCI_SYSTEM;
	/* Only the root, "pci0000:15/". */
	if (parts(a->path) - parts(a->path + shared) <= 1)
		return PCI_BRIDGE;
	left = parts(a->path + shared);
	right = parts(b->path + shared);
	/* Each below its own port of the switch, or two functions. */
	return left <= 2 && right <= 2 ? PCI_SWITCH : PCI_SWITCHES;
}

const struct fact_device *judge_nearest(const struct facts *facts,
					const struct fact_gpu *gpu)
{
	enum pci_distance least = PCI_UNKNOWN;
	const struct fact_device *nearest = NULL;
	size_t i;

	for (i = 0; i < facts->device_count; i++) {
		enum pci_distance d =
			judge_distance(&gpu->pci, &facts->devices[i].pci);

		if (d < least) {
			least = d;
			nearest = &facts->devices[i];
		}
	}
	return nearest;
}

static void judge_pair(struct judging *judging, const struct fact_gpu *gpu)
{
	const struct fact_device *nic = judge_nearest(judging->facts, gpu);
	enum pci_distance distance;

	if (!nic)
		return;
	distance = judge_distance(&gpu->pci, &nic->pci);
	judging_find(judging,
		     distance <= PCI_SWITCHES ? LEVEL_GOOD : LEVEL_WARNING,
		     "pairing", gpu->pci.address,
		     "nearest to this GPU is %s, through %s", nic->name,
		     judge_distance_text(distance));
	if (distance > PCI_SWITCHES)
		judging_remedy(judging,
			       "put GPU and adapter below one PCIe switch; "
			       "until then KVRING_DEVICE=%s is the best for it",
			       nic->name);
}

/* A translating domain; "" is a kernel too old to say. */
static bool translates(const struct facts *facts, const struct fact_pci *pci)
{
	if (pci->iommu_group < 0)
		return false;
	if (!pci->iommu_type[0])
		return !facts->iommu_passthrough;
	return strcmp(pci->iommu_type, "identity") != 0;
}

static void judge_iommu(struct judging *judging)
{
	const struct facts *facts = judging->facts;
	const char *first = NULL;
	size_t i;

	for (i = 0; i < facts->device_count && !first; i++)
		if (translates(facts, &facts->devices[i].pci))
			first = facts->devices[i].name;
	if (!first) {
		judging_find(judging, LEVEL_GOOD, "iommu", "machine",
			     "IOMMU: %s",
			     facts->iommu_groups
				     ? "passes through, or does not stand "
				       "before an RDMA device"
				     : "off, or not visible from here");
		return;
	}
	judging_find(judging, LEVEL_WARNING, "iommu", first,
		     "the IOMMU translates its DMA: slower, and peer-to-peer "
		     "may fail");
	judging_remedy(judging, "boot a bare-metal host with iommu=pt on the "
				"kernel's command line; in a guest it is the "
				"host's affair");
}

/*
 * Without ACS the functions below one switch share a group: groups that
 * differ show that it is on.
 */
static bool separated(const struct fact_gpu *gpu,
		      const struct fact_device *device)
{
	return judge_distance(&gpu->pci, &device->pci) <= PCI_SWITCHES &&
	       gpu->pci.iommu_group >= 0 && device->pci.iommu_group >= 0 &&
	       gpu->pci.iommu_group != device->pci.iommu_group;
}

static void judge_acs(struct judging *judging)
{
	const struct facts *facts = judging->facts;
	const struct fact_device *nic;
	size_t i, count = 0;

	for (i = 0; i < facts->gpu_count; i++) {
		nic = judge_nearest(facts, &facts->gpus[i]);
		count += nic && separated(&facts->gpus[i], nic);
	}
	if (!count)
		return;
	judging_find(judging, LEVEL_WARNING, "acs", "machine",
		     "ACS separates %zu of %zu GPUs from the adapter below the "
		     "same switch: peer-to-peer goes by the host bridge",
		     count, facts->gpu_count);
	judging_remedy(judging, "on bare metal turn ACS off in the BIOS, or on "
				"the switch ports: lspci -vvv shows ACSCtl, "
				"setpci -s PORT ECAP_ACS+6.w=0000");
}

void judging_pci(struct judging *judging)
{
	const struct facts *facts = judging->facts;
	size_t i;

	if (facts->device_count)
		judge_iommu(judging);
	judge_acs(judging);
	for (i = 0; i < facts->gpu_count; i++)
		judge_pair(judging, &facts->gpus[i]);
}
