/* SPDX-License-Identifier: Apache-2.0 */
/* Contexts, memory and rings as objects: misuse, forks, signals, several. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kvring/recorder.h"
#include "tests/support/ranks.h"

/* A context and a ring of one, with a block of its own. */
struct solo {
	struct kvr_context *context;
	struct kvr_ring *ring;
	struct kvr_memory *memory;
	char bytes[256];
};

static void solo_open(struct solo *solo, uint32_t max_segments)
{
	struct kvr_ring_options options;
	struct kvr_bootstrap bootstrap;

	kvr_bootstrap_init(&bootstrap);
	kvr_ring_options_init(&options);
	options.lane[0].slot_bytes = sizeof(solo->bytes);
	options.max_segments = max_segments;
	assert_int_equal(kvr_context_open(NULL, &solo->context), KVR_OK);
	assert_int_equal(
		kvr_ring_open(solo->context, &bootstrap, &options, &solo->ring),
		KVR_OK);
	assert_int_equal(kvr_memory_register(solo->context, solo->bytes,
					     sizeof(solo->bytes),
					     &solo->memory),
			 KVR_OK);
}

static void solo_close(struct solo *solo)
{
	kvr_memory_deregister(solo->memory);
	kvr_ring_close(solo->ring);
	kvr_context_close(solo->context);
}

static enum kvr_status solo_begin(struct solo *solo, size_t segments,
				  struct kvr_memory *memory,
				  struct kvr_pass **out)
{
	struct kvr_segment list[8];
	struct kvr_pass_desc desc;

	for (size_t i = 0; i < segments; i++)
		list[i] = (struct kvr_segment){memory, i, 1};
	kvr_pass_desc_init(&desc);
	desc.lane[0].segments = list;
	desc.lane[0].segment_count = segments;
	return kvr_pass_begin(solo->ring, &desc, out);
}

static void solo_pass(struct solo *solo)
{
	struct kvr_block block;
	struct kvr_pass *pass;

	kvr_block_init(&block);
	assert_int_equal(solo_begin(solo, 1, solo->memory, &pass), KVR_OK);
	assert_int_equal(kvr_pass_next(pass, 0, &block), KVR_OK);
	assert_ptr_equal(block.data, solo->bytes);
	assert_int_equal(kvr_pass_end(pass), KVR_OK);
}

/* -------------------------------------------------------------- misuse */

static void context_wrong_options_refused(void **state)
{
	struct kvr_context_options options;
	struct kvr_context *context = NULL;

	(void)state;
	kvr_context_options_init(&options);
	assert_int_equal(kvr_context_open(&options, NULL), KVR_ERR_INVALID);
	options.size--;
	assert_int_equal(kvr_context_open(&options, &context), KVR_ERR_INVALID);
	kvr_context_options_init(&options);
	options.progress = (enum kvr_progress)7;
	assert_int_equal(kvr_context_open(&options, &context), KVR_ERR_INVALID);
	assert_null(context);
}

