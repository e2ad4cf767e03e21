/* SPDX-License-Identifier: Apache-2.0 */
/* Landing slots of the host and of a GPU on a played card, and their flush. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <time.h>

#include "rdma/verbs/endpoint.h"
#include "tests/unit/rdma/fake_verbs.h"

static struct verbs_transport t;
static struct verbs_endpoint e;
static unsigned files;

static int set_up(void **state)
{
	(void)state;
	fake_reset(&t, 2);
	t.sysfs = "/nowhere";
	for (uint32_t rail = 0; rail < t.rails; rail++)
		t.device[rail].attr.max_qp_rd_atom = 16;
	e = (struct verbs_endpoint){
		.base.ops = &kvr_verbs_transport,
		.transport = &t,
		.rails = t.rails,
		.config =
			{
				.role = KVR_ROLE_IN,
				.rank = 3,
				.lanes = 2,
				.slots = 2,
				.slot_bytes = {10000, 5000},
				.chunk_bytes = 4096,
				.on_gpu = true,
				.log = (struct kvr_log *)(uintptr_t)t.log,
			},
	};
	files = fake_open_files();
	return 0;
}

static void assert_clean(void)
{
	assert_int_equal(fake.mrs, 0);
	assert_int_equal(fake.pds, t.rails);
	assert_int_equal(fake.cqs, 0);
	assert_int_equal(fake.qps, 0);
	assert_int_equal(fake.allocations, 0);
	assert_int_equal(fake_open_files(), files);
	assert_int_equal(fake.bad, 0);
}

static enum kvr_status open_landing(void)
{
	enum kvr_status status = verbs_domains_open(&e);

	return status == KVR_OK ? verbs_landing_open(&e) : status;
}

static void close_landing(void)
{
	verbs_landing_close(&e);
	verbs_domains_close(&e);
	assert_clean();
}

static int tear_down(void **state)
{
	(void)state;
	for (uint32_t rail = 0; rail < t.rails; rail++)
		ibv_dealloc_pd(t.device[rail].pd_out);
	return 0;
}

static void assert_logged(const char *text)
{
	if (!strstr(fake_log(), text))
		fail_msg("the log lacks '%s':\n%s", text, fake_log());
}

static const char *slots_by(void)
{
	struct kvr_slots_info info;

	e.base.ops->slots_info(&e.base, &info);
	return info.by;
}

static const char *slots_flush(void)
{
	struct kvr_slots_info info;

	e.base.ops->slots_info(&e.base, &info);
	return info.flush;
}

static enum kvr_status flush(void)
{
	return e.base.ops->flush(&e.base);
}

/* --------------------------------------------------------------- slots */

static void slots_of_the_host_are_behind_the_descriptors(void **state)
{
	struct verbs_grant grant;

	(void)state;
	e.config.on_gpu = false;
	assert_int_equal(open_landing(), KVR_OK);
	verbs_landing_grant(&e, &grant);
	assert_int_equal(grant.slots_address,
			 grant.address + e.layout.slots[0]);
	assert_ptr_equal(e.base.ops->slot(&e.base, 1, 1),
			 e.memory + e.layout.slots[1] + e.layout.stride[1]);
	assert_string_equal(slots_by(), "host");
	assert_string_equal(slots_flush(), "none");
	assert_int_equal(flush(), KVR_OK);
	assert_int_equal(fake.calls[FAKE_DEVICE_INFO], 0);
	close_landing();
}

