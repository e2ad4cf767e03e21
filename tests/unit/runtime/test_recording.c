/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recordings as bytes from anywhere: which are read, which are refused, and
 * which of several rings is meant. Every field is also set to odd values, at
 * which the sanitizers look.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kvring/recorder.h"
#include "runtime/recording.h"
#include "runtime/wire.h"

#define SLOTS 2
#define EVENTS 3

/* A whole recording of one lane, as it lies in a file. */
struct sample {
	struct kvr_recording head;
	struct kvr_recording_lane lane;
	struct kvr_recording_slot slot[SLOTS];
	struct kvr_recorder_event event[EVENTS];
};

static struct sample sample(uint32_t rank, uint64_t ring_id, uint64_t wall_ns)
{
	struct sample s = {
		.head = {.magic = KVR_RECORDING_MAGIC,
			 .bytes = sizeof(s),
			 .rank = rank,
			 .n = 3,
			 .ring_id = ring_id,
			 .now_ns = 5000000000,
			 .wall_ns = wall_ns,
			 .lanes = 1,
			 .slots = SLOTS,
			 .events = EVENTS,
			 .begun = 1,
			 .open = 1,
			 .host = "here",
			 .caller = {.wait = KVR_WAIT_NEXT},
			 .failure = {.rank = KVR_RANK_NONE}},
		.lane = {.granted = 6, .end = 2},
		.slot = {{.block = 6}, {.block = 7}},
		.event = {{.kind = KVR_NOTE_BEGIN},
			  {.kind = KVR_NOTE_QUIET},
			  {.kind = KVR_NOTE_FAILED}},
	};

	s.head.pass[0] = (struct kvr_recording_pass){
		.tag = 7, .hops = 2, .part = {{.hops = 2, .steps = 1}}};
	return s;
}

static void fail_by(struct sample *s, uint32_t rank, uint32_t cause,
		    enum kvr_status status)
{
	s->head.failure.status = status;
	s->head.failure.rank = rank;
	s->head.failure.cause = cause;
}

static enum kvr_status explain(const struct sample *s, size_t bytes,
			       struct kvr_verdict *verdict)
{
	kvr_verdict_init(verdict);
	return kvr_recordings_explain(s, bytes, verdict);
}

static void ignore_line(void *arg, const char *line)
{
	*(size_t *)arg += strlen(line);
}

static void refused(const struct sample *s)
{
	struct kvr_verdict verdict;

	assert_int_equal(explain(s, sizeof(*s), &verdict), KVR_ERR_INVALID);
	assert_int_equal(verdict.n, 0);
}

static void recording_damaged_is_refused(void **state)
{
	const struct sample good = sample(0, 1, 1);
	struct kvr_verdict verdict;
	struct sample s;

	(void)state;
	assert_int_equal(explain(&good, sizeof(good), &verdict), KVR_OK);
	for (size_t bytes = 0; bytes < sizeof(good); bytes += 8)
		assert_int_equal(explain(&good, bytes, &verdict),
				 KVR_ERR_INVALID);
#define DAMAGED(field, value)                                                  \
	do {                                                                   \
		s = good;                                                      \
		s.field = value;                                               \
		refused(&s);                                                   \
	} while (0)
	DAMAGED(head.magic, KVR_RECORDING_MAGIC + 1);
	DAMAGED(head.bytes, sizeof(s) - 24);
	DAMAGED(head.rank, 3);
	DAMAGED(head.n, 0);
	DAMAGED(head.n, KVR_RANKS_MAX + 1);
	DAMAGED(head.lanes, 0);
	DAMAGED(head.lanes, KVR_LANES_MAX + 1);
	DAMAGED(head.slots, 0);
	DAMAGED(head.slots, KVR_SLOTS_MAX + 1);
	DAMAGED(head.events, KVR_RECORDER_EVENTS + 1);
	DAMAGED(head.events, EVENTS - 1);
	DAMAGED(head.retired, 2);
	DAMAGED(head.begun, KVR_RECORDING_PASSES + 1);
	DAMAGED(head.begun, 0);
	DAMAGED(head.pass[3].part[0].hops, 4);
	DAMAGED(head.caller.wait, KVR_WAITS);
	DAMAGED(head.caller.lane, 1);
	DAMAGED(head.failure.cause, KVR_CAUSE_CORRUPT + 1);
	DAMAGED(head.failure.rank, 3);
	DAMAGED(slot[1].block, 8);
	DAMAGED(event[2].kind, KVR_NOTE_KINDS);
#undef DAMAGED
	s = good;
	memset(s.head.host, 'x', sizeof(s.head.host));
	refused(&s);
	s = good;
	memset(s.head.failure.field, 'x', sizeof(s.head.failure.field));
	refused(&s);
}

