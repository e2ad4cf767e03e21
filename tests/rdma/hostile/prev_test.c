/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A neighbour that passed the hello and then does what it must not. Its queue
 * pair is our own endpoint's, driven by hand. What prev can reach is its own
 * landing memory, what next can reach is nothing; whoever tries more loses
 * the connection, and nobody else notices.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "rdma/verbs/endpoint.h"
#include "tests/conformance/transport/pair.h"

#define SLOT_BYTES 5000u
#define CHUNK_BYTES 1000u
#define SHOTS_MAX 48
#define STILL_NS UINT64_C(300000000)

/* What the attacker reads from and reads into. */
static _Alignas(4096) uint8_t mine[4096];
/* Memory of the process that no peer has business with. */
static _Alignas(4096) uint8_t canary[4096];

/* One attacked edge, and one beside it on the same devices. */
struct scene {
	struct pair *hit, *beside;
	struct ibv_mr *mr; /* of mine, in the attacker's protection domain */
	struct ibv_mr *source; /* of canary, as a local block is registered */
	uint8_t *before;       /* all landing memory, as it was */
};

struct shot {
	const char *name;
	enum ibv_wr_opcode opcode;
	uint64_t at;
	uint32_t key, bytes;
};

static struct verbs_endpoint *in_of(struct pair *pair)
{
	return verbs_endpoint(pair->in);
}

static struct verbs_endpoint *out_of(struct pair *pair)
{
	return verbs_endpoint(pair->out);
}

/* ---------------------------------------------------------------- scene */

/* Another edge between the same two, over the same devices. */
static struct pair *pair_beside(struct pair *hit)
{
	struct pair *pair = malloc(sizeof(*pair));
	enum kvr_status in, out;

	assert_non_null(pair);
	pair_init(pair, 1, 2, SLOT_BYTES, CHUNK_BYTES);
	pair->transport = hit->transport;
	assert_int_equal(pair->ops->endpoint_open(pair->transport,
						  &pair->in_config, &pair->in),
			 KVR_OK);
	assert_int_equal(pair->ops->endpoint_open(pair->transport,
						  &pair->out_config,
						  &pair->out),
			 KVR_OK);
	pair_introduce(pair);
	pair_connect(pair, &in, &out);
	assert_int_equal(in, KVR_OK);
	assert_int_equal(out, KVR_OK);
	return pair;
}

static void fill_landing(struct pair *pair, uint64_t seed)
{
	test_fill(in_of(pair)->memory, in_of(pair)->memory_bytes, seed);
}

static size_t landing_bytes(const struct scene *s)
{
	return in_of(s->hit)->memory_bytes + in_of(s->beside)->memory_bytes;
}

static void copy_landing(const struct scene *s, uint8_t *to)
{
	const size_t bytes = in_of(s->hit)->memory_bytes;

	memcpy(to, in_of(s->hit)->memory, bytes);
	memcpy(to + bytes, in_of(s->beside)->memory,
	       in_of(s->beside)->memory_bytes);
}

static void scene_open(struct scene *s,
		       struct verbs_endpoint *(*who)(struct pair *))
{
	s->hit = pair_new(1, 2, SLOT_BYTES, CHUNK_BYTES);
	s->beside = pair_beside(s->hit);
	memset(mine, 0xa5, sizeof(mine));
	test_fill(canary, sizeof(canary), 3);
	fill_landing(s->hit, 1);
	fill_landing(s->beside, 2);
	s->mr = ibv_reg_mr(who(s->hit)->qp[0].qp->pd, mine, sizeof(mine),
			   IBV_ACCESS_LOCAL_WRITE);
	assert_non_null(s->mr);
	s->source = ibv_reg_mr(out_of(s->hit)->qp[0].qp->pd, canary,
			       sizeof(canary), 0);
	assert_non_null(s->source);
	s->before = malloc(landing_bytes(s));
	assert_non_null(s->before);
	copy_landing(s, s->before);
}

static void scene_close(struct scene *s)
{
	s->beside->transport = NULL;
	pair_free(s->beside);
	ibv_dereg_mr(s->mr);
	ibv_dereg_mr(s->source);
	pair_free(s->hit);
	free(s->before);
}

