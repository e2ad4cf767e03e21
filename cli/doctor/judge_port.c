/* SPDX-License-Identifier: Apache-2.0 */
/* One port: link, MTU, interface, flow control. */
#include <stdio.h>
#include <string.h>

#include "cli/doctor/judging.h"

#define PATH_MTU_MAX 4096
/* What the kernel sets aside for headers: GRH, UDP, BTH and extensions. */
#define ROCE_HEADERS 96

uint32_t judge_path_mtu(int64_t netdev_mtu)
{
	uint32_t mtu = PATH_MTU_MAX;

	while (mtu >= 256 && (int64_t)mtu + ROCE_HEADERS > netdev_mtu)
		mtu /= 2;
	return mtu >= 256 ? mtu : 0;
}

bool judge_port_usable(const struct facts *facts,
		       const struct fact_device *device,
		       const struct fact_port *port)
{
	return port->state == PORT_ACTIVE && judge_gid(facts, port) &&
	       judging_wanted(facts, device->name, port->number);
}

static void judge_down(struct judging *judging,
		       const struct fact_device *device,
		       const struct fact_port *p, const char *subject)
{
	judging_find(judging, judging_obstacle(judging, device), "port.state",
		     subject, "down, physical state %s", p->phys_text);
	if (p->ethernet && p->phys_state == PORT_PHYS_DISABLED)
		judging_remedy(judging, "ip link set %s up",
			       p->netdev[0] ? p->netdev : "INTERFACE");
	else if (p->ethernet)
		judging_remedy(judging,
			       "check cable and switch port: ethtool "
			       "%s",
			       p->netdev[0] ? p->netdev : "INTERFACE");
	else if (p->phys_state == PORT_PHYS_DISABLED)
		judging_remedy(judging, "ibportstate -D 0 %u enable",
			       p->number);
	else
		judging_remedy(judging,
			       "check cable and switch port: "
			       "ibstat %s",
			       device->name);
}

static void judge_state(struct judging *judging,
			const struct fact_device *device,
			const struct fact_port *p, const char *subject)
{
	const char *link = p->ethernet ? "Ethernet (RoCE)" : "InfiniBand";
	enum level obstacle = judging_obstacle(judging, device);

	switch (p->state) {
	case PORT_ACTIVE:
		judging_find(judging, LEVEL_GOOD, "port.state", subject,
			     "active, %s, %s", link, p->rate);
		break;
	case PORT_INIT:
	case PORT_ARMED:
		judging_find(judging, obstacle, "port.state", subject,
			     "link is up, but no subnet manager configured it");
		judging_remedy(judging, "start one on a switch or a host "
					"(systemctl start opensm); sminfo "
					"shows it");
		break;
	case PORT_DOWN:
		judge_down(judging, device, p, subject);
		break;
	default:
		judging_find(judging, obstacle, "port.state", subject,
			     "state unknown");
		judging_remedy(judging, "see rdma link show %s/%u",
			       device->name, p->number);
	}
}

static void judge_roce_mtu(struct judging *judging, const struct fact_port *p,
			   const char *subject)
{
	uint32_t mtu =
		p->active_mtu ? p->active_mtu : judge_path_mtu(p->netdev_mtu);

	if (p->netdev_mtu == 0)
		return;
	if (mtu >= PATH_MTU_MAX) {
		judging_find(judging, LEVEL_GOOD, "port.mtu", subject,
			     "path MTU %u (%s: %d)", mtu, p->netdev,
			     (int)p->netdev_mtu);
		return;
	}
	judging_find(judging, LEVEL_WARNING, "port.mtu", subject,
		     "path MTU %u of %u: %s has MTU %d", mtu, PATH_MTU_MAX,
		     p->netdev, (int)p->netdev_mtu);
	judging_remedy(judging,
		       "ip link set %s mtu 9000 on all hosts and switches of "
		       "the path (4200 is enough)",
		       p->netdev);
}

static void judge_mtu(struct judging *judging, const struct fact_port *p,
		      const char *subject)
{
	if (p->ethernet) {
		judge_roce_mtu(judging, p, subject);
	} else if (p->active_mtu >= PATH_MTU_MAX) {
		judging_find(judging, LEVEL_GOOD, "port.mtu", subject, "MTU %u",
			     p->active_mtu);
	} else if (p->active_mtu) {
		judging_find(judging, LEVEL_WARNING, "port.mtu", subject,
			     "MTU %u of %u", p->active_mtu, PATH_MTU_MAX);
		judging_remedy(judging, "let the subnet manager allow 4096: "
					"opensm's partitions.conf, mtu=5");
	}
}

/* rdma_cm finds InfiniBand peers by the address of an IPoIB interface. */
static void judge_ipoib(struct judging *judging, const struct fact_port *p,
			const char *subject)
{
	if (p->ethernet || p->state != PORT_ACTIVE)
		return;
	if (p->netdev[0] && p->netdev_up) {
		judging_find(judging, LEVEL_GOOD, "port.ipoib", subject,
			     "%s is up, for rdma_cm", p->netdev);
		return;
	}
	judging_find(judging, LEVEL_WARNING, "port.ipoib", subject,
		     "%s: rdma_cm cannot find peers",
		     p->netdev[0] ? "its IPoIB interface is down"
				  : "no IPoIB interface");
	judging_remedy(judging, "modprobe ib_ipoib, give the interface an "
				"address and ip link set it up; or --transport "
				"verbs-exchange");
}

static void judge_pfc(struct judging *judging, const struct fact_device *device,
		      const struct fact_port *p, const char *subject)
{
	if (!p->ethernet || !device->pci.address[0] || p->state != PORT_ACTIVE)
		return;
	if (p->pfc > 0) {
		judging_find(judging, LEVEL_GOOD, "port.pfc", subject,
			     "PFC is on, priorities 0x%02x", (unsigned)p->pfc);
		return;
	}
	judging_find(judging, LEVEL_WARNING, "port.pfc", subject, "%s",
		     p->pfc ? "PFC: not visible from here"
			    : "PFC is off: frames are dropped when a queue "
			      "is full");
	judging_remedy(judging,
		       p->pfc ? "ask on the host: dcb pfc show dev %s (or "
				"mlnx_qos -i); the switch needs the same"
			      : "dcb pfc set dev %s prio-pfc all:off 3:on and "
				"the same on the switch, or rely on ECN",
		       p->netdev[0] ? p->netdev : "INTERFACE");
}

void judging_port(struct judging *judging, const struct fact_device *device,
		  const struct fact_port *port)
{
	char subject[FACT_NAME + 16];

	snprintf(subject, sizeof(subject), "%s:%u", device->name, port->number);
	judge_state(judging, device, port, subject);
	if (port->state == PORT_DOWN)
		return; /* the rest follows from it */
	judge_mtu(judging, port, subject);
	judging_gid(judging, device, port, subject);
	judge_ipoib(judging, port, subject);
	judge_pfc(judging, device, port, subject);
}
