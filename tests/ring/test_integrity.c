/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rings with integrity: clean runs say nothing, and whatever is overwritten,
 * on the wire, in a slot, in a local block, is named: which chunk of whose
 * block, and whether it arrived wrong or was overwritten here.
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
#include "tests/support/stamped.h"

#define CHUNK 4096

static void over(const char *transport, uint32_t n, enum kvr_progress progress,
		 void (*body)(struct rank *), void *arg)
{
	struct ranks ranks;

	ranks_init(&ranks, n);
	ranks.transport = transport;
	ranks.progress = progress;
	ranks.options.integrity = 1;
	ranks.options.slots = 3;
	ranks.body = body;
	ranks.arg = arg;
	ranks_run(&ranks);
}

/* ---------------------------------------------------------------- clean */

static void pass_cleanly(struct rank *rank)
{
	struct sender sender;
	struct kvr_failure failure;

	CHECK_STATUS(rank->opened, KVR_OK);
	sender_open(&sender, rank);
	for (uint64_t tag = 1; tag <= 40; tag++) {
		/* Some end early, some hold blocks to the end. */
		uint32_t lag = (uint32_t)(tag % 3);
		uint32_t steps = tag % 5 ? rank->n : 1;
		struct kvr_pass *pass =
			stamped_begin(rank, &sender, tag, tag % 8 + 1);

		stamped_take(rank, pass, tag, steps, lag);
		CHECK_STATUS(kvr_pass_end(pass), KVR_OK);
	}
	kvr_failure_init(&failure);
	CHECK_STATUS(kvr_ring_get_failure(rank->ring, &failure), KVR_OK);
	CHECK(failure.status == KVR_OK && rank->log[0] == '\0');
	sender_close(&sender);
}

static void integrity_clean_rings_say_nothing(void **state)
{
	static const char *const transports[] = {"shm", "fake"};
	const struct kvr_fake_script shuffled = {
		.seed = 11,
		.reorder = true,
		.delay_max_ns = 200000,
		.slow_rank = KVR_RANK_NONE,
	};

	(void)state;
	kvr_fake_set_script(&shuffled);
	for (size_t t = 0; t < 2; t++) {
		for (uint32_t n = 1; n <= 4; n++) {
			over(transports[t], n, KVR_PROGRESS_THREAD,
			     pass_cleanly, NULL);
			over(transports[t], n, KVR_PROGRESS_CALLER,
			     pass_cleanly, NULL);
		}
	}
	kvr_fake_set_script(NULL);
}

/* -------------------------------------------------------- accumulating */

#define WORDS 3000

static void add_to(uint64_t *sum, uint32_t rank, uint64_t tag)
{
	for (uint64_t i = 0; i < WORDS; i++)
		sum[i] += (rank + 1) * tag + i;
}

/* Every block comes home as the sum of what all ranks added. */
static void sum_up(struct rank *rank)
{
	uint64_t *own = calloc(WORDS, sizeof(*own));
	struct kvr_segment segment = {.bytes = WORDS * sizeof(*own)};
	uint64_t ranks_sum = (uint64_t)rank->n * (rank->n + 1) / 2;
	struct kvr_pass_desc desc;
	struct kvr_block block;
	struct kvr_pass *pass;

	CHECK_STATUS(rank->opened, KVR_OK);
	CHECK(own);
	CHECK_STATUS(kvr_memory_register(rank->context, own, segment.bytes,
					 &segment.memory),
		     KVR_OK);
	kvr_pass_desc_init(&desc);
	kvr_block_init(&block);
	desc.lane[0].segments = &segment;
	desc.lane[0].segment_count = 1;
	for (uint64_t tag = 1; tag <= 5; tag++) {
		memset(own, 0, segment.bytes);
		desc.tag = tag;
		CHECK_STATUS(kvr_pass_begin(rank->ring, &desc, &pass), KVR_OK);
		for (uint32_t s = 0; s < rank->n; s++) {
			CHECK_STATUS(kvr_pass_next(pass, 0, &block), KVR_OK);
			add_to(block.data, rank->rank, tag);
			/* The last to add may leave that to end. */
			if (tag % 2 || s + 1 < rank->n)
				CHECK_STATUS(kvr_pass_release(pass, 0, s),
					     KVR_OK);
		}
		if (tag % 2 && rank->n > 1) {
			CHECK_STATUS(kvr_pass_next(pass, 0, &block), KVR_OK);
			for (uint64_t i = 0; i < WORDS; i++)
				CHECK(((uint64_t *)block.data)[i] ==
				      ranks_sum * tag + i * rank->n);
		}
		CHECK_STATUS(kvr_pass_end(pass), KVR_OK);
	}
	kvr_memory_deregister(segment.memory);
	free(own);
}