static void assert_untouched(const struct scene *s, const char *name)
{
	uint8_t expected[sizeof(canary)];
	uint8_t *now = malloc(landing_bytes(s));

	test_fill(expected, sizeof(expected), 3);
	if (memcmp(canary, expected, sizeof(canary)) != 0)
		fail_msg("%s: memory of the process was written", name);
	copy_landing(s, now);
	if (memcmp(now, s->before, landing_bytes(s)) != 0)
		fail_msg("%s: landing memory was written", name);
	free(now);
	for (size_t i = 0; i < sizeof(mine); i++)
		if (mine[i] != 0xa5)
			fail_msg("%s: memory was read", name);
}

/* Signals both ways and a block: nobody else notices. */
static void assert_works(struct pair *pair)
{
	static const uint8_t block[CHUNK_BYTES] = "a block";
	const struct kvr_piece piece = pair_piece(pair, block, sizeof(block));
	const struct kvr_write write = {
		.bytes = sizeof(block),
		.pieces = &piece,
		.piece_count = 1,
		.chunks = 1,
		.imm = kvr_imm_block(KVR_IMM_CHUNK, 0, 0, 0),
	};
	const size_t in = pair->at_in.imm_count, out = pair->at_out.imm_count;

	assert_int_equal(pair->ops->write(pair->out, &write), KVR_OK);
	assert_int_equal(pair->ops->signal(pair->in, 7), KVR_OK);
	pair_run(pair, in + 1, out + 1);
	assert_memory_equal(pair->ops->slot(pair->in, 0, 0), block,
			    sizeof(block));
}

/* ---------------------------------------------------------------- shoot */

static void shoot(struct scene *s, struct verbs_endpoint *e,
		  const struct shot *shot)
{
	struct verbs_qp *q = &e->qp[0];
	struct ibv_sge sge = {
		.addr = (uintptr_t)mine,
		.length = shot->bytes,
		.lkey = s->mr->lkey,
	};
	struct ibv_send_wr *bad,
		wr = {
			.wr_id = verbs_wr_id(VERBS_WR_SEND, e->attempt, 0,
					     q->posted + 1),
			.sg_list = &sge,
			.num_sge = shot->bytes > 0,
			.opcode = shot->opcode,
			.send_flags = IBV_SEND_SIGNALED,
		};

	if (shot->opcode == IBV_WR_ATOMIC_FETCH_AND_ADD ||
	    shot->opcode == IBV_WR_ATOMIC_CMP_AND_SWP) {
		wr.wr.atomic.remote_addr = shot->at;
		wr.wr.atomic.rkey = shot->key;
		wr.wr.atomic.compare_add = 1;
		wr.wr.atomic.swap = 1;
	} else {
		wr.wr.rdma.remote_addr = shot->at;
		wr.wr.rdma.rkey = shot->key;
	}
	if (ibv_post_send(q->qp, &wr, &bad))
		fail_msg("%s: cannot be posted", shot->name);
	q->posted++;
}

/* The victim notices, and no immediate came through. */
static void await_victim(struct pair *pair, bool by_out)
{
	if (by_out)
		pair_await_in(pair, KVR_ERR_PEER_LOST);
	else
		pair_await_out(pair, KVR_ERR_PEER_LOST);
	assert_int_equal(pair->at_in.imm_count, 0);
	assert_int_equal(pair->at_out.imm_count, 0);
}

/* The attacker notices, at latest now. */
static void close_victim(struct pair *pair, bool by_out)
{
	if (by_out) {
		pair->ops->endpoint_close(pair->in);
		pair->in = NULL;
		pair_await_out(pair, KVR_ERR_PEER_LOST);
	} else {
		pair->ops->endpoint_close(pair->out);
		pair->out = NULL;
		pair_await_in(pair, KVR_ERR_PEER_LOST);
	}
}

/* The edge dies at both ends, what it aimed at is whole, others go on. */
static void expect_death(const struct shot *(*aim)(struct scene *, size_t),
			 struct verbs_endpoint *(*who)(struct pair *))
{
	for (size_t i = 0;; i++) {
		struct scene s;
		const struct shot *shot;

		scene_open(&s, who);
		shot = aim(&s, i);
		if (shot) {
			printf("         - %s\n", shot->name);
			shoot(&s, who(s.hit), shot);
			await_victim(s.hit, who == out_of);
			assert_untouched(&s, shot->name);
			close_victim(s.hit, who == out_of);
			assert_works(s.beside);
		}
		scene_close(&s);
		if (!shot)
			return;
	}
}

