/* SPDX-License-Identifier: Apache-2.0 */
/* What the engine sends, in which order, and when it grants. */
#include "tests/unit/runtime/engine_mock.h"

static void assert_describe(const struct mock *m, size_t index,
			    uint64_t sequence, uint32_t origin, uint32_t hops,
			    size_t bytes)
{
	const struct kvr_engine_describe *d =
		&mock_nth(m, MOCK_DESCRIBE, index)->describe;

	assert_int_equal(d->descriptor.sequence, sequence);
	assert_int_equal(d->descriptor.origin, origin);
	assert_int_equal(d->descriptor.hops, hops);
	assert_int_equal(d->descriptor.bytes, bytes);
	assert_int_equal(d->descriptor.chunks,
			 (bytes + MOCK_CHUNK - 1) / MOCK_CHUNK);
	assert_int_equal(d->descriptor.layout_id, MOCK_LAYOUT);
	assert_int_equal(d->target_slot, sequence % m->config.slots);
	assert_int_equal(d->imm, kvr_imm_block(KVR_IMM_DESCRIPTOR, d->lane,
					       sequence, 0));
}

static void assert_write(const struct mock *m, size_t index, uint64_t sequence,
			 uint32_t chunk, uint32_t source, size_t bytes)
{
	const struct kvr_engine_write *w =
		&mock_nth(m, MOCK_WRITE, index)->write;

	assert_int_equal(w->offset, (size_t)chunk * MOCK_CHUNK);
	assert_int_equal(w->bytes, bytes);
	assert_int_equal(w->source_slot, source);
	assert_int_equal(w->target_slot, sequence % m->config.slots);
	assert_int_equal(
		w->imm, kvr_imm_block(KVR_IMM_CHUNK, w->lane, sequence, chunk));
}

static void engine_local_block_is_described_and_sent_in_chunks(void **state)
{
	struct mock m;
	(void)state;

	mock_ring(&m, 3, 1, KVR_LANE_IMMUTABLE);
	mock_begin(&m, 77, 250);
	assert_true(mock_run(&m));
	assert_int_equal(m.count, 4);
	assert_int_equal(m.action[0].kind, MOCK_DESCRIBE);
	assert_describe(&m, 0, 0, 1, 1, 250);
	assert_int_equal(m.action[0].describe.descriptor.pass, 77);
	assert_int_equal(m.action[0].describe.descriptor.hops_total, 2);
	assert_int_equal(m.action[0].describe.source_slot, KVR_SOURCE_LOCAL);
	assert_write(&m, 0, 0, 0, KVR_SOURCE_LOCAL, 100);
	assert_write(&m, 1, 0, 1, KVR_SOURCE_LOCAL, 100);
	assert_write(&m, 2, 0, 2, KVR_SOURCE_LOCAL, 50);
	assert_false(mock_run(&m));
	mock_close(&m);
}

static void engine_empty_block_is_a_descriptor_alone(void **state)
{
	struct mock m;
	(void)state;

	mock_ring(&m, 2, 0, KVR_LANE_IMMUTABLE);
	mock_begin(&m, 1, 0);
	mock_run(&m);
	assert_int_equal(m.count, 1);
	assert_describe(&m, 0, 0, 0, 1, 0);
	mock_block(&m, 0, 0, 1, 1, 0);
	mock_take(&m, 0, 0);
	mock_take(&m, 0, 1);
	assert_int_equal(kvr_engine_end(m.engine), KVR_OK);
	mock_run(&m);
	assert_int_equal(mock_last_signal(&m, KVR_PREV, KVR_IMM_CREDIT).value,
			 1);
	mock_close(&m);
}