static void slots_of_a_gpu_are_there_alone(void **state)
{
	struct verbs_grant grant;

	(void)state;
	assert_int_equal(open_landing(), KVR_OK);
	verbs_landing_grant(&e, &grant);
	assert_ptr_equal(e.base.ops->slot(&e.base, 0, 0),
			 (void *)(uintptr_t)grant.slots_address);
	assert_int_equal(grant.slots_address % 4096, 0);
	assert_int_equal(grant.address, (uintptr_t)e.memory);
	/* Descriptors stay where the processor reads them. */
	assert_int_equal(e.memory_bytes, e.layout.slots[0]);
	for (uint32_t rail = 0; rail < t.rails; rail++) {
		assert_int_not_equal(grant.slots_key[rail], 0);
		assert_int_not_equal(grant.slots_key[rail],
				     grant.described_key[rail]);
		assert_int_equal(e.reached->part[0].mr[rail]->length,
				 e.layout.bytes - e.layout.slots[0]);
	}
	assert_string_equal(slots_by(), "dma-buf");
	assert_string_equal(slots_flush(), "read");
	assert_logged("landing slots, 40 KiB on GPU 0 (NVIDIA A100): dma-buf");
	assert_logged("flush of GPU 0: read: GPUs before Hopper need it");
	close_landing();
}

static void slots_of_a_gpu_that_no_card_reaches_are_refused(void **state)
{
	(void)state;
	fake.nic_dmabuf = 0;
	assert_int_equal(open_landing(), KVR_ERR_UNSUPPORTED);
	assert_logged("landing slots, 40 KiB on GPU 0 (NVIDIA A100): no card "
		      "reaches it; not dma-buf: a card's driver maps none");
	close_landing();
}

static void slots_of_a_full_gpu_are_refused_and_say_so(void **state)
{
	(void)state;
	fake.fail = FAKE_ALLOCATE;
	fake.nth = 1;
	assert_int_equal(open_landing(), KVR_ERR_NO_MEMORY);
	assert_logged("rank 3: 40960 bytes of landing slots on GPU 0: GPU "
		      "full");
	close_landing();
}

/* A slot is written by one key: it is not split. */
static void slots_beyond_what_a_card_registers_are_refused(void **state)
{
	(void)state;
	t.device[1].attr.max_mr_size = 16384;
	assert_int_equal(open_landing(), KVR_ERR_LIMIT);
	assert_logged("landing slots of 40960 bytes exceed what a card "
		      "registers at once, 16384");
	close_landing();
}

static void slots_with_any_call_failing_leave_nothing(void **state)
{
	(void)state;
	for (int call = FAKE_ALLOC_PD; call < FAKE_CALLS; call++) {
		unsigned nth = 0, made;

		/* An order of copies matters to what is sent, and is tried. */
		do {
			enum kvr_status status;

			memset(fake.calls, 0, sizeof(fake.calls));
			t.proof_count = 0;
			fake.fail = (enum fake_call)call;
			fake.nth = ++nth;
			status = open_landing();
			made = fake.calls[call];
			/* READ falls back to the driver's, in some. */
			if (status == KVR_OK && made >= nth)
				assert_true(call == FAKE_ORDER ||
					    call == FAKE_ALLOC_PD ||
					    strcmp(slots_flush(), "host") == 0);
			close_landing();
		} while (made >= nth);
		assert_true(nth > 1);
	}
}

/* --------------------------------------------------------------- flush */

static void flush_read_is_done_when_every_card_read(void **state)
{
	unsigned before;

	(void)state;
	assert_int_equal(open_landing(), KVR_OK);
	before = fake.reads;
	fake.polls_until_done = 1;
	assert_int_equal(flush(), KVR_ERR_AGAIN);
	assert_int_equal(flush(), KVR_OK);
	assert_int_equal(fake.reads, before + 2);
	/* And anew for the next. */
	assert_int_equal(flush(), KVR_ERR_AGAIN);
	assert_int_equal(flush(), KVR_OK);
	assert_int_equal(fake.reads, before + 4);
	close_landing();
}

static void flush_read_that_fails_is_a_lost_device(void **state)
{
	(void)state;
	assert_int_equal(open_landing(), KVR_OK);
	fake.fail = FAKE_POLL_CQ;
	fake.nth = fake.calls[FAKE_POLL_CQ] + 2;
	assert_int_equal(flush(), KVR_ERR_DEVICE);
	close_landing();
}