/* ------------------------------------------------------------------ prev */

/* Slot 0, the end of the landing memory, and keys that fit or do not. */
static const struct shot *aim_of_prev(struct scene *s, size_t index)
{
	static struct shot shot;
	struct verbs_endpoint *in = in_of(s->hit), *other = in_of(s->beside);
	const uint64_t memory = (uintptr_t)in->memory;
	const uint64_t slot = memory + in->layout.slots[0];
	const uint64_t end = memory + in->memory_bytes;
	const uint64_t others = (uintptr_t)other->memory;
	const uint64_t others_slot = others + other->layout.slots[0];
	const uint32_t key = in->reached->part[0].mr[0]->rkey;
	const uint32_t described = in->mr_described[0]->rkey;
	const struct shot shots[] = {
		{"before the slots", IBV_WR_RDMA_WRITE, slot - 8, key, 8},
		{"across their start", IBV_WR_RDMA_WRITE, slot - 4, key, 8},
		{"across their end", IBV_WR_RDMA_WRITE, end - 4, key, 8},
		{"behind the slots", IBV_WR_RDMA_WRITE, end, key, 8},
		{"many packets across their end", IBV_WR_RDMA_WRITE, end - 4095,
		 key, 4096},
		{"behind the slots, with immediate", IBV_WR_RDMA_WRITE_WITH_IMM,
		 end, key, 8},
		{"the end of the address space", IBV_WR_RDMA_WRITE,
		 UINT64_MAX - 3, key, 8},
		{"address 0", IBV_WR_RDMA_WRITE, 0, key, 8},
		{"other memory by the slots' key", IBV_WR_RDMA_WRITE,
		 (uintptr_t)canary, key, 8},
		{"slots by the descriptors' key", IBV_WR_RDMA_WRITE, slot,
		 described, 8},
		{"descriptors by the slots' key", IBV_WR_RDMA_WRITE, memory,
		 key, 8},
		{"the slots' key, changed", IBV_WR_RDMA_WRITE, slot, key ^ 1,
		 8},
		{"the next key", IBV_WR_RDMA_WRITE, slot, key + 0x100, 8},
		{"key 0", IBV_WR_RDMA_WRITE, slot, 0, 8},
		{"the largest key", IBV_WR_RDMA_WRITE, slot, UINT32_MAX, 8},
		{"another edge's slots", IBV_WR_RDMA_WRITE, others_slot,
		 other->reached->part[0].mr[0]->rkey, 8},
		{"another edge's descriptors", IBV_WR_RDMA_WRITE, others,
		 other->mr_described[0]->rkey, 8},
		{"the hello's buffer", IBV_WR_RDMA_WRITE, (uintptr_t)&in->talk,
		 in->mr_talk->rkey, 8},
		{"a local block", IBV_WR_RDMA_WRITE, (uintptr_t)canary,
		 s->source->rkey, 8},
		{"read a slot", IBV_WR_RDMA_READ, slot, key, 8},
		{"read a descriptor", IBV_WR_RDMA_READ, memory, described, 8},
		{"read a local block", IBV_WR_RDMA_READ, (uintptr_t)canary,
		 s->source->rkey, 8},
		{"add to a slot", IBV_WR_ATOMIC_FETCH_AND_ADD, slot, key, 8},
		{"swap in a slot", IBV_WR_ATOMIC_CMP_AND_SWP, slot, key, 8},
		{"send", IBV_WR_SEND, 0, 0, 8},
		{"send a hello", IBV_WR_SEND, 0, 0,
		 sizeof(struct verbs_message)},
		{"send nothing", IBV_WR_SEND, 0, 0, 0},
		{"send an immediate", IBV_WR_SEND_WITH_IMM, 0, 0, 0},
	};

	if (index >= sizeof(shots) / sizeof(shots[0]))
		return NULL;
	shot = shots[index];
	return &shot;
}

static void prev_beyond_its_slots_reaches_nothing_and_dies(void **state)
{
	(void)state;
	expect_death(aim_of_prev, out_of);
}

