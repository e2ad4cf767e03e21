/* SPDX-License-Identifier: Apache-2.0 */
/* Which rungs are tried for memory of a GPU, and which flush it gets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "rdma/verbs/ladder.h"

/*
 * What drivers say of GPUs. Ordering and flush of the A10 (its kind is the
 * A100's) and of the GB10 were read on such machines; the others are
 * assumptions from the contract of CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_* in
 * cuda.h 13.0 (two ways to the GPU: all devices, and the flush does nothing)
 * and from where NCCL flushes. docs/gpu-memory.md has the sources.
 */
struct recorded {
	const char *name;
	struct kvr_gpu_info gpu;
	enum kvr_gpu_flush flush;
};

#define GPU(major, order, host, c2c)                                           \
	{                                                                      \
		.pci_address = "0000:3b:00.0", .compute_major = (major),       \
		.dmabuf = 1, .direct_rdma = 1,                                 \
		.ordering = KVR_GPU_ORDERING_##order, .flush_by_host = (host), \
		.host_page_tables = (c2c),                                     \
	}

static const struct recorded recorded[] = {
	{"A10", GPU(8, NONE, 1, 0), KVR_GPU_FLUSH_READ},
	{"A100", GPU(8, NONE, 1, 0), KVR_GPU_FLUSH_READ},
	{"A100, as newer drivers", GPU(8, OWNER, 1, 0), KVR_GPU_FLUSH_READ},
	{"H100 PCIe", GPU(9, OWNER, 1, 0), KVR_GPU_FLUSH_NONE},
	{"H100 SXM", GPU(9, OWNER, 1, 0), KVR_GPU_FLUSH_NONE},
	{"H100, no promise", GPU(9, NONE, 1, 0), KVR_GPU_FLUSH_READ},
	{"GH200", GPU(9, DEVICES, 1, 1), KVR_GPU_FLUSH_READ},
	{"B200", GPU(10, OWNER, 1, 0), KVR_GPU_FLUSH_NONE},
	{"GB200", GPU(10, DEVICES, 1, 1), KVR_GPU_FLUSH_READ},
	{"GB10", GPU(12, OWNER, 1, 1), KVR_GPU_FLUSH_READ},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct verbs_flush_facts flush_facts(const struct kvr_gpu_info *gpu)
{
	return (struct verbs_flush_facts){
		.rung = VERBS_RUNG_DMABUF, .gpu = *gpu, .can_read = true};
}

static void flush_of_recorded_gpus_is_as_the_table_says(void **state)
{
	enum kvr_gpu_flush flush;
	const char *why;

	(void)state;
	for (size_t i = 0; i < COUNT(recorded); i++) {
		struct verbs_flush_facts f = flush_facts(&recorded[i].gpu);

		assert_int_equal(verbs_flush_choose(&f, &flush, &why), KVR_OK);
		if (flush != recorded[i].flush)
			fail_msg("%s: %d, %s", recorded[i].name, flush, why);
		f.rung = VERBS_RUNG_PEERMEM;
		assert_int_equal(verbs_flush_choose(&f, &flush, &why), KVR_OK);
		assert_int_equal(flush, recorded[i].flush);
	}
}

static void flush_of_host_memory_is_none(void **state)
{
	struct verbs_flush_facts f = flush_facts(&recorded[0].gpu);
	enum kvr_gpu_flush flush;
	const char *why;

	(void)state;
	f.rung = VERBS_RUNG_HOST;
	/* Also where one is asked for: there is nothing to flush. */
	f.wanted = KVR_GPU_FLUSH_READ;
	f.can_read = false;
	assert_int_equal(verbs_flush_choose(&f, &flush, &why), KVR_OK);
	assert_int_equal(flush, KVR_GPU_FLUSH_NONE);
}

static void flush_wanted_is_taken_or_refused(void **state)
{
	static const struct {
		enum kvr_gpu_flush wanted;
		bool can_read, by_host;
		enum kvr_status status;
	} cases[] = {
		{KVR_GPU_FLUSH_NONE, false, false, KVR_OK},
		{KVR_GPU_FLUSH_READ, true, false, KVR_OK},
		{KVR_GPU_FLUSH_READ, false, true, KVR_ERR_UNSUPPORTED},
		{KVR_GPU_FLUSH_HOST, false, true, KVR_OK},
		{KVR_GPU_FLUSH_HOST, true, false, KVR_ERR_UNSUPPORTED},
	};
	const char *why;

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct verbs_flush_facts f = flush_facts(&recorded[0].gpu);
		enum kvr_gpu_flush flush = KVR_GPU_FLUSH_AUTO;

		f.wanted = cases[i].wanted;
		f.can_read = cases[i].can_read;
		f.gpu.flush_by_host = cases[i].by_host;
		assert_int_equal(verbs_flush_choose(&f, &flush, &why),
				 cases[i].status);
		assert_int_equal(flush, cases[i].status == KVR_OK
						? cases[i].wanted
						: KVR_GPU_FLUSH_AUTO);
	}
}