static void flush_none_where_the_gpu_keeps_order(void **state)
{
	(void)state;
	fake.gpu.compute_major = 9;
	fake.gpu.ordering = KVR_GPU_ORDERING_OWNER;
	assert_int_equal(open_landing(), KVR_OK);
	assert_string_equal(slots_flush(), "none");
	assert_null(e.flush);
	assert_int_equal(flush(), KVR_OK);
	close_landing();
}

static void flush_none_when_asked_for(void **state)
{
	(void)state;
	t.gpu.flush = KVR_GPU_FLUSH_NONE;
	assert_int_equal(open_landing(), KVR_OK);
	assert_string_equal(slots_flush(), "none");
	assert_logged("flush of GPU 0: none: asked for");
	close_landing();
}

static void await_flush(enum kvr_status wanted)
{
	const struct timespec pause = {.tv_nsec = 100000};
	enum kvr_status status;

	/* Up to 10 s, on a busy machine. */
	for (int i = 0; i < 100000; i++) {
		status = flush();
		if (status != KVR_ERR_AGAIN)
			break;
		nanosleep(&pause, NULL);
	}
	assert_int_equal(status, wanted);
}

static void flush_host_calls_the_driver_from_another_thread(void **state)
{
	(void)state;
	t.gpu.flush = KVR_GPU_FLUSH_HOST;
	fake.gpu.flush_by_host = 1;
	assert_int_equal(open_landing(), KVR_OK);
	assert_string_equal(slots_flush(), "host");
	for (unsigned i = 1; i <= 3; i++) {
		await_flush(KVR_OK);
		assert_int_equal(fake.flushes, i);
		assert_false(fake.flushed_here);
	}
	close_landing();
}

static void flush_host_that_fails_is_a_lost_device(void **state)
{
	(void)state;
	t.gpu.flush = KVR_GPU_FLUSH_HOST;
	fake.gpu.flush_by_host = 1;
	assert_int_equal(open_landing(), KVR_OK);
	fake.fail = FAKE_FLUSH;
	fake.nth = 1;
	await_flush(KVR_ERR_DEVICE);
	assert_logged("flush of GPU 0: flush failed");
	close_landing();
}

/* A card whose queue pair with itself does not connect (iWARP). */
static void flush_read_that_cannot_be_is_the_drivers(void **state)
{
	(void)state;
	fake.gpu.flush_by_host = 1;
	/* The proofs are of earlier: they would fail, too. */
	t.proof[0] = (struct verbs_proof){0, {VERBS_RUNG_DMABUF, false}};
	t.proof_count = 1;
	fake.fail = FAKE_MODIFY_QP;
	fake.nth = 1;
	assert_int_equal(open_landing(), KVR_OK);
	assert_string_equal(slots_flush(), "host");
	assert_logged("no reads for a flush by fake_0: connect a card to "
		      "itself");
	close_landing();
}

static void flush_that_is_needed_and_cannot_be_refuses_the_slots(void **state)
{
	(void)state;
	for (uint32_t rail = 0; rail < t.rails; rail++)
		t.device[rail].attr.max_qp_rd_atom = 0;
	assert_int_equal(open_landing(), KVR_ERR_UNSUPPORTED);
	assert_logged("flush of GPU 0: impossible: the GPU needs a flush");
	close_landing();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(slots_of_the_host_are_behind_the_descriptors),
		TEST(slots_of_a_gpu_are_there_alone),
		TEST(slots_of_a_gpu_that_no_card_reaches_are_refused),
		TEST(slots_of_a_full_gpu_are_refused_and_say_so),
		TEST(slots_beyond_what_a_card_registers_are_refused),
		TEST(slots_with_any_call_failing_leave_nothing),
		TEST(flush_read_is_done_when_every_card_read),
		TEST(flush_read_that_fails_is_a_lost_device),
		TEST(flush_none_where_the_gpu_keeps_order),
		TEST(flush_none_when_asked_for),
		TEST(flush_host_calls_the_driver_from_another_thread),
		TEST(flush_host_that_fails_is_a_lost_device),
		TEST(flush_read_that_cannot_be_is_the_drivers),
		TEST(flush_that_is_needed_and_cannot_be_refuses_the_slots),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
