/* SPDX-License-Identifier: Apache-2.0 */
/* A rank that sends blocks of another size than its ranges say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>

#include "tests/support/ranks.h"

#define RANKS 3
#define TOKENS 64
#define HEADS 2
#define DIM 16

static void lie(struct rank *rank)
{
	static char block[64];
	struct kvr_memory *memory;
	struct kvr_segment segment = {.bytes = sizeof(block)};
	struct kvr_pass_desc desc;
	struct kvr_pass *pass;
	struct kvr_block taken;

	CHECK_STATUS(kvr_memory_register(rank->context, block, sizeof(block),
					 &memory),
		     KVR_OK);
	segment.memory = memory;
	kvr_pass_desc_init(&desc);
	kvr_block_init(&taken);
	desc.tag = 3; /* agreeing on the plan took two */
	desc.lane[0].segments = &segment;
	desc.lane[0].segment_count = 1;
	CHECK_STATUS(kvr_pass_begin(rank->ring, &desc, &pass), KVR_OK);
	while (kvr_pass_next(pass, 0, &taken) == KVR_OK)
		CHECK_STATUS(kvr_pass_release(pass, 0, taken.step), KVR_OK);
	CHECK(kvr_pass_end(pass) != KVR_ERR_STATE);
	kvr_memory_deregister(memory);
}

static void attend(struct rank *rank)
{
	static float q[RANKS][TOKENS * HEADS * DIM];
	static float out[RANKS][TOKENS * HEADS * DIM];
	struct kvr_range range = {.start = rank->rank * TOKENS,
				  .length = TOKENS};
	struct kvr_tensor in =
		kvr_tensor_dense(q[rank->rank], KVR_F32, TOKENS, HEADS, DIM);
	struct kvr_tensor to =
		kvr_tensor_dense(out[rank->rank], KVR_F32, TOKENS, HEADS, DIM);
	struct kvr_plan_desc desc;
	struct kvr_plan *plan;
	enum kvr_status status;

	CHECK_STATUS(rank->opened, KVR_OK);
	kvr_plan_desc_init(&desc);
	desc.q_heads = desc.kv_heads = HEADS;
	desc.head_dim = DIM;
	desc.q_ranges = desc.kv_ranges = &range;
	desc.q_range_count = desc.kv_range_count = 1;
	CHECK_STATUS(kvr_plan_create(rank->ring, &desc, &plan), KVR_OK);
	/* The lie must find nobody still agreeing on the plan. */
	pthread_barrier_wait(rank->arg);
	if (rank->rank == 1) {
		lie(rank);
	} else {
		status = kvr_attention_run(plan, &in, &in, &in, &to, NULL, 0);
		/* Its next sees it; the other may be told before. */
		CHECK(status == KVR_ERR_PROTOCOL || status == KVR_ERR_ABORTED);
	}
	kvr_plan_destroy(plan);
}

static void attention_block_of_wrong_size_is_not_believed(void **state)
{
	pthread_barrier_t agreed;
	struct ranks ranks;

	(void)state;
	ranks_init(&ranks, RANKS);
	ranks.transport = "shm";
	ranks.body = attend;
	ranks.arg = &agreed;
	pthread_barrier_init(&agreed, NULL, RANKS);
	ranks_run(&ranks);
	pthread_barrier_destroy(&agreed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(attention_block_of_wrong_size_is_not_believed),
	};

	return cmocka_run_group_tests_name("liar", tests, NULL, NULL);
}