static void engine_chunk_is_forwarded_as_it_lands_in_any_order(void **state)
{
	struct kvr_descriptor d;
	struct mock m;
	(void)state;

	mock_ring(&m, 3, 0, KVR_LANE_IMMUTABLE);
	mock_begin(&m, 1, 0);
	mock_run(&m);
	mock_land(&m, 0, 0, 2);
	mock_run(&m);
	assert_int_equal(m.count, 1); /* not without its descriptor */
	d = mock_descriptor(&m, 0, 0, 1, 1, 250);
	mock_describe(&m, 0, &d);
	mock_run(&m);
	assert_describe(&m, 1, 1, 2, 2, 250);
	assert_int_equal(mock_nth(&m, MOCK_DESCRIBE, 1)->describe.source_slot,
			 0);
	assert_int_equal(mock_count(&m, MOCK_WRITE), 1);
	assert_write(&m, 0, 1, 2, 0, 50);
	mock_land(&m, 0, 0, 1);
	mock_run(&m);
	assert_write(&m, 1, 1, 1, 0, 100);
	mock_land(&m, 0, 0, 0);
	mock_run(&m);
	assert_write(&m, 2, 1, 0, 0, 100);
	assert_false(mock_run(&m));
	mock_close(&m);
}

/* More chunks than a bitmap word has bits. */
static void engine_block_of_many_chunks_is_forwarded_whole(void **state)
{
	struct kvr_engine_config config;
	struct kvr_descriptor d;
	bool seen[130] = {false};
	struct mock m;
	(void)state;

	mock_config(3, 0, &config);
	config.lane[0].slot_bytes = 130 * MOCK_CHUNK;
	mock_open(&m, &config);
	mock_begin(&m, 1, 0);
	for (uint32_t i = 0; i < 130; i += 2)
		mock_land(&m, 0, 0, i);
	d = mock_descriptor(&m, 0, 0, 1, 1, 130 * MOCK_CHUNK);
	mock_describe(&m, 0, &d);
	mock_run(&m);
	for (uint32_t i = 1; i < 130; i += 2)
		mock_land(&m, 0, 0, i);
	mock_run(&m);
	assert_int_equal(mock_count(&m, MOCK_WRITE), 130);
	for (size_t i = 0; i < 130; i++) {
		uint32_t chunk = mock_nth(&m, MOCK_WRITE, i)->imm.chunk;

		assert_true(chunk < 130 && !seen[chunk]);
		seen[chunk] = true;
	}
	mock_close(&m);
}

static void engine_block_before_begin_waits_unforwarded(void **state)
{
	struct mock m;
	(void)state;

	mock_ring(&m, 3, 0, KVR_LANE_IMMUTABLE);
	mock_block(&m, 0, 0, 9, 1, 150);
	assert_false(mock_run(&m));
	mock_begin(&m, 9, 100);
	mock_run(&m);
	assert_describe(&m, 0, 0, 0, 1, 100);
	assert_describe(&m, 1, 1, 2, 2, 150);
	assert_int_equal(mock_count(&m, MOCK_WRITE), 3);
	mock_close(&m);
}

static void engine_without_credit_nothing_is_sent(void **state)
{
	struct mock m;
	(void)state;

	mock_ring(&m, 4, 0, KVR_LANE_IMMUTABLE);
	mock_begin(&m, 1, 100);
	mock_block(&m, 0, 0, 1, 1, 100);
	mock_block(&m, 0, 1, 1, 2, 100);
	mock_run(&m);
	assert_int_equal(mock_count(&m, MOCK_DESCRIBE), 2);
	mock_signal(&m, KVR_NEXT, KVR_IMM_CREDIT, 0, 1);
	mock_run(&m);
	assert_int_equal(mock_count(&m, MOCK_DESCRIBE), 3);
	assert_describe(&m, 2, 2, 2, 3, 100);
	mock_close(&m);
}

static void engine_last_block_is_not_forwarded(void **state)
{
	struct mock m;
	(void)state;

	mock_ring(&m, 2, 0, KVR_LANE_IMMUTABLE);
	mock_begin(&m, 1, 100);
	mock_run(&m);
	mock_block(&m, 0, 0, 1, 1, 100);
	mock_run(&m);
	assert_int_equal(mock_count(&m, MOCK_DESCRIBE), 1);
	mock_take(&m, 0, 0);
	mock_take(&m, 0, 1);
	mock_release(&m, 0, 1);
	mock_run(&m);
	assert_int_equal(mock_last_signal(&m, KVR_PREV, KVR_IMM_CREDIT).value,
			 1);
	mock_close(&m);
}

