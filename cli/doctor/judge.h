/* SPDX-License-Identifier: Apache-2.0 */
/* What the facts mean, and what to do: no I/O, same facts, same findings. */
#ifndef KVR_CLI_DOCTOR_JUDGE_H
#define KVR_CLI_DOCTOR_JUDGE_H

#include "cli/doctor/facts.h"

enum level { LEVEL_GOOD, LEVEL_WARNING, LEVEL_FATAL };

struct finding {
	enum level level;
	const char *check; /* "port.state": of a fixed list, see the manual */
	char subject[FACT_NAME + 16]; /* "mlx5_0:1" */
	char message[320];
	char remedy[320]; /* "" for what is good */
};

struct findings {
	struct finding *list;
	size_t count;
	bool lost; /* there was no memory for one */
};

/* False: no memory. The caller ends *out with findings_free, in any case. */
bool judge(const struct facts *facts, struct findings *out);
void findings_free(struct findings *findings);

/* The worst level of them. */
enum level findings_worst(const struct findings *findings);

/*
 * The GID that kvring takes on a port: RoCE v2 over IPv4, over global IPv6,
 * link-local, then v1, of interfaces that this network namespace has. On
 * InfiniBand the first. KVRING_GID_INDEX goes first. NULL: none will do.
 */
const struct fact_gid *judge_gid(const struct facts *facts,
				 const struct fact_port *port);

/* The largest path MTU that fits into an interface's, in bytes; 0: none. */
uint32_t judge_path_mtu(int64_t netdev_mtu);

/* How far apart, nearest first. */
enum pci_distance {
	PCI_SWITCH,   /* below one switch */
	PCI_SWITCHES, /* below several, without the host bridge */
	PCI_BRIDGE,   /* through the host bridge */
	PCI_NODE,     /* several host bridges of one NUMA node */
	PCI_SYSTEM,   /* between NUMA nodes */
	PCI_UNKNOWN
};

enum pci_distance judge_distance(const struct fact_pci *a,
				 const struct fact_pci *b);

/* "one PCIe switch" */
const char *judge_distance_text(enum pci_distance distance);

/* The device nearest to a GPU; NULL when there is none on the bus. */
const struct fact_device *judge_nearest(const struct facts *facts,
					const struct fact_gpu *gpu);

/* Could the verbs transport use it, or this port of it? */
bool judge_device_usable(const struct facts *facts,
			 const struct fact_device *device);
bool judge_port_usable(const struct facts *facts,
		       const struct fact_device *device,
		       const struct fact_port *port);

#endif