/* That is what the hello granted, and it is all. */
static void prev_may_write_its_own_slots(void **state)
{
	struct scene s;
	struct verbs_endpoint *in;

	(void)state;
	scene_open(&s, out_of);
	in = in_of(s.hit);
	shoot(&s, out_of(s.hit),
	      &(struct shot){"its slot", IBV_WR_RDMA_WRITE,
			     (uintptr_t)in->memory + in->layout.slots[0] + 100,
			     in->reached->part[0].mr[0]->rkey, 8});
	assert_works(s.beside);
	assert_int_equal(s.hit->ops->signal(s.hit->out, 5), KVR_OK);
	pair_run(s.hit, 1, 0);
	memset(s.before + in->layout.slots[0] + 100, 0xa5, 8);
	/* What assert_works wrote beside. */
	memcpy(s.before + in->memory_bytes + in_of(s.beside)->layout.slots[0],
	       s.beside->ops->slot(s.beside->in, 0, 0), CHUNK_BYTES);
	assert_untouched(&s, "its slot");
	scene_close(&s);
}

/* ------------------------------------------------------------------ next */

/* From next's end of the edge: a receiver that lies. */
static const struct shot *aim_of_next(struct scene *s, size_t index)
{
	static struct shot shot;
	struct verbs_endpoint *out = out_of(s->hit);
	struct verbs_endpoint *in = in_of(s->hit);
	const uint64_t source = (uintptr_t)canary;
	const uint64_t copies = (uintptr_t)out->memory;
	const uint64_t slot = (uintptr_t)in->memory + in->layout.slots[0];
	const struct shot shots[] = {
		{"write a local block", IBV_WR_RDMA_WRITE, source,
		 s->source->rkey, 8},
		{"write it, with immediate", IBV_WR_RDMA_WRITE_WITH_IMM, source,
		 s->source->rkey, 8},
		{"read a local block", IBV_WR_RDMA_READ, source,
		 s->source->rkey, 8},
		{"add to a local block", IBV_WR_ATOMIC_FETCH_AND_ADD, source,
		 s->source->rkey, 8},
		{"write descriptors on their way", IBV_WR_RDMA_WRITE, copies,
		 out->mr_described[0]->rkey, 8},
		{"read descriptors on their way", IBV_WR_RDMA_READ, copies,
		 out->mr_described[0]->rkey, 8},
		{"write the hello's buffer", IBV_WR_RDMA_WRITE,
		 (uintptr_t)&out->talk, out->mr_talk->rkey, 8},
		{"read the hello's buffer", IBV_WR_RDMA_READ,
		 (uintptr_t)&out->talk, out->mr_talk->rkey, 8},
		/* The same process may have landing slots, for its prev. */
		{"write a landing slot", IBV_WR_RDMA_WRITE, slot,
		 in->reached->part[0].mr[0]->rkey, 8},
		{"read a landing slot", IBV_WR_RDMA_READ, slot,
		 in->reached->part[0].mr[0]->rkey, 8},
		{"write by key 0", IBV_WR_RDMA_WRITE, source, 0, 8},
		{"send", IBV_WR_SEND, 0, 0, 8},
		{"send nothing", IBV_WR_SEND, 0, 0, 0},
	};

	if (index >= sizeof(shots) / sizeof(shots[0]))
		return NULL;
	shot = shots[index];
	return &shot;
}

static void next_reaches_nothing_and_dies(void **state)
{
	(void)state;
	expect_death(aim_of_next, in_of);
}

/* ----------------------------------------------------------- after close */

/* Polls what is there, so that devices and connections get on. */
static void linger(struct pair *pair)
{
	const uint64_t end = test_now_ns() + STILL_NS;
	struct kvr_event events[16];
	size_t count;

	while (test_now_ns() < end)
		(void)!pair->ops->poll(pair->out, events, 16, &count);
}