static void engine_next_local_block_follows_last_forward(void **state)
{
	struct mock m;
	(void)state;

	mock_ring(&m, 3, 0, KVR_LANE_IMMUTABLE);
	mock_begin(&m, 1, 0);
	mock_run(&m);
	assert_int_equal(kvr_engine_end(m.engine), KVR_OK);
	mock_begin(&m, 2, 10);
	mock_run(&m);
	/* Credit is there, but rx 0 of pass 1 is still to be forwarded. */
	assert_int_equal(mock_count(&m, MOCK_DESCRIBE), 1);
	mock_block(&m, 0, 0, 1, 1, 100);
	mock_signal(&m, KVR_NEXT, KVR_IMM_CREDIT, 0, 1);
	mock_run(&m);
	assert_int_equal(mock_count(&m, MOCK_DESCRIBE), 3);
	assert_describe(&m, 1, 1, 2, 2, 100);
	assert_describe(&m, 2, 2, 0, 1, 10);
	assert_int_equal(
		mock_nth(&m, MOCK_DESCRIBE, 2)->describe.descriptor.pass, 2);
	mock_close(&m);
}

/* ----------------------------------------------------------- accumulating */

static void engine_accumulating_block_is_sent_once_released(void **state)
{
	struct mock m;
	(void)state;

	mock_ring(&m, 2, 0, KVR_LANE_ACCUMULATING);
	mock_begin(&m, 1, 100);
	assert_false(mock_run(&m));
	mock_take(&m, 0, 0);
	assert_false(mock_run(&m));
	mock_release(&m, 0, 0);
	mock_run(&m);
	assert_describe(&m, 0, 0, 0, 1, 100);
	assert_int_equal(m.action[0].describe.descriptor.hops_total, 2);
	mock_ack(&m);
	mock_block(&m, 0, 0, 1, 1, 100);
	mock_run(&m);
	mock_take(&m, 0, 1);
	mock_run(&m);
	assert_int_equal(mock_count(&m, MOCK_DESCRIBE), 1);
	mock_release(&m, 0, 1);
	mock_run(&m);
	assert_describe(&m, 1, 1, 1, 2, 100);
	assert_write(&m, 1, 1, 0, 0, 100);
	/* Our own comes home: taken as the last step, not forwarded. */
	mock_block(&m, 0, 1, 1, 2, 100);
	mock_take(&m, 0, 2);
	mock_release(&m, 0, 2);
	mock_ack(&m);
	mock_run(&m);
	assert_int_equal(mock_count(&m, MOCK_DESCRIBE), 2);
	assert_int_equal(mock_last_signal(&m, KVR_PREV, KVR_IMM_CREDIT).value,
			 2);
	assert_int_equal(kvr_engine_end(m.engine), KVR_OK);
	mock_close(&m);
}

/* ----------------------------------------------------------------- grants */

static void engine_credit_needs_release_and_forward(void **state)
{
	struct mock m;
	(void)state;

	for (int order = 0; order < 2; order++) {
		mock_ring(&m, 3, 0, KVR_LANE_IMMUTABLE);
		mock_begin(&m, 1, 0);
		mock_block(&m, 0, 0, 1, 1, 200);
		mock_run(&m);
		mock_take(&m, 0, 0);
		mock_take(&m, 0, 1);
		if (order)
			mock_release(&m, 0, 1);
		else
			mock_ack(&m);
		mock_run(&m);
		assert_int_equal(mock_signals(&m, KVR_PREV, KVR_IMM_CREDIT), 0);
		if (order)
			mock_ack(&m);
		else
			mock_release(&m, 0, 1);
		mock_run(&m);
		assert_int_equal(mock_signals(&m, KVR_PREV, KVR_IMM_CREDIT), 1);
		assert_int_equal(kvr_engine_counters(m.engine)->credits_granted,
				 1);
		mock_close(&m);
	}
}

