/* SPDX-License-Identifier: Apache-2.0 */
/* What the scripted transport adds to the contract: faults on demand. */
#include <stdlib.h>
#include <string.h>

#include "rdma/fake/endpoint.h"
#include "tests/conformance/transport/pair.h"

static uint64_t virtual_ns;

static uint64_t read_clock(void *arg)
{
	(void)arg;
	return virtual_ns;
}

static struct kvr_fake_script script_of(uint64_t seed)
{
	virtual_ns = 0;
	return (struct kvr_fake_script){
		.seed = seed, .now = read_clock, .slow_rank = KVR_RANK_NONE};
}

/* Scripts apply to what is opened later; none is left behind. */
static struct pair *scripted(const struct kvr_fake_script *script)
{
	struct pair *pair;

	kvr_fake_set_script(script);
	pair = pair_new(2, 4, 4096, 64);
	kvr_fake_set_script(NULL);
	return pair;
}

static void post_chunk(struct pair *pair, uint32_t k, uint32_t chunk)
{
	static const uint8_t source[1];
	static const struct kvr_piece piece = {source, 1, NULL};

	assert_int_equal(
		pair->ops->write(
			pair->out,
			&(struct kvr_write){.slot = k % 4,
					    .offset = chunk,
					    .bytes = 1,
					    .pieces = &piece,
					    .piece_count = 1,
					    .imm = kvr_imm_block(KVR_IMM_CHUNK,
								 0, k, chunk)}),
		KVR_OK);
}

static void poll_both(struct pair *pair)
{
	pair_poll_out(pair);
	pair_poll_in(pair);
}

/* Advances the clock from due to due until nothing is on its way. */
static void run_dry(struct pair *pair)
{
	for (;;) {
		const uint64_t due = kvr_fake_next_due();

		if (due == UINT64_MAX)
			break;
		if (due > virtual_ns)
			virtual_ns = due;
		poll_both(pair);
	}
	for (int i = 0; i < 100; i++)
		poll_both(pair);
}

/* --------------------------------------------------------------- delays */

static void signal_with_delay_arrives_at_its_time(void **state)
{
	struct kvr_fake_script script = script_of(1);

	(void)state;
	script.delay_min_ns = script.delay_max_ns = 1000;
	struct pair *pair = scripted(&script);
	virtual_ns = 50;
	assert_int_equal(kvr_fake_next_due(), UINT64_MAX);
	assert_int_equal(pair->ops->signal(pair->out, 7), KVR_OK);
	assert_int_equal(kvr_fake_next_due(), 1050);
	virtual_ns = 1049;
	poll_both(pair);
	assert_int_equal(pair->at_in.imm_count, 0);
	/* Nobody rings when a virtual clock has advanced. */
	assert_int_equal(pair->ops->arm(pair->in), KVR_ERR_AGAIN);
	virtual_ns = 1050;
	poll_both(pair);
	assert_int_equal(pair->at_in.imm_count, 1);
	assert_int_equal(pair->ops->arm(pair->in), KVR_OK);
	pair_free(pair);
}

static void delays_that_vary_keep_the_order(void **state)
{
	struct kvr_fake_script script = script_of(2);

	(void)state;
	script.delay_max_ns = 100000;
	struct pair *pair = scripted(&script);
	for (uint32_t i = 0; i < 50; i++) {
		virtual_ns += 10;
		assert_int_equal(pair->ops->signal(pair->out, i), KVR_OK);
	}
	run_dry(pair);
	assert_int_equal(pair->at_in.imm_count, 50);
	for (uint32_t i = 0; i < 50; i++)
		assert_int_equal(pair->at_in.imms[i], i);
	pair_free(pair);
}

static void slow_rank_takes_the_factor_longer(void **state)
{
	struct kvr_fake_script script = script_of(3);

	(void)state;
	script.delay_min_ns = script.delay_max_ns = 100;
	script.slow_rank = 1; /* the receiver: both ways are slow */
	script.slow_factor = 30;
	struct pair *pair = scripted(&script);
	assert_int_equal(pair->ops->signal(pair->out, 1), KVR_OK);
	assert_int_equal(kvr_fake_next_due(), 3000);
	assert_int_equal(pair->ops->signal(pair->in, 1), KVR_OK);
	virtual_ns = 2999;
	poll_both(pair);
	assert_int_equal(pair->at_in.imm_count + pair->at_out.imm_count, 0);
	virtual_ns = 3000;
	poll_both(pair);
	poll_both(pair);
	assert_int_equal(pair->at_in.imm_count + pair->at_out.imm_count, 2);
	pair_free(pair);
}

