/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/doctor/judge.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/doctor/judging.h"

void judging_find(struct judging *judging, enum level level, const char *check,
		  const char *subject, const char *format, ...)
{
	struct findings *all = judging->out;
	struct finding *finding;
	va_list args;

	if (!facts_grow((void **)&all->list, &all->count, sizeof(*finding))) {
		all->lost = true;
		return;
	}
	finding = &all->list[all->count - 1];
	finding->level = level;
	finding->check = check;
	snprintf(finding->subject, sizeof(finding->subject), "%s", subject);
	va_start(args, format);
	vsnprintf(finding->message, sizeof(finding->message), format, args);
	va_end(args);
}

void judging_remedy(struct judging *judging, const char *format, ...)
{
	struct findings *all = judging->out;
	struct finding *finding;
	va_list args;

	if (all->lost || !all->count)
		return;
	finding = &all->list[all->count - 1];
	va_start(args, format);
	vsnprintf(finding->remedy, sizeof(finding->remedy), format, args);
	va_end(args);
}

void findings_free(struct findings *findings)
{
	free(findings->list);
	*findings = (struct findings){.list = NULL};
}

enum level findings_worst(const struct findings *findings)
{
	enum level worst = LEVEL_GOOD;
	size_t i;

	for (i = 0; i < findings->count; i++)
		if (findings->list[i].level > worst)
			worst = findings->list[i].level;
	return worst;
}

bool judging_wanted(const struct facts *facts, const char *device,
		    uint32_t port)
{
	const char *at = facts->environment.device;
	size_t length = strlen(device);

	if (!at || !*at)
		return true;
	for (; *at; at += strcspn(at, ","), at += *at == ',') {
		size_t word = strcspn(at, ",:");

		if (word != length || strncmp(at, device, length))
			continue;
		if (at[word] != ':' || port == 0 ||
		    strtoul(at + word + 1, NULL, 10) == port)
			return true;
	}
	return false;
}

enum level judging_obstacle(const struct judging *judging,
			    const struct fact_device *device)
{
	const char *named = judging->facts->environment.device;

	if (!judging_wanted(judging->facts, device->name, 0))
		return LEVEL_WARNING;
	return judging->any_usable && !(named && *named) ? LEVEL_WARNING
							 : LEVEL_FATAL;
}

/* Nothing to use RDMA with is a state like any other: there is shm. */
static void judge_absence(struct judging *judging)
{
	judging_find(judging, LEVEL_WARNING, "rdma", "machine",
		     "no RDMA device: shm only, between processes of this "
		     "machine");
	if (judging->facts->adapter_count)
		judging_remedy(judging, "see the adapter above");
	else
		judging_remedy(judging,
			       "to join machines, install an InfiniBand or "
			       "RoCE adapter, or try software RoCE: modprobe "
			       "rdma_rxe; rdma link add rxe0 type rxe netdev "
			       "eth0");
}

static void judge_summary(struct judging *judging)
{
	const struct facts *facts = judging->facts;
	size_t i, usable = 0;

	for (i = 0; i < facts->device_count; i++)
		usable += judge_device_usable(facts, &facts->devices[i]);
	if (!facts->device_count)
		judge_absence(judging);
	else if (usable)
		judging_find(judging, LEVEL_GOOD, "rdma", "machine",
			     "%zu of %zu RDMA devices can be used", usable,
			     facts->device_count);
	else {
		judging_find(judging, LEVEL_FATAL, "rdma", "machine",
			     "no RDMA device can be used");
		judging_remedy(judging, "follow the remedies of the fatal "
					"findings above; --transport shm "
					"works between processes of this "
					"machine");
	}
}

static void judge_adapters(struct judging *judging)
{
	const struct facts *facts = judging->facts;
	size_t i;

	for (i = 0; i < facts->adapter_count; i++) {
		const struct fact_adapter *a = &facts->adapters[i];

		judging_find(judging, LEVEL_WARNING, "adapter", a->address,
			     "an adapter for RDMA without an RDMA device%s%s",
			     a->driver[0] ? ", driver " : ", no driver",
			     a->driver);
		judging_remedy(judging,
			       "modprobe mlx5_ib (mlx4_ib for ConnectX-3); in "
			       "a container, move the device into its network "
			       "namespace: rdma dev set DEVICE netns NAME");
	}
}

bool judge(const struct facts *facts, struct findings *out)
{
	struct judging judging = {.facts = facts, .out = out};
	size_t i;

	*out = (struct findings){.list = NULL};
	for (i = 0; i < facts->device_count; i++)
		if (judge_device_usable(facts, &facts->devices[i]))
			judging.any_usable = true;
	judging_environment(&judging);
	for (i = 0; i < facts->device_count; i++)
		judging_device(&judging, &facts->devices[i]);
	judge_adapters(&judging);
	judging_host(&judging);
	judging_pci(&judging);
	judge_summary(&judging);
	return !out->lost;
}
