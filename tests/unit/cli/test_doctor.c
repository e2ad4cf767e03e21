/* SPDX-License-Identifier: Apache-2.0 */
/* One thing wrong at a time, on a machine that is in order otherwise. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/cli/doctor_bed.h"

#define PCI "/sys/devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0"
#define IB PCI "/infiniband/mlx5_0"
#define PORT IB "/ports/1"
#define LIMITS "/proc/self/limits: Max locked memory "

/* Which allocation of the facts and findings fails; 0 none. */
static unsigned int failing;

void *__real_reallocarray(void *old, size_t count, size_t size);
void *__wrap_reallocarray(void *old, size_t count, size_t size);

void *__wrap_reallocarray(void *old, size_t count, size_t size)
{
	if (failing > 0 && --failing == 0)
		return NULL;
	return __real_reallocarray(old, count, size);
}

/* RoCE, and nothing wrong but that PFC is not visible. */
static int open_roce(void **state)
{
	static struct bed bed;

	bed_open(&bed, "roce");
	bed_add(&bed, "/sys/kernel/iommu_groups/73/type: identity");
	bed_add(&bed, PCI "/net/ens1f0np0/mtu: 9000");
	*state = &bed;
	return 0;
}

static int open_h100(void **state)
{
	static struct bed bed;

	bed_open(&bed, "h100-infiniband");
	*state = &bed;
	return 0;
}

static int open_none(void **state)
{
	static struct bed bed;

	bed_open(&bed, "no-rdma");
	*state = &bed;
	return 0;
}

static int open_ports(void **state)
{
	static struct bed bed;

	bed_open(&bed, "two-ports");
	*state = &bed;
	return 0;
}

static int close_bed(void **state)
{
	bed_close(*state);
	return 0;
}

static void machine_in_order_has_one_warning(void **state)
{
	struct bed *bed = *state;
	size_t i;

	bed_examine(bed);
	for (i = 0; i < bed->findings.count; i++)
		if (strcmp(bed->findings.list[i].check, "port.pfc"))
			assert_int_equal(bed->findings.list[i].level,
					 LEVEL_GOOD);
	assert_int_equal(findings_worst(&bed->findings), LEVEL_WARNING);
}

/* ------------------------------------------------------------- device */
static void node_of_iwarp_is_fatal(void **state)
{
	struct bed *bed = *state;

	bed_add(bed, IB "/node_type: 4: RNIC");
	bed_examine(bed);
	bed_expect(bed, LEVEL_FATAL, "device", "mlx5_0", "node type 4",
		   "use an InfiniBand or RoCE adapter");
	bed_expect(bed, LEVEL_FATAL, "rdma", "machine", "no RDMA device can",
		   "--transport shm");
}

static void uverbs_unloaded_is_fatal(void **state)
{
	struct bed *bed = *state;

	bed_remove(bed, "/sys/class/infiniband_verbs");
	bed_examine(bed);
	bed_expect(bed, LEVEL_FATAL, "uverbs", "mlx5_0",
		   "ib_uverbs is not loaded", "modprobe ib_uverbs");
	bed_expect_none(bed, "modules");
}

static void uverbs_of_each_error_has_its_remedy(void **state)
{
	static const struct {
		const char *line, *message, *remedy;
	} cases[] = {
		{"/dev/infiniband/uverbs0: EACCES", "Permission denied",
		 "chmod 666 /dev/infiniband/uverbs0"},
		{"/dev/infiniband/uverbs0: EPERM", "Operation not permitted",
		 "device cgroup"},
		{"/dev/infiniband/uverbs0: ENOENT", "No such file",
		 "--device /dev/infiniband/uverbs0"},
		{"/dev/infiniband/uverbs0: ENXIO", "No such device or address",
		 "dmesg"},
		{"/dev/infiniband/uverbs0: nonsense", "Input/output error",
		 "dmesg"},
	};
	struct bed *bed = *state;
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		bed_add(bed, cases[i].line);
		bed_examine(bed);
		bed_expect(bed, LEVEL_FATAL, "uverbs", "mlx5_0",
			   cases[i].message, cases[i].remedy);
	}
	bed_remove(bed, "/dev/infiniband/uverbs0");
	bed_examine(bed);
	bed_expect(bed, LEVEL_FATAL, "uverbs", "mlx5_0", "No such file",
		   "--device /dev/infiniband/uverbs0");
}

