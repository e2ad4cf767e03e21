/* SPDX-License-Identifier: Apache-2.0 */
/* Modules, limits and the IOMMU. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/doctor/collect.h"

#define CAP_IPC_LOCK_BIT 14

/* The rest of the line of a file that begins with `key`; "" when none does. */
static void read_field(const struct tree *tree, const char *path,
		       const char *key, char *out, size_t size)
{
	FILE *file = tree_open(tree, "%s", path);
	char *line = NULL;
	size_t room = 0;

	out[0] = '\0';
	if (!file)
		return;
	while (getline(&line, &room, file) > 0) {
		const char *rest = line + strlen(key);

		if (strncmp(line, key, strlen(key)))
			continue;
		line[strcspn(line, "\n")] = '\0';
		tree_clean(rest + strspn(rest, " \t"), out, size);
		break;
	}
	free(line);
	fclose(file);
}

static uint64_t limit_of(const char *text)
{
	return strcmp(text, "unlimited") ? strtoull(text, NULL, 10)
					 : FACT_UNLIMITED;
}

static void read_memlock(const struct tree *tree, struct fact_limits *out)
{
	char text[FACT_TEXT], soft[32], hard[32];

	read_field(tree, "/proc/self/limits", "Max locked memory", text,
		   sizeof(text));
	if (sscanf(text, "%31s %31s", soft, hard) != 2)
		return;
	out->memlock_known = true;
	out->memlock_soft = limit_of(soft);
	out->memlock_hard = limit_of(hard);
}

/* The kernel asks for the capability in the first user namespace only. */
static bool may_lock(const struct tree *tree)
{
	unsigned long long capabilities, inside, outside, count;
	char text[FACT_TEXT];

	read_field(tree, "/proc/self/status", "CapEff:", text, sizeof(text));
	if (sscanf(text, "%llx", &capabilities) != 1 ||
	    !(capabilities >> CAP_IPC_LOCK_BIT & 1))
		return false;
	tree_read(tree, text, sizeof(text), "/proc/self/uid_map");
	return sscanf(text, "%llu %llu %llu", &inside, &outside, &count) == 3 &&
	       inside == 0 && outside == 0 && count == UINT32_MAX;
}

static uint64_t available(const struct tree *tree)
{
	unsigned long long kib;
	char text[FACT_TEXT];

	read_field(tree, "/proc/meminfo", "MemAvailable:", text, sizeof(text));
	return sscanf(text, "%llu", &kib) == 1 ? kib * 1024 : 0;
}

/* The least memory.max from our control group (version 2) up. */
static uint64_t cgroup_limit(const struct tree *tree)
{
	uint64_t least = FACT_UNLIMITED, limit;
	char path[FACT_PATH], text[32], *slash;

	read_field(tree, "/proc/self/cgroup", "0::", path, sizeof(path));
	while ((slash = strrchr(path, '/'))) {
		if (tree_read(tree, text, sizeof(text),
			      "/sys/fs/cgroup%s/memory.max", path) &&
		    strcmp(text, "max")) {
			limit = strtoull(text, NULL, 10);
			least = limit < least ? limit : least;
		}
		*slash = '\0';
	}
	return least;
}

static bool passthrough(const struct tree *tree)
{
	char line[1024], *word, *rest;

	if (!tree_read(tree, line, sizeof(line), "/proc/cmdline"))
		return false;
	for (word = strtok_r(line, " ", &rest); word;
	     word = strtok_r(NULL, " ", &rest))
		if (!strcmp(word, "iommu=pt") ||
		    !strcmp(word, "iommu.passthrough=1"))
			return true;
	return false;
}

static size_t count_groups(const struct tree *tree)
{
	struct tree_list list;
	size_t count;

	tree_list(tree, &list, "/sys/kernel/iommu_groups");
	count = (size_t)list.count;
	tree_list_free(&list);
	return count;
}

void collect_host(const struct tree *tree, struct facts *facts)
{
	struct fact_limits *limits = &facts->limits;

	/* Classes, not modules: what is built in has no module. */
	facts->uverbs_loaded = tree_exists(tree, "/sys/class/infiniband_verbs");
	facts->rdma_ucm_loaded = tree_exists(tree, "/sys/class/misc/rdma_cm");
	facts->rdma_cm_error =
		tree_open_device(tree, "/dev/infiniband/rdma_cm");
	facts->peermem_loaded =
		tree_exists(tree, "/sys/module/nvidia_peermem") ||
		tree_exists(tree, "/sys/module/nv_peer_mem");
	facts->iommu_groups = count_groups(tree);
	facts->iommu_passthrough = passthrough(tree);
	read_memlock(tree, limits);
	limits->may_lock = may_lock(tree);
	limits->memory_available = available(tree);
	limits->memory_cgroup = cgroup_limit(tree);
	tree_read_number(tree, &limits->memfd_noexec,
			 "/proc/sys/vm/memfd_noexec");
}
