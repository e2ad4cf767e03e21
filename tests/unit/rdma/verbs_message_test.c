/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The authenticated hello of the verbs transport, byte by byte, and the small
 * pure parts beside it. The MACs of one whole talk are given as golden values
 * that Python's hmac computed from the layout alone:
 * tests/unit/rdma/verbs_message.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "rdma/verbs/endpoint.h"
#include "tests/unit/rdma/verbs_message_golden.h"

static const char secret[] = "a shared secret";

static struct kvr_endpoint_config config_of_talk(void)
{
	struct kvr_endpoint_config config = {
		.role = KVR_ROLE_OUT,
		.rank = 1,
		.peer = 2,
		.n = 4,
		.ring_id = UINT64_C(0x1122334455667788),
		.generation = 3,
		.lanes = 2,
		.slots = 2,
		.slot_bytes = {1000, 2000},
		.chunk_bytes = 300,
		.secret = secret,
		.secret_bytes = sizeof(secret) - 1,
	};

	for (uint32_t i = 0; i < KVR_ENTROPY_BYTES; i++)
		config.entropy[i] = (uint8_t)(i + 1);
	return config;
}

static void write_hello(struct kvr_endpoint_config config, uint64_t mark,
			uint8_t salt, struct verbs_hello *out)
{
	uint8_t nonce[KVR_NONCE_BYTES];

	memset(nonce, salt, sizeof(nonce));
	kvr_hello_init(&config, nonce, &out->base);
	memset(out->nonce, salt + 1, sizeof(out->nonce));
	out->secret_mark = mark;
	out->rails = 1;
	out->qps = 2;
	out->qpn[0] = 0x100u + salt;
	out->qpn[1] = 0x200u + salt;
	memset(out->gid[0], salt + 2, sizeof(out->gid[0]));
}

/* All four messages; count is what was said before message `index`. */
static void whole_talk(struct verbs_talk *talk, uint8_t *key)
{
	struct kvr_endpoint_config config = config_of_talk();
	struct verbs_grant *grant = &talk->message[3].body.grant;
	uint64_t mark;

	memset(talk, 0, sizeof(*talk));
	assert_int_equal(verbs_key_make(&config, key, &mark), KVR_OK);
	write_hello(config, mark, 0x10, &talk->message[0].body.hello);
	config.role = KVR_ROLE_IN;
	config.rank = 2;
	config.peer = 1;
	write_hello(config, mark, 0x20, &talk->message[1].body.hello);
	grant->address = UINT64_C(0x7f0011223344);
	grant->slots_key[0] = 0xabcd;
	grant->described_key[0] = 0xef01;
	for (uint32_t i = 0; i < VERBS_MESSAGES; i++)
		assert_int_equal(verbs_talk_seal(key, talk, i), KVR_OK);
}

/* What message `index` is taken for when it is its turn. */
static enum verbs_verdict judge(const uint8_t *key, struct verbs_talk *talk,
				uint32_t index)
{
	talk->count = index;
	return verbs_talk_judge(key, talk, index, sizeof(talk->message[0]));
}

static void talk_as_sealed_is_genuine(void **state)
{
	uint8_t key[KVR_MAC_BYTES];
	struct verbs_talk talk;

	(void)state;
	whole_talk(&talk, key);
	for (uint32_t i = 0; i < VERBS_MESSAGES; i++)
		assert_int_equal(judge(key, &talk, i), VERBS_GENUINE);
}

/* The wire format is what another implementation reads. */
static void talk_has_the_bytes_that_python_computes(void **state)
{
	uint8_t key[KVR_MAC_BYTES];
	struct verbs_talk talk;

	(void)state;
	whole_talk(&talk, key);
	assert_memory_equal(key, golden_key, sizeof(golden_key));
	assert_memory_equal(&talk.message[0].body.hello.secret_mark,
			    golden_mark, sizeof(golden_mark));
	for (uint32_t i = 0; i < VERBS_MESSAGES; i++)
		assert_memory_equal(talk.message[i].mac, golden_mac[i],
				    sizeof(golden_mac[i]));
}