/* Whatever the numbers are: an answer, or a refusal, and no bad access. */
static void recording_of_odd_numbers_is_survived(void **state)
{
	static const uint32_t odd[] = {
		0, 1, 2, 3, 6, 7, 64, 0x7fffffff, 0xfffffff8, UINT32_MAX};
	struct kvr_verdict verdict;
	size_t answered = 0, length = 0;
	struct sample s[3];

	(void)state;
	for (uint32_t cause = 0; cause <= KVR_CAUSE_STALLED; cause++)
		for (size_t at = 0; at < sizeof(s[0]) / 4; at++)
			for (size_t k = 0; k < sizeof(odd) / 4; k++) {
				for (uint32_t r = 0; r < 3; r++) {
					s[r] = sample(r, 1, r);
					if (cause)
						fail_by(&s[r], (r + 1) % 3,
							cause, KVR_ERR_TIMEOUT);
				}
				memcpy((char *)&s[1] + 4 * at, &odd[k], 4);
				if (explain(s, sizeof(s), &verdict) != KVR_OK)
					continue;
				answered++;
				assert_true(verdict.text[0]);
				assert_int_equal(kvr_recordings_print(
							 s, sizeof(s), 9,
							 ignore_line, &length),
						 KVR_OK);
			}
	assert_true(answered > 10000 && length > 0);
}

static void recordings_of_several_rings_the_last_failed_counts(void **state)
{
	struct kvr_verdict verdict;
	struct sample s[4] = {sample(0, 1, 50), sample(1, 2, 20),
			      sample(2, 3, 30), sample(0, 3, 90)};

	(void)state;
	fail_by(&s[1], 0, KVR_CAUSE_CALLER, KVR_ERR_ABORTED);
	fail_by(&s[2], 1, KVR_CAUSE_CALLER, KVR_ERR_ABORTED);
	s[3].head.generation = 1;
	assert_int_equal(explain(s, sizeof(s), &verdict), KVR_OK);
	assert_int_equal(verdict.fault, KVR_FAULT_GAVE_UP);
	assert_int_equal(verdict.rank, 1);
	assert_int_equal(verdict.recorded, 1);
	assert_int_equal(verdict.others, 3);
	assert_string_equal(verdict.text, "rank 1 gave up the ring");
}

static void recording_twice_of_a_rank_the_last_counts(void **state)
{
	struct sample s[2] = {sample(0, 1, 50), sample(0, 1, 60)};
	struct kvr_verdict verdict;

	(void)state;
	s[1].head.caller.wait = KVR_WAIT_NONE;
	assert_int_equal(explain(s, sizeof(s), &verdict), KVR_OK);
	assert_int_equal(verdict.fault, KVR_FAULT_NONE);
	assert_int_equal(verdict.recorded, 1);
	assert_int_equal(verdict.others, 0);
}