static void one_device_of_two_denied_is_a_warning(void **state)
{
	struct bed *bed = *state;

	bed_add(bed, "/dev/infiniband/uverbs1: EACCES");
	bed_examine(bed);
	bed_expect(bed, LEVEL_WARNING, "uverbs", "mlx5_1", "Permission denied",
		   "udev rule");
	bed_expect(bed, LEVEL_GOOD, "rdma", "machine", "1 of 2", "");
	/* Unless it is the one that is asked for. */
	bed->environment.device = "mlx5_1";
	bed_examine(bed);
	bed_expect(bed, LEVEL_FATAL, "uverbs", "mlx5_1", "Permission denied",
		   "udev rule");
}

/* --------------------------------------------------------------- port */
static void port_without_subnet_manager_is_fatal(void **state)
{
	struct bed *bed = *state;

	bed_add(bed, "/sys/class/infiniband/mlx4_0/ports/1/state: 2: INIT");
	bed_examine(bed);
	bed_expect(bed, LEVEL_FATAL, "port.state", "mlx4_0:1",
		   "no subnet manager", "opensm");
	bed_expect(bed, LEVEL_FATAL, "port.state", "mlx4_0:2",
		   "physical state Polling", "ibstat mlx4_0");
}

static void port_that_is_asked_for_and_down_is_fatal(void **state)
{
	struct bed *bed = *state;

	bed->environment.device = "mlx4_0:2";
	bed_examine(bed);
	bed_expect(bed, LEVEL_FATAL, "port.state", "mlx4_0:2", "down",
		   "check cable");
	bed_expect(bed, LEVEL_FATAL, "rdma", "machine", "no RDMA device can",
		   "follow");
}

static void port_down_for_each_cause_has_its_remedy(void **state)
{
	struct bed *bed = *state;

	bed_add(bed, PORT "/state: 1: DOWN");
	bed_add(bed, PORT "/phys_state: 2: Polling");
	bed_examine(bed);
	bed_expect(bed, LEVEL_FATAL, "port.state", "mlx5_0:1", "Polling",
		   "ethtool ens1f0np0");
	bed_expect_none(bed, "port.gid");
	bed_add(bed, PORT "/phys_state: 3: Disabled");
	bed_examine(bed);
	bed_expect(bed, LEVEL_FATAL, "port.state", "mlx5_0:1", "Disabled",
		   "ip link set ens1f0np0 up");
	bed_add(bed, PORT "/link_layer: InfiniBand");
	bed_examine(bed);
	bed_expect(bed, LEVEL_FATAL, "port.state", "mlx5_0:1", "Disabled",
		   "ibportstate");
	bed_remove(bed, PORT "/state");
	bed_examine(bed);
	bed_expect(bed, LEVEL_FATAL, "port.state", "mlx5_0:1", "unknown",
		   "rdma link show mlx5_0/1");
}

static void mtu_too_small_is_a_warning(void **state)
{
	struct bed *bed = *state;

	bed_add(bed, PCI "/net/ens1f0np0/mtu: 4191");
	bed_examine(bed);
	bed_expect(bed, LEVEL_WARNING, "port.mtu", "mlx5_0:1",
		   "path MTU 2048 of 4096: ens1f0np0 has MTU 4191",
		   "ip link set ens1f0np0 mtu 9000");
	bed_add(bed, PCI "/net/ens1f0np0/mtu: 4192");
	bed_examine(bed);
	bed_expect(bed, LEVEL_GOOD, "port.mtu", "mlx5_0:1", "path MTU 4096",
		   "");
}

