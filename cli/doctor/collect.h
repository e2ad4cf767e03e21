/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the facts. */
#ifndef KVR_CLI_DOCTOR_COLLECT_H
#define KVR_CLI_DOCTOR_COLLECT_H

#include "cli/doctor/facts.h"
#include "cli/doctor/tree.h"

/* What a tree does not hold and only the live machine can be asked. */
struct collect_live {
	/* Fills in probe*, dmabuf and each port's active_mtu. */
	void (*probe)(struct fact_device *device);
	/* Lossless priorities of an interface as bits, -1 not visible. */
	int (*pfc)(const char *netdev);
};

/*
 * live: NULL for a recording. environment is copied, its strings are
 * borrowed. The caller ends *out with facts_free. False: no memory.
 */
bool collect(const struct tree *tree, const struct collect_live *live,
	     const struct fact_environment *environment, struct facts *out);

/* Its parts. */
bool collect_devices(const struct tree *tree, const struct collect_live *live,
		     struct facts *facts);
bool collect_gids(const struct tree *tree, const char *device,
		  struct fact_port *port);
bool collect_pci(const struct tree *tree, struct facts *facts);
void collect_pci_place(const struct tree *tree, const char *link,
		       struct fact_pci *out);
void collect_netdev(const struct tree *tree, const struct fact_device *device,
		    struct fact_port *port);
void collect_host(const struct tree *tree, struct facts *facts);

/* Of this machine. */
extern const struct collect_live collect_this_machine;

/*
 * The priorities of IEEE 802.1Qaz PFC in the kernel's answer to
 * DCB_CMD_IEEE_GET; -1 when it holds none.
 */
int collect_pfc_parse(const void *answer, size_t bytes);

#endif
