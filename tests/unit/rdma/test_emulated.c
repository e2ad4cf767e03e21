/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compute/cuda/memory.c on an emulated GPU, and landing slots there that a
 * played card reaches by the dma-bufs which it exports.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <cuda_runtime_api.h>
#include <string.h>
#include <unistd.h>

#include "compute/cuda/device.h"
#include "compute/cuda/driver.h"
#include "compute/cuda/memory.h"
#include "rdma/verbs/endpoint.h"
#include "tests/emulated_cuda/emulated.h"
#include "tests/unit/rdma/fake_verbs.h"

#define PAGE ((size_t)4096)
#define GPUS 2

static const struct kvr_accelerator_memory_ops *const ops = &kvr_cuda_memory;
static char reason[256];

static int set_up(void **state)
{
	const char *missing;

	(void)state;
	/* Or this would be the real library, and need a GPU. */
	assert_string_equal(kvr_emulated_cuda_marker, "emulated CUDA");
	kvr_emulated_reset();
	kvr_emulated_set_device_count(GPUS);
	for (int gpu = 0; gpu < GPUS; gpu++) {
		kvr_emulated_set_attribute(
			gpu, CU_DEVICE_ATTRIBUTE_DMA_BUF_SUPPORTED, 1);
		kvr_emulated_set_attribute(
			gpu, CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_SUPPORTED, 1);
	}
	assert_int_equal(kvr_cuda_driver_load(&missing), cudaSuccess);
	assert_int_equal(cudaSetDevice(0), cudaSuccess);
	reason[0] = '\0';
	return 0;
}

static int tear_down(void **state)
{
	int device = -1;

	(void)state;
	assert_int_equal(kvr_emulated_allocations(), 0);
	assert_int_equal(cudaGetDevice(&device), cudaSuccess);
	assert_int_equal(device, 0);
	return 0;
}

static uint8_t *allocate(uint32_t gpu, size_t bytes)
{
	void *memory = NULL;

	assert_int_equal(
		ops->allocate(gpu, bytes, &memory, reason, sizeof(reason)),
		KVR_OK);
	return memory;
}

static uint8_t *page_in(uint8_t *memory)
{
	return (uint8_t *)(((uintptr_t)memory + PAGE - 1) & ~(PAGE - 1));
}

static void memory_is_of_the_gpu_asked_for(void **state)
{
	(void)state;
	for (uint32_t gpu = 0; gpu < GPUS; gpu++) {
		uint8_t *memory = allocate(gpu, 1000);
		struct kvr_pointer_info info;

		assert_int_equal(kvr_cuda_pointer_query(memory + 500, &info),
				 KVR_OK);
		assert_int_equal(info.kind, KVR_POINTER_DEVICE);
		assert_int_equal(info.device, gpu);
		assert_int_equal(info.base, (uintptr_t)memory);
		ops->release(gpu, memory);
	}
}

static void memory_exported_is_the_range_itself(void **state)
{
	uint8_t *memory = allocate(0, 4 * PAGE), *first = page_in(memory);
	void *base = NULL;
	size_t bytes = 0;
	int fd = -1;

	(void)state;
	assert_int_equal(ops->export_dmabuf(first + PAGE, PAGE, false, &fd,
					    reason, sizeof(reason)),
			 KVR_OK);
	assert_true(kvr_emulated_dmabuf(fd, &base, &bytes));
	assert_ptr_equal(base, first + PAGE);
	assert_int_equal(bytes, PAGE);
	assert_int_equal(close(fd), 0);
	ops->release(0, memory);
}

static void memory_not_exported_is_unsupported_and_names_the_call(void **state)
{
	uint8_t *memory = allocate(0, 2 * PAGE);
	int fd = -7;

	(void)state;
	kvr_emulated_set_attribute(0, CU_DEVICE_ATTRIBUTE_DMA_BUF_SUPPORTED, 0);
	assert_int_equal(ops->export_dmabuf(page_in(memory), PAGE, true, &fd,
					    reason, sizeof(reason)),
			 KVR_ERR_UNSUPPORTED);
	assert_non_null(strstr(reason, "cuMemGetHandleForAddressRange by "
				       "PCIe: "));
	assert_int_equal(fd, -7);
	/* The program's own errors are not disturbed. */
	assert_int_equal(cudaGetLastError(), cudaSuccess);
	ops->release(0, memory);
}

static void memory_orders_copies_by_its_attribute(void **state)
{
	uint8_t *memory = allocate(1, 100);
	unsigned on = 0;
	CUpointer_attribute which = CU_POINTER_ATTRIBUTE_SYNC_MEMOPS;
	void *data = &on;

	(void)state;
	assert_int_equal(ops->order_copies(memory, reason, sizeof(reason)),
			 KVR_OK);
	assert_int_equal(kvr_cuda_driver.pointer_get_attributes(
				 1, &which, &data, (CUdeviceptr)memory),
			 CUDA_SUCCESS);
	assert_int_equal(on, 1);
	assert_int_equal(ops->order_copies(&on, reason, sizeof(reason)),
			 KVR_ERR_UNSUPPORTED);
	assert_non_null(strstr(reason, "SYNC_MEMOPS"));
	ops->release(1, memory);
}