static void ipoib_missing_or_down_is_a_warning(void **state)
{
	struct bed *bed = *state;

	bed_add(bed, "/sys/class/net/ibp25s0f0/operstate: down");
	bed_examine(bed);
	bed_expect(bed, LEVEL_WARNING, "port.ipoib", "mlx5_0:1", "is down",
		   "verbs-exchange");
	bed_expect(bed, LEVEL_WARNING, "port.ipoib", "mlx5_1:1",
		   "no IPoIB interface", "modprobe ib_ipoib");
}

/* ---------------------------------------------------------------- GID */
static void gid_of_each_kind_is_judged(void **state)
{
	struct bed *bed = *state;

	bed_examine(bed);
	bed_expect(bed, LEVEL_GOOD, "port.gid", "mlx5_0:1",
		   "GID 3, RoCE v2, 10.1.2.7, ens1f0np0", "");
	bed_remove(bed, PORT "/gids/3");
	bed_examine(bed);
	bed_expect(bed, LEVEL_GOOD, "port.gid", "mlx5_0:1",
		   "GID 5, RoCE v2, 2001:db8:10:1:e42:a1ff:fe7d:5c2e", "");
	bed_remove(bed, PORT "/gids/5");
	bed_examine(bed);
	bed_expect(bed, LEVEL_WARNING, "port.gid", "mlx5_0:1",
		   "GID 1, RoCE v2, fe80::", "ip addr add");
	bed_remove(bed, PORT "/gids/1");
	bed_examine(bed);
	bed_expect(bed, LEVEL_WARNING, "port.gid", "mlx5_0:1",
		   "GID 0, RoCE v1, fe80::", "cma_roce_mode");
	bed_remove(bed, PORT "/gids");
	bed_examine(bed);
	bed_expect(bed, LEVEL_FATAL, "port.gid", "mlx5_0:1", "no GID",
		   "dev ens1f0np0");
}

static void gid_of_absent_interface_is_not_chosen(void **state)
{
	struct bed *bed = *state;

	bed_add(bed, PORT "/gid_attrs/ndevs/3: elsewhere");
	bed_examine(bed);
	bed_expect(bed, LEVEL_GOOD, "port.gid", "mlx5_0:1", "GID 5", "");
	bed_remove(bed, "/sys/class/net/ens1f0np0");
	bed_examine(bed);
	bed_expect(bed, LEVEL_FATAL, "port.gid", "mlx5_0:1",
		   "another network namespace", "hostNetwork");
}

/* -------------------------------------------------------- environment */
static void environment_that_names_nothing_is_fatal(void **state)
{
	struct bed *bed = *state;

	bed->environment.device = "mlx5_0:1,mlx5_7";
	bed_examine(bed);
	bed_expect(bed, LEVEL_FATAL, "environment", "KVRING_DEVICE",
		   "there is no device 'mlx5_7'", "rdma link");
	bed->environment.device = NULL;
	bed->environment.gid_index = "77";
	bed_examine(bed);
	bed_expect(bed, LEVEL_FATAL, "port.gid", "mlx5_0:1",
		   "KVRING_GID_INDEX=77", "GID 3 would be taken");
	bed->environment.gid_index = "5";
	bed_examine(bed);
	bed_expect(bed, LEVEL_GOOD, "port.gid", "mlx5_0:1", "GID 5", "");
	bed_expect(bed, LEVEL_WARNING, "environment", "KVRING_GID_INDEX",
		   "transport verbs refuses it", "verbs-exchange is meant");
}

