/* SPDX-License-Identifier: Apache-2.0 */
/* One device: what it is, whether it can be opened, what verbs says. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/doctor/judging.h"

#define NODE_CA 1

bool judge_device_usable(const struct facts *facts,
			 const struct fact_device *device)
{
	size_t i;

	if (device->node_type != NODE_CA || !device->uverbs[0] ||
	    device->uverbs_error || device->probe == PROBE_UNKNOWN ||
	    device->probe == PROBE_FAILED)
		return false;
	for (i = 0; i < device->port_count; i++)
		if (judge_port_usable(facts, device, &device->ports[i]))
			return true;
	return false;
}

static void judge_identity(struct judging *judging, const struct fact_device *d)
{
	char place[FACT_NAME + 32] = "software, no PCI device";

	if (d->node_type != NODE_CA) {
		judging_find(judging, judging_obstacle(judging, d), "device",
			     d->name,
			     "node type %d: no reliable connections with "
			     "writes with immediate, which kvring needs",
			     d->node_type);
		judging_remedy(judging, "use an InfiniBand or RoCE adapter; "
					"iWARP, usNIC and EFA do not serve");
		return;
	}
	if (d->pci.address[0])
		snprintf(place, sizeof(place), "PCI %s, NUMA node %d",
			 d->pci.address, (int)d->pci.numa);
	judging_find(judging, LEVEL_GOOD, "device", d->name, "%s%s%s%s%s",
		     d->driver, d->driver[0] ? ", " : "", place,
		     d->firmware[0] ? ", firmware " : "", d->firmware);
}

static void judge_forbidden(struct judging *judging,
			    const struct fact_device *d)
{
	judging_find(judging, judging_obstacle(judging, d), "uverbs", d->name,
		     "/dev/infiniband/%s cannot be opened: %s", d->uverbs,
		     strerror(d->uverbs_error));
	switch (d->uverbs_error) {
	case ENOENT:
		judging_remedy(judging,
			       "in a container pass it in: docker run --device "
			       "/dev/infiniband/%s, or an RDMA device plug-in; "
			       "else udevadm trigger",
			       d->uverbs);
		break;
	case EACCES:
		judging_remedy(judging,
			       "udev rule: KERNEL==\"uverbs*\", MODE=\"0666\" "
			       "(rdma-core's own), then udevadm trigger; now: "
			       "chmod 666 /dev/infiniband/%s",
			       d->uverbs);
		break;
	case EPERM:
		judging_remedy(judging,
			       "the container's device cgroup forbids it: "
			       "docker run --device /dev/infiniband/%s, or an "
			       "RDMA device plug-in",
			       d->uverbs);
		break;
	default:
		judging_remedy(judging,
			       "see dmesg; reload the device's driver");
	}
}

static void judge_uverbs(struct judging *judging, const struct fact_device *d)
{
	if (!d->uverbs[0]) {
		judging_find(judging, judging_obstacle(judging, d), "uverbs",
			     d->name, "no uverbs node: ib_uverbs is %s",
			     judging->facts->uverbs_loaded
				     ? "loaded, but does not serve it"
				     : "not loaded");
		judging_remedy(judging, "modprobe ib_uverbs");
	} else if (d->uverbs_error) {
		judge_forbidden(judging, d);
	} else {
		judging_find(judging, LEVEL_GOOD, "uverbs", d->name,
			     "/dev/infiniband/%s opens", d->uverbs);
	}
}

static void judge_probe(struct judging *judging, const struct fact_device *d)
{
	/* Said once, where the node was looked at. */
	if (!d->uverbs[0] || d->uverbs_error)
		return;
	switch (d->probe) {
	case PROBE_NO_VERBS:
		judging_find(judging, LEVEL_WARNING, "verbs", d->name,
			     "this kvring was built without libibverbs");
		judging_remedy(judging, "install libibverbs-dev and "
					"librdmacm-dev and build again");
		break;
	case PROBE_UNKNOWN:
	case PROBE_FAILED:
		judging_find(judging, judging_obstacle(judging, d), "verbs",
			     d->name, "%s", d->probe_reason);
		judging_remedy(judging,
			       "install the user-space driver (Debian: "
			       "ibverbs-providers), of the kernel "
			       "driver's release where that is MLNX_OFED;"
			       " check with ibv_devinfo -d %s",
			       d->name);
		break;
	case PROBE_DONE:
		judging_find(judging, LEVEL_GOOD, "verbs", d->name,
			     "libibverbs opens it");
		break;
	case PROBE_NOT_DONE:
		break;
	}
}

static void judge_dmabuf(struct judging *judging, const struct fact_device *d)
{
	static const char *const answers[] = {"unknown: unexpected answer",
					      "no", "yes"};

	if (d->probe == PROBE_DONE)
		judging_find(judging, LEVEL_GOOD, "dmabuf", d->name,
			     "registers memory through dma-buf: %s%s",
			     answers[d->dmabuf + 1],
			     judging->facts->gpu_count
				     ? ""
				     : " (of use with GPUs only)");
}

void judging_device(struct judging *judging, const struct fact_device *device)
{
	size_t i;

	judge_identity(judging, device);
	judge_uverbs(judging, device);
	judge_probe(judging, device);
	judge_dmabuf(judging, device);
	for (i = 0; i < device->port_count; i++)
		judging_port(judging, device, &device->ports[i]);
}
