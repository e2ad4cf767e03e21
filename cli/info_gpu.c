/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/info_gpu.h"

#include <stdio.h>

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
	}
	if (status != KVR_ERR_END)
		printf("gpu         cuda       not usable %s (%s)\n", reason,
		       kvr_status_name(status));
}

static json_t *one_json(const struct kvr_gpu_info *gpu)
{
	return json_pack(
		"{s:s, s:s, s:i, s:i, s:I, s:i, s:i, s:b, s:b, s:b, s:s, s:b, "
		"s:b, s:b, s:b}",
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
		gpu->stream_words_64);
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
		json_array_append_new(devices, one_json(&gpu));
	}
	if (status == KVR_ERR_END)
		status = KVR_OK;
	return json_pack("{s:s, s:b, s:s, s:o}", "status",
			 kvr_status_name(status), "usable", status == KVR_OK,
			 "reason", reason, "devices", devices);
}
