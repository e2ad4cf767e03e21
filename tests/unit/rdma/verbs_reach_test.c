/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory of the host and of a GPU registered on a played card: which rung is
 * taken, what the library is asked, and that nothing stays behind whichever
 * call fails.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rdma/verbs/loopback.h"
#include "rdma/verbs/reach.h"
#include "tests/unit/rdma/fake_verbs.h"

#define BYTES ((size_t)1 << 20)

static struct verbs_transport t;
static char sysfs[] = "/tmp/kvr-reach-XXXXXX";
static uint8_t *gpu; /* device memory */
static unsigned files;

/* ------------------------------------------------------- a played sysfs */

static void make(const char *format, const char *name)
{
	char command[3 * PATH_MAX], path[PATH_MAX];

	snprintf(path, sizeof(path), format, sysfs);
	snprintf(command, sizeof(command), "mkdir -p %s && : >%s/%s", path,
		 path, name);
	assert_int_equal(system(command), 0);
}

static void load_peermem(void)
{
	make("%s/module/nvidia_peermem", "version");
}

static void set_bar1(const char *lines)
{
	char path[PATH_MAX];
	FILE *file;

	make("%s/bus/pci/devices/fake:00:00.0", "resource");
	snprintf(path, sizeof(path), "%s/bus/pci/devices/fake:00:00.0/resource",
		 sysfs);
	file = fopen(path, "w");
	assert_non_null(file);
	assert_true(fputs(lines, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static void empty_sysfs(void)
{
	char command[PATH_MAX];

	snprintf(command, sizeof(command), "rm -rf %s/*", sysfs);
	assert_int_equal(system(command), 0);
}

static int set_up(void **state)
{
	(void)state;
	fake_reset(&t, 2);
	t.sysfs = sysfs;
	gpu = fake_device_memory(BYTES);
	files = fake_open_files();
	return 0;
}

/* Nothing is left but the device memory and the rails' domains. */
static void assert_clean(void)
{
	assert_int_equal(fake.mrs, 0);
	assert_int_equal(fake.pds, t.rails);
	assert_int_equal(fake.cqs, 0);
	assert_int_equal(fake.qps, 0);
	assert_int_equal(fake.allocations, 1);
	assert_int_equal(fake_open_files(), files);
	assert_int_equal(fake.bad, 0);
}

static int tear_down(void **state)
{
	(void)state;
	assert_clean();
	fake_device_free(gpu, BYTES);
	for (uint32_t rail = 0; rail < t.rails; rail++)
		ibv_dealloc_pd(t.device[rail].pd_out);
	empty_sysfs();
	return 0;
}

static enum kvr_status reach(void *address, size_t bytes,
			     struct verbs_memory **out)
{
	return verbs_memory_register(&t.base, address, bytes, (void **)out);
}

static void assert_rung(enum verbs_rung rung)
{
	struct verbs_memory *memory = NULL;

	assert_int_equal(reach(gpu, BYTES, &memory), KVR_OK);
	assert_int_equal(memory->step.rung, rung);
	verbs_memory_deregister(&t.base, memory);
}

static void assert_logged(const char *text)
{
	if (!strstr(fake_log(), text))
		fail_msg("the log lacks '%s':\n%s", text, fake_log());
}

/* --------------------------------------------------------------- rungs */

static void reach_of_host_memory_asks_nothing_of_the_gpu(void **state)
{
	static uint8_t host[4096];
	struct verbs_memory *memory = NULL;

	(void)state;
	assert_int_equal(reach(host, sizeof(host), &memory), KVR_OK);
	assert_int_equal(memory->step.rung, VERBS_RUNG_HOST);
	assert_int_equal(fake.mrs, 2);
	assert_int_equal(fake.calls[FAKE_DEVICE_INFO], 0);
	assert_int_equal(fake.exports, 0);
	verbs_memory_deregister(&t.base, memory);
	/* And where there is no seam at all. */
	t.gpu.present = NULL;
	assert_int_equal(reach(host, sizeof(host), &memory), KVR_OK);
	assert_int_equal(memory->step.rung, VERBS_RUNG_HOST);
	verbs_memory_deregister(&t.base, memory);
	assert_string_equal(fake_log(), "");
}

static void reach_where_all_works_is_by_dmabuf_once_exported(void **state)
{
	struct verbs_memory *memory = NULL;

	(void)state;
	load_peermem();
	assert_int_equal(reach(gpu, BYTES, &memory), KVR_OK);
	assert_int_equal(memory->step.rung, VERBS_RUNG_DMABUF);
	/* One for both rails, and one for each proof. */
	assert_int_equal(fake.exports, 3);
	assert_int_equal(fake.dmabuf_mrs, 4);
	assert_int_equal(fake.plain_mrs, 0);
	assert_int_equal(fake.mrs, 2);
	assert_int_equal(fake.calls[FAKE_ORDER], 1);
	assert_int_equal(fake_open_files(), files);
	assert_logged("2 verbs: memory to send, 1024 KiB on GPU 0 (NVIDIA "
		      "A100): dma-buf\n");
	verbs_memory_deregister(&t.base, memory);
}

/* Not at its allocation's start, and not whole pages. */
static void reach_of_a_part_maps_that_part_alone(void **state)
{
	struct verbs_memory *memory = NULL;

	(void)state;
	assert_int_equal(reach(gpu + 4096 + 512, 10000, &memory), KVR_OK);
	assert_int_equal(memory->step.rung, VERBS_RUNG_DMABUF);
	assert_int_equal(fake.longest_mr, 10000);
	verbs_memory_deregister(&t.base, memory);
}

static void reach_second_time_needs_no_proof(void **state)
{
	(void)state;
	assert_rung(VERBS_RUNG_DMABUF);
	assert_int_equal(fake.calls[FAKE_ALLOCATE], 2);
	assert_rung(VERBS_RUNG_DMABUF);
	assert_int_equal(fake.calls[FAKE_ALLOCATE], 2);
}

static void reach_where_dmabuf_fails_is_by_peermem_and_says_why(void **state)
{
	(void)state;
	load_peermem();
	fake.fail = FAKE_REG_DMABUF;
	fake.nth = 2; /* on the second rail: the first is undone */
	assert_rung(VERBS_RUNG_PEERMEM);
	assert_logged("nvidia_peermem; not dma-buf: ibv_reg_dmabuf_mr on "
		      "fake_0: Invalid argument\n");
}

static void reach_where_the_driver_exports_none_is_by_peermem(void **state)
{
	(void)state;
	load_peermem();
	fake.fail = FAKE_EXPORT;
	fake.nth = 1;
	assert_rung(VERBS_RUNG_PEERMEM);
	assert_logged("not dma-buf: no export");
}

static void reach_where_a_card_maps_none_does_not_export(void **state)
{
	(void)state;
	load_peermem();
	fake.nic_dmabuf = 0;
	assert_rung(VERBS_RUNG_PEERMEM);
	assert_int_equal(fake.exports, 0);
	assert_logged("a card's driver maps none");
}

static void reach_where_none_does_is_refused_and_names_each(void **state)
{
	struct verbs_memory *memory = NULL;

	(void)state;
	fake.nic_dmabuf = 0;
	assert_int_equal(reach(gpu, BYTES, &memory), KVR_ERR_UNSUPPORTED);
	assert_null(memory);
	assert_logged("1 verbs: memory to send, 1024 KiB on GPU 0 (NVIDIA "
		      "A100): no card reaches it; not dma-buf: a card's driver "
		      "maps none; nvidia_peermem: not loaded");
}

static void reach_of_managed_memory_is_refused(void **state)
{
	struct verbs_memory *memory = NULL;

	(void)state;
	load_peermem();
	fake.pointer.kind = KVR_POINTER_MANAGED;
	assert_int_equal(reach(gpu, BYTES, &memory), KVR_ERR_UNSUPPORTED);
	assert_int_equal(fake.exports, 0);
	assert_logged("the memory migrates");
}

/* Registered, and yet no byte arrives: an IOMMU or ACS is in the way. */
static void reach_where_writes_do_not_arrive_is_refused_by_proof(void **state)
{
	struct verbs_memory *memory = NULL;

	(void)state;
	load_peermem();
	fake.writes_arrive = false;
	assert_int_equal(reach(gpu, BYTES, &memory), KVR_ERR_UNSUPPORTED);
	assert_logged("dma-buf: fake_0: a read of the GPU does not give what "
		      "was written: turn off ACS");
	assert_logged("nvidia_peermem: fake_0: a read");
}

static void reach_where_writes_fail_tells_of_the_iommu(void **state)
{
	struct verbs_memory *memory = NULL;

	(void)state;
	fake.fail = FAKE_POLL_CQ;
	fake.nth = 1;
	assert_int_equal(reach(gpu, BYTES, &memory), KVR_ERR_UNSUPPORTED);
	assert_logged("see dmesg for faults of the IOMMU");
}

static void reach_with_bar1_too_small_names_both_sizes(void **state)
{
	struct verbs_memory *memory = NULL;

	(void)state;
	set_bar1("0x00000000de000000 0x00000000deffffff 0x0000000000040200\n"
		 "0x0000000000000000 0x000000000003ffff 0x000000000014220c\n");
	fake.fail = FAKE_REG_DMABUF;
	fake.nth = 1;
	fake.fail_errno = ENOMEM;
	assert_int_equal(reach(gpu, BYTES, &memory), KVR_ERR_UNSUPPORTED);
	assert_logged("1 MiB do not fit into BAR1 of fake:00:00.0, 0 MiB");
}

static void reach_with_bar1_used_up_names_it(void **state)
{
	struct verbs_memory *memory = NULL;

	(void)state;
	set_bar1("0x00000000de000000 0x00000000deffffff 0x0000000000040200\n"
		 "0x0000000000000000 0x000000000fffffff 0x000000000014220c\n");
	fake.fail = FAKE_REG_DMABUF;
	fake.nth = 1;
	fake.fail_errno = ENOMEM;
	assert_int_equal(reach(gpu, BYTES, &memory), KVR_ERR_UNSUPPORTED);
	assert_logged("Cannot allocate memory; BAR1 of fake:00:00.0 may be "
		      "used up");
}

static void reach_beside_c2c_asks_for_pcie_and_falls_back(void **state)
{
	(void)state;
	t.gpu.pcie = 1;
	assert_int_equal(fake.pcie_exports, 0);
	fake.pcie_flag = true;
	assert_rung(VERBS_RUNG_DMABUF);
	assert_int_equal(fake.pcie_exports, 3);
	assert_logged("dma-buf by PCIe");
}

static void reach_by_pcie_where_the_driver_cannot_is_not_by_else(void **state)
{
	struct verbs_memory *memory = NULL;

	(void)state;
	t.gpu.pcie = 1;
	assert_int_equal(reach(gpu, BYTES, &memory), KVR_ERR_UNSUPPORTED);
	assert_logged("dma-buf by PCIe: no export");
}

static void reach_without_order_of_copies_says_so_and_goes_on(void **state)
{
	(void)state;
	fake.fail = FAKE_ORDER;
	fake.nth = 1;
	assert_rung(VERBS_RUNG_DMABUF);
	assert_logged("not for pools: wait for copies into it");
}

/* -------------------------------------------------------------- unwind */

/* Every call fails once, at each of its turns; nothing stays. */
static void reach_with_any_call_failing_leaves_nothing(void **state)
{
	(void)state;
	for (int call = FAKE_ALLOC_PD; call < FAKE_CALLS; call++) {
		unsigned nth = 0, made;

		do {
			struct verbs_memory *memory = NULL;
			enum kvr_status status;

			memset(fake.calls, 0, sizeof(fake.calls));
			t.proof_count = 0;
			fake.fail = (enum fake_call)call;
			fake.nth = ++nth;
			status = reach(gpu, BYTES, &memory);
			made = fake.calls[call];
			assert_int_equal(status == KVR_OK, memory != NULL);
			/* Ordering copies, and the probe, are no conditions. */
			if (status == KVR_OK && made >= nth)
				assert_true(call == FAKE_ORDER ||
					    call == FAKE_ALLOC_PD);
			verbs_memory_deregister(&t.base, memory);
			assert_clean();
		} while (made >= nth);
		/* Each is called, or the test tests nothing. */
		assert_true(nth > 1);
	}
}

/* ---------------------------------------------------------------- parts */

static void reach_beyond_a_cards_most_is_in_parts(void **state)
{
	struct verbs_memory *memory = NULL;
	size_t left;

	(void)state;
	t.device[1].attr.max_mr_size = 3 * 4096 + 5;
	assert_int_equal(reach(gpu + 100, 40000, &memory), KVR_OK);
	assert_int_equal(memory->parts, 4);
	assert_int_equal(fake.mrs, 8);
	assert_int_equal(fake.longest_mr, 3 * 4096);
	for (size_t i = 0; i < 40000; i++) {
		const uint64_t address = (uintptr_t)gpu + 100 + i;
		const struct ibv_mr *mr =
			verbs_memory_at(memory, i % 2, address, &left);
		const uint64_t end = (uintptr_t)mr->addr + mr->length;

		assert_true(address >= (uintptr_t)mr->addr && address < end);
		/* The last part is shorter: nobody asks beyond its bytes. */
		if (i < 3 * 3 * 4096)
			assert_int_equal(left, end - address);
	}
	verbs_memory_deregister(&t.base, memory);
}

/* ------------------------------------------------------------- loopback */

static void loopback_read_is_done_when_it_is_back(void **state)
{
	const struct verbs_step step = {VERBS_RUNG_DMABUF, false};
	struct verbs_loopback *l = NULL;
	char reason[VERBS_WHY_BYTES];

	(void)state;
	assert_int_equal(verbs_loopback_open(&t.device[0], fake_present(), gpu,
					     &step, &l, reason, sizeof(reason)),
			 KVR_OK);
	fake.polls_until_done = 2;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(verbs_loopback_read(l), KVR_OK);
		assert_int_equal(verbs_loopback_poll(l), KVR_ERR_AGAIN);
		assert_int_equal(verbs_loopback_poll(l), KVR_ERR_AGAIN);
		assert_int_equal(verbs_loopback_poll(l), KVR_OK);
	}
	/* A read that may pass writes would prove nothing. */
	assert_int_equal(fake.access & IBV_ACCESS_RELAXED_ORDERING, 0);
	fake.fail = FAKE_POLL_CQ;
	fake.nth = fake.calls[FAKE_POLL_CQ] + 1;
	fake.polls_until_done = 0;
	assert_int_equal(verbs_loopback_read(l), KVR_OK);
	assert_int_equal(verbs_loopback_poll(l), KVR_ERR_DEVICE);
	verbs_loopback_close(l);
}

/* ---------------------------------------------------------------- sysfs */

static void place_reads_sysfs_as_the_kernel_writes_it(void **state)
{
	static const char *const under[] = {
		/* a port of its own each, below one switch, one with it */
		"pci0000:00/0000:00:01.0/0000:01:00.0/0000:02:00.0/gpu",
		"pci0000:00/0000:00:01.0/0000:01:00.0/0000:02:01.0/near",
		"pci0000:00/0000:00:02.0/0000:05:00.0/far",
		"pci0000:80/0000:80:01.0/0000:81:00.0/other",
	};
	char command[4 * PATH_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(under) / sizeof(under[0]); i++) {
		const char *name = strrchr(under[i], '/') + 1;

		snprintf(command, sizeof(command),
			 "mkdir -p %s/devices/%s %s/class/infiniband/%s "
			 "%s/bus/pci/devices && "
			 "ln -sf %s/devices/%s %s/class/infiniband/%s/device "
			 "&& ln -sfn %s/devices/%s %s/bus/pci/devices/%s",
			 sysfs, under[i], sysfs, name, sysfs, sysfs, under[i],
			 sysfs, name, sysfs, under[i], sysfs, name);
		assert_int_equal(system(command), 0);
	}
	assert_true(verbs_same_switch(sysfs, "near", "gpu"));
	assert_false(verbs_same_switch(sysfs, "far", "gpu"));
	assert_false(verbs_same_switch(sysfs, "other", "gpu"));
	assert_false(verbs_same_switch(sysfs, "missing", "gpu"));
	assert_false(verbs_peermem_loaded(sysfs));
	load_peermem();
	assert_true(verbs_peermem_loaded(sysfs));
	assert_int_equal(verbs_bar1_bytes(sysfs, "fake:00:00.0"), 0);
	set_bar1("0x00000000de000000 0x00000000deffffff 0x0000000000040200\n"
		 "0x0000007000000000 0x0000007fffffffff 0x000000000014220c\n");
	assert_int_equal(verbs_bar1_bytes(sysfs, "fake:00:00.0"),
			 (uint64_t)64 << 30);
}

static int make_sysfs(void **state)
{
	(void)state;
	return mkdtemp(sysfs) ? 0 : -1;
}

static int remove_sysfs(void **state)
{
	(void)state;
	return rmdir(sysfs);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(reach_of_host_memory_asks_nothing_of_the_gpu),
		TEST(reach_where_all_works_is_by_dmabuf_once_exported),
		TEST(reach_of_a_part_maps_that_part_alone),
		TEST(reach_second_time_needs_no_proof),
		TEST(reach_where_dmabuf_fails_is_by_peermem_and_says_why),
		TEST(reach_where_the_driver_exports_none_is_by_peermem),
		TEST(reach_where_a_card_maps_none_does_not_export),
		TEST(reach_where_none_does_is_refused_and_names_each),
		TEST(reach_of_managed_memory_is_refused),
		TEST(reach_where_writes_do_not_arrive_is_refused_by_proof),
		TEST(reach_where_writes_fail_tells_of_the_iommu),
		TEST(reach_with_bar1_too_small_names_both_sizes),
		TEST(reach_with_bar1_used_up_names_it),
		TEST(reach_beside_c2c_asks_for_pcie_and_falls_back),
		TEST(reach_by_pcie_where_the_driver_cannot_is_not_by_else),
		TEST(reach_without_order_of_copies_says_so_and_goes_on),
		TEST(reach_with_any_call_failing_leaves_nothing),
		TEST(reach_beyond_a_cards_most_is_in_parts),
		TEST(loopback_read_is_done_when_it_is_back),
		TEST(place_reads_sysfs_as_the_kernel_writes_it),
	};

	return cmocka_run_group_tests(tests, make_sysfs, remove_sysfs);
}