/* ------------------------------------------------------------ reordering */

/* The order in which 30 chunks of three blocks and a signal arrive. */
static void shuffle(uint64_t seed, uint32_t order[31])
{
	struct kvr_fake_script script = script_of(seed);

	script.reorder = true;
	script.delay_max_ns = 1000;
	struct pair *pair = scripted(&script);
	for (uint32_t i = 0; i < 30; i++) {
		if (i == 20)
			assert_int_equal(
				pair->ops->signal(pair->out, UINT32_MAX),
				KVR_OK);
		post_chunk(pair, i / 10, i % 10);
	}
	run_dry(pair);
	assert_int_equal(pair->at_in.imm_count, 31);
	assert_int_equal(pair->at_out.cookie_count, 30);
	memcpy(order, pair->at_in.imms, 31 * sizeof(*order));
	pair_free(pair);
}

static int compare(const void *a, const void *b)
{
	const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static void reorder_shuffles_chunks_but_not_signals(void **state)
{
	uint32_t order[31], shuffled = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 50; seed++) {
		shuffle(seed, order);
		/* Two blocks, the signal, the third. */
		assert_int_equal(order[20], UINT32_MAX);
		for (uint32_t i = 0; i < 20; i++)
			shuffled += kvr_imm_decode(order[i]).sequence != i / 10;
		for (uint32_t i = 21; i < 31; i++)
			assert_int_equal(kvr_imm_decode(order[i]).sequence, 2);
		/* Each exactly once. */
		qsort(order, 31, sizeof(*order), compare);
		for (uint32_t i = 0; i < 30; i++)
			assert_int_equal(order[i],
					 kvr_imm_block(KVR_IMM_CHUNK, 0, i / 10,
						       i % 10));
	}
	assert_true(shuffled > 100);
}

static void reorder_with_a_seed_repeats_itself(void **state)
{
	uint32_t first[31], again[31], other[31];
	int differ = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 10; seed++) {
		shuffle(seed, first);
		shuffle(seed, again);
		shuffle(seed + 1, other);
		assert_memory_equal(first, again, sizeof(first));
		differ += memcmp(first, other, sizeof(first)) != 0;
	}
	assert_int_equal(differ, 10);
}

/* Block k and k + slots use one slot: never the later one first. */
static void reorder_keeps_blocks_of_one_slot_apart(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 50; seed++) {
		struct kvr_fake_script script = script_of(seed);
		uint32_t next[4] = {0};

		script.reorder = true;
		struct pair *pair = scripted(&script);
		for (uint32_t k = 0; k < 16; k++)
			for (uint32_t c = 0; c < 3; c++)
				post_chunk(pair, k, c);
		run_dry(pair);
		assert_int_equal(pair->at_in.imm_count, 48);
		for (uint32_t i = 0; i < 48; i++) {
			uint32_t k =
				kvr_imm_decode(pair->at_in.imms[i]).sequence;

			assert_true(k >= next[k % 4]);
			next[k % 4] = k;
		}
		pair_free(pair);
	}
}

/* ---------------------------------------------------------------- faults */

static void queue_depth_bounds_the_writes_and_not_the_signals(void **state)
{
	struct kvr_fake_script script = script_of(1);
	static const uint8_t source[1];
	const struct kvr_piece piece = {source, 1, NULL};
	const struct kvr_write write = {
		.bytes = 1, .pieces = &piece, .piece_count = 1};

	(void)state;
	script.queue_depth = 3;
	struct pair *pair = scripted(&script);
	for (uint32_t i = 0; i < 3; i++)
		post_chunk(pair, 0, i);
	assert_int_equal(pair->ops->write(pair->out, &write), KVR_ERR_AGAIN);
	assert_int_equal(pair->ops->signal(pair->out, 1), KVR_OK);
	run_dry(pair);
	assert_int_equal(pair->ops->write(pair->out, &write), KVR_OK);
	pair_free(pair);
}

