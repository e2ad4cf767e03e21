/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Planted faults, and the one sentence that the merged recordings must say of
 * each. The rank that gives up first has a short time-out and waits while the
 * fault is there; on a machine too busy for that the run is made again with
 * twice the time.
 */
#include <regex.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <pthread.h>

#include "tests/ring/recorder_world.h"

#define TRIES 5
#define FIRST_TIMEOUT_MS 250

/* ----------------------------------------------------------------- judging */

static bool says(const struct kvr_verdict *v, const struct fault *f)
{
	regex_t pattern;
	bool match;

	CHECK(!regcomp(&pattern, f->sentence, REG_EXTENDED | REG_NOSUB));
	match = !regexec(&pattern, v->text, 0, NULL, 0);
	regfree(&pattern);
	return match && v->fault == f->verdict;
}

static void print_line(void *arg, const char *line)
{
	(void)arg;
	fprintf(stderr, "%s\n", line);
}

/* The recordings, if the verdict is right, else NULL. */
static void *try_once(struct world *w, size_t *bytes, bool last)
{
	struct kvr_verdict verdict;
	void *recordings;

	*bytes = world_run(w, &recordings);
	kvr_verdict_init(&verdict);
	CHECK_STATUS(kvr_recordings_explain(recordings, *bytes, &verdict),
		     KVR_OK);
	if (says(&verdict, w->fault)) {
		print_message("  n = %u: %s\n", verdict.n, verdict.text);
		return recordings;
	}
	if (last) {
		CHECK_STATUS(kvr_recordings_print(recordings, *bytes, 20,
						  print_line, NULL),
			     KVR_OK);
		fprintf(stderr, "%s, n = %u: wanted '%s'\n", w->fault->name,
			w->fault->n, w->fault->sentence);
	}
	fprintf(stderr, "%s, n = %u: says '%s'\n", w->fault->name, w->fault->n,
		verdict.text);
	free(recordings);
	return NULL;
}

static void explained(const struct fault *fault)
{
	static struct world world;
	void *recordings = NULL;
	size_t bytes;

	world.fault = fault;
	world.timeout_ms = FIRST_TIMEOUT_MS;
	for (int i = 1; i <= TRIES && !recordings; i++) {
		recordings = try_once(&world, &bytes, i == TRIES);
		world.timeout_ms *= 2;
	}
	if (!recordings)
		fail_msg("%s: no right sentence", fault->name);
	free(recordings);
}

/* ------------------------------------------------------------------- tests */

#define AGO "[0-9]+\\.[0-9] s"