/* In any message up to and with the judged one: the MAC covers them all. */
static void talk_with_any_bit_changed_is_not_genuine(void **state)
{
	uint8_t key[KVR_MAC_BYTES];
	struct verbs_talk talk;
	uint8_t *bytes = (uint8_t *)talk.message;

	(void)state;
	whole_talk(&talk, key);
	for (uint32_t i = 0; i < VERBS_MESSAGES; i++) {
		const size_t end = (i + 1) * sizeof(talk.message[0]);

		for (size_t at = 0; at < end; at++) {
			const uint8_t bit = (uint8_t)(1u << at % 8);

			bytes[at] ^= bit;
			if (judge(key, &talk, i) == VERBS_GENUINE)
				fail_msg("byte %zu of the talk, message %u", at,
					 i);
			bytes[at] ^= bit;
		}
		assert_int_equal(judge(key, &talk, i), VERBS_GENUINE);
	}
}

static void message_of_another_length_is_garbage(void **state)
{
	uint8_t key[KVR_MAC_BYTES];
	struct verbs_talk talk;
	const uint32_t size = sizeof(talk.message[0]);

	(void)state;
	whole_talk(&talk, key);
	talk.count = 0;
	for (uint32_t bytes = 0; bytes <= 2 * size; bytes++)
		assert_int_equal(verbs_talk_judge(key, &talk, 0, bytes),
				 bytes == size ? VERBS_GENUINE : VERBS_GARBAGE);
	assert_int_equal(verbs_talk_judge(key, &talk, 0, UINT32_MAX),
			 VERBS_GARBAGE);
}

static void message_out_of_turn_is_garbage(void **state)
{
	uint8_t key[KVR_MAC_BYTES];
	struct verbs_talk talk;

	(void)state;
	whole_talk(&talk, key);
	for (uint32_t i = 0; i < VERBS_MESSAGES; i++)
		for (talk.count = 0; talk.count <= VERBS_MESSAGES; talk.count++)
			assert_int_equal(
				verbs_talk_judge(key, &talk, i,
						 sizeof(talk.message[0])),
				i == talk.count ? VERBS_GENUINE
						: VERBS_GARBAGE);
}

/* Each message in each other's place: its own type says what it is. */
static void message_replayed_in_another_place_is_garbage(void **state)
{
	uint8_t key[KVR_MAC_BYTES];
	struct verbs_talk talk, replayed;

	(void)state;
	whole_talk(&talk, key);
	for (uint32_t to = 0; to < VERBS_MESSAGES; to++) {
		for (uint32_t from = 0; from < VERBS_MESSAGES; from++) {
			replayed = talk;
			replayed.message[to] = talk.message[from];
			assert_int_equal(judge(key, &replayed, to),
					 to == from ? VERBS_GENUINE
						    : VERBS_GARBAGE);
		}
	}
}

/* The proof of an older talk, after a hello with a nonce of its own. */
static void proof_of_an_older_talk_is_forged(void **state)
{
	uint8_t key[KVR_MAC_BYTES];
	struct verbs_talk old, now;

	(void)state;
	whole_talk(&old, key);
	now = old;
	now.message[1].body.hello.nonce[5] ^= 1;
	assert_int_equal(verbs_talk_seal(key, &now, 1), KVR_OK);
	assert_int_equal(judge(key, &now, 1), VERBS_GENUINE);
	assert_int_equal(judge(key, &now, 2), VERBS_FORGED);
	assert_int_equal(judge(key, &now, 3), VERBS_FORGED);
}

static void message_of_another_version_is_told_apart(void **state)
{
	uint8_t key[KVR_MAC_BYTES];
	struct verbs_talk talk;

	(void)state;
	whole_talk(&talk, key);
	for (uint32_t bit = 0; bit < 32; bit++) {
		talk.message[0].version = VERBS_VERSION ^ 1u << bit;
		assert_int_equal(judge(key, &talk, 0), VERBS_VERSION_DIFFERS);
	}
}