/* --------------------------------------------------------------- host */
static void rdma_cm_absent_leaves_the_exchange(void **state)
{
	struct bed *bed = *state;

	bed_add(bed, "/dev/infiniband/rdma_cm: EPERM");
	bed_examine(bed);
	bed_expect(bed, LEVEL_WARNING, "rdma_cm", "machine",
		   "Operation not permitted; verbs-exchange is left",
		   "docker run --device");
	bed_remove(bed, "/dev/infiniband/rdma_cm");
	bed_remove(bed, "/sys/class/misc/rdma_cm");
	bed_examine(bed);
	bed_expect(bed, LEVEL_WARNING, "rdma_cm", "machine",
		   "rdma_ucm is not loaded", "modprobe rdma_ucm");
	bed_expect_none(bed, "modules");
}

static void memlock_is_judged_by_size_and_capability(void **state)
{
	struct bed *bed = *state;

	bed_add(bed, LIMITS "65536 unlimited bytes");
	bed_examine(bed);
	bed_expect(bed, LEVEL_FATAL, "memlock", "machine",
		   "64.0 KiB (hard limit unlimited)", "ulimit -l unlimited");
	bed_add(bed, LIMITS "67108864 67108864 bytes");
	bed_examine(bed);
	bed_expect(bed, LEVEL_WARNING, "memlock", "machine", "64.0 MiB",
		   "LimitMEMLOCK=infinity");
	bed_add(bed, "/proc/self/status: CapEff:\t000001ffffffffff");
	bed_examine(bed);
	bed_expect(bed, LEVEL_GOOD, "memlock", "machine", "CAP_IPC_LOCK", "");
	/* Root of a rootless container is not asked. */
	bed_add(bed, "/proc/self/uid_map:          0       1000          1");
	bed_examine(bed);
	bed_expect(bed, LEVEL_WARNING, "memlock", "machine", "64.0 MiB",
		   "--ulimit memlock=-1:-1");
	bed_add(bed, "/proc/self/uid_map:          0          0      65536");
	bed_examine(bed);
	bed_expect(bed, LEVEL_WARNING, "memlock", "machine", "64.0 MiB", "");
	bed_remove(bed, "/proc/self/limits");
	bed_examine(bed);
	bed_expect_none(bed, "memlock");
}

static void peermem_is_wanted_where_dmabuf_is_not(void **state)
{
	struct bed *bed = *state;

	bed_remove(bed, "/sys/module/nvidia_peermem");
	bed_examine(bed);
	bed_expect(bed, LEVEL_WARNING, "peermem", "machine",
		   "3 NVIDIA GPUs, nvidia_peermem not loaded",
		   "modprobe nvidia_peermem");
}

static void memfd_refused_is_fatal_without_rdma(void **state)
{
	struct bed *bed = *state;

	bed_add(bed, "/proc/sys/vm/memfd_noexec: 2");
	bed_examine(bed);
	bed_expect(bed, LEVEL_FATAL, "shm", "machine", "vm.memfd_noexec=2",
		   "sysctl vm.memfd_noexec=1");
	bed_add(bed, "/proc/sys/vm/memfd_noexec: 1");
	bed_examine(bed);
	bed_expect(bed, LEVEL_GOOD, "shm", "machine", "7.0 GiB", "");
}

static void memory_of_the_tightest_group_is_shown(void **state)
{
	struct bed *bed = *state;

	bed_add(bed, "/sys/fs/cgroup/system.slice/memory.max: 1073741824");
	bed_examine(bed);
	bed_expect(bed, LEVEL_GOOD, "shm", "machine", "control group: 1.0 GiB",
		   "");
}

/* ---------------------------------------------------------------- PCI */
static void iommu_that_translates_is_a_warning(void **state)
{
	struct bed *bed = *state;

	bed_add(bed, "/sys/kernel/iommu_groups/73/type: DMA");
	bed_examine(bed);
	bed_expect(bed, LEVEL_WARNING, "iommu", "mlx5_0", "translates",
		   "iommu=pt");
	/* A kernel that does not say: its command line does. */
	bed_remove(bed, "/sys/kernel/iommu_groups/73/type");
	bed_examine(bed);
	bed_expect(bed, LEVEL_WARNING, "iommu", "mlx5_0", "translates",
		   "iommu=pt");
	bed_add(bed, "/proc/cmdline: ro intel_iommu=on iommu=pt quiet");
	bed_examine(bed);
	bed_expect(bed, LEVEL_GOOD, "iommu", "machine", "passes through", "");
}