/* A BYE behind all that a peer which does not poll has room for. */
static void close_with_a_full_inbox_delivers_what_is_queued(void **state)
{
	struct pair *pair = pair_new(1, 4, 4096, 64);
	uint32_t posted = 0;

	(void)state;
	while (pair->ops->signal(pair->out, posted) == KVR_OK) {
		posted++;
		pair_poll_out(pair);
	}
	assert_true(posted > FAKE_SIGNALS);
	pair->ops->endpoint_close(pair->out);
	pair->out = NULL;
	pair_await_in(pair, KVR_ERR_PEER_LOST);
	assert_int_equal(pair->at_in.imm_count, posted);
	for (uint32_t i = 0; i < posted; i++)
		assert_int_equal(pair->at_in.imms[i], i);
	pair_free(pair);
}

static void kill_is_lost_to_the_peer_after_what_arrived(void **state)
{
	struct kvr_fake_script script = script_of(1);

	(void)state;
	script.delay_min_ns = script.delay_max_ns = 100;
	struct pair *pair = scripted(&script);
	assert_int_equal(pair->ops->signal(pair->out, 1), KVR_OK);
	virtual_ns = 100;
	pair_poll_out(pair); /* arrives */
	assert_int_equal(pair->ops->signal(pair->out, 2), KVR_OK);
	kvr_fake_kill(pair->out_config.ring_id + 1, 0); /* another ring */
	kvr_fake_kill(pair->out_config.ring_id, 0);
	virtual_ns = 1000;
	pair_poll_in(pair);
	assert_int_equal(pair->at_in.status, KVR_ERR_PEER_LOST);
	assert_int_equal(pair->at_in.imm_count, 1);
	/* The dead do nothing more, and say nothing. */
	pair_poll_out(pair);
	assert_int_equal(pair->at_out.status, KVR_OK);
	assert_int_equal(pair->ops->signal(pair->out, 3), KVR_ERR_AGAIN);
	pair_free(pair);
}

static void freeze_is_silence_and_not_loss(void **state)
{
	struct kvr_fake_script script = script_of(1);

	(void)state;
	struct pair *pair = scripted(&script);
	assert_int_equal(pair->ops->signal(pair->in, 1), KVR_OK);
	kvr_fake_freeze(pair->out_config.ring_id, 1);
	for (int i = 0; i < 1000; i++) {
		virtual_ns += 1000000;
		poll_both(pair);
		assert_int_equal(pair->at_out.status, KVR_OK);
	}
	assert_int_equal(pair->at_out.imm_count, 0);
	/* Its memory still takes writes: a NIC would too. */
	post_chunk(pair, 0, 0);
	poll_both(pair);
	assert_int_equal(pair->at_out.cookie_count, 1);
	assert_int_equal(pair->at_in.imm_count, 0);
	assert_int_equal(pair->ops->arm(pair->out), KVR_OK);
	pair_free(pair);
}

/* What was opened before a kill dies; a replacement lives. */
static void kill_spares_the_next_generation(void **state)
{
	struct pair *pair = pair_new(1, 1, 64, 64), next;
	enum kvr_status in, out;

	(void)state;
	kvr_fake_kill(pair->in_config.ring_id, 0);
	pair_init(&next, 1, 1, 64, 64);
	next.in_config.ring_id = next.out_config.ring_id =
		pair->in_config.ring_id;
	next.in_config.generation = next.out_config.generation = 2;
	pair_open(&next);
	pair_introduce(&next);
	pair_connect(&next, &in, &out);
	assert_int_equal(in, KVR_OK);
	assert_int_equal(out, KVR_OK);
	assert_int_equal(next.ops->signal(next.out, 1), KVR_OK);
	pair_run(&next, 1, 0);
	pair_close(&next);
	pair_free(pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(signal_with_delay_arrives_at_its_time),
		cmocka_unit_test(delays_that_vary_keep_the_order),
		cmocka_unit_test(slow_rank_takes_the_factor_longer),
		cmocka_unit_test(reorder_shuffles_chunks_but_not_signals),
		cmocka_unit_test(reorder_with_a_seed_repeats_itself),
		cmocka_unit_test(reorder_keeps_blocks_of_one_slot_apart),
		cmocka_unit_test(
			queue_depth_bounds_the_writes_and_not_the_signals),
		cmocka_unit_test(
			close_with_a_full_inbox_delivers_what_is_queued),
		cmocka_unit_test(kill_is_lost_to_the_peer_after_what_arrived),
		cmocka_unit_test(freeze_is_silence_and_not_loss),
		cmocka_unit_test(kill_spares_the_next_generation),
	};

	pair_ops = &kvr_fake_transport;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