/* cuFlush where the driver claims order is a no-op: it must not be taken. */
static void flush_without_reads_is_the_drivers_or_refused(void **state)
{
	enum kvr_gpu_flush flush;
	const char *why;

	(void)state;
	for (size_t i = 0; i < COUNT(recorded); i++) {
		struct verbs_flush_facts f = flush_facts(&recorded[i].gpu);
		enum kvr_status wanted = KVR_OK;
		enum kvr_gpu_flush taken = recorded[i].flush;

		f.can_read = false;
		if (taken == KVR_GPU_FLUSH_READ) {
			taken = KVR_GPU_FLUSH_HOST;
			if (f.gpu.ordering != KVR_GPU_ORDERING_NONE)
				wanted = KVR_ERR_UNSUPPORTED;
		}
		assert_int_equal(verbs_flush_choose(&f, &flush, &why), wanted);
		if (wanted == KVR_OK)
			assert_int_equal(flush, taken);
		f.gpu.flush_by_host = 0;
		if (recorded[i].flush == KVR_GPU_FLUSH_READ)
			assert_int_equal(verbs_flush_choose(&f, &flush, &why),
					 KVR_ERR_UNSUPPORTED);
	}
}

/* -------------------------------------------------------------- ladder */

static struct verbs_ladder_facts all_works(void)
{
	return (struct verbs_ladder_facts){
		.pointer =
			{
				.kind = KVR_POINTER_DEVICE,
				.direct_rdma = true,
			},
		.gpu = GPU(8, NONE, 1, 0),
		.nic_dmabuf = 1,
		.peermem = true,
	};
}

/* "d" dma-buf, "p" dma-buf by PCIe, "m" nvidia_peermem. */
static void assert_plan(const struct verbs_ladder_facts *facts,
			const char *wanted, const char *skipped)
{
	struct verbs_ladder ladder;
	char got[VERBS_STEPS_MAX + 1] = "";

	verbs_ladder_plan(facts, &ladder);
	for (uint32_t i = 0; i < ladder.count; i++)
		got[i] = ladder.step[i].pcie ? 'p' : "hdm"[ladder.step[i].rung];
	assert_string_equal(got, wanted);
	if (!strstr(ladder.skipped, skipped))
		fail_msg("'%s' lacks '%s'", ladder.skipped, skipped);
}

static void ladder_where_all_works_tries_dmabuf_then_peermem(void **state)
{
	struct verbs_ladder_facts f = all_works();

	(void)state;
	assert_plan(&f, "dm", "");
	/* What a card's driver does not say is tried. */
	f.nic_dmabuf = -1;
	assert_plan(&f, "dm", "");
}

static void ladder_of_host_memory_is_plain(void **state)
{
	struct verbs_ladder_facts f = all_works();

	(void)state;
	f.pointer.kind = KVR_POINTER_HOST;
	assert_plan(&f, "h", "");
	f.pointer.kind = KVR_POINTER_PINNED;
	assert_plan(&f, "h", "");
}