static void integrity_sums_are_sealed_by_each_rank(void **state)
{
	static const char *const transports[] = {"shm", "fake"};
	struct ranks ranks;

	(void)state;
	for (size_t t = 0; t < 2; t++) {
		for (uint32_t n = 1; n <= 4; n++) {
			ranks_init(&ranks, n);
			ranks.transport = transports[t];
			ranks.options.integrity = 1;
			ranks.options.lane[0].kind = KVR_LANE_ACCUMULATING;
			ranks.body = sum_up;
			ranks_run(&ranks);
		}
	}
}

/* -------------------------------------------------------------- planted */

enum plant { PLANT_NOTHING, PLANT_SLOT, PLANT_METADATA, PLANT_LOCAL };

struct scene {
	enum plant plant;
	uint32_t rank, step; /* who spoils which of its blocks */
	bool leave_to_end;   /* do not release it */

	/* On the wire: which chunk of which block, on its way to whom. */
	uint32_t n;
	uint32_t to, origin, chunk;
	size_t byte;
	_Atomic uint32_t flips;

	/* What must be said, and by whom. */
	uint32_t witness, blamed;
	const char *sentence;
	_Atomic uint32_t heard;
};

#define BYTES (5 * CHUNK + 100)

static void spoil(const struct scene *scene, const struct rank *rank,
		  const struct kvr_block *block)
{
	char *at = block->data;

	if (rank->rank != scene->rank || block->step != scene->step)
		return;
	if (scene->plant == PLANT_SLOT || scene->plant == PLANT_LOCAL)
		at[scene->chunk * CHUNK + scene->byte] ^= 0x10;
	else if (scene->plant == PLANT_METADATA)
		((char *)(uintptr_t)block->metadata)[3] ^= 1;
}

static enum kvr_status take_all(struct rank *rank, struct kvr_pass *pass)
{
	struct scene *scene = rank->arg;
	struct kvr_block block;
	enum kvr_status status;

	kvr_block_init(&block);
	while ((status = kvr_pass_next(pass, 0, &block)) == KVR_OK) {
		spoil(scene, rank, &block);
		if (scene->leave_to_end && rank->rank == scene->rank &&
		    block.step == scene->step)
			continue;
		status = kvr_pass_release(pass, 0, block.step);
		if (status != KVR_OK)
			break;
	}
	return status == KVR_ERR_END ? kvr_pass_end(pass) : status;
}

static void hear(struct rank *rank, struct scene *scene)
{
	struct kvr_failure failure;

	kvr_failure_init(&failure);
	CHECK_STATUS(kvr_ring_get_failure(rank->ring, &failure), KVR_OK);
	CHECK_STATUS(failure.status, KVR_ERR_CORRUPT);
	if (strstr(failure.text, scene->sentence)) {
		CHECK(rank->rank == scene->witness);
		CHECK(failure.rank == scene->blamed);
		scene->heard++;
	} else {
		CHECK(strstr(failure.text,
			     "sent or held a block whose checksum is wrong") ||
		      strstr(failure.text, "or before: hops do not check"));
	}
}