static void memory_copied_there_and_back_is_the_same(void **state)
{
	uint8_t in[777], out[777], *memory = allocate(1, sizeof(in));

	(void)state;
	for (size_t i = 0; i < sizeof(in); i++)
		in[i] = (uint8_t)(i * 3);
	memset(out, 0, sizeof(out));
	assert_int_equal(
		ops->copy(1, memory, in, sizeof(in), reason, sizeof(reason)),
		KVR_OK);
	assert_int_equal(
		ops->copy(1, out, memory, sizeof(in), reason, sizeof(reason)),
		KVR_OK);
	assert_memory_equal(in, out, sizeof(in));
	assert_int_equal(ops->flush(1, reason, sizeof(reason)), KVR_OK);
	ops->release(1, memory);
}

/* Whichever call fails: its name is told, the device is as it was. */
static void memory_any_call_failing_is_named_and_undone(void **state)
{
	uint8_t *memory = allocate(1, 64), word[8] = {0};
	enum kvr_status status;
	void *other;

	for (int op = 0; op < 3; op++) {
		unsigned nth = 0, before;

		do {
			other = NULL;
			before = kvr_emulated_calls();
			kvr_emulated_fail_call(++nth, cudaErrorUnknown);
			reason[0] = '\0';
			status = op == 0 ? ops->allocate(1, 64, &other, reason,
							 sizeof(reason))
				 : op == 1 ? ops->copy(1, memory, word,
						       sizeof(word), reason,
						       sizeof(reason))
					   : ops->flush(1, reason,
							sizeof(reason));
			before = kvr_emulated_calls() - before;
			kvr_emulated_fail_call(0, 0);
			assert_int_equal(status == KVR_OK, !reason[0]);
			if (other)
				ops->release(1, other);
			assert_int_equal(kvr_emulated_allocations(), 1);
			/* Setting it back is a call that may fail, too. */
			assert_int_equal(cudaSetDevice(0), cudaSuccess);
		} while (nth <= before);
	}
	(void)state;
	ops->release(1, memory);
}

/* --------------------------------------------------- slots, by the card */

static enum kvr_status no_probe(char *text, size_t bytes)
{
	(void)text, (void)bytes;
	return KVR_OK;
}

static const struct kvr_accelerator_ops emulated = {
	.name = "emulated",
	.probe = no_probe,
	.device_info = kvr_cuda_device_info,
	.pointer_query = kvr_cuda_pointer_query,
	.memory = &kvr_cuda_memory,
};

static const struct fake_other_gpu other = {
	.ops = &emulated,
	.open = kvr_emulated_memory_open,
	.close = kvr_emulated_memory_close,
	.dmabuf = kvr_emulated_dmabuf,
};

static void slots_on_an_emulated_gpu_are_reached_and_flushed(void **state)
{
	static struct verbs_transport t;
	static struct verbs_endpoint e;
	struct kvr_slots_info info;
	struct kvr_pointer_info pointer;
	unsigned files;

	(void)state;
	fake_reset(&t, 1);
	fake.other = &other;
	t.sysfs = "/nowhere";
	t.device[0].attr.max_qp_rd_atom = 1;
	e = (struct verbs_endpoint){
		.base.ops = &kvr_verbs_transport,
		.transport = &t,
		.rails = 1,
		.config = {.role = KVR_ROLE_IN,
			   .lanes = 1,
			   .slots = 2,
			   .slot_bytes = {3 * PAGE},
			   .chunk_bytes = PAGE,
			   .on_gpu = true,
			   .gpu = 1},
	};
	files = fake_open_files();
	assert_int_equal(verbs_domains_open(&e), KVR_OK);
	if (verbs_landing_open(&e) != KVR_OK)
		fail_msg("%s", fake_log());
	e.base.ops->slots_info(&e.base, &info);
	assert_string_equal(info.by, "dma-buf");
	assert_int_equal(kvr_cuda_pointer_query(e.base.ops->slot(&e.base, 0, 1),
						&pointer),
			 KVR_OK);
	assert_int_equal(pointer.device, 1);
	assert_int_equal(e.base.ops->flush(&e.base), KVR_OK);
	assert_int_equal(fake_open_files(), files);
	verbs_landing_close(&e);
	verbs_domains_close(&e);
	ibv_dealloc_pd(t.device[0].pd_out);
	assert_int_equal(fake.mrs + fake.pds + fake.qps + fake.cqs, 0);
	assert_int_equal(fake.bad, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(memory_is_of_the_gpu_asked_for),
		TEST(memory_exported_is_the_range_itself),
		TEST(memory_not_exported_is_unsupported_and_names_the_call),
		TEST(memory_orders_copies_by_its_attribute),
		TEST(memory_copied_there_and_back_is_the_same),
		TEST(memory_any_call_failing_is_named_and_undone),
		TEST(slots_on_an_emulated_gpu_are_reached_and_flushed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