static void ladder_leaves_out_what_cannot_work_and_says_why(void **state)
{
	struct verbs_ladder_facts f = all_works();

	(void)state;
	f.gpu.dmabuf = 0;
	assert_plan(&f, "m", "open kernel modules");
	f = all_works();
	f.nic_dmabuf = 0;
	assert_plan(&f, "m", "a card's driver maps none");
	f = all_works();
	f.peermem = false;
	assert_plan(&f, "d", "modprobe nvidia-peermem");
	f = all_works();
	f.gpu.direct_rdma = 0;
	assert_plan(&f, "d", "does not do GPUDirect RDMA");
	f = all_works();
	f.pointer.direct_rdma = false;
	assert_plan(&f, "d", "not for it");
	f.pointer.vmm = true;
	assert_plan(&f, "d", "gpuDirectRDMACapable");
	f = all_works();
	f.pointer.kind = KVR_POINTER_MANAGED;
	assert_plan(&f, "", "dma-buf: the memory migrates; nvidia_peermem");
}

/* The kernel module knows no memory of cuMemCreate that did not ask. */
static void ladder_of_vmm_memory_depends_on_its_flag(void **state)
{
	struct verbs_ladder_facts f = all_works();

	(void)state;
	f.pointer.vmm = true;
	assert_plan(&f, "dm", "");
	f.pointer.direct_rdma = false;
	f.nic_dmabuf = 0;
	assert_plan(&f, "", "gpuDirectRDMACapable");
}

static void ladder_way_asked_for_is_the_only_one(void **state)
{
	struct verbs_ladder_facts f = all_works();

	(void)state;
	f.wanted = KVR_GPU_WAY_DMABUF;
	assert_plan(&f, "d", "nvidia_peermem: another way is asked for");
	f.wanted = KVR_GPU_WAY_PEERMEM;
	assert_plan(&f, "m", "dma-buf: another way");
	/* And may be none. */
	f.wanted = KVR_GPU_WAY_DMABUF;
	f.gpu.dmabuf = 0;
	assert_plan(&f, "", "open kernel modules");
}

static void ladder_by_pcie_is_a_choice_of_three(void **state)
{
	struct verbs_ladder_facts f = all_works();

	(void)state;
	/* As is best: only beside C2C, and below one switch. */
	f.same_switch = true;
	assert_plan(&f, "dm", "");
	f.gpu.host_page_tables = 1;
	assert_plan(&f, "pdm", "");
	f.same_switch = false;
	assert_plan(&f, "dm", "");
	/* Asked for, with no other to fall back to. */
	f.pcie = 1;
	assert_plan(&f, "pm", "");
	f.same_switch = true;
	f.pcie = -1;
	assert_plan(&f, "dm", "");
}

static void path_is_the_first_rung_and_its_flush(void **state)
{
	struct verbs_ladder_facts f = all_works();
	struct kvr_gpu_path path;

	(void)state;
	kvr_gpu_path_init(&path);
	verbs_path_of(&f, KVR_GPU_FLUSH_AUTO, true, &path);
	assert_int_equal(path.way, KVR_GPU_WAY_DMABUF);
	assert_int_equal(path.flush, KVR_GPU_FLUSH_READ);
	assert_string_equal(path.flush_why, "GPUs before Hopper need it");
	assert_string_equal(path.why, "");
	f.nic_dmabuf = 0;
	f.gpu.ordering = KVR_GPU_ORDERING_OWNER;
	verbs_path_of(&f, KVR_GPU_FLUSH_AUTO, false, &path);
	assert_int_equal(path.way, KVR_GPU_WAY_PEERMEM);
	assert_int_equal(path.flush, KVR_GPU_FLUSH_AUTO);
	assert_non_null(strstr(path.flush_why, "a card does no reads"));
	assert_string_equal(path.why, "dma-buf: a card's driver maps none");
	f.peermem = false;
	verbs_path_of(&f, KVR_GPU_FLUSH_AUTO, true, &path);
	assert_int_equal(path.way, KVR_GPU_WAY_AUTO);
	f = all_works();
	f.gpu.host_page_tables = 1;
	f.same_switch = true;
	verbs_path_of(&f, KVR_GPU_FLUSH_NONE, true, &path);
	assert_true(path.by_pcie);
	assert_int_equal(path.flush, KVR_GPU_FLUSH_NONE);
	assert_string_equal(path.flush_why, "asked for");
}