static void engine_one_of_two_chunks_sent_is_not_forwarded(void **state)
{
	struct mock m;
	(void)state;

	mock_ring(&m, 3, 0, KVR_LANE_IMMUTABLE);
	mock_begin(&m, 1, 0);
	mock_block(&m, 0, 0, 1, 1, 200);
	mock_run(&m);
	mock_take(&m, 0, 0);
	mock_take(&m, 0, 1);
	mock_release(&m, 0, 1);
	kvr_engine_sent(m.engine, mock_nth(&m, MOCK_WRITE, 1)->write.cookie);
	mock_run(&m);
	assert_int_equal(mock_signals(&m, KVR_PREV, KVR_IMM_CREDIT), 0);
	kvr_engine_sent(m.engine, mock_nth(&m, MOCK_WRITE, 0)->write.cookie);
	mock_run(&m);
	assert_int_equal(mock_signals(&m, KVR_PREV, KVR_IMM_CREDIT), 1);
	mock_close(&m);
}

static void engine_credits_are_granted_in_order_of_slots(void **state)
{
	struct mock m;
	(void)state;

	mock_ring(&m, 4, 0, KVR_LANE_IMMUTABLE);
	mock_begin(&m, 1, 0);
	mock_block(&m, 0, 0, 1, 1, 0);
	mock_block(&m, 0, 1, 1, 2, 0);
	mock_run(&m);
	mock_signal(&m, KVR_NEXT, KVR_IMM_CREDIT, 0, 2);
	mock_take(&m, 0, 0);
	mock_take(&m, 0, 1);
	mock_take(&m, 0, 2);
	mock_release(&m, 0, 2);
	mock_run(&m);
	assert_int_equal(mock_signals(&m, KVR_PREV, KVR_IMM_CREDIT), 0);
	mock_release(&m, 0, 1);
	mock_run(&m);
	/* Both at once, as one cumulative number. */
	assert_int_equal(mock_signals(&m, KVR_PREV, KVR_IMM_CREDIT), 1);
	assert_int_equal(mock_last_signal(&m, KVR_PREV, KVR_IMM_CREDIT).value,
			 2);
	mock_close(&m);
}

static void engine_slot_index_runs_on_across_passes(void **state)
{
	struct kvr_engine_config config;
	struct mock m;
	(void)state;

	mock_config(2, 0, &config);
	config.slots = 3;
	mock_open(&m, &config);
	for (uint64_t pass = 0; pass < 5; pass++) {
		struct kvr_engine_block block;

		mock_begin(&m, pass, 50);
		mock_run(&m);
		mock_block(&m, 0, pass, pass, 1, 50);
		mock_take(&m, 0, 0);
		assert_int_equal(kvr_engine_take(m.engine, 0, &block), KVR_OK);
		assert_int_equal(block.slot, pass % 3);
		assert_describe(&m, pass, pass, 0, 1, 50);
		mock_ack(&m);
		assert_int_equal(kvr_engine_end(m.engine), KVR_OK);
		mock_signal(&m, KVR_NEXT, KVR_IMM_CREDIT, 0, pass + 1);
		mock_run(&m);
	}
	mock_close(&m);
}

/* ------------------------------------------------------------------ lanes */

