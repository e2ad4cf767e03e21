/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rings whose received bytes are seen only after a flush, which takes several
 * calls: as slots on a GPU are. No rank may be handed, nor forward, a block
 * that it does not see yet.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <string.h>

#include "rdma/fake/fake.h"
#include "runtime/accelerator.h"
#include "tests/support/stamped.h"

#define PASSES 30

static void take_all(struct rank *rank)
{
	struct kvr_ring_stats stats;
	struct sender sender;

	CHECK_STATUS(rank->opened, KVR_OK);
	sender_open(&sender, rank);
	for (uint64_t tag = 1; tag <= PASSES; tag++) {
		/* Some end early: what is behind them still goes on. */
		uint32_t steps = tag % 5 ? rank->n : 1;
		struct kvr_pass *pass =
			stamped_begin(rank, &sender, tag, tag % 8 + 1);

		stamped_take(rank, pass, tag, steps, (uint32_t)(tag % 2));
		CHECK_STATUS(kvr_pass_end(pass), KVR_OK);
	}
	kvr_ring_stats_init(&stats);
	CHECK_STATUS(kvr_ring_get_stats(rank->ring, &stats), KVR_OK);
	CHECK(!strcmp(stats.slots_by, rank->n > 1 ? "host" : "none"));
	CHECK(!strcmp(stats.slots_flush, "none"));
	CHECK(rank->log[0] == '\0');
	sender_close(&sender);
}

static void over(uint32_t n, enum kvr_progress progress)
{
	struct ranks ranks;

	ranks_init(&ranks, n);
	ranks.transport = "fake";
	ranks.progress = progress;
	ranks.options.slots = 3;
	ranks.body = take_all;
	ranks_run(&ranks);
}

static void flush_over_several_calls_shows_every_byte(void **state)
{
	struct kvr_fake_script script = {
		.seed = 5,
		.bridge = KVR_FAKE_BRIDGE_FLUSHED,
		.reorder = true,
		.delay_max_ns = 100000,
		.slow_rank = KVR_RANK_NONE,
	};

	(void)state;
	for (script.flush_calls = 1; script.flush_calls <= 9;
	     script.flush_calls += 4) {
		kvr_fake_set_script(&script);
		for (uint32_t n = 1; n <= 4; n++) {
			over(n, KVR_PROGRESS_THREAD);
			over(n, KVR_PROGRESS_CALLER);
		}
	}
	kvr_fake_set_script(NULL);
}

/* --------------------------------------------------- what a GPU would need */

static void refused(struct rank *rank)
{
	/* There is no plug-in: the environment names none. */
	CHECK_STATUS(rank->opened, KVR_ERR_UNSUPPORTED);
	CHECK(strstr(rank->log,
		     rank->rank == 0 ? "slots on GPU 0: KVRING_" : "rank 0"));
}

static void one_on_gpu(uint32_t rank, struct kvr_ring_options *options)
{
	if (rank == 0)
		options->gpu = 0;
}

static void slots_on_a_gpu_without_a_plugin_are_refused_everywhere(void **state)
{
	struct ranks ranks;

	(void)state;
	setenv("KVRING_CUDA_PLUGIN", "", 1);
	ranks_init(&ranks, 2);
	ranks.transport = "fake";
	ranks.adjust = one_on_gpu;
	ranks.body = refused;
	ranks_run(&ranks);
}

/* Says of all memory that it is a GPU's, while that is played. */
static atomic_bool gpu_played;

static enum kvr_status pointer_query(const void *address,
				     struct kvr_pointer_info *out)
{
	(void)address;
	*out = (struct kvr_pointer_info){.kind = KVR_POINTER_DEVICE};
	return KVR_OK;
}

static const struct kvr_accelerator_ops played = {.pointer_query =
							  pointer_query};

const struct kvr_accelerator_ops *__wrap_kvr_accelerator_present(void);

const struct kvr_accelerator_ops *__wrap_kvr_accelerator_present(void)
{
	return atomic_load(&gpu_played) ? &played : NULL;
}

/* Neither shm nor fake can send it: no read of it by the processor. */
static void send_from_gpu(struct rank *rank)
{
	static uint8_t word[8][64];
	struct kvr_segment segment = {.bytes = sizeof(word[0])};
	struct kvr_pass_desc desc;
	struct kvr_pass *pass;

	CHECK_STATUS(rank->opened, KVR_OK);
	CHECK_STATUS(kvr_memory_register(rank->context, word[rank->rank],
					 sizeof(word[0]), &segment.memory),
		     KVR_OK);
	kvr_pass_desc_init(&desc);
	desc.tag = 1;
	desc.lane[0].segments = &segment;
	desc.lane[0].segment_count = 1;
	if (rank->n == 1) {
		CHECK_STATUS(kvr_pass_begin(rank->ring, &desc, &pass), KVR_OK);
		CHECK_STATUS(kvr_pass_end(pass), KVR_OK);
	} else {
		CHECK_STATUS(kvr_pass_begin(rank->ring, &desc, &pass),
			     KVR_ERR_UNSUPPORTED);
		CHECK(strstr(rank->log, "a segment is a GPU's memory"));
	}
	kvr_memory_deregister(segment.memory);
}

static void memory_of_a_gpu_is_not_sent_where_no_card_reads_it(void **state)
{
	static const char *const transports[] = {"shm", "fake"};
	struct ranks ranks;

	(void)state;
	atomic_store(&gpu_played, true);
	for (size_t t = 0; t < 2; t++) {
		for (uint32_t n = 1; n <= 2; n++) {
			ranks_init(&ranks, n);
			ranks.transport = transports[t];
			ranks.body = send_from_gpu;
			ranks_run(&ranks);
		}
	}
	atomic_store(&gpu_played, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(flush_over_several_calls_shows_every_byte),
		cmocka_unit_test(
			slots_on_a_gpu_without_a_plugin_are_refused_everywhere),
		cmocka_unit_test(
			memory_of_a_gpu_is_not_sent_where_no_card_reads_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