static void calls_null_refused(void **state)
{
	struct kvr_bootstrap bootstrap;
	struct kvr_ring_options options;
	struct kvr_failure failure;
	struct kvr_ring_stats stats;
	struct kvr_pass_stats pass_stats;
	struct kvr_step_stats step_stats;
	struct kvr_block block;
	struct kvr_pass_desc desc;
	struct kvr_pass *pass = NULL;
	struct kvr_ring *ring = NULL;
	struct kvr_memory *memory = NULL;
	int fd = -1;

	(void)state;
	kvr_bootstrap_init(&bootstrap);
	kvr_ring_options_init(&options);
	kvr_failure_init(&failure);
	kvr_ring_stats_init(&stats);
	kvr_pass_stats_init(&pass_stats);
	kvr_step_stats_init(&step_stats);
	kvr_block_init(&block);
	kvr_pass_desc_init(&desc);
	assert_int_equal(kvr_memory_register(NULL, &fd, 4, &memory),
			 KVR_ERR_INVALID);
	assert_int_equal(kvr_ring_open(NULL, &bootstrap, &options, &ring),
			 KVR_ERR_INVALID);
	assert_int_equal(kvr_ring_reopen(NULL, &bootstrap), KVR_ERR_INVALID);
	assert_int_equal(kvr_ring_reopen(&ring, &bootstrap), KVR_ERR_INVALID);
	assert_int_equal(kvr_ring_progress(NULL), KVR_ERR_INVALID);
	assert_int_equal(kvr_ring_event_fd(NULL, &fd), KVR_ERR_INVALID);
	assert_int_equal(kvr_ring_get_failure(NULL, &failure), KVR_ERR_INVALID);
	assert_int_equal(kvr_ring_get_stats(NULL, &stats), KVR_ERR_INVALID);
	assert_int_equal(kvr_pass_begin(NULL, &desc, &pass), KVR_ERR_INVALID);
	assert_int_equal(kvr_pass_next(NULL, 0, &block), KVR_ERR_INVALID);
	assert_int_equal(kvr_pass_try_next(NULL, 0, &block), KVR_ERR_INVALID);
	assert_int_equal(kvr_pass_release(NULL, 0, 0), KVR_ERR_INVALID);
	assert_int_equal(kvr_pass_end(NULL), KVR_ERR_INVALID);
	assert_int_equal(kvr_pass_cancel(NULL), KVR_ERR_INVALID);
	assert_int_equal(kvr_pass_get_stats(NULL, &pass_stats),
			 KVR_ERR_INVALID);
	assert_int_equal(kvr_pass_get_step(NULL, 0, 0, &step_stats),
			 KVR_ERR_INVALID);
	kvr_ring_abort(NULL);
	kvr_ring_close(NULL);
	kvr_memory_deregister(NULL);
	kvr_context_close(NULL);
	assert_true(!pass && !ring && !memory && fd == -1);
}

static void calls_null_or_wrong_size_on_real_objects_refused(void **state)
{
	struct kvr_failure failure = {.size = 1};
	struct kvr_ring_stats stats = {.size = 1};
	struct kvr_pass_stats pass_stats = {.size = 1};
	struct kvr_step_stats step_stats = {.size = 1};
	struct kvr_block block = {.size = 1};
	struct kvr_pass_desc desc = {.size = 1};
	struct kvr_memory *memory = NULL;
	struct kvr_pass *pass, *none = NULL;
	struct solo solo;
	int fd;

	(void)state;
	solo_open(&solo, 8);
	assert_int_equal(kvr_memory_register(solo.context, NULL, 4, &memory),
			 KVR_ERR_INVALID);
	assert_int_equal(kvr_memory_register(solo.context, &fd, 0, &memory),
			 KVR_ERR_INVALID);
	assert_int_equal(kvr_memory_register(solo.context, &fd, 4, NULL),
			 KVR_ERR_INVALID);
	assert_int_equal(kvr_ring_get_failure(solo.ring, &failure),
			 KVR_ERR_INVALID);
	assert_int_equal(kvr_ring_get_failure(solo.ring, NULL),
			 KVR_ERR_INVALID);
	assert_int_equal(kvr_ring_get_stats(solo.ring, &stats),
			 KVR_ERR_INVALID);
	assert_int_equal(kvr_ring_get_stats(solo.ring, NULL), KVR_ERR_INVALID);
	assert_int_equal(kvr_ring_event_fd(solo.ring, NULL), KVR_ERR_INVALID);
	/* With a thread of the library's there is nothing to drive. */
	assert_int_equal(kvr_ring_event_fd(solo.ring, &fd), KVR_ERR_STATE);
	assert_int_equal(kvr_ring_progress(solo.ring), KVR_ERR_STATE);
	assert_int_equal(kvr_pass_begin(solo.ring, &desc, &none),
			 KVR_ERR_INVALID);
	assert_int_equal(kvr_pass_begin(solo.ring, NULL, &none),
			 KVR_ERR_INVALID);
	kvr_pass_desc_init(&desc);
	assert_int_equal(kvr_pass_begin(solo.ring, &desc, NULL),
			 KVR_ERR_INVALID);
	desc.lane[0].segment_count = 1;
	assert_int_equal(kvr_pass_begin(solo.ring, &desc, &none),
			 KVR_ERR_INVALID);
	desc.lane[0].segment_count = 0;
	desc.lane[0].metadata_bytes = 1;
	assert_int_equal(kvr_pass_begin(solo.ring, &desc, &none),
			 KVR_ERR_INVALID);
	desc.lane[0].metadata = solo.bytes;
	desc.lane[0].metadata_bytes = KVR_METADATA_MAX + 1;
	assert_int_equal(kvr_pass_begin(solo.ring, &desc, &none),
			 KVR_ERR_INVALID);
	assert_true(!none && !memory);

	assert_int_equal(solo_begin(&solo, 1, solo.memory, &pass), KVR_OK);
	assert_int_equal(kvr_pass_next(pass, 0, &block), KVR_ERR_INVALID);
	assert_int_equal(kvr_pass_next(pass, 0, NULL), KVR_ERR_INVALID);
	assert_int_equal(kvr_pass_get_stats(pass, &pass_stats),
			 KVR_ERR_INVALID);
	assert_int_equal(kvr_pass_get_step(pass, 0, 0, &step_stats),
			 KVR_ERR_INVALID);
	kvr_step_stats_init(&step_stats);
	/* Not taken yet. */
	assert_int_equal(kvr_pass_get_step(pass, 0, 0, &step_stats),
			 KVR_ERR_INVALID);
	assert_int_equal(kvr_pass_end(pass), KVR_OK);
	solo_pass(&solo);
	solo_close(&solo);
}