static void engine_lanes_have_their_own_slots_and_credits(void **state)
{
	struct kvr_engine_config config;
	struct mock m;
	(void)state;

	mock_config(3, 0, &config);
	config.lanes = 2;
	config.lane[1] = (struct kvr_lane_options){KVR_LANE_ACCUMULATING, 300};
	mock_open(&m, &config);
	mock_begin(&m, 1, 100);
	mock_run(&m);
	assert_int_equal(mock_count(&m, MOCK_DESCRIBE), 1);
	mock_block(&m, 0, 0, 1, 1, 100);
	mock_block(&m, 1, 0, 1, 1, 200);
	mock_run(&m);
	assert_int_equal(mock_count(&m, MOCK_DESCRIBE), 2);
	mock_take(&m, 1, 0);
	mock_release(&m, 1, 0);
	mock_take(&m, 1, 1);
	mock_release(&m, 1, 1);
	mock_run(&m);
	assert_int_equal(mock_count(&m, MOCK_DESCRIBE), 4);
	mock_ack(&m);
	mock_run(&m);
	/* Lane 0's block is forwarded, but not released. */
	assert_int_equal(mock_signals(&m, KVR_PREV, KVR_IMM_CREDIT), 1);
	assert_int_equal(mock_last_signal(&m, KVR_PREV, KVR_IMM_CREDIT).lane,
			 1);
	/* A credit of lane 1 moves nothing on lane 0. */
	mock_block(&m, 0, 1, 1, 2, 100);
	mock_signal(&m, KVR_NEXT, KVR_IMM_CREDIT, 1, 1);
	mock_run(&m);
	assert_int_equal(mock_count(&m, MOCK_DESCRIBE), 4);
	mock_close(&m);
}

static void engine_full_queue_starves_no_lane(void **state)
{
	struct kvr_engine_config config;
	uint64_t lane_writes[2] = {0, 0};
	struct mock m;
	(void)state;

	mock_config(2, 0, &config);
	config.lanes = 2;
	mock_open(&m, &config);
	mock_begin(&m, 1, 1000);
	m.room[MOCK_WRITE] = 0;
	for (int i = 0; i < 6; i++) {
		m.room[MOCK_WRITE] = 1;
		mock_run(&m);
		assert_true(kvr_engine_blocked(m.engine));
	}
	for (size_t i = 0; i < 6; i++)
		lane_writes[mock_nth(&m, MOCK_WRITE, i)->write.lane]++;
	assert_int_equal(lane_writes[0], 3);
	assert_int_equal(lane_writes[1], 3);
	mock_close(&m);
}

/* ---------------------------------------------------------- back-pressure */

/* One rank of three, from its first block to BYE; next's part is played. */
static void whole_life(struct mock *m)
{

	mock_begin(m, 1, 250);
	mock_block(m, 0, 0, 1, 1, 150);
	mock_block(m, 0, 1, 1, 2, 250);
	mock_take(m, 0, 0);
	mock_take(m, 0, 1);
	mock_take(m, 0, 2);
	mock_signal(m, KVR_PREV, KVR_IMM_BYE, 0, 0);
	for (int i = 0; i < 100; i++) {
		if (kvr_engine_end(m->engine) == KVR_OK &&
		    kvr_engine_bye(m->engine) == KVR_OK)
			return;
		mock_run(m);
		mock_ack(m);
		if (i == 90)
			mock_signal(m, KVR_NEXT, KVR_IMM_BYE, 0, 0);
		/* One place a round, of the kind that is short. */
		for (int k = 0; k < 3; k++)
			if (m->room[k] != MOCK_NO_LIMIT)
				m->room[k]++;
	}
	fail_msg("it never ended");
}

