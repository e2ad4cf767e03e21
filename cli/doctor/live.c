/* SPDX-License-Identifier: Apache-2.0 */
/* What only the live machine can be asked: libibverbs, and DCB netlink. */
#include <linux/dcbnl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/doctor/collect.h"
#include "kvring/device.h"

static void probe(struct fact_device *device)
{
	struct kvr_device_info info;
	enum kvr_status status;
	size_t i;

	kvr_device_info_init(&info);
	status = kvr_device_get_info(device->name, &info, device->probe_reason,
				     sizeof(device->probe_reason));
	if (status == KVR_ERR_UNSUPPORTED)
		device->probe = PROBE_NO_VERBS;
	else if (status == KVR_ERR_END)
		device->probe = PROBE_UNKNOWN;
	else
		device->probe = status == KVR_OK ? PROBE_DONE : PROBE_FAILED;
	if (status != KVR_OK)
		return;
	device->dmabuf = info.dmabuf;
	for (i = 0; i < device->port_count; i++) {
		uint32_t number = device->ports[i].number;

		if (number <= KVR_DEVICE_PORTS_MAX)
			device->ports[i].active_mtu = info.path_mtu[number - 1];
	}
}

/* The attribute of that type among those in `bytes`; NULL when missing. */
static const struct nlattr *find(const char *from, size_t bytes, int type)
{
	while (bytes >= NLA_HDRLEN) {
		const struct nlattr *a = (const void *)from;
		size_t step = NLA_ALIGN(a->nla_len);

		if (a->nla_len < NLA_HDRLEN || a->nla_len > bytes)
			return NULL;
		if ((a->nla_type & NLA_TYPE_MASK) == type)
			return a;
		if (step > bytes)
			return NULL;
		from += step;
		bytes -= step;
	}
	return NULL;
}

int collect_pfc_parse(const void *answer, size_t bytes)
{
	const size_t head = NLMSG_LENGTH(sizeof(struct dcbmsg));
	const struct nlmsghdr *message = answer;
	const struct nlattr *a;
	struct ieee_pfc pfc;

	if (bytes < head || message->nlmsg_len > bytes ||
	    message->nlmsg_len < head || message->nlmsg_type != RTM_GETDCB)
		return -1;
	a = find((const char *)answer + head, message->nlmsg_len - head,
		 DCB_ATTR_IEEE);
	if (a)
		a = find((const char *)a + NLA_HDRLEN, a->nla_len - NLA_HDRLEN,
			 DCB_ATTR_IEEE_PFC);
	if (!a || a->nla_len < NLA_HDRLEN + sizeof(pfc))
		return -1;
	memcpy(&pfc, (const char *)a + NLA_HDRLEN, sizeof(pfc));
	return pfc.pfc_en;
}

struct request {
	struct nlmsghdr header;
	struct dcbmsg dcb;
	struct nlattr attribute;
	char netdev[FACT_NAME];
};

static size_t ask(int fd, const char *netdev, void *answer, size_t size)
{
	struct request r = {.dcb = {.cmd = DCB_CMD_IEEE_GET}};
	const struct timeval patience = {.tv_sec = 2};
	size_t name = strlen(netdev) + 1;
	ssize_t got;

	r.attribute.nla_type = DCB_ATTR_IFNAME;
	r.attribute.nla_len = (uint16_t)(NLA_HDRLEN + name);
	memcpy(r.netdev, netdev, name);
	r.header.nlmsg_len =
		(uint32_t)(offsetof(struct request, netdev) + NLA_ALIGN(name));
	r.header.nlmsg_type = RTM_GETDCB;
	r.header.nlmsg_flags = NLM_F_REQUEST;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (send(fd, &r, r.header.nlmsg_len, 0) < 0)
		return 0;
	got = recv(fd, answer, size, 0);
	return got > 0 ? (size_t)got : 0;
}

static int read_pfc(const char *netdev)
{
	_Alignas(struct nlmsghdr) char answer[8192];
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	size_t bytes;

	if (fd < 0)
		return -1;
	bytes = ask(fd, netdev, answer, sizeof(answer));
	close(fd);
	return collect_pfc_parse(answer, bytes);
}

const struct collect_live collect_this_machine = {
	.probe = probe,
	.pfc = read_pfc,
};