/* Times are those of the run: no number of seconds is asked for. */
static const struct fault faults[] = {
	{.name = "block never released",
	 .transport = "shm",
	 .misbehave = never_release,
	 .n = 2,
	 .rank = 1,
	 .slots = 2,
	 .sums = true,
	 .verdict = KVR_FAULT_HOLDS,
	 .sentence = "^rank 1 holds slot [01] of pass 812 \\(step 1, the block "
		     "of rank 0\\), never released$"},
	{.name = "block never released, by the next",
	 .transport = "shm",
	 .misbehave = never_release,
	 .n = 4,
	 .rank = 1,
	 .slots = 2,
	 .verdict = KVR_FAULT_HOLDS,
	 .sentence = "^rank 1 holds slot [01] of pass 812 \\(step 1, the block "
		     "of rank 0\\), never released$"},
	{.name = "forward stuck two ranks away",
	 .transport = "fake",
	 .misbehave = never_release,
	 .n = 4,
	 .rank = 2,
	 .slots = 2,
	 .sums = true,
	 .verdict = KVR_FAULT_HOLDS,
	 .sentence = "^rank 2 holds slot [01] of pass 812 \\(step 1, the block "
		     "of rank 1\\), never released$"},
	{.name = "slow compute",
	 .transport = "shm",
	 .misbehave = compute_on,
	 .n = 2,
	 .rank = 1,
	 .slots = 1,
	 .verdict = KVR_FAULT_COMPUTES,
	 .sentence = "^rank 1 computes since " AGO " in step 1 of pass 812 and "
		     "holds slot 0$"},
	{.name = "slow compute",
	 .transport = "shm",
	 .misbehave = compute_on,
	 .n = 4,
	 .rank = 3,
	 .slots = 2,
	 .verdict = KVR_FAULT_COMPUTES,
	 .sentence = "^rank 3 computes since " AGO " in step 1 of pass 812 and "
		     "holds slot 1$"},
	{.name = "slow compute of a sum",
	 .transport = "shm",
	 .misbehave = compute_on,
	 .n = 4,
	 .rank = 3,
	 .slots = 2,
	 .sums = true,
	 .verdict = KVR_FAULT_COMPUTES,
	 .sentence = "^rank 3 computes since " AGO " in step 1 of pass 812 and "
		     "holds slot [01]$"},
	{.name = "takes no more",
	 .transport = "shm",
	 .misbehave = take_no_more,
	 .n = 2,
	 .rank = 1,
	 .slots = 2,
	 .verdict = KVR_FAULT_ABSENT,
	 .sentence =
		 "^rank 1 has not ended pass 812: it called nothing for " AGO
		 " after its last step$"},
	{.name = "takes no more",
	 .transport = "shm",
	 .misbehave = take_no_more,
	 .n = 4,
	 .rank = 2,
	 .slots = 2,
	 .verdict = KVR_FAULT_ABSENT,
	 .sentence = "^rank 2 asks for no further block since " AGO ", after 2 "
		     "of 4 of pass 812$"},
	{.name = "never begins",
	 .transport = "shm",
	 .misbehave = do_nothing,
	 .n = 2,
	 .rank = 1,
	 .slots = 2,
	 .verdict = KVR_FAULT_NEVER_BEGAN,
	 .sentence = "^rank 1 never began pass 812: it called nothing for " AGO
		     " after pass 811$"},
	{.name = "never begins",
	 .transport = "shm",
	 .misbehave = do_nothing,
	 .n = 4,
	 .rank = 2,
	 .slots = 2,
	 .verdict = KVR_FAULT_NEVER_BEGAN,
	 .sentence = "^rank 2 never began pass 812: it called nothing for " AGO
		     " after pass 811$"},
	{.name = "another tag",
	 .transport = "shm",
	 .misbehave = begin_other,
	 .n = 2,
	 .rank = 1,
	 .slots = 2,
	 .verdict = KVR_FAULT_DISAGREES,
	 .sentence = "^rank 1 began pass 999 where rank 0 began pass 812$|"
		     "^rank 0 began pass 812 where rank 1 began pass 999$"},
	{.name = "another tag",
	 .transport = "shm",
	 .misbehave = begin_other,
	 .n = 4,
	 .rank = 1,
	 .slots = 2,
	 .verdict = KVR_FAULT_DISAGREES,
	 .sentence = "^rank 1 began pass 999 where the others began pass "
		     "812$"},
	{.name = "fewer hops",
	 .transport = "shm",
	 .misbehave = fewer_hops,
	 .n = 2,
	 .rank = 1,
	 .slots = 2,
	 .verdict = KVR_FAULT_DISAGREES,
	 .sentence = "^rank 1 began pass 812 with 0 hops, rank 0 with 1$|"
		     "^rank 0 began pass 812 with 1 hops, rank 1 with 0$"},
	{.name = "fewer hops",
	 .transport = "shm",
	 .misbehave = fewer_hops,
	 .n = 4,
	 .rank = 2,
	 .slots = 2,
	 .verdict = KVR_FAULT_DISAGREES,
	 .sentence = "^rank 2 began pass 812 with 2 hops, "
		     "(the others|rank 3) with 3$"},
	{.name = "stopped",
	 .transport = "fake",
	 .misbehave = freeze,
	 .n = 2,
	 .rank = 1,
	 .slots = 2,
	 .silent = true,
	 .dead = true,
	 .verdict = KVR_FAULT_SILENT,
	 .sentence = "^rank 1 is stopped or cut off: silent for " AGO
		     " while rank 0 was in step 1 of pass 812$"},
	{.name = "stopped",
	 .transport = "fake",
	 .misbehave = freeze,
	 .n = 4,
	 .rank = 2,
	 .slots = 2,
	 .silent = true,
	 .dead = true,
	 .verdict = KVR_FAULT_SILENT,
	 .sentence = "^rank 2 is stopped or cut off: silent for " AGO
		     " while rank [13] was in step [123] of pass 812$"},
	{.name = "cut off",
	 .transport = "fake",
	 .misbehave = be_cut_off,
	 .n = 2,
	 .rank = 1,
	 .slots = 2,
	 .silent = true,
	 .verdict = KVR_FAULT_CUT,
	 .sentence = "^ranks ([01]) and [01] do not hear each other, and both "
		     "live: the connection between them is cut; silent for " AGO
		     " "},
	{.name = "cut off",
	 .transport = "fake",
	 .misbehave = be_cut_off,
	 .n = 4,
	 .rank = 2,
	 .slots = 2,
	 .silent = true,
	 .verdict = KVR_FAULT_CUT,
	 .sentence = "^ranks (2 and [13]|[13] and 2) do not hear each other"},
	{.name = "stopped and continued",
	 .transport = "shm",
	 .misbehave = come_back,
	 .n = 2,
	 .rank = 1,
	 .slots = 2,
	 .silent = true,
	 .caller = true,
	 .verdict = KVR_FAULT_AWAY,
	 .sentence =
		 "^rank 1 did nothing for " AGO ": stopped, .*; rank 0 gave "
		 "it up in step 1 of pass 812$"},
	{.name = "stopped and continued",
	 .transport = "shm",
	 .misbehave = come_back,
	 .n = 4,
	 .rank = 2,
	 .slots = 2,
	 .silent = true,
	 .caller = true,
	 .verdict = KVR_FAULT_AWAY,
	 .sentence = "^rank 2 did nothing for " AGO ": stopped, .*; rank [13] "
		     "gave it up in step [123] of pass 812$"},
	{.name = "killed",
	 .transport = "fake",
	 .misbehave = die,
	 .n = 2,
	 .rank = 1,
	 .slots = 2,
	 .dead = true,
	 .verdict = KVR_FAULT_DIED,
	 .sentence = "^rank 1 died: its connection closed without a farewell "
		     "while rank 0 was (in step [01] of pass 812|between)"},
	{.name = "killed",
	 .transport = "fake",
	 .misbehave = die,
	 .n = 4,
	 .rank = 2,
	 .slots = 2,
	 .dead = true,
	 .verdict = KVR_FAULT_DIED,
	 .sentence = "^rank 2 died: its connection closed without a farewell "
		     "while rank [13] was "},
	{.name = "left",
	 .transport = "shm",
	 .misbehave = leave,
	 .n = 2,
	 .rank = 1,
	 .slots = 2,
	 .dead = true,
	 .verdict = KVR_FAULT_LEFT,
	 .sentence =
		 "^rank 1 closed its ring before pass 812, which rank 0 had "
		 "begun$"},
	{.name = "left",
	 .transport = "shm",
	 .misbehave = leave,
	 .n = 4,
	 .rank = 2,
	 .slots = 2,
	 .dead = true,
	 .verdict = KVR_FAULT_LEFT,
	 .sentence = "^rank 2 closed its ring before pass 812, which rank [13] "
		     "had begun$"},
	{.name = "gave up",
	 .transport = "shm",
	 .misbehave = give_up,
	 .n = 2,
	 .rank = 1,
	 .slots = 2,
	 .verdict = KVR_FAULT_GAVE_UP,
	 .sentence = "^rank 1 gave up the ring in step 2 of pass 812$"},
	{.name = "gave up",
	 .transport = "shm",
	 .misbehave = give_up,
	 .n = 4,
	 .rank = 2,
	 .slots = 2,
	 .verdict = KVR_FAULT_GAVE_UP,
	 .sentence = "^rank 2 gave up the ring in step 2 of pass 812$"},
	{.name = "credits lost",
	 .transport = "fake",
	 .n = 2,
	 .rank = 1,
	 .slots = 1,
	 .lose = KVR_IMM_CREDIT,
	 .from = 1,
	 .verdict = KVR_FAULT_CREDIT_LOST,
	 .sentence = "^the credit for slot 0 of rank 1 never reached rank 0: 1 "
		     "were granted, 0 came$"},
	{.name = "credits lost",
	 .transport = "fake",
	 .n = 4,
	 .rank = 2,
	 .slots = 2,
	 .lose = KVR_IMM_CREDIT,
	 .from = 3,
	 .verdict = KVR_FAULT_CREDIT_LOST,
	 .sentence =
		 "^the credit for slot [01] of rank 2 never reached rank 1: "
		 "[0-9] were granted, [0-9] came$"},
	{.name = "chunks lost",
	 .transport = "fake",
	 .n = 2,
	 .rank = 1,
	 .slots = 1,
	 .lose = KVR_IMM_CHUNK,
	 .from = 3,
	 .verdict = KVR_FAULT_BLOCK_LOST,
	 .sentence = "^2 of 4 chunks of the block for step 1 of pass 811 never "
		     "reached rank 0: rank 1 sent it$"},
	{.name = "chunks lost",
	 .transport = "fake",
	 .n = 4,
	 .rank = 2,
	 .slots = 2,
	 .lose = KVR_IMM_CHUNK,
	 .from = 4,
	 .verdict = KVR_FAULT_BLOCK_LOST,
	 .sentence = "^1 of 4 chunks of the block for step 1 of pass 811 never "
		     "reached rank 3: rank 2 sent it$"},
	{.name = "descriptors lost",
	 .transport = "fake",
	 .n = 4,
	 .rank = 1,
	 .slots = 2,
	 .lose = KVR_IMM_DESCRIPTOR,
	 .from = 1,
	 .verdict = KVR_FAULT_BLOCK_LOST,
	 .sentence =
		 "^the descriptor of the block for step 1 of pass 811 never "
		 "reached rank 2: rank 1 sent it$"},
};