/* Two that lost each other come before one that was told of it. */
static void recordings_of_two_that_lost_each_other_name_both(void **state)
{
	struct sample s[3] = {sample(0, 1, 10), sample(1, 1, 20),
			      sample(2, 1, 30)};
	struct kvr_verdict verdict;

	(void)state;
	fail_by(&s[0], 2, KVR_CAUSE_SILENT, KVR_ERR_PEER_LOST);
	s[0].head.failure.told = 1;
	fail_by(&s[1], 2, KVR_CAUSE_SILENT, KVR_ERR_PEER_LOST);
	fail_by(&s[2], 1, KVR_CAUSE_SILENT, KVR_ERR_PEER_LOST);
	assert_int_equal(explain(s, sizeof(s), &verdict), KVR_OK);
	assert_int_equal(verdict.fault, KVR_FAULT_CUT);
	assert_non_null(strstr(verdict.text, "ranks 1 and 2 do not hear"));
}

static void recordings_that_contradict_are_refused(void **state)
{
	struct sample s[2] = {sample(0, 1, 50), sample(1, 1, 60)};
	struct kvr_verdict verdict;

	(void)state;
	s[1].head.n = 4;
	assert_int_equal(explain(s, sizeof(s), &verdict), KVR_ERR_INVALID);
}

static void recording_missing_is_named(void **state)
{
	struct sample s = sample(1, 1, 50);
	struct kvr_verdict verdict;

	(void)state;
	fail_by(&s, KVR_RANK_NONE, KVR_CAUSE_STALLED, KVR_ERR_TIMEOUT);
	assert_int_equal(explain(&s, sizeof(s), &verdict), KVR_OK);
	assert_int_equal(verdict.fault, KVR_FAULT_UNKNOWN);
	assert_string_equal(verdict.text, "rank 1 waits for rank 0, of which "
					  "there is no recording");
	s.head.failure.rank = 0;
	s.head.failure.cause = KVR_CAUSE_PROTOCOL;
	strcpy(s.head.failure.field, "chunk");
	assert_int_equal(explain(&s, sizeof(s), &verdict), KVR_OK);
	assert_int_equal(verdict.fault, KVR_FAULT_PROTOCOL);
	assert_string_equal(verdict.text, "rank 0 broke the protocol: chunk");
	s.head.failure.cause = KVR_CAUSE_CORRUPT;
	s.head.failure.pass = 7;
	assert_int_equal(explain(&s, sizeof(s), &verdict), KVR_OK);
	assert_int_equal(verdict.fault, KVR_FAULT_CORRUPT);
	assert_string_equal(verdict.text,
			    "rank 0 sent or held a block that does not match "
			    "its checksums: memory was overwritten");
}

static void explain_wrong_arguments_are_refused(void **state)
{
	struct sample s = sample(1, 1, 50);
	struct kvr_verdict verdict;
	size_t length;

	(void)state;
	kvr_verdict_init(&verdict);
	assert_int_equal(kvr_recordings_explain(NULL, 8, &verdict),
			 KVR_ERR_INVALID);
	assert_int_equal(kvr_recordings_explain(&s, sizeof(s), NULL),
			 KVR_ERR_INVALID);
	verdict.size--;
	assert_int_equal(kvr_recordings_explain(&s, sizeof(s), &verdict),
			 KVR_ERR_INVALID);
	assert_int_equal(kvr_recordings_print(&s, sizeof(s), 1, NULL, NULL),
			 KVR_ERR_INVALID);
	assert_int_equal(kvr_recordings_print(NULL, 8, 1, ignore_line, &length),
			 KVR_ERR_INVALID);
	assert_int_equal(kvr_ring_record(NULL, 1), KVR_ERR_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(recording_damaged_is_refused),
		cmocka_unit_test(recording_of_odd_numbers_is_survived),
		cmocka_unit_test(
			recordings_of_several_rings_the_last_failed_counts),
		cmocka_unit_test(recording_twice_of_a_rank_the_last_counts),
		cmocka_unit_test(
			recordings_of_two_that_lost_each_other_name_both),
		cmocka_unit_test(recordings_that_contradict_are_refused),
		cmocka_unit_test(recording_missing_is_named),
		cmocka_unit_test(explain_wrong_arguments_are_refused),
	};

	return cmocka_run_group_tests_name("recording", tests, NULL, NULL);
}