/* Not forged: nothing of ours at all, which nobody needs a key to see. */
static void message_of_another_magic_is_garbage(void **state)
{
	uint8_t key[KVR_MAC_BYTES];
	struct verbs_talk talk;

	(void)state;
	whole_talk(&talk, key);
	for (uint32_t bit = 0; bit < 64; bit++) {
		talk.message[0].magic = VERBS_MESSAGE_MAGIC ^ UINT64_C(1)
								      << bit;
		assert_int_equal(judge(key, &talk, 0), VERBS_GARBAGE);
	}
}

/* ------------------------------------------------------------------ keys */

static void assert_other_key(const struct kvr_endpoint_config *config)
{
	uint8_t key[KVR_MAC_BYTES], other[KVR_MAC_BYTES];
	const struct kvr_endpoint_config ours = config_of_talk();
	struct verbs_talk talk;
	uint64_t mark, others;

	whole_talk(&talk, key);
	assert_int_equal(verbs_key_make(&ours, key, &mark), KVR_OK);
	assert_int_equal(verbs_key_make(config, other, &others), KVR_OK);
	assert_memory_not_equal(key, other, sizeof(key));
	assert_int_not_equal(mark, others);
	for (uint32_t i = 0; i < VERBS_MESSAGES; i++)
		assert_int_equal(judge(other, &talk, i), VERBS_FORGED);
}

static void key_of_another_ring_or_secret_is_another(void **state)
{
	struct kvr_endpoint_config config = config_of_talk();

	(void)state;
	config.ring_id ^= UINT64_C(1) << 63;
	assert_other_key(&config);
	config = config_of_talk();
	config.generation++;
	assert_other_key(&config);
	for (uint32_t i = 0; i < KVR_ENTROPY_BYTES; i++) {
		config = config_of_talk();
		config.entropy[i] ^= 0x80;
		assert_other_key(&config);
	}
	config = config_of_talk();
	config.secret_bytes--;
	assert_other_key(&config);
	config.secret = "another secret!";
	assert_other_key(&config);
	config.secret = NULL;
	config.secret_bytes = 0;
	assert_other_key(&config);
}

/* Both ends make it of what they agree on, not of what tells them apart. */
static void key_of_both_ends_is_the_same(void **state)
{
	struct kvr_endpoint_config config = config_of_talk();
	uint8_t key[KVR_MAC_BYTES], other[KVR_MAC_BYTES];
	uint64_t mark, others;

	(void)state;
	assert_int_equal(verbs_key_make(&config, key, &mark), KVR_OK);
	config.role = KVR_ROLE_IN;
	config.rank = 2;
	config.peer = 1;
	assert_int_equal(verbs_key_make(&config, other, &others), KVR_OK);
	assert_memory_equal(key, other, sizeof(key));
	assert_int_equal(mark, others);
}

/* Where no secret is, none is used: not that of the call before. */
static void key_without_secret_does_not_depend_on_calls_before(void **state)
{
	struct kvr_endpoint_config config = config_of_talk(), none = config;
	uint8_t first[KVR_MAC_BYTES], key[KVR_MAC_BYTES];
	uint64_t mark;

	(void)state;
	none.secret = NULL;
	none.secret_bytes = 0;
	assert_int_equal(verbs_key_make(&none, first, &mark), KVR_OK);
	assert_int_equal(verbs_key_make(&config, key, &mark), KVR_OK);
	assert_int_equal(verbs_key_make(&none, key, &mark), KVR_OK);
	assert_memory_equal(first, key, sizeof(key));
}

/* ----------------------------------------------------------- small parts */