static void planted_fault_gets_its_sentence(void **state)
{
	const char *only = getenv("KVR_TEST_FAULT");

	(void)state;
	for (size_t i = 0; i < sizeof(faults) / sizeof(*faults); i++)
		if (!only || !strcmp(only, faults[i].name))
			explained(&faults[i]);
}

/* ------------------------------------------------------------ no fault */

struct control {
	int fd;
	atomic_uint done, here;
	struct kvr_ring *rings[4];
};

/* Through with their passes; or rank 1 computes, and the others wait. */
static void at_rest(struct rank *rank)
{
	struct control *c = rank->arg;

	CHECK_STATUS(rank->opened, KVR_OK);
	for (uint64_t tag = 1; tag <= 3; tag++)
		CHECK_STATUS(recorder_pass(rank, tag), KVR_OK);
	CHECK_STATUS(kvr_ring_record(rank->ring, c->fd), KVR_OK);
	recorder_meet(&c->here, rank->n);
}

static void explain_fd(int fd, struct kvr_verdict *verdict)
{
	void *data;
	size_t bytes = recorder_read(fd, &data);

	kvr_verdict_init(verdict);
	CHECK_STATUS(kvr_recordings_explain(data, bytes, verdict), KVR_OK);
	free(data);
}

static void ring_without_fault_nothing_is_wrong(void **state)
{
	static const uint32_t sizes[] = {1, 2, 4};
	struct kvr_verdict verdict;
	struct ranks ranks;

	(void)state;
	for (int i = 0; i < 3; i++) {
		struct control control = {.fd = recorder_file()};

		ranks_init(&ranks, sizes[i]);
		ranks.transport = "shm";
		ranks.body = at_rest;
		ranks.arg = &control;
		ranks_run(&ranks);
		explain_fd(control.fd, &verdict);
		assert_int_equal(verdict.fault, KVR_FAULT_NONE);
		assert_int_equal(verdict.failed, 0);
		assert_int_equal(verdict.n, sizes[i]);
		assert_int_equal(verdict.recorded, sizes[i]);
		assert_string_equal(verdict.text,
				    "nothing is wrong: no rank has failed, and "
				    "none waits");
		close(control.fd);
	}
}