static enum kvr_status try_open(struct kvr_context *context,
				const struct kvr_bootstrap *bootstrap,
				const struct kvr_ring_options *options)
{
	struct kvr_ring *ring = NULL;
	enum kvr_status status =
		kvr_ring_open(context, bootstrap, options, &ring);

	assert_true((status == KVR_OK) == (ring != NULL));
	kvr_ring_close(ring);
	return status;
}

static void ring_wrong_options_refused(void **state)
{
	struct kvr_bootstrap b, good;
	struct kvr_ring_options o, usual;
	struct kvr_context *context;

	(void)state;
	assert_int_equal(kvr_context_open(NULL, &context), KVR_OK);
	kvr_bootstrap_init(&good);
	kvr_ring_options_init(&usual);
	usual.lane[0].slot_bytes = 4096;
	assert_int_equal(try_open(context, &good, &usual), KVR_OK);

#define REFUSED(change, expected)                                              \
	do {                                                                   \
		b = good;                                                      \
		o = usual;                                                     \
		change;                                                        \
		assert_int_equal(try_open(context, &b, &o), expected);         \
	} while (0)
	REFUSED(b.size = 0, KVR_ERR_INVALID);
	REFUSED(b.n = 0, KVR_ERR_INVALID);
	REFUSED(b.n = KVR_RANKS_MAX + 1, KVR_ERR_INVALID);
	REFUSED(b.rank = 1, KVR_ERR_INVALID);
	REFUSED(b.n = 2, KVR_ERR_INVALID); /* and no all-gather */
	REFUSED(o.size = 0, KVR_ERR_INVALID);
	REFUSED(o.lanes = 0, KVR_ERR_INVALID);
	REFUSED(o.lanes = KVR_LANES_MAX + 1, KVR_ERR_INVALID);
	REFUSED(o.slots = 0, KVR_ERR_INVALID);
	REFUSED(o.slots = KVR_SLOTS_MAX + 1, KVR_ERR_INVALID);
	REFUSED(o.chunk_bytes = 0, KVR_ERR_INVALID);
	REFUSED(o.peer_timeout_ms = 0, KVR_ERR_INVALID);
	REFUSED(o.wait_timeout_ms = 0, KVR_ERR_INVALID);
	REFUSED(o.lane[0].slot_bytes = KVR_CHUNKS_MAX + 1;
		o.chunk_bytes = 1, KVR_ERR_LIMIT);
#undef REFUSED
	kvr_context_close(context);
}

