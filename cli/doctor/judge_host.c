/* SPDX-License-Identifier: Apache-2.0 */
/* The machine: rdma_cm, locked memory, GPU memory, shm. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/doctor/judging.h"
#include "cli/table.h"

/* Below this not even small blocks fit, beside the queues. */
#define MEMLOCK_LEAST (64ull << 20)
/* vm.memfd_noexec at which memfd_create without a flag is refused. */
#define MEMFD_REFUSED 2

/* Without it transport verbs-exchange is left: a warning. */
static void judge_rdma_cm(struct judging *judging)
{
	const struct facts *facts = judging->facts;

	if (!facts->rdma_cm_error) {
		judging_find(judging, LEVEL_GOOD, "rdma_cm", "machine",
			     "/dev/infiniband/rdma_cm opens");
		return;
	}
	judging_find(judging, LEVEL_WARNING, "rdma_cm", "machine",
		     "/dev/infiniband/rdma_cm cannot be opened: %s%s; "
		     "verbs-exchange is left",
		     strerror(facts->rdma_cm_error),
		     facts->rdma_ucm_loaded ? "" : ", rdma_ucm is not loaded");
	judging_remedy(judging, facts->rdma_ucm_loaded
					? "allow it as the uverbs nodes: "
					  "docker run --device "
					  "/dev/infiniband/rdma_cm"
					: "modprobe rdma_ucm, and name it in "
					  "/etc/modules-load.d");
}

static void judge_modules(struct judging *judging)
{
	const struct facts *facts = judging->facts;

	if (facts->uverbs_loaded && facts->rdma_ucm_loaded)
		judging_find(judging, LEVEL_GOOD, "modules", "machine",
			     "ib_uverbs and rdma_ucm are there; ib_umad is not "
			     "needed");
}

static void limit_text(uint64_t limit, char *out, size_t size)
{
	if (limit == FACT_UNLIMITED)
		snprintf(out, size, "unlimited");
	else
		table_bytes(limit, out, size);
}

/* What raises it, from here or from outside. */
static void remedy_memlock(struct judging *judging,
			   const struct fact_limits *limits)
{
	if (limits->memlock_hard == FACT_UNLIMITED)
		judging_remedy(judging, "ulimit -l unlimited, in the shell "
					"that starts kvring");
	else
		judging_remedy(judging,
			       "'* - memlock unlimited' in "
			       "/etc/security/limits.d/rdma.conf; of a service "
			       "LimitMEMLOCK=infinity; of a container --ulimit "
			       "memlock=-1:-1; then log in or start again");
}

static void judge_memlock(struct judging *judging)
{
	const struct fact_limits *limits = &judging->facts->limits;
	char soft[24], hard[24];
	bool rdma = judging->facts->device_count > 0;

	if (!limits->memlock_known)
		return;
	limit_text(limits->memlock_soft, soft, sizeof(soft));
	limit_text(limits->memlock_hard, hard, sizeof(hard));
	if (limits->memlock_soft == FACT_UNLIMITED || limits->may_lock ||
	    !rdma) {
		judging_find(judging, LEVEL_GOOD, "memlock", "machine",
			     "locked memory: %s%s", soft,
			     limits->memlock_soft == FACT_UNLIMITED ? ""
			     : limits->may_lock
				     ? ", which CAP_IPC_LOCK passes over"
				     : ", which shm does not need");
		return;
	}
	judging_find(judging,
		     limits->memlock_soft < MEMLOCK_LEAST ? LEVEL_FATAL
							  : LEVEL_WARNING,
		     "memlock", "machine",
		     "locked memory: %s (hard limit %s), and RDMA locks every "
		     "slot and block",
		     soft, hard);
	remedy_memlock(judging, limits);
}

/* Do all devices, of which there is one at least, register GPU memory? */
static bool all_dmabuf(const struct facts *facts)
{
	size_t i;

	for (i = 0; i < facts->device_count; i++)
		if (facts->devices[i].dmabuf != 1)
			return false;
	return true;
}

static void judge_peermem(struct judging *judging)
{
	const struct facts *facts = judging->facts;

	if (!facts->gpu_count || !facts->device_count)
		return;
	if (facts->peermem_loaded) {
		judging_find(judging, LEVEL_GOOD, "peermem", "machine",
			     "nvidia_peermem is loaded");
	} else if (all_dmabuf(facts)) {
		judging_find(judging, LEVEL_GOOD, "peermem", "machine",
			     "nvidia_peermem is not loaded; dma-buf serves");
	} else {
		judging_find(judging, LEVEL_WARNING, "peermem", "machine",
			     "%zu NVIDIA GPUs, nvidia_peermem not loaded, "
			     "dma-buf %s: their memory would be copied through "
			     "the host",
			     facts->gpu_count,
			     facts->recorded ? "not probed" : "not everywhere");
		judging_remedy(judging, "modprobe nvidia_peermem, or kernel "
					"5.12 or newer with NVIDIA's open "
					"kernel modules for dma-buf");
	}
}

static void judge_shm(struct judging *judging)
{
	const struct fact_limits *limits = &judging->facts->limits;
	char free[24] = "unknown", group[24] = "none known";

	if (limits->memfd_noexec >= MEMFD_REFUSED) {
		judging_find(judging,
			     judging->any_usable ? LEVEL_WARNING : LEVEL_FATAL,
			     "shm", "machine",
			     "vm.memfd_noexec=%d refuses the memfd that shm "
			     "makes",
			     (int)limits->memfd_noexec);
		judging_remedy(judging, "sysctl vm.memfd_noexec=1");
		return;
	}
	if (limits->memory_available)
		table_bytes(limits->memory_available, free, sizeof(free));
	if (limits->memory_cgroup != FACT_UNLIMITED)
		table_bytes(limits->memory_cgroup, group, sizeof(group));
	judging_find(judging, LEVEL_GOOD, "shm", "machine",
		     "shm makes memfd, which /dev/shm does not limit; %s "
		     "available, limit of the control group: %s",
		     free, group);
}

void judging_host(struct judging *judging)
{
	if (judging->facts->device_count) {
		judge_modules(judging);
		judge_rdma_cm(judging);
	}
	judge_memlock(judging);
	judge_peermem(judging);
	judge_shm(judging);
}
