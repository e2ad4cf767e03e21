/* SPDX-License-Identifier: Apache-2.0 */
/* What sysfs says of GPUs and cards. */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rdma/verbs/reach.h"

bool verbs_peermem_loaded(const char *sysfs)
{
	/* The driver's own, and the older one of Mellanox. */
	static const char *const modules[] = {
		"module/nvidia_peermem",
		"module/nv_peer_mem",
	};
	char path[PATH_MAX];

	for (size_t i = 0; i < sizeof(modules) / sizeof(modules[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", sysfs, modules[i]);
		if (!access(path, F_OK))
			return true;
	}
	return false;
}

uint64_t verbs_bar1_bytes(const char *sysfs, const char *pci_address)
{
	char path[PATH_MAX];
	uint64_t first, last, bytes = 0;
	FILE *file;

	snprintf(path, sizeof(path), "%s/bus/pci/devices/%s/resource", sysfs,
		 pci_address);
	file = fopen(path, "re");
	if (!file)
		return 0;
	/* A line a region: first, last, flags. The second is BAR1. */
	if (fscanf(file, "%*x %*x %*x %" SCNx64 " %" SCNx64, &first, &last) ==
		    2 &&
	    last > first)
		bytes = last - first + 1;
	fclose(file);
	return bytes;
}

/*
 * Devices are directories in those of the bridges above them. Counts what two
 * have in common, from the root complex down: it, its port, then switches.
 */
static int shared_bridges(const char *a, const char *b)
{
	int shared = 0;

	for (size_t i = 0; a[i] && a[i] == b[i]; i++) {
		if (a[i] != '/')
			continue;
		if (!strncmp(&a[i], "/pci", 4))
			shared = 0;
		else
			shared++;
	}
	return shared;
}

bool verbs_same_switch(const char *sysfs, const char *ib_name,
		       const char *pci_address)
{
	char path[PATH_MAX], card[PATH_MAX], gpu[PATH_MAX];

	snprintf(path, sizeof(path), "%s/class/infiniband/%s/device", sysfs,
		 ib_name);
	if (!realpath(path, card))
		return false;
	snprintf(path, sizeof(path), "%s/bus/pci/devices/%s", sysfs,
		 pci_address);
	if (!realpath(path, gpu))
		return false;
	/* Two devices below one port of the root complex: by a switch. */
	return shared_bridges(card, gpu) >= 2;
}