static void pages_hold_the_range_and_nothing_more(void **state)
{
	static const struct {
		uint64_t address;
		size_t bytes, page;
		struct verbs_pages pages;
	} cases[] = {
		{0x10000, 0x1000, 4096, {0x10000, 0x1000, 0}},
		{0x10000, 1, 4096, {0x10000, 0x1000, 0}},
		{0x10200, 0xe00, 4096, {0x10000, 0x1000, 0x200}},
		{0x10200, 0xe01, 4096, {0x10000, 0x2000, 0x200}},
		{0x10fff, 2, 4096, {0x10000, 0x2000, 0xfff}},
		{0x7f0000010000, 0x1000, 65536, {0x7f0000010000, 0x10000, 0}},
		{0x7f0000011000,
		 0xf001,
		 65536,
		 {0x7f0000010000, 0x20000, 0x1000}},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct verbs_pages p = verbs_pages_of(
			cases[i].address, cases[i].bytes, cases[i].page);

		assert_int_equal(p.start, cases[i].pages.start);
		assert_int_equal(p.bytes, cases[i].pages.bytes);
		assert_int_equal(p.offset, cases[i].pages.offset);
	}
}

static void hint_names_bar1_where_it_is_in_the_way(void **state)
{
	struct verbs_step step = {VERBS_RUNG_DMABUF, false};
	struct verbs_ladder_facts f = all_works();
	char text[VERBS_WHY_BYTES];

	(void)state;
	verbs_ladder_hint(&step, EINVAL, (size_t)512 << 20, 256 << 20, &f.gpu,
			  text, sizeof(text));
	assert_non_null(strstr(text, "512 MiB do not fit into BAR1 of "
				     "0000:3b:00.0, 256 MiB"));
	verbs_ladder_hint(&step, ENOMEM, 1 << 20, 256 << 20, &f.gpu, text,
			  sizeof(text));
	assert_non_null(strstr(text, "BAR1 of 0000:3b:00.0 may be used up"));
	verbs_ladder_hint(&step, EFAULT, 1 << 20, 0, &f.gpu, text,
			  sizeof(text));
	assert_non_null(strstr(text, "may be used up"));
	verbs_ladder_hint(&step, EINVAL, 1 << 20, 256 << 20, &f.gpu, text,
			  sizeof(text));
	assert_string_equal(text, "");
	/* By C2C it is not used, but by PCIe it is. */
	f.gpu.host_page_tables = 1;
	verbs_ladder_hint(&step, ENOMEM, 1 << 20, 1 << 10, &f.gpu, text,
			  sizeof(text));
	assert_string_equal(text, "");
	step.pcie = true;
	verbs_ladder_hint(&step, ENOMEM, 1 << 20, 256 << 20, &f.gpu, text,
			  sizeof(text));
	assert_non_null(strstr(text, "may be used up"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(flush_of_recorded_gpus_is_as_the_table_says),
		cmocka_unit_test(flush_of_host_memory_is_none),
		cmocka_unit_test(flush_wanted_is_taken_or_refused),
		cmocka_unit_test(flush_without_reads_is_the_drivers_or_refused),
		cmocka_unit_test(
			ladder_where_all_works_tries_dmabuf_then_peermem),
		cmocka_unit_test(ladder_of_host_memory_is_plain),
		cmocka_unit_test(
			ladder_leaves_out_what_cannot_work_and_says_why),
		cmocka_unit_test(ladder_of_vmm_memory_depends_on_its_flag),
		cmocka_unit_test(ladder_way_asked_for_is_the_only_one),
		cmocka_unit_test(ladder_by_pcie_is_a_choice_of_three),
		cmocka_unit_test(path_is_the_first_rung_and_its_flush),
		cmocka_unit_test(pages_hold_the_range_and_nothing_more),
		cmocka_unit_test(hint_names_bar1_where_it_is_in_the_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