static void segments_more_than_max_limit(void **state)
{
	struct kvr_pass *pass;
	struct solo solo;

	(void)state;
	solo_open(&solo, 3);
	assert_int_equal(solo_begin(&solo, 4, solo.memory, &pass),
			 KVR_ERR_LIMIT);
	assert_int_equal(solo_begin(&solo, 3, solo.memory, &pass), KVR_OK);
	assert_int_equal(kvr_pass_end(pass), KVR_OK);
	solo_close(&solo);
}

static void memory_of_another_context_refused(void **state)
{
	struct kvr_pass *pass;
	struct solo a, b;

	(void)state;
	solo_open(&a, 8);
	solo_open(&b, 8);
	assert_int_equal(solo_begin(&a, 1, b.memory, &pass), KVR_ERR_INVALID);
	assert_int_equal(solo_begin(&a, 1, NULL, &pass), KVR_ERR_INVALID);
	/* Two contexts of one process know nothing of each other. */
	solo_pass(&a);
	solo_pass(&b);
	solo_close(&a);
	solo_pass(&b);
	solo_close(&b);
}

/* --------------------------------------------------------------- forks */

/* Everything that the parent made, as the child finds it. */
static void all_forked(struct solo *solo, struct kvr_pass *pass,
		       struct kvr_plan *plan)
{
	struct kvr_failure failure;
	struct kvr_ring_stats stats;
	struct kvr_bootstrap bootstrap;
	struct kvr_ring_options options;
	struct kvr_pass_desc desc;
	struct kvr_plan_desc plan_desc;
	struct kvr_block block;
	struct kvr_memory *memory;
	struct kvr_ring *ring;
	struct kvr_plan *other;
	struct kvr_tensor t = {.data = NULL};
	int fd;

	kvr_failure_init(&failure);
	kvr_ring_stats_init(&stats);
	kvr_bootstrap_init(&bootstrap);
	kvr_ring_options_init(&options);
	kvr_pass_desc_init(&desc);
	kvr_plan_desc_init(&plan_desc);
	kvr_block_init(&block);
#define FORKED(call) CHECK_STATUS(call, KVR_ERR_FORKED)
	FORKED(kvr_memory_register(solo->context, &fd, 4, &memory));
	FORKED(kvr_ring_open(solo->context, &bootstrap, &options, &ring));
	FORKED(kvr_ring_reopen(&solo->ring, &bootstrap));
	FORKED(kvr_ring_progress(solo->ring));
	FORKED(kvr_ring_event_fd(solo->ring, &fd));
	FORKED(kvr_ring_get_failure(solo->ring, &failure));
	FORKED(kvr_ring_get_stats(solo->ring, &stats));
	FORKED(kvr_ring_record(solo->ring, 1));
	FORKED(kvr_pass_begin(solo->ring, &desc, &pass));
	FORKED(kvr_pass_next(pass, 0, &block));
	FORKED(kvr_pass_try_next(pass, 0, &block));
	FORKED(kvr_pass_release(pass, 0, 0));
	FORKED(kvr_pass_cancel(pass));
	FORKED(kvr_pass_end(pass));
	FORKED(kvr_plan_create(solo->ring, &plan_desc, &other));
	FORKED(kvr_attention_pack(plan, &t, &t));
	FORKED(kvr_attention_run(plan, &t, NULL, NULL, &t, NULL, 0));
#undef FORKED
	/* And none of these touches what is the parent's. */
	kvr_ring_abort(solo->ring);
	kvr_plan_destroy(plan);
	kvr_memory_deregister(solo->memory);
	kvr_ring_close(solo->ring);
	kvr_context_close(solo->context);
}

static struct kvr_plan *solo_plan(struct solo *solo)
{
	static const struct kvr_range range = {.length = 2};
	struct kvr_plan_desc desc;
	struct kvr_plan *plan;

	kvr_plan_desc_init(&desc);
	desc.q_heads = desc.kv_heads = desc.head_dim = 1;
	/* No keys: no block, which the slots here could not hold. */
	desc.q_ranges = &range;
	desc.q_range_count = 1;
	assert_int_equal(kvr_plan_create(solo->ring, &desc, &plan), KVR_OK);
	return plan;
}