static void engine_refused_action_is_repeated_and_nothing_else(void **state)
{
	struct mock free_way, m;
	(void)state;

	mock_ring(&free_way, 3, 0, KVR_LANE_IMMUTABLE);
	whole_life(&free_way);
	assert_int_equal(kvr_engine_counters(free_way.engine)->back_pressure,
			 0);
	for (int kind = 0; kind < 3; kind++) {
		mock_ring(&m, 3, 0, KVR_LANE_IMMUTABLE);
		m.room[kind] = 0;
		whole_life(&m);
		assert_true(kvr_engine_counters(m.engine)->back_pressure > 0);
		for (int k = 0; k < 2; k++) {
			size_t count = mock_count(&m, (enum mock_kind)k);

			assert_int_equal(count, mock_count(&free_way,
							   (enum mock_kind)k));
			for (size_t i = 0; i < count; i++)
				assert_memory_equal(
					&mock_nth(&m, (enum mock_kind)k, i)
						 ->imm,
					&mock_nth(&free_way, (enum mock_kind)k,
						  i)
						 ->imm,
					sizeof(struct kvr_imm));
		}
		assert_int_equal(
			mock_last_signal(&m, KVR_PREV, KVR_IMM_CREDIT).value,
			2);
		assert_int_equal(mock_signals(&m, KVR_PREV, KVR_IMM_BYE), 1);
		assert_int_equal(mock_signals(&m, KVR_NEXT, KVR_IMM_BYE), 1);
		mock_close(&m);
	}
	mock_close(&free_way);
}

static void engine_blocked_ends_with_the_pressure(void **state)
{
	struct mock m;
	(void)state;

	mock_ring(&m, 2, 0, KVR_LANE_IMMUTABLE);
	mock_begin(&m, 1, 100);
	m.room[MOCK_DESCRIBE] = 0;
	mock_run(&m);
	assert_true(kvr_engine_blocked(m.engine));
	assert_int_equal(m.count, 0);
	m.room[MOCK_DESCRIBE] = MOCK_NO_LIMIT;
	mock_run(&m);
	assert_false(kvr_engine_blocked(m.engine));
	assert_int_equal(m.count, 2);
	mock_close(&m);
}

static void engine_counters_count_payload(void **state)
{
	const struct kvr_engine_counters *c;
	uint64_t sent, received;
	struct mock m;
	(void)state;

	mock_ring(&m, 3, 0, KVR_LANE_IMMUTABLE);
	kvr_engine_pass_bytes(m.engine, &sent, &received);
	assert_int_equal(sent + received, 0);
	mock_block(&m, 0, 0, 1, 1, 150);
	mock_begin(&m, 1, 250);
	mock_block(&m, 0, 1, 1, 2, 70);
	mock_run(&m);
	c = kvr_engine_counters(m.engine);
	assert_int_equal(c->passes, 1);
	assert_int_equal(c->bytes_sent, 400);
	assert_int_equal(c->bytes_received, 220);
	assert_int_equal(c->blocks_received, 2);
	kvr_engine_pass_bytes(m.engine, &sent, &received);
	assert_int_equal(sent, 400);
	assert_int_equal(received, 220);
	mock_close(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			engine_local_block_is_described_and_sent_in_chunks),
		cmocka_unit_test(engine_empty_block_is_a_descriptor_alone),
		cmocka_unit_test(
			engine_chunk_is_forwarded_as_it_lands_in_any_order),
		cmocka_unit_test(
			engine_block_of_many_chunks_is_forwarded_whole),
		cmocka_unit_test(engine_block_before_begin_waits_unforwarded),
		cmocka_unit_test(engine_without_credit_nothing_is_sent),
		cmocka_unit_test(engine_last_block_is_not_forwarded),
		cmocka_unit_test(engine_next_local_block_follows_last_forward),
		cmocka_unit_test(
			engine_accumulating_block_is_sent_once_released),
		cmocka_unit_test(engine_credit_needs_release_and_forward),
		cmocka_unit_test(
			engine_one_of_two_chunks_sent_is_not_forwarded),
		cmocka_unit_test(engine_credits_are_granted_in_order_of_slots),
		cmocka_unit_test(engine_slot_index_runs_on_across_passes),
		cmocka_unit_test(engine_lanes_have_their_own_slots_and_credits),
		cmocka_unit_test(engine_full_queue_starves_no_lane),
		cmocka_unit_test(
			engine_refused_action_is_repeated_and_nothing_else),
		cmocka_unit_test(engine_blocked_ends_with_the_pressure),
		cmocka_unit_test(engine_counters_count_payload),
	};

	return cmocka_run_group_tests_name("engine_send", tests, NULL, NULL);
}