static void play(struct rank *rank)
{
	static const char metadata[] = "whatever";
	char *own = malloc(BYTES);
	struct kvr_segment segment = {.bytes = BYTES};
	struct scene *scene = rank->arg;
	struct kvr_pass_desc desc;
	struct kvr_pass *pass;
	enum kvr_status status;

	CHECK_STATUS(rank->opened, KVR_OK);
	CHECK(own);
	memset(own, 'a' + (int)rank->rank, BYTES);
	CHECK_STATUS(
		kvr_memory_register(rank->context, own, BYTES, &segment.memory),
		KVR_OK);
	kvr_pass_desc_init(&desc);
	desc.tag = 7;
	desc.lane[0] = (struct kvr_local_block){
		.segments = &segment,
		.segment_count = 1,
		.metadata = metadata,
		.metadata_bytes = sizeof(metadata),
	};
	status = kvr_pass_begin(rank->ring, &desc, &pass);
	if (status == KVR_OK)
		status = take_all(rank, pass);
	/* Who had all of its blocks before may not hear of it. */
	CHECK(status == KVR_OK || status == KVR_ERR_CORRUPT);
	if (status == KVR_ERR_CORRUPT)
		hear(rank, scene);
	else
		CHECK(rank->rank != scene->witness);
	/* A failed ring refuses, and does not look at seals any more. */
	if (status == KVR_ERR_CORRUPT) {
		CHECK(kvr_pass_end(pass) != KVR_OK);
		CHECK_STATUS(kvr_pass_begin(rank->ring, &desc, &pass),
			     KVR_ERR_CORRUPT);
	}
	kvr_memory_deregister(segment.memory);
	free(own);
}

static void act(const char *transport, struct scene *scene)
{
	over(transport, 3, KVR_PROGRESS_THREAD, play, scene);
	if (scene->heard != 1)
		fprintf(stderr, "never said: %s\n", scene->sentence);
	CHECK(scene->heard == 1);
	scene->heard = 0;
	over(transport, 3, KVR_PROGRESS_CALLER, play, scene);
	CHECK(scene->heard == 1);
}

static void integrity_overwritten_slot_is_named(void **state)
{
	static const char *const transports[] = {"shm", "fake"};

	(void)state;
	for (size_t t = 0; t < 2; t++) {
		/* The last hop: nobody gets it from there. */
		struct scene scene = {
			.plant = PLANT_SLOT,
			.rank = 1,
			.step = 2,
			.chunk = 4,
			.byte = 77,
			.witness = 1,
			.blamed = 1,
			.sentence =
				"chunk 4 of the block of rank 2 was "
				"overwritten after it had arrived, while rank "
				"1 computed in step 2 of pass 7",
		};
		struct scene at_end = scene;

		act(transports[t], &scene);
		at_end.leave_to_end = true;
		at_end.chunk = 5;
		at_end.byte = 99;
		at_end.sentence = "chunk 5 of the block of rank 2 was "
				  "overwritten after it had arrived";
		act(transports[t], &at_end);
	}
}

static void integrity_overwritten_metadata_is_named(void **state)
{
	struct scene scene = {
		.plant = PLANT_METADATA,
		.rank = 0,
		.step = 2,
		.witness = 0,
		.blamed = 0,
		.sentence = "the metadata of the block of rank 1 was "
			    "overwritten after it had arrived, while rank 0 "
			    "computed in step 2 of pass 7",
	};

	(void)state;
	act("fake", &scene);
}

static void integrity_overwritten_local_block_is_named(void **state)
{
	(void)state;
	for (int leave = 0; leave < 2; leave++) {
		struct scene scene = {
			.plant = PLANT_LOCAL,
			.leave_to_end = leave,
			.sentence = "chunk 0 of the block of rank 0 was "
				    "overwritten after the pass had begun, "
				    "while rank 0 computed in step 0 of pass 7",
		};
		struct ranks ranks;

		/* Alone nobody else can be the first to notice. */
		ranks_init(&ranks, 1);
		ranks.options.integrity = 1;
		ranks.body = play;
		ranks.arg = &scene;
		ranks_run(&ranks);
		CHECK(scene.heard == 1);
	}
}