/* The process uses the addresses for something else by then. */
static void prev_after_close_writes_nothing(void **state)
{
	struct pair *pair = pair_new(1, 2, SLOT_BYTES, CHUNK_BYTES);
	struct verbs_endpoint *out = out_of(pair), *in = in_of(pair);
	const size_t bytes = in->memory_bytes;
	const uint64_t slot = (uintptr_t)in->memory + in->layout.slots[0];
	const uint32_t key = in->reached->part[0].mr[0]->rkey;
	uint8_t *memory = in->memory;
	struct scene s = {.hit = pair};

	(void)state;
	s.mr = ibv_reg_mr(out->qp[0].qp->pd, mine, sizeof(mine), 0);
	assert_non_null(s.mr);
	memset(mine, 0xa5, sizeof(mine));
	pair->ops->endpoint_close(pair->in);
	pair->in = NULL;
	assert_ptr_equal(mmap(memory, bytes, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
			      -1, 0),
			 memory);
	shoot(&s, out,
	      &(struct shot){"closed", IBV_WR_RDMA_WRITE, slot, key, 8});
	linger(pair);
	for (size_t i = 0; i < bytes; i++)
		assert_int_equal(memory[i], 0);
	munmap(memory, bytes);
	ibv_dereg_mr(s.mr);
	pair_free(pair);
}

/* A ring that was reopened; the old prev knows the new address and key. */
static void prev_of_an_old_generation_writes_nothing(void **state)
{
	struct pair *old = pair_new(1, 2, SLOT_BYTES, CHUNK_BYTES);
	struct scene s = {.hit = old};
	struct verbs_endpoint *in;
	uint8_t *before;

	(void)state;
	s.mr = ibv_reg_mr(out_of(old)->qp[0].qp->pd, mine, sizeof(mine), 0);
	assert_non_null(s.mr);
	old->ops->endpoint_close(old->in);
	old->in = NULL;
	s.beside = pair_beside(old);
	in = in_of(s.beside);
	fill_landing(s.beside, 9);
	before = malloc(in->memory_bytes);
	assert_non_null(before);
	memcpy(before, in->memory, in->memory_bytes);
	shoot(&s, out_of(old),
	      &(struct shot){"the new slots", IBV_WR_RDMA_WRITE,
			     (uintptr_t)in->memory + in->layout.slots[0],
			     in->reached->part[0].mr[0]->rkey, 8});
	linger(old);
	assert_memory_equal(in->memory, before, in->memory_bytes);
	assert_works(s.beside);
	free(before);
	s.beside->transport = NULL;
	pair_free(s.beside);
	ibv_dereg_mr(s.mr);
	pair_free(old);
}

static uint64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* The queue pair at the other end drops what comes, as one that died. */
static void close_that_nobody_acknowledges_sleeps(void **state)
{
	struct pair *pair = pair_new(1, 2, SLOT_BYTES, CHUNK_BYTES);
	uint64_t begin_ns, begin_cpu_ns, took_ns, used_ns;

	(void)state;
	verbs_qp_error_state(&in_of(pair)->qp[0]);
	assert_int_equal(
		pair->ops->signal(pair->out, kvr_imm_value(KVR_IMM_BYE, 0, 0)),
		KVR_OK);
	begin_ns = test_now_ns();
	begin_cpu_ns = cpu_ns();
	pair->ops->endpoint_close(pair->out);
	took_ns = test_now_ns() - begin_ns;
	used_ns = cpu_ns() - begin_cpu_ns;
	pair->out = NULL;
	printf("         - waits %.0f ms, computes %.0f ms\n",
	       (double)took_ns / 1e6, (double)used_ns / 1e6);
	/* It waits for what was said last, 500 ms at most, and sleeps. */
	assert_true(took_ns > 400 * UINT64_C(1000000));
	assert_true(used_ns < 300 * UINT64_C(1000000));
	pair_free(pair);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(prev_may_write_its_own_slots),
		cmocka_unit_test(
			prev_beyond_its_slots_reaches_nothing_and_dies),
		cmocka_unit_test(next_reaches_nothing_and_dies),
		cmocka_unit_test(prev_after_close_writes_nothing),
		cmocka_unit_test(prev_of_an_old_generation_writes_nothing),
		cmocka_unit_test(close_that_nobody_acknowledges_sleeps),
	};
	char reason[160];

	pair_ops = &kvr_verbs_transport;
	if (pair_ops->probe(reason, sizeof(reason)) != KVR_OK) {
		printf("skipped: %s\n", reason);
		return 77;
	}
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
