/* SPDX-License-Identifier: Apache-2.0 */
/* What the live machine is asked, and what the judge measures by. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <linux/dcbnl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>

#include "kvring/device.h"
#include "tests/unit/cli/doctor_bed.h"

static struct fact_device answer; /* of the fake verbs */
static uint32_t answer_mtu;
static int answer_pfc;

static void fake_probe(struct fact_device *device)
{
	device->probe = answer.probe;
	device->dmabuf = answer.dmabuf;
	snprintf(device->probe_reason, sizeof(device->probe_reason), "%s",
		 answer.probe_reason);
	device->ports[0].active_mtu = answer_mtu;
}

static int fake_pfc(const char *netdev)
{
	assert_string_equal(netdev, "ens1f0np0");
	return answer_pfc;
}

static const struct collect_live fake = {fake_probe, fake_pfc};

static int open_bed(void **state)
{
	static struct bed bed;

	bed_open(&bed, "roce");
	bed.live = &fake;
	answer = (struct fact_device){.probe = PROBE_DONE, .dmabuf = 1};
	answer_mtu = 1024;
	answer_pfc = 8;
	*state = &bed;
	return 0;
}

static int open_infiniband(void **state)
{
	open_bed(state);
	bed_close(*state);
	bed_open(*state, "h100-infiniband");
	((struct bed *)*state)->live = &fake;
	return 0;
}

static int close_bed(void **state)
{
	bed_close(*state);
	return 0;
}

static void probe_of_each_result_is_judged(void **state)
{
	struct bed *bed = *state;

	bed_examine(bed);
	bed_expect(bed, LEVEL_GOOD, "verbs", "mlx5_0", "opens", "");
	bed_expect(bed, LEVEL_GOOD, "dmabuf", "mlx5_0", "dma-buf: yes", "");
	answer.probe = PROBE_NO_VERBS;
	bed_examine(bed);
	bed_expect(bed, LEVEL_WARNING, "verbs", "mlx5_0", "built without",
		   "libibverbs-dev");
	bed_expect_none(bed, "dmabuf");
	answer.probe = PROBE_UNKNOWN;
	strcpy(answer.probe_reason, "not listed");
	bed_examine(bed);
	bed_expect(bed, LEVEL_FATAL, "verbs", "mlx5_0", "not listed",
		   "ibverbs-providers");
	bed_expect(bed, LEVEL_FATAL, "rdma", "machine", "no RDMA device can",
		   "follow");
	answer.probe = PROBE_FAILED;
	bed_examine(bed);
	bed_expect(bed, LEVEL_FATAL, "verbs", "mlx5_0", "not listed",
		   "ibv_devinfo -d mlx5_0");
}

static void probe_of_closed_node_is_not_repeated(void **state)
{
	struct bed *bed = *state;

	answer.probe = PROBE_FAILED;
	bed_add(bed, "/dev/infiniband/uverbs0: EACCES");
	bed_examine(bed);
	bed_expect(bed, LEVEL_FATAL, "uverbs", "mlx5_0", "Permission", "udev");
	bed_expect_none(bed, "verbs");
}

static void pfc_of_each_answer_is_judged(void **state)
{
	struct bed *bed = *state;

	bed_examine(bed);
	bed_expect(bed, LEVEL_GOOD, "port.pfc", "mlx5_0:1", "priorities 0x08",
		   "");
	answer_pfc = 0;
	bed_examine(bed);
	bed_expect(bed, LEVEL_WARNING, "port.pfc", "mlx5_0:1", "PFC is off",
		   "dcb pfc set dev ens1f0np0 prio-pfc all:off 3:on");
	answer_pfc = -1;
	bed_examine(bed);
	bed_expect(bed, LEVEL_WARNING, "port.pfc", "mlx5_0:1", "not visible",
		   "dcb pfc show dev ens1f0np0");
}

static void mtu_that_verbs_says_counts(void **state)
{
	struct bed *bed = *state;

	answer_mtu = 512;
	bed_examine(bed);
	bed_expect(bed, LEVEL_WARNING, "port.mtu", "mlx5_0:1",
		   "path MTU 512 of 4096", "ip link set");
}

static void mtu_of_infiniband_is_the_subnet_managers(void **state)
{
	struct bed *bed = *state;

	answer_mtu = 2048;
	bed_examine(bed);
	bed_expect(bed, LEVEL_WARNING, "port.mtu", "mlx5_0:1", "2048 of 4096",
		   "partitions.conf");
	answer_mtu = 4096;
	bed_examine(bed);
	bed_expect(bed, LEVEL_GOOD, "port.mtu", "mlx5_1:1", "MTU 4096", "");
}

