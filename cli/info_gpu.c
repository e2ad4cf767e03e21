/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/info_gpu.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/table.h"
#include "kvring/gpu.h"

#define REASON_BYTES 256

static const char *ordering_name(enum kvr_gpu_ordering ordering)
{
	switch (ordering) {
	case KVR_GPU_ORDERING_OWNER:
		return "owner";
	case KVR_GPU_ORDERING_DEVICES:
		return "devices";
	default:
		return "none";
	}
}

static const char *yes(int flag)
{
	return flag ? "yes" : "no";
}

static const char *flush_name(const struct kvr_gpu_info *gpu)
{
	if (gpu->flush_by_host)
		return gpu->flush_by_stream ? "host, stream" : "host";
	return gpu->flush_by_stream ? "stream" : "none";
}

static void print_one(uint32_t index, const struct kvr_gpu_info *gpu)
{
	char memory[24];

	table_bytes(gpu->memory_bytes, memory, sizeof(memory));
	printf("gpu         %-10u usable     %s, compute %d.%d, %s, %s\n",
	       index, gpu->name, gpu->compute_major, gpu->compute_minor, memory,
	       gpu->pci_address);
	printf("%34sdma-buf %s, peer memory %s, ordering %s, flush %s, "
	       "C2C %s, stream words of %d bits\n",
	       "", yes(gpu->dmabuf), yes(gpu->direct_rdma),
	       ordering_name(gpu->ordering), flush_name(gpu),
	       yes(gpu->host_page_tables), gpu->stream_words_64 ? 64 : 32);
}

static const char *way_name(enum kvr_gpu_way way)
{
	switch (way) {
	case KVR_GPU_WAY_DMABUF:
		return "dma-buf";
	case KVR_GPU_WAY_PEERMEM:
		return "nvidia_peermem";
	default:
		return "none";
	}
}

static const char *path_flush_name(enum kvr_gpu_flush flush)
{
	static const char *const names[] = {
		[KVR_GPU_FLUSH_AUTO] = "impossible",
		[KVR_GPU_FLUSH_NONE] = "none",
		[KVR_GPU_FLUSH_HOST] = "host",
		[KVR_GPU_FLUSH_READ] = "read",
	};

	return names[flush];
}

static void print_path(const char *card, uint32_t index)
{
	char reason[REASON_BYTES];
	struct kvr_gpu_path path;

	kvr_gpu_path_init(&path);
	if (kvr_gpu_get_path(card, index, &path, reason, sizeof(reason)) !=
	    KVR_OK) {
		printf("%34s%s: %s\n", "", card, reason);
		return;
	}
	printf("%34s%s: by %s%s", "", card, way_name(path.way),
	       path.by_pcie ? " over PCIe" : "");
	if (path.way != KVR_GPU_WAY_AUTO)
		printf(", flush %s (%s)", path_flush_name(path.flush),
		       path.flush_why);
	printf("%s%s\n", path.why[0] ? "; not " : "", path.why);
}

static json_t *path_json(const char *card, uint32_t index)
{
	char reason[REASON_BYTES];
	struct kvr_gpu_path path;

	kvr_gpu_path_init(&path);
	if (kvr_gpu_get_path(card, index, &path, reason, sizeof(reason)) !=
	    KVR_OK)
		return json_pack("{s:s, s:s}", "device", card, "error", reason);
	return json_pack("{s:s, s:s, s:b, s:s, s:s, s:s}", "device", card,
			 "way", way_name(path.way), "by_pcie", path.by_pcie,
			 "left_out", path.why, "flush",
			 path_flush_name(path.flush), "flush_why",
			 path.flush_why);
}

/* For each RDMA device of the machine. */
static void each_card(void (*visit)(const char *card, void *arg), void *arg)
{
	struct dirent **list;
	int count = scandir("/sys/class/infiniband", &list, NULL, alphasort);

	for (int i = 0; i < count; i++) {
		if (list[i]->d_name[0] != '.')
			visit(list[i]->d_name, arg);
		free(list[i]);
	}
	if (count >= 0)
		free(list);
}

static void visit_print(const char *card, void *arg)
{
	print_path(card, *(const uint32_t *)arg);
}

struct paths {
	uint32_t index;
	json_t *array;
};

static void visit_json(const char *card, void *arg)
{
	struct paths *paths = arg;

	json_array_append_new(paths->array, path_json(card, paths->index));
}

void info_gpu_print(void)
{
	char reason[REASON_BYTES];
	struct kvr_gpu_info gpu;
	enum kvr_status status;
	uint32_t i;

	for (i = 0;; i++) {
		kvr_gpu_info_init(&gpu);
		status = kvr_gpu_get_info(i, &gpu, reason, sizeof(reason));
		if (status != KVR_OK)
			break;
		if (i == 0)
			printf("gpu         cuda       usable     driver for "
			       "CUDA %d.%d, plug-in of CUDA %d.%d\n",
			       gpu.driver_version / 1000,
			       gpu.driver_version % 1000 / 10,
			       gpu.runtime_version / 1000,
			       gpu.runtime_version % 1000 / 10);
		print_one(i, &gpu);
		each_card(visit_print, &i);
	}
	if (status != KVR_ERR_END)
		printf("gpu         cuda       not usable %s (%s)\n", reason,
		       kvr_status_name(status));
}

static json_t *one_json(uint32_t index, const struct kvr_gpu_info *gpu)
{
	struct paths paths = {index, json_array()};

	each_card(visit_json, &paths);
	return json_pack(
		"{s:s, s:s, s:i, s:i, s:I, s:i, s:i, s:b, s:b, s:b, s:s, s:b, "
		"s:b, s:b, s:b, s:o}",
		"name", gpu->name, "pci_address", gpu->pci_address,
		"compute_major", gpu->compute_major, "compute_minor",
		gpu->compute_minor, "memory_bytes",
		(json_int_t)gpu->memory_bytes, "driver_version",
		gpu->driver_version, "runtime_version", gpu->runtime_version,
		"dmabuf", gpu->dmabuf, "direct_rdma", gpu->direct_rdma,
		"direct_rdma_vmm", gpu->direct_rdma_vmm, "ordering",
		ordering_name(gpu->ordering), "flush_by_host",
		gpu->flush_by_host, "flush_by_stream", gpu->flush_by_stream,
		"host_page_tables", gpu->host_page_tables, "stream_words_64",
		gpu->stream_words_64, "paths", paths.array);
}

json_t *info_gpu_json(void)
{
	json_t *devices = json_array();
	char reason[REASON_BYTES];
	struct kvr_gpu_info gpu;
	enum kvr_status status;
	uint32_t i;

	for (i = 0;; i++) {
		kvr_gpu_info_init(&gpu);
		status = kvr_gpu_get_info(i, &gpu, reason, sizeof(reason));
		if (status != KVR_OK)
			break;
		json_array_append_new(devices, one_json(i, &gpu));
	}
	if (status == KVR_ERR_END)
		status = KVR_OK;
	return json_pack("{s:s, s:b, s:s, s:o}", "status",
			 kvr_status_name(status), "usable", status == KVR_OK,
			 "reason", reason, "devices", devices);
}