/* Rank 0 records all while rank 1 has a block in hand. */
static void while_waiting(struct rank *rank)
{
	struct control *c = rank->arg;

	CHECK_STATUS(rank->opened, KVR_OK);
	c->rings[rank->rank] = rank->ring;
	recorder_meet(&c->here, rank->n + 1);
	if (rank->rank == 1)
		recorder_compute_until(rank, &c->done);
	else
		CHECK_STATUS(recorder_pass(rank, TAG), KVR_OK);
	CHECK_STATUS(recorder_pass(rank, TAG + 1), KVR_OK);
	/* Nobody closes what is still recorded. */
	while (!atomic_load(&c->done))
		recorder_pause(1);
}

static void *record_all(void *arg)
{
	struct control *c = arg;
	struct kvr_verdict verdict;

	recorder_meet(&c->here, 5);
	/* Until the others have come to wait for it. */
	do {
		recorder_pause(20);
		CHECK(!ftruncate(c->fd, 0));
		for (int i = 0; i < 4; i++)
			CHECK_STATUS(kvr_ring_record(c->rings[i], c->fd),
				     KVR_OK);
		explain_fd(c->fd, &verdict);
	} while (verdict.fault != KVR_FAULT_COMPUTES || verdict.rank != 1);
	CHECK(!verdict.failed && verdict.pass == TAG);
	CHECK(strstr(verdict.text, "rank 1 computes since "));
	atomic_store(&c->done, 1);
	return NULL;
}

static void ring_that_waits_cause_is_told_before_it_fails(void **state)
{
	struct control control = {.fd = recorder_file()};
	struct ranks ranks;
	pthread_t thread;

	(void)state;
	ranks_init(&ranks, 4);
	ranks.transport = "shm";
	ranks.body = while_waiting;
	ranks.arg = &control;
	atomic_init(&control.here, 0);
	assert_int_equal(pthread_create(&thread, NULL, record_all, &control),
			 0);
	ranks_run(&ranks);
	pthread_join(thread, NULL);
	close(control.fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(planted_fault_gets_its_sentence),
		cmocka_unit_test(ring_without_fault_nothing_is_wrong),
		cmocka_unit_test(ring_that_waits_cause_is_told_before_it_fails),
	};

	return cmocka_run_group_tests_name("recorder", tests, NULL, NULL);
}