static void dmabuf_serves_instead_of_peermem(void **state)
{
	struct bed *bed = *state;

	bed_remove(bed, "/sys/module/nvidia_peermem");
	bed_examine(bed);
	bed_expect(bed, LEVEL_GOOD, "peermem", "machine", "dma-buf serves", "");
	answer.dmabuf = 0;
	bed_examine(bed);
	bed_expect(bed, LEVEL_GOOD, "dmabuf", "mlx5_0", "dma-buf: no", "");
	bed_expect(bed, LEVEL_WARNING, "peermem", "machine",
		   "dma-buf not everywhere", "nvidia_peermem");
}

static void path_mtu_leaves_room_for_headers(void **state)
{
	static const struct {
		int64_t netdev;
		uint32_t path;
	} cases[] = {{9000, 4096}, {4192, 4096}, {4191, 2048}, {1500, 1024},
		     {1119, 512},  {352, 256},	 {351, 0},     {0, 0}};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		assert_int_equal(judge_path_mtu(cases[i].netdev),
				 cases[i].path);
}

#define SWITCH "pci0000:15/0000:15:01.0/0000:16:00.0"

static void distance_follows_the_tree(void **state)
{
	static const struct {
		const char *a, *b;
		int64_t numa_a, numa_b;
		enum pci_distance distance;
	} cases[] = {
		{SWITCH "/0000:17:00.0/0000:18:00.0",
		 SWITCH "/0000:17:01.0/0000:19:00.0", 0, 0, PCI_SWITCH},
		{SWITCH "/0000:17:01.0/0000:19:00.0",
		 SWITCH "/0000:17:01.0/0000:19:00.1", 0, 0, PCI_SWITCH},
		{SWITCH "/0000:17:00.0/0000:18:00.0",
		 SWITCH "/0000:17:01.0/0000:19:00.0/0000:1a:00.0/0000:1b:00.0",
		 0, 0, PCI_SWITCHES},
		{SWITCH "/0000:17:00.0/0000:18:00.0",
		 "pci0000:15/0000:15:02.0/0000:20:00.0", 0, 0, PCI_BRIDGE},
		{"pci0000:15/0000:15:01.0/0000:16:00.0",
		 "pci0000:15/0000:15:01.1/0000:17:00.0", 0, 0, PCI_BRIDGE},
		{"pci0000:15/0000:16:00.0", "pci0000:1/0000:17:00.0", 0, 0,
		 PCI_NODE},
		{"pci0000:15/0000:16:00.0", "pci0000:97/0000:98:00.0", 0, 1,
		 PCI_SYSTEM},
		{"", "pci0000:97/0000:98:00.0", 0, 0, PCI_UNKNOWN},
	};
	struct fact_pci a = {.numa = 0}, b = {.numa = 0};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		strcpy(a.path, cases[i].a);
		strcpy(b.path, cases[i].b);
		a.numa = cases[i].numa_a;
		b.numa = cases[i].numa_b;
		assert_int_equal(judge_distance(&a, &b), cases[i].distance);
		assert_int_equal(judge_distance(&b, &a), cases[i].distance);
	}
}

/* As the kernel answers: ETS first, then PFC. */
struct dcb_answer {
	struct nlmsghdr header;
	struct dcbmsg dcb;
	struct nlattr name;
	char interface[8];
	struct nlattr ieee, ets;
	struct ieee_ets ets_data;
	struct nlattr pfc;
	struct ieee_pfc pfc_data;
};

static struct dcb_answer dcb_answer(void)
{
	struct dcb_answer a;
	const size_t ieee = sizeof(a) - offsetof(struct dcb_answer, ieee);

	memset(&a, 0, sizeof(a));
	a.header.nlmsg_len = sizeof(a);
	a.header.nlmsg_type = RTM_GETDCB;
	a.name.nla_type = DCB_ATTR_IFNAME;
	a.name.nla_len = NLA_HDRLEN + 5;
	a.ieee.nla_type = DCB_ATTR_IEEE | NLA_F_NESTED;
	a.ieee.nla_len = (uint16_t)ieee;
	a.ets.nla_type = DCB_ATTR_IEEE_ETS;
	a.ets.nla_len = NLA_HDRLEN + sizeof(a.ets_data);
	a.pfc.nla_type = DCB_ATTR_IEEE_PFC;
	a.pfc.nla_len = NLA_HDRLEN + sizeof(a.pfc_data);
	a.pfc_data.pfc_en = 0x18;
	return a;
}