/* ----------------------------------------------------------------- wire */

static void flip(void *arg, uint32_t to, uint32_t imm, void *bytes,
		 size_t count)
{
	struct scene *scene = arg;
	struct kvr_imm i = kvr_imm_decode(imm);

	/* Of the first pass: sequence s is the block that made s + 1 hops. */
	if (to != scene->to || i.chunk != scene->chunk ||
	    (to + scene->n - i.sequence - 1) % scene->n != scene->origin)
		return;
	CHECK(scene->byte < count);
	((uint8_t *)bytes)[scene->byte] ^= 0x80;
	scene->flips++;
}

static void on_the_wire(struct scene *scene)
{
	const struct kvr_fake_script script = {
		.land = flip,
		.land_arg = scene,
		.slow_rank = KVR_RANK_NONE,
	};

	kvr_fake_set_script(&script);
	act("fake", scene);
	kvr_fake_set_script(NULL);
	CHECK(scene->flips == 2);
}

static void integrity_wrong_arrival_is_named(void **state)
{
	/* The second hop is the last: its receiver alone can notice. */
	struct scene last = {
		.n = 3,
		.to = 2,
		.origin = 0,
		.chunk = 3,
		.byte = 4095,
		.witness = 2,
		.blamed = 1,
		.sentence = "chunk 3 of the block of rank 0 arrived wrong from "
			    "rank 1 in step 2 of pass 7, on hop 2 or before",
	};
	/* Behind the payload are the checksums: 6 chunks, two more. */
	struct scene seal = {
		.n = 3,
		.to = 0,
		.origin = 1,
		.chunk = 5,
		.byte = 100 + 6 * 4,
		.witness = 0,
		.blamed = 2,
		.sentence = "the checksums of the block of rank 1 arrived "
			    "wrong from rank 2 in step 2",
	};

	(void)state;
	on_the_wire(&last);
	on_the_wire(&seal);
}

static void integrity_wrong_on_the_first_hop_is_certain(void **state)
{
	struct scene scene = {
		.n = 2,
		.to = 1,
		.origin = 0,
		.chunk = 0,
		.byte = 0,
		.witness = 1,
		.blamed = 0,
		.sentence = "chunk 0 of the block of rank 0 arrived wrong from "
			    "rank 0 in step 1 of pass 7, on its first hop",
	};
	const struct kvr_fake_script script = {
		.land = flip,
		.land_arg = &scene,
		.slow_rank = KVR_RANK_NONE,
	};

	(void)state;
	kvr_fake_set_script(&script);
	over("fake", 2, KVR_PROGRESS_THREAD, play, &scene);
	kvr_fake_set_script(NULL);
	CHECK(scene.heard == 1);
}

/* -------------------------------------------------------------- opening */

static void one_with(uint32_t rank, struct kvr_ring_options *options)
{
	options->integrity = rank == 1;
}

static void not_opened(struct rank *rank)
{
	CHECK_STATUS(rank->opened, KVR_ERR_MISMATCH);
	CHECK(strstr(rank->log, "integrity differs: 0 on rank 0, 1 on rank 1"));
}

static void integrity_of_one_rank_is_refused(void **state)
{
	struct ranks ranks;

	(void)state;
	ranks_init(&ranks, 3);
	ranks.adjust = one_with;
	ranks.body = not_opened;
	ranks_run(&ranks);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(integrity_clean_rings_say_nothing),
		cmocka_unit_test(integrity_sums_are_sealed_by_each_rank),
		cmocka_unit_test(integrity_overwritten_slot_is_named),
		cmocka_unit_test(integrity_overwritten_metadata_is_named),
		cmocka_unit_test(integrity_overwritten_local_block_is_named),
		cmocka_unit_test(integrity_wrong_arrival_is_named),
		cmocka_unit_test(integrity_wrong_on_the_first_hop_is_certain),
		cmocka_unit_test(integrity_of_one_rank_is_refused),
	};

	return cmocka_run_group_tests_name("integrity", tests, NULL, NULL);
}