static void acs_needs_groups_that_differ(void **state)
{
	static const char group[] =
		"/sys/bus/pci/devices/0000:18:00.0/iommu_group";
	struct bed *bed = *state;

	bed_examine(bed);
	bed_expect(bed, LEVEL_WARNING, "acs", "machine", "1 of 3", "setpci");
	bed_remove(bed, group);
	bed_examine(bed);
	bed_expect_none(bed, "acs");
	/* That of the adapter. */
	bed_add(bed, "/sys/bus/pci/devices/0000:18:00.0/iommu_group -> "
		     "../../../../../../kernel/iommu_groups/29");
	bed_examine(bed);
	assert_int_equal(bed->facts.gpus[0].pci.iommu_group, 29);
	bed_expect_none(bed, "acs");
}

static void adapter_without_device_is_a_warning(void **state)
{
	struct bed *bed = *state;

	bed_remove(bed, "/sys/class/infiniband/mlx5_0");
	bed_examine(bed);
	bed_expect(bed, LEVEL_WARNING, "adapter", "0000:3b:00.0",
		   "driver mlx5_core", "modprobe mlx5_ib");
	bed_expect(bed, LEVEL_WARNING, "rdma", "machine", "shm only",
		   "adapter above");
}

/* Nothing leaks, and whoever asked is told. */
static void memory_that_lacks_is_told(void **state)
{
	struct bed *bed = *state;
	const struct tree tree = {bed->directory};
	unsigned int i;
	bool ok = false;

	for (i = 1; !ok && i < 1000; i++) {
		struct facts facts = {.recorded = false};
		struct findings findings = {.list = NULL};

		failing = i;
		ok = collect(&tree, NULL, &bed->environment, &facts);
		if (!ok)
			assert_null(facts.devices);
		ok = ok && judge(&facts, &findings);
		findings_free(&findings);
		facts_free(&facts);
		assert_int_equal(ok, failing > 0);
	}
	failing = 0;
	/* Devices, ports, GIDs, GPUs and findings at the least. */
	assert_true(ok && i > 20);
}

#define ROCE(test) cmocka_unit_test_setup_teardown(test, open_roce, close_bed)
#define H100(test) cmocka_unit_test_setup_teardown(test, open_h100, close_bed)
#define NONE(test) cmocka_unit_test_setup_teardown(test, open_none, close_bed)
#define PORTS(test) cmocka_unit_test_setup_teardown(test, open_ports, close_bed)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ROCE(machine_in_order_has_one_warning),
		ROCE(node_of_iwarp_is_fatal),
		ROCE(uverbs_unloaded_is_fatal),
		ROCE(uverbs_of_each_error_has_its_remedy),
		H100(one_device_of_two_denied_is_a_warning),
		PORTS(port_without_subnet_manager_is_fatal),
		PORTS(port_that_is_asked_for_and_down_is_fatal),
		ROCE(port_down_for_each_cause_has_its_remedy),
		ROCE(mtu_too_small_is_a_warning),
		H100(ipoib_missing_or_down_is_a_warning),
		ROCE(gid_of_each_kind_is_judged),
		ROCE(gid_of_absent_interface_is_not_chosen),
		ROCE(environment_that_names_nothing_is_fatal),
		ROCE(rdma_cm_absent_leaves_the_exchange),
		ROCE(memlock_is_judged_by_size_and_capability),
		H100(peermem_is_wanted_where_dmabuf_is_not),
		NONE(memfd_refused_is_fatal_without_rdma),
		PORTS(memory_of_the_tightest_group_is_shown),
		ROCE(iommu_that_translates_is_a_warning),
		H100(acs_needs_groups_that_differ),
		ROCE(adapter_without_device_is_a_warning),
		H100(memory_that_lacks_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