static void pfc_is_found_in_the_answer(void **state)
{
	struct dcb_answer a = dcb_answer();

	(void)state;
	assert_int_equal(collect_pfc_parse(&a, sizeof(a)), 0x18);
	a.pfc_data.pfc_en = 0;
	assert_int_equal(collect_pfc_parse(&a, sizeof(a)), 0);
	a.pfc.nla_type = DCB_ATTR_IEEE_PEER_PFC;
	assert_int_equal(collect_pfc_parse(&a, sizeof(a)), -1);
}

static void pfc_of_damaged_answer_is_not_visible(void **state)
{
	struct dcb_answer a = dcb_answer();
	uint16_t length;
	size_t bytes;

	(void)state;
	for (bytes = 0; bytes < sizeof(a); bytes++)
		assert_int_equal(collect_pfc_parse(&a, bytes), -1);
	/* Attributes that are too long or too short for what holds them. */
	for (length = 0; length < NLA_HDRLEN; length++) {
		a.name.nla_len = length;
		assert_int_equal(collect_pfc_parse(&a, sizeof(a)), -1);
	}
	a = dcb_answer();
	a.pfc.nla_len++;
	assert_int_equal(collect_pfc_parse(&a, sizeof(a)), -1);
	a = dcb_answer();
	a.header.nlmsg_type = NLMSG_ERROR;
	assert_int_equal(collect_pfc_parse(&a, sizeof(a)), -1);
}

static void device_that_nobody_has_is_not_listed(void **state)
{
	struct kvr_device_info info;
	char reason[80];
	enum kvr_status status;

	(void)state;
	kvr_device_info_init(&info);
	status = kvr_device_get_info("no_such_device", &info, reason,
				     sizeof(reason));
	assert_true(status == KVR_ERR_END || status == KVR_ERR_UNSUPPORTED ||
		    status == KVR_ERR_DEVICE);
	assert_true(strlen(reason) > 0);
	info.size--;
	assert_int_equal(kvr_device_get_info("x", &info, reason, 1),
			 KVR_ERR_INVALID);
}

static void interface_without_dcb_has_no_pfc(void **state)
{
	(void)state;
	assert_int_equal(collect_this_machine.pfc("lo"), -1);
	assert_int_equal(collect_this_machine.pfc("no-such-one"), -1);
}

static void devices_are_in_the_order_of_their_numbers(void **state)
{
	struct bed *bed = *state;

	bed->live = NULL;
	bed_add(bed, "/sys/class/infiniband/mlx5_10/ports/");
	bed_add(bed, "/sys/class/infiniband/mlx5_9/ports/");
	bed_examine(bed);
	assert_int_equal(bed->facts.device_count, 3);
	assert_string_equal(bed->facts.devices[0].name, "mlx5_0");
	assert_string_equal(bed->facts.devices[1].name, "mlx5_9");
	assert_string_equal(bed->facts.devices[2].name, "mlx5_10");
}

static void text_is_cleaned(void **state)
{
	char out[8];

	(void)state;
	tree_clean("a\033[1m\xc3\xa4\tb", out, sizeof(out));
	assert_string_equal(out, "a?[1m??");
	tree_clean("a\177b", out, sizeof(out));
	assert_string_equal(out, "a?b");
	tree_clean("", out, sizeof(out));
	assert_string_equal(out, "");
}

#define BED(test) cmocka_unit_test_setup_teardown(test, open_bed, close_bed)
#define INFINIBAND(test)                                                       \
	cmocka_unit_test_setup_teardown(test, open_infiniband, close_bed)

int main(void)
{
	const struct CMUnitTest tests[] = {
		BED(probe_of_each_result_is_judged),
		BED(probe_of_closed_node_is_not_repeated),
		BED(pfc_of_each_answer_is_judged),
		BED(mtu_that_verbs_says_counts),
		INFINIBAND(mtu_of_infiniband_is_the_subnet_managers),
		INFINIBAND(dmabuf_serves_instead_of_peermem),
		cmocka_unit_test(path_mtu_leaves_room_for_headers),
		cmocka_unit_test(distance_follows_the_tree),
		cmocka_unit_test(pfc_is_found_in_the_answer),
		cmocka_unit_test(pfc_of_damaged_answer_is_not_visible),
		cmocka_unit_test(device_that_nobody_has_is_not_listed),
		cmocka_unit_test(interface_without_dcb_has_no_pfc),
		BED(devices_are_in_the_order_of_their_numbers),
		cmocka_unit_test(text_is_cleaned),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
