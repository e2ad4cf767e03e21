/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a machine says about its RDMA devices and limits. collect.h fills it
 * in, judge.h says what it means. Nothing is opinion here; what could not be
 * read is 0, "" or -1, as stated.
 */
#ifndef KVR_CLI_DOCTOR_FACTS_H
#define KVR_CLI_DOCTOR_FACTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FACT_NAME 64
#define FACT_TEXT 96
#define FACT_PATH 256
#define FACT_UNLIMITED UINT64_MAX

enum gid_type { GID_IB, GID_ROCE_V1, GID_ROCE_V2 };
enum gid_kind { GID_IPV4, GID_IPV6, GID_LINK_LOCAL };

struct fact_gid {
	uint32_t index;
	enum gid_type type;
	enum gid_kind kind;
	char address[48]; /* as ip(8) writes it; for InfiniBand the GID */
	char netdev[FACT_NAME];
	bool netdev_here; /* or in another network namespace */
};

/* Of the kernel: /sys/class/infiniband/<device>/ports/<n>/state. */
enum port_state {
	PORT_DOWN = 1,
	PORT_INIT = 2,
	PORT_ARMED = 3,
	PORT_ACTIVE = 4
};

#define PORT_PHYS_POLLING 2
#define PORT_PHYS_DISABLED 3

struct fact_port {
	uint32_t number;
	int state;		   /* enum port_state, 0 unknown */
	int phys_state;		   /* of the kernel, 0 unknown */
	char phys_text[FACT_NAME]; /* "LinkUp" */
	bool ethernet;		   /* RoCE, or InfiniBand */
	char rate[FACT_NAME];	   /* "100 Gb/sec (4X EDR)" */
	int64_t sm_lid;		   /* 0: no subnet manager; -1 unknown */
	char netdev[FACT_NAME];	   /* RoCE: its own; InfiniBand: IPoIB */
	bool netdev_up;
	int64_t netdev_mtu;  /* bytes, 0 unknown */
	int pfc;	     /* lossless priorities as bits, -1 not visible */
	uint32_t active_mtu; /* by verbs, 0 not asked */
	struct fact_gid *gids;
	size_t gid_count;
};

/* Where a PCI device sits. */
struct fact_pci {
	char path[FACT_PATH];	    /* "pci0000:15/0000:15:01.0/...", "" none */
	char address[FACT_NAME];    /* "0000:18:00.0", "" none */
	int64_t numa;		    /* -1 unknown */
	int64_t iommu_group;	    /* -1 none */
	char iommu_type[FACT_NAME]; /* "DMA", "DMA-FQ", "identity", "" */
};

enum probe_result {
	PROBE_NOT_DONE, /* a recording */
	PROBE_NO_VERBS, /* built without libibverbs */
	PROBE_UNKNOWN,	/* libibverbs does not list the device */
	PROBE_FAILED,	/* listed, cannot be used */
	PROBE_DONE
};

struct fact_device {
	char name[FACT_NAME];
	int node_type; /* of the kernel: 1 is InfiniBand or RoCE; 0 unknown */
	char firmware[FACT_NAME];
	char board[FACT_NAME];
	char driver[FACT_NAME];
	struct fact_pci pci;
	char uverbs[FACT_NAME]; /* "uverbs0", "" when ib_uverbs lacks it */
	int uverbs_error;	/* of opening it */
	enum probe_result probe;
	char probe_reason[FACT_TEXT * 2];
	int dmabuf; /* 1 yes, 0 no, -1 unknown */
	struct fact_port *ports;
	size_t port_count;
};

struct fact_gpu {
	struct fact_pci pci;
};

/* An adapter made for RDMA that no RDMA device belongs to. */
struct fact_adapter {
	char address[FACT_NAME];
	char driver[FACT_NAME]; /* "" none */
};

struct fact_limits {
	uint64_t memlock_soft, memlock_hard; /* bytes or FACT_UNLIMITED */
	bool memlock_known;
	bool may_lock;		   /* CAP_IPC_LOCK that the kernel honours */
	uint64_t memory_available; /* bytes, 0 unknown */
	uint64_t memory_cgroup;	   /* bytes, FACT_UNLIMITED none known */
	int64_t memfd_noexec;	   /* vm.memfd_noexec, 0 when not there */
};

/* What the user asked of the verbs transport; NULL when not set. */
struct fact_environment {
	const char *device;    /* KVRING_DEVICE */
	const char *gid_index; /* KVRING_GID_INDEX */
};

struct facts {
	bool recorded; /* or live */
	struct fact_device *devices;
	size_t device_count;
	struct fact_gpu *gpus;
	size_t gpu_count;
	struct fact_adapter *adapters;
	size_t adapter_count;
	bool uverbs_loaded, rdma_ucm_loaded, peermem_loaded;
	int rdma_cm_error;	/* of opening /dev/infiniband/rdma_cm */
	size_t iommu_groups;	/* 0: off */
	bool iommu_passthrough; /* by the kernel's command line */
	struct fact_limits limits;
	struct fact_environment environment;
};

/* Room for one more element, zeroed; false when there is no memory. */
bool facts_grow(void **array, size_t *count, size_t element);
void facts_free(struct facts *facts);

#endif