static void device_listed_takes_names_and_ports(void **state)
{
	static const struct {
		const char *list, *name;
		uint8_t port;
		bool listed;
	} cases[] = {
		{"mlx5_0", "mlx5_0", 1, true},
		{"mlx5_0", "mlx5_0", 2, true},
		{"mlx5_0:1", "mlx5_0", 1, true},
		{"mlx5_0:1", "mlx5_0", 2, false},
		{"mlx5_0:12", "mlx5_0", 1, false},
		{"mlx5_0:12", "mlx5_0", 12, true},
		{"mlx5_1,mlx5_0:1", "mlx5_0", 1, true},
		{"mlx5_1,mlx5_0:1,rxe0", "mlx5_0", 1, true},
		{"mlx5_1,mlx5_0:1,rxe0", "rxe0", 9, true},
		{"mlx5_0:2,mlx5_0:1", "mlx5_0", 1, true},
		{"mlx5_01", "mlx5_0", 1, false},
		{"mlx5_0", "mlx5_01", 1, false},
		{"mlx5_", "mlx5_0", 1, false},
		{"mlx5_0:", "mlx5_0", 1, false},
		{"mlx5_0:1x", "mlx5_0", 1, false},
		{"mlx5_0:1:1", "mlx5_0", 1, false},
		{"mlx5_0:257", "mlx5_0", 1, false},
		{"mlx5_0:18446744073709551617", "mlx5_0", 1, false},
		{"mlx5_0;1", "mlx5_0", 1, false},
		{",mlx5_0", "mlx5_0", 1, true},
		{",,", "mlx5_0", 1, false},
		{"", "mlx5_0", 1, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (verbs_device_listed(cases[i].list, cases[i].name,
					cases[i].port) != cases[i].listed)
			fail_msg("'%s' has %s:%u", cases[i].list, cases[i].name,
				 cases[i].port);
}

static void wr_id_gives_back_what_it_was_made_of(void **state)
{
	static const enum verbs_wr kinds[] = {VERBS_WR_SEND, VERBS_WR_IMM,
					      VERBS_WR_MESSAGE};
	static const uint32_t values[] = {0, 1, 0x7fffffff, UINT32_MAX};
	static const uint32_t attempts[] = {0, 1, 255, 256, UINT32_MAX};

	(void)state;
	for (size_t k = 0; k < 3; k++)
		for (uint32_t qp = 0; qp < VERBS_QPS_MAX; qp++)
			for (size_t a = 0; a < 5; a++)
				for (size_t v = 0; v < 4; v++) {
					uint64_t id = verbs_wr_id(
						kinds[k], attempts[a], qp,
						values[v]);

					assert_int_equal(verbs_wr_kind(id),
							 kinds[k]);
					assert_int_equal(verbs_wr_qp(id), qp);
					assert_int_equal((uint32_t)id,
							 values[v]);
					assert_false(verbs_wr_stale(
						id, attempts[a]));
				}
}

/* Of the 255 attempts before and after. */
static void wr_id_of_another_attempt_is_stale(void **state)
{
	(void)state;
	for (uint32_t attempt = 250; attempt < 260; attempt++) {
		const uint64_t id =
			verbs_wr_id(VERBS_WR_IMM, attempt, 3, UINT32_MAX);

		for (uint32_t apart = 1; apart < 256; apart++) {
			assert_true(verbs_wr_stale(id, attempt + apart));
			assert_true(verbs_wr_stale(id, attempt - apart));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(talk_as_sealed_is_genuine),
		cmocka_unit_test(talk_has_the_bytes_that_python_computes),
		cmocka_unit_test(talk_with_any_bit_changed_is_not_genuine),
		cmocka_unit_test(message_of_another_length_is_garbage),
		cmocka_unit_test(message_out_of_turn_is_garbage),
		cmocka_unit_test(message_replayed_in_another_place_is_garbage),
		cmocka_unit_test(proof_of_an_older_talk_is_forged),
		cmocka_unit_test(message_of_another_version_is_told_apart),
		cmocka_unit_test(message_of_another_magic_is_garbage),
		cmocka_unit_test(key_of_another_ring_or_secret_is_another),
		cmocka_unit_test(key_of_both_ends_is_the_same),
		cmocka_unit_test(
			key_without_secret_does_not_depend_on_calls_before),
		cmocka_unit_test(device_listed_takes_names_and_ports),
		cmocka_unit_test(wr_id_gives_back_what_it_was_made_of),
		cmocka_unit_test(wr_id_of_another_attempt_is_stale),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