static void objects_in_forked_child_say_forked(void **state)
{
	struct kvr_plan *plan;
	struct kvr_pass *pass;
	struct solo solo;
	int status;
	pid_t pid;

	(void)state;
	solo_open(&solo, 8);
	plan = solo_plan(&solo);
	assert_int_equal(solo_begin(&solo, 1, solo.memory, &pass), KVR_OK);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		/* What hangs shall end. */
		alarm(20);
		all_forked(&solo, pass, plan);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_int_equal(kvr_pass_end(pass), KVR_OK);
	solo_pass(&solo);
	kvr_plan_destroy(plan);
	solo_close(&solo);
}

/* ------------------------------------------------------------- signals */

static size_t tasks(pid_t out[64])
{
	DIR *directory = opendir("/proc/self/task");
	struct dirent *entry;
	size_t count = 0;

	assert_non_null(directory);
	while ((entry = readdir(directory)))
		if (entry->d_name[0] != '.' && count < 64)
			out[count++] = atoi(entry->d_name);
	closedir(directory);
	return count;
}

static uint64_t blocked_by(pid_t task)
{
	unsigned long long mask = 0;
	char path[64], line[256];
	bool found = false;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/status", task);
	file = fopen(path, "r");
	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		found |= sscanf(line, "SigBlk: %llx", &mask) == 1;
	fclose(file);
	assert_true(found);
	return mask;
}

/* All that can be blocked; 32 and 33 are the C library's own. */
static uint64_t blockable(void)
{
	uint64_t mask = UINT64_MAX;
	static const int others[] = {SIGKILL, SIGSTOP, 32, 33};

	for (size_t i = 0; i < 4; i++)
		mask &= ~(UINT64_C(1) << (others[i] - 1));
	return mask;
}

static bool among(pid_t task, const pid_t *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (list[i] == task)
			return true;
	return false;
}

static volatile sig_atomic_t on_main, elsewhere;
static pid_t main_task;

static void count_signal(int number)
{
	(void)number;
	if (gettid() == main_task)
		on_main++;
	else
		elsewhere++;
}

static void all_dispositions(struct sigaction out[64])
{
	memset(out, 0, 64 * sizeof(*out));
	for (int i = 1; i < 64; i++)
		sigaction(i, NULL, &out[i]);
}

static void signals_stay_the_programs(void **state)
{
	struct sigaction handler = {.sa_handler = count_signal}, old;
	struct sigaction before[64], after[64];
	pid_t old_tasks[64], new_tasks[64];
	size_t old_count, new_count, own = 0;
	struct solo solo;

	(void)state;
	/* The kernel shows the emulator's masks. */
	if (getenv("KVRING_EMULATED"))
		skip();
	main_task = gettid();
	on_main = elsewhere = 0;
	assert_int_equal(sigaction(SIGUSR1, &handler, &old), 0);
	all_dispositions(before);
	old_count = tasks(old_tasks);
	solo_open(&solo, 8);
	new_count = tasks(new_tasks);
	for (size_t i = 0; i < new_count; i++) {
		if (among(new_tasks[i], old_tasks, old_count))
			continue;
		own++;
		assert_true((blocked_by(new_tasks[i]) & blockable()) ==
			    blockable());
	}
	assert_true(own >= 1);
	/* Sent to the process: only the program's thread may take it. */
	for (int i = 0; i < 200; i++) {
		kill(getpid(), SIGUSR1);
		solo_pass(&solo);
	}
	assert_true(on_main > 0 && elsewhere == 0);
	solo_close(&solo);
	all_dispositions(after);
	for (int i = 1; i < 64; i++)
		assert_true(before[i].sa_handler == after[i].sa_handler);
	sigaction(SIGUSR1, &old, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(context_wrong_options_refused),
		cmocka_unit_test(calls_null_refused),
		cmocka_unit_test(
			calls_null_or_wrong_size_on_real_objects_refused),
		cmocka_unit_test(ring_wrong_options_refused),
		cmocka_unit_test(segments_more_than_max_limit),
		cmocka_unit_test(memory_of_another_context_refused),
		cmocka_unit_test(objects_in_forked_child_say_forked),
		cmocka_unit_test(signals_stay_the_programs),
	};

	return cmocka_run_group_tests_name("context", tests, NULL, NULL);
}
