/* SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>

#include "cli/doctor/print.h"
#include "kvring/kvring.h"

#define SCHEMA 1 /* raised when a member goes or changes its meaning */

static json_t *text_or_null(const char *text)
{
	return text[0] ? json_string(text) : json_null();
}

/* What is negative or above the top is not known. */
static json_t *number_or_null(int64_t number)
{
	return number >= 0 ? json_integer(number) : json_null();
}

static json_t *bytes_or_null(uint64_t bytes)
{
	return bytes == FACT_UNLIMITED ? json_null()
				       : json_integer((json_int_t)bytes);
}

static json_t *finding_json(const struct finding *f)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:o}", "level",
			 print_level(f->level), "check", f->check, "subject",
			 f->subject, "message", f->message, "remedy",
			 text_or_null(f->remedy));
}

static json_t *gid_json(const struct fact_gid *gid, bool chosen)
{
	static const char *const types[] = {"InfiniBand", "RoCE v1", "RoCE v2"};
	static const char *const kinds[] = {"IPv4", "IPv6", "link-local"};

	return json_pack("{s:i, s:s, s:s, s:s, s:o, s:b}", "index",
			 (int)gid->index, "address", gid->address, "type",
			 types[gid->type], "kind", kinds[gid->kind], "netdev",
			 text_or_null(gid->netdev), "chosen", chosen);
}

static json_t *port_json(const struct facts *facts,
			 const struct fact_port *port)
{
	const struct fact_gid *chosen = judge_gid(facts, port);
	json_t *gids = json_array();
	size_t i;

	for (i = 0; i < port->gid_count; i++)
		json_array_append_new(gids, gid_json(&port->gids[i],
						     &port->gids[i] == chosen));
	return json_pack("{s:i, s:i, s:i, s:s, s:s, s:o, s:I, s:I, s:o, s:o}",
			 "number", (int)port->number, "state", port->state,
			 "phys_state", port->phys_state, "link_layer",
			 port->ethernet ? "Ethernet" : "InfiniBand", "rate",
			 port->rate, "netdev", text_or_null(port->netdev),
			 "netdev_mtu", (json_int_t)port->netdev_mtu,
			 "active_mtu", (json_int_t)port->active_mtu, "pfc",
			 number_or_null(port->pfc), "gids", gids);
}

static json_t *device_json(const struct facts *facts,
			   const struct fact_device *d)
{
	json_t *ports = json_array();
	size_t i;

	for (i = 0; i < d->port_count; i++)
		json_array_append_new(ports, port_json(facts, &d->ports[i]));
	return json_pack(
		"{s:s, s:b, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o}", "name",
		d->name, "usable", judge_device_usable(facts, d), "driver",
		d->driver, "firmware", d->firmware, "board", d->board, "pci",
		text_or_null(d->pci.address), "numa_node",
		number_or_null(d->pci.numa), "uverbs", text_or_null(d->uverbs),
		"dmabuf", d->dmabuf < 0 ? json_null() : json_boolean(d->dmabuf),
		"ports", ports);
}

static json_t *gpu_json(const struct facts *facts, const struct fact_gpu *gpu)
{
	const struct fact_device *nic = judge_nearest(facts, gpu);
	enum pci_distance distance =
		nic ? judge_distance(&gpu->pci, &nic->pci) : PCI_UNKNOWN;

	return json_pack("{s:s, s:o, s:o, s:s}", "pci", gpu->pci.address,
			 "numa_node", number_or_null(gpu->pci.numa), "nearest",
			 text_or_null(nic ? nic->name : ""), "through",
			 judge_distance_text(distance));
}

static json_t *limits_json(const struct facts *facts)
{
	const struct fact_limits *limits = &facts->limits;

	return json_pack(
		"{s:b, s:o, s:o, s:b, s:I, s:o}", "memlock_known",
		limits->memlock_known, "memlock_soft_bytes",
		bytes_or_null(limits->memlock_soft), "memlock_hard_bytes",
		bytes_or_null(limits->memlock_hard), "cap_ipc_lock",
		limits->may_lock, "memory_available_bytes",
		(json_int_t)limits->memory_available, "memory_cgroup_bytes",
		bytes_or_null(limits->memory_cgroup));
}

static json_t *modules_json(const struct facts *facts)
{
	return json_pack("{s:b, s:b, s:b}", "ib_uverbs", facts->uverbs_loaded,
			 "rdma_ucm", facts->rdma_ucm_loaded, "nvidia_peermem",
			 facts->peermem_loaded);
}

bool print_findings_json(FILE *to, const struct facts *facts,
			 const struct findings *findings)
{
	json_t *list = json_array(), *devices = json_array();
	json_t *gpus = json_array(), *root;
	bool ok;
	size_t i;

	for (i = 0; i < findings->count; i++)
		json_array_append_new(list, finding_json(&findings->list[i]));
	for (i = 0; i < facts->device_count; i++)
		json_array_append_new(devices,
				      device_json(facts, &facts->devices[i]));
	for (i = 0; i < facts->gpu_count; i++)
		json_array_append_new(gpus, gpu_json(facts, &facts->gpus[i]));
	root = json_pack("{s:i, s:s, s:b, s:s, s:o, s:o, s:o, s:o, s:o}",
			 "schema", SCHEMA, "version", kvr_version(), "recorded",
			 facts->recorded, "verdict",
			 print_level(findings_worst(findings)), "findings",
			 list, "devices", devices, "gpus", gpus, "modules",
			 modules_json(facts), "limits", limits_json(facts));
	ok = root && !json_dumpf(root, to, JSON_INDENT(2)) &&
	     fputc('\n', to) != EOF && !fflush(to);
	json_decref(root);
	return ok;
}
